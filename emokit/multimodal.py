"""Simulated modalities that each know half of the truth, for fusion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy.special import softmax

from .arguments import check_number
from .schema import build_dataset, extend_history

#: Emotions at the corners of valence (-1, 1) and arousal (-1, 1), near enough.
_CORNERS = {
    "anger": (-1.0, 1.0),
    "happiness": (1.0, 1.0),
    "neutral": (1.0, -1.0),
    "sadness": (-1.0, -1.0),
}

#: How well each modality sees valence and arousal, in standard deviations between the two.
_SEES = {"face": (2.6, 0.5), "voice": (0.5, 2.6)}


def simulate_modalities(
    *,
    n_clips: int = 1,
    duration: float = 20.0,
    fps: float = 10.0,
    noise: Sequence[str] = (),
    missing: float = 0.1,
    seed: int = 0,
) -> tuple[list[dict[str, xr.Dataset]], list[np.ndarray]]:
    """Simulate estimates of a face and a voice that complement each other, and the truth.

    The face tells pleasant from unpleasant and hardly excited from calm; the voice tells
    excited from calm and hardly pleasant from unpleasant. Only together do they tell
    anger, happiness, sadness and neutral apart.

    Parameters
    ----------
    n_clips : int
        How many clips.
    duration, fps : float
        Seconds of each, and rows a second.
    noise : sequence of str
        Names of further modalities that know nothing, and are as sure of it as the
        others are of what they know.
    missing : float
        Share of time during which each modality is missing, in spans, on its own.
    seed : int
        The same seed gives the same clips.

    Returns
    -------
    modalities : list of dict
        For each clip, by name, a Dataset with ``emotion_probability (time, emotion)``:
        true posteriors given what the modality sees, and so calibrated, but for `noise`.
        In half of the time a modality sees a third as well, and is less sure.
    truth : list of numpy.ndarray
        For each clip the emotion at each row; it changes every 1 to 4 seconds.

    Examples
    --------
    >>> import emokit as ek
    >>> clips, truth = ek.simulate_modalities(n_clips=2, noise=["text"], seed=1)
    >>> list(clips[0]), truth[0].shape
    (['face', 'voice', 'text'], (200,))
    """
    check_number("n_clips", n_clips, least=1, whole=True)
    check_number("duration", duration, above=0, unit="seconds")
    check_number("fps", fps, above=0)
    check_number("missing", missing, least=0, below=1)
    check_number("seed", seed, least=0, whole=True)
    taken = set(noise) & set(_SEES)
    if taken:
        raise ValueError(f"noise must name further modalities; {', '.join(taken)} is one of two")
    time = np.arange(max(round(duration * fps), 2)) / fps
    names, corners = np.array(list(_CORNERS)), np.array(list(_CORNERS.values()))
    clips, truths = [], []
    for clip in range(n_clips):
        rng = np.random.default_rng([seed, clip])
        truth = _change(rng, time, len(names))
        found = {}
        for modality in (*_SEES, *noise):
            own = truth if modality in _SEES else _change(rng, time, len(names))
            sees = np.array(_SEES.get(modality, (2.0, 2.0))) / 2
            weak = _spans(rng, time, 0.5)
            strength = np.where(weak, 1 / 3, 1.0)[:, None] * sees
            heard = corners[own] * strength + rng.normal(size=(len(time), 2))
            apart = heard[:, None] - corners * strength[:, None]
            posterior = softmax(-0.5 * (apart**2).sum(-1), axis=1)
            posterior[_spans(rng, time, missing)] = np.nan
            found[modality] = build_dataset(
                "fused",
                {"emotion_probability": posterior},
                {"time": time, "emotion": names},
                history=extend_history("simulate_modalities", modality=modality, seed=seed),
            )
        clips.append(found)
        truths.append(names[truth])
    return clips, truths


def _change(rng: np.random.Generator, time: np.ndarray, n: int) -> np.ndarray:
    """A class at each time, which changes every 1 to 4 seconds."""
    ends = np.cumsum(rng.uniform(1, 4, int(time[-1]) + 2))
    return rng.integers(n, size=len(ends) + 1)[np.searchsorted(ends, time)]


def _spans(rng: np.random.Generator, time: np.ndarray, share: float) -> np.ndarray:
    """Rows in spans of about a second that make up some `share` of the time."""
    number = np.searchsorted(np.cumsum(rng.uniform(0.5, 2, 2 * int(time[-1]) + 4)), time)
    return (rng.random(number[-1] + 1) < share)[number]
