"""What happens over time: smoothing that respects gaps and real timestamps."""

from __future__ import annotations

import warnings

import numpy as np
import xarray as xr

from .arguments import check_max_gap, check_number
from .schema import GROUPS, Variable, extend_history, validate, validate_time
from .smoothing import smooth_by_kalman, smooth_by_windows, smooth_exponentially

_METHODS = ("median", "savgol", "exponential", "kalman")


def smooth(
    ds: xr.Dataset,
    *,
    window: float = 0.3,
    method: str = "median",
    max_gap: float = 0.2,
    noise: float | xr.DataArray | None = None,
) -> xr.Dataset:
    """Smooth every float variable along time, without reaching across gaps.

    Parameters
    ----------
    ds : xarray.Dataset
        From any stage; sampling may be irregular.
    window : float
        Seconds, centred on each sample: it takes in the samples no further than half
        of this away, however many those are. For "exponential" it is the time constant,
        and only what has been counts; "kalman" finds its own.
    method : {"median", "savgol", "exponential", "kalman"}
        "median" takes the median of the window, which keeps steps sharp. "savgol" fits
        a parabola to the window by least squares on the real timestamps and takes its
        value at the sample, which keeps the height of peaks; where the sampling is even
        that is the filter of Savitzky and Golay (1964). At the ends of a run the
        window is one-sided; with fewer than four samples in it the value is left alone.
        "exponential" is the mean of the past with weights that fall to 1/e within
        `window`: it never looks ahead, so it also serves live, and lags by about `window`.
        "kalman" weighs each value by its measured noise against how fast the variable
        moves (an integrated Wiener process, its strength chosen by likelihood; the
        smoother is that of Rauch, Tung and Striebel 1965).
    max_gap : float
        Seconds. Two neighbouring values further apart than this, be it through missing
        rows or through NaN between them, are never smoothed together.
    noise : float or xarray.DataArray, optional
        For "kalman": standard deviation of the measurements, one number or one along
        other dims than time: how much they jump from row to row. By default it is
        estimated from their second differences.

    Returns
    -------
    xarray.Dataset
        As `ds`: same variables, dims, coordinates and types. NaN stays NaN, and shorter
        runs of NaN are passed over. Distributions still sum to 1 (each component is
        smoothed, then the row is scaled; a row whose smoothed components are all 0 is
        left as it is), and values stay within the bounds of their spec. Integer
        variables, such as ``face_status``, are not touched.

    Raises
    ------
    TypeError, ValueError
        If `ds` has no usable time, or an option is unknown or not positive.

    Warns
    -----
    UserWarning
        If samples usually lie further apart than `max_gap`, so that nothing is smoothed.

    Examples
    --------
    A glitch of one sample goes, a step stays where it is:

    >>> import numpy as np, emokit as ek
    >>> valence = np.array([0, 0, 0.9, 0, 0, 0.5, 0.5, 0.5, 0.5])
    >>> ds = ek.schema.build_dataset(
    ...     "fused", {"valence": valence}, {"time": np.arange(9) / 10}, history="[]")
    >>> print(ek.smooth(ds).valence.values)
    [0.  0.  0.  0.  0.  0.5 0.5 0.5 0.5]
    """
    validate_time(ds, argument="ds")
    if method not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(_METHODS)}; got {method!r}")
    check_number("window", window, above=0, unit="seconds")
    time = ds["time"].values
    check_max_gap(max_gap, time, "nothing is smoothed; give a larger max_gap and window")
    if isinstance(noise, xr.DataArray):
        if not (noise > 0).all():
            raise ValueError(f"noise must be positive; the least is {noise.min().item():g}")
    elif noise is not None:
        check_number("noise", noise, above=0)

    smoothed = {}
    for name, array in ds.data_vars.items():
        if "time" in array.dims and np.issubdtype(array.dtype, np.floating) and array.size:
            values = array.transpose("time", ...)
            flat = values.values.reshape(len(time), -1).astype(np.float64)
            if method == "kalman":
                own = _noise_of(array, noise, flat.shape[1])
                flat = smooth_by_kalman(time, flat, noise=own, max_gap=max_gap)
            elif method == "exponential":
                flat = smooth_exponentially(time, flat, window=window, max_gap=max_gap)
            else:
                flat = smooth_by_windows(time, flat, window=window, max_gap=max_gap, method=method)
            values = values.copy(data=flat.reshape(values.shape))
            smoothed[name] = (
                _within_spec(values, _spec_of(name), array)
                .transpose(*array.dims)
                .astype(array.dtype)
            )
    parameters = {"window": window, "max_gap": max_gap}
    if noise is not None:
        parameters["noise"] = noise.values if isinstance(noise, xr.DataArray) else noise
    history = extend_history("smooth", ds, method=method, parameters=parameters)
    return ds.assign(smoothed).assign_attrs(history=history)


def remove_baseline(
    aus: xr.Dataset,
    *,
    method: str | tuple[float, float] = "quiet",
    reference: xr.Dataset | None = None,
) -> xr.Dataset:
    """Take a person's own resting face away from their action units.

    Brows that sit high or lids that hang low are read as units that are always a little
    there. What is there at rest is taken as the person's zero.

    Parameters
    ----------
    aus : xarray.Dataset
        With ``au (time, face, action_unit)``, from :func:`extract_action_units`.
    method : {"quiet", "median"} or tuple of float
        Which rows are rest. "quiet" takes the median of the fifth of the rows in which
        the face moves least (the smallest sum over units); it needs some rest in the
        clip. "median" takes the median of all rows, for clips that are mostly rest.
        ``(start, end)`` takes the median from start to end, in seconds, where you know
        that the face rests.
    reference : xarray.Dataset, optional
        Where rest is looked for, in place of `aus`: another clip of the same people,
        with the same labels of faces and units.

    Returns
    -------
    xarray.Dataset
        As `aus`, with ``au`` less the baseline of each face and unit, at least 0. The
        baselines are in the history. A face without a row of rest becomes NaN; a unit that
        is never read at rest, as blinks in a photograph, stays as it is.

    Raises
    ------
    TypeError, ValueError
        If ``au`` is missing, `method` is unknown, its interval is empty, or `reference`
        lacks a face or a unit.

    Notes
    -----
    Median subtraction is what OpenFace calls its dynamic models (Baltrušaitis, Mahmoud &
    Robinson 2015, FERA). A person who smiles through the whole clip has the smile taken
    away with it: look before you use it, and give a `reference` if you have one.

    Examples
    --------
    >>> import numpy as np, emokit as ek
    >>> au = np.array([0.3, 0.3, 0.3, 0.9, 0.3]).reshape(5, 1, 1)
    >>> aus = ek.schema.build_dataset(
    ...     "face", {"au": au},
    ...     {"time": np.arange(5) / 10, "face": ["face_0"], "action_unit": ["AU02"]},
    ...     history="[]")
    >>> print(ek.remove_baseline(aus).au.values.ravel().round(2))
    [0.  0.  0.  0.6 0. ]
    """
    validate(aus, group="face", requires=["au"], argument="aus")
    source = aus if reference is None else reference
    validate(source, group="face", requires=["au"], argument="reference")
    for dim in ("face", "action_unit"):
        missing = set(aus[dim].values) - set(source[dim].values)
        if missing:
            raise ValueError(f"reference lacks {dim} {', '.join(sorted(map(str, missing)))}")
    if not source.sizes["time"]:
        raise ValueError("there is no row in which to look for rest")
    au = source["au"].sel(face=aus["face"], action_unit=aus["action_unit"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a face that is never seen
        baseline = _resting_rows(au, method).median("time")
    # A unit that is never read at rest, as blinks in a photograph, leaves all as it is.
    baseline = baseline.where(baseline.notnull() | baseline.isnull().all("action_unit"), 0)
    history = extend_history(
        "remove_baseline",
        aus,
        *([] if reference is None else [reference]),
        method=method if isinstance(method, str) else list(method),
        baseline={
            str(face): np.round(baseline.sel(face=face).values, 4) for face in aus["face"].values
        },
    )
    neutral = (aus["au"] - baseline).clip(0, 1).astype(aus["au"].dtype)
    return aus.assign(au=neutral.assign_attrs(aus["au"].attrs)).assign_attrs(history=history)


def _resting_rows(au: xr.DataArray, method: str | tuple[float, float]) -> xr.DataArray:
    """`au` where a face rests, NaN elsewhere."""
    if method == "median":
        return au
    if method == "quiet":
        # A unit that is never read of a face, as blinks in still images, hides no rest.
        read = au.where(au.notnull().any("time"), 0)
        movement = read.sum("action_unit", skipna=False)
        return au.where(movement <= movement.quantile(0.2, "time").drop_vars("quantile"))
    if isinstance(method, str):
        raise ValueError(f"method must be quiet, median or (start, end); got {method!r}")
    try:
        start, end = (float(value) for value in method)
    except (TypeError, ValueError) as error:
        raise ValueError(f"method must be quiet, median or (start, end); got {method!r}") from error
    part = au.sel(time=slice(start, end))
    if not part.sizes["time"]:
        raise ValueError(f"method must be an interval with rows in it; {start} to {end} s has none")
    return part


def _noise_of(
    array: xr.DataArray, noise: float | xr.DataArray | None, n_columns: int
) -> np.ndarray:
    """Standard deviation of each column of `array`; NaN where it is not known."""
    # Not the coordinate ``noise`` of action units: that is their whole error, of which most
    # is the same in every frame, and smoothing by it takes away what is there.
    if noise is None:
        return np.full(n_columns, np.nan)
    if isinstance(noise, xr.DataArray):
        if not set(noise.dims) <= set(array.dims) - {"time"}:
            return np.full(n_columns, np.nan)
        like = array.transpose("time", ...).isel(time=0, drop=True)
        labels = {dim: like[dim] for dim in noise.dims if dim in noise.indexes}
        noise = noise.reset_coords(drop=True).reindex(labels).broadcast_like(like)
        noise = noise.transpose(*like.dims)
        return noise.values.astype(np.float64).ravel()
    return np.full(n_columns, float(noise))


def _spec_of(name: str) -> Variable | None:
    """Spec of a variable; its bounds are the same in every group that has it."""
    return next((group[name] for group in GROUPS.values() if name in group), None)


def _within_spec(
    values: xr.DataArray, spec: Variable | None, original: xr.DataArray
) -> xr.DataArray:
    if spec is None:
        return values
    values = values.clip(spec.low, spec.high, keep_attrs=True)
    if spec.sums_to_one not in values.dims:
        return values
    total = values.sum(spec.sums_to_one, skipna=False)
    scaled = xr.where(total == 0, original, values / total.where(total != 0, 1))
    return values.copy(data=scaled.transpose(*values.dims).values)
