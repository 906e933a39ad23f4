"""Where eyes look, and how their lids move over time."""

from __future__ import annotations

import numpy as np
import pandas as pd

#: Blinks last 0.1 to 0.4 s; lids that stay down longer are closed eyes, AU43.
LONGEST_BLINK = 0.5
#: Frames further apart than this (seconds) cannot tell the one from the other.
_COARSE = 0.25
#: Seconds around a frame over which eyes are watched for how far they are open otherwise.
_WATCHED = "3s"
#: By what share the opening must go down for a blink, and where its intensity begins and is
#: full. In a speaker's blinks (25 frames/s) it goes down by 0.5 to 0.75, no further.
_DOWN, _BLINK = 0.45, (0.2, 0.7)


def separate_blinks(
    time: np.ndarray, opening: np.ndarray, closed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Part what lids do into closed eyes (AU43) and blinks (AU45).

    Parameters
    ----------
    time : numpy.ndarray, shape (n,)
        Seconds; sampling may be irregular.
    opening : numpy.ndarray, shape (n,)
        Height of the opening between the lids; NaN where the eyes are not seen.
    closed : numpy.ndarray, shape (n,)
        How far that counts as closed, 0 to 1.

    Returns
    -------
    held, blinks : numpy.ndarray, shape (n,)
        `closed`, but 0 in blinks; and how deep each blink is, 0 to 1. Lids blink if they go
        down from how far they are open before or after, for no longer than
        ``LONGEST_BLINK``, counting what is seen of it. NaN where `opening` is; `blinks` is
        NaN throughout if the frames lie too far apart to tell.
    """
    held, blinks = closed.copy(), np.where(np.isfinite(opening), 0.0, np.nan)
    step = np.median(np.diff(time)) if len(time) > 1 else np.inf
    if step > _COARSE:
        blinks[:] = np.nan
        return held, blinks
    watched = pd.Series(opening, index=pd.to_timedelta(time, unit="s"))
    # So high a quantile holds against the lids being down for most of the time.
    usual = watched.rolling(_WATCHED, center=True, min_periods=1).quantile(0.8).to_numpy()
    depth = np.nan_to_num(1 - opening / np.maximum(usual, 1e-6)).clip(0)
    down = depth > _BLINK[0]
    # Rows that are missing or far away end a closure.
    starts = down & ~(np.r_[False, down[:-1]] & (np.diff(time, prepend=time[0]) <= _COARSE))
    for part in np.split(np.arange(len(time)), np.flatnonzero(starts)):
        rows = part[down[part]]
        deep = rows[depth[rows] >= _DOWN]
        if deep.size and time[deep[-1]] - time[deep[0]] + step <= LONGEST_BLINK:
            blinks[rows] = ((depth[rows] - _BLINK[0]) / (_BLINK[1] - _BLINK[0])).clip(0, 1)
            held[rows] = 0.0
    return held, blinks


#: Distance of the iris from the centre about which the eye turns, of that centre from the
#: line between the corners, and of the iris above that line as one looks straight ahead,
#: all in widths of the eye. The first is anatomy (10 mm, with irises of 11.7 mm, which are
#: 0.44 eye widths wide in the network's outline), the second is how irises move as a
#: speaker's head turns while she looks into the camera, the third the median of six people
#: who do.
_IRIS_ARM, _CORNERS_AHEAD, _IRIS_HEIGHT = 0.376, 0.13, 0.075


def find_gaze(iris: np.ndarray, pose: np.ndarray, closed: np.ndarray) -> np.ndarray:
    """Direction of gaze (n, 3) from the camera, in degrees: up, to the person's right, NaN.

    Parameters
    ----------
    iris : numpy.ndarray, shape (n, 2)
        How far the irises stand from the middle between the corners of the eye, to the
        right in the picture and up, in widths of the eye.
    pose : numpy.ndarray, shape (n, 3)
        Pitch, yaw and roll of the head in degrees. The corners of the eye turn with the
        head, in front of the centre about which the eye turns by itself.
    closed : numpy.ndarray, shape (n,)
        0 open to 1 closed; half-closed eyes and more have no gaze.
    """
    lean, turn = np.sin(np.radians(pose[:, :2])).T
    up = (iris[:, 1] - _IRIS_HEIGHT + _CORNERS_AHEAD * lean) / _IRIS_ARM
    right = (-iris[:, 0] + _CORNERS_AHEAD * turn) / _IRIS_ARM
    angles = np.degrees(np.arcsin(np.stack([up, right, np.full(len(up), np.nan)], 1).clip(-1, 1)))
    return np.where((closed < 0.5)[:, None], angles, np.nan)
