"""Datasets and labels as the arrays that temporal models take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from .alignment import align_time
from .schema import validate_time

#: The variable of pictures: uint8 (time, y, x, channel).
CROP = "face_crop"

#: What a model reads where its user names nothing: the first of these that is there.
_USUAL = ("au", CROP, "landmark_position", "mfcc")

#: Continuous quantities a model can learn, in this order.
VALUES = ("valence", "arousal", "dominance")


@dataclass
class Clip:
    """One sequence on the model's own time, with whatever is known of it.

    Class numbers are -1, and values NaN, where nothing is known.
    """

    time: np.ndarray
    x: np.ndarray
    frame_class: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    frame_values: np.ndarray = field(default_factory=lambda: np.empty((0, 3), np.float32))
    clip_class: int = -1
    clip_values: np.ndarray = field(default_factory=lambda: np.full(3, np.nan, np.float32))

    @property
    def is_picture(self) -> bool:
        """Whether the rows are pictures rather than numbers."""
        return self.x.ndim == 4

    @property
    def seen(self) -> np.ndarray:
        """Rows in which there is anything at all."""
        return np.ones(len(self.x), bool) if self.is_picture else np.isfinite(self.x).any(1)


def choose_features(ds: xr.Dataset | xr.DataArray, asked: Sequence[str] | None) -> list[str]:
    """Names of the variables a model shall read."""
    ds = as_dataset(ds, "datasets[0]")
    if asked is not None:
        missing = [name for name in asked if name not in ds.data_vars]
        if missing or not list(asked):
            raise ValueError(f"features must be variables of the datasets; {missing} are not")
        return list(asked)
    usual = [name for name in _USUAL if name in ds.data_vars][:1]
    return usual or [
        str(name)
        for name, array in ds.data_vars.items()
        if "time" in array.dims and np.issubdtype(array.dtype, np.floating)
    ]


def as_dataset(ds: xr.Dataset | xr.DataArray, argument: str) -> xr.Dataset:
    """A Dataset of at most one face, checked."""
    if isinstance(ds, xr.DataArray):
        ds = ds.to_dataset(name=ds.name or "feature")
    validate_time(ds, argument=argument)
    if ds.sizes.get("face", 1) != 1:
        raise ValueError(
            f"{argument} has {ds.sizes['face']} faces; give each as a sequence of its own, "
            "as in [ds.sel(face=name) for name in ds.face.values]"
        )
    if not ds.sizes["time"]:
        raise ValueError(f"{argument} has no rows")
    return ds.squeeze("face", drop=True) if "face" in ds.dims else ds


def read_clip(
    ds: xr.Dataset | xr.DataArray,
    features: Sequence[str],
    columns: Sequence[str] | None,
    fps: float | None,
    argument: str = "dataset",
) -> tuple[Clip, list[str]]:
    """A sequence on a regular time of `fps`, and the names of its columns.

    With `columns` given, they are looked up by name; those that are missing are NaN.
    """
    ds = as_dataset(ds, argument)
    absent = [name for name in features if name not in ds.data_vars]
    if len(absent) == len(features) or (CROP in features and CROP in absent):
        raise ValueError(f"{argument} lacks {', '.join(absent)}, which the model reads")
    own = ds["time"].values
    time = own if fps is None else regular_time(own, fps)
    if CROP in features:
        pictures = ds[CROP].transpose("time", "y", "x", "channel").values
        if pictures.dtype != np.uint8 or pictures.shape[-1] != 3:
            raise ValueError(f"{argument}: {CROP} must be uint8 with three channels")
        return Clip(time, pictures[nearest(own, time)]), []
    known = ds[[name for name in features if name not in absent]]
    if fps is not None and not np.array_equal(own, time):
        gap = max(0.5, 2 / fps, 2 * float(np.median(np.diff(own))) if len(own) > 1 else 0)
        known = align_time(known, time, method="mean", max_gap=gap)
    names, parts = [], []
    for name in known.data_vars:
        array = known[name].transpose("time", ...)
        values = array.values.reshape(len(time), -1).astype(np.float32)
        if name == "landmark_position":
            values = centre_landmarks(array.values).reshape(len(time), -1)
        names += _column_names(str(name), array)
        parts.append(values)
    values = np.concatenate(parts, axis=1)
    if columns is not None:
        place = {name: i for i, name in enumerate(names)}
        chosen = [place.get(name, -1) for name in columns]
        values = np.where(np.array(chosen) >= 0, values[:, chosen], np.nan).astype(np.float32)
    return Clip(time, values), names


def regular_time(own: np.ndarray, fps: float) -> np.ndarray:
    """Times `fps` a second over the span of `own`, beginning with its first."""
    return own[0] + np.arange(int((own[-1] - own[0]) * fps + 1e-6) + 1) / fps


def nearest(own: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Index of the nearest of `own` for each wanted time."""
    if len(own) < 2:
        return np.zeros(len(wanted), dtype=int)
    return np.searchsorted((own[1:] + own[:-1]) / 2, wanted)


def centre_landmarks(points: np.ndarray) -> np.ndarray:
    """Landmarks (time, landmark, space) about their centre, in units of their spread."""
    points = points.astype(np.float32)
    moved = points - points.mean(1, keepdims=True)
    spread = np.sqrt((moved**2).mean((1, 2), keepdims=True))
    return moved / np.where(spread > 0, spread, 1)


def read_labels(labels: Sequence, clips: list[Clip], times: list[np.ndarray]) -> list[str]:
    """Write `labels` into `clips`, and return the names of the classes.

    Labels of frames, which are on `times`, move to the nearest row of the clip's own time.
    """
    if len(labels) != len(clips):
        raise ValueError(f"labels must be one for each of {len(clips)} datasets; got {len(labels)}")
    parts = [_split_label(label, i) for i, label in enumerate(labels)]
    known = {
        str(name)
        for part in parts
        for name in np.atleast_1d(np.asarray(part.get("emotion", []), dtype=object))
        if _is_named(name)
    }
    classes = sorted(known)
    number = {name: i for i, name in enumerate(classes)}
    for i, (clip, part, own) in enumerate(zip(clips, parts, times, strict=True)):
        rows = nearest(own, clip.time)
        clip.frame_class = np.full(len(clip.time), -1, np.int64)
        clip.frame_values = np.full((len(clip.time), len(VALUES)), np.nan, np.float32)
        for name, value in part.items():
            array = np.asarray(value, dtype=object if name == "emotion" else np.float32)
            if array.shape not in ((), own.shape):
                raise ValueError(
                    f"labels[{i}]: {name} must be one value, or one for each of {len(own)} "
                    f"rows; got shape {array.shape}"
                )
            if name == "emotion":
                codes = np.array([number.get(str(v), -1) for v in array.ravel()], np.int64)
                if array.ndim:
                    clip.frame_class = codes[rows]
                else:
                    clip.clip_class = int(codes[0])
            elif (np.abs(array) > 1).any():
                raise ValueError(f"labels[{i}]: {name} must lie in -1 to 1; got {array.max():g}")
            elif array.ndim:
                clip.frame_values[:, VALUES.index(name)] = array[rows]
            else:
                clip.clip_values[VALUES.index(name)] = array
    return classes


def _split_label(label: object, i: int) -> dict:
    if isinstance(label, xr.Dataset):
        label = {str(name): label[name].squeeze(drop=True).values for name in label.data_vars}
    if not isinstance(label, Mapping):
        return {"emotion": label.values if isinstance(label, xr.DataArray) else label}
    strange = set(label) - {"emotion", *VALUES}
    if strange:
        raise ValueError(
            f"labels[{i}] may hold emotion, {', '.join(VALUES)}; got {', '.join(sorted(strange))}"
        )
    return dict(label)


def _is_named(name: object) -> bool:
    return name is not None and name == name and str(name) != ""  # noqa: PLR0124


def _column_names(name: str, array: xr.DataArray) -> list[str]:
    names = [name]
    for dim in array.dims[1:]:
        labels = array[dim].values if dim in array.coords else range(array.sizes[dim])
        names = [f"{before}:{label}" for before in names for label in labels]
    return names
