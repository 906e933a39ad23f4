"""Following faces from frame to frame: detections joined into tracks, cuts, gaps."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from .detector import INPUT, Detections, FaceDetector, box_overlap

#: Boxes that overlap this much over one interval belong to a face that is followed easily.
_STEADY = 0.4

#: A track must be seen at least once as clearly as this: what only ever looks a little
#: like a face (a hand, a pattern on a wall) stays below it. A still image shows a face
#: once, so there the lower bound has to do.
_CLEAR = 0.75
_CLEAR_STILL = 0.6

#: A face may go unseen this long (seconds), or this many rows, and is expected where its
#: motion takes it.
_GAP_SECONDS = 0.5
_GAP_ROWS = 2
#: A face that was away longer, up to this many seconds, is the one that comes back where
#: it vanished.
_AWAY_SECONDS = 3.0

#: Farthest a face may be from where it is expected, in face widths, and largest change of
#: size, as a factor.
_REACH, _GROWTH = 0.65, 1.8

#: Rows farther apart than this are not compared for cuts: too much changes by itself.
_CUT_SECONDS = 0.25
#: Structural change of the whole picture (0 none, 1 unrelated) that makes a cut: between
#: two looks it is only suspected, between neighbours it must stand out from the others.
_CUT_SUSPECTED, _CUT, _CUT_STANDS_OUT = 0.35, 0.3, 3.0


class Picture(NamedTuple):
    """A frame that is converted only when it is looked at, whole or shrunk."""

    row: int
    convert: Callable[..., np.ndarray]


@dataclass
class Track:
    """Where one face was, row by row; flat arrays, for an hour has 100,000 rows."""

    number: int
    rows: array = field(default_factory=lambda: array("l"))
    boxes: array = field(default_factory=lambda: array("f"))
    points: array = field(default_factory=lambda: array("f"))
    scores: array = field(default_factory=lambda: array("f"))
    interpolated: array = field(default_factory=lambda: array("b"))
    last_box: np.ndarray | None = None
    last_time: float = 0.0
    #: Pixels a second of the box's centre.
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))

    def extend(self, row: int, time: float, found: Detections, index: int) -> None:
        """Add what was found in a row."""
        box = found.box[index]
        if self.last_box is not None and time > self.last_time:
            moved = _centre(box) - _centre(self.last_box)
            # Half the old speed: one detection alone trembles too much to predict from.
            self.velocity = (self.velocity + moved / (time - self.last_time)) / 2
        self.rows.append(row)
        self.boxes.extend(box.tolist())
        self.points.extend(found.point[index].ravel().tolist())
        self.scores.append(found.score[index])
        self.interpolated.append(found.interpolated)
        self.last_box, self.last_time = box, time

    def expected(self, time: float) -> np.ndarray:
        """Centre of the face if it moved on as it did; no farther than for a short gap."""
        waited = min(time - self.last_time, _GAP_SECONDS)
        return _centre(self.last_box) + self.velocity * waited


class Tracker:
    """Joins detections of successive frames into tracks."""

    def __init__(self) -> None:
        self._live: list[Track] = []
        self._ended: list[Track] = []
        self._count = 0

    def add(self, row: int, time: float, found: Detections) -> list[int]:
        """Number of the track of each detection."""
        self._retire(row, time)
        chosen: dict[int, Track] = {}
        if self._live and len(found.box):
            cost = np.array([self._cost(track, row, time, found.box) for track in self._live])
            for old, new in zip(*linear_sum_assignment(cost.clip(max=1e3)), strict=True):
                if np.isfinite(cost[old, new]):
                    chosen[int(new)] = self._live[old]
        for index in range(len(found.box)):
            if index not in chosen:
                chosen[index] = Track(self._count)
                self._count += 1
                self._live.append(chosen[index])
            chosen[index].extend(row, time, found, index)
        return [chosen[index].number for index in range(len(found.box))]

    def expected(self, numbers: list[int], time: float) -> np.ndarray:
        """Where the faces of live tracks should be by now, centres (n, 2)."""
        live = {track.number: track for track in self._live}
        return np.array([live[number].expected(time) for number in numbers]).reshape(-1, 2)

    def cut(self) -> None:
        """End every track: what comes is another shot."""
        self._ended += self._live
        self._live = []

    def finish(self, *, still: bool) -> list[Track]:
        """Tracks that are faces rather than chance detections, the most present first."""
        tracks = [
            track
            for track in self._ended + self._live
            if (still and track.scores[0] >= _CLEAR_STILL)
            or (len(track.rows) > 1 and max(track.scores) >= _CLEAR)
        ]

        def presence(track: Track) -> float:
            box = np.frombuffer(track.boxes, np.float32).reshape(-1, 4)
            return float((box[:, 2] * box[:, 3]).sum(dtype=np.float64))

        return sorted(tracks, key=presence, reverse=True)

    def _retire(self, row: int, time: float) -> None:
        for track in self._live[:]:
            if time - track.last_time > _AWAY_SECONDS and row - track.rows[-1] > _GAP_ROWS + 1:
                self._live.remove(track)
                self._ended.append(track)

    @staticmethod
    def _cost(track: Track, row: int, time: float, boxes: np.ndarray) -> list[float]:
        """How little each box (n, 4) looks like the track going on; inf where it cannot be."""
        waited = time - track.last_time
        away = waited > _GAP_SECONDS and row - track.rows[-1] > _GAP_ROWS + 1
        last = float(track.last_box[2:].mean())
        # Before it is away, a face that goes unseen may be anywhere it could have moved
        # to; after, only the place where it vanished tells it from a newcomer.
        x, y = (_centre(track.last_box) if away else track.expected(time)).tolist()
        reach = _REACH if away else _REACH * (1 + min(waited, 1.0))
        costs = []
        # Faces are few: numbers are faster than arrays.
        for left, top, width, height in boxes.tolist():
            size = (width + height) / 2
            distance = math.hypot(left + width / 2 - x, top + height / 2 - y) / ((size + last) / 2)
            growth = abs(math.log(max(size, 1e-9) / last))
            possible = distance < reach and growth < math.log(_GROWTH)
            costs.append(distance + growth / 2 + away if possible else math.inf)
        return costs


class Look(NamedTuple):
    """What was seen in a row: a coarse view, and how much it changed since the last look."""

    row: int
    view: np.ndarray
    change: float


class Settled(NamedTuple):
    """A row whose faces are known, with the numbers of their tracks in this part of the clip.

    ``cut`` says whether another shot begins with it.
    """

    picture: Picture
    found: Detections
    tracks: list[int]
    cut: bool


class Watch:
    """Looks at some frames of one part of a clip, and fills in between where nothing changed.

    Gives every row once it is settled, in order. Nothing is known of other parts.
    """

    def __init__(
        self, detector: FaceDetector, times: np.ndarray, parts: np.ndarray, interval: float
    ) -> None:
        self._detector, self._tracker = detector, Tracker()
        self._times, self._interval = times, interval
        # The last row of a part is looked at: there is nothing after it to interpolate to.
        self._ends = np.diff(parts, append=-1) != 0
        self._last: Settled | None = None
        self._skipped: list[Picture] = []
        #: What was seen first and last.
        self.first: Look | None = None
        self.last: Look | None = None

    def look(self, picture: Picture) -> Iterator[Settled]:
        """Rows that are settled now that `picture` is here."""
        row = picture.row
        # A frame counts as due a little early, so that a steady rate keeps a steady stride.
        due = self._last is None or (
            self._times[row] - self._times[self._last.picture.row] > 0.98 * self._interval
        )
        if not (due or self._ends[row]):
            self._skipped.append(picture)
            return
        small = picture.convert(fit=INPUT)
        found, view = self._detector.detect(small), _view(small)
        change = 0.0 if self.last is None else _change(self.last.view, view)
        before, self.last = self.last, Look(row, view, change)
        self.first = self.first or self.last
        cut = None if before is None else self._find_cut(before, self.last)
        yield from self._fill(None if cut is not None else picture, found, cut)
        self._last = self._settle(picture, found, cut)
        yield self._last

    def finish(self) -> Iterator[Settled]:
        """Rows that were skipped last: there is no end to interpolate to."""
        yield from self._fill(None, None, None)

    def _settle(self, picture: Picture, found: Detections, cut: int | None) -> Settled:
        if picture.row == cut:
            self._tracker.cut()
        tracks = self._tracker.add(picture.row, self._times[picture.row], found)
        return Settled(picture, found, tracks, picture.row == cut)

    def _fill(
        self, end: Picture | None, found: Detections | None, cut: int | None
    ) -> Iterator[Settled]:
        pairs = None
        if end is not None and self._last is not None:
            expected = self._tracker.expected(self._last.tracks, self._times[end.row])
            pairs = _pair(self._last.found, found, expected)
        for skipped in self._skipped:
            time = self._times[skipped.row]
            if pairs is None:
                between = self._detector.detect(skipped.convert(fit=INPUT))
            else:
                first, last = self._times[[self._last.picture.row, end.row]]
                between = _mix(self._last.found, found, pairs, (time - first) / (last - first))
            yield self._settle(skipped, between, cut)
        self._skipped.clear()

    def _find_cut(self, before: Look, now: Look) -> int | None:
        """First row of another shot between two looks; None where the shot goes on."""
        rows = [before.row, *(skipped.row for skipped in self._skipped), now.row]
        if np.diff(self._times[rows]).max() > _CUT_SECONDS:
            return None
        if now.change < _CUT_SUSPECTED:
            return None
        between = [_view(skipped.convert(fit=INPUT)) for skipped in self._skipped]
        views = [before.view, *between, now.view]
        changes = [_change(a, b) for a, b in pairwise(views)]
        most = int(np.argmax(changes))
        others = np.delete(changes, most)
        # A pan or a zoom changes every picture about as much.
        if changes[most] < max(_CUT, _CUT_STANDS_OUT * others.max(initial=0)):
            return None
        return rows[most + 1]


def is_cut(seconds: float, before: Look, after: Look) -> bool:
    """Whether neighbouring frames, so far apart, are of two shots."""
    # As between other frames, a pan or a zoom does not stand out from the change before it.
    least = max(_CUT_SUSPECTED, _CUT_STANDS_OUT * before.change)
    return seconds <= _CUT_SECONDS and _change(before.view, after.view) >= least


def _view(small: np.ndarray) -> np.ndarray:
    """Coarse picture (n,) of a shrunk frame, its brightness and contrast taken out.

    So that a flash or a fade is no cut.
    """
    height, width = (size - size % 8 for size in small.shape[:2])
    if not height or not width:
        return np.zeros(1)
    blocks = small[:height, :width].reshape(height // 8, 8, width // 8, 8, 3)
    grey = blocks.mean((1, 3, 4), dtype=np.float32).ravel()
    # Noise in a picture without contrast must not be blown up to a structure.
    return (grey - grey.mean()) / max(float(grey.std()), 8.0)


def _change(before: np.ndarray, after: np.ndarray) -> float:
    """Mean absolute difference of two views; about 1.1 for unrelated pictures."""
    if before.shape != after.shape:
        return np.inf
    return float(np.abs(before - after).mean())


def _pair(before: Detections, after: Detections, expected: np.ndarray) -> np.ndarray | None:
    """For each face before, which one it is after; None if any came, left or jumped.

    None as well where faces `expected` at centres (n, 2) would be others: two that pass
    each other may have changed places from look to look.
    """
    if len(before.box) != len(after.box):
        return None
    if not len(before.box):
        return np.empty(0, int)
    overlap = box_overlap(before.box, after.box)
    rows, columns = linear_sum_assignment(-overlap)
    if overlap[rows, columns].min() <= _STEADY:
        return None
    size = before.box[:, 2:]
    moved = np.concatenate([expected - size / 2, size], axis=1)
    _, others = linear_sum_assignment(-box_overlap(moved, after.box))
    return columns if (columns == others).all() else None


def _mix(before: Detections, after: Detections, pairs: np.ndarray, share: float) -> Detections:
    def between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a + share * (b[pairs] - a)

    return Detections(
        between(before.box, after.box),
        between(before.point, after.point),
        between(before.score, after.score),
        interpolated=True,
    )


def _centre(box: np.ndarray) -> np.ndarray:
    return box[..., :2] + box[..., 2:] / 2
