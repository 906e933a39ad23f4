"""The built-in face mesh: 468 landmarks of a face, and action units read from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from . import assets

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
        return cls(tuple(box[:2] + box[2:] / 2), float(_MARGIN * max(box[2:])), angle)

    @classmethod
    def from_landmarks(cls, landmarks: np.ndarray) -> Crop:
        """Crop around the landmarks (468, 3) of the frame before."""
        low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
        angle = _tilt(*landmarks[_EYE_CORNERS, :2])
        return cls(tuple((low + high) / 2), float(_MARGIN * max(high - low)), angle)

    @property
    def _turn(self) -> np.ndarray:
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return np.array([[cos, -sin], [sin, cos]])

    def cut(self, frame: np.ndarray, size: int) -> np.ndarray:
        """The crop of `frame` as (size, size, 3) uint8; black outside the frame."""
        reach = self.side * (abs(np.cos(self.angle)) + abs(np.sin(self.angle))) / 2
        low = np.floor(np.array(self.centre) - reach).astype(int) - 1
        high = np.ceil(np.array(self.centre) + reach).astype(int) + 1
        left, top = low.clip(0)
        part = frame[top : max(high[1], 0), left : max(high[0], 0)]
        if not part.size:
            return np.zeros((size, size, 3), np.uint8)
        image = Image.fromarray(np.ascontiguousarray(part))
        # Bilinear sampling of a much larger picture would pick pixels at random.
        shrink = max(int(self.side / size), 1)
        image = image.reduce(shrink) if shrink > 1 else image
        matrix = self._turn * self.side / size
        origin = np.array(self.centre) - (left, top) - matrix @ (size / 2, size / 2)
        affine = np.column_stack([matrix, origin]) / shrink
        return np.asarray(
            image.transform(
                (size, size), Image.Transform.AFFINE, affine.ravel(), Image.Resampling.BILINEAR
            )
        )

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        """Points (n, 3) in units of the crop's side, 0 to 1, as pixels of the frame."""
        placed = np.empty_like(points)
        placed[:, :2] = (points[:, :2] - 0.5) * self.side @ self._turn.T + self.centre
        placed[:, 2] = points[:, 2] * self.side
        return placed


class FaceMesh:
    """MediaPipe's face mesh on one crop at a time."""

    def __init__(self) -> None:
        self._model = assets.open_model("face_mesh")
        self._input = self._model.get_input_details()[0]["index"]
        outputs = {int(d["shape"][-1]): d["index"] for d in self._model.get_output_details()}
        self._points, self._logit = outputs[1404], outputs[1]

    def locate(self, frame: np.ndarray, crop: Crop) -> tuple[np.ndarray, float]:
        """Landmarks (468, 3) in pixels of the frame, and the probability of a face."""
        pixels = crop.cut(frame, _INPUT)[None].astype(np.float32)
        self._model.set_tensor(self._input, pixels / 255)
        self._model.invoke()
        logit = float(self._model.get_tensor(self._logit).squeeze())
        points = self._model.get_tensor(self._points).reshape(468, 3) / _INPUT
        return crop.to_frame(points), 1 / (1 + np.exp(-np.clip(logit, -50, 50)))


class Eyes:
    """MediaPipe's iris network: how far the lids of both eyes are open."""

    _SIZE = 64
    #: Corners of the subject's right and left eye, from left to right in the picture.
    _CORNERS = ((33, 133), (362, 263))
    #: Side of the crop over the width of the eye, as the network was trained.
    _MARGIN = 2.3

    def __init__(self) -> None:
        self._model = assets.open_model("iris", batch=2)
        self._input = self._model.get_input_details()[0]["index"]
        outputs = {int(d["shape"][-1]): d["index"] for d in self._model.get_output_details()}
        self._outline = outputs[2 * 71 * 3]

    def lids(self, frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """How far the upper and the lower lid stand from the line between the corners.

        Means over the lid and both eyes, in eye widths; about 0.15 and 0.09 at rest. The
        upper one is negative when closed eyes sink below the line.
        """
        eyes = [self._cut(frame, *landmarks[list(pair), :2]) for pair in self._CORNERS]
        # The network knows one eye only; the other is shown to it mirrored.
        eyes[1] = eyes[1][:, ::-1]
        self._model.set_tensor(self._input, np.stack(eyes).astype(np.float32) / 255)
        self._model.invoke()
        outline = self._model.get_tensor(self._outline).reshape(2, 71, 3)[..., :2]
        start = outline[:, :1]
        across = outline[:, 8:9] - start
        width = np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1)
        normal = np.concatenate([-across[..., 1:], across[..., :1]], axis=-1) / width
        below = ((outline[:, :16] - start) * normal).sum(-1) / width[..., 0]
        return np.array([-below[:, 9:16].mean(), below[:, 1:8].mean()])

    def _cut(self, frame: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        side = self._MARGIN * float(np.linalg.norm(end - start))
        return Crop(tuple((start + end) / 2), side, _tilt(start, end)).cut(frame, self._SIZE)


def _tilt(right_eye: np.ndarray, left_eye: np.ndarray) -> float:
    across = np.asarray(left_eye)[:2] - np.asarray(right_eye)[:2]
    return float(np.arctan2(across[1], across[0]))


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
    u, scales, vt = np.linalg.svd(np.einsum("nki,kj->nij", stable, target - centre))
    # A face is not its mirror image: where that would fit better, the last axis turns.
    mirrored = np.sign(np.linalg.det(u @ vt))
    scales[:, 2] *= mirrored
    u[:, :, 2] *= mirrored[:, None]
    turn = u @ vt
    size = scales.sum(1) / np.einsum("nki,nki->n", stable, stable)
    aligned = np.einsum("nki,nij->nkj", landmarks - origin, turn)
    return size[:, None, None] * aligned + centre, turn


def lip_gap(aligned: np.ndarray) -> np.ndarray:
    """Height of the opening between the lips, in the units of the aligned landmarks."""
    return aligned[..., 13, 1] - aligned[..., 14, 1]


class ActionUnitModel:
    """Reads action units from landmarks.

    Linear in the displacement of the aligned landmarks from the reference face; fitted on
    synthetic faces by ``tools/fit_mesh_au.py``, whose docstring says on which.
    """

    #: Lips this far apart (in units of the reference face, about centimetres) just part,
    #: and are as far apart as speech and laughter bring them.
    LIPS_PART, LIPS_WIDE = 0.3, 1.25

    #: Where a unit of the lids begins and where it is full, in eye widths. The opening is
    #: 0.24 in the median of the people of the population offset, 0.16 to 0.27 in most, and
    #: 0 to 0.04 in closed eyes; their lower lids stand 0.09 below the corners, 0.04 to 0.06
    #: when they squint with laughter.
    RAISED, CLOSED, LOWER_LID_UP = (0.27, 0.37), (0.12, 0.04), (0.065, 0.02)

    def __init__(self) -> None:
        with np.load(DATA / "mesh_au.npz", allow_pickle=False) as data:
            self.units = [str(unit) for unit in data["units"]]
            self._reference = data["reference"].astype(np.float64)
            self._coefficient = data["coefficient"].astype(np.float64)
            self._intercept = data["intercept"].astype(np.float64)
            self._offset = data["offset"].astype(np.float64)

    def raw(self, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Units (n, n_units) before the population offset and without bounds, and turns."""
        aligned, turn = align(landmarks * (1, -1, -1), self._reference)
        moved = (aligned - self._reference).reshape(len(aligned), -1)
        values = moved @ self._coefficient + self._intercept
        part = (lip_gap(aligned) - self.LIPS_PART) / (self.LIPS_WIDE - self.LIPS_PART)
        values[:, self.units.index("AU25")] = part
        return values, turn

    def read(self, landmarks: np.ndarray, lids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Intensities (n, n_units) in 0 to 1, and pitch, yaw and roll (n, 3) in degrees.

        Of landmarks (n, 468, 3) in pixels; the lids' units of what :class:`Eyes` measures
        (n, 2), because lids hardly move in the mesh.
        """
        values, turn = self.raw(landmarks)
        values = self.settle(values - self._offset, lids)
        yaw, pitch, roll = Rotation.from_matrix(turn).as_euler("YXZ", degrees=True).T
        # Turned about axes to the viewer's right, up and towards the viewer; the angles
        # reported are up, to the person's right and tilted to the person's right.
        return values, np.stack([-pitch, -yaw, roll], axis=1)

    def settle(self, values: np.ndarray, lids: np.ndarray) -> np.ndarray:
        """Bounded intensities of unbounded ones (n, n_units), with the lids' units put in."""
        values = values.clip(0, 1)
        opening, lower = lids.sum(1), lids[:, 1]
        closed = _ramp(opening, *self.CLOSED)
        values[:, self.units.index("AU43")] = closed
        # Closing moves the lower lid as well, so a closed eye says nothing of AU07.
        values[:, self.units.index("AU07")] = _ramp(lower, *self.LOWER_LID_UP) * (1 - closed)
        values[:, self.units.index("AU05")] = _ramp(opening, *self.RAISED)
        return values


def _ramp(value: np.ndarray, start: float, end: float) -> np.ndarray:
    return ((value - start) / (end - start)).clip(0, 1)
