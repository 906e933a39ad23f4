"""Modalities brought onto one time, and fused."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

import numpy as np
import scipy.special
import xarray as xr

from emokit.schema import build_dataset, extend_history, validate, validate_time

_ALIGN_METHODS = ("linear", "nearest", "mean")
_FUSE_METHODS = ("late",)
_DISTRIBUTION = "emotion_probability"
_ESTIMATES = (_DISTRIBUTION, "valence", "arousal")

#: What says how good the signal of a modality is at each time.
_QUALITY = ("face_quality", "speech")

#: Seconds within which a sample lies half way between two output times.
_TIE = 1e-6

#: Least weight of a modality that is there: alone, even a poor one counts fully.
_LEAST = 1e-3


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
    if not max_gap > 0:
        raise ValueError(f"max_gap must be a positive number of seconds; got {max_gap!r}")
    wanted, attrs = _read_time(time), ds["time"].attrs
    own = ds["time"].values
    if own.size > 1 and np.median(np.diff(own)) > max_gap:
        warnings.warn(
            f"samples lie {np.median(np.diff(own)):.3g} s apart, further than max_gap="
            f"{max_gap:g} s, so nothing between them is filled; give a larger max_gap",
            stacklevel=2,
        )

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


def fuse(
    modalities: Mapping[str, xr.Dataset],
    *,
    method: str = "late",
    time: np.ndarray | xr.Dataset | None = None,
    face: str | None = None,
) -> xr.Dataset:
    """Fuse the estimates of several modalities into one.

    Late fusion: at each time, the mean over the modalities that have an estimate there,
    weighted by quality × confidence.

    - *Quality* is the modality's ``face_quality`` or ``speech`` where it carries one
      (merge it in: ``xr.merge([estimates, aus[["face_quality"]]])``), else 1. Where
      the quality is NaN the modality is taken as missing.
    - *Confidence* is, for ``emotion_probability``, 1 minus the entropy of the distribution over its
      maximum, so a flat distribution hardly counts; for ``valence`` and ``arousal``,
      whose estimates state no spread, it is 1.
    - The product is at least 0.001: a modality that is there alone counts fully.

    Parameters
    ----------
    modalities : mapping of str to xarray.Dataset
        By name, each with at least one of ``emotion_probability``, ``valence`` and ``arousal``,
        along ``time`` or ``time, face``.
    method : {"late"}
        How to fuse.
    time : array_like of float or xarray.Dataset, optional
        Seconds of the output; by default the time of the first modality. Modalities
        are brought there by :func:`align_time`: by "mean" where they are sampled at
        least twice as densely, else by "linear".
    face : str, optional
        Whose face, where a modality has several; by default the first.

    Returns
    -------
    xarray.Dataset
        Those of ``emotion_probability (time, emotion)``, ``valence`` and ``arousal (time)`` that
        some modality carries, NaN where none has an estimate; and ``weight (time,
        modality)``, each modality's share by quality among those that have any estimate
        at that time (0 where it has none, NaN where no modality has). A variable that
        only some modalities carry is shared among those, in proportion. An emotion
        that one modality does not know counts as probability 0 there.

    Raises
    ------
    TypeError, ValueError
        If `method` is unknown, `modalities` is empty or not a mapping, one of them
        carries no estimate or breaks its specs, or no face has the name `face`.

    Examples
    --------
    A face lost after 0.1 s, and a voice of half its quality:

    >>> import numpy as np, emokit as ek
    >>> def estimate(arousal, speech):
    ...     return ek.schema.build_dataset(
    ...         "voice", {"arousal": np.array(arousal), "speech": np.array(speech)},
    ...         {"time": np.array([0.0, 0.1, 0.2])}, history="[]")
    >>> fused = ek.fuse({
    ...     "face": estimate([0.6, 0.6, np.nan], [1, 1, 1]),
    ...     "voice": estimate([0.0, 0.3, 0.3], [0.5, 0.5, 0.5])})
    >>> print(fused.arousal.values)
    [0.4 0.5 0.3]
    >>> print(fused.weight.sel(modality="voice").values.round(2))
    [0.33 0.33 1.  ]
    """
    if method not in _FUSE_METHODS:
        raise ValueError(f"method must be one of: {', '.join(_FUSE_METHODS)}; got {method!r}")
    if not isinstance(modalities, Mapping) or not modalities:
        raise TypeError(
            "modalities must map at least one name to a Dataset, as in "
            f"{{'face': emotion, 'voice': affect}}; got {type(modalities).__name__}"
        )
    single = {name: _one_face(ds, name, face) for name, ds in modalities.items()}
    wanted = _read_time(next(iter(single.values())) if time is None else time)
    aligned = {name: _align(ds, wanted) for name, ds in single.items()}
    quality = np.stack([_quality(ds) for ds in aligned.values()], axis=1)

    labels = _union_of_emotions(aligned)
    variables, anywhere = {}, np.zeros(quality.shape, dtype=bool)
    for name in _ESTIMATES:
        if not any(name in ds.data_vars for ds in aligned.values()):
            continue
        # (time, modality, value): a distribution has a value an emotion, others have one.
        values = np.stack([_values(ds, name, labels, wanted) for ds in aligned.values()], axis=1)
        present = np.isfinite(values).all(axis=2) & np.isfinite(quality)
        anywhere |= present
        confidence = _sharpness(values) if name == _DISTRIBUTION else 1
        share = _shares(quality * confidence, present)
        mean = np.einsum(
            "tm,tmv->tv", np.nan_to_num(share), np.where(present[..., None], values, 0)
        )
        mean[~present.any(axis=1)] = np.nan
        variables[name] = mean if name == _DISTRIBUTION else mean[:, 0]
    variables["weight"] = _shares(quality, anywhere)

    history = extend_history(
        "fuse",
        *modalities.values(),
        method=method,
        parameters={"modalities": list(modalities), "face": face},
    )
    coords = {"time": wanted, "emotion": labels, "modality": list(modalities)}
    return build_dataset("fused", variables, coords, history=history)


def _read_time(time: np.ndarray | xr.Dataset) -> np.ndarray:
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


def _one_face(ds: xr.Dataset, name: str, face: str | None) -> xr.Dataset:
    """Estimates and quality of one modality, of one face where it has faces."""
    argument = f"modalities[{name!r}]"
    if isinstance(ds, xr.Dataset) and "face" in ds.dims:
        validate(ds, group="face", argument=argument)
        labels = [str(label) for label in ds["face"].values]
        if face is not None and face not in labels:
            raise ValueError(
                f"face must be one of those in {argument}, {', '.join(labels) or 'none'}; "
                f"got {face!r}"
            )
        ds = ds.isel(face=labels.index(face) if face else 0) if labels else _no_face(ds)
    else:
        validate(ds, group="voice", argument=argument)
        validate(ds, group="fused", argument=argument)
    if not any(estimate in ds.data_vars for estimate in _ESTIMATES):
        raise ValueError(
            f"{argument} must carry at least one of {', '.join(_ESTIMATES)}; "
            f"it carries {', '.join(map(str, ds.data_vars)) or 'nothing'}"
        )
    return ds[[variable for variable in (*_ESTIMATES, *_QUALITY) if variable in ds.data_vars]]


def _no_face(ds: xr.Dataset) -> xr.Dataset:
    """A clip without faces still has its time: every estimate is NaN."""
    return ds.reindex(face=["none"]).isel(face=0)


def _align(ds: xr.Dataset, wanted: np.ndarray) -> xr.Dataset:
    own = ds["time"].values
    if np.array_equal(own, wanted):
        return ds
    dense = min(own.size, wanted.size) > 1 and (
        2 * np.median(np.diff(own)) <= np.median(np.diff(wanted))
    )
    return align_time(ds, wanted, method="mean" if dense else "linear")


def _quality(ds: xr.Dataset) -> np.ndarray:
    name = next((name for name in _QUALITY if name in ds.data_vars), None)
    return ds[name].values.astype(np.float64) if name else np.ones(ds.sizes["time"])


def _union_of_emotions(modalities: Mapping[str, xr.Dataset]) -> list[str]:
    labels: dict[str, None] = {}
    for ds in modalities.values():
        if _DISTRIBUTION in ds.data_vars:
            labels |= dict.fromkeys(str(label) for label in ds["emotion"].values)
    return list(labels)


def _values(ds: xr.Dataset, name: str, labels: list[str], wanted: np.ndarray) -> np.ndarray:
    """Estimates of shape (time, value), NaN where the modality has no such variable."""
    if name not in ds.data_vars:
        return np.full((len(wanted), len(labels) if name == _DISTRIBUTION else 1), np.nan)
    if name == _DISTRIBUTION:
        return ds[name].reindex({"emotion": labels}, fill_value=0).values.astype(np.float64)
    return ds[name].values.astype(np.float64)[:, None]


def _sharpness(probabilities: np.ndarray) -> np.ndarray:
    """1 where one emotion has all the probability, 0 where all have the same."""
    entropy = scipy.special.entr(probabilities.clip(0, 1)).sum(axis=-1)
    return (1 - entropy / np.log(max(probabilities.shape[-1], 2))).clip(0, 1)


def _shares(weight: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Weights (time, modality) of those present as shares of 1; NaN where none is."""
    weight = np.where(present, np.maximum(weight, _LEAST), 0)
    total = weight.sum(axis=1, keepdims=True)
    return np.where(total > 0, weight / np.where(total > 0, total, 1), np.nan)
