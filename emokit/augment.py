"""Sequences varied at random, so that a model learns what does not matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from .sequences import Clip

#: Columns that change sign in a mirror: turns and tilts to a side.
_SIDEWAYS = ("head_pose:yaw", "head_pose:roll", "gaze:yaw")


@dataclass(frozen=True)
class Augmentation:
    """How much to vary each sequence, each time it is seen; 0 leaves a thing alone.

    Parameters
    ----------
    time_warp : float
        Largest local change of speed, 0 to 1.
    drop_frames : float
        Share of rows that go missing, in spans.
    drop_units : float
        Share of columns (action units, coefficients) that go missing throughout.
    drop_modality : float
        Probability that a modality goes missing for a span of a third of the clip or more.
        One always stays.
    noise : float
        Standard deviation of what is added, in standard deviations of the column.
    mirror : float
        Probability that left and right change places. Action units, which have no side,
        stay as they are.
    brightness, blur, occlusion : float
        Of pictures: largest change of brightness (0 to 1), largest blur (pixels), and
        probability that a rectangle is covered.

    Examples
    --------
    >>> import emokit as ek
    >>> ek.Augmentation(time_warp=0.3, noise=0.1).mirror
    0.5
    """

    time_warp: float = 0.2
    drop_frames: float = 0.05
    drop_units: float = 0.05
    drop_modality: float = 0.3
    noise: float = 0.05
    mirror: float = 0.5
    brightness: float = 0.2
    blur: float = 0.7
    occlusion: float = 0.2

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value <= (10 if name in ("blur", "noise") else 1):
                raise ValueError(f"{name} must lie in 0 to 1; got {value!r}")


class Augmenter:
    """Applies an :class:`Augmentation` to sequences of known columns."""

    def __init__(
        self, options: Augmentation, columns: Sequence[str], mean: np.ndarray, scale: np.ndarray
    ) -> None:
        self._options, self._scale = options, scale
        self._order, self._sign = _find_mirror(columns, mean)
        prefixes = np.array([name.split("/")[0] if "/" in name else "" for name in columns])
        self._modalities = [prefixes == name for name in np.unique(prefixes)]

    def vary(self, clip: Clip, rng: np.random.Generator) -> Clip:
        """Return a varied copy of `clip`."""
        clip = self._warp(clip, rng)
        if clip.is_picture:
            return replace(clip, x=self._vary_pictures(clip.x, rng))
        return replace(clip, x=self._vary_numbers(clip.x.copy(), rng))

    def _warp(self, clip: Clip, rng: np.random.Generator) -> Clip:
        """Play the clip faster here and slower there."""
        n = len(clip.time)
        if not self._options.time_warp or n < 4:
            return clip
        speed = np.interp(np.arange(n), np.linspace(0, n - 1, 4), rng.uniform(-1, 1, 4))
        course = np.cumsum(np.exp(speed * self._options.time_warp))
        rows = np.rint((course - course[0]) / (course[-1] - course[0]) * (n - 1)).astype(int)
        return replace(
            clip,
            x=clip.x[rows],
            frame_class=clip.frame_class[rows],
            frame_values=clip.frame_values[rows],
        )

    def _vary_numbers(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        options, (rows, columns) = self._options, x.shape
        if rng.random() < options.mirror:
            x = x[:, self._order] * self._sign
        if options.noise:
            # One draw a column and one a value: people differ, and readings jitter.
            own = rng.normal(size=(1, columns)) + rng.normal(size=(rows, columns))
            x = x + (options.noise * self._scale * own).astype(x.dtype)
        if options.drop_units:
            x[:, rng.random(columns) < options.drop_units] = np.nan
        if options.drop_frames:
            length = max(rows // 20, 1)
            for _ in range(rng.poisson(options.drop_frames * rows / length)):
                start = rng.integers(rows)
                x[start : start + length] = np.nan
        if options.drop_modality and len(self._modalities) > 1:
            spared = rng.integers(len(self._modalities))
            for number, members in enumerate(self._modalities):
                if number != spared and rng.random() < options.drop_modality:
                    length = rng.integers(rows // 3, rows + 1)
                    start = rng.integers(rows - length + 1)
                    x[start : start + length, members] = np.nan
        return x

    def _vary_pictures(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        options, (_, height, width, _) = self._options, x.shape
        if rng.random() < options.mirror:
            x = x[:, :, ::-1]
        values = x.astype(np.float32)
        if options.blur and rng.random() < 0.5:
            sigma = rng.uniform(0, options.blur)
            values = gaussian_filter1d(gaussian_filter1d(values, sigma, axis=1), sigma, axis=2)
        if options.brightness:
            values *= 1 + rng.uniform(-1, 1) * options.brightness
        if rng.random() < options.occlusion:
            tall, wide = (int(side * rng.uniform(0.15, 0.4)) for side in (height, width))
            top, left = rng.integers(height - tall + 1), rng.integers(width - wide + 1)
            values[:, top : top + tall, left : left + wide] = rng.uniform(0, 255)
        return values.clip(0, 255).astype(np.uint8)


def _find_mirror(columns: Sequence[str], mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which column takes the place of each in a mirror, and with which sign.

    A landmark's partner is the one that lies nearest to its mirror image on the mean face.
    """
    order, sign = np.arange(len(columns)), np.ones(len(columns), np.float32)
    points: dict[str, dict[str, int]] = {}
    for place, name in enumerate(columns):
        bare = name.split("/")[-1]
        if bare in _SIDEWAYS:
            sign[place] = -1
        elif bare.startswith("landmark_position:"):
            _, number, axis = bare.split(":")
            points.setdefault(number, {})[axis] = place
    if points:
        places = np.array([[axes[axis] for axis in "xyz"] for axes in points.values()])
        face = np.nan_to_num(mean[places])
        partner = cKDTree(face).query(face * (-1, 1, 1))[1]
        order[places] = places[partner]
        sign[places[:, 0]] = -1
    return order, sign
