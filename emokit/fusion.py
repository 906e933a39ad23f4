"""Estimates of several modalities, fused into one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import scipy.special
import xarray as xr

from .alignment import align_time, read_time
from .schema import build_dataset, extend_history, validate

if TYPE_CHECKING:
    from .fusion_model import FusionModel

_FUSE_METHODS = ("early", "intermediate", "late", "attention", "ensemble")
_POOLS = ("linear", "log")
_DISTRIBUTION = "emotion_probability"
_ESTIMATES = (_DISTRIBUTION, "valence", "arousal")

#: What says how good the signal of a modality is at each time.
_QUALITY = ("face_quality", "speech")

#: Least weight of a modality that is there: alone, even a poor one counts fully.
_LEAST = 1e-3


#: What a logarithm takes for a probability of 0.
_LEAST_PROBABILITY = 1e-6


def fuse(
    modalities: Mapping[str, xr.Dataset],
    *,
    method: str = "late",
    model: FusionModel | None = None,
    pool: str = "linear",
    calibration: Mapping[str, Callable] | None = None,
    time: np.ndarray | xr.Dataset | None = None,
    face: str | None = None,
) -> xr.Dataset:
    """Fuse the estimates of several modalities into one.

    "early", "intermediate" and "attention" are learned, as can be "ensemble": they need a
    fitted :class:`FusionModel`, which says what they do. The others need nothing.

    "ensemble" is for several models' probabilities of the same thing: their mean, or with
    ``pool="log"`` their normalised geometric mean, all of equal weight.

    "late": at each time, the mean over the modalities that have an estimate there,
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
    method : {"late", "early", "intermediate", "attention", "ensemble"}
        How to fuse.
    model : FusionModel, optional
        Fitted for `method`. Features are what it was fitted on, not estimates alone.
    pool : {"linear", "log"}
        Of an "ensemble" without a model. By logarithms one model can veto an emotion.
    calibration : mapping of str to callable, optional
        By modality, what makes its probabilities honest (:func:`fit_calibration`), before
        they are weighed: a modality that knows nothing then hardly counts.
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
    if model is not None:
        from .fusion_model import FusionModel

        if not isinstance(model, FusionModel):
            raise TypeError(f"model must be a FusionModel; got {type(model).__name__}")
        if calibration or pool != "linear":
            raise ValueError("calibration and pool are for methods that are not learned")
        return model.apply(modalities, method=method, time=time, face=face)
    if method in ("early", "intermediate", "attention"):
        raise ValueError(
            f"method {method!r} is learned: give model=FusionModel(method={method!r}).fit(...)"
        )
    if pool not in _POOLS:
        raise ValueError(f"pool must be one of {', '.join(_POOLS)}; got {pool!r}")
    single = {name: _one_face(ds, name, face) for name, ds in modalities.items()}
    _calibrate(single, calibration or {})
    wanted = read_time(next(iter(single.values())) if time is None else time)
    aligned = {name: _align(ds, wanted) for name, ds in single.items()}
    quality = np.stack([_quality(ds) for ds in aligned.values()], axis=1)
    if method == "ensemble":
        quality = np.where(np.isfinite(quality), 1.0, np.nan)

    labels = _union_of_emotions(aligned)
    variables, anywhere = {}, np.zeros(quality.shape, dtype=bool)
    for name in _ESTIMATES:
        if not any(name in ds.data_vars for ds in aligned.values()):
            continue
        # (time, modality, value): a distribution has a value an emotion, others have one.
        values = np.stack([_values(ds, name, labels, wanted) for ds in aligned.values()], axis=1)
        present = np.isfinite(values).all(axis=2) & np.isfinite(quality)
        anywhere |= present
        certain = name == _DISTRIBUTION and method == "late"
        confidence = _sharpness(values) if certain else 1
        share = _shares(quality * confidence, present)
        by_log = name == _DISTRIBUTION and method == "ensemble" and pool == "log"
        numbers = np.log(values.clip(_LEAST_PROBABILITY)) if by_log else values
        mean = np.einsum(
            "tm,tmv->tv", np.nan_to_num(share), np.where(present[..., None], numbers, 0)
        )
        if by_log:
            mean = scipy.special.softmax(mean, axis=1)
        mean[~present.any(axis=1)] = np.nan
        variables[name] = mean if name == _DISTRIBUTION else mean[:, 0]
    variables["weight"] = _shares(quality, anywhere)

    history = extend_history(
        "fuse",
        *modalities.values(),
        method=method,
        parameters={
            "modalities": list(modalities),
            "face": face,
            "pool": pool if method == "ensemble" else None,
            "calibrated": sorted(calibration or ()),
        },
    )
    coords = {"time": wanted, "emotion": labels, "modality": list(modalities)}
    return build_dataset("fused", variables, coords, history=history)


def _calibrate(single: dict[str, xr.Dataset], calibration: Mapping[str, Callable]) -> None:
    """Make the probabilities of the modalities that `calibration` names honest, in place."""
    if not isinstance(calibration, Mapping):
        raise TypeError(
            "calibration must map modalities to what fit_calibration returned; got "
            f"{type(calibration).__name__}"
        )
    for name, calibrate in calibration.items():
        if name not in single or _DISTRIBUTION not in single[name]:
            raise ValueError(f"calibration names {name!r}, which has no {_DISTRIBUTION}")
        single[name] = single[name].assign(
            {_DISTRIBUTION: calibrate(single[name][_DISTRIBUTION]).astype(np.float32)}
        )


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
