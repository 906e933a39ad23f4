"""Find faces in a clip and follow each of them over time."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import xarray as xr
from tqdm.auto import tqdm

from . import assets, schema
from .arguments import check_number
from .clip import Clip, read_ahead
from .detector import Detections, FaceDetector
from .rows import FaceRow, parts_of
from .tracking import Look, Picture, Settled, Track, Tracker, Watch, is_cut

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

    ``rows`` are those that could be read, each with its faces, the numbers of their tracks
    in this part, and whether another shot begins with it; ``first`` and ``last`` what was
    seen first and last.
    """

    rows: list[tuple[int, Detections, list[int], bool]]
    first: Look | None
    last: Look | None


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
        if max_faces is not None:
            check_number("max_faces", max_faces, least=1, whole=True)
        check_number("min_score", min_score, above=0, below=1)
        check_number("interval", interval, least=0, unit="seconds")
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
        self._last: Look | None = None

    def rows(self, *, frames: bool) -> Iterator[FaceRow]:
        """Every row that can be read, once it is known where its faces are.

        The frame is converted where `frames` is true and there is a face, else None.
        """
        detector = FaceDetector(self.parameters["min_score"], self.clip.size)
        pictures = read_ahead(self._pictures(self.times))
        for _, of_part in itertools.groupby(pictures, lambda picture: self.parts[picture.row]):
            watch = self._watch(detector)
            begins = True
            for settled in _settle(watch, of_part):
                if begins:
                    self._begin_part(watch.first)
                    begins = False
                row, found = settled.picture.row, settled.found
                tracks = self._follow(row, found, settled.cut)
                yield self._face_row(settled, tracks, frames)
            self._last = watch.last or self._last

    def read_part(
        self, part: int, detector: FaceDetector, read: Callable[[Iterator[FaceRow]], None]
    ) -> PartFound:
        """Hand the rows of one part to `read`; gives what :meth:`take` needs of them.

        Nothing is known of other parts, so that tracks have numbers of their own.
        """
        watch, found = self._watch(detector), []

        def rows() -> Iterator[FaceRow]:
            for settled in _settle(watch, self._pictures(self.times[self.parts == part])):
                found.append((settled.picture.row, *settled[1:]))
                yield self._face_row(settled, settled.tracks, True)

        read(rows())
        return PartFound(found, watch.first, watch.last)

    def take(self, part: PartFound) -> dict[tuple[int, int], int]:
        """Follow the faces of the next part; the number here of each row and track there."""
        self._begin_part(part.first)
        numbers = {}
        for row, found, tracks, cut in part.rows:
            here = self._follow(row, found, cut)
            numbers |= {(row, there): number for there, number in zip(tracks, here, strict=True)}
        self._last = part.last or self._last
        return numbers

    def _pictures(self, times: np.ndarray) -> Iterator[Picture]:
        for time, convert in self.clip.frames_later(times=times):
            yield Picture(int(np.searchsorted(self.times, time)), convert)

    def _watch(self, detector: FaceDetector) -> Watch:
        return Watch(detector, self.times, self.parts, self.parameters["interval"])

    def _begin_part(self, first: Look | None) -> None:
        if first is not None and self._last is not None:
            seconds = self.times[first.row] - self.times[self._last.row]
            if is_cut(seconds, self._last, first):
                self._tracker.cut()

    def _follow(self, row: int, found: Detections, cut: bool) -> list[int]:
        if cut:
            self._tracker.cut()
        self._read[row] = True
        return self._tracker.add(row, self.times[row], found)

    def _face_row(self, settled: Settled, tracks: list[int], frames: bool) -> FaceRow:
        picture, found = settled.picture, settled.found
        frame = picture.convert() if frames and tracks else None
        # In the precision of the Dataset, so that one pass reads what two would.
        box, point = found.box.astype(np.float32), found.point.astype(np.float32)
        part, time = int(self.parts[picture.row]), float(self.times[picture.row])
        return FaceRow(picture.row, time, frame, tracks, box, point, part)

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


def _settle(watch: Watch, pictures: Iterable[Picture]) -> Iterator[Settled]:
    for picture in pictures:
        yield from watch.look(picture)
    yield from watch.finish()


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
