"""All stages in one call, and results on disk."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import xarray as xr
from tqdm.auto import tqdm

from . import pyfeat, schema
from .action_units import MeshReader, open_reader
from .arguments import check_number
from .clip import Clip, ClipError, read_ahead
from .course import estimate_emotion_in_time
from .emotion import estimate_emotion
from .faces import FaceSearch
from .files import replace_when_complete
from .fusion import fuse
from .opening import open_clip
from .prosody import estimate_vocal_affect, extract_prosody
from .workers import choose_workers, read_in_parts

logger = logging.getLogger(__name__)


def analyze(
    clip: Clip | str | Path,
    *,
    fps: float | None = None,
    max_faces: int | None = None,
    landmarks: bool = False,
    model: str = "mesh",
    weights: str | Path | None = None,
    device: str = "auto",
    batch_size: int = 16,
    workers: int | None = None,
    progress: bool = True,
) -> xr.DataTree:
    """Analyse the faces and the voice of a clip, and fuse what they display.

    Parameters
    ----------
    clip : Clip, str or pathlib.Path
        A clip, or what :func:`open_clip` takes.
    fps, max_faces
        As in :func:`detect_faces`.
    landmarks, model, weights, device, batch_size
        As in :func:`extract_action_units`. With py-feat the face's emotions, valence and
        arousal are the network's own; ``unit_presence``, which :func:`explain` needs, is
        left out, for the units do not explain them. To have emotions by the prototypes
        from the same units: ``ek.estimate_emotion(result["face"].to_dataset())``.
    workers : int, optional
        Processes that read parts of the picture side by side, with the built-in model and
        from a file that can be read in parts. By default one a core (8 at most) where there
        are 1000 frames to read or more; 1 stays in this process. No value depends on it. They
        take some 400 MB each, and stay ready for the next clip for some minutes.
    progress : bool
        Show progress bars.

    Returns
    -------
    xarray.DataTree
        ``/face`` where there is a picture (:func:`detect_faces`,
        :func:`extract_action_units`, :func:`estimate_emotion_in_time`, and beside it as
        ``prototype_probability`` what :func:`estimate_emotion` reads from each frame
        alone, which :func:`explain` explains, and which is all there is in clips of less
        than a second), ``/voice`` where there is sound (:func:`extract_prosody`,
        :func:`estimate_vocal_affect`), each on its own time, and ``/fused``
        (:func:`fuse`) on the faces' time, or the voice's. Attributes
        name the source, its size, duration and hash.

    Raises
    ------
    ClipError
        If the clip cannot be read, or its file is replaced meanwhile.
    AssetError
        If a model file cannot be had.
    RuntimeError
        If the system ends one of the processes, as it does where memory runs out.

    Warns
    -----
    UserWarning
        If the sound cannot be decoded; the picture is analysed all the same.

    Examples
    --------
    >>> import emokit as ek
    >>> result = ek.analyze(ek.sample_clip(), fps=2, progress=False)
    >>> sorted(result.children)
    ['face', 'fused', 'voice']
    >>> result["fused"]["valence"].sel(time=slice(16, 19)).mean().item() > 0
    True
    """
    if workers is not None:
        check_number("workers", workers, least=1, whole=True)
    clip = clip if isinstance(clip, Clip) else open_clip(clip)
    clip.check_unchanged()
    groups, readings = {}, {}
    if clip.has_video:
        search = FaceSearch(clip, fps=fps, max_faces=max_faces)
        reader = open_reader(
            clip,
            model=model,
            landmarks=landmarks,
            weights=weights,
            device=device,
            batch_size=batch_size,
            progress=progress,
        )
        _read_faces(search, reader, workers, progress)
        faces = search.dataset()
        aus = reader.dataset(faces, search.order)
        # What a network read off the face itself stands before what its units suggest.
        emotion = [] if "emotion_probability" in aus else _read_emotion(aus)
        groups["face"] = _merge(faces, aus, *emotion)
        readings["face"] = groups["face"]
    if clip.has_audio:
        try:
            prosody = extract_prosody(clip, progress=progress)
        except ClipError as error:
            if not groups:
                raise
            # What was read from the picture is not lost to a broken sound track.
            warnings.warn(f"{error}; the result has no voice", stacklevel=2)
        else:
            groups["voice"] = _merge(prosody, estimate_vocal_affect(prosody))
            readings["voice"] = groups["voice"]
    clip.check_unchanged()
    groups["fused"] = fuse(readings, method="late")
    tree = xr.DataTree.from_dict({f"/{name}": ds for name, ds in groups.items()})
    tree.attrs = {
        "title": clip.name,
        "source": str(clip.path.resolve()) if clip.path else "",
        "source_sha256": clip.sha256,
        "duration": clip.duration,
        "width": clip.size[0] if clip.size else 0,
        "height": clip.size[1] if clip.size else 0,
        "codec": clip.codec,
        "emokit": schema.package_version(),
        "note": "Estimates of displayed behaviour, not of what anybody feels.",
    }
    if clip.fps is not None:
        tree.attrs["fps"] = clip.fps
    return tree


def save(result: xr.DataTree | xr.Dataset, path: str | Path) -> Path:
    """Write a result to one netCDF file.

    Parameters
    ----------
    result : xarray.DataTree or xarray.Dataset
        What :func:`analyze` or a stage returned.
    path : str or pathlib.Path
        The file to write, usually ``….nc``. A file of that name is replaced, but only
        once the new one is complete.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    TypeError
        If `result` is neither a DataTree nor a Dataset.
    ValueError
        If the folder does not exist, or `path` names a recording, such as the clip itself.

    Examples
    --------
    >>> import tempfile, pathlib, emokit as ek
    >>> result = ek.analyze(ek.sample_clip(), fps=1, progress=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = ek.save(result, pathlib.Path(folder) / "result.nc")
    ...     ek.load(path).identical(result)
    True
    """
    if not isinstance(result, xr.DataTree | xr.Dataset):
        raise TypeError(f"result must be a DataTree or a Dataset; got {type(result).__name__}")
    path = Path(path).expanduser()
    with replace_when_complete(path, expected=".nc") as partial:
        result.to_netcdf(partial, engine="h5netcdf")
    return path


def load(path: str | Path) -> xr.DataTree:
    """Read a result that :func:`save` wrote.

    Parameters
    ----------
    path : str or pathlib.Path
        A netCDF file. It is read whole, and can be moved or replaced afterwards.

    Returns
    -------
    xarray.DataTree

    Raises
    ------
    ValueError
        If there is no such file, it is not netCDF 4, or a group breaks the schema.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ValueError(f"there is no file {str(path)!r}")
    try:
        with xr.open_datatree(path, engine="h5netcdf") as file:
            tree = file.load()
    except OSError as error:
        raise ValueError(f"{path.name} is not a netCDF file emokit can read: {error}") from error
    for name, child in tree.children.items():
        if name in schema.GROUPS:
            schema.validate(child.to_dataset(), group=name, argument=f"{path.name}, group {name}")
    return tree


def _read_faces(
    search: FaceSearch, reader: MeshReader | pyfeat.Reader, workers: int | None, progress: bool
) -> None:
    """Decode the clip once: each frame goes from the search to the reader."""
    if isinstance(reader, MeshReader):
        workers = choose_workers(search, workers)
        if workers > 1:
            read_in_parts(search, reader, workers=workers, progress=progress)
            return
    rows = read_ahead(search.rows(frames=True), depth=4)
    reader.read(tqdm(rows, "faces", len(search.times), disable=not progress, unit="frame"))


#: Seconds below which there is no course to read: a photograph, or next to one.
_SHORTEST_COURSE = 1.0


def _read_emotion(aus: xr.Dataset) -> list[xr.Dataset]:
    """What the units show over time; beside it what each frame's units show, to be explained."""
    alone = estimate_emotion(aus)
    beside = alone[["unit_presence", "emotion_probability"]].rename(
        emotion_probability="prototype_probability"
    )
    time = aus["time"].values
    if not len(time) or time[-1] - time[0] < _SHORTEST_COURSE:
        return [beside, alone]
    history = alone.attrs["history"]
    return [beside, estimate_emotion_in_time(aus.assign_attrs(history=history))]


def _merge(*stages: xr.Dataset) -> xr.Dataset:
    """Variables of all stages; the last one's history holds those before it."""
    # "drop" would take the attributes of the variables as well: units, what flags mean.
    merged = xr.merge(stages, combine_attrs="override", join="exact", compat="equals")
    merged.attrs = {"history": stages[-1].attrs["history"]}
    return merged
