"""Outputs of temporal models on the rows of their input, as Datasets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from .schema import build_dataset
from .sequences import VALUES, Clip


def move_to_rows(
    found: dict, time: np.ndarray, own: np.ndarray, seen: np.ndarray
) -> dict[str, np.ndarray]:
    """Outputs moved from the model's own time to that of the dataset; NaN where unseen."""
    moved = {k: v for k, v in found.items() if k.startswith("clip_")}
    for name, values in found.items():
        if name not in moved:
            flat = np.stack([np.interp(own, time, column) for column in values.T], axis=1)
            flat[~seen] = np.nan
            moved[name] = flat
    if not seen.any():
        moved |= {k: np.full_like(v, np.nan) for k, v in moved.items()}
    return moved


def collect_outputs(
    outputs: list[dict],
    own: np.ndarray,
    faces: np.ndarray | None,
    *,
    classes: Sequence[str],
    values: Sequence[str],
    modalities: Sequence[str],
    history: str,
) -> xr.Dataset:
    """One Dataset of the outputs of every face, or of the only sequence there is."""

    def join(name: str, column: int | slice) -> np.ndarray:
        arrays = [found[name][..., column] for found in outputs]
        if faces is None:
            return arrays[0]
        return np.stack(arrays, axis=0 if name.startswith("clip_") else 1)

    every, variables = slice(None), {}
    if len(classes) > 1:
        variables["emotion_probability"] = join("frame_probability", every)
        variables["clip_probability"] = join("clip_probability", every)
    for i, name in enumerate(values):
        variables[name] = join("frame_values", i)
        variables[f"clip_{name}"] = join("clip_values", i)
    coords: dict = {"time": own, "emotion": classes}
    if faces is not None:
        coords["face"] = faces
    if "weight" in outputs[0] and faces is None:
        variables["weight"] = outputs[0]["weight"]
        coords["modality"] = list(modalities)
    group = "fused" if faces is None else "face"
    return build_dataset(group, variables, coords, history=history)


def set_beside(
    clip: Clip, names: Sequence[str], found: xr.Dataset, *, values: Sequence[str]
) -> xr.Dataset:
    """Truth of `clip`, whose classes have `names`, beside what was `found`, a labelled row each.

    Where some labels are by row, what is known of the whole clip goes for each of its rows.
    """
    by_row = (clip.frame_class >= 0).any() or np.isfinite(clip.frame_values).any()
    variables: dict = {}
    if "emotion_probability" in found:
        codes = clip.frame_class if by_row else np.array([clip.clip_class])
        if by_row and (codes < 0).all():
            codes = np.full_like(codes, clip.clip_class)
        truth = np.array([*names, ""], dtype=object)[codes]
        said = found["emotion_probability" if by_row else "clip_probability"].values
        variables["truth"] = ("row", truth.astype(str))
        variables["probability"] = (("row", "emotion"), np.atleast_2d(said))
    for name in values:
        true = clip.frame_values if by_row else clip.clip_values[None]
        true = true[:, VALUES.index(name)]
        if by_row and np.isnan(true).all():
            true = np.full_like(true, clip.clip_values[VALUES.index(name)])
        variables[f"true_{name}"] = ("row", true)
        said = found[name if by_row else f"clip_{name}"].values
        variables[name] = ("row", np.atleast_1d(said))
    coords = {"emotion": found["emotion"].values} if "emotion_probability" in found else {}
    return xr.Dataset(variables, coords=coords)
