"""A morphable head at the mesh's landmarks: what people and action units do to them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from .mesh import DATA, ActionUnitModel, lip_gap

#: Units, and the expression shape of ICT-FaceKit whose weight is the unit's intensity; of a
#: pair of shapes, both sides. AU25 is a mixture, made so that the lips come apart as far as
#: the read-out's scale says.
SHAPES = {
    "AU01": "browInnerUp",
    "AU02": "browOuterUp",
    "AU04": "browDown",
    "AU05": "eyeWide",
    "AU06": "cheekSquint",
    "AU07": "eyeSquint",
    "AU09": "noseSneer",
    "AU10": "mouthUpperUp",
    "AU12": "mouthSmile",
    "AU14": "mouthDimple",
    "AU15": "mouthFrown",
    "AU16": "mouthLowerDown",
    "AU17": "mouthShrugLower",
    "AU18": "mouthPucker",
    "AU20": "mouthStretch",
    "AU22": "mouthFunnel",
    "AU24": "mouthPress",
    "AU25": None,
    "AU26": "jawOpen",
    "AU43": "eyeBlink",
}

#: What parts the lips, for each unit of AU25 that other units leave to be done.
PARTING = {"jawOpen": 0.2, "mouthLowerDown": 0.5, "mouthUpperUp": 0.35}

#: A jaw open as far as the shape goes is AU27; AU26 is at its strongest before that.
FULL_AT = {"AU26": 0.6}

#: Shapes that move the face without being one of the units.
NUISANCE = (
    "cheekPuff",
    "cheekRaiser",
    "eyeLookDown",
    "eyeLookUp",
    "eyeLookIn",
    "eyeLookOut",
    "jawForward",
    "jawLeft",
    "jawRight",
    "mouthClose",
    "mouthLeft",
    "mouthRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugUpper",
)


@dataclass(frozen=True)
class Head:
    """ICT-FaceKit's morphable head, sampled at the 468 landmarks of the mesh.

    ``neutral`` (468, 3) is MediaPipe's canonical face with closed lips, in about
    centimetres, y up, z towards the viewer. ``identity`` (k, 468, 3) holds what one
    standard deviation of each way in which people differ moves, and ``expression``
    (n_shapes, 468, 3) what each of the shapes ``names`` does at weight 1.
    """

    neutral: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    names: tuple[str, ...]

    @classmethod
    def load(cls, path: Path = DATA / "head.npz") -> Head:
        """The head that ships, written by ``tools/fit_mesh_au.py``."""
        with np.load(path, allow_pickle=False) as data:
            return cls(
                data["neutral"].astype(np.float64),
                data["identity"].astype(np.float64),
                data["expression"].astype(np.float64),
                tuple(str(name) for name in data["names"]),
            )

    def sides(self, shape: str) -> list[int]:
        """Columns of a shape: one, or its left and right half."""
        wanted = (shape, f"{shape}_L", f"{shape}_R")
        return [self.names.index(name) for name in wanted if name in self.names]

    def weigh(
        self, au: np.ndarray, *, uneven: np.ndarray | float = 0.0, other: np.ndarray | None = None
    ) -> np.ndarray:
        """Weights (n, n_shapes) of the shapes that show intensities (n, n_units).

        Columns of `au` are the units of ``SHAPES``, in its order. `uneven` (n_units,) makes
        left sides stronger and right sides weaker by that share; `other` (n, n_shapes) is
        what moves besides.
        """
        weights = np.zeros((len(au), len(self.names))) if other is None else other.copy()
        uneven = np.broadcast_to(uneven, au.shape)
        for column, (unit, shape) in enumerate(SHAPES.items()):
            sides = self.sides(shape) if shape else []
            for side, sign in zip(sides, (1, -1), strict=False):
                share = 1 + sign * uneven[:, column] * (len(sides) > 1)
                weights[:, side] += au[:, column] * FULL_AT.get(unit, 1) * share
        column = list(SHAPES).index("AU25")
        part, wide = ActionUnitModel.LIPS_PART, ActionUnitModel.LIPS_WIDE
        wanted = part + au[:, column] * (wide - part) - self.gap(weights)
        # Nothing is parted where nothing is asked for, or the jaw has done it already.
        amount = wanted.clip(0) * (au[:, column] > 0) / self._parting
        for shape, share in PARTING.items():
            for side in self.sides(shape):
                weights[:, side] += amount * share
        return weights

    @property
    def _parting(self) -> float:
        return sum(
            share * lip_gap(self.expression[side])
            for shape, share in PARTING.items()
            for side in self.sides(shape)
        )

    def gap(self, weights: np.ndarray) -> np.ndarray:
        """Height of the opening between the lips (n,), in the head's units."""
        return lip_gap(self.neutral) + weights @ lip_gap(self.expression)

    def place(self, people: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Landmarks (n, 468, 3) of people (n, k) or (k,) who show `weights` (n, n_shapes)."""
        return (
            self.neutral
            + np.tensordot(people, self.identity, 1)
            + np.tensordot(weights, self.expression, 1)
        )


@cache
def shipped_head() -> Head:
    """The head that ships, read once."""
    return Head.load()


def draw_bends(n: int, rng: np.random.Generator) -> np.ndarray:
    """Matrices (n, 3, 3) near 1: proportions and depth are seen inexactly."""
    bends = np.eye(3) + rng.normal(0, 0.02, (n, 3, 3))
    bends[:, 2] += rng.normal(0, 0.1, (n, 3))
    bends[:, :, 2] += rng.normal(0, 0.05, (n, 3))
    return bends


def draw_errors(neutral: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Errors (n, 468, 3) of landmarks: of each alone, and of patches of the face together.

    Alone, about 1.2 % of the distance between the eyes, and 3 % in depth.
    """
    alone = rng.normal(size=(n, len(neutral), 3)) * (0.107, 0.107, 0.267)
    centres = neutral[rng.integers(len(neutral), size=12)]
    distance = ((neutral[:, None] - centres) ** 2).sum(-1)
    patches = rng.normal(0, 0.1, (n, 12, 3)) * (1, 1, 2)
    return alone + np.einsum("kc,ncd->nkd", np.exp(-distance / (2 * 2.5**2)), patches)
