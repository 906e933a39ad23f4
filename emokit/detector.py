"""The face detector: boxes and key points of the faces in one frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import assets

#: Longer side of the picture that the network sees.
INPUT = 192
_GRID = 48
_SUPPRESSION = 0.3


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
        square = np.full((1, INPUT, INPUT, 3), -1, np.float32)
        left, top = (INPUT - width) // 2, (INPUT - height) // 2
        square[0, top : top + height, left : left + width] = frame / np.float32(127.5) - 1
        self._model.set_tensor(self._input, square)
        self._model.invoke()
        logits = self._model.get_tensor(self._logits)[0, :, 0]
        keep = logits > np.log(self.min_score / (1 - self.min_score))
        values = self._model.get_tensor(self._values)[0, keep].reshape(-1, 8, 2) / INPUT
        anchors = self._anchors[keep]
        points = np.concatenate([values[:, :1] + anchors, values[:, 2:] + anchors], axis=1)
        offset = np.array([left, top]) / INPUT
        stretch = self.size / (width, height) * INPUT
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
    blended = [(score[g] / score[g].sum(), g) for g in groups]
    return Detections(
        np.stack([share @ box[g] for share, g in blended]),
        np.stack([np.tensordot(share, point[g], 1) for share, g in blended]),
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
