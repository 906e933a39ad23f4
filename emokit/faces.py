"""Find faces in a clip and follow each of them over time."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import xarray as xr
from tqdm.auto import tqdm

from . import assets, schema
from .clip import Clip, read_ahead
from .detector import Detections, FaceDetector
from .rows import FaceRow, parts_of
from .tracking import LoggedTracker, Picture, Track, Tracker, Watch, is_cut

#: Rows times tracks that a result may hold unasked: with all that is read of a face, these
#: are about a gigabyte. An hour of one shot is far from it; a film has hundreds of tracks.
_CELLS = 4_000_000


def detect_faces(
    clip: Clip,
    *,
    fps: float | None = None,
    max_faces: int | None = None,
    min_score: float = 0.5,
    interval: float = 0.25,
    progress: bool = True,
) -> xr.Dataset:
    """Find the faces in a clip and follow each of them over time.

    Parameters
    ----------
    clip : Clip
        Any clip with a picture.
    fps : float, optional
        Frames to look at a second; every frame by default.
    max_faces : int, optional
        Keep only the tracks that fill most of the picture for longest.
    min_score : float
        Detections below this score are dropped, 0 to 1.
    interval : float
        Seconds between the frames in which the detector looks. Between two of them, the
        boxes of faces seen at both ends are interpolated; where a face comes or goes,
        every frame is looked at. 0 looks at every frame, at less than half the speed.
    progress : bool
        Show a progress bar.

    Returns
    -------
    xarray.Dataset
        ``face_box``, ``face_point`` in pixels of the upright frame, ``face_score`` in
        0 to 1, and ``face_status``, on ``(time, face)``. Every frame
        asked for is a row; where a face is not seen its values are NaN and
        ``face_status`` says why (``attrs["flag_meanings"]`` names its values). Tracks are
        ``face_0``, ``face_1``, … in the order of how much of the picture they fill over
        the clip. Without any face there is one
        empty track.

    Raises
    ------
    ClipError
        If the clip has no picture.
    AssetError
        If the detector's file cannot be had.

    Warns
    -----
    UserWarning
        If there are so many tracks in so many frames (a film, with its cuts) that they would
        not fit into memory, and `max_faces` is not given: the smallest are left out.

    Notes
    -----
    Detector: BlazeFace, full range (Bazarevsky et al. 2019), as published with
    MediaPipe. Boxes of one face are blended by score. Tracks are joined by the
    Hungarian method on distance from where the face's motion takes it, and on size. A face
    unseen for half a second may be anywhere it could have moved to; one that was away up to
    three seconds must come back to its place. A hard cut ends every track: who is who in
    two shots, positions cannot tell; :func:`merge_faces` can. With fewer than four frames a
    second cuts are not looked for, since too much changes by itself: faces in the same place
    before and after one are then taken for the same. Tracks are
    dropped when seen in one frame only or never clearly (score below 0.75). Faces
    narrower than about 5 % of the picture's
    longer side are missed, as are faces turned away or upside down.

    Examples
    --------
    >>> import emokit as ek
    >>> faces = ek.detect_faces(ek.sample_clip(), fps=1, progress=False)
    >>> dict(faces.sizes)
    {'time': 20, 'face': 1, 'box': 4, 'point': 6, 'plane': 2}
    """
    search = FaceSearch(clip, fps=fps, max_faces=max_faces, min_score=min_score, interval=interval)
    rows = search.rows(frames=False)
    for _ in tqdm(rows, "faces", len(search.times), disable=not progress, unit="frame"):
        pass
    return search.dataset()


class PartFound(NamedTuple):
    """What was found in one part of a clip, perhaps by another process.

    ``log`` is that of its tracker; ``first`` and ``last`` are the rows that were looked at
    first and last, with what was seen.
    """

    log: list[tuple[int, Detections, list[int]] | None]
    first: tuple[int, np.ndarray] | None
    last: tuple[int, np.ndarray] | None


class FaceSearch:
    """Finds and follows the faces of a clip in one pass, and hands each row on.

    Takes, raises and in the end gives what :func:`detect_faces` does. Stages that read the
    faces go through :meth:`rows`, so that the clip is decoded once for all of them; which
    tracks stay is known only when the rows have come to their end.
    """

    def __init__(
        self,
        clip: Clip,
        *,
        fps: float | None = None,
        max_faces: int | None = None,
        min_score: float = 0.5,
        interval: float = 0.25,
    ) -> None:
        if not isinstance(clip, Clip):
            raise TypeError(
                f"clip must be a Clip, as ek.open_clip returns; got {type(clip).__name__}"
            )
        if max_faces is not None and not max_faces > 0:
            raise ValueError(f"max_faces must be a positive number; got {max_faces!r}")
        if not 0 < min_score < 1:
            raise ValueError(f"min_score must lie between 0 and 1; got {min_score!r}")
        if not interval >= 0:
            raise ValueError(f"interval must be seconds, 0 or more; got {interval!r}")
        self.clip = clip
        self.times = clip.select_times(fps=fps)
        self.parameters = {
            "fps": fps,
            "max_faces": max_faces,
            "min_score": min_score,
            "interval": interval,
        }
        self.parts = parts_of(clip, self.times)
        self.n_parts = int(self.parts.max(initial=0)) + 1
        self._read = np.zeros(len(self.times), dtype=bool)
        self._tracker = Tracker()
        self._last: tuple[int, np.ndarray] | None = None

    def rows(self, *, frames: bool) -> Iterator[FaceRow]:
        """Every row that can be read, once it is known where its faces are.

        The frame is converted where `frames` is true and there is a face, else None.
        """
        detector = FaceDetector(self.parameters["min_score"], self.clip.size)
        pictures = read_ahead(self.clip.frames_later(times=self.times))
        yield from self._rows(pictures, self._watch(detector, self._tracker), frames)

    def read_part(
        self, part: int, detector: FaceDetector, read: Callable[[Iterator[FaceRow]], None]
    ) -> PartFound:
        """Hand the rows of one part to `read`; gives what :meth:`take` needs of them.

        Nothing is known of other parts, so that tracks have numbers of their own.
        """
        tracker = LoggedTracker()
        watch = self._watch(detector, tracker)
        pictures = self.clip.frames_later(times=self.times[self.parts == part])
        read(self._rows(pictures, watch, True))
        return PartFound(tracker.log, watch.first, watch.last)

    def take(self, found: PartFound) -> dict[tuple[int, int], int]:
        """Follow the faces of the next part; the number here of each row and track there."""
        if found.first is not None and self._last is not None:
            (row, after), (last, before) = found.first, self._last
            if is_cut(self.times[row] - self.times[last], before, after):
                self._tracker.cut()
        numbers = {}
        for step in found.log:
            if step is None:
                self._tracker.cut()
                continue
            row, faces, tracks = step
            self._read[row] = True
            here = self._tracker.add(row, self.times[row], faces)
            numbers |= {(row, there): number for there, number in zip(tracks, here, strict=True)}
        self._last = found.last or self._last
        return numbers

    def _watch(self, detector: FaceDetector, tracker: Tracker) -> Watch:
        return Watch(detector, tracker, self.times, self.parts, self.parameters["interval"])

    def _rows(
        self,
        pictures: Iterable[tuple[float, Callable[..., np.ndarray]]],
        watch: Watch,
        frames: bool,
    ) -> Iterator[FaceRow]:
        for picture, found, tracks in self._settled(pictures, watch):
            row = picture.row
            frame = picture.convert() if frames and tracks else None
            # In the precision of the Dataset, so that one pass reads what two would.
            box, point = found.box.astype(np.float32), found.point.astype(np.float32)
            part, time = int(self.parts[row]), float(self.times[row])
            yield FaceRow(row, time, frame, tracks, box, point, part)

    def _settled(
        self, pictures: Iterable[tuple[float, Callable[..., np.ndarray]]], watch: Watch
    ) -> Iterator[tuple[Picture, Detections, list[int]]]:
        for time, convert in pictures:
            row = int(np.searchsorted(self.times, time))
            self._read[row] = True
            yield from watch.look(Picture(row, convert))
        yield from watch.finish()

    @cached_property
    def _tracks(self) -> list[Track]:
        tracks = self._tracker.finish(still=len(self.times) == 1)
        most = self.parameters["max_faces"]
        fitting = max(_CELLS // len(self.times), 1)
        if most is None and len(tracks) > fitting:
            most = fitting
            warnings.warn(
                f"{self.clip.name} has {len(tracks)} tracks in {len(self.times)} frames, more than "
                f"a table of both should hold; the {most} that fill most of the picture for "
                "longest are kept. max_faces says how many you want; with fps there are fewer "
                "frames",
                stacklevel=5,
            )
        return tracks[:most]

    @property
    def order(self) -> list[int]:
        """Numbers of the tracks that stay, as they are ordered along ``face``."""
        return [track.number for track in self._tracks] or [-1]

    def dataset(self) -> xr.Dataset:
        """What :func:`detect_faces` returns."""
        history = schema.extend_history(
            "detect_faces",
            source=self.clip.provenance,
            model=assets.describe_model("face_detector"),
            parameters=self.parameters,
        )
        return _to_dataset(self._tracks, self.times, self._read, history)


def _to_dataset(
    tracks: list[Track],
    times: np.ndarray,
    read: np.ndarray,
    history: str,
) -> xr.Dataset:
    shape = (len(times), max(len(tracks), 1))
    box = np.full((*shape, 4), np.nan, np.float32)
    point = np.full((*shape, 6, 2), np.nan, np.float32)
    score = np.full(shape, np.nan, np.float32)
    status = np.full(shape, schema.FACE_STATUS.index("no_face"), np.int8)
    status[~read] = schema.FACE_STATUS.index("unreadable_frame")
    for face, track in enumerate(tracks):
        rows = np.asarray(track.rows)
        box[rows, face] = np.asarray(track.boxes).reshape(-1, 4)
        point[rows, face] = np.asarray(track.points).reshape(-1, 6, 2)
        score[rows, face] = track.scores
        how = (schema.FACE_STATUS.index("detected"), schema.FACE_STATUS.index("interpolated"))
        status[rows, face] = np.where(np.asarray(track.interpolated, bool), how[1], how[0])
    return schema.build_dataset(
        "face",
        {
            "face_box": box,
            "face_point": point,
            "face_score": score,
            "face_status": status,
        },
        {"time": times, "face": [f"face_{i}" for i in range(shape[1])]},
        history=history,
    )
