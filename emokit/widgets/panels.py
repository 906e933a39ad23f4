"""What the player shows: Datasets turned into panels and plain arrays.

A panel says how a timeline is drawn (``heat``, ``lines`` or ``stack``) and which
columns of which arrays it draws. The browser knows no more about emokit's data
than this, so that a new timeline is a new entry here.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import xarray as xr

from emokit.schema import ACTION_UNITS, EMOTION_COLORS, FACE_STATUS

#: One colour a source of the same quantity; "ink" follows the theme's text. None of
#: them is an emotion's colour.
SOURCE_COLORS = {"face": "#7A5FD0", "voice": "#2B8A9E", "fused": "ink"}

_REASONS = {
    "face": ["", *(status.replace("_", " ") for status in FACE_STATUS[1:])],
    "voice": ["", "no sound"],
    "fused": ["", "no estimate"],
}

#: Units with less trust than this have a label that steps back.
_TRUSTED = 0.8

#: Below this under the loudest moment, level says nothing more about a voice.
_DYNAMIC_RANGE_DB = 60


def build_panels(groups: Mapping[str, xr.Dataset]) -> tuple[list[dict], dict[str, xr.DataArray]]:
    """Panels of a result, in the order they are shown, and the arrays they draw.

    Parameters
    ----------
    groups : mapping of str to xarray.Dataset
        Any of ``face``, ``voice`` and ``fused``, as emokit's stages return them.

    Returns
    -------
    panels : list of dict
        Ready for JSON. Every series names an array, and a column of it where it has
        several; every panel names the group whose ``{group}.time`` and
        ``{group}.status`` mark where there is nothing to show.
    arrays : dict of str to xarray.DataArray
        ``{group}.{variable}``, ``{group}.time`` and ``{group}.status`` (0, or the
        number of a reason in :func:`status_reasons`).

    Examples
    --------
    >>> import numpy as np, emokit as ek
    >>> from emokit.widgets.panels import build_panels
    >>> voice = ek.schema.build_dataset(
    ...     "voice", {"f0": np.array([110.0, np.nan])}, {"time": [0.0, 0.01]}, history="[]"
    ... )
    >>> panels, arrays = build_panels({"voice": voice})
    >>> panels[0]["title"], sorted(arrays)
    ('Voice', ['voice.f0', 'voice.status', 'voice.time'])
    """
    panels = [
        *_action_unit_panels(groups),
        *_emotion_panels(groups),
        *_affect_panels(groups),
        *_voice_panels(groups),
        *_weight_panels(groups),
    ]
    arrays = _add_bands(panels, groups)
    wanted = {series["array"] for panel in panels for series in _series_of(panel)}
    for group, ds in groups.items():
        arrays |= {f"{group}.{name}": ds[name] for name in ds if f"{group}.{name}" in wanted}
        if group == "face" and "face_box" in ds:
            arrays["face.face_box"] = ds["face_box"]
        if group == "face":
            quality = ("face_quality", "quality_reason")
            arrays |= {f"face.{name}": ds[name] for name in quality if name in ds}
        if group == "face" and {"gaze", "face_box"} <= set(ds):
            arrays["face.gaze"] = ds["gaze"]
            if "face_point" in ds:
                arrays["face.eye"] = ds["face_point"].isel(point=slice(0, 2))
        if ds.sizes.get("time"):
            arrays[f"{group}.time"] = ds["time"]
            arrays[f"{group}.status"] = _status(group, ds)
    return panels, arrays


def _add_bands(panels: list[dict], groups: Mapping[str, xr.Dataset]) -> dict[str, xr.DataArray]:
    """Names the uncertainty of lines where the data has one, and returns its arrays.

    A variable ``x`` has one where ``x_low`` and ``x_high`` stand beside it, or where it
    bears a coordinate ``noise``, its standard deviation, one number a series.
    """
    arrays = {}
    for series in (one for panel in panels if panel["kind"] != "heat" for one in panel["series"]):
        group, name = series["array"].split(".", 1)
        ds = groups[group]
        array, pair = ds[name], [f"{name}_low", f"{name}_high"]
        if all(end in ds and ds[end].dims == array.dims for end in pair):
            series["band"] = [f"{group}.{end}" for end in pair]
            arrays |= {f"{group}.{end}": ds[end] for end in pair}
        elif "noise" in array.coords and _belongs(array["noise"], array):
            noise = array["noise"].broadcast_like(array.isel(time=0)).values
            column = noise[..., series.get("column", 0)] if noise.ndim > 1 else noise
            # One number a face, where there are faces.
            series["noise"] = np.nan_to_num(np.atleast_1d(column)).astype(float).tolist()
    return arrays


def _belongs(noise: xr.DataArray, array: xr.DataArray) -> bool:
    """Whether a coordinate of noise is of this variable, and not of its neighbours."""
    own = set(array.dims) - {"time", "face"}
    return bool(noise.dims) and own <= set(noise.dims) <= set(array.dims) - {"time"}


def status_reasons(groups: Mapping[str, xr.Dataset]) -> dict[str, list[str]]:
    """Words for the values of each group's status array; the first is empty."""
    return {group: _REASONS[group] for group in groups}


def _series_of(panel: dict) -> list[dict]:
    return [*panel["series"], *([panel["strip"]] if "strip" in panel else [])]


def _status(group: str, ds: xr.Dataset) -> xr.DataArray:
    if "face_status" in ds:
        # A box that lies between two detections is of a face that was seen.
        between = FACE_STATUS.index("interpolated")
        return ds["face_status"].where(ds["face_status"] != between, 0)
    # A row tells nothing where every one of its variables is NaN. What a voice does
    # not tell in silence (its pitch) must not make the silence look unrecorded.
    numbers = [array for array in ds.values() if "time" in array.dims and array.dtype.kind == "f"]
    absent = xr.ones_like(ds["time"], dtype=bool)
    for array in numbers:
        absent = absent & array.isnull().all([d for d in array.dims if d not in ("time", "face")])
    return absent.astype(np.float32)


def _has(groups: Mapping[str, xr.Dataset], group: str, variable: str) -> bool:
    return group in groups and variable in groups[group] and groups[group][variable].size > 0


def _action_unit_panels(groups: Mapping[str, xr.Dataset]) -> list[dict]:
    if not _has(groups, "face", "au"):
        return []
    return [
        {
            "kind": "heat",
            "title": "Action units",
            "unit": "intensity",
            "group": "face",
            "range": [0, 1],
            "series": [
                {
                    "array": "face.au",
                    "column": column,
                    "label": str(unit),
                    "hint": _hint(groups["face"], str(unit)),
                    "weak": _trust(groups["face"], str(unit)) < _TRUSTED,
                    "source": "face",
                    "digits": 2,
                }
                for column, unit in enumerate(groups["face"]["action_unit"].values)
            ],
        }
    ]


def _hint(face: xr.Dataset, unit: str) -> str:
    """What the unit is called, and how far it is to be trusted where that is known."""
    words, trust = ACTION_UNITS.get(unit, ""), _trust(face, unit)
    return f"{words}; trust {trust:.2f} of 1" if np.isfinite(trust) else words


def _trust(face: xr.Dataset, unit: str) -> float:
    known = "trust" in face.coords and face["trust"].dims == ("action_unit",)
    return float(face["trust"].sel(action_unit=unit)) if known else np.nan


def _weight_panels(groups: Mapping[str, xr.Dataset]) -> list[dict]:
    if not _has(groups, "fused", "weight") or groups["fused"].sizes["modality"] < 2:
        return []
    others = ("#A9814F", "#6B8E23", "#9C4F79")
    names = [str(name) for name in groups["fused"]["modality"].values]
    unknown = iter(itertools.cycle(others))
    return [
        {
            "kind": "stack",
            "title": "Weight of each modality",
            "unit": "share",
            "group": "fused",
            "axes": [{"range": [0, 1], "ticks": [0, 0.5, 1]}],
            "series": [
                {
                    "array": "fused.weight",
                    "column": column,
                    "label": f"weight of {name}",
                    "source": "fused",
                    "color": SOURCE_COLORS.get(name) or next(unknown),
                    "digits": 2,
                    "share": True,
                }
                for column, name in enumerate(names)
            ],
        }
    ]


def _emotion_panels(groups: Mapping[str, xr.Dataset]) -> list[dict]:
    panels = []
    for group, kind, title in (
        ("face", "lines", "Displayed emotion, face"),
        ("fused", "stack", "Displayed emotion, fused"),
    ):
        if not _has(groups, group, "emotion_probability"):
            continue
        panels.append(
            {
                "kind": kind,
                "title": title,
                "unit": "probability",
                "group": group,
                "axes": [{"range": [0, 1], "ticks": [0, 0.5, 1]}],
                "series": [
                    {
                        "array": f"{group}.emotion_probability",
                        "column": column,
                        "label": str(emotion),
                        "source": group,
                        "color": EMOTION_COLORS.get(str(emotion), "ink"),
                        "digits": 2,
                        "share": True,
                    }
                    for column, emotion in enumerate(groups[group]["emotion"].values)
                ],
            }
        )
    return panels


def _affect_panels(groups: Mapping[str, xr.Dataset]) -> list[dict]:
    panels = []
    for quantity, ends in (("valence", "unpleasant to pleasant"), ("arousal", "calm to excited")):
        sources = [group for group in ("face", "voice", "fused") if _has(groups, group, quantity)]
        if sources:
            panels.append(
                {
                    "kind": "lines",
                    "title": f"Displayed {quantity}",
                    "unit": ends,
                    "group": sources[0],
                    "axes": [{"range": [-1, 1], "ticks": [-1, 0, 1]}],
                    "series": [
                        {
                            "array": f"{group}.{quantity}",
                            "label": quantity,
                            "source": group,
                            "color": SOURCE_COLORS[group],
                            "wide": group == "fused",
                            "digits": 2,
                            "signed": True,
                        }
                        for group in sources
                    ],
                }
            )
    return panels


def _voice_panels(groups: Mapping[str, xr.Dataset]) -> list[dict]:
    axes, series = [], []
    if _has(groups, "voice", "f0"):
        low, high = _finite_range(groups["voice"]["f0"], default=(75, 300), step=50)
        axes.append({"range": [low, high], "label": "Hz", "ticks": _three_ticks(low, high)})
        series.append(
            {
                "array": "voice.f0",
                "label": "pitch",
                "unit": "Hz",
                "color": SOURCE_COLORS["voice"],
                "digits": 0,
            }
        )
    if _has(groups, "voice", "intensity"):
        low, high = _finite_range(groups["voice"]["intensity"], default=(-60, 0), step=10)
        low = max(low, high - _DYNAMIC_RANGE_DB)
        axes.append({"range": [low, high], "label": "dB", "ticks": _three_ticks(low, high)})
        series.append(
            {
                "array": "voice.intensity",
                "label": "intensity",
                "unit": "dB",
                "color": "#A9814F",
                "digits": 0,
                "behind": True,
            }
        )
    strip = (
        {"array": "voice.speech", "label": "speech", "color": SOURCE_COLORS["voice"], "digits": 2}
        if _has(groups, "voice", "speech")
        else None
    )
    if not series and not strip:
        return []
    for axis, one in enumerate(series):
        one |= {"axis": axis, "source": "voice"}
    panel = {
        "kind": "lines",
        "title": "Voice",
        "unit": ", ".join(
            [f"{s['label']} in {s['unit']}" for s in series] + ["bar: speech"] * bool(strip)
        ),
        "group": "voice",
        "axes": axes,
        "series": series,
    }
    return [panel | ({"strip": strip | {"source": "voice"}} if strip else {})]


def _finite_range(
    array: xr.DataArray, *, default: tuple[float, float], step: float
) -> tuple[float, float]:
    values = array.values[np.isfinite(array.values)]
    if not values.size:
        return default
    low = float(np.floor(values.min() / step) * step)
    return low, max(float(np.ceil(values.max() / step) * step), low + step)


def _three_ticks(low: float, high: float) -> list[float]:
    return [low, (low + high) / 2, high]
