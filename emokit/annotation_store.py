"""Annotations of a clip: spans and traces, who made them, and the file that keeps them.

What is here needs no browser. The widget of :func:`emokit.annotate` sends one edit at a
time to an :class:`AnnotationStore`, which checks it, keeps who did it and when, and
writes the file anew.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import xarray as xr

from .files import replace_when_complete
from .schema import build_dataset, extend_history
from .tiers import Tier, Trace, join_tiers, prepare_tiers, tier_from_json, tier_json

#: FACS intensities: trace, slight, marked, severe, maximum.
INTENSITIES = ("A", "B", "C", "D", "E")

#: Samples a second of every trace. People move slower than this.
TRACE_RATE = 25

_FORMAT = "emokit annotations"

_TEXTS = ("label", "intensity", "comment", "face")
SPAN = ("tier", "onset", "offset", *_TEXTS, "annotator", "created", "modified", "blind")


class AnnotationStore:
    """Spans and traces of one clip by one annotator, and the file they are kept in.

    Parameters
    ----------
    tiers : iterable of Tier, Trace or str
        What can be annotated.
    annotator : str
        Whose edits these are.
    clip : mapping
        ``name``, ``sha256`` and ``duration`` (seconds) of the clip.
    path : pathlib.Path, optional
        Written at every :meth:`save`; nothing is written without it.
    """

    def __init__(
        self,
        tiers: Iterable[Tier | Trace | str],
        *,
        annotator: str = "",
        clip: Mapping[str, object],
        path: Path | None = None,
    ) -> None:
        self.tiers = prepare_tiers(tiers)
        self.annotator = annotator
        self.clip = dict(clip)
        self.path = path
        self.spans: dict[int, dict] = {}
        self.traces = {t.name: self._empty_trace() for t in self.tiers if isinstance(t, Trace)}
        self.lags: dict[str, float] = {}
        self.edits: list[dict] = []
        self.revision = 0
        self.last = ""  # which message of a browser came last, so that none is done twice
        self._seen: tuple[int, int] | None = None

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self.clip["duration"])

    def apply(
        self, changes: Iterable[Mapping], *, action: str, when: str = "", blind: bool = False
    ) -> None:
        """Lay, change and remove spans, all or none of them.

        Parameters
        ----------
        changes : iterable of mapping
            Each with ``id`` (int) and ``after``: the span, or None where it is removed.
        action : str
            For the log, such as ``"lay"`` or ``"undo"``.
        when : str
            UTC in ISO form; now by default.
        blind : bool
            Whether the model's estimates were hidden.

        Raises
        ------
        ValueError
            If a span does not fit; nothing is changed then.
        """
        when = when or _now()
        changed = dict(self.spans)
        log = []
        for change in changes:
            number, after = int(change["id"]), change["after"]
            before = changed.pop(number, None)
            if after is not None:
                created = before["created"] if before else when
                if action not in ("undo", "redo"):
                    self._check_label(after, before)
                span = self.checked(after) | {"annotator": self.annotator, "modified": when}
                changed[number] = span | {
                    "created": after.get("created") or created,
                    "blind": blind,
                }
            elif before is None:
                raise ValueError(f"span {number} is not there to be removed")
            log.append(
                {**self._edit(action, number, when, blind), "before": before, "after": after}
            )
        refuse_overlap(changed.values())
        self.spans = dict(sorted(changed.items()))
        self.edits += log
        self.revision += 1

    def write_trace(
        self,
        name: str,
        start: int,
        values: np.ndarray,
        *,
        action: str = "record",
        when: str = "",
        blind: bool = False,
        lag: float | None = None,
        **details: object,
    ) -> None:
        """Put `values` into a trace from sample `start` on; NaN erases.

        ``lag`` (seconds) is that of the machine; ``details`` enter the log.
        """
        if name not in self.traces:
            raise ValueError(f"there is no trace {name!r}; there are {', '.join(self.traces)}")
        values = np.asarray(values, dtype=np.float32)
        whole = self.traces[name]
        if not 0 <= start <= start + values.size <= whole.size:
            raise ValueError(f"trace {name!r} has {whole.size} samples; got {start} on")
        if np.isinf(values).any():
            raise ValueError(f"trace {name!r} must be finite or NaN")
        scale = next(tier for tier in self.tiers if tier.name == name)
        slack = 1e-3 * (scale.high - scale.low)
        with np.errstate(invalid="ignore"):
            outside = (values < scale.low - slack) | (values > scale.high + slack)
        if outside.any() and not scale.relative:
            raise ValueError(
                f"trace {name!r} goes from {scale.low:g} to {scale.high:g}; "
                f"got {values[outside][0]:g}"
            )
        # As the file holds them, so that a trace is the same before and after it is read.
        whole[start : start + values.size] = np.round(values.astype(np.float64), 4)
        if lag is not None and math.isfinite(lag) and lag >= 0:
            self.lags[name] = round(float(lag), 5)
        entry = self._edit(action, name, when or _now(), blind) | details
        entry |= {"from": start / TRACE_RATE, "to": (start + values.size) / TRACE_RATE}
        last = self.edits[-1] if self.edits else {}
        if "pass" in details and last.get("pass") == details["pass"] and last["target"] == name:
            # A pass is sent piece by piece, and is one edit.
            entry["from"] = min(last["from"], entry["from"])
            self.edits.pop()
        self.edits.append(entry)
        self.revision += 1

    def note(self, action: str, *, when: str = "", blind: bool = False) -> None:
        """Log something that changes no span, such as the end of a blind pass."""
        self.edits.append(self._edit(action, "", when or _now(), blind))
        self.revision += 1

    def to_dataset(self) -> xr.Dataset:
        """Everything, in the schema of ``/annotations``."""
        columns = {name: [span[name] for span in self.spans.values()] for name in SPAN}
        names = {"when": "when", "annotator": "by", "action": "action", "target": "target"}
        variables = {
            "onset": np.array(columns.pop("onset"), dtype=np.float64),
            "offset": np.array(columns.pop("offset"), dtype=np.float64),
            "blind": np.array(columns.pop("blind"), dtype=np.int8),
            **{name: np.array(words, dtype=np.str_) for name, words in columns.items()},
            **{
                f"edit_{name}": np.array([str(edit[key]) for edit in self.edits], dtype=np.str_)
                for name, key in names.items()
            },
        }
        coords = {
            "annotation": np.array(list(self.spans), dtype=np.int64),
            "edit": np.arange(len(self.edits)),
            "time": np.empty(0),
        }
        if self.traces:
            variables["trace_value"] = np.stack(list(self.traces.values()), axis=1)
            variables["input_lag"] = np.array([self.lags.get(n, np.nan) for n in self.traces])
            coords |= {
                "time": np.arange(len(variables["trace_value"])) / TRACE_RATE,
                "trace": list(self.traces),
            }
        history = extend_history(
            "annotate",
            annotator=self.annotator,
            source={"name": self.clip["name"], "sha256": self.clip["sha256"]},
            edits=len(self.edits),
        )
        ds = build_dataset("annotations", variables, coords, history=history)
        return ds.assign_attrs(
            tiers=json.dumps([tier_json(tier) for tier in self.tiers]),
            annotator=self.annotator,
            source=str(self.clip["name"]),
            source_sha256=str(self.clip["sha256"]),
            duration=self.duration,
        )

    # ---- the file

    def save(self) -> None:
        """Write the file: under another name first, then renamed.

        Where somebody else has changed it meanwhile, theirs stays, and this one goes to
        a new file beside it: ``path`` says which.
        """
        if self.path is None:
            return
        if _stamp(self.path) != self._seen:
            self.path = _free_name(self.path)
        write_atomically(self.path, self.to_json())
        self._seen = _stamp(self.path)

    def to_json(self) -> str:
        """The whole file: plain JSON, readable by anything."""
        document = {
            "format": _FORMAT,
            "version": 1,
            "annotator": self.annotator,
            "clip": self.clip,
            "tiers": [tier_json(tier) for tier in self.tiers],
            **self.state(),
            "edits": self.edits,
        }
        blocks = [f"{_json(key)}: {_block(value)}" for key, value in document.items()]
        return "{\n" + ",\n".join(blocks) + "\n}\n"

    def state(self) -> dict[str, object]:
        """Spans and traces as they are now, ready for JSON."""
        return {
            "revision": self.revision,
            "last": self.last,
            "annotations": [{"id": number, **span} for number, span in self.spans.items()],
            "traces": [
                {
                    "tier": name,
                    "rate": TRACE_RATE,
                    "input_lag": self.lags.get(name),
                    "runs": trace_runs(values),
                }
                for name, values in self.traces.items()
            ],
        }

    @classmethod
    def read(cls, path: Path, *, tiers: Iterable[Tier | Trace | str] = ()) -> AnnotationStore:
        """The store that :meth:`save` wrote.

        Parameters
        ----------
        path : pathlib.Path
            A file of emokit's annotations.
        tiers : iterable of Tier, Trace or str
            Tiers as they are wanted now; those of the file that are not among them
            come after them.

        Raises
        ------
        ValueError
            If the file is no such file, or does not hold together.
        """
        seen = _stamp(path)
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document["format"] != _FORMAT:
                raise ValueError(f"its format is {document['format']!r}")
            wanted = prepare_tiers(tiers)
            own = [tier_from_json(one) for one in document["tiers"]]
            store = cls(
                join_tiers(wanted, own),
                annotator=document["annotator"],
                clip=document["clip"],
                path=path,
            )
            for span in document["annotations"]:
                store.spans[int(span["id"])] = store.checked(span) | {
                    name: span[name] for name in ("annotator", "created", "modified", "blind")
                }
            refuse_overlap(store.spans.values())
            for trace in document["traces"]:
                values = store.traces[trace["tier"]]
                for run in trace["runs"]:
                    if not 0 <= run["start"] <= values.size - len(run["values"]):
                        raise ValueError(f"a run of trace {trace['tier']!r} leaves the clip")
                    values[run["start"] : run["start"] + len(run["values"])] = run["values"]
                if trace["input_lag"] is not None:
                    store.lags[trace["tier"]] = float(trace["input_lag"])
            store.edits = list(document["edits"])
            store.revision = int(document["revision"])
            store.last = str(document["last"])
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path.name} is not a file of emokit's annotations that can be read "
                f"({type(error).__name__}: {error}); it was left as it is"
            ) from error
        store._seen = seen
        return store

    # ---- parts of these

    def _edit(self, action: str, target: object, when: str, blind: bool) -> dict:
        return {
            "when": when,
            "by": self.annotator,
            "action": action,
            "target": target,
            "blind": blind,
        }

    def _empty_trace(self) -> np.ndarray:
        return np.full(math.floor(self.duration * TRACE_RATE) + 1, np.nan, dtype=np.float32)

    def _check_label(self, span: Mapping, before: Mapping | None) -> None:
        """Refuse a new label that is not of the vocabulary; an old one may outlive it."""
        tier = next((t for t in self.tiers if t.name == span["tier"]), None)
        label = span.get("label", "")
        known = isinstance(tier, Tier) and (not label or label in tier.labels)
        if isinstance(tier, Tier) and not known and (before or {}).get("label") != label:
            raise ValueError(
                f"label must be one of {', '.join(tier.labels)} in tier {tier.name!r}; "
                f"got {label!r}"
            )

    def checked(self, span: Mapping) -> dict:
        """A span with what a span has, or what is wrong with it."""
        onset, offset = float(span["onset"]), float(span["offset"])
        if not -1e-6 <= onset < offset <= self.duration + 1e-3:
            raise ValueError(
                f"a span must begin before it ends, within 0 to {self.duration:.3f} s; "
                f"got {onset} to {offset}"
            )
        tier = next((t for t in self.tiers if isinstance(t, Tier) and t.name == span["tier"]), None)
        if tier is None:
            raise ValueError(f"there is no tier {span['tier']!r}")
        texts = {name: span.get(name, "") for name in _TEXTS}
        wrong = [name for name, text in texts.items() if not isinstance(text, str)]
        if wrong:
            raise ValueError(f"{', '.join(wrong)} of a span must be text")
        if texts["intensity"] not in ("", *INTENSITIES):
            raise ValueError(f"intensity must be A to E or empty; got {texts['intensity']!r}")
        return {"tier": tier.name, "onset": onset, "offset": offset, **texts}


def refuse_overlap(spans: Iterable[Mapping]) -> None:
    """Raise ValueError where two spans of one tier overlap."""
    ordered = sorted(spans, key=lambda span: (span["tier"], span["onset"]))
    for one, other in itertools.pairwise(ordered):
        if one["tier"] == other["tier"] and one["offset"] > other["onset"] + 1e-6:
            raise ValueError(
                f"spans of tier {one['tier']!r} must not overlap; one ends at "
                f"{one['offset']:.3f} s, another begins at {other['onset']:.3f} s"
            )


def trace_runs(values: np.ndarray) -> list[dict]:
    """Recorded stretches of a trace: the rest takes no room, and JSON has no NaN."""
    known = np.isfinite(values).astype(np.int8)
    edges = np.flatnonzero(np.diff(known, prepend=0, append=0)).tolist()
    return [
        {"start": start, "values": [round(v, 4) for v in values[start:end].tolist()]}
        for start, end in zip(edges[::2], edges[1::2], strict=True)
    ]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _block(value: object) -> str:
    """JSON with one line for each item of a list, so that versions can be compared."""
    if not isinstance(value, list) or not value:
        return _json(value)
    return "[\n" + ",\n".join(map(_json, value)) + "\n]"


def write_atomically(path: Path, text: str) -> None:
    """Write a file under a temporary name beside it, then rename it."""
    with (
        replace_when_complete(path, expected=".json") as partial,
        partial.open("w", encoding="utf-8", newline="\n") as file,
    ):
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


def _free_name(path: Path) -> Path:
    base = path.name.removesuffix(".json").removesuffix(".annotations")
    names = (path.with_name(f"{base}-{number}.annotations.json") for number in itertools.count(2))
    return next(name for name in names if not name.exists())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
