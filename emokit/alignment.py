"""One Dataset brought onto the time of another: emokit's only resampler."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from .arguments import check_max_gap
from .schema import extend_history, validate_time

_ALIGN_METHODS = ("linear", "nearest", "mean")

#: Seconds within which a sample lies half way between two output times.
_TIE = 1e-6


def align_time(
    ds: xr.Dataset,
    time: np.ndarray | xr.Dataset,
    *,
    method: str = "linear",
    max_gap: float = 0.5,
) -> xr.Dataset:
    """Put a Dataset on another time, without inventing values.

    Parameters
    ----------
    ds : xarray.Dataset
        From any stage; sampling may be irregular.
    time : array_like of float, or xarray.Dataset
        Seconds, strictly increasing; a Dataset lends its time.
    method : {"linear", "nearest", "mean"}
        "linear" draws a line between the values before and after. "nearest" takes the
        nearer of them, the earlier of two equally near. "mean" averages the samples
        that are nearer to an output time than to any other (bins that meet half way
        between output times, where a sample counts half in each; for a single output
        time, half of `max_gap` to each side),
        for going from many samples to fewer; an output time to
        which no sample is nearest gets the linear value.
    max_gap : float
        Seconds. Between two values further apart than this, be it through missing rows
        or through NaN between them, the output is NaN.

    Returns
    -------
    xarray.Dataset
        As `ds` on the new time; variables without a time are kept. Outside the span of
        `ds` the output is NaN: nothing is extrapolated, but for "nearest", which
        reaches half a sample beyond the ends. Integers and booleans (flags) always take
        the nearest sample; where some output time has none, they become float with NaN.

    Raises
    ------
    TypeError, ValueError
        If `ds` or `time` has no usable time, an option is unknown or not positive, or
        a variable along time does not hold numbers.

    Warns
    -----
    UserWarning
        If samples usually lie further apart than `max_gap`, so that nothing is bridged.

    Examples
    --------
    >>> import numpy as np, emokit as ek
    >>> ds = ek.schema.build_dataset(
    ...     "voice", {"f0": np.array([100.0, 200.0, np.nan, np.nan, 200.0])},
    ...     {"time": np.array([0, 0.2, 0.4, 0.6, 1.0])}, history="[]")
    >>> print(ek.align_time(ds, [-0.1, 0.05, 0.1, 0.2, 0.5, 1.0]).f0.values)
    [ nan 125. 150. 200.  nan 200.]
    """
    validate_time(ds, argument="ds")
    if method not in _ALIGN_METHODS:
        raise ValueError(f"method must be one of {', '.join(_ALIGN_METHODS)}; got {method!r}")
    wanted, attrs = read_time(time), ds["time"].attrs
    own = ds["time"].values
    check_max_gap(max_gap, own, "nothing between them is filled; give a larger max_gap")

    moved = {}
    for name, array in ds.variables.items():
        if name != "time" and "time" in array.dims:
            if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool):
                raise TypeError(
                    f"variable {name!r} holds {array.dtype}; "
                    "only numbers can be put on another time"
                )
            moved[name] = _move(array, own, wanted, method, max_gap)
    variables = {n: moved.get(n, v) for n, v in ds.variables.items() if n != "time"}
    aligned = xr.Dataset(
        {n: v for n, v in variables.items() if n in ds.data_vars},
        coords={n: v for n, v in variables.items() if n in ds.coords}
        | {"time": ("time", wanted, attrs)},
        attrs=ds.attrs,
    )
    history = extend_history("align_time", ds, method=method, parameters={"max_gap": max_gap})
    return aligned.assign_attrs(history=history)


def read_time(time: np.ndarray | xr.Dataset) -> np.ndarray:
    """Seconds that increase strictly, from numbers or a Dataset."""
    if isinstance(time, xr.Dataset):
        return validate_time(time, argument="time")["time"].values
    try:
        seconds = np.asarray(time, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"time must be seconds as numbers, or a Dataset; got {type(time).__name__}"
        ) from error
    if seconds.ndim != 1 or not seconds.size:
        raise ValueError(f"time must be a list of seconds; got shape {seconds.shape}")
    if not np.isfinite(seconds).all() or (np.diff(seconds) <= 0).any():
        raise ValueError("time must be finite and increase strictly")
    return seconds


def _move(
    array: xr.Variable, own: np.ndarray, wanted: np.ndarray, method: str, max_gap: float
) -> xr.Variable:
    """One variable on another time."""
    real = np.issubdtype(array.dtype, np.floating)
    values = array.transpose("time", ...)
    flat = values.values.reshape(len(own), math.prod(values.shape[1:]))
    moved = _resample(
        own, flat.astype(np.float64), wanted, method if real else "nearest", max_gap
    ).reshape(len(wanted), *values.shape[1:])
    if real or np.isfinite(moved).all():
        moved = moved.astype(array.dtype)
    return xr.Variable(values.dims, moved, array.attrs).transpose(*array.dims)


def _resample(
    own: np.ndarray, values: np.ndarray, wanted: np.ndarray, method: str, max_gap: float
) -> np.ndarray:
    """Columns of ``values (time, column)`` at the times `wanted`."""
    if not len(own):
        return np.full((len(wanted), values.shape[1]), np.nan)
    at = wanted
    if method == "nearest" and len(own) > 1:
        slack = np.median(np.diff(own)) / 2 * (1 + 1e-9)
        clipped = wanted.clip(own[0], own[-1])
        at = np.where(np.abs(clipped - wanted) <= slack, clipped, wanted)

    before, after = _neighbours(own, values, at)
    known = (before >= 0) & (after < len(own))
    before, after = before.clip(min=0), after.clip(max=len(own) - 1)
    gap = own[after] - own[before]
    known &= gap <= max_gap * (1 + 1e-9)
    past = at[:, None] - own[before]
    share = past / np.where(gap > 0, gap, 1)
    if method == "nearest":
        share = (share > 0.5).astype(np.float64)
    earlier = np.take_along_axis(values, before, axis=0)
    later = np.take_along_axis(values, after, axis=0)
    result = np.where(share > 0, earlier + share * (later - earlier), earlier)
    if method == "mean":
        mean = _bin_means(own, values, wanted, max_gap)
        result = np.where(np.isfinite(mean), mean, result)
    return np.where(known, result, np.nan)


def _neighbours(
    own: np.ndarray, values: np.ndarray, at: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Index of the last finite value at or before, and of the first at or after.

    -1 and ``len(own)`` where there is none.
    """
    n = len(own)
    rows = np.arange(n)[:, None]
    finite = np.isfinite(values)
    latest = np.maximum.accumulate(np.where(finite, rows, -1), axis=0)
    soonest = np.minimum.accumulate(np.where(finite, rows, n)[::-1], axis=0)[::-1]
    none = np.full((1, values.shape[1]), -1)
    before = np.vstack([none, latest])[np.searchsorted(own, at, side="right")]
    after = np.vstack([soonest, none + n + 1])[np.searchsorted(own, at, side="left")]
    return before, after


def _bin_means(
    own: np.ndarray, values: np.ndarray, wanted: np.ndarray, max_gap: float
) -> np.ndarray:
    """Mean of the finite values nearest to each wanted time; NaN where there are none."""
    if len(wanted) > 1:
        # The outer bins reach as far outwards as inwards.
        middles = (wanted[1:] + wanted[:-1]) / 2
        edges = np.r_[2 * wanted[0] - middles[0], middles, 2 * wanted[-1] - middles[-1]]
    else:
        edges = wanted[0] + np.array([-max_gap, max_gap]) / 2
    finite = np.isfinite(values)
    nothing = np.zeros((1, values.shape[1]))
    total = np.vstack([nothing, np.where(finite, values, 0).cumsum(axis=0)])
    count = np.vstack([nothing, finite.cumsum(axis=0)])
    # A sample half way between two output times counts half in each: were it to fall to
    # one side, rounding would choose the side, or all means would lean the same way.
    until, through = np.searchsorted(own, edges - _TIE), np.searchsorted(own, edges + _TIE)
    total = np.diff((total[until] + total[through]) / 2, axis=0)
    count = np.diff((count[until] + count[through]) / 2, axis=0)
    return np.where(count > 0, total / np.where(count > 0, count, 1), np.nan)
