"""Put a person right who the tracker took for two, or two it took for one."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import xarray as xr

from .arguments import check_number
from .schema import FACE_STATUS, extend_history, validate


def merge_faces(faces: xr.Dataset, same: Mapping[str, str]) -> xr.Dataset:
    """Join tracks that are the same person.

    Parameters
    ----------
    faces : xarray.Dataset
        Any Dataset along ``(time, face)``: of :func:`detect_faces`, or the face group of
        :func:`analyze`.
    same : mapping of str to str
        Track that ends, and the track that it continues: ``{"face_2": "face_0"}``.

    Returns
    -------
    xarray.Dataset
        As `faces`, without the tracks that were joined to others.

    Raises
    ------
    ValueError
        If there is no such track, or two tracks to join are both seen at one time: one
        person is not in two places.

    Examples
    --------
    >>> import numpy as np, emokit as ek
    >>> valence = np.array([[0.1, np.nan], [np.nan, 0.2]])
    >>> faces = ek.schema.build_dataset(
    ...     "face", {"valence": valence},
    ...     {"time": [0.0, 0.1], "face": ["face_0", "face_1"]}, history="[]")
    >>> print(ek.merge_faces(faces, {"face_1": "face_0"}).valence.values)
    [[0.1]
     [0.2]]
    """
    labels = _labels(faces)
    if not isinstance(same, Mapping):
        raise TypeError(f"same must map tracks to tracks, {{'face_2': 'face_0'}}; got {same!r}")
    _check_known({*same, *same.values()}, labels)
    chained = set(same) & set(same.values())
    if chained:
        raise ValueError(f"same must name tracks that stay; {min(chained)} is itself joined")
    seen = _seen(faces)
    merged = faces
    for gone, kept in same.items():
        source, target = labels.index(gone), labels.index(kept)
        both = seen[:, source] & seen[:, target]
        if both.any():
            when = float(faces["time"].values[both][0])
            raise ValueError(f"{gone} and {kept} are both seen at {when:.2f} s: two people")
        merged = _copy_rows(merged, seen[:, source], source, target)
        seen[:, target] |= seen[:, source]
    merged = merged.isel(face=[i for i, label in enumerate(labels) if label not in same])
    history = extend_history("merge_faces", faces, parameters={"same": dict(same)})
    return merged.assign_attrs(history=history)


def split_face(faces: xr.Dataset, face: str, *, time: float) -> xr.Dataset:
    """Make a new track of what one track holds from a moment on.

    Parameters
    ----------
    faces : xarray.Dataset
        Any Dataset along ``(time, face)``.
    face : str
        Track in which the tracker went from one person to another.
    time : float
        Seconds; the rows from here on move to a new track, named after the last.

    Returns
    -------
    xarray.Dataset
        As `faces`, with one track more.

    Raises
    ------
    ValueError
        If there is no such track, or it is not seen both before and from `time` on.

    Examples
    --------
    >>> import numpy as np, emokit as ek
    >>> faces = ek.schema.build_dataset(
    ...     "face", {"valence": np.array([[0.1], [0.2]])},
    ...     {"time": [0.0, 0.1], "face": ["face_0"]}, history="[]")
    >>> print(ek.split_face(faces, "face_0", time=0.05).valence.values)
    [[0.1 nan]
     [nan 0.2]]
    """
    labels = _labels(faces)
    _check_known({face}, labels)
    old = labels.index(face)
    check_number("time", time, unit="seconds")
    time = float(time)
    later = faces["time"].values >= time
    seen = _seen(faces)[:, old]
    if not (seen & later).any() or not (seen & ~later).any():
        raise ValueError(f"{face} must be seen both before and after time; got {time!r}")
    numbers = [int(match[1]) for label in labels if (match := re.fullmatch(r"face_(\d+)", label))]
    number = 1 + max(numbers, default=-1)
    empty = _copy_rows(faces.isel(face=[old]), np.ones(len(later), bool), None, 0)
    grown = xr.concat(
        [faces, empty.assign_coords(face=[f"face_{number}"])],
        "face",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="exact",
        combine_attrs="override",
    )
    split = _copy_rows(grown, later, old, len(labels))
    split = _copy_rows(split, later, None, old)
    history = extend_history("split_face", faces, parameters={"face": face, "time": time})
    return split.assign_attrs(history=history)


def _labels(faces: xr.Dataset) -> list[str]:
    validate(faces, group="face", argument="faces")
    if "face" not in faces.dims:
        raise ValueError("faces must have a dimension 'face'")
    return [str(label) for label in faces["face"].values]


def _check_known(named: set[str], labels: list[str]) -> None:
    unknown = sorted(named - set(labels))
    if unknown:
        raise ValueError(f"there is no track {unknown[0]!r}, only {', '.join(labels)}")


def _seen(faces: xr.Dataset) -> np.ndarray:
    """Whether any value is known, (time, face)."""
    seen = np.zeros((faces.sizes["time"], faces.sizes["face"]), bool)
    for array in faces.data_vars.values():
        if {"time", "face"} <= set(array.dims) and np.issubdtype(array.dtype, np.floating):
            values = array.transpose("time", "face", ...).values
            seen |= np.isfinite(values).reshape(*seen.shape, -1).any(-1)
    return seen


def _copy_rows(faces: xr.Dataset, rows: np.ndarray, source: int | None, target: int) -> xr.Dataset:
    """Copy `rows` of one track to another, or leave them empty where `source` is None."""
    copied = {}
    for name, array in faces.data_vars.items():
        if not {"time", "face"} <= set(array.dims):
            continue
        changed = array.transpose("time", "face", ...).copy()
        if source is not None:
            changed.values[rows, target] = changed.values[rows, source]
        elif name == "face_status":
            # A frame that cannot be read stays one, whoever is in it.
            read = changed.values[:, target] != FACE_STATUS.index("unreadable_frame")
            changed.values[rows & read, target] = FACE_STATUS.index("no_face")
        elif name == "quality_reason":
            changed.values[rows, target] = 0
        elif np.issubdtype(changed.dtype, np.floating):
            changed.values[rows, target] = np.nan
        copied[name] = changed.transpose(*array.dims)
    return faces.assign(copied)
