"""Find faces in a clip and follow each of them over time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from scipy.optimize import linear_sum_assignment
from tqdm.auto import tqdm

from . import assets, schema
from .clip import Clip, read_ahead

_INPUT = 192
_GRID = 48
_SUPPRESSION = 0.3

#: Boxes that overlap this much over one interval belong to a face that is followed easily.
_STEADY = 0.4

#: Faces narrower than this many pixels lose quality in proportion: the mesh network
#: sees 192 pixels across 1.5 face widths, so detail runs out at about half of that.
_FULL_SIZE = 64

#: A track must be seen at least once as clearly as this: what only ever looks a little
#: like a face (a hand, a pattern on a wall) stays below it. A still image shows a face
#: once, so there the lower bound has to do.
_CLEAR = 0.75
_CLEAR_STILL = 0.65

#: A face may go unseen this long (seconds), or this many rows, and keep its track.
_GAP_SECONDS = 0.5
_GAP_ROWS = 2


def detect_faces(
    clip: Clip,
    *,
    fps: float | None = None,
    max_faces: int | None = None,
    min_score: float = 0.5,
    interval: float = 0.1,
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
        ``face_box``, ``face_point`` in pixels of the upright frame, ``face_score`` and
        ``face_quality`` in 0 to 1, and ``face_status``, on ``(time, face)``. Every frame
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

    Notes
    -----
    Detector: BlazeFace, full range (Bazarevsky et al. 2019), as published with
    MediaPipe. Boxes of one face are blended by score. Tracks are joined by the
    Hungarian method on overlap, tolerate half a second without the face, and are
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
    if not isinstance(clip, Clip):
        raise TypeError(f"clip must be a Clip, as ek.open_clip returns; got {type(clip).__name__}")
    if max_faces is not None and not max_faces > 0:
        raise ValueError(f"max_faces must be a positive number; got {max_faces!r}")
    if not 0 < min_score < 1:
        raise ValueError(f"min_score must lie between 0 and 1; got {min_score!r}")
    if not interval >= 0:
        raise ValueError(f"interval must be seconds, 0 or more; got {interval!r}")
    times = clip.select_times(fps=fps)
    tracker = _Tracker()
    watch = _Watch(FaceDetector(min_score, clip.size), tracker, times, interval)
    read = np.zeros(len(times), dtype=bool)
    frames = read_ahead(clip.frames_later(fps=fps, fit=_INPUT))
    for time, frame in tqdm(frames, "faces", len(times), disable=not progress, unit="frame"):
        row = int(np.searchsorted(times, time))
        read[row] = True
        watch.look(row, frame)
    watch.finish()
    tracks = tracker.finish(still=len(times) == 1)[:max_faces]
    history = schema.extend_history(
        "detect_faces",
        source=clip.provenance,
        model=assets.describe_model("face_detector"),
        parameters={
            "fps": fps,
            "max_faces": max_faces,
            "min_score": min_score,
            "interval": interval,
        },
    )
    return _to_dataset(tracks, times, read, clip.size, history)


@dataclass
class Detections:
    """Faces of one frame: boxes ``(n, 4)``, points ``(n, 6, 2)``, scores ``(n,)``."""

    box: np.ndarray
    point: np.ndarray
    score: np.ndarray
    interpolated: bool = False


class FaceDetector:
    """BlazeFace on one frame at a time; `size` is the width and height of whole frames."""

    def __init__(self, min_score: float, size: tuple[int, int]) -> None:
        self.min_score = min_score
        self.size = np.array(size)
        self._model = assets.open_model("face_detector")
        self._input = self._model.get_input_details()[0]["index"]
        outputs = {d["shape"][-1]: d["index"] for d in self._model.get_output_details()}
        self._values, self._logits = outputs[16], outputs[1]
        steps = (np.arange(_GRID) + 0.5) / _GRID
        self._anchors = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 1, 2)

    def detect(self, frame: np.ndarray) -> Detections:
        """Faces in `frame`, RGB already shrunk to 192 pixels or less, best first."""
        height, width = frame.shape[:2]
        # Black borders, as in training: -1 is black.
        square = np.full((1, _INPUT, _INPUT, 3), -1, np.float32)
        left, top = (_INPUT - width) // 2, (_INPUT - height) // 2
        square[0, top : top + height, left : left + width] = frame / np.float32(127.5) - 1
        self._model.set_tensor(self._input, square)
        self._model.invoke()
        logits = self._model.get_tensor(self._logits)[0, :, 0]
        keep = logits > np.log(self.min_score / (1 - self.min_score))
        values = self._model.get_tensor(self._values)[0, keep].reshape(-1, 8, 2) / _INPUT
        anchors = self._anchors[keep]
        points = np.concatenate([values[:, :1] + anchors, values[:, 2:] + anchors], axis=1)
        offset = np.array([left, top]) / _INPUT
        stretch = self.size / (width, height) * _INPUT
        points = (points - offset) * stretch
        size = values[:, 1] * stretch
        boxes = np.concatenate([points[:, 0] - size / 2, size], axis=1)
        scores = 1 / (1 + np.exp(-np.clip(logits[keep], -50, 50)))
        return _suppress(Detections(boxes, points[:, 1:], scores))


def _suppress(found: Detections) -> Detections:
    """One detection a face: overlapping ones are averaged with their scores as weights."""
    order = np.argsort(-found.score)
    box, point, score = found.box[order], found.point[order], found.score[order]
    overlap = box_overlap(box, box)
    left = np.ones(len(box), dtype=bool)
    groups = []
    for best in range(len(box)):
        if left[best]:
            group = np.flatnonzero(left & (overlap[best] > _SUPPRESSION))
            group = group if len(group) else np.array([best])
            left[group] = False
            groups.append(group)
    if not groups:
        return found
    return Detections(
        np.stack([np.average(box[g], axis=0, weights=score[g]) for g in groups]),
        np.stack([np.average(point[g], axis=0, weights=score[g]) for g in groups]),
        np.array([score[g[0]] for g in groups]),
    )


def box_overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of every box of `a` with every box of `b`.

    Parameters
    ----------
    a, b : numpy.ndarray, shape (n, 4) and (m, 4)
        Left, top, width, height.

    Returns
    -------
    numpy.ndarray, shape (n, m)
        0 to 1.

    Examples
    --------
    >>> import numpy as np
    >>> box_overlap(np.array([[0, 0, 2, 2]]), np.array([[1, 0, 2, 2], [5, 5, 1, 1]])).round(3)
    array([[0.333, 0.   ]])
    """
    a, b = a[:, None], b[None]
    start = np.maximum(a[..., :2], b[..., :2])
    end = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    shared = (end - start).clip(0).prod(-1)
    union = a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - shared
    return shared / np.maximum(union, 1e-9)


class _Watch:
    """Looks at some frames, and fills in between where nothing changed."""

    def __init__(
        self, detector: FaceDetector, tracker: _Tracker, times: np.ndarray, interval: float
    ) -> None:
        self._detector, self._tracker = detector, tracker
        self._times, self._interval = times, interval
        self._last: tuple[int, Detections] | None = None
        self._skipped: list[tuple[int, Callable[[], np.ndarray]]] = []

    def look(self, row: int, frame: Callable[[], np.ndarray]) -> None:
        # A frame counts as due a little early, so that a steady rate keeps a steady stride.
        due = self._last is None or (
            self._times[row] - self._times[self._last[0]] > 0.98 * self._interval
        )
        if not due and row < len(self._times) - 1:
            self._skipped.append((row, frame))
            return
        found = self._detector.detect(frame())
        self._fill(row, found)
        self._tracker.add(row, self._times[row], found)
        self._last = (row, found)

    def finish(self) -> None:
        """Look at what was skipped last: there is no end to interpolate to."""
        self._fill(None, None)

    def _fill(self, row: int | None, found: Detections | None) -> None:
        pairs = None if found is None or self._last is None else _pair(self._last[1], found)
        for skipped, frame in self._skipped:
            if pairs is None:
                between = self._detector.detect(frame())
            else:
                start, end = self._times[self._last[0]], self._times[row]
                share = (self._times[skipped] - start) / (end - start)
                between = _mix(self._last[1], found, pairs, share)
            self._tracker.add(skipped, self._times[skipped], between)
        self._skipped.clear()


def _pair(before: Detections, after: Detections) -> np.ndarray | None:
    """For each face before, which one it is after; None if any came, left or jumped."""
    if len(before.box) != len(after.box):
        return None
    if not len(before.box):
        return np.empty(0, int)
    overlap = box_overlap(before.box, after.box)
    rows, columns = linear_sum_assignment(-overlap)
    return columns if overlap[rows, columns].min() > _STEADY else None


def _mix(before: Detections, after: Detections, pairs: np.ndarray, share: float) -> Detections:
    def between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a + share * (b[pairs] - a)

    return Detections(
        between(before.box, after.box),
        between(before.point, after.point),
        between(before.score, after.score),
        interpolated=True,
    )


@dataclass
class _Track:
    rows: list[int] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    points: list[np.ndarray] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    interpolated: list[bool] = field(default_factory=list)
    last_time: float = 0.0


class _Tracker:
    """Joins detections of successive frames into tracks."""

    def __init__(self) -> None:
        self._live: list[_Track] = []
        self._ended: list[_Track] = []

    def add(self, row: int, time: float, found: Detections) -> None:
        self._retire(row, time)
        taken = set()
        if self._live and len(found.box):
            # The longer a face went unseen, the farther it may have moved: boxes grow.
            waited = np.array([time - track.last_time for track in self._live])
            grow = 1 + waited.clip(0, 1)[:, None]
            overlap = np.stack(
                [
                    box_overlap(_grown(track.boxes[-1], g), _grown(found.box, g))[0]
                    for track, g in zip(self._live, grow, strict=True)
                ]
            )
            for old, new in zip(*linear_sum_assignment(-overlap), strict=True):
                if overlap[old, new] > 0.2:
                    self._extend(self._live[old], row, time, found, new)
                    taken.add(int(new))
        for new in set(range(len(found.box))) - taken:
            self._live.append(_Track())
            self._extend(self._live[-1], row, time, found, new)

    def finish(self, *, still: bool) -> list[_Track]:
        """Tracks that are faces rather than chance detections, the most present first."""
        tracks = [
            track
            for track in self._ended + self._live
            if (still and track.scores[0] >= _CLEAR_STILL)
            or (len(track.rows) > 1 and max(track.scores) >= _CLEAR)
        ]
        return sorted(tracks, key=lambda track: -sum(float(b[2] * b[3]) for b in track.boxes))

    def _retire(self, row: int, time: float) -> None:
        for track in self._live[:]:
            if time - track.last_time > _GAP_SECONDS and row - track.rows[-1] > _GAP_ROWS + 1:
                self._live.remove(track)
                self._ended.append(track)

    @staticmethod
    def _extend(track: _Track, row: int, time: float, found: Detections, index: int) -> None:
        track.rows.append(row)
        track.boxes.append(found.box[index])
        track.points.append(found.point[index])
        track.scores.append(float(found.score[index]))
        track.interpolated.append(found.interpolated)
        track.last_time = time


def _grown(box: np.ndarray, factor: float) -> np.ndarray:
    """Boxes of shape (n, 4) scaled about their centres."""
    box = np.atleast_2d(box)
    size = box[:, 2:] * factor
    return np.concatenate([box[:, :2] + (box[:, 2:] - size) / 2, size], axis=1)


def _to_dataset(
    tracks: list[_Track],
    times: np.ndarray,
    read: np.ndarray,
    size: tuple[int, int],
    history: str,
) -> xr.Dataset:
    shape = (len(times), max(len(tracks), 1))
    box = np.full((*shape, 4), np.nan, np.float32)
    point = np.full((*shape, 6, 2), np.nan, np.float32)
    score = np.full(shape, np.nan, np.float32)
    status = np.full(shape, schema.FACE_STATUS.index("no_face"), np.int8)
    status[~read] = schema.FACE_STATUS.index("unreadable_frame")
    for face, track in enumerate(tracks):
        box[track.rows, face] = track.boxes
        point[track.rows, face] = track.points
        score[track.rows, face] = track.scores
        how = (schema.FACE_STATUS.index("detected"), schema.FACE_STATUS.index("interpolated"))
        status[track.rows, face] = np.where(track.interpolated, how[1], how[0])
    return schema.build_dataset(
        "face",
        {
            "face_box": box,
            "face_point": point,
            "face_score": score,
            "face_quality": _quality(box, score, size),
            "face_status": status,
        },
        {"time": times, "face": [f"face_{i}" for i in range(shape[1])]},
        history=history,
    )


def _quality(box: np.ndarray, score: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Score, lowered for faces that are small or partly outside the picture."""
    start = box[..., :2].clip(0, size)
    end = (box[..., :2] + box[..., 2:]).clip(0, size)
    inside = (end - start).prod(-1) / box[..., 2:].prod(-1)
    return score * inside * (box[..., 2] / _FULL_SIZE).clip(0, 1)
