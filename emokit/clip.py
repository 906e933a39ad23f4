"""Clips: exact frame times, upright RGB frames and sound, whatever they are read from."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pooch
import xarray as xr

from .arguments import check_number
from .pictures import shrink

_T = TypeVar("_T")


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
        return pooch.file_hash(str(self.path))

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
        check_number("fps", fps, above=0)
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
        self.duration = end_of_frames(times)
        self.codec = "rawvideo"

    def _read(self, indices: np.ndarray) -> Iterator[tuple[float, Callable[..., np.ndarray]]]:
        for index in indices:
            yield float(self.frame_times[index]), partial(shrink, self._frames[index])


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


def end_of_frames(times: np.ndarray) -> float:
    """When the last frame ends, if it is shown as long as the others typically are."""
    return float(times[-1] + (np.median(np.diff(times)) if len(times) > 1 else 0.04))
