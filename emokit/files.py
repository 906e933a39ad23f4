"""Files that a user asks for: complete or not there, and never in place of a recording."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: What names a recording or a picture.
_MEDIA = {
    *(".3gp", ".aac", ".avi", ".flac", ".flv", ".m4a", ".m4v", ".mkv", ".mov", ".mp3", ".mp4"),
    *(".mpeg", ".mpg", ".mts", ".ogg", ".opus", ".ts", ".wav", ".webm", ".wma", ".wmv"),
    *(".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"),
}


@contextmanager
def replace_when_complete(path: Path, *, expected: str) -> Iterator[Path]:
    """Give a temporary name beside `path`; what is written there takes its place at the end.

    `expected` is the usual ending of such a file. After an error nothing has changed.

    Raises
    ------
    ValueError
        If the folder does not exist, `path` names a recording, or the file there is
        protected from writing.
    """
    check_target(path)
    if path.suffix.lower() in _MEDIA:
        raise ValueError(
            f"path names a recording, {path.name}, which would be replaced; expected a name "
            f"that ends in {expected}"
        )
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".partial", dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        # mkstemp makes files that only their owner may read.
        partial.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_target(path: Path) -> None:
    """Raise ValueError where `path` has no folder, or is a file protected from writing."""
    if not path.parent.is_dir():
        raise ValueError(f"path must lie in a folder that exists; {path.parent} does not")
    # Renaming over a file asks for no permission of the file itself.
    if path.exists() and not path.stat().st_mode & 0o222:
        raise ValueError(f"{path.name} is protected from writing; choose another path")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
