"""From action units to displayed emotion, and why."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pooch
import xarray as xr

from . import schema
from .arguments import check_number
from .prototypes import CIRCUMPLEX, PROTOTYPES

WEIGHTS = Path(__file__).parent / "data" / "emotion.npz"

#: What is not simulated is taken from the table as it stands: units that it leaves out were
#: used by fewer than 20 % of people, and a neutral face shows a unit now and then; read-outs
#: are assumed to miss 3 of 10 shown units and to see 1 of 20 absent ones.
_UNLISTED, _UNLISTED_NEUTRAL = 0.10, 0.05
_HIT, _FALSE_ALARM = 0.70, 0.05

#: Intensities below the first count as absent, above the second as surely shown.
_TRACE, _MARKED = 0.05, 0.6


def estimate_emotion(aus: xr.Dataset) -> xr.Dataset:
    """Probability of each displayed emotion, with valence and arousal, from action units.

    Parameters
    ----------
    aus : xarray.Dataset
        What :func:`extract_action_units` returned: ``au (time, face, action_unit)``.

    Returns
    -------
    xarray.Dataset
        ``emotion_probability (time, face, emotion)``, seven values that sum to 1;
        ``valence`` and ``arousal (time, face)`` in -1 to 1; ``unit_presence``, the evidence
        they rest on, for :func:`explain`. NaN where there are no units.

    Raises
    ------
    ValueError
        If `aus` lacks ``au``, or it holds none of the units of the prototypes.

    Notes
    -----
    Published prototypes, weighed on simulated faces; no photograph enters. Log odds are
    linear in how surely each unit is shown, so that :func:`explain` can take them apart; a
    unit that is not read says nothing. The weights (``tools/fit_emotion.py``) are a
    multinomial regression on what the built-in model reads from :func:`simulate_faces`,
    whose people show emotions by the shares of Du, Tao and Martinez (2014, PNAS 111, E1454),
    with closed eyes for sadness after Cordaro et al. (2018, Emotion 18, 75), and speak, blink
    and move in passing. Real meshes follow the face less well than simulated ones; the fit
    expects that, by assumption. On people who are misread so, probabilities mean what they say
    (calibration error 0.03 on 150 others: of frames said to be neutral with 0.82, 0.79 are). As
    :func:`simulate_faces` gives people, read well, they are too cautious: of frames said to be
    neutral with 0.82 only 0.56 are; of those said to be afraid with 0.6, 0.9 are
    (:func:`estimate_emotion_in_time`: 0.87 and 0.6). About half of the simulated frames are
    neutral, and that is what the probabilities expect of a clip. Units that are not
    simulated, such as py-feat's AU23, count by the table alone.

    Valence and arousal are the probability-weighted means of where Russell and Mehrabian
    (1977, J. Research in Personality 11, 273) place the words.

    The prototypes are *posed* expressions of one country's students. They say what a face
    displays in that convention, not what the person feels, and people differ.

    Examples
    --------
    >>> import numpy as np, xarray as xr, emokit as ek
    >>> aus = xr.Dataset(
    ...     {"au": (("time", "face", "action_unit"), [[[0.8, 0.7, 0.6]]])},
    ...     coords={"time": [0.0], "face": ["face_0"], "action_unit": ["AU06", "AU12", "AU25"]},
    ... )
    >>> shown = ek.estimate_emotion(aus)["emotion_probability"].squeeze()
    >>> shown.idxmax().item(), shown.max().item() > 0.9
    ('happiness', True)
    """
    schema.validate(aus, group="face", requires=["au"], argument="aus")
    units = [str(unit) for unit in aus["action_unit"].values]
    if not any(unit in members for members in PROTOTYPES.values() for unit in units):
        raise ValueError(f"aus holds no unit of the emotions' prototypes, only {', '.join(units)}")
    presence = find_presence(aus["au"].transpose("time", "face", "action_unit").values)
    known = np.isfinite(presence)
    push, absent, expected = _weights(tuple(units))
    # A unit that could not be read says nothing for or against any emotion.
    logits = expected + known @ absent.T + np.where(known, presence, 0) @ push.T
    logits -= logits.max(-1, keepdims=True)
    probability = np.exp(logits)
    probability /= probability.sum(-1, keepdims=True)
    probability[~known.any(-1)] = np.nan
    valence, arousal = np.moveaxis(
        probability @ np.array([CIRCUMPLEX[name] for name in schema.EMOTIONS]), -1, 0
    )
    history = schema.extend_history(
        "estimate_emotion",
        aus,
        model={
            "name": "prototypes, weighed on simulated faces",
            "source": "Du, Tao and Martinez 2014",
            "weights": WEIGHTS.name,
            "weights_sha256": pooch.file_hash(str(WEIGHTS)),
        },
        parameters={"trace": _TRACE, "marked": _MARKED},
    )
    return schema.build_dataset(
        "face",
        {
            "unit_presence": presence.astype(np.float32),
            "emotion_probability": probability.astype(np.float32),
            "valence": valence.astype(np.float32),
            "arousal": arousal.astype(np.float32),
        },
        {
            "time": aus["time"].values,
            "face": aus["face"].values,
            "action_unit": units,
            "emotion": list(schema.EMOTIONS),
        },
        history=history,
    )


def explain(emotion: xr.Dataset, *, time: float, face: str | None = None) -> xr.DataArray:
    """How much each action unit pushed each emotion at one moment.

    Parameters
    ----------
    emotion : xarray.Dataset
        What :func:`estimate_emotion` returned, or the face group of :func:`analyze`.
    time : float
        Seconds; the nearest row is explained.
    face : str, optional
        Track; the first by default.

    Returns
    -------
    xarray.DataArray, dims ``(emotion, action_unit)``
        What showing the unit, as surely as it was shown, added to the emotion's log odds
        against the average emotion, in nats: 0.7 doubles the odds, -0.7 halves them, 0 is
        a unit that was not shown. Its coordinates ``time`` and ``face`` say what was
        explained. NaN where there is no face.

    Raises
    ------
    ValueError
        If the evidence is missing, or there is no such face or time.

    Examples
    --------
    >>> import emokit as ek
    >>> clip = ek.sample_clip()
    >>> faces = ek.detect_faces(clip, fps=1, progress=False)
    >>> emotion = ek.estimate_emotion(ek.extract_action_units(clip, faces, progress=False))
    >>> push = ek.explain(emotion, time=18)
    >>> push.sel(emotion="happiness").idxmax("action_unit").item()
    'AU12'
    """
    schema.validate(emotion, group="face", requires=["unit_presence"], argument="emotion")
    tracks = [str(track) for track in emotion["face"].values]
    if not tracks:
        raise ValueError("emotion has no faces")
    face = tracks[0] if face is None else face
    if face not in tracks:
        raise ValueError(f"face must be one of {', '.join(tracks)}; got {face!r}")
    if not emotion.sizes["time"]:
        raise ValueError("emotion has no rows")
    check_number("time", time, unit="seconds")
    first, last = emotion["time"].values[[0, -1]]
    if not first - 0.5 <= time <= last + 0.5:
        raise ValueError(f"time must lie in {first:.2f} to {last:.2f} s; got {time!r}")
    presence = emotion["unit_presence"].sel(face=face).sel(time=time, method="nearest")
    push, _, _ = _weights(tuple(str(unit) for unit in presence["action_unit"].values))
    push = push - push.mean(0)
    return xr.DataArray(
        push * presence.values,
        dims=("emotion", "action_unit"),
        coords={"emotion": list(schema.EMOTIONS), **presence.coords},
        name="push",
        attrs={"units": "nat", "long_name": "change of the emotion's log odds by the unit"},
    )


def find_presence(au: np.ndarray) -> np.ndarray:
    """How surely each intensity counts as shown, 0 to 1; NaN stays NaN."""
    return ((au - _TRACE) / (_MARKED - _TRACE)).clip(0, 1)


@cache
def _weights(units: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What adds to the log odds: units shown and units read at all (emotion, unit), and neither."""
    with np.load(WEIGHTS, allow_pickle=False) as data:
        fitted = [str(unit) for unit in data["units"]]
        shown, read = np.zeros((2, len(schema.EMOTIONS), len(units)))
        for column, unit in enumerate(units):
            if unit in fitted:
                shown[:, column] = data["shown"][:, fitted.index(unit)]
                read[:, column] = data["read"][:, fitted.index(unit)]
            elif any(unit in members for members in PROTOTYPES.values()):
                chance = reading_chance(unit)
                shown[:, column] = np.log(chance / (1 - chance))
                read[:, column] = np.log(1 - chance)
        return shown, read, data["expected"].astype(np.float64)


def reading_chance(unit: str) -> np.ndarray:
    """Probability (emotion,) that a unit is read from a face displaying each emotion."""
    share = np.array(
        [
            PROTOTYPES[name].get(unit, _UNLISTED_NEUTRAL if name == "neutral" else _UNLISTED)
            for name in schema.EMOTIONS
        ]
    )
    return share * _HIT + (1 - share) * _FALSE_ALARM
