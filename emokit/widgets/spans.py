"""Timelines of spans: events that were found, and what people annotated."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
import xarray as xr

from emokit.annotation_store import TRACE_RATE, trace_runs
from emokit.schema import EMOTION_COLORS, validate
from emokit.tiers import Tier, Trace, tier_from_json

#: Pixels of a row of spans: of those that are only shown, and of those that are edited.
_SHOWN_ROW, _EDITED_ROW = 14, 24

_TRACE_HEIGHT = 72

#: Colours of labels that are no emotions: Okabe and Ito's, as the emotions', in another order.
_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#7A5FD0", "#8C7A00")

#: Labels of events beyond these share one row.
_MOST_ROWS, _OTHERS = 16, "others"


def span_panels(
    result: xr.DataTree | xr.Dataset | None, events: xr.Dataset | None = None
) -> list[dict]:
    """Panels of events, and of the group ``annotations`` of a result, where there are some.

    Raises
    ------
    TypeError, ValueError
        If `events` are no events.

    Examples
    --------
    >>> import xarray as xr
    >>> from emokit.widgets.spans import span_panels
    >>> events = xr.Dataset({
    ...     "onset": ("event", [1.0]), "offset": ("event", [2.5]), "label": ("event", ["smile"]),
    ... })
    >>> (panel,) = span_panels(None, events)
    >>> panel["title"], panel["spans"][0]["offset"]
    ('Events', 2.5)
    """
    groups = result.children if isinstance(result, xr.DataTree) else {}
    panels = [] if events is None else [_event_panel(events)]
    if "annotations" in groups and result["annotations"].data_vars:
        panels += _annotation_panels(result["annotations"].to_dataset())
    return panels


def tier_panels(tiers: Iterable[Tier | Trace], *, edited: bool) -> list[dict]:
    """Panels of tiers of spans and of traces, without what is in them."""
    panels, used = [], 0
    for tier in tiers:
        panels.append(_tier_panel(tier, edited=edited, first=used))
        used += len(tier.labels) if isinstance(tier, Tier) else 0
    return panels


def _tier_panel(tier: Tier | Trace, *, edited: bool, first: int) -> dict:
    common = {"title": tier.name, "group": "annotations", "series": [], "axes": []}
    if edited:
        common["tier"] = tier.name
    if isinstance(tier, Trace):
        scale = f"{tier.low:g} to {tier.high:g}".replace("-", "\N{MINUS SIGN}")
        return common | {
            "kind": "trace",
            "unit": "relative, unbounded" if tier.relative else scale,
            "height": _TRACE_HEIGHT,
            "low": tier.low,
            "high": tier.high,
            "relative": tier.relative,
            "rate": TRACE_RATE,
            "color": "#7A5FD0",
        }
    row = _EDITED_ROW if edited else _SHOWN_ROW
    rows = _rows(tier.labels, first)
    return common | {
        "kind": "spans",
        "unit": "FACS intensity A to E" if tier.intensity else "",
        "row": row,
        "height": row * (1 if edited else max(len(rows), 1)),
        "rows": [{**one, "key": tier.labels[one["label"]]} for one in rows],
        "intensity": tier.intensity,
    }


def _rows(labels: Iterable[str], first: int = 0) -> list[dict]:
    return [
        {"label": label, "color": EMOTION_COLORS.get(label, _COLORS[k % len(_COLORS)])}
        for k, label in enumerate(labels, first)
    ]


def _event_panel(events: xr.Dataset) -> dict:
    if not isinstance(events, xr.Dataset):
        raise TypeError(f"events must be an xarray Dataset; got {type(events).__name__}")
    problems = [
        f"variable {name!r} along 'event' is missing"
        for name in ("onset", "offset")
        if name not in events or events[name].dims != ("event",)
    ]
    if problems:
        raise ValueError("events cannot be used:\n" + "\n".join(f"- {p}" for p in problems))
    n = events.sizes["event"]

    def column(name: str, default: object) -> list:
        known = name in events and events[name].dims == ("event",)
        return events[name].values.tolist() if known else [default] * n

    spans = [
        {
            "id": number,
            "onset": onset,
            "offset": offset,
            "apex": _or_none(apex),
            "label": str(label),
            "face": str(face),
            "amplitude": _or_none(amplitude),
            "comment": str(evidence),
        }
        for number, (onset, offset, apex, label, face, amplitude, evidence) in enumerate(
            zip(
                column("onset", np.nan),
                column("offset", np.nan),
                column("apex", np.nan),
                column("label", "event"),
                column("face", ""),
                column("amplitude", np.nan),
                column("evidence", ""),
                strict=True,
            )
        )
        # What has no end, or no beginning, cannot be drawn as a span.
        if np.isfinite(onset) and np.isfinite(offset) and onset <= offset
    ]
    labels = sorted({span["label"] for span in spans})
    if len(labels) > _MOST_ROWS:
        labels = [*labels[: _MOST_ROWS - 1], _OTHERS]
        for span in spans:
            span["row"] = span["label"] if span["label"] in labels else _OTHERS
    rows = _rows(labels)
    return {
        "kind": "spans",
        "title": "Events",
        "unit": "onset, apex ◆, offset",
        "group": "events",
        "series": [],
        "axes": [],
        "row": _SHOWN_ROW,
        "height": _SHOWN_ROW * max(len(rows), 1),
        "rows": rows,
        "spans": spans,
    }


def _annotation_panels(annotations: xr.Dataset) -> list[dict]:
    validate(annotations, group="annotations", argument="group 'annotations' of result")
    tiers = [tier_from_json(one) for one in json.loads(annotations.attrs.get("tiers", "[]"))]
    panels = tier_panels(tiers, edited=False)
    for tier, panel in zip(tiers, panels, strict=True):
        if isinstance(tier, Trace):
            panel["runs"] = trace_runs(annotations["trace_value"].sel(trace=tier.name).values)
        else:
            own = annotations.isel(annotation=(annotations["tier"] == tier.name).values)
            names = ("onset", "offset", "label", "intensity", "comment")
            columns = [own[name].values.tolist() for name in names]
            panel["spans"] = [
                dict(zip(names, row, strict=True)) | {"id": int(number)}
                for number, row in zip(
                    own["annotation"].values, zip(*columns, strict=True), strict=True
                )
            ]
    return panels


def _or_none(value: object) -> float | None:
    return float(value) if np.isfinite(value) else None
