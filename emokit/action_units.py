"""Action units of every tracked face."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pooch
import xarray as xr
from tqdm.auto import tqdm

from . import assets, pyfeat, schema
from .clip import Clip, read_ahead
from .eyes import find_gaze
from .mesh import DATA, ActionUnitModel, Crop, Eyes, FaceMesh, disagreement
from .quality import judge, sharpness
from .rows import FaceRow, Gathered, rows_of

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
        (up, to the person's right; NaN where eyes are closed), ``mesh_score (time, face)`` in
        0 to 1, and ``face_quality (time, face)`` in 0 to 1 with ``quality_reason``, what lowers
        it most (``attrs["flag_meanings"]`` names its values), on the coordinates of `faces`;
        NaN where there is no face or the mesh finds none. With `landmarks`, also
        ``landmark_position (time, face, landmark, space)`` in pixels of the upright frame.

        Units carry coordinates on ``action_unit``: ``trust``, how well each is recovered on
        held-out simulated faces (correlation, 0 to 1), and ``noise``, the standard deviation
        of the error there. Real meshes follow some units less well than simulated ones do,
        the knitted brow of AU04 above all, and simulated lids (AU05, AU07, AU43, AU45) are
        set by hand, so that trust is what a unit gets at best.

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
    that lasts through the clip reads a quarter weaker than one that comes and goes.

    AU05, AU07, AU43 and AU45 come from the lids in the outline that the iris network
    (Ablavatski et al. 2020) draws, AU25 from the gap between the lips. Lids that go down for
    half a second at most are a blink (AU45, NaN where frames are too far apart to tell),
    longer ones closed eyes (AU43). Gaze follows from the irises and the head pose, on an
    eyeball of average size; it is a few degrees off for a person throughout, and more so
    up and down.

    What the mesh does not see: wrinkles, bulges and colour, hence weak AU06, AU09 and AU14.
    Brows that sit high or low, and narrow or wide eyes, are taken for AU01, AU04, AU05 or
    AU07 in a clip of a second; :func:`remove_baseline` helps where you know a person's rest.
    Beyond about 30° away from the camera, and under a hand, the mesh guesses. Rows of low
    quality are kept and marked, not dropped: ``face_quality`` multiplies the networks' scores
    with what size, framing, blur, turn and the disagreement of the two networks leave. Blur
    and size it knows well; a hand before the mouth it mostly overlooks.

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
    schema.validate(faces, group="face", requires=["face_box"], argument="faces")
    times = faces["time"].values
    if not np.array_equal(clip.select_times(times=times), times):
        raise ValueError(f"faces holds times that are not frames of {clip.name}")
    reader = open_reader(
        clip,
        model=model,
        landmarks=landmarks,
        weights=weights,
        device=device,
        batch_size=batch_size,
        progress=progress,
    )
    rows = read_ahead(rows_of(clip, faces))
    n_rows = int(faces["face_box"].notnull().all("box").any("face").sum())
    reader.read(tqdm(rows, "action units", n_rows, disable=not progress, unit="frame"))
    return reader.dataset(faces, list(range(faces.sizes["face"])))


def open_reader(
    clip: Clip,
    *,
    model: str,
    landmarks: bool = False,
    weights: str | Path | None = None,
    device: str = "auto",
    batch_size: int = 16,
    progress: bool = True,
) -> MeshReader | pyfeat.Reader:
    """What reads action units from rows of faces, for :func:`extract_action_units`'s options."""
    if model not in MODELS:
        raise ValueError(f"model must be one of {', '.join(map(repr, MODELS))}; got {model!r}")
    if weights is not None and model == "mesh":
        raise ValueError("weights are for model='py-feat' or 'auto'; model='mesh' takes none")
    if _choose(model, weights) == "mesh":
        return MeshReader(clip, landmarks=landmarks, asked=model)
    return pyfeat.Reader(
        clip,
        weights=weights,
        device=device,
        batch_size=batch_size,
        landmarks=landmarks,
        asked=model,
        progress=progress,
    )


class Networks:
    """The networks of the built-in model, opened once for many readers of one thread."""

    def __init__(self) -> None:
        self.mesh, self.eyes = FaceMesh(), Eyes()


#: The detector's points of a face whose box came without.
_UNKNOWN = np.full((6, 2), np.nan, np.float32)


class _Look(NamedTuple):
    """What was seen of the face at one place; the eyes' outlines, once asked for, if any."""

    place: tuple[int, int]
    points: np.ndarray
    score: float
    sharpness: float
    hint: np.ndarray
    width: float
    outlines: Callable[[], np.ndarray] | None


class MeshReader:
    """The built-in model, on rows of faces as they come.

    `networks` are opened unless they are given. With `ahead`, the eyes of one frame are
    looked at in a thread, while the mesh is laid on the next.
    """

    def __init__(
        self,
        clip: Clip,
        *,
        landmarks: bool = False,
        asked: str = "mesh",
        networks: Networks | None = None,
        ahead: bool = True,
    ) -> None:
        self._clip, self.landmarks, self._asked, self._ahead = clip, landmarks, asked, ahead
        networks = networks or Networks()
        self._model, self._eyes = ActionUnitModel(), networks.eyes
        self._follower = _Follower(networks.mesh)
        kept = {"landmark_position": (468, 3)} if landmarks else {}
        sizes = {"au": (len(self._model.units) - 1,), "eyes": (len(Eyes.MEASURES),)}
        self._units = Gathered(**sizes, head_pose=(3,), **kept)
        self._looks = Gathered(mesh_score=(), sharpness=(), disagreement=())

    def read(self, rows: Iterable[FaceRow]) -> None:
        """Read every face of `rows`, which may come from anywhere."""
        looks: list[_Look] = []
        with self._looking() as look:
            for row in rows:
                for index, track in enumerate(row.tracks):
                    points, score, seen = self._follower.locate(row, index)
                    looks.append(
                        _Look(
                            (row.row, track),
                            points,
                            score,
                            sharpness(seen),
                            _UNKNOWN if row.points is None else row.points[index],
                            float(row.boxes[index, 2]),
                            look(row.frame, points) if score >= _MESH_SCORE else None,
                        )
                    )
                if len(looks) > _AHEAD and looks[-_AHEAD].outlines:
                    # Each look that waits holds its frame.
                    looks[-_AHEAD].outlines()
                if len(looks) >= _CHUNK:
                    self._add(looks)
                    looks = []
            if looks:
                self._add(looks)

    @property
    def gathered(self) -> tuple[Gathered, Gathered]:
        """What was read, for :meth:`take` of another reader, perhaps in another process."""
        return self._units, self._looks

    def take(
        self, gathered: tuple[Gathered, Gathered], numbers: dict[tuple[int, int], int]
    ) -> None:
        """All that another reader read, whose tracks have other `numbers` here, row by row."""
        for mine, other in zip(self.gathered, gathered, strict=True):
            mine.take(other, numbers)

    @contextlib.contextmanager
    def _looking(self) -> Iterator[Callable[..., Callable[[], np.ndarray]]]:
        """What looks at the eyes of a face, and gives what will say what was seen."""
        if self._ahead:
            with ThreadPoolExecutor(1, "emokit-eyes") as pool:
                yield lambda *face: pool.submit(self._eyes.look, *face).result
        else:

            def look(*face: np.ndarray) -> Callable[[], np.ndarray]:
                seen = self._eyes.look(*face)
                return lambda: seen

            yield look

    def _add(self, looks: list[_Look]) -> None:
        apart = disagreement(*(np.stack([look[i] for look in looks]) for i in (1, 4, 5)))
        self._looks.add(
            [look.place for look in looks],
            mesh_score=[look.score for look in looks],
            sharpness=[look.sharpness for look in looks],
            disagreement=apart,
        )
        faces = [look for look in looks if look.outlines]
        if faces:
            points = np.stack([look.points for look in faces])
            au, pose = self._model.read(points)
            eyes = self._eyes.measure(np.stack([look.outlines() for look in faces]))
            self._units.add(
                [look.place for look in faces],
                au=au,
                head_pose=pose,
                eyes=eyes,
                landmark_position=points,
            )

    def _settle(
        self, time: np.ndarray, au: np.ndarray, eyes: np.ndarray, pose: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Variables that need the whole of each track, of arrays (time, face, …)."""
        lids, irises = eyes[..., :2], eyes[..., 2:]
        settled = np.empty((*au.shape[:2], len(self._model.units)), np.float32)
        gaze = np.empty_like(pose)
        for track in range(au.shape[1]):
            settled[:, track] = self._model.settle(time, au[:, track], lids[:, track])
            closed = self._model.closed(lids[:, track])
            gaze[:, track] = find_gaze(irises[:, track], pose[:, track], closed)
        return {"au": settled, "gaze": gaze, "eye_opening": lids.sum(-1).clip(0)}

    def dataset(self, faces: xr.Dataset, order: list[int]) -> xr.Dataset:
        """What :func:`extract_action_units` returns; `order` has the number of each track."""
        n_rows = faces.sizes["time"]
        variables = self._units.arrays(n_rows, order)
        variables |= self._settle(
            faces["time"].values, variables["au"], variables.pop("eyes"), variables["head_pose"]
        )
        looks = self._looks.arrays(n_rows, order)
        variables["mesh_score"] = looks["mesh_score"]
        variables |= judge(faces, self._clip.size, head_pose=variables["head_pose"], **looks)
        coords = {
            "time": faces["time"].values,
            "face": faces["face"].values,
            "action_unit": self._model.units,
        }
        if self.landmarks:
            coords["landmark"] = np.arange(468)
        history = schema.extend_history(
            "extract_action_units",
            faces,
            source=self._clip.provenance,
            model={
                **assets.describe_model("face_mesh"),
                "eyes": assets.describe_model("iris"),
                "read_out": "mesh_au.npz",
                "read_out_sha256": pooch.file_hash(str(DATA / "mesh_au.npz")),
            },
            parameters={"model": self._asked, "used": "mesh"},
        )
        aus = schema.build_dataset("face", variables, coords, history=history)
        return aus.assign_coords(self._model.reliability())


def _choose(model: str, weights: str | Path | None) -> str:
    if model != "auto":
        return model
    found = pyfeat.find_weights(weights)
    if found is None:
        logger.info("model='auto': the mesh, as the weights of py-feat are not on this machine")
        return "mesh"
    logger.info("model='auto': py-feat, with the weights %s", found)
    return "py-feat"


class _Laid(NamedTuple):
    """When the mesh was laid on a face, the middle of its landmarks, and they (468, 3)."""

    time: float
    middle: list[float]
    points: np.ndarray


class _Follower:
    """Places the mesh on faces, from frame to frame.

    Which face is which is told by place alone, not by track: who is whom may depend on what
    was seen in other parts of the clip, and where the mesh comes to lie must not.
    """

    def __init__(self, mesh: FaceMesh) -> None:
        self._mesh = mesh
        self._part = -1
        #: Where the mesh came to lie of late.
        self._recent: deque[_Laid] = deque()

    def locate(self, row: FaceRow, index: int) -> tuple[np.ndarray, float, np.ndarray]:
        """Landmarks (468, 3), mesh score and crop of one face of a row."""
        if row.part != self._part:
            self._recent.clear()
            self._part = row.part
        box = row.boxes[index]
        before = self._find(row.time, box)
        if before is not None:
            points, score, seen = self._mesh.locate(row.frame, Crop.from_landmarks(before))
        else:
            # Twice: the second crop is laid around the first mesh, as while following.
            hint = None if row.points is None else row.points[index]
            points, _, _ = self._mesh.locate(row.frame, Crop.from_detection(box, hint))
            points, score, seen = self._mesh.locate(row.frame, Crop.from_landmarks(points))
        if score >= _MESH_SCORE:
            self._recent.append(_Laid(row.time, points[:, :2].mean(0).tolist(), points))
        return points, score, seen

    def _find(self, time: float, box: np.ndarray) -> np.ndarray | None:
        """Landmarks that were laid last where `box` is; None if there are none."""
        while self._recent and time - self._recent[0].time > _FOLLOW:
            self._recent.popleft()
        left, top, width, height = box.tolist()
        x, y = left + width / 2, top + height / 2
        width, height = max(width, 1e-6), max(height, 1e-6)
        last, nearest = None, 0.5
        for laid in reversed(self._recent):
            if last is not None and laid.time < last.time:
                break
            away = max(abs(laid.middle[0] - x) / width, abs(laid.middle[1] - y) / height)
            # What lies in this very frame is another face.
            if laid.time < time and away < nearest:
                last, nearest = laid, away
        return None if last is None else last.points
