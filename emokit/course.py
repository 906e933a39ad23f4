"""Displayed emotion read from how action units unfold, by the small model that ships."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from . import schema
from .prototypes import CIRCUMPLEX

if TYPE_CHECKING:
    from .temporal import TemporalModel

SHIPPED = Path(__file__).parent / "data" / "temporal_gru.safetensors"


def estimate_emotion_in_time(aus: xr.Dataset) -> xr.Dataset:
    """Probability of each displayed emotion from how action units unfold over seconds.

    What :func:`estimate_emotion` reads from each frame alone, a small recurrent network
    reads here from what came before and after as well: lips that open and close in speech
    are no surprise, and a blink is no sadness.

    Parameters
    ----------
    aus : xarray.Dataset
        With ``au (time, face, action_unit)``, at any and also uneven sampling.

    Returns
    -------
    xarray.Dataset
        ``emotion_probability (time, face, emotion)``, seven values that sum to 1, and
        ``valence`` and ``arousal (time, face)`` in -1 to 1, their mean places on Russell
        and Mehrabian's (1977) circumplex. NaN where no unit was read.

    Raises
    ------
    ValueError
        If `aus` lacks ``au``, or has none of the units the network knows.

    Notes
    -----
    A bidirectional GRU of 64 units at ten rows a second, fitted on simulated people only
    (``tools/fit_temporal.py``; :func:`simulate_faces`): no photograph and no clip trained
    it. In the sample clip it reads 10 to 16 s of open-mouthed laughter as fear (0.60, and
    happiness 0.28), where each frame alone reads happiness (0.63). It knows posed prototypes
    acted out by simulated faces; on people it is as good as that resemblance, and unlike
    :func:`estimate_emotion` it cannot be explained unit by unit. It needs a second or two
    of clip to be of use: of photographs :func:`estimate_emotion` is the better judge.

    Examples
    --------
    >>> import emokit as ek
    >>> people = ek.simulate_faces(
    ...     n_faces=3, emotions="happiness", landmarks=False, fps=12.5, seed=3)
    >>> found = ek.estimate_emotion_in_time(people)["emotion_probability"]
    >>> shown = found.where(people["displayed_intensity"] > 0.3).mean(("time", "face"))
    >>> shown.idxmax().item()
    'happiness'
    """
    schema.validate(aus, group="face", requires=["au"], argument="aus")
    model, digest = _shipped()
    known = {column.split(":")[1] for column in model.columns}
    if not known & {str(unit) for unit in aus["action_unit"].values}:
        raise ValueError(f"aus holds none of the units the model knows: {', '.join(sorted(known))}")
    if not (aus.sizes["face"] and aus.sizes["time"]):
        shape = (aus.sizes["time"], aus.sizes["face"], len(schema.EMOTIONS))
        probability = np.full(shape, np.nan, np.float32)
    else:
        found = model.predict(aus[["au"]])["emotion_probability"]
        probability = found.sel(emotion=list(schema.EMOTIONS)).values
    places = np.array([CIRCUMPLEX[name] for name in schema.EMOTIONS])
    valence, arousal = np.moveaxis(probability @ places, -1, 0)
    history = schema.extend_history(
        "estimate_emotion_in_time",
        aus,
        model={"name": "temporal_gru", "file": SHIPPED.name, "sha256": digest},
    )
    return schema.build_dataset(
        "face",
        {"emotion_probability": probability, "valence": valence, "arousal": arousal},
        {
            "time": aus["time"].values,
            "face": aus["face"].values,
            "emotion": list(schema.EMOTIONS),
        },
        history=history,
    )


@cache
def _shipped() -> tuple[TemporalModel, str]:
    from .temporal import TemporalModel

    return TemporalModel.load(SHIPPED), hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
