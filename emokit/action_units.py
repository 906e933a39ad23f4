"""Action units of every tracked face."""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pooch
import xarray as xr
from tqdm.auto import tqdm

from . import assets, pyfeat, schema
from .clip import Clip, read_ahead
from .eyes import find_gaze
from .mesh import DATA, ActionUnitModel, Crop, Eyes, FaceMesh

logger = logging.getLogger(__name__)

MODELS = ("mesh", "py-feat", "auto")

#: Longest time (seconds) over which a crop may follow from the landmarks before.
_FOLLOW = 0.2
#: Below this score there is no face under the mesh.
_MESH_SCORE = 0.5
#: Eyes that may wait to be looked at; each holds its frame.
_AHEAD = 4
#: Rows whose landmarks are held before their units are read.
_CHUNK = 256


def extract_action_units(
    clip: Clip,
    faces: xr.Dataset,
    *,
    model: str = "mesh",
    landmarks: bool = False,
    weights: str | Path | None = None,
    device: str = "auto",
    batch_size: int = 16,
    progress: bool = True,
) -> xr.Dataset:
    """Read the intensity of facial action units from every tracked face.

    Parameters
    ----------
    clip : Clip
        The clip in which `faces` were found.
    faces : xarray.Dataset
        What :func:`detect_faces` returned, or a selection of its rows and tracks.
    model : {"mesh", "py-feat", "auto"}
        ``"mesh"`` is built in: MediaPipe's face mesh, and a linear read-out fitted on
        synthetic faces. ``"py-feat"`` is py-feat's multitask network, whose weights (some 180
        MB, for non-commercial research) are fetched on first use; it takes some 0.4 s a face on
        two cores, and wants a GPU for more than a minute of video. ``"auto"`` takes py-feat
        where its weights are on the machine, else the mesh, and says which in the log and
        in the history.
    landmarks : bool
        Keep the 468 landmarks of every face too (6 kB a row); py-feat's mesh has 478, the
        last ten on the irises.
    weights : str or pathlib.Path, optional
        py-feat only: a file of weights, instead of what ``FEAT_MULTITASK_WEIGHTS`` names or
        py-feat's cache holds.
    device : {"auto", "cpu", "cuda", "mps"}
        py-feat only: where the network runs. ``"auto"`` takes CUDA (in mixed precision),
        else Apple's MPS, else the CPU; ``"cuda:1"`` names one of several.
    batch_size : int
        py-feat only: faces a run of the network. It changes speed and memory, no result.
    progress : bool
        Show a progress bar.

    Returns
    -------
    xarray.Dataset
        ``au (time, face, action_unit)``, intensities in 0 to 1 (0 neutral, 1 as strong as
        the unit gets), ``eye_opening`` (height of the lid opening over the eye's width),
        ``head_pose (time, face, angle)`` in degrees (up, to the person's right, tilted to
        the person's right; against the mesh's canonical face, so that a person's own
        zero may be some degrees off), ``gaze (time, face, angle)`` in degrees from the camera
        (up, to the person's right; NaN where eyes are closed) and
        ``mesh_score (time, face)`` in 0 to 1, on the coordinates of `faces`; NaN where
        there is no face or the mesh finds none. With `landmarks`, also
        ``landmark_position (time, face, landmark, space)`` in pixels of the upright frame.

        Units carry coordinates on ``action_unit``: ``trust``, how well each is recovered on
        held-out simulated faces (correlation, 0 to 1), and ``noise``, the standard deviation
        of the error there. Real meshes follow some units less well than simulated ones do,
        the knitted brow of AU04 above all, so that trust is what a unit gets at best.

        With py-feat, ``au`` (the network's probability that the unit is shown),
        ``emotion_probability``, ``valence``, ``arousal``, ``head_pose`` and
        ``gaze (time, face, angle)`` in degrees, all of them the network's own. Emotions by
        the prototypes come from :func:`estimate_emotion` with either model.

    Raises
    ------
    ClipError
        If the clip has no picture.
    ValueError
        If `faces` lacks boxes, or its times are not frames of the clip; if there is no
        such model or device.
    AssetError
        If the file of a network cannot be had; says what to place where.

    Notes
    -----
    The mesh is that of Kartynnik et al. (2019). The read-out is a ridge regression from
    the aligned mesh to the units, fitted on faces drawn from ICT-FaceKit's morphable head
    (Li et al. 2020); a population offset measured on unlabelled faces sets its zero. What a
    track reads throughout is then taken for the person's own face as far as people differ,
    and taken away: identities are normal with the covariance of the morphable head, what
    faces show is never negative and mostly absent, and the most probable split of the two
    is found over the whole track. So units depend on what else is in the track, and a smile
    that lasts through the clip reads a fifth weaker than one that comes and goes.

    AU05, AU07, AU43 and AU45 come from the lids in the outline that the iris network
    (Ablavatski et al. 2020) draws, AU25 from the gap between the lips. Lids that go down for
    half a second at most are a blink (AU45, NaN where frames are too far apart to tell),
    longer ones closed eyes (AU43). Gaze follows from the irises and the head pose, on an
    eyeball of average size; it is a few degrees off for a person throughout, and more so
    up and down.

    What the mesh does not see: wrinkles, bulges and colour, hence weak AU06, AU09 and AU14.
    Brows that sit high or low, and narrow or wide eyes, are taken for AU01, AU04, AU05 or
    AU07 in a clip of a second; :func:`remove_baseline` helps where you know a person's rest.
    Beyond about 30° away from the camera, and under a hand, the mesh guesses.

    py-feat's network is a ConvNeXt V2 (tiny) with heads for units, emotions, affect, gaze,
    pose and mesh (py-feat 2, ``feat.multitask``). It sees the crop that py-feat's own
    function cuts around emokit's box. Angles have py-feat's signs: up, to the person's
    right, tilted to the person's right. Its units are probabilities, not intensities: 0.9
    is surely shown, not strongly shown.

    Examples
    --------
    >>> import emokit as ek
    >>> clip = ek.sample_clip()
    >>> faces = ek.detect_faces(clip, fps=1, progress=False)
    >>> aus = ek.extract_action_units(clip, faces, progress=False)
    >>> aus["au"].sel(face="face_0", action_unit="AU12").idxmax().item() > 10
    True
    """
    if not isinstance(clip, Clip):
        raise TypeError(f"clip must be a Clip, as ek.open_clip returns; got {type(clip).__name__}")
    if model not in MODELS:
        raise ValueError(f"model must be one of {', '.join(map(repr, MODELS))}; got {model!r}")
    if weights is not None and model == "mesh":
        raise ValueError("weights are for model='py-feat' or 'auto'; model='mesh' takes none")
    schema.validate(faces, group="face", requires=["face_box"], argument="faces")
    times = faces["time"].values
    if not np.array_equal(clip.select_times(times=times), times):
        raise ValueError(f"faces holds times that are not frames of {clip.name}")
    if _choose(model, weights) == "py-feat":
        return pyfeat.read_faces(
            clip,
            faces,
            weights=weights,
            device=device,
            batch_size=batch_size,
            landmarks=landmarks,
            asked=model,
            progress=progress,
        )

    return _read_mesh(clip, faces, landmarks=landmarks, asked=model, progress=progress)


def _read_mesh(
    clip: Clip, faces: xr.Dataset, *, landmarks: bool, asked: str, progress: bool
) -> xr.Dataset:
    """The built-in model on every tracked face."""
    times = faces["time"].values
    reader, follower, eyes = ActionUnitModel(), _Follower(faces), Eyes()
    shape = (len(times), faces.sizes["face"])
    au = np.full((*shape, len(reader.units)), np.nan, np.float32)
    score = np.full(shape, np.nan, np.float32)
    eye = np.full((*shape, len(eyes.MEASURES)), np.nan, np.float32)
    pose = np.full((*shape, 3), np.nan, np.float32)
    kept = np.full((*shape, 468, 3), np.nan, np.float32) if landmarks else None
    found: list[tuple[int, int, np.ndarray]] = []

    def read_found() -> None:
        if found:
            rows, tracks, points = zip(*found, strict=True)
            au[rows, tracks, :-1], pose[rows, tracks] = reader.read(np.stack(points))
            found.clear()

    # The eyes of one frame are looked at while the mesh is laid on the next.
    with ThreadPoolExecutor(1, "emokit-eyes") as pool:
        looking: deque[tuple[int, int, Future]] = deque()

        def see(waiting: int) -> None:
            while len(looking) > waiting:
                row, track, result = looking.popleft()
                eye[row, track] = result.result()

        frames = read_ahead(clip.frames(times=times))
        bar = tqdm(frames, "action units", len(times), disable=not progress, unit="frame")
        for time, frame in bar:
            row = int(np.searchsorted(times, time))
            for track, points, mesh_score in follower.locate(row, time, frame):
                score[row, track] = mesh_score
                if mesh_score >= _MESH_SCORE:
                    found.append((row, track, points))
                    looking.append((row, track, pool.submit(eyes.look, frame, points)))
                    if kept is not None:
                        kept[row, track] = points
            see(waiting=_AHEAD)
            if len(found) >= _CHUNK:
                see(waiting=0)
                read_found()
        see(waiting=0)
        read_found()

    gaze = np.full_like(pose, np.nan)
    for track in range(shape[1]):
        lids, iris = eye[:, track, :2], eye[:, track, 2:]
        au[:, track] = reader.settle(times, au[:, track, :-1], lids)
        gaze[:, track] = find_gaze(iris, pose[:, track], reader.closed(lids))

    variables = {
        "au": au,
        "eye_opening": eye[..., :2].sum(-1).clip(0),
        "head_pose": pose,
        "gaze": gaze,
        "mesh_score": score,
    }
    coords = {"time": times, "face": faces["face"].values, "action_unit": reader.units}
    if kept is not None:
        variables["landmark_position"] = kept
        coords["landmark"] = np.arange(468)
    history = schema.extend_history(
        "extract_action_units",
        faces,
        source=clip.provenance,
        model={
            **assets.describe_model("face_mesh"),
            "eyes": assets.describe_model("iris"),
            "read_out": "mesh_au.npz",
            "read_out_sha256": pooch.file_hash(str(DATA / "mesh_au.npz")),
        },
        parameters={"model": asked, "used": "mesh"},
    )
    aus = schema.build_dataset("face", variables, coords, history=history)
    return aus.assign_coords(reader.reliability())


def _choose(model: str, weights: str | Path | None) -> str:
    if model != "auto":
        return model
    found = pyfeat.find_weights(weights)
    if found is None:
        logger.info("model='auto': the mesh, as the weights of py-feat are not on this machine")
        return "mesh"
    logger.info("model='auto': py-feat, with the weights %s", found)
    return "py-feat"


class _Follower:
    """Places the mesh on each track, from frame to frame."""

    def __init__(self, faces: xr.Dataset) -> None:
        self._mesh = FaceMesh()
        self._boxes = faces["face_box"].values
        self._points = faces["face_point"].values if "face_point" in faces else None
        self._last: dict[int, tuple[float, np.ndarray]] = defaultdict(lambda: (-np.inf, None))

    def locate(self, row: int, time: float, frame: np.ndarray):
        """Yield track, landmarks (468, 3) and mesh score of every face in the row."""
        for track in np.flatnonzero(np.isfinite(self._boxes[row, :, 0])):
            box = self._boxes[row, track]
            when, before = self._last[track]
            if time - when <= _FOLLOW and _centred_in(before, box):
                points, score = self._mesh.locate(frame, Crop.from_landmarks(before))
            else:
                # Twice: the second crop is laid around the first mesh, as while following.
                hint = None if self._points is None else self._points[row, track]
                points, _ = self._mesh.locate(frame, Crop.from_detection(box, hint))
                points, score = self._mesh.locate(frame, Crop.from_landmarks(points))
            if score >= _MESH_SCORE:
                self._last[track] = (time, points)
            yield track, points, score


def _centred_in(points: np.ndarray, box: np.ndarray) -> bool:
    """Whether the mesh is still on the face that the detector sees."""
    centre = points[:, :2].mean(0)
    return bool((np.abs(centre - box[:2] - box[2:] / 2) < box[2:] / 2).all())
