"""The player: a clip beside its timelines, in a notebook or in one HTML file."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import anywidget
import numpy as np
import traitlets
import xarray as xr
from ipywidgets import CallbackDispatcher

from emokit.clip import Clip
from emokit.files import replace_when_complete
from emokit.schema import extend_history

from .assemble import assemble
from .evidence import explain_moment, explain_moments
from .page import write_page
from .serve import ServedFile, serve_file

logger = logging.getLogger(__name__)

_HERE = Path(__file__).parent

#: Parts of the player's module, each after those it imports.
PARTS = (
    "geometry",
    "samples",
    "spans",
    "elements",
    "lanes",
    "timelines",
    "readout",
    "moment",
    "toolbar",
    "gestures",
    "stage",
    "player",
)

#: What a page written to disk opens with.
_PAGE_TRAITS = ("current_time", "selection", "face", "loop", "blur_faces")


def read_module(*parts: str) -> str:
    """Parts of a widget as the one module that it must be, in the order of their imports."""
    texts = [(_HERE / f"{name}.js").read_text(encoding="utf-8") for name in parts]
    imports = re.compile(r'^import \{[^}]*\} from "\./\w+\.js";\n', flags=re.MULTILINE)
    return "\n".join(imports.sub("", part) for part in texts)


class Player(anywidget.AnyWidget):
    """A video with its face boxes above timelines that move with it; made by :func:`play`.

    A click or a drag on a timeline seeks. A drag on the ruler, or with shift, selects a
    stretch; a double click on a timeline opens the evidence of that moment. The wheel
    with control or command zooms, sideways or with shift it pans; so do two fingers and
    the overview above the ruler. A click on a face shows its timelines, one on an event
    its apex; :meth:`on_event` hears of events.

    While the player has the focus: space plays and pauses, the arrow keys (or ``,`` and
    ``.``) step by one frame, with shift by one second, Home and End go to either end,
    ``[`` and ``]`` set the ends of the selection, ``l`` loops it, ``z`` zooms to it and
    Escape clears it, ``+``, ``-`` and ``0`` zoom, ``e`` opens the evidence, ``b`` covers
    the faces, ``m`` draws their meshes and ``g`` where they look.

    Attributes
    ----------
    current_time : float
        Presentation time in seconds of the frame on screen. Setting it seeks, and a
        time outside the clip goes to its nearer end. During playback it follows the
        browser about ten times a second.
    selection : tuple of float or None
        Start and end in seconds of the selected stretch; None where nothing is selected.
        Setting it selects, and :meth:`selected` returns what lies in it.
    face : str
        Label of the face whose timelines are shown; empty where there is none.
    loop : bool
        Whether the selection, or without one the clip, plays over and over.
    blur_faces : bool
        Whether faces are covered while reviewing, for others who can see the screen. It
        covers what the result knows of, and changes nothing in the file: it is no redaction.
    duration : float
        Length in seconds; not settable.
    """

    _esm = read_module(*PARTS, "page")
    _css = _HERE / "player.css"

    current_time = traitlets.Float(0.0).tag(sync=True)
    selection = traitlets.Tuple(
        traitlets.CFloat(), traitlets.CFloat(), allow_none=True, default_value=None
    ).tag(sync=True)
    face = traitlets.Unicode("").tag(sync=True)
    loop = traitlets.Bool(False).tag(sync=True)
    blur_faces = traitlets.Bool(False).tag(sync=True)
    _clock = traitlets.Unicode("").tag(sync=True)
    _layout = traitlets.Dict(read_only=True).tag(sync=True)
    _arrays = traitlets.Dict(read_only=True).tag(sync=True)

    def __init__(
        self,
        layout: Mapping[str, object],
        arrays: Mapping[str, dict],
        *,
        result: xr.DataTree,
        media: Path | None = None,
        explain: Callable[..., xr.DataArray] | None = None,
        clip: Clip | None = None,
        events: xr.Dataset | None = None,
    ) -> None:
        self._media = media
        self._served: ServedFile | None = None
        self._result = result
        self._explain = explain
        self._clip = clip
        self._events = events
        self._event_handlers = CallbackDispatcher()
        layout = dict(layout)
        if media is not None:
            layout["media"] = {**layout["media"], **self._serve(media)}
        self.set_trait("_layout", layout)
        self.set_trait("_arrays", dict(arrays))
        super().__init__(face=next(iter(layout["faces"]), ""))
        self.on_msg(self._answer)

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self._layout["duration"]

    def selected(self) -> xr.DataTree:
        """What the result holds within the selection; all of it where nothing is selected.

        Returns
        -------
        xarray.DataTree
            Every group, sliced to ``selection`` along its own ``time``, which still counts
            from the start of the clip. The step is in each group's ``history``.

        Examples
        --------
        >>> import numpy as np, emokit as ek
        >>> voice = ek.schema.build_dataset(
        ...     "voice", {"f0": np.full(100, 120.0)}, {"time": np.arange(100) / 10}, history="[]"
        ... )
        >>> player = ek.play(voice)
        >>> player.selection = (2, 4.5)
        >>> player.selected()["voice"]["time"].values[[0, -1]].tolist()
        [2.0, 4.5]
        """
        if self.selection is None:
            return self._result.copy()
        start, end = self.selection
        groups = {}
        for node in self._result.subtree:
            ds = node.to_dataset(inherit=False)
            if "time" in ds.dims:
                inside = (ds["time"] >= start) & (ds["time"] <= end)
                history = extend_history("select", ds, parameters={"start": start, "end": end})
                ds = ds.isel(time=inside.values).assign_attrs(history=history)
            groups[node.path] = ds
        return xr.DataTree.from_dict(groups)

    def on_event(
        self, callback: Callable[[xr.Dataset, str], object], *, remove: bool = False
    ) -> None:
        """Call a function whenever an event is met.

        Parameters
        ----------
        callback : callable
            Called with the event, a Dataset without dimensions (``onset``, ``label``, …),
            and with how it was met: ``"playback"``, when its onset is played, or
            ``"click"``. What it raises is logged.
        remove : bool
            Call it no more.

        Raises
        ------
        TypeError
            If `callback` cannot be called.
        ValueError
            If the player has no events.

        Examples
        --------
        >>> import numpy as np, xarray as xr, emokit as ek
        >>> voice = ek.schema.build_dataset(
        ...     "voice", {"f0": np.full(100, 120.0)}, {"time": np.arange(100) / 10}, history="[]"
        ... )
        >>> laugh = {"onset": ("event", [2.0]), "offset": ("event", [3.0])}
        >>> player = ek.play(voice, events=xr.Dataset(laugh))
        >>> player.on_event(lambda event, how: print(f"{how}: {event.onset.item()} s"))
        """
        if not callable(callback):
            raise TypeError(f"callback must be a function; got {type(callback).__name__}")
        if self._events is None:
            raise ValueError("there are no events to meet; ek.play(result, events=…) shows some")
        self._event_handlers.register_callback(callback, remove=remove)

    def to_html(self, path: str | Path, *, video: bool = True) -> Path:
        """Write the player as one page that opens from disk and needs no network.

        Parameters
        ----------
        path : str or pathlib.Path
            File to write; replaced where it exists.
        video : bool
            Whether the clip itself goes into the page, which then is about a third
            larger than the clip. Without it the face boxes and timelines remain, but
            neither picture nor sound. The evidence of every half second goes in where
            that is not more than 400 moments.

        Returns
        -------
        pathlib.Path
            `path`.

        Raises
        ------
        ValueError
            If `video` is true and there is no file to embed, if the folder does not exist, or
            if `path` names a recording, such as the clip itself.

        Examples
        --------
        >>> import tempfile, numpy as np, emokit as ek
        >>> voice = ek.schema.build_dataset(
        ...     "voice", {"intensity": np.array([-30.0])}, {"time": [0.0]}, history="[]"
        ... )
        >>> folder = tempfile.mkdtemp()
        >>> page = ek.play(voice).to_html(f"{folder}/talk.html", video=False)
        >>> page.read_text(encoding="utf-8").splitlines()[0]
        '<!doctype html>'
        """
        path = Path(path).expanduser()
        if video and (self._media is None or not self._media.is_file()):
            raise ValueError(
                "video=True needs the clip's file, and this player has none "
                f"({self._layout['media']['note'] or 'it is gone'}); use video=False"
            )
        with (
            replace_when_complete(path, expected=".html") as partial,
            partial.open("w", encoding="utf-8", newline="\n") as file,
        ):
            write_page(
                file,
                self._page_state(video=video),
                code=Player._esm,  # a page has no kernel, and is for looking only
                style=self._css,
                media=self._media if video else None,
            )
        return path

    def close(self) -> None:
        """Remove the player from the page and stop serving its video."""
        served, self._served = getattr(self, "_served", None), None
        if served is not None:
            served.close()
        super().close()

    def __repr__(self) -> str:
        name = self._layout["media"]["name"] or "a result without a clip"
        return f"<Player of {name}: {self.duration:.2f} s, at {self.current_time:.3f} s>"

    @traitlets.validate("current_time")
    def _clip_time(self, proposal: dict) -> float:
        if not math.isfinite(proposal["value"]):
            raise traitlets.TraitError(
                f"current_time must be a finite number of seconds; got {proposal['value']}"
            )
        return min(max(proposal["value"], 0.0), self.duration)

    @traitlets.validate("selection")
    def _clip_selection(self, proposal: dict) -> tuple[float, float] | None:
        if proposal["value"] is None:
            return None
        start, end = proposal["value"]
        if not (math.isfinite(start) and math.isfinite(end) and start < end):
            raise traitlets.TraitError(
                f"selection must be a start and a later end in seconds, or None; got {start}, {end}"
            )
        start, end = (min(max(t, 0.0), self.duration) for t in (start, end))
        if start >= end:
            raise traitlets.TraitError(
                f"selection must lie in 0 to {self.duration:.3f} s; got {proposal['value']}"
            )
        return start, end

    @traitlets.validate("face")
    def _known_face(self, proposal: dict) -> str:
        faces = self._layout["faces"]
        if proposal["value"] not in (faces or [""]):
            raise traitlets.TraitError(
                f"face must be one of {', '.join(faces) or 'none'}; got {proposal['value']!r}"
            )
        return proposal["value"]

    def _serve(self, media: Path) -> dict[str, object]:
        media = media.resolve()
        locations = [media.as_posix()]
        if media.is_relative_to(Path.home()):
            locations.append(f"~/{media.relative_to(Path.home()).as_posix()}")
        try:
            self._served = serve_file(media)
        except OSError as error:
            logger.warning("no port could be opened for the video: %s", error)
            return {"locations": locations}
        return {"port": self._served.port, "token": self._served.token, "locations": locations}

    def _page_state(self, *, video: bool) -> dict[str, object]:
        media = {
            key: value
            for key, value in self._layout["media"].items()
            # An address and a folder of this machine are nobody else's business.
            if key not in ("port", "token", "locations")
        }
        if self._media and not video:
            media |= {"kind": "none", "note": "This page was written without the video."}
        return {
            **{name: getattr(self, name) for name in _PAGE_TRAITS},
            "_clock": "",
            "_layout": {**self._layout, "media": media, "hears": False, "mesh": False},
            "_arrays": self._arrays,
            "_evidence": explain_moments(self._result, self._explain) if self._explain else [],
        }

    def _answer(self, _: object, message: dict, __: list) -> None:
        """What the browser asks for when it is to be seen: meshes and evidence."""
        if message.get("type") == "mesh":
            face, start, count = (int(message[key]) for key in ("face", "start", "count"))
            mesh = self._result["face"]["landmark_position"]
            mesh = mesh.isel(time=slice(start, start + count), face=face, space=slice(0, 2))
            values = np.ascontiguousarray(mesh.values, dtype="<f4")
            self.send({"type": "mesh", "face": face, "start": start}, [values.tobytes()])
        elif message.get("type") == "event":
            for number in message["numbers"]:
                event = self._events.isel(event=int(number))
                self._event_handlers(event, str(message["how"]))
        elif message.get("type") == "explain":
            answer = explain_moment(
                self._result,
                self._explain,
                time=float(message["time"]),
                face=str(message["face"]),
            )
            self.send({"type": "evidence", "number": message["number"], **answer})


def play(
    result: xr.DataTree | xr.Dataset,
    *,
    clip: Clip | str | Path | None = None,
    proxy: bool = True,
    explain: Callable[..., xr.DataArray] | None = None,
    events: xr.Dataset | None = None,
    progress: bool = True,
) -> Player:
    """Show a clip beside what was found in it.

    Parameters
    ----------
    result : xarray.DataTree or xarray.Dataset
        What ``analyze`` returns, or the Dataset of one stage (of a face, a voice, or
        their fusion). Any group and any variable may be missing.
    clip : Clip, str or pathlib.Path, optional
        The clip, or a copy of it that a browser can play. Without it, the file that
        `result` says it came from is shown, if it is still there.
    proxy : bool
        Whether a copy is made of a clip that browsers cannot play (another codec than
        H.264, VP8, VP9 or AV1; a folder of images; frames in memory). It is kept in the
        user's cache, and used again.
    explain : callable, optional
        Gives the evidence of a moment, as :func:`explain` does, which is the default where
        `result` holds ``unit_presence``: ``explain(face, time=…, face=…)`` to a DataArray
        ``(emotion, action_unit)``.
    events : xarray.Dataset, optional
        Spans to mark, along ``event``: ``onset`` and ``offset`` in seconds and, where they
        are known, ``apex``, ``label``, ``face`` (a track, or empty for all) and
        ``amplitude``. By default the group ``events`` of `result`, where it has one.
    progress : bool
        Show a progress bar while a copy is made.

    Returns
    -------
    Player
        Shown by a notebook as the last line of a cell. Its ``current_time`` can be
        read and set; ``to_html`` writes it to a file.

    Raises
    ------
    TypeError
        If `result` is neither a DataTree nor a Dataset.
    ValueError
        If it holds nothing that emokit knows, or what it holds is malformed.
    ClipError
        If `clip` cannot be read.

    Notes
    -----
    The video is served to this machine's browser only, by range requests, at an
    address that cannot be guessed; it never passes through the notebook file.

    Examples
    --------
    >>> import numpy as np, emokit as ek
    >>> time = np.arange(0, 2, 0.01)
    >>> voice = ek.schema.build_dataset(
    ...     "voice", {"f0": 120 + 20 * np.sin(time)}, {"time": time}, history="[]"
    ... )
    >>> player = ek.play(voice)
    >>> player.current_time = 1.5
    >>> player
    <Player of a result without a clip: 1.99 s, at 1.500 s>
    """
    parts = assemble(
        result, clip=clip, proxy=proxy, explain=explain, events=events, progress=progress
    )
    return Player(**parts)
