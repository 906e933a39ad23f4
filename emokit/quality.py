"""How well a face could be read, and what stands in the way."""

from __future__ import annotations

import cv2
import numpy as np
import xarray as xr

from .schema import QUALITY_REASON

#: Where each measure begins to cost quality, and where nothing is left of it.
#:
#: Width in pixels and sharpness were measured by blurring and shrinking 45 real faces:
#: below these beginnings the units move by more than 0.015 on average, at the ends by
#: about 0.1 (blurred) and 0.05 (16 pixels). Networks that see a whole face agree on its
#: points within 0.09 face widths. The turn is a convention: no truth was at hand.
_SMALL = (48.0, 8.0)
_BLURRED = (0.12, 0.02)
_COVERED = (0.09, 0.2)
_TURNED = (20.0, 60.0)

#: A measure that costs less than this is not named as the reason.
_WORTH_NAMING = 0.75


def sharpness(crop: np.ndarray) -> float:
    """Fine structure over coarse, of the middle of a face crop (n, n, 3).

    Standard deviation of the Laplacian over that of the grey values: after Pech-Pacheco
    et al. (2000), divided by the contrast so that a dim face is not a blurred one. Faces
    in focus have 0.2 to 0.6.
    """
    edge = len(crop) // 6
    grey = np.ascontiguousarray(crop[edge:-edge, edge:-edge, 1])
    fine, coarse = (
        float(cv2.meanStdDev(each)[1][0, 0]) for each in (cv2.Laplacian(grey, cv2.CV_16S), grey)
    )
    return fine / max(coarse, 4.0)


def judge(
    faces: xr.Dataset,
    size: tuple[int, int],
    *,
    head_pose: np.ndarray,
    sharpness: np.ndarray | None = None,
    mesh_score: np.ndarray | None = None,
    disagreement: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """``face_quality`` and ``quality_reason`` of every row, each ``(time, face)``.

    Parameters
    ----------
    faces : xarray.Dataset
        ``face_box``, and ``face_score`` where there is one.
    size : tuple of int
        Width and height of the frame.
    head_pose : numpy.ndarray, shape (time, face, 3)
        Degrees.
    sharpness, mesh_score, disagreement : numpy.ndarray, shape (time, face), optional
        Of :func:`sharpness`; 0 to 1; how far the points of two networks lie apart, in
        face widths. What is not known costs nothing.
    """
    box = faces["face_box"].values.astype(np.float64)
    shape = box.shape[:2]
    score = faces["face_score"].values if "face_score" in faces else np.ones(shape)
    start = box[..., :2].clip(0, size)
    end = (box[..., :2] + box[..., 2:]).clip(0, size)
    with np.errstate(invalid="ignore", divide="ignore"):
        inside = (end - start).prod(-1) / box[..., 2:].prod(-1)
    turn = np.abs(head_pose[..., :2]).max(-1)
    factors = {
        "uncertain": score * (1 if mesh_score is None else mesh_score),
        "small": _ramp(box[..., 2], *_SMALL),
        "cut_off": inside,
        "blurred": np.ones(shape) if sharpness is None else _ramp(sharpness, *_BLURRED),
        "turned": _ramp(turn, *_TURNED),
        "covered": np.ones(shape) if disagreement is None else _ramp(disagreement, *_COVERED),
    }
    # Under a mesh that found no face, pose and sharpness are unknown, not bad.
    table = np.nan_to_num(np.stack([factors[name] for name in QUALITY_REASON[1:]]), nan=1.0)
    seen = np.isfinite(box).all(-1)
    worst = np.where(table.min(0) < _WORTH_NAMING, 1 + table.argmin(0), 0)
    return {
        "face_quality": np.where(seen, table.prod(0), np.nan),
        "quality_reason": np.where(seen, worst, 0).astype(np.int8),
    }


def _ramp(value: np.ndarray, full: float, nothing: float) -> np.ndarray:
    return ((np.asarray(value, np.float64) - nothing) / (full - nothing)).clip(0, 1)
