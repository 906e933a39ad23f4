"""Annotations read from and written to the annotator's file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import xarray as xr

from .annotation_store import SPAN, TRACE_RATE, AnnotationStore, refuse_overlap, write_atomically
from .schema import validate
from .tiers import tier_from_json


def load_annotations(path: str | Path) -> xr.Dataset:
    """Read the file that an annotator writes beside the notebook.

    Parameters
    ----------
    path : str or pathlib.Path
        A file of emokit's annotations, ``….annotations.json``.

    Returns
    -------
    xarray.Dataset
        Group ``annotations`` of the schema: spans along ``annotation`` (``onset`` and
        ``offset`` in seconds, ``tier``, ``label``, ``intensity``, ``comment``, …), traces
        as ``trace_value`` ``(time, trace)``, NaN where nothing was recorded, and the log
        along ``edit``.

    Raises
    ------
    ValueError
        If there is no such file, or it holds something else.

    Examples
    --------
    >>> import tempfile, emokit as ek
    >>> folder = tempfile.mkdtemp()
    >>> path = f"{folder}/talk.annotations.json"
    >>> annotator = ek.annotate(ek.sample_clip(), tiers=["smile"], path=path, annotator="Ada")
    >>> annotator.add_span("smile", 16.0, 18.5)
    >>> ek.load_annotations(path)["offset"].values.tolist()
    [18.5]
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ValueError(f"there is no file {str(path)!r}")
    return AnnotationStore.read(path).to_dataset()


def save_annotations(annotations: xr.Dataset, path: str | Path) -> Path:
    """Write annotations to a plain JSON file, which :func:`annotate` opens again.

    Parameters
    ----------
    annotations : xarray.Dataset
        Group ``annotations`` of the schema. The log of edits keeps when, who and what,
        but not what each span was before.
    path : str or pathlib.Path
        File to write, usually ``….annotations.json``; replaced where it exists.

    Returns
    -------
    pathlib.Path
        `path`.

    Raises
    ------
    TypeError, ValueError
        If `annotations` are none.

    Examples
    --------
    >>> import tempfile, emokit as ek
    >>> annotator = ek.annotate(ek.sample_clip(), tiers=["smile"], path=None, annotator="Ada")
    >>> annotator.add_span("smile", 16.0, 18.5)
    >>> path = ek.save_annotations(annotator.annotations, f"{tempfile.mkdtemp()}/a.json")
    >>> ek.load_annotations(path)["label"].values.tolist()
    ['smile']
    """
    path = Path(path).expanduser()
    write_atomically(path, _store_from_dataset(annotations).to_json())
    return path


def _store_from_dataset(ds: xr.Dataset) -> AnnotationStore:
    validate(ds, group="annotations", requires=["onset", "offset", "tier"], argument="annotations")
    missing = [name for name in ("tiers", "duration") if name not in ds.attrs]
    if missing:
        raise ValueError(f"annotations lack the attributes {', '.join(missing)}")
    clip = {
        "name": ds.attrs.get("source", ""),
        "sha256": ds.attrs.get("source_sha256", ""),
        "duration": float(ds.attrs["duration"]),
    }
    tiers = [tier_from_json(one) for one in json.loads(ds.attrs["tiers"])]
    store = AnnotationStore(tiers, annotator=ds.attrs.get("annotator", ""), clip=clip)
    columns = {name: ds[name].values.tolist() for name in SPAN if name in ds}
    for row, number in enumerate(ds["annotation"].values.tolist()):
        span = {name: values[row] for name, values in columns.items()}
        kept = {name: span.get(name, "") for name in ("annotator", "created", "modified")}
        blind = bool(span.get("blind", False))
        store.spans[int(number)] = store.checked(span) | kept | {"blind": blind}
    refuse_overlap(store.spans.values())
    # By their times: a selection of the Dataset begins later than the clip.
    rows = np.rint(ds["time"].values * TRACE_RATE).astype(int) if "trace_value" in ds else ()
    for name in ds["trace"].values.tolist() if "trace_value" in ds else ():
        whole = store.traces[name]
        if len(rows) and not 0 <= rows[0] <= rows[-1] < whole.size:
            raise ValueError(f"annotations hold times outside 0 to {store.duration:.3f} s")
        whole[rows] = ds["trace_value"].sel(trace=name).values
        lag = float(ds["input_lag"].sel(trace=name)) if "input_lag" in ds else math.nan
        if math.isfinite(lag):
            store.lags[name] = round(lag, 5)
    names = {"when": "edit_when", "by": "edit_annotator", "action": "edit_action"}
    for row in range(ds.sizes.get("edit", 0)):
        entry = {key: str(ds[name].values[row]) for key, name in names.items()}
        store.edits.append(entry | {"target": str(ds["edit_target"].values[row])})
    store.revision = len(store.edits)
    return store
