"""How several faces react together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import xarray as xr

from .arguments import check_number
from .schema import build_dataset, extend_history, validate
from .smoothing import window_means


def measure_group(
    aus: xr.Dataset,
    *,
    window: float = 5.0,
    smile: float = 0.3,
    units: Sequence[str] = ("AU01", "AU02", "AU04", "AU06", "AU09", "AU10", "AU12", "AU15", "AU17"),
) -> xr.Dataset:
    """Measure how many faces smile, and how much they move together, over time.

    Parameters
    ----------
    aus : xarray.Dataset
        With ``au (time, face, action_unit)`` of several faces.
    window : float
        Seconds, centred, over which movements are correlated.
    smile : float
        A face smiles from this intensity of AU12 on.
    units : sequence of str
        Units whose movements are correlated, as far as `aus` has them; by default those
        that neither speech nor blinking moves much.

    Returns
    -------
    xarray.Dataset
        Along ``time``: ``n_faces`` that can be read; ``smiling_share`` of them, NaN where
        there is none; ``synchrony``, -1 to 1, the mean over pairs of faces of the
        correlation of their units within the window, the units pooled. NaN where no two
        faces are both there in half of the window, or where they do not move at all.

    Raises
    ------
    ValueError
        If ``au`` is missing, lacks AU12 or all of `units`, or `window` is not positive.

    Notes
    -----
    Windowed correlation of two people's signals after Boker et al. (2002, Psychological
    Methods 7, 338), without their lags. Faces that react to the same screen correlate
    without any bond between them.

    Examples
    --------
    >>> import numpy as np, emokit as ek
    >>> time = np.arange(0, 10, 0.1)
    >>> wave = (np.sin(time) + 1) / 2
    >>> au = np.stack([wave, wave, 1 - wave], axis=1)[..., None]
    >>> aus = ek.schema.build_dataset(
    ...     "face", {"au": au},
    ...     {"time": time, "face": ["face_0", "face_1", "face_2"], "action_unit": ["AU12"]},
    ...     history="[]")
    >>> group = ek.measure_group(aus)
    >>> round(group.synchrony.sel(time=5, method="nearest").item(), 2)  # of +1, -1 and -1
    -0.33
    """
    validate(aus, group="face", requires=["au"], argument="aus")
    check_number("window", window, above=0, unit="seconds")
    check_number("smile", smile, above=0, most=1)
    chosen = [unit for unit in units if unit in aus["action_unit"].values]
    if not chosen or "AU12" not in aus["action_unit"].values:
        raise ValueError("aus must hold AU12 and some of units")
    au = aus["au"].transpose("time", "face", "action_unit")
    seen = au.notnull().any("action_unit")
    lips = au.sel(action_unit="AU12")
    known = lips.notnull()
    moves = au.sel(action_unit=chosen).values.astype(np.float64)
    time = aus["time"].values
    pairs = [
        _correlate(time, moves[:, one], moves[:, two], window)
        for one, two in combinations(range(moves.shape[1]), 2)
    ]
    every = np.array(pairs).reshape(-1, len(time))
    count = np.isfinite(every).sum(0)
    synchrony = np.where(count > 0, np.nansum(every, axis=0) / np.maximum(count, 1), np.nan)
    smiling = (lips >= smile).sum("face") / known.sum("face").where(lambda n: n > 0)
    return build_dataset(
        "group",
        {
            "n_faces": seen.sum("face").values,
            "smiling_share": smiling.values,
            "synchrony": synchrony,
        },
        {"time": time},
        history=extend_history(
            "measure_group", aus, parameters={"window": window, "smile": smile, "units": chosen}
        ),
    )


def _correlate(time: np.ndarray, one: np.ndarray, two: np.ndarray, window: float) -> np.ndarray:
    """Correlation within the window around each row, over the units (time, unit) together."""
    both = np.isfinite(one) & np.isfinite(two)
    # About their means, so that differences of large sums lose no digits.
    one, two = (
        np.where(both, values - np.mean(values[both]) if both.any() else 0, np.nan)
        for values in (one, two)
    )

    def mean(values: np.ndarray) -> np.ndarray:
        return window_means(time, values, window)

    covariance = mean(one * two) - mean(one) * mean(two)
    spread = [mean(values**2) - mean(values) ** 2 for values in (one, two)]
    pooled = np.sqrt(np.nansum(spread[0], 1).clip(0) * np.nansum(spread[1], 1).clip(0))
    # Below a thousandth of the range there is no movement to correlate.
    moving = pooled > 1e-6
    return np.where(moving, np.nansum(covariance, 1) / np.where(moving, pooled, 1), np.nan)
