"""The player: a clip beside its timelines, in a notebook or in one HTML file."""

from __future__ import annotations

import base64
import html
import json
import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

import anywidget
import numpy as np
import traitlets
import xarray as xr

from emokit.clip import Clip, ClipError, open_clip
from emokit.schema import GROUPS, validate

from .panels import build_panels, status_reasons
from .serve import ServedFile, media_type, serve_file

logger = logging.getLogger(__name__)

_HERE = Path(__file__).parent

#: A multiple of 3, so that the pieces of base64 can be decoded one by one.
_MEDIA_PIECE = 6 * 2**20

_NOTE = "Values are model estimates of displayed behaviour, not of what a person feels."


class Player(anywidget.AnyWidget):
    """A video with its face boxes above timelines that move with it; made by :func:`play`.

    A click or a drag on a timeline seeks. While the player has the focus, space plays
    and pauses, the arrow keys (or ``,`` and ``.``) step by one frame, with shift by one
    second, and Home and End go to either end.

    Attributes
    ----------
    current_time : float
        Presentation time in seconds of the frame on screen. Setting it seeks, and a
        time outside the clip goes to its nearer end. During playback it follows the
        browser about ten times a second.
    face : str
        Label of the face whose timelines are shown; empty where there is none.
    duration : float
        Length in seconds; not settable.
    """

    _esm = _HERE / "player.js"
    _css = _HERE / "player.css"

    current_time = traitlets.Float(0.0).tag(sync=True)
    face = traitlets.Unicode("").tag(sync=True)
    _layout = traitlets.Dict(read_only=True).tag(sync=True)
    _arrays = traitlets.Dict(read_only=True).tag(sync=True)

    def __init__(
        self,
        layout: Mapping[str, object],
        arrays: Mapping[str, dict],
        *,
        media: Path | None = None,
    ) -> None:
        self._media = media
        self._served: ServedFile | None = None
        layout = dict(layout)
        if media is not None:
            layout["media"] = {**layout["media"], **self._serve(media)}
        self.set_trait("_layout", layout)
        self.set_trait("_arrays", dict(arrays))
        super().__init__(face=next(iter(layout["faces"]), ""))

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self._layout["duration"]

    def to_html(self, path: str | Path, *, video: bool = True) -> Path:
        """Write the player as one page that opens from disk and needs no network.

        Parameters
        ----------
        path : str or pathlib.Path
            File to write; replaced where it exists.
        video : bool
            Whether the clip itself goes into the page, which then is about a third
            larger than the clip. Without it the face boxes and timelines remain, but
            neither picture nor sound.

        Returns
        -------
        pathlib.Path
            `path`.

        Raises
        ------
        ValueError
            If `video` is true and there is no file to embed.

        Examples
        --------
        >>> import tempfile, numpy as np, emokit as ek
        >>> voice = ek.schema.build_dataset(
        ...     "voice", {"intensity": np.array([-30.0])}, {"time": [0.0]}, history="[]"
        ... )
        >>> folder = tempfile.mkdtemp()
        >>> page = ek.play(voice).to_html(f"{folder}/talk.html", video=False)
        >>> page.read_text(encoding="utf-8").splitlines()[0]
        '<!doctype html>'
        """
        path = Path(path).expanduser()
        if video and (self._media is None or not self._media.is_file()):
            raise ValueError(
                "video=True needs the clip's file, and this player has none "
                f"({self._layout['media']['note'] or 'it is gone'}); use video=False"
            )
        partial = path.with_name(f"{path.name}.partial")
        try:
            with partial.open("w", encoding="utf-8", newline="\n") as file:
                self._write_page(file, video=video)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return path

    def close(self) -> None:
        """Remove the player from the page and stop serving its video."""
        served, self._served = getattr(self, "_served", None), None
        if served is not None:
            served.close()
        super().close()

    def __repr__(self) -> str:
        name = self._layout["media"]["name"] or "a result without a clip"
        return f"<Player of {name}: {self.duration:.2f} s, at {self.current_time:.3f} s>"

    @traitlets.validate("current_time")
    def _clip_time(self, proposal: dict) -> float:
        if not math.isfinite(proposal["value"]):
            raise traitlets.TraitError(
                f"current_time must be a finite number of seconds; got {proposal['value']}"
            )
        return min(max(proposal["value"], 0.0), self.duration)

    @traitlets.validate("face")
    def _known_face(self, proposal: dict) -> str:
        faces = self._layout["faces"]
        if proposal["value"] not in (faces or [""]):
            raise traitlets.TraitError(
                f"face must be one of {', '.join(faces) or 'none'}; got {proposal['value']!r}"
            )
        return proposal["value"]

    def _serve(self, media: Path) -> dict[str, object]:
        media = media.resolve()
        locations = [media.as_posix()]
        if media.is_relative_to(Path.home()):
            locations.append(f"~/{media.relative_to(Path.home()).as_posix()}")
        try:
            self._served = serve_file(media)
        except OSError as error:
            logger.warning("no port could be opened for the video: %s", error)
            return {"locations": locations}
        return {"port": self._served.port, "token": self._served.token, "locations": locations}

    def _write_page(self, file: TextIO, *, video: bool) -> None:
        media = {
            key: value
            for key, value in self._layout["media"].items()
            # An address and a folder of this machine are nobody else's business.
            if key not in ("port", "token", "locations")
        }
        if self._media and not video:
            media |= {"kind": "none", "note": "This page was written without the video."}
        state = {
            "current_time": self.current_time,
            "face": self.face,
            "_layout": {**self._layout, "media": media},
            "_arrays": {
                name: {**entry, "data": base64.b64encode(entry["data"]).decode()}
                for name, entry in self._arrays.items()
            },
        }
        title = html.escape(f"{media['name'] or 'emokit'}: displayed behaviour")
        file.write(
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            # The page can send nothing anywhere, whatever is in it.
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
            "script-src 'unsafe-inline'; style-src 'unsafe-inline'; media-src blob:\">\n"
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{title}</title>\n<style>\n{self._css}\n</style>\n</head>\n"
            '<body class="emokit-page">\n<main id="emokit"></main>\n'
            f'<script type="application/json" id="emokit-state">{_script_json(state)}</script>\n'
        )
        if video:
            for piece in _base64_pieces(self._media):
                file.write(f'<script type="text/plain" class="emokit-media">{piece}</script>\n')
        file.write(
            f'<script type="module">\n{self._esm}\n'
            'mountPage(document.getElementById("emokit"));\n</script>\n</body>\n</html>\n'
        )


def play(result: xr.DataTree | xr.Dataset, *, clip: Clip | str | Path | None = None) -> Player:
    """Show a clip beside what was found in it.

    Parameters
    ----------
    result : xarray.DataTree or xarray.Dataset
        What ``analyze`` returns, or the Dataset of one stage (of a face, a voice, or
        their fusion). Any group and any variable may be missing.
    clip : Clip, str or pathlib.Path, optional
        The clip, or a copy of it that a browser can play. Without it, the file that
        `result` says it came from is shown, if it is still there.

    Returns
    -------
    Player
        Shown by a notebook as the last line of a cell. Its ``current_time`` can be
        read and set; ``to_html`` writes it to a file.

    Raises
    ------
    TypeError
        If `result` is neither a DataTree nor a Dataset.
    ValueError
        If it holds nothing that emokit knows, or what it holds is malformed.
    ClipError
        If `clip` cannot be read.

    Notes
    -----
    The video is served to this machine's browser only, by range requests, at an
    address that cannot be guessed; it never passes through the notebook file.

    Examples
    --------
    >>> import numpy as np, emokit as ek
    >>> time = np.arange(0, 2, 0.01)
    >>> voice = ek.schema.build_dataset(
    ...     "voice", {"f0": 120 + 20 * np.sin(time)}, {"time": time}, history="[]"
    ... )
    >>> player = ek.play(voice)
    >>> player.current_time = 1.5
    >>> player
    <Player of a result without a clip: 1.99 s, at 1.500 s>
    """
    groups = _read_groups(result)
    attrs = result.attrs
    shown, note = _find_clip(clip, attrs)
    panels, arrays = build_panels(groups)

    media = shown.path if shown and shown.path and _is_playable_file(shown.path) else None
    if shown and not media:
        note = "This clip is not one media file, so there is nothing for the browser to play."
    frame_times = np.empty(0)
    if shown and shown.has_video:
        frame_times = shown.frame_times
    elif "face.time" in arrays:
        frame_times = arrays["face.time"].values
    if frame_times.size:
        arrays["frame.time"] = xr.DataArray(frame_times, dims="time")

    size = (attrs.get("width"), attrs.get("height"))
    if not all(size):
        size = shown.size if shown and shown.size else (None, None)
    kind = "none"
    if media:
        kind = "video" if shown.has_video else "audio"
    layout = {
        "duration": _duration(attrs.get("duration") or (shown.duration if shown else 0.0), groups),
        "width": int(size[0]) if size[0] else None,
        "height": int(size[1]) if size[1] else None,
        "faces": [str(face) for face in groups["face"]["face"].values] if "face" in groups else [],
        "panels": panels,
        "reasons": status_reasons(groups),
        "note": _NOTE,
        "media": {
            "kind": kind,
            "name": media.name if media else "",
            "codec": (shown.codec if shown else "") or attrs.get("codec") or "",
            "type": media_type(media) if media else "",
            "sound": bool(media and shown.has_audio),
            "note": note,
        },
    }
    packed = {name: _pack(name, array) for name, array in arrays.items()}
    return Player(layout, packed, media=media)


def _duration(known: float, groups: Mapping[str, xr.Dataset]) -> float:
    last = max((ds["time"].values[-1] for ds in groups.values() if ds.sizes.get("time")), default=0)
    # The last window of a voice may reach a little beyond the end of the clip.
    return float(known if known > last - 0.5 else last)


def _read_groups(result: xr.DataTree | xr.Dataset) -> dict[str, xr.Dataset]:
    if isinstance(result, xr.DataTree):
        groups = {
            name: result[name].to_dataset()
            for name in GROUPS
            if name in result.children and result[name].data_vars
        }
        if not groups:
            raise ValueError(
                f"result has none of the groups {', '.join(GROUPS)}; it has "
                f"{', '.join(result.children) or 'no group'}"
            )
    elif isinstance(result, xr.Dataset):
        groups = {_group_of(result): result}
    else:
        raise TypeError(
            "result must be an xarray DataTree, as analyze returns, or the Dataset of one stage; "
            f"got {type(result).__name__}"
        )
    for name, ds in groups.items():
        validate(ds, group=name, argument=f"group {name!r} of result")
    return groups


def _group_of(ds: xr.Dataset) -> str:
    if "face" in ds.dims:
        return "face"
    names = set(map(str, ds.data_vars))
    # Arousal alone may be either's; it is what the vocal stage returns.
    if names & (set(GROUPS["fused"]) - set(GROUPS["voice"])):
        return "fused"
    if names & set(GROUPS["voice"]):
        return "voice"
    raise ValueError(
        "result has no variable that the player knows; it has "
        f"{', '.join(sorted(names)) or 'no variable'}"
    )


def _find_clip(
    clip: Clip | str | Path | None, attrs: Mapping[str, object]
) -> tuple[Clip | None, str]:
    """The clip to show, or None and why not."""
    if isinstance(clip, Clip):
        return clip, ""
    if clip is not None:
        return open_clip(clip), ""
    source = attrs.get("source")
    if not source:
        return None, "The result does not name a file; ek.play(result, clip=…) shows one."
    try:
        return open_clip(str(source)), ""
    except ClipError as error:
        return None, f"The clip cannot be shown: {error}. ek.play(result, clip=…) names another."


def _is_playable_file(path: Path) -> bool:
    return path.is_file() and not media_type(path).startswith("image/")


def _pack(name: str, array: xr.DataArray) -> dict[str, object]:
    # Times stay double: after an hour, single precision is off by a quarter of a millisecond.
    dtype = "float64" if name.endswith(".time") else "float32"
    values = np.ascontiguousarray(array.values, dtype=np.dtype(dtype).newbyteorder("<"))
    return {
        "dims": [str(dim) for dim in array.dims],
        "shape": list(values.shape),
        "dtype": dtype,
        "data": values.tobytes(),
    }


def _script_json(value: object) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _base64_pieces(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        while piece := file.read(_MEDIA_PIECE):
            yield base64.b64encode(piece).decode()
