"""Video and sound files as clips."""

from __future__ import annotations

import itertools
import logging
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import av
import numpy as np
import pooch
import xarray as xr
from av.stream import Disposition

from .arguments import check_number
from .clip import Clip, ClipError, end_of_frames
from .pictures import reason, upright

logger = logging.getLogger(__name__)

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

#: Sound packets that start later than the sound so far by more than this leave a gap.
_AUDIO_GAP = 0.05


class FileClip(Clip):
    """A file that FFmpeg reads, its frames known by their presentation timestamps."""

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
            self.duration = end_of_frames(self.frame_times)
            warnings.warn(
                f"{path.name} announces {announced} frames and holds {len(self.frame_times)}: it "
                f"is probably truncated, and is read up to {self.duration:.2f} s",
                stacklevel=3,
            )
        self.duration = max(self.duration, float(self.frame_times[-1]))

    @property
    def part_starts(self) -> np.ndarray:
        """As of any clip; the first frame, and key frames."""
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
        """As of any clip; a file that is gone cannot be told to have changed."""
        if not self.path.exists():
            return
        stamp = _stamp(self.path)
        same = stamp == self._stamp
        # Hashed while it is surely the same, to compare with when the stamp has changed.
        known = self.sha256 if same else self.__dict__.get("sha256")
        if not same and known != pooch.file_hash(str(self.path)):
            raise ClipError(f"{self.name} has changed since it was opened; open it again")
        self._stamp = stamp

    def _open(self) -> av.container.InputContainer:
        try:
            # The explicit protocol keeps a name like "a:b.mp4" or "-x.mp4" a file name.
            return av.open(f"file:{self.path}", metadata_errors="replace")
        except (av.error.FFmpegError, OSError) as error:
            raise ClipError(
                f"{self.path.name} cannot be read as video or sound: {reason(error)}"
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
                logger.info("%s: reading stopped early: %s", self.name, reason(error))
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
                        yield time, partial(upright, frame)
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
        """As of any clip; what was left out between two packets is silence."""
        if not self.has_audio:
            return super().audio(rate)
        check_number("rate", rate, least=1, whole=True)
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
            logger.info("a packet cannot be decoded: %s", reason(error))
