"""Copies that a browser can play, of clips that it cannot.

A proxy is made only where it is needed, and kept in the user's cache under the hash
of its source. Its frames are those of the source, upright and at the same times.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pooch

from emokit.clip import Clip, ClipError, read_ahead

if TYPE_CHECKING:
    import av

logger = logging.getLogger(__name__)

#: What Chromium, Firefox and Safari all play. HEVC is not among them: where it is
#: lacking the video loads without a picture and without an error.
_PICTURES = frozenset({"h264", "vp8", "vp9", "av1", "libdav1d", "libvpx", "libvpx-vp9"})
_SOUNDS = frozenset({"aac", "mp3", "mp3float", "opus", "vorbis", "flac", "pcm_s16le"})
_CONTAINERS = frozenset({"mp4", "mov", "webm", "matroska", "mp3", "wav", "ogg", "flac", "aac"})
_PIXELS = frozenset({"yuv420p", "yuvj420p", "yuv420p10le"})

#: Bytes that all copies together may take; beyond it those not used for longest go.
CACHE_LIMIT = 4 * 2**30

#: Seconds after its last use for which a copy is never removed.
_IN_USE = 6 * 3600

#: Pixels along the longer side of a proxy: enough for a full screen.
_LONGEST = 1920

_TICKS = 90_000
_RATE = 48_000


def needs_proxy(clip: Clip) -> bool:
    """Whether browsers cannot play `clip` as it is.

    Examples
    --------
    >>> import numpy as np, emokit as ek
    >>> from emokit.widgets.proxy import needs_proxy
    >>> needs_proxy(ek.sample_clip())
    False
    >>> needs_proxy(ek.Clip.from_frames(np.zeros((1, 48, 64, 3), np.uint8), [0.0]))
    True
    """
    if clip.path is None or not clip.path.is_file():
        return True
    import av

    try:
        with av.open(f"file:{clip.path}") as container:
            if not _CONTAINERS & set(container.format.name.split(",")):
                return True
            if clip.has_audio and container.streams.audio[0].codec_context.name not in _SOUNDS:
                return True
            if not clip.has_video:
                return False
            context = container.streams.video[0].codec_context
            # Ten bits are in what VP9 and AV1 browsers decode, but not in their H.264.
            narrow = context.name == "h264" and context.pix_fmt == "yuv420p10le"
            return context.name not in _PICTURES or context.pix_fmt not in _PIXELS or narrow
    except (av.error.FFmpegError, OSError, IndexError) as error:
        logger.info("%s: %s", clip.name, error)
        return True


def make_proxy(clip: Clip, *, progress: bool = True) -> Path:
    """Copy of a clip that every browser plays: H.264 and AAC in MP4.

    Parameters
    ----------
    clip : Clip
        Anything with a picture or a sound: a file, a folder of images, frames in memory.
    progress : bool
        Show a progress bar while a new copy is written.

    Returns
    -------
    pathlib.Path
        A file in the user's cache; an earlier copy of the same source is used again. The
        cache holds ``CACHE_LIMIT`` bytes; those not used for longest go first.

    Raises
    ------
    ClipError
        If the clip cannot be read or the copy cannot be written.

    Notes
    -----
    Frames keep their presentation times to a hundredth of a millisecond, whatever their
    rate, and stand upright. Pictures of more than 1920 pixels are made smaller.

    Examples
    --------
    >>> import numpy as np, emokit as ek
    >>> from emokit.widgets.proxy import make_proxy
    >>> clip = ek.Clip.from_frames(np.zeros((3, 48, 64, 3), np.uint8), [0.0, 0.1, 0.35])
    >>> copy = ek.open_clip(make_proxy(clip, progress=False))
    >>> copy.codec, copy.frame_times.round(3).tolist()
    ('h264', [0.0, 0.1, 0.35])
    """
    folder = Path(pooch.os_cache("emokit")) / "proxies"
    target = folder / f"{_content_hash(clip)[:32]}{'.mp4' if clip.has_video else '.m4a'}"
    if target.is_file():
        target.touch()  # what was used last goes last
        return target
    import av

    partial = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(suffix=f".partial{target.suffix}", dir=folder)
        os.close(handle)
        partial = Path(name)
        with av.open(name, "w", format="mp4", options={"movflags": "+faststart"}) as output:
            _write(clip, output, progress=progress)
        partial.replace(target)
        _prune(folder)
    except (av.error.FFmpegError, OSError) as error:
        raise ClipError(f"no copy of {clip.name} for browsers could be made: {error}") from error
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)
    return target


def _prune(folder: Path) -> None:
    """Remove the copies that were not used for longest, until the others fit the cache."""
    known = []
    for copy in folder.glob("*.m[p4]*"):
        with contextlib.suppress(OSError):  # another kernel may be doing the same
            known.append((copy.stat().st_mtime, copy.stat().st_size, copy))
    kept = 0
    for used, size, copy in sorted(known, reverse=True):
        kept += size
        # One that was used a little while ago may be playing.
        if kept > CACHE_LIMIT and time.time() - used > _IN_USE:
            with contextlib.suppress(OSError):
                copy.unlink()
                logger.info("removed the copy %s from the cache", copy.name)


def _content_hash(clip: Clip) -> str:
    if clip.sha256:
        return clip.sha256
    digest = hashlib.sha256(np.ascontiguousarray(clip.frame_times).tobytes())
    for _, frame in clip.frames():
        digest.update(repr(frame.shape).encode())
        digest.update(np.ascontiguousarray(frame))
    return digest.hexdigest()


def _write(clip: Clip, output: av.container.OutputContainer, *, progress: bool) -> None:
    from tqdm.auto import tqdm

    # Both streams must be there before the first packet is written.
    picture = _add_picture(clip, output) if clip.has_video else None
    sound = output.add_stream("aac", rate=_RATE, layout="stereo") if clip.has_audio else None
    frames = read_ahead(clip.frames()) if picture else iter(())
    samples = _sound_frames(clip.path) if sound else iter(())
    waiting = next(samples, None)
    bar = tqdm(
        frames,
        total=len(clip.frame_times),
        desc=f"copy of {clip.name} for the browser",
        unit="frame",
        disable=not progress or not picture,
        leave=False,
    )
    for shown, rgb in bar:
        # Side by side in the file, or a browser would have to fetch all of it to begin.
        while waiting is not None and float(waiting.pts * waiting.time_base) <= shown:
            output.mux(sound.encode(waiting))
            waiting = next(samples, None)
        output.mux(picture.encode(_picture_frame(rgb, shown, picture)))
    while waiting is not None:
        output.mux(sound.encode(waiting))
        waiting = next(samples, None)
    for stream in (picture, sound):
        if stream:
            output.mux(stream.encode(None))


def _add_picture(clip: Clip, output: av.container.OutputContainer) -> av.VideoStream:
    width, height = clip.size
    scale = min(1.0, _LONGEST / max(width, height))
    stream = output.add_stream("libx264", rate=30)
    # H.264 at 4:2:0 has even sides only.
    stream.width, stream.height = (max(round(side * scale / 2) * 2, 2) for side in (width, height))
    stream.pix_fmt = "yuv420p"
    stream.time_base = stream.codec_context.time_base = Fraction(1, _TICKS)
    # Without B-frames no frame is written before its time, and no edit list has to say so.
    stream.options = {"preset": "veryfast", "crf": "26", "g": "30", "bf": "0"}
    return stream


def _picture_frame(rgb: np.ndarray, time: float, stream: av.VideoStream) -> av.VideoFrame:
    import av

    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    frame = frame.reformat(stream.width, stream.height, "yuv420p")
    frame.pts, frame.time_base = round(time * _TICKS), Fraction(1, _TICKS)
    return frame


def _sound_frames(path: Path) -> Iterator[av.AudioFrame]:
    """Sound of a file as the encoder wants it; a pause in the stream becomes silence."""
    import av

    size = 1024
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=_RATE, frame_size=None)
    done, held = None, np.zeros((2, 0), np.float32)
    with av.open(f"file:{path}") as container:
        stream = container.streams.audio[0]
        for packet in container.demux(stream):
            try:
                decoded = packet.decode()
            except av.error.FFmpegError:
                continue
            for frame in decoded:
                start = round(float(frame.pts * frame.time_base) * _RATE) if frame.pts else None
                for piece in resampler.resample(frame):
                    if done is None:
                        done = max(start or 0, 0)
                    pause = (start - done - held.shape[1]) if start is not None else 0
                    if pause > _RATE // 20:
                        held = np.concatenate([held, np.zeros((2, pause), np.float32)], axis=1)
                    start = None
                    held = np.concatenate([held, piece.to_ndarray()], axis=1)
                while held.shape[1] >= size:
                    yield _sound_frame(held[:, :size], done)
                    done, held = done + size, held[:, size:]
    if held.shape[1]:
        yield _sound_frame(held, done)


def _sound_frame(samples: np.ndarray, start: int) -> av.AudioFrame:
    import av

    contiguous = np.ascontiguousarray(samples)
    frame = av.AudioFrame.from_ndarray(contiguous, format="fltp", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = _RATE, start, Fraction(1, _RATE)
    return frame
