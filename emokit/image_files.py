"""Images as clips: one, or a folder of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import av
import numpy as np

from .arguments import check_number
from .clip import Clip, ClipError
from .pictures import reason, shrink, upright

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


class ImagesClip(Clip):
    """One image, or the images of a folder at `fps` a second."""

    def __init__(self, path: Path, files: list[Path], fps: float) -> None:
        check_number("fps", fps, above=0)
        super().__init__(np.arange(len(files)) / fps)
        self.path = path
        self._files = files
        first = _decode_image(files[0])
        self.size = (first.shape[1], first.shape[0])
        self.duration = len(files) / fps
        self.fps = float(fps)
        self.codec = files[0].suffix[1:].lower()

    def _read(self, indices: np.ndarray) -> Iterator[tuple[float, Callable[..., np.ndarray]]]:
        for index in indices:
            yield float(self.frame_times[index]), partial(self._load, self._files[index])

    def _load(self, file: Path, fit: int | None = None) -> np.ndarray:
        frame = _decode_image(file)
        if (frame.shape[1], frame.shape[0]) != self.size:
            raise ClipError(
                f"{file.name} is {frame.shape[1]}×{frame.shape[0]} pixels and "
                f"the images before it {self.size[0]}×{self.size[1]}; "
                "images of one clip must have one size"
            )
        return shrink(frame, fit)


def list_images(folder: Path) -> list[Path]:
    """The images of a folder in the order of their names, numbers counted as numbers."""
    return sorted(
        (
            file
            for file in folder.iterdir()
            # Hidden files beside images ("._1.png") are some file system's own notes.
            if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
        ),
        key=_natural_order,
    )


def _decode_image(path: Path) -> np.ndarray:
    try:
        with av.open(f"file:{path}") as container:
            return upright(next(container.decode(video=0)))
    except (av.error.FFmpegError, StopIteration, IndexError) as error:
        raise ClipError(f"{path.name} cannot be read as an image: {reason(error)}") from error


def _natural_order(path: Path) -> list[tuple[int, str]]:
    parts = re.findall(r"\d+|\D+", path.name.lower())
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in parts]
