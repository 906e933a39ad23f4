"""The annotator: a player whose tiers are laid, changed and traced while the clip plays."""

from __future__ import annotations

import getpass
import logging
import re
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import traitlets
import xarray as xr

from emokit.annotation_store import TRACE_RATE, AnnotationStore, trace_runs
from emokit.clip import Clip
from emokit.tiers import Tier, Trace, prepare_tiers

from .assemble import assemble
from .player import PARTS, Player, read_module
from .spans import tier_panels

logger = logging.getLogger(__name__)


class Annotator(Player):
    """A :class:`Player` with tiers to annotate on; made by :func:`annotate`.

    Hold a label's key while the clip plays to lay a span; while it is paused the key
    labels the chosen span, or lays one over the selection. A drag on a tier lays a span
    too; spans are moved by their middle and stretched by their edges, and the picture
    follows. ``[`` and ``]`` set the ends of the chosen span, ``s`` splits it, Delete removes
    it, Enter comments on it, shift with A to E gives its intensity, control with z takes
    back, ``r`` records a trace by the mouse or a gamepad, and ``?`` shows all keys.

    Every edit goes to a file at once, which is opened again by the next :func:`annotate`
    of the same clip.

    Attributes
    ----------
    blind : bool
        Whether the model's timelines are hidden. :meth:`finish_pass` shows them.
    revision : int
        Number of edits so far; observe it to hear of each.
    """

    _esm = read_module(*PARTS, "session", "recorder", "desk", "annotator")
    _css = "\n".join(
        Path(__file__).with_name(f"{name}.css").read_text(encoding="utf-8")
        for name in ("player", "annotator")
    )

    blind = traitlets.Bool(False, read_only=True).tag(sync=True)
    revision = traitlets.Int(0, read_only=True)

    def __init__(self, store: AnnotationStore, *, blind: bool = False, **parts: object) -> None:
        self._store = store
        self.set_trait("blind", blind)
        self.set_trait("revision", store.revision)
        super().__init__(**parts)

    @property
    def annotations(self) -> xr.Dataset:
        """What has been annotated, as group ``annotations`` of the schema.

        Spans lie along ``annotation``, traces along ``time`` and ``trace``, the log of who
        did what when along ``edit``.
        """
        return self._store.to_dataset()

    @property
    def path(self) -> Path | None:
        """The file that every edit is written to; None where there is none."""
        return self._store.path

    def add_span(
        self,
        label: str,
        onset: float,
        offset: float,
        *,
        tier: str | None = None,
        intensity: str = "",
        comment: str = "",
    ) -> None:
        """Lay a span from Python.

        Parameters
        ----------
        label : str
            What is seen.
        onset, offset : float
            Seconds.
        tier : str, optional
            By default the first tier that has the label.
        intensity : {"", "A", "B", "C", "D", "E"}
            FACS intensity.
        comment : str
            Any text.

        Raises
        ------
        ValueError
            If no tier has the label, the span lies outside the clip, or it overlaps
            another one of its tier.

        Examples
        --------
        >>> import emokit as ek
        >>> annotator = ek.annotate(ek.sample_clip(), tiers=["smile"], path=None)
        >>> annotator.add_span("smile", 16, 18.5, comment="broad")
        >>> annotator.annotations["onset"].values.tolist()
        [16.0]
        """
        tiers = [t for t in self._store.tiers if isinstance(t, Tier)]
        known = [t.name for t in tiers if (label in t.labels if tier is None else t.name == tier)]
        if not known:
            what = f"label {label!r}" if tier is None else f"name {tier!r}"
            raise ValueError(f"no tier has the {what}; tiers: {', '.join(t.name for t in tiers)}")
        span = {
            "tier": known[0],
            "label": label,
            "onset": float(onset),
            "offset": float(offset),
            "intensity": intensity,
            "comment": comment,
        }
        number = max(self._store.spans, default=0) + 1
        self._store.apply([{"id": number, "after": span}], action="add", blind=self.blind)
        self._saved({})

    def finish_pass(self) -> None:
        """End a blind pass: show the model's timelines, and note in the log that they are."""
        if self.blind:
            self._store.note("finish blind pass", blind=True)
            self.set_trait("blind", False)
            self._saved({})

    def __repr__(self) -> str:
        spans, traces = len(self._store.spans), len(self._store.traces)
        return f"<Annotator of {self._store.clip['name']}: {spans} spans, {traces} traces>"

    def _page_state(self, *, video: bool) -> dict[str, object]:
        """A page has no kernel to save anything: it shows what there is."""
        state = super()._page_state(video=video)
        layout = dict(state["_layout"])
        layout.pop("annotate")
        panels = [] if self.blind else [p for p in layout["panels"] if "tier" not in p]
        tiers = self._store.tiers
        shown = tier_panels(tiers, edited=False)
        for tier, panel in zip(tiers, shown, strict=True):
            if isinstance(tier, Trace):
                panel["runs"] = trace_runs(self._store.traces[tier.name])
            else:
                own = [s for s in self._store.spans.items() if s[1]["tier"] == tier.name]
                panel["spans"] = [{"id": number, **span} for number, span in own]
        return state | {"_layout": layout | {"panels": [*shown, *panels]}}

    def _answer(self, widget: object, message: dict, buffers: list) -> None:
        match message.get("type"):
            case "annotations":
                answer = {"type": "annotations", "to": message.get("from"), "file": self._file}
                self.send({**answer, **self._store.state()})
            case "finish":
                self.finish_pass()
            case "edit" | "trace":
                self._edit(message)
            case _:
                super()._answer(widget, message, buffers)

    def _edit(self, message: dict) -> None:
        about = {name: message.get(name) for name in ("number", "from")}
        note = {"action": str(message["action"]), "when": str(message["when"])}
        try:
            if message["type"] == "edit":
                for change in message["changes"]:
                    there = int(change["id"]) in self._store.spans
                    if there != (change["before"] is not None):
                        raise ValueError("it was changed elsewhere meanwhile")
                self._store.apply(message["changes"], **note, blind=self.blind)
            else:
                values = [np.nan if value is None else value for value in message["values"]]
                details = {k: message[k] for k in ("pass", "device") if message.get(k)}
                self._store.write_trace(
                    str(message["tier"]),
                    int(message["start"]),
                    np.array(values, dtype=np.float32),
                    **note,
                    **details,
                    lag=message.get("lag"),
                    blind=self.blind,
                )
        except (KeyError, TypeError, ValueError) as error:
            self.send({"type": "saved", **about, "problem": str(error)})
            return
        self._store.last = f"{about['from']}/{about['number']}"
        self._saved(about)

    def _saved(self, about: dict) -> None:
        """Write the file, and tell the browser, of whichever window."""
        try:
            self._store.save()
            problem = ""
        except (OSError, ValueError) as error:
            logger.warning("annotations could not be saved: %s", error)
            problem = f"the file could not be written: {error}"
        self.set_trait("revision", self._store.revision)
        answer = {"type": "saved", "revision": self._store.revision, "file": self._file}
        self.send({**answer, **about, "unsaved": problem})

    @property
    def _file(self) -> str:
        return self._store.path.name if self._store.path else ""


def annotate(
    result: xr.DataTree | xr.Dataset | Clip | str | Path,
    *,
    tiers: Iterable[Tier | Trace | str] = (),
    clip: Clip | str | Path | None = None,
    annotator: str | None = None,
    path: str | Path | None = "",
    blind: bool = False,
    proxy: bool = True,
    explain: Callable[..., xr.DataArray] | None = None,
    progress: bool = True,
) -> Annotator:
    """Annotate a clip beside what was found in it, or alone.

    Parameters
    ----------
    result : xarray.DataTree, xarray.Dataset, Clip, str or pathlib.Path
        What ``analyze`` returns, the Dataset of one stage, or just a clip.
    tiers : iterable of Tier, Trace or str
        What is annotated; a name alone is a tier whose only label it is. Without any,
        those of the file are taken.
    clip : Clip, str or pathlib.Path, optional
        The clip, where `result` does not name it.
    annotator : str, optional
        Your name, which every edit keeps. By default the name of this machine's user.
    path : str, pathlib.Path or None
        The file that each edit is written to, and that is opened where it exists. By
        default ``<clip>.<annotator>.annotations.json`` in the working folder, beside the
        notebook. None keeps nothing.
    blind : bool
        Hide the model's timelines until the pass is finished. An edit keeps whether it
        was blind.
    proxy, explain, progress
        As for :func:`play`.

    Returns
    -------
    Annotator
        Shown by a notebook as the last line of a cell. Its ``annotations`` are a Dataset
        that can go into a result: ``result["annotations"] = xr.DataTree(…)``.

    Raises
    ------
    TypeError, ValueError
        If there is no clip, a tier is wrong, or the file cannot be read; a file that
        cannot be read is left as it is.
    ClipError
        If the clip cannot be read.

    Warns
    -----
    UserWarning
        If the file was made from another version of the clip.

    Notes
    -----
    A trace has 25 values a second, each at the time of the picture that was on the
    screen. ``input_lag`` is what the machine adds, from the movement to the value; a
    person's own delay, of a second or more, is for the analysis to find.

    Examples
    --------
    >>> import emokit as ek
    >>> tiers = [ek.Tier("smile", labels=["felt", "posed"]), ek.Trace("valence")]
    >>> annotator = ek.annotate(ek.sample_clip(), tiers=tiers, annotator="Ada", path=None)
    >>> annotator
    <Annotator of emokit_sample.mp4: 0 spans, 1 traces>
    >>> annotator.annotations.sizes["time"]
    493
    """
    if isinstance(result, Clip | str | Path):
        if clip is not None:
            raise ValueError("give a clip once: as the first argument, or as clip=")
        result, clip = None, result
    parts = assemble(result, clip=clip, proxy=proxy, explain=explain, progress=progress)
    name = _user() if annotator is None else annotator
    source = _source(parts)
    if not source["duration"] > 0:
        raise ValueError("there is nothing to annotate: no clip, and no result with a time")
    file = _file_of(source["name"], name) if path == "" else path and Path(path).expanduser()
    store = _open_store(file, tiers, name, source)
    panels = tier_panels(store.tiers, edited=True)
    layout = parts["layout"]
    shown = [p for p in layout["panels"] if p["group"] != "annotations"]
    layout |= {
        "panels": [*panels, *shown],
        "annotate": {"rate": TRACE_RATE, "shelf": f"{file}/{source['sha256']}"},
    }
    return Annotator(store, blind=blind, **parts)


def _open_store(
    file: Path | None, tiers: Iterable[Tier | Trace | str], name: str, source: dict
) -> AnnotationStore:
    tiers = prepare_tiers(tiers)
    if file and file.exists():
        store = AnnotationStore.read(file, tiers=tiers)
        if store.clip["sha256"] != source["sha256"]:
            warnings.warn(
                f"{file.name} was made from another version of the clip, {store.clip['name']}; "
                "its times may not fit this one",
                stacklevel=3,
            )
        store.annotator = name
        return store
    if not tiers:
        raise ValueError(
            "tiers must hold at least one tier, such as ek.Tier('smile') or ek.Trace('valence')"
        )
    if file and not file.parent.is_dir():
        raise ValueError(f"path must lie in a folder that exists; {file.parent} does not")
    return AnnotationStore(tiers, annotator=name, clip=source, path=file or None)


def _source(parts: dict) -> dict[str, object]:
    clip = parts["clip"]
    return {
        "name": clip.name if clip else parts["layout"]["media"]["name"] or "result",
        "sha256": clip.sha256 if clip else "",
        "duration": float(parts["layout"]["duration"]),
    }


def _file_of(clip: str, annotator: str) -> Path:
    words = [re.sub(r"[^\w-]+", "_", word).strip("_") for word in (Path(clip).stem, annotator)]
    return Path.cwd() / ".".join([*filter(None, words), "annotations", "json"])


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run under a number that has no name
        return ""
