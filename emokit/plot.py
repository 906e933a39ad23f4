"""The result as one figure."""

from __future__ import annotations

import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter

from . import schema
from .clip import Clip, ClipError
from .opening import open_clip

_INK, _FAINT, _ABSENT = "#222222", "#888888", "#e9e9e9"
_N_PICTURES = 9
#: Units recovered less well than this on simulated faces are labelled in grey.
_TRUSTED = 0.8


def plot(
    result: xr.DataTree,
    *,
    clip: Clip | str | Path | None = None,
    face: str | None = None,
) -> Figure:
    """Draw a result: pictures, action units, emotions, valence and arousal, voice.

    Parameters
    ----------
    result : xarray.DataTree
        What :func:`analyze` or :func:`load` returned.
    clip : Clip, str or pathlib.Path, optional
        Where the pictures come from; by default the file that the result names. Where
        that is gone, the figure has no pictures.
    face : str, optional
        Track; the first by default.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown and not saved; times without a face are grey, and so are the labels of
        units that are read less reliably (``trust`` below 0.8).

    Raises
    ------
    TypeError
        If `result` is not a DataTree.
    ValueError
        If there is nothing to draw, or no such face.
    ClipError
        If `clip` cannot be read.

    Examples
    --------
    >>> import emokit as ek
    >>> result = ek.analyze(ek.sample_clip(), fps=2, progress=False)
    >>> figure = ek.plot(result)
    >>> len(figure.axes) >= 5
    True
    """
    if not isinstance(result, xr.DataTree):
        raise TypeError(
            f"result must be a DataTree, as ek.analyze returns; got {type(result).__name__}"
        )
    seen = _one_face(result, face)
    voice = result["voice"].to_dataset() if "voice" in result.children else None
    panels = []
    if seen is not None:
        if clip is None:
            clip = _source(result)
        elif not isinstance(clip, Clip):
            clip = open_clip(clip)
        if clip is not None and clip.has_video:
            panels.append((1.1, lambda ax: _draw_pictures(ax, clip, seen, span)))
        panels += [
            (3.4, lambda ax: draw_units(ax, seen)),
            (1.7, lambda ax: draw_emotions(ax, seen)),
            (1.3, lambda ax: draw_affect(ax, seen, voice)),
        ]
    if voice is not None:
        panels.append((1.5, lambda ax: draw_voice(ax, voice)))
    if not panels:
        raise ValueError("result has neither a face nor a voice group: there is nothing to draw")
    times = [g["time"].values for g in (seen, voice) if g is not None]
    span = (min(0.0, *(float(t[0]) for t in times)), max(float(_edges(t)[-1]) for t in times))

    heights = [height for height, _ in panels]
    with plt.rc_context({"font.size": 8.5, "axes.edgecolor": _FAINT, "text.color": _INK}):
        figure, axes = plt.subplots(
            len(panels),
            figsize=(12, sum(heights) + 1.1),
            height_ratios=heights,
            sharex=True,
            layout="constrained",
            squeeze=False,
        )
        for (_, draw), ax in zip(panels, axes[:, 0], strict=True):
            ax.spines[["top", "right"]].set_visible(False)
            draw(ax)
            ax.set_xlim(span)
        last = axes[-1, 0]
        last.set_xlabel("time (min:s)")
        last.xaxis.set_major_formatter(FuncFormatter(_clock))
        track = (
            "" if seen is None or result["face"].sizes["face"] == 1 else f" · {seen.attrs['face']}"
        )
        figure.suptitle(f"{result.attrs.get('title', 'clip')}{track}", x=0.01, ha="left", size=11)
        figure.supxlabel(
            "Model estimates of displayed behaviour, not of what anybody feels. "
            "Grey: no face, or nothing read.",
            size=7.5,
            color=_FAINT,
        )
    plt.close(figure)
    return figure


def _one_face(result: xr.DataTree, face: str | None) -> xr.Dataset | None:
    if "face" not in result.children:
        return None
    group = schema.validate(result["face"].to_dataset(), group="face", argument="result['face']")
    tracks = [str(track) for track in group["face"].values]
    face = tracks[0] if face is None else face
    if face not in tracks:
        raise ValueError(f"face must be one of {', '.join(tracks)}; got {face!r}")
    return group.sel(face=face, drop=True).assign_attrs(face=face)


def _source(result: xr.DataTree) -> Clip | None:
    path = Path(result.attrs.get("source", ""))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fps = result.attrs.get("fps", 25.0)
            return open_clip(path, fps=fps) if path.is_absolute() and path.exists() else None
    except ClipError:
        return None


def _draw_pictures(ax: Axes, clip: Clip, seen: xr.Dataset, span: tuple[float, float]) -> None:
    """Frames at even distances, cut to the face's neighbourhood, with its box."""
    width = (span[1] - span[0]) / _N_PICTURES
    wanted = span[0] + width * (np.arange(_N_PICTURES) + 0.5)
    times = seen["time"].values
    wanted = np.unique(times[[int(np.abs(times - t).argmin()) for t in wanted]])
    for time, frame in clip.frames(times=wanted):
        left = span[0] + width * min(int((time - span[0]) / width), _N_PICTURES - 1)
        inset = ax.inset_axes([left + 0.02 * width, 0, 0.96 * width, 0.9], transform=ax.transData)
        inset.imshow(frame, aspect="equal", interpolation="antialiased")
        inset.set_axis_off()
        x, y, w, h = seen["face_box"].sel(time=time, method="nearest").values
        if np.isfinite(x):
            inset.add_patch(Rectangle((x, y), w, h, fill=False, ec="white", lw=1))
        height, whole = frame.shape[:2]
        # A frame wider than its place is cut around the face rather than shrunk.
        shown = min(whole, height * 1.15)
        centre = np.clip(x + w / 2 if np.isfinite(x) else whole / 2, shown / 2, whole - shown / 2)
        inset.set_xlim(centre - shown / 2, centre + shown / 2)
        inset.set_title(_clock(time), size=7, pad=2, color=_FAINT)
    ax.set_ylim(0, 1)
    ax.axis("off")


def draw_units(ax: Axes, seen: xr.Dataset) -> None:
    """Heat map of the action units of one face."""
    units = [str(unit) for unit in seen["action_unit"].values]
    ax.set_facecolor(_ABSENT)
    mesh = ax.pcolormesh(
        _edges(seen["time"].values),
        np.arange(len(units) + 1),
        np.ma.masked_invalid(seen["au"].values.T),
        cmap="BuPu",
        vmin=0,
        vmax=1,
        rasterized=True,
    )
    ax.set_yticks(np.arange(len(units)) + 0.5)
    ax.set_yticklabels([f"{schema.ACTION_UNITS.get(u, '')}  {u[2:]}" for u in units], size=7)
    if "trust" in seen.coords:
        for label, trust in zip(ax.get_yticklabels(), seen["trust"].values, strict=True):
            label.set_color(_FAINT if trust < _TRUSTED else _INK)
    ax.tick_params(axis="y", length=0)
    ax.invert_yaxis()
    ax.set_ylabel("action units")
    bar = ax.figure.colorbar(mesh, cax=ax.inset_axes([1.012, 0.2, 0.01, 0.6]))
    bar.set_label("intensity", size=7.5)
    bar.outline.set_visible(False)


def draw_emotions(ax: Axes, seen: xr.Dataset) -> None:
    """Probabilities of the displayed emotions of one face, stacked."""
    probability = seen["emotion_probability"]
    names = [str(name) for name in probability["emotion"].values]
    # Neutral at the bottom, so that what is displayed rises out of it.
    names.sort(key=lambda name: name != "neutral")
    values = probability.sel(emotion=names).values
    ax.set_facecolor(_ABSENT)
    # Each row fills its own share of time: a missing one leaves a gap, not a slope.
    edges, base = _edges(seen["time"].values), np.zeros(len(values))
    for name, share in zip(names, values.T, strict=True):
        top = base + share
        ax.stairs(
            top, edges, baseline=base, fill=True, color=schema.EMOTION_COLORS[name], lw=0,
            alpha=0.55 if name == "neutral" else 1,
        )  # fmt: skip
        base = top
    ax.set_ylim(0, 1)
    ax.set_ylabel("displayed emotion\n(probability)")
    handles = [Patch(color=schema.EMOTION_COLORS[name], label=name) for name in reversed(names)]
    _legend(ax, handles=handles)


def draw_affect(ax: Axes, seen: xr.Dataset, voice: xr.Dataset | None) -> None:
    """Valence and arousal of one face, and arousal of a voice."""
    _shade_absent(ax, seen)
    ax.axhline(0, color=_FAINT, lw=0.6)
    ax.plot(seen["time"], seen["valence"], color="#0072B2", lw=1.1, label="valence, face")
    ax.plot(seen["time"], seen["arousal"], color="#D55E00", lw=1.1, label="arousal, face")
    if voice is not None and "arousal" in voice:
        ax.plot(voice["time"], voice["arousal"], color="#D55E00", lw=1, ls=":",
                label="arousal, voice")  # fmt: skip
    ax.set_ylim(-1, 1)
    ax.set_yticks([-1, 0, 1])
    ax.set_ylabel("valence,\narousal")
    _legend(ax)


def draw_voice(ax: Axes, voice: xr.Dataset) -> None:
    """Pitch and intensity."""
    time = voice["time"].values
    loudness = ax.twinx()
    loudness.spines["top"].set_visible(False)
    shown = voice["intensity"].where(voice["intensity"] > -80)
    loudness.plot(time, shown, color="#bbbbbb", lw=0.7)
    loudness.set_ylabel("intensity (dB)", color=_FAINT)
    ax.set_zorder(loudness.get_zorder() + 1)
    ax.patch.set_visible(False)
    ax.plot(time, voice["f0"], color="#009E73", lw=1.4)
    ax.set_ylabel("pitch (Hz)", color="#009E73")
    ax.set_ylim(bottom=0)


def _shade_absent(ax: Axes, seen: xr.Dataset) -> None:
    edges = _edges(seen["time"].values)
    absent = np.isnan(seen["valence"].values).astype(int)
    changes = np.flatnonzero(np.diff(np.r_[0, absent, 0]))
    for start, end in changes.reshape(-1, 2):
        ax.axvspan(edges[start], edges[end], color=_ABSENT, lw=0)


def _legend(ax: Axes, **kwargs: object) -> None:
    ax.legend(
        loc="center left", bbox_to_anchor=(1.005, 0.5), frameon=False, fontsize=7.5,
        handlelength=1.1, **kwargs,
    )  # fmt: skip


def _edges(time: np.ndarray) -> np.ndarray:
    """Borders between rows: half-way between their times."""
    if len(time) == 1:
        return np.array([time[0], time[0] + 0.04])
    middle = (time[1:] + time[:-1]) / 2
    return np.r_[time[0], middle, time[-1] + (time[-1] - middle[-1])]


def _clock(seconds: float, _position: int | None = None) -> str:
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{int(minutes)}:{rest:04.1f}".removesuffix(".0")
