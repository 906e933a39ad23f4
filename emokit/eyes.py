"""What the eyes do over time."""

from __future__ import annotations

import numpy as np

#: Blinks last 0.1 to 0.4 s; lids that stay down longer are closed eyes, AU43.
LONGEST_BLINK = 0.5
#: Frames further apart than this (seconds) cannot tell the one from the other.
_COARSE = 0.25
#: How far the lids must come down for a blink; a look downwards stays below.
_DOWN = 0.3


def separate_blinks(time: np.ndarray, closed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Part how far the eyes are closed into closed eyes (AU43) and blinks (AU45).

    Parameters
    ----------
    time : numpy.ndarray, shape (n,)
        Seconds; sampling may be irregular.
    closed : numpy.ndarray, shape (n,)
        0 open to 1 closed; NaN where the eyes are not seen.

    Returns
    -------
    held, blinks : numpy.ndarray, shape (n,)
        Each row of `closed` goes to one of them, and the other is 0 there. A closure is a
        blink if the lids are down for no longer than ``LONGEST_BLINK``, counting what is
        seen of it. NaN where `closed` is; `blinks` is NaN throughout if the frames lie too
        far apart to tell, and closures are all in `held` then.
    """
    held, blinks = closed.copy(), np.where(np.isfinite(closed), 0.0, np.nan)
    step = np.median(np.diff(time)) if len(time) > 1 else np.inf
    if step > _COARSE:
        blinks[:] = np.nan
        return held, blinks
    down = np.nan_to_num(closed) > 0
    # Rows that are missing or far away end a closure.
    starts = down & ~(np.r_[False, down[:-1]] & (np.diff(time, prepend=time[0]) <= _COARSE))
    for part in np.split(np.arange(len(time)), np.flatnonzero(starts)):
        rows = part[down[part]]
        deep = rows[closed[rows] >= _DOWN]
        if deep.size and time[deep[-1]] - time[deep[0]] + step <= LONGEST_BLINK:
            blinks[rows], held[rows] = closed[rows], 0.0
    return held, blinks
