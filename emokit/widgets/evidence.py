"""Why a moment was read as it was, in the form that the browser shows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from emokit.schema import ACTION_UNITS, EMOTION_COLORS

#: What the evidence of a moment is read from.
EVIDENCE = {"unit_presence", "emotion_probability"}

#: Seconds between the moments that a page explains, and how many it explains at most.
_PAGE_STEP, _PAGE_MOMENTS = 0.5, 400

#: Units named in the evidence, the strongest first.
_UNITS_EXPLAINED = 6


def explain_moment(
    result: xr.DataTree, explain: Callable[..., xr.DataArray], *, time: float, face: str
) -> dict[str, object]:
    """Emotions of one moment, each with the units that push it most.

    Parameters
    ----------
    result : xarray.DataTree
        With a face group that holds ``EVIDENCE``.
    explain : callable
        As :func:`emokit.explain`.
    time : float
        Seconds; the nearest row is explained.
    face : str
        Track.

    Returns
    -------
    dict
        Ready for JSON; only a ``note`` in words where there is nothing to explain.
    """
    ds = result["face"].to_dataset()
    try:
        push = explain(ds, time=time, face=face)
    except ValueError as error:
        return {"note": str(error)}
    row = ds.sel(face=face, time=float(push["time"]))
    # The units explain the reading of each frame alone, where another stands before it.
    shown = row["emotion_probability"]
    probability = row.get("prototype_probability", shown)
    if not np.isfinite(probability).all():
        return {"note": f"No face is read at {time:.2f} s, so there is nothing to explain."}
    order = probability["emotion"].values[np.argsort(-probability.values)]
    return {
        "time": float(push["time"]),
        "face": face,
        "alone": not probability.equals(shown),
        "voice": _describe_voice(result, time),
        "emotions": [
            {
                "label": str(emotion),
                "probability": float(probability.sel(emotion=emotion)),
                "color": EMOTION_COLORS.get(str(emotion), "ink"),
                "units": _strongest(push.sel(emotion=emotion), row["unit_presence"]),
            }
            for emotion in order
        ],
    }


def explain_moments(
    result: xr.DataTree, explain: Callable[..., xr.DataArray]
) -> list[dict[str, object]]:
    """Evidence for a page without a kernel: of every half second, or none of a long clip.

    Parameters
    ----------
    result, explain
        As for :func:`explain_moment`.

    Returns
    -------
    list of dict
        Each ready for JSON; empty where there would be more than 400.
    """
    ds = result["face"].to_dataset()
    if not ds.sizes["time"]:
        return []
    first, last = ds["time"].values[[0, -1]]
    times = np.arange(first, last + 1e-9, _PAGE_STEP)
    faces = [str(face) for face in ds["face"].values]
    if len(times) * len(faces) > _PAGE_MOMENTS:
        return []
    found = [explain_moment(result, explain, time=t, face=f) for f in faces for t in times]
    return [one for one in found if "note" not in one]


def _describe_voice(result: xr.DataTree, time: float) -> str:
    if "voice" not in result.children:
        return ""
    voice = result["voice"].to_dataset().sel(time=time, method="nearest")
    known = []
    for name, word, unit in (("f0", "pitch", "Hz"), ("intensity", "intensity", "dB")):
        if name in voice and np.isfinite(voice[name]):
            known.append(f"{word} {float(voice[name]):.0f} {unit}".replace("-", "\N{MINUS SIGN}"))
    return ", ".join(known)


def _strongest(push: xr.DataArray, presence: xr.DataArray) -> list[dict[str, object]]:
    """Units that speak for or against an emotion, those that say most first."""
    values = np.nan_to_num(push.values)
    order = [k for k in np.argsort(-np.abs(values)) if values[k]][:_UNITS_EXPLAINED]
    units = [str(unit) for unit in push["action_unit"].values]
    return [
        {
            "unit": units[k],
            "hint": ACTION_UNITS.get(units[k], ""),
            "presence": float(presence.values[k]),
            "push": float(values[k]),
        }
        for k in order
    ]
