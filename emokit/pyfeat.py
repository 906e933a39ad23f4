"""py-feat's multitask network on emokit's own boxes; the only module that imports feat."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pooch
import xarray as xr
from tqdm.auto import tqdm

from . import assets, schema
from .arguments import check_number
from .assets import AssetError
from .clip import Clip
from .quality import judge
from .rows import FaceRow, Gathered

if TYPE_CHECKING:
    import torch
    from feat.multitask.inference import MultitaskModel, MultitaskOutput

#: The published weights. feat names them too, but importing it takes seconds, and these
#: are needed to look whether that is worth while.
REPOSITORY = "py-feat/face_multitask_v2"
WEIGHTS = "face_multitask_v28.safetensors"

LICENCE = (
    "py-feat's multitask weights are offered for non-commercial research only: they derive "
    "from parts under CC BY-NC 4.0 and from data sets with terms of their own. "
    "LICENSES/PYFEAT-V2.md in py-feat's package says which."
)

#: What the network calls the emotions.
_EMOTIONS = {
    "Anger": "anger",
    "Disgust": "disgust",
    "Fear": "fear",
    "Happy": "happiness",
    "Sad": "sadness",
    "Surprise": "surprise",
    "Neutral": "neutral",
    "Contempt": "contempt",
}

_POINTS = 478

#: Seconds for the hub to answer; less than the 5 s in which a search that finds nothing ends.
_PROBE = 4


class Reader:
    """py-feat's multitask network, on rows of faces as they come.

    :func:`extract_action_units` documents it under ``model="py-feat"``; `asked` is the
    `model` it was called with.
    """

    def __init__(
        self,
        clip: Clip,
        *,
        weights: str | Path | None = None,
        device: str = "auto",
        batch_size: int = 16,
        landmarks: bool = False,
        asked: str = "py-feat",
        progress: bool = True,
    ) -> None:
        check_number("batch_size", batch_size, least=1, whole=True)
        self._path = fetch_weights(weights, progress=progress)
        show_licence()
        stamp = self._path.stat().st_mtime_ns
        self._network = _load(str(self._path), stamp, _choose_device(device))
        self._clip, self._asked = clip, asked
        self._batch_size, self._landmarks = int(batch_size), landmarks
        self._emotions = _emotion_order(self._network.emotion_names)
        self._gathered = Gathered(
            au=(len(self._network.au_names),),
            emotion_probability=(len(self._emotions),),
            valence=(),
            arousal=(),
            gaze=(3,),
            head_pose=(3,),
            **({"landmark_position": (_POINTS, 3)} if landmarks else {}),
        )

    def read(self, rows: Iterable[FaceRow]) -> None:
        """Read every face of `rows`, which may come from anywhere."""
        crops = _crop_faces(rows, self._network.device)
        for places, chips, squares in _batches(crops, self._batch_size):
            self._gathered.add(places, **_decode(self._network(chips), squares, self._emotions))

    def dataset(self, faces: xr.Dataset, order: list[int]) -> xr.Dataset:
        """What :func:`extract_action_units` returns; `order` has the number of each track."""
        path = self._path
        coords = {
            "time": faces["time"].values,
            "face": faces["face"].values,
            "action_unit": list(self._network.au_names),
            "emotion": [_EMOTIONS[name] for name in self._emotions],
            **({"landmark": np.arange(_POINTS)} if self._landmarks else {}),
        }
        history = schema.extend_history(
            "extract_action_units",
            faces,
            source=self._clip.provenance,
            model={
                "name": "py-feat multitask",
                "version": metadata.version("py-feat"),
                "file": path.name,
                "sha256": _hash(str(path), path.stat().st_mtime_ns),
                "licence": LICENCE,
            },
            parameters={
                "model": self._asked,
                "used": "py-feat",
                "device": str(self._network.device),
                "mixed_precision": bool(self._network.amp),
                "batch_size": self._batch_size,
            },
        )
        variables = self._gathered.arrays(faces.sizes["time"], order)
        variables |= judge(faces, self._clip.size, head_pose=variables["head_pose"])
        return schema.build_dataset("face", variables, coords, history=history)


def find_weights(weights: str | Path | None = None) -> Path | None:
    """Weights that are on the machine; asks no network and imports no torch.

    Parameters
    ----------
    weights : str or pathlib.Path, optional
        A file in py-feat's format (safetensors). Without it, the file that
        ``FEAT_MULTITASK_WEIGHTS`` names, then py-feat's own cache, then emokit's.

    Returns
    -------
    pathlib.Path or None
        None where there are none, or py-feat is not installed.

    Raises
    ------
    AssetError
        If `weights` or ``FEAT_MULTITASK_WEIGHTS`` names something that is not such a file.
    """
    named = os.environ.get("FEAT_MULTITASK_WEIGHTS") if weights is None else weights
    if named:
        origin = "FEAT_MULTITASK_WEIGHTS" if weights is None else "weights"
        path = Path(named).expanduser()
        if not path.is_file():
            raise AssetError(f"{origin} must name a file; there is no {path}")
        _check_format(path, origin)
        return path
    if _package() is None:
        return None
    from huggingface_hub import try_to_load_from_cache

    for cache in _caches():
        found = try_to_load_from_cache(REPOSITORY, WEIGHTS, cache_dir=cache)
        if isinstance(found, str):
            return Path(found)
    return None


def fetch_weights(weights: str | Path | None = None, *, progress: bool = True) -> Path:
    """Path of the weights, fetched from the Hugging Face hub where they are not here yet.

    Parameters
    ----------
    weights : str or pathlib.Path, optional
        As in :func:`find_weights`.
    progress : bool
        Show a progress bar while fetching.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    AssetError
        If the weights cannot be had; says what to place where. Where the hub does not
        answer it takes less than 5 s to say so.
    """
    found = find_weights(weights)
    if found is not None:
        return found
    if _package() is None:
        raise AssetError("py-feat is not installed here; pip install py-feat")
    tried = [f"no {WEIGHTS} in {cache}" for cache in _caches()]
    try:
        return _from_hub(progress)
    except _HubError as error:
        raise AssetError(_instructions([*tried, str(error)])) from error


def seed_weights(folder: str | Path) -> Path | None:
    """Put weights that were brought by hand where py-feat looks.

    Parameters
    ----------
    folder : str or pathlib.Path
        Searched with its subfolders for ``face_multitask_v28.safetensors``.

    Returns
    -------
    pathlib.Path or None
        Where the file now is; None if the folder holds none. Where py-feat's own folder
        cannot be written it is emokit's cache, which emokit searches too.

    Raises
    ------
    ValueError
        If there is no such folder.
    AssetError
        If the file is not one of py-feat's weights, or py-feat is not installed.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise ValueError(f"folder must be a folder that exists; there is no {folder}")
    sources = sorted(path for path in folder.rglob(WEIGHTS) if path.is_file())
    if not sources:
        return None
    if _package() is None:
        raise AssetError("py-feat is not installed here; pip install py-feat")
    source = next(filter(_has_format, sources), sources[0])
    _check_format(source, str(source))
    # The hub's cache names a revision by 40 hexadecimal digits. Which one this file is
    # cannot be known offline, so that it goes by its own hash.
    revision = _hash(str(source), source.stat().st_mtime_ns)[:40]
    home = _writable_cache() / f"models--{REPOSITORY.replace('/', '--')}"
    target = home / "snapshots" / revision / WEIGHTS
    if source.resolve() != target.resolve():
        assets.place(source, target)
    reference = home / "refs" / "main"
    reference.parent.mkdir(parents=True, exist_ok=True)
    partial = reference.with_suffix(".partial")
    partial.write_text(revision)
    partial.replace(reference)
    return target


def describe() -> str:
    """Where the weights are, or how to place them by hand; in the manner of ``ek.assets``."""
    try:
        found = find_weights() or "no; they are fetched on first use of model='py-feat'"
    except AssetError as error:
        found = f"no; {error}"
    return "\n".join(
        [
            "py-feat: multitask network, for model='py-feat' (non-commercial research)",
            f"  file    {WEIGHTS}",
            f"  here    {found}",
            f"  source  {_address()}",
            "",
            "Files brought by hand are put in their places by",
            "  python -m emokit assets seed FOLDER",
        ]
    )


@lru_cache(maxsize=1)
def show_licence() -> None:
    """Say once a process what the weights may be used for."""
    warnings.warn(LICENCE, UserWarning, stacklevel=5)


class _HubError(Exception):
    """The hub did not give the file."""


def _from_hub(progress: bool) -> Path:
    from huggingface_hub import hf_hub_download

    class Bar(tqdm):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs | {"disable": not progress})

    _ask_hub()
    show_licence()
    try:
        path = hf_hub_download(REPOSITORY, WEIGHTS, cache_dir=_writable_cache(), tqdm_class=Bar)
    except Exception as error:
        # Which exception depends on how the network fails; all of them mean the same here.
        raise _HubError(f"the hub gave no file: {error}") from error
    return Path(path)


def _ask_hub() -> None:
    """Raise _HubError unless the hub says in time that it has the file.

    Looking up a name can hang for much longer than any timeout of a connection, so that
    the question is put in a thread, which is left behind. The hub's own download would
    try again and again for half a minute.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    answers: list[Exception | None] = []

    def ask() -> None:
        try:
            get_hf_file_metadata(hf_hub_url(REPOSITORY, WEIGHTS), timeout=_PROBE)
            answers.append(None)
        except Exception as error:
            answers.append(error)

    thread = threading.Thread(target=ask, name="emokit-hub", daemon=True)
    thread.start()
    thread.join(_PROBE)
    if not answers:
        raise _HubError(f"the hub does not answer within {_PROBE} s")
    if answers[0] is not None:
        raise _HubError(f"the hub does not give it: {answers[0]}") from answers[0]


def _address() -> str:
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    return f"{endpoint}/{REPOSITORY}/resolve/main/{WEIGHTS}"


def _package() -> Path | None:
    """Folder of py-feat, found without importing it."""
    spec = importlib.util.find_spec("feat")
    return Path(spec.origin).parent if spec and spec.origin else None


def _caches() -> list[Path]:
    """Folders laid out as the hub's cache: py-feat's own, then emokit's."""
    package = _package()
    own = [] if package is None else [package / "resources"]
    return [*own, assets.cache_folder() / "hub"]


def _writable_cache() -> Path:
    *first, last = _caches()
    return next((path for path in first if path.is_dir() and os.access(path, os.W_OK)), last)


def _has_format(path: Path) -> bool:
    try:
        _check_format(path, "")
    except AssetError:
        return False
    return True


def _check_format(path: Path, origin: str) -> None:
    """py-feat also reads pickles, which may run code: those are refused."""
    from safetensors import SafetensorError, safe_open

    config, why = None, ""
    try:
        # Opening also finds out whether all of the file is there.
        with safe_open(path, framework="numpy") as file:
            config = json.loads((file.metadata() or {})["config"])
    except (SafetensorError, OSError) as error:
        why = f": {error}"
    except (ValueError, KeyError, RecursionError):
        pass
    if path.suffix != ".safetensors" or not isinstance(config, dict):
        raise AssetError(
            f"{origin}: {path.name} is not a file of py-feat's multitask weights "
            f"(safetensors with the network's configuration in it){why}"
        )


def _instructions(tried: list[str]) -> str:
    return "\n".join(
        [
            f"the weights of py-feat's multitask network, {WEIGHTS}, cannot be had:",
            *(f"- {reason}" for reason in tried),
            f"They are {_address()}.",
            "Bring that file on another machine's network, then either run",
            "  python -m emokit assets seed FOLDER_WITH_THE_FILE",
            "or name the file by weights=… or by FEAT_MULTITASK_WEIGHTS.",
            "model='mesh' needs no such file.",
        ]
    )


@lru_cache(maxsize=4)
def _hash(path: str, stamp: int) -> str:
    """SHA-256 of a file; `stamp`, its time of change, makes a changed file another one."""
    return pooch.file_hash(path)


@lru_cache(maxsize=1)
def _load(path: str, stamp: int, device: str) -> MultitaskModel:
    """The network; the last one stays loaded, for the next clip."""
    threads = os.environ.get("OMP_NUM_THREADS")
    if sys.platform != "darwin":
        # feat has OpenMP run on one thread where the user did not choose, against a clash
        # of macOS builds. What torch reads before, and what children inherit, stays as is.
        import torch  # noqa: F401
    from feat.multitask.inference import MultitaskModel

    if threads is None and sys.platform != "darwin":
        os.environ.pop("OMP_NUM_THREADS", None)
    try:
        return MultitaskModel(device=device, weights_path=path)
    except Exception as error:
        # A damaged file fails in safetensors, in torch or in feat, each in its own way.
        raise AssetError(
            f"{path} cannot be read as weights of py-feat's multitask network: {error}"
        ) from error


def _choose_device(device: str) -> str:
    import torch

    here = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if device == "auto":
        return next(name for name, there in here.items() if there)
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", str(device)):
        raise ValueError(
            f"device must be 'auto', 'cpu', 'cuda', 'cuda:0', … or 'mps'; got {device!r}"
        )
    kind, _, index = device.partition(":")
    if not here[kind] or (index and int(index) >= torch.cuda.device_count()):
        raise ValueError(f"device {device!r} is not on this machine; use 'auto'")
    return device


def _crop_faces(
    rows: Iterable[FaceRow], device: torch.device
) -> Iterator[tuple[tuple[int, int], torch.Tensor, np.ndarray]]:
    """Yield row and track, the crop (3, 256, 256) in 0 to 1, and the square it shows.

    The square is left, top and side in pixels of the frame.
    """
    import torch
    from feat.multitask.inference import CHIP_SIZE, EXPAND_BBOX
    from feat.utils.image_operations import extract_face_square_pad_torch

    for row, _, frame, tracks, boxes, *_ in rows:
        if not tracks:
            continue
        left, top, width, height = boxes.T
        corners = np.stack([left, top, left + width, top + height], 1)
        # Bytes cross to the device, a quarter of the floats made of them there.
        pixels = torch.tensor(frame).to(device).permute(2, 0, 1)[None].float() / 255
        chips, squares = extract_face_square_pad_torch(
            pixels,
            torch.tensor(corners, dtype=torch.float32),
            face_size=CHIP_SIZE,
            expand_bbox=EXPAND_BBOX,
            frame_idx=torch.zeros(len(tracks), dtype=torch.long),
        )
        for track, chip, square in zip(tracks, chips, squares.cpu().numpy(), strict=True):
            yield (row, track), chip, square


def _batches(
    crops: Iterator[tuple[tuple[int, int], torch.Tensor, np.ndarray]], size: int
) -> Iterator[tuple[list[tuple[int, int]], torch.Tensor, np.ndarray]]:
    import torch

    batch = []
    for crop in crops:
        batch.append(crop)
        if len(batch) == size:
            places, chips, squares = zip(*batch, strict=True)
            yield list(places), torch.stack(chips), np.stack(squares)
            batch = []
    if batch:
        places, chips, squares = zip(*batch, strict=True)
        yield list(places), torch.stack(chips), np.stack(squares)


def _emotion_order(names: list[str]) -> list[str]:
    """The network's emotions in the order of the schema."""
    known = [*schema.EMOTIONS, "contempt"]
    return sorted(names, key=lambda name: known.index(_EMOTIONS[name]))


def _decode(
    output: MultitaskOutput, squares: np.ndarray, emotions: list[str]
) -> dict[str, np.ndarray]:
    """Values of the schema's variables, one row a face."""
    order = [list(output.emotion_names).index(name) for name in emotions]
    left, top, side = squares.T[..., None]
    mesh = output.mesh478
    # The head's outputs are the parts of a rotation vector about the camera's axes, x
    # first, with y downwards; py-feat itself reads them as angles with these signs.
    pitch, yaw, roll = -output.pose[:, 0], output.pose[:, 1], -output.pose[:, 2]
    gaze_pitch, gaze_yaw = -output.gaze[:, 1], output.gaze[:, 0]
    return {
        "au": output.au,
        "emotion_probability": output.emotion[:, order],
        "valence": output.valence,
        "arousal": output.arousal,
        "head_pose": np.degrees(np.stack([pitch, yaw, roll], -1)),
        "gaze": np.degrees(np.stack([gaze_pitch, gaze_yaw, np.full_like(gaze_yaw, np.nan)], -1)),
        "landmark_position": np.stack(
            [left + mesh[..., 0] * side, top + mesh[..., 1] * side, mesh[..., 2] * side], -1
        ),
    }
