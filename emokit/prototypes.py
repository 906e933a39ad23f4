"""Published tables of what faces show: prototypes of emotions, and where their words lie."""

from __future__ import annotations

#: How many of 230 people used each unit to show an emotion: Du, Tao and Martinez (2014),
#: Table 1. They give "more than 70 %" for the prototype's own units, entered as 0.85.
PROTOTYPES = {
    "anger": {"AU04": 0.85, "AU07": 0.85, "AU24": 0.85, "AU17": 0.52, "AU23": 0.29, "AU10": 0.26},
    "disgust": {"AU09": 0.85, "AU10": 0.85, "AU17": 0.85, "AU04": 0.31, "AU24": 0.26},
    "fear": {
        **{"AU01": 0.85, "AU04": 0.85, "AU20": 0.85, "AU25": 0.85},
        **{"AU05": 0.63, "AU02": 0.57, "AU26": 0.33},
    },
    "happiness": {"AU12": 0.85, "AU25": 0.85, "AU06": 0.51},
    "sadness": {
        **{"AU04": 0.85, "AU15": 0.85, "AU17": 0.67},
        **{"AU01": 0.60, "AU06": 0.50, "AU11": 0.26},
        # Closed eyes are in the cross-cultural core of sadness (Cordaro et al. 2018), which
        # the posed set, shot with open eyes, cannot show.
        "AU43": 0.85,
    },
    "surprise": {"AU01": 0.85, "AU02": 0.85, "AU25": 0.85, "AU26": 0.85, "AU05": 0.66},
    # Du et al. photographed no talking, blinking faces; clips are full of them. These three
    # are our assumption: how often lips, jaw and lids of a person at rest are caught so.
    "neutral": {"AU25": 0.50, "AU26": 0.35, "AU43": 0.10},
}

#: Valence and arousal of the emotion words: Russell and Mehrabian (1977).
CIRCUMPLEX = {
    "anger": (-0.51, 0.59),
    "disgust": (-0.60, 0.35),
    "fear": (-0.64, 0.60),
    "happiness": (0.81, 0.51),
    "sadness": (-0.63, -0.27),
    "surprise": (0.40, 0.67),
    "neutral": (0.0, 0.0),
}
