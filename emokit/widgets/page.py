"""The player as one HTML file that opens from disk and needs no network."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

#: A multiple of 3, so that the pieces of base64 can be decoded one by one.
_MEDIA_PIECE = 6 * 2**20


def write_page(
    file: TextIO, state: Mapping[str, object], *, code: str, style: str, media: Path | None
) -> None:
    """Write a page that mounts the player of `code` on `state`.

    Parameters
    ----------
    file : text file
        Open for writing.
    state : mapping
        Traits of the player. The numbers in ``_arrays`` go in as base64.
    code, style : str
        The player's module and its style sheet.
    media : pathlib.Path, optional
        File to embed.
    """
    state = {
        **state,
        "_arrays": {
            name: {**entry, "data": base64.b64encode(entry["data"]).decode()}
            for name, entry in state["_arrays"].items()
        },
    }
    name = state["_layout"]["media"]["name"] or "emokit"
    title = html.escape(f"{name}: displayed behaviour")
    file.write(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        # The page can send nothing anywhere, whatever is in it.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "script-src 'unsafe-inline'; style-src 'unsafe-inline'; media-src blob:\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style}\n</style>\n</head>\n"
        '<body class="emokit-page">\n<main id="emokit"></main>\n'
        f'<script type="application/json" id="emokit-state">{_script_json(state)}</script>\n'
    )
    for piece in _base64_pieces(media) if media else ():
        file.write(f'<script type="text/plain" class="emokit-media">{piece}</script>\n')
    file.write(
        f'<script type="module">\n{code}\n'
        'mountPage(document.getElementById("emokit"));\n</script>\n</body>\n</html>\n'
    )


def _script_json(value: object) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _base64_pieces(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        while piece := file.read(_MEDIA_PIECE):
            yield base64.b64encode(piece).decode()
