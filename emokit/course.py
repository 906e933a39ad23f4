"""Displayed emotion read from how action units unfold, by the small networks that ship."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pooch
import xarray as xr

from . import schema
from .prototypes import CIRCUMPLEX

if TYPE_CHECKING:
    from .temporal import TemporalModel

SHIPPED = sorted((Path(__file__).parent / "data").glob("temporal_gru_*.safetensors"))


def estimate_emotion_in_time(aus: xr.Dataset) -> xr.Dataset:
    """Probability of each displayed emotion from how action units unfold over seconds.

    What :func:`estimate_emotion` reads from each frame alone, small recurrent networks
    read here from what came before and after as well: lips that open and close in speech
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
        If `aus` lacks ``au``, or has none of the units the networks know.

    Notes
    -----
    Four bidirectional GRUs of 64 units at ten rows a second, whose probabilities are
    averaged, fitted on simulated people only (``tools/fit_temporal.py``;
    :func:`simulate_faces`), who are misread as people are: no photograph and no clip
    trained them. They see the units that prototypes name. They know posed prototypes acted
    out by simulated faces; on people they are as good as that resemblance, and unlike
    :func:`estimate_emotion` they cannot be explained unit by unit. They need a second or two
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
    models, digests = _shipped()
    known = {column.split(":")[1] for column in models[0].columns}
    if not known & {str(unit) for unit in aus["action_unit"].values}:
        raise ValueError(
            f"aus holds none of the units the networks know: {', '.join(sorted(known))}"
        )
    if not (aus.sizes["face"] and aus.sizes["time"]):
        shape = (aus.sizes["time"], aus.sizes["face"], len(schema.EMOTIONS))
        probability = np.full(shape, np.nan, np.float32)
    else:
        found = [model.predict(aus[["au"]])["emotion_probability"] for model in models]
        probability = np.mean([p.sel(emotion=list(schema.EMOTIONS)).values for p in found], axis=0)
    places = np.array([CIRCUMPLEX[name] for name in schema.EMOTIONS])
    valence, arousal = np.moveaxis(probability @ places, -1, 0)
    history = schema.extend_history(
        "estimate_emotion_in_time",
        aus,
        model={"name": "temporal_gru", "sha256": digests},
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
def _shipped() -> tuple[list[TemporalModel], dict[str, str]]:
    from .temporal import TemporalModel

    models = [TemporalModel.load(path) for path in SHIPPED]
    return models, {path.name: pooch.file_hash(str(path)) for path in SHIPPED}
