"""The built-in face mesh: 468 landmarks of a face, and action units read from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from . import assets
from .eyes import separate_blinks

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

DATA = Path(__file__).parent / "data"

_INPUT = 192
#: Side of the crop over the longer side of the face's box, as the network was trained.
_MARGIN = 1.5
#: Outer corners of the subject's right and left eye.
_EYE_CORNERS = [33, 263]


@dataclass(frozen=True)
class Crop:
    """A square of the frame, turned so that the eyes are level.

    ``angle`` is in radians, clockwise on screen; ``centre`` and ``side`` in pixels.
    """

    centre: tuple[float, float]
    side: float
    angle: float = 0.0

    @classmethod
    def from_detection(cls, box: np.ndarray, point: np.ndarray | None = None) -> Crop:
        """Crop of a box (4,), level where the detector's points (6, 2) are known."""
        angle = 0.0 if point is None else _tilt(point[0], point[1])
        x, y, width, height = box.tolist()
        return cls((x + width / 2, y + height / 2), _MARGIN * max(width, height), angle)

    @classmethod
    def from_landmarks(cls, landmarks: np.ndarray) -> Crop:
        """Crop around the landmarks (468, 3) of the frame before."""
        plane = landmarks[:, :2]
        (left, top), (right, bottom) = plane.min(0).tolist(), plane.max(0).tolist()
        angle = _tilt(*plane[_EYE_CORNERS])
        side = _MARGIN * max(right - left, bottom - top)
        return cls(((left + right) / 2, (top + bottom) / 2), side, angle)

    def cut(self, frame: np.ndarray, size: int) -> np.ndarray:
        """The crop of `frame` as (size, size, 3) uint8; black outside the frame."""
        shrink = max(int(self.side / size), 1)
        part, left, top = self._part_of(frame, shrink)
        if not part.size:
            return np.zeros((size, size, 3), np.uint8)
        step = self.side / size / shrink
        along, across = step * math.cos(self.angle), step * math.sin(self.angle)
        # Middles of pixels lie at whole numbers for OpenCV, at halves for us.
        x, y = (self.centre[0] - left) / shrink - 0.5, (self.centre[1] - top) / shrink - 0.5
        middle = (size - 1) / 2
        matrix = (
            (along, -across, x - middle * (along - across)),
            (across, along, y - middle * (across + along)),
        )
        # Four channels are turned in less than half the time of three, there and back included.
        turned = cv2.warpAffine(
            cv2.cvtColor(part, cv2.COLOR_RGB2RGBA),
            np.array(matrix),
            (size, size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        )
        return cv2.cvtColor(turned, cv2.COLOR_RGBA2RGB)

    def _part_of(self, frame: np.ndarray, shrink: int) -> tuple[np.ndarray, int, int]:
        """The part of `frame` that the crop may touch, shrunk, and its left and top."""
        reach = self.side * (abs(math.cos(self.angle)) + abs(math.sin(self.angle))) / 2 + shrink + 1
        left, top = (max(math.floor(middle - reach), 0) for middle in self.centre)
        right, bottom = (max(math.ceil(middle + reach), 0) for middle in self.centre)
        part = frame[top:bottom, left:right]
        if shrink == 1:
            return part, left, top
        # Bilinear sampling of a much larger picture would pick pixels at random.
        height, width = (n - n % shrink for n in part.shape[:2])
        if not height or not width:
            return part[:0], left, top
        size = (width // shrink, height // shrink)
        return cv2.resize(part[:height, :width], size, interpolation=cv2.INTER_AREA), left, top

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        """Points (n, 3) in units of the crop's side, 0 to 1, as pixels of the frame."""
        placed = np.empty_like(points)
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        x, y = self.side * (points[:, 0] - 0.5), self.side * (points[:, 1] - 0.5)
        placed[:, 0] = cos * x - sin * y + self.centre[0]
        placed[:, 1] = sin * x + cos * y + self.centre[1]
        placed[:, 2] = points[:, 2] * self.side
        return placed


class FaceMesh:
    """MediaPipe's face mesh on one crop at a time."""

    def __init__(self) -> None:
        self._model = assets.open_model("face_mesh")
        self._input = self._model.get_input_details()[0]["index"]
        outputs = {int(d["shape"][-1]): d["index"] for d in self._model.get_output_details()}
        self._points, self._logit = outputs[1404], outputs[1]

    def locate(self, frame: np.ndarray, crop: Crop) -> tuple[np.ndarray, float, np.ndarray]:
        """Landmarks (468, 3) in pixels of the frame, probability of a face, and what was seen."""
        seen = crop.cut(frame, _INPUT)
        _show(self._model, self._input, 0, seen)
        self._model.invoke()
        logit = float(self._model.get_tensor(self._logit).squeeze())
        points = self._model.get_tensor(self._points).reshape(468, 3) / _INPUT
        return crop.to_frame(points), 1 / (1 + math.exp(-min(max(logit, -50), 50))), seen


#: The detector's right eye, left eye, nose tip and mouth among the landmarks.
_DETECTOR_POINTS = ((33, 133, 145, 159), (263, 362, 374, 386), (1,), (13, 14))


def disagreement(landmarks: np.ndarray, points: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Farthest that the detector's points (n, 6, 2) lie from the mesh's (n,), in face widths."""
    placed = [landmarks[:, list(group), :2].mean(1) for group in _DETECTOR_POINTS]
    return np.linalg.norm(np.stack(placed, 1) - points[:, :4], axis=2).max(1) / width


class Eyes:
    """MediaPipe's iris network: how far the lids of both eyes are open, and where they look."""

    #: What :meth:`look` measures.
    MEASURES = ("upper_lid", "lower_lid", "iris_right", "iris_up")

    _SIZE = 64
    #: Corners of the subject's right and left eye, from left to right in the picture.
    _CORNERS = ((33, 133), (362, 263))
    #: Side of the crop over the width of the eye, as the network was trained.
    _MARGIN = 2.3

    def __init__(self) -> None:
        self._model = assets.open_model("iris", batch=2)
        self._input = self._model.get_input_details()[0]["index"]
        outputs = {int(d["shape"][-1]): d["index"] for d in self._model.get_output_details()}
        self._outline, self._iris = outputs[2 * 71 * 3], outputs[2 * 5 * 3]

    def look(self, frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """Outlines (2, 17, 2) of both eyes, for :meth:`measure`: both lids, and the iris."""
        first, second = (self._cut(frame, *landmarks[list(pair), :2]) for pair in self._CORNERS)
        _show(self._model, self._input, 0, first)
        # The network knows one eye only; the other is shown to it mirrored.
        _show(self._model, self._input, 1, second[:, ::-1])
        self._model.invoke()
        outline = self._model.get_tensor(self._outline).reshape(2, 71, 3)
        iris = self._model.get_tensor(self._iris).reshape(2, 5, 3)
        return np.concatenate([outline[:, :16, :2], iris[:, :1, :2]], axis=1)

    def measure(self, outlines: np.ndarray) -> np.ndarray:
        """Where lids and irises stand (n, 4), as named in ``MEASURES``; in eye widths.

        Of outlines (n, 2, 17, 2). How far upper and lower lid stand from the line between the
        corners, means over the lid and both eyes, about 0.15 and 0.09 at rest; the upper one
        is negative when closed eyes sink below the line. How far the irises stand from the
        middle of that line, to the right in the picture and up.
        """
        start, end, iris = outlines[:, :, 0], outlines[:, :, 8], outlines[:, :, 16]
        across = end - start
        width = np.maximum(np.linalg.norm(across, axis=-1), 1)[..., None]
        along = across / width
        normal = np.stack([-along[..., 1], along[..., 0]], axis=-1)
        rim = outlines[:, :, :16] - start[:, :, None]
        below = np.einsum("nepx,nex->nep", rim, normal) / width
        aside = (iris - start - across / 2) / width
        # To the right for the first eye, which is not mirrored.
        right = (aside * along).sum(-1) * (1, -1)
        down = (aside * normal).sum(-1)
        return np.stack(
            [
                -below[:, :, 9:16].mean((1, 2)),
                below[:, :, 1:8].mean((1, 2)),
                right.mean(1),
                -down.mean(1),
            ],
            axis=1,
        )

    def _cut(self, frame: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        (x, y), (u, v) = start.tolist(), end.tolist()
        side = self._MARGIN * math.hypot(u - x, v - y)
        middle = ((x + u) / 2, (y + v) / 2)
        return Crop(middle, side, _tilt(start, end)).cut(frame, self._SIZE)


def _show(model: Interpreter, tensor: int, index: int, picture: np.ndarray) -> None:
    """Write an RGB picture in 0 to 1 straight into the input of a network."""
    np.multiply(picture, np.float32(1 / 255), out=model.tensor(tensor)()[index])


def _tilt(right_eye: np.ndarray, left_eye: np.ndarray) -> float:
    (x, y), (u, v) = right_eye[:2].tolist(), left_eye[:2].tolist()
    return math.atan2(v - y, u - x)


#: Landmarks that expressions hardly move: eye corners, bridge and base of the nose,
#: forehead and temples. Faces are aligned on them.
STABLE = np.array(
    [33, 133, 362, 263, 168, 6, 197, 1, 4, 2, 98, 327, 10, 109, 338, 127, 356, 151, 9, 8]
)


def align(landmarks: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn, scale and shift faces so that their stable landmarks lie on the reference's.

    Parameters
    ----------
    landmarks : numpy.ndarray, shape (n, 468, 3)
        Right-handed: y up, z towards the viewer. No NaN.
    reference : numpy.ndarray, shape (468, 3)

    Returns
    -------
    aligned : numpy.ndarray, shape (n, 468, 3)
        In the units of `reference`.
    turn : numpy.ndarray, shape (n, 3, 3)
        Rotation that took each face from the reference's pose to its own.

    Notes
    -----
    Least-squares similarity after Umeyama (1991).
    """
    stable, target = landmarks[:, STABLE], reference[STABLE]
    origin = stable.mean(1, keepdims=True)
    stable, centre = stable - origin, target.mean(0)
    u, scales, vt = np.linalg.svd(stable.transpose(0, 2, 1) @ (target - centre))
    # A face is not its mirror image: where that would fit better, the last axis turns.
    mirrored = np.sign(np.linalg.det(u @ vt))
    scales[:, 2] *= mirrored
    u[:, :, 2] *= mirrored[:, None]
    turn = u @ vt
    size = scales.sum(1) / np.einsum("nki,nki->n", stable, stable)
    return (landmarks - origin) @ (size[:, None, None] * turn) + centre, turn


def lip_gap(aligned: np.ndarray) -> np.ndarray:
    """Height of the opening between the lips, in the units of the aligned landmarks."""
    return aligned[..., 13, 1] - aligned[..., 14, 1]


class ActionUnitModel:
    """Reads action units from landmarks.

    Linear in the displacement of the aligned landmarks from the reference face, less what a
    person's own face reads throughout. Fitted on synthetic faces by ``tools/fit_mesh_au.py``,
    whose docstring says on which.
    """

    #: Lips this far apart (in units of the reference face, about centimetres) just part,
    #: and are as far apart as speech and laughter bring them.
    LIPS_PART, LIPS_WIDE = 0.3, 1.25

    #: Where a unit of the lids begins and where it is full, in eye widths. The opening is
    #: 0.24 in the median of the people of the population offset, 0.16 to 0.27 in most, and
    #: 0 to 0.04 in closed eyes; their lower lids stand 0.09 below the corners, 0.04 to 0.06
    #: when they squint with laughter.
    RAISED, CLOSED, LOWER_LID_UP = (0.27, 0.37), (0.12, 0.04), (0.065, 0.02)

    #: Standard deviation of a reading around its unit plus the person's own, and mean of a
    #: unit's intensity. Of ten pairs tried, 0.05 and 0.12 recovered simulated clips best
    #: (correlation 0.931), but took half of a smile of ten seconds for the person's own; these
    #: take a quarter of it, and recover as well (0.925).
    _SPREAD_IN_TIME, _MEAN_INTENSITY = 0.05, 0.25
    #: Seconds that count at most, so that nobody's lasting smile goes in a longer clip.
    _SECONDS = 10
    #: Rows of a track that its person's own readings are estimated from, at most.
    _ROWS = 200

    def __init__(self) -> None:
        with np.load(DATA / "mesh_au.npz", allow_pickle=False) as data:
            read = [str(unit) for unit in data["units"]]
            self._reference = data["reference"].astype(np.float64)
            self._coefficient = data["coefficient"].astype(np.float64)
            self._intercept = data["intercept"].astype(np.float64)
            self.offset = data["offset"].astype(np.float64)
            self._spread = data["spread"].astype(np.float64)
            self._gain = data["gain"].astype(np.float64)
            self._trust, self._noise = data["trust"], data["noise"]
        #: Blinks come from the course of the lids, all others from one frame each.
        self.units = [*read, "AU45"]

    def raw(self, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Readings (n, n_units - 1), without offset or bounds, and turns (n, 3, 3)."""
        aligned, turn = align(landmarks * (1, -1, -1), self._reference)
        moved = (aligned - self._reference).reshape(len(aligned), -1)
        # Not by a matrix product: its threads would go on waiting for more, on cores that
        # other stages want, and sums would depend on how many faces come at once.
        values = np.einsum("nk,ku->nu", moved, self._coefficient) + self._intercept
        part = (lip_gap(aligned) - self.LIPS_PART) / (self.LIPS_WIDE - self.LIPS_PART)
        values[:, self.units.index("AU25")] = part
        return values, turn

    def read(self, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Readings (n, n_units - 1) for :meth:`settle`; pitch, yaw and roll (n, 3) in degrees.

        Of landmarks (n, 468, 3) in pixels.
        """
        values, turn = self.raw(landmarks)
        yaw, pitch, roll = Rotation.from_matrix(turn).as_euler("YXZ", degrees=True).T
        # Turned about axes to the viewer's right, up and towards the viewer; the angles
        # reported are up, to the person's right and tilted to the person's right.
        return values - self.offset, np.stack([-pitch, -yaw, roll], axis=1)

    def settle(self, time: np.ndarray, values: np.ndarray, lids: np.ndarray) -> np.ndarray:
        """Intensities (n, n_units) in 0 to 1 of one person's readings at `time` (n,).

        Of `values` (n, n_units - 1) from :meth:`read`, and the heights of upper and lower
        lid `lids` (n, 2) from :class:`Eyes`, because lids hardly move in the mesh. Rows with
        NaN stay NaN.
        """
        values = ((values - self.find_own(time, values)) * self._gain).clip(0, 1)
        opening, lower, closed = lids.sum(1), lids[:, 1], self.closed(lids)
        # Closing moves the lower lid as well, so a closed eye says nothing of AU07.
        values[:, self.units.index("AU07")] = _ramp(lower, *self.LOWER_LID_UP) * (1 - closed)
        values[:, self.units.index("AU05")] = _ramp(opening, *self.RAISED)
        held, blinks = separate_blinks(time, opening, closed)
        values[:, self.units.index("AU43")] = held
        return np.column_stack([values, blinks])

    def reliability(self) -> dict[str, tuple]:
        """Coordinates ``trust`` and ``noise`` of the units, as xarray takes them."""
        where = "on held-out simulated faces"
        return {
            "trust": ("action_unit", self._trust, {"long_name": f"correlation {where}"}),
            "noise": ("action_unit", self._noise, {"long_name": f"deviation of errors {where}"}),
        }

    def closed(self, lids: np.ndarray) -> np.ndarray:
        """How far the eyes are closed (n,), 0 to 1, of heights of both lids (n, 2)."""
        return _ramp(lids.sum(1), *self.CLOSED)

    def find_own(
        self, time: np.ndarray, values: np.ndarray, *, mean_intensity: float = _MEAN_INTENSITY
    ) -> np.ndarray:
        """What a person's readings (n, n_units - 1) hold throughout: their own face (n_units - 1,).

        The most probable one, where people's own readings are normal with the covariance
        that identities of the morphable head and errors of the mesh bring, what comes on
        top is never negative and exponential, as most units are absent most of the time,
        and the rest is noise. Rows of one second count as one.
        """
        seen = np.isfinite(values).all(1)
        if not seen.any():
            return np.zeros(values.shape[1])
        rows = np.flatnonzero(seen)
        rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), self._ROWS)).astype(int)]
        noise = self._SPREAD_IN_TIME**2
        seconds = min(len(np.unique(time[seen].astype(int))), self._SECONDS)
        keep = np.linalg.solve(
            self._spread + np.eye(len(self._spread)) * noise / seconds, self._spread
        ).T
        own = np.zeros(values.shape[1])
        for _ in range(200):
            shown = (values[rows] - own - noise / mean_intensity).clip(0)
            before, own = own, keep @ (values[rows] - shown).mean(0)
            if np.abs(own - before).max() < 1e-5:
                break
        return own


def _ramp(value: np.ndarray, start: float, end: float) -> np.ndarray:
    return ((value - start) / (end - start)).clip(0, 1)
