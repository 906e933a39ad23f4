"""What passes from stage to stage while a clip is decoded once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import xarray as xr

from .clip import Clip


class FaceRow(NamedTuple):
    """The faces of one frame.

    ``frame`` is RGB uint8, upright; ``tracks`` the numbers of the ``n`` faces' tracks,
    ``boxes`` ``(n, 4)`` and ``points`` ``(n, 6, 2)``, in pixels, the latter None where
    they are not known. What was seen of a face is not carried over from one ``part`` of
    the clip to the next.
    """

    row: int
    time: float
    frame: np.ndarray
    tracks: list[int]
    boxes: np.ndarray
    points: np.ndarray | None
    part: int = 0


def parts_of(clip: Clip, times: np.ndarray) -> np.ndarray:
    """Number of the part of the clip to which each of `times` belongs."""
    return np.searchsorted(clip.part_starts, times, side="right").clip(1) - 1


def rows_of(clip: Clip, faces: xr.Dataset) -> Iterator[FaceRow]:
    """Rows of tracked `faces` that hold any face, with their frames, as the search gave them."""
    times, boxes = faces["time"].values, faces["face_box"].values
    points = faces["face_point"].values if "face_point" in faces else None
    part = parts_of(clip, times)
    seen = np.isfinite(boxes).all(-1)
    if not seen.any():
        return
    for time, frame in clip.frames(times=times[seen.any(1)]):
        row = int(np.searchsorted(times, time))
        tracks = np.flatnonzero(seen[row])
        at = None if points is None else points[row, tracks]
        yield FaceRow(row, time, frame, tracks.tolist(), boxes[row, tracks], at, int(part[row]))


class Gathered:
    """Values of faces in the order in which they come, before it is known which tracks stay.

    Made with the shape of one value of each variable: ``Gathered(au=(20,), score=())``.
    """

    def __init__(self, **shapes: tuple[int, ...]) -> None:
        self._shapes = shapes
        self._parts: list[tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]] = []

    def take(self, other: Gathered, numbers: dict[tuple[int, int], int]) -> None:
        """All that `other` gathered, whose tracks have other `numbers` here, row by row."""
        for rows, tracks, values in other._parts:
            places = zip(rows.tolist(), tracks.tolist(), strict=True)
            here = np.array([numbers[place] for place in places], dtype=np.int64)
            self._parts.append((rows, here, values))

    def add(self, places: list[tuple[int, int]], **values: np.ndarray) -> None:
        """Values (n, …) of `n` places, each a row and the number of a track."""
        rows, tracks = np.array(places, dtype=np.int64).reshape(-1, 2).T
        kept = {name: np.asarray(values[name], np.float32) for name in self._shapes}
        self._parts.append((rows, tracks, kept))

    def arrays(self, n_rows: int, order: list[int]) -> dict[str, np.ndarray]:
        """Each variable as (n_rows, n_tracks, …), of the tracks in `order`; NaN elsewhere.

        What was gathered is let go, so that a long clip is not held twice.
        """
        arrays = {
            name: np.full((n_rows, len(order), *shape), np.nan, np.float32)
            for name, shape in self._shapes.items()
        }
        column = {track: index for index, track in enumerate(order)}
        while self._parts:
            rows, tracks, values = self._parts.pop()
            columns = np.array([column.get(int(track), -1) for track in tracks], dtype=int)
            stays = columns >= 0
            for name, each in values.items():
                arrays[name][rows[stays], columns[stays]] = each[stays]
        return arrays
