"""Reading parts of one clip side by side, in processes of their own."""

from __future__ import annotations

import copy
import multiprocessing
from concurrent.futures.process import BrokenProcessPool
from functools import cache

import cv2
import joblib
from tqdm.auto import tqdm

from . import assets
from .action_units import Gathered, MeshReader, Networks
from .clip import Clip
from .detector import FaceDetector
from .faces import FaceSearch, PartFound

#: Frames below which processes take longer to start than they save.
_WORTH_IT = 1000
#: Each process holds some 400 MB.
_MOST = 8


def choose_workers(search: FaceSearch, asked: int | None = None) -> int:
    """How many processes shall read what `search` looks at; at most one a part."""
    if multiprocessing.current_process().daemon:
        return 1  # such a process may not have any of its own
    if asked is None:
        asked = min(joblib.cpu_count(), _MOST) if len(search.times) >= _WORTH_IT else 1
    return min(asked, search.n_parts)


def read_in_parts(
    search: FaceSearch, reader: MeshReader, *, workers: int, progress: bool = True
) -> None:
    """Find the faces of a clip and read their units, part by part, as one process would.

    Parameters
    ----------
    search, reader : FaceSearch, MeshReader
        Which have read nothing yet, and hold everything afterwards.
    workers : int
        Processes. They stay for some minutes, ready for the next clip.
    progress : bool
        Show a progress bar.
    """
    for name in ("face_detector", "face_mesh", "iris"):
        assets.fetch(name)  # once, before every process would try
    clip = copy.copy(search.clip)
    # Processes that stay may have started in another folder.
    clip.path, clip.threads = clip.path.resolve(), 1
    # What is sent to a process is not worth a file to be shared in.
    run = joblib.Parallel(
        workers, backend="loky", return_as="generator", batch_size=1, max_nbytes=None
    )
    results = run(
        joblib.delayed(_read_part)(clip, search.parameters, part, reader.landmarks)
        for part in range(search.n_parts)
    )
    with tqdm(desc="faces", total=len(search.times), disable=not progress, unit="frame") as bar:
        try:
            for part, (found, gathered) in enumerate(results):
                reader.take(gathered, search.take(found))
                bar.update(int((search.parts == part).sum()))
        except BrokenProcessPool as error:
            raise RuntimeError(
                f"the system ended a process that read {clip.name}, most likely for want of "
                "memory; each takes some 400 MB, and workers=1 starts none"
            ) from error


def _read_part(
    clip: Clip, parameters: dict[str, object], part: int, landmarks: bool
) -> tuple[PartFound, tuple[Gathered, Gathered]]:
    cv2.setNumThreads(1)
    search = FaceSearch(clip, **parameters)
    reader = MeshReader(clip, landmarks=landmarks, networks=_networks(), ahead=False)
    found = search.read_part(part, _detector(parameters["min_score"], clip.size), reader.read)
    return found, reader.gathered


@cache
def _networks() -> Networks:
    return Networks()


@cache
def _detector(min_score: float, size: tuple[int, int]) -> FaceDetector:
    return FaceDetector(min_score, size)
