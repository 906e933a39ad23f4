"""A result as a video: the clip with its faces, and timelines with a playhead below it."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from tqdm.auto import tqdm

from . import schema
from .arguments import check_number
from .clip import Clip, ClipError
from .files import check_target
from .opening import open_clip
from .plot import draw_affect, draw_emotions, draw_units, draw_voice

#: Timelines that can be drawn, with the group and the variable that each needs.
TRACKS = {
    "action_units": ("face", "au"),
    "emotion": ("face", "emotion_probability"),
    "affect": ("face", "valence"),
    "voice": ("voice", "f0"),
    "events": ("events", "onset"),
    "annotations": ("annotations", "onset"),
}

_HEIGHTS = {"action_units": 250, "events": 70, "annotations": 70}

#: Pixels across: less leaves no room for the words beside the timelines.
_NARROWEST, _WIDEST = 640, 1920

_DOTS_PER_INCH = 100
_SOUND_RATE = 48_000
_FRONT, _OTHERS, _PLAYHEAD = (255, 210, 74), (255, 255, 255), (224, 49, 47)


def render(
    result: xr.DataTree,
    path: str | Path,
    *,
    clip: Clip | str | Path | None = None,
    tracks: Sequence[str] | None = None,
    face: str | None = None,
    mesh: bool = False,
    start: float | None = None,
    end: float | None = None,
    fps: float | None = None,
    progress: bool = True,
) -> Path:
    """Write a video of a clip with what was found in it, for slides and other people.

    Parameters
    ----------
    result : xarray.DataTree
        What :func:`analyze` returns, or ``player.selected()``.
    path : str or pathlib.Path
        File to write, ``….mp4``; replaced where it exists, once the new one is complete.
    clip : Clip, str or pathlib.Path, optional
        By default the file that `result` says it came from.
    tracks : sequence of str, optional
        Timelines below the picture, in this order: of ``action_units``, ``emotion``,
        ``affect`` (valence and arousal), ``voice``, ``events`` and ``annotations``. By
        default emotion, affect and voice, as far as `result` has them; none where empty.
    face : str, optional
        Track whose timelines are drawn; the first by default. Boxes are drawn of all.
    mesh : bool
        Draw the face meshes, where `result` has them.
    start, end : float
        Seconds of the clip; whole by default. ``start, end = player.selection`` makes a
        subclip of the selection.
    fps : float, optional
        Frames a second of the new video; by default those of the clip, 60 at most.
    progress : bool
        Show a progress bar.

    Returns
    -------
    pathlib.Path
        `path`.

    Raises
    ------
    TypeError, ValueError
        If an option is wrong, or `result` has no such track or face.
    ClipError
        If there is no clip, or it has no picture.

    Notes
    -----
    moviepy writes, but does not read: its frames of a clip with a varying rate would be
    the wrong ones. Each frame written shows the one that was on the screen in the middle
    of its time. The sound is the clip's own, as one channel (H.264 and AAC in MP4).

    Examples
    --------
    >>> import tempfile, xarray as xr, emokit as ek
    >>> clip = ek.sample_clip()
    >>> faces = ek.detect_faces(clip, fps=1, progress=False)
    >>> result = xr.DataTree.from_dict({"face": faces})
    >>> path = f"{tempfile.mkdtemp()}/laughter.mp4"
    >>> path = ek.render(result, path, clip=clip, start=17, end=17.2, progress=False)
    >>> ek.open_clip(path).size
    (640, 360)
    """
    if not isinstance(result, xr.DataTree):
        raise TypeError(
            f"result must be a DataTree, as ek.analyze returns; got {type(result).__name__}"
        )
    path = Path(path).expanduser()
    if path.suffix.lower() != ".mp4":
        raise ValueError(f"path must end in .mp4; got {path.name!r}")
    check_target(path)
    clip = _find_clip(result, clip)
    sources = [Path(one) for one in (clip.path, result.attrs.get("source")) if one]
    if path.exists() and any(one.exists() and path.samefile(one) for one in sources):
        raise ValueError(f"path is the clip itself, {path.name}, which would be lost")
    # Files differ in whether their length counts the time of the last frame.
    whole = max(clip.duration, float(clip.frame_times[-1]) + 1 / _usual_rate(clip))
    start, end = 0.0 if start is None else start, whole if end is None else end
    for name, value in (("start", start), ("end", end)):
        check_number(name, value, unit="seconds")
    if not (0 <= start < end <= whole + 1e-3):
        raise ValueError(
            f"start and end must lie in 0 to {whole:.3f} s, start first; got {start!r} and {end!r}"
        )
    if fps is not None:
        check_number("fps", fps, above=0, most=240)
    fps = float(fps or _usual_rate(clip))
    faces = _faces(result)
    labels = [] if faces is None else [str(label) for label in faces["face"].values]
    if face is not None and face not in labels:
        raise ValueError(f"face must be one of {', '.join(labels) or 'none'}; got {face!r}")
    names = _choose_tracks(result, tracks)

    scale = min(max(1.0, _NARROWEST / clip.size[0]), _WIDEST / clip.size[0])
    # H.264 at 4:2:0 has even sides only.
    width, height = (round(side * scale / 2) * 2 for side in clip.size)
    chosen = face or (labels[0] if labels else None)
    strip = _draw_strip(result, names, chosen, width, (start, end)) if names else None
    overlay = _Overlay(faces, chosen, width / clip.size[0], mesh=mesh)

    def compose(time: float, frame: np.ndarray) -> np.ndarray:
        picture = Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR)
        overlay.draw(picture, time)
        if strip is None:
            return np.asarray(picture)
        return np.concatenate([np.asarray(picture), strip.at(time)])

    _write(clip, path, compose, start=start, end=end, fps=fps, progress=progress)
    return path


def _write(
    clip: Clip,
    path: Path,
    compose: Callable[[float, np.ndarray], np.ndarray],
    *,
    start: float,
    end: float,
    fps: float,
    progress: bool,
) -> None:
    from moviepy import VideoClip
    from moviepy.audio.AudioClip import AudioArrayClip

    count = max(round((end - start) * fps), 1)
    frames = _frames_at(clip, start + (np.arange(count) + 0.5) / fps)
    bar = tqdm(total=count, desc=path.name, unit="frame", disable=not progress, leave=False)
    made = [-1, None]

    def picture(t: float) -> np.ndarray:
        # moviepy asks in order, and for the first frame more than once.
        number = min(round(t * fps), count - 1)
        while made[0] < number:
            made[:] = made[0] + 1, compose(*next(frames))
            bar.update()
        return made[1]

    video = VideoClip(picture, duration=count / fps)
    if clip.has_audio:
        sound = _sound_between(clip, start, end)
        # moviepy takes a single channel for half of two, and makes it twice as long.
        both = np.repeat(sound[:, None], 2, axis=1)
        video = video.with_audio(AudioArrayClip(both, fps=_SOUND_RATE))
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}-", dir=path.parent) as folder, bar:
        partial = Path(folder) / path.name
        try:
            video.write_videofile(
                str(partial),
                fps=fps,
                codec="libx264",
                preset="veryfast",
                audio=clip.has_audio,
                audio_codec="aac",
                audio_fps=_SOUND_RATE,
                temp_audiofile=str(Path(folder) / "sound.m4a"),
                ffmpeg_params=["-crf", "20", "-movflags", "+faststart"],
                pixel_format="yuv420p",
                logger=None,
            )
        except OSError as error:
            raise OSError(f"{path.name} could not be written: {error}") from error
        partial.replace(path)


def _frames_at(clip: Clip, times: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
    """For each of the times, ascending, the time itself and the frame on the screen then."""
    wanted = np.minimum(times, clip.duration)
    source = clip.frames(times=wanted)
    following = next(source, None)
    frame = None
    for time in times:
        while following is not None and (frame is None or following[0] <= time):
            frame, following = following[1], next(source, None)
        if frame is None:
            raise ClipError(f"no frame of {clip.name} from {times[0]:.3f} s on can be decoded")
        yield float(time), frame


def _sound_between(clip: Clip, start: float, end: float) -> np.ndarray:
    """Sound on the clip's own time; silence where its stream has not begun or has ended."""
    sound = clip.audio(rate=_SOUND_RATE)
    out = np.zeros(max(round((end - start) * _SOUND_RATE), 1), np.float32)
    offset = round((float(sound["time"][0]) - start) * _SOUND_RATE)
    values = sound.values[max(-offset, 0) :]
    first = max(offset, 0)
    length = max(min(values.size, out.size - first), 0)
    out[first : first + length] = values[:length]
    return out


def _usual_rate(clip: Clip) -> float:
    if len(clip.frame_times) < 2:
        return 25.0
    return float(np.clip(1 / np.median(np.diff(clip.frame_times)), 5, 60))


def _find_clip(result: xr.DataTree, clip: Clip | str | Path | None) -> Clip:
    if clip is None:
        source = result.attrs.get("source")
        if not source:
            raise ClipError("result does not name its clip; give it as clip=")
        clip = open_clip(str(source), fps=result.attrs.get("fps", 25.0))
    elif not isinstance(clip, Clip):
        clip = open_clip(clip)
    if not clip.has_video:
        raise ClipError(f"{clip.name} has no picture to render")
    return clip


def _faces(result: xr.DataTree) -> xr.Dataset | None:
    if "face" not in result.children:
        return None
    return schema.validate(result["face"].to_dataset(), group="face", argument="result['face']")


def _choose_tracks(result: xr.DataTree, tracks: Sequence[str] | None) -> list[str]:
    there = [
        name
        for name, (group, variable) in TRACKS.items()
        if group in result.children
        and variable in result[group].data_vars
        and result[group][variable].size
    ]
    if tracks is None:
        return [name for name in ("emotion", "affect", "voice") if name in there]
    if isinstance(tracks, str):
        raise TypeError(f"tracks must be a list of names; got {tracks!r}")
    wrong = [name for name in tracks if name not in there]
    if wrong:
        raise ValueError(
            f"tracks must be among those that result has: {', '.join(there) or 'none'}; "
            f"got {', '.join(map(repr, wrong))}"
        )
    return list(tracks)


class _Overlay:
    """Boxes with names, and meshes, over a picture."""

    def __init__(
        self, faces: xr.Dataset | None, chosen: str | None, scale: float, *, mesh: bool
    ) -> None:
        self.names = [] if faces is None else [str(name) for name in faces["face"].values]
        self.chosen, self.scale = chosen, scale
        self.box = self.points = None
        if faces is not None and "face_box" in faces:
            self.box = faces["face_box"].values
        if faces is not None and mesh and "landmark_position" in faces:
            self.points = faces["landmark_position"].values[..., :2]
        self.time = np.empty(0) if faces is None else faces["time"].values
        self.reach = 1.5 * float(np.median(np.diff(self.time))) if len(self.time) > 1 else 0.5
        self.font = ImageFont.load_default(size=14)

    def draw(self, picture: Image.Image, time: float) -> None:
        if not self.time.size:
            return
        row = int(np.abs(self.time - time).argmin())
        if abs(self.time[row] - time) > self.reach:
            return
        pen = ImageDraw.Draw(picture)
        for number, name in enumerate(self.names):
            color = _FRONT if name == self.chosen else _OTHERS
            if self.points is not None:
                known = self.points[row, number] * self.scale
                for x, y in known[np.isfinite(known).all(-1)]:
                    pen.point((x, y), fill=color)
            if self.box is None or not np.isfinite(self.box[row, number]).all():
                continue
            x, y, w, h = self.box[row, number] * self.scale
            # A dark line around the light one: the box is seen on any picture.
            pen.rectangle((x - 1, y - 1, x + w + 1, y + h + 1), outline=(0, 0, 0), width=4)
            pen.rectangle((x, y, x + w, y + h), outline=color, width=2)
            top = max(y - 20, 0)
            left, _, right, _ = pen.textbbox((x, top), name, font=self.font)
            pen.rectangle((x - 1, top, x + right - left + 8, top + 18), fill=(0, 0, 0))
            pen.text((x + 3, top + 1), name, fill=color, font=self.font)


class _Strip:
    """Timelines as one picture, on which a playhead is drawn."""

    def __init__(
        self, image: np.ndarray, start_x: float, end_x: float, span: tuple[float, float]
    ) -> None:
        self.image, self.ends, self.span = image, (start_x, end_x), span

    def at(self, time: float) -> np.ndarray:
        start, end = self.span
        left, right = self.ends
        x = round(left + (right - left) * (min(max(time, start), end) - start) / (end - start))
        image = self.image.copy()
        image[:, max(x - 1, 0) : x + 1] = _PLAYHEAD
        return image


def _draw_strip(
    result: xr.DataTree, names: list[str], face: str | None, width: int, span: tuple[float, float]
) -> _Strip:
    heights = [_HEIGHTS.get(name, 100) for name in names]
    # Even, as the whole picture must be.
    height = math.ceil((sum(heights) + 20) / 2) * 2
    figure = Figure(
        figsize=(width / _DOTS_PER_INCH, height / _DOTS_PER_INCH),
        dpi=_DOTS_PER_INCH,
        layout="constrained",
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(names), height_ratios=heights, sharex=True, squeeze=False)[:, 0]
    for name, ax in zip(names, axes, strict=True):
        _draw_track(ax, name, result, face)
        ax.set_xlim(span)
        ax.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("s", fontsize=8)
    for ax in figure.findobj(Axes):
        ax.tick_params(labelsize=7)
        ax.yaxis.label.set_size(8)
    figure.canvas.draw()
    image = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
    ends = [float(axes[0].transData.transform((t, 0))[0]) for t in span]
    return _Strip(image[:height, :width], *ends, span)


def _draw_track(ax: Axes, name: str, result: xr.DataTree, face: str | None) -> None:
    group = result[TRACKS[name][0]].to_dataset()
    seen = group.sel(face=face, drop=True) if "face" in group.dims else None
    if name == "action_units":
        draw_units(ax, seen)
    elif name == "emotion":
        draw_emotions(ax, seen)
    elif name == "affect":
        draw_affect(ax, seen, result["voice"].to_dataset() if "voice" in result.children else None)
    elif name == "voice":
        draw_voice(ax, group)
    else:
        _draw_spans(ax, group, row="label" if name == "events" else "tier", title=name)


def _draw_spans(ax: Axes, spans: xr.Dataset, *, row: str, title: str) -> None:
    words = (
        [str(word) for word in spans[row].values] if row in spans else [title] * len(spans["onset"])
    )
    rows = sorted(set(words))
    colors = list(schema.EMOTION_COLORS.values())
    for word, onset, offset in zip(
        words, spans["onset"].values, spans["offset"].values, strict=True
    ):
        k = rows.index(word)
        ax.broken_barh([(onset, offset - onset)], (k + 0.1, 0.8), color=colors[k % len(colors)])
    ax.set_yticks(np.arange(len(rows)) + 0.5, rows)
    ax.set_ylim(len(rows), 0)
    ax.set_ylabel(title)
