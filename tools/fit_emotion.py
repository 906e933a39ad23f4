"""Weigh action units for each emotion on simulated faces.

    python tools/fit_emotion.py

People show emotions by published prototypes (``ek.simulate_faces``); their landmarks are
read by the built-in model; a multinomial regression says what each reading speaks for. The
result is ``emokit/data/emotion.npz``. What it prints is how well the emotion on display is
recovered, by it and by the prototypes as they stand, on people who were held out.
"""

from __future__ import annotations

import argparse

import numpy as np
import xarray as xr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, log_loss

import emokit as ek
from emokit.emotion import WEIGHTS, find_presence, reading_chance
from emokit.head import SHAPES
from emokit.prototypes import PROTOTYPES

#: Units that count: those that a prototype names. Others tell emotions apart by how the head
#: parts its lips, which is ours, not the prototypes'.
UNITS = [unit for unit in SHAPES if any(unit in members for members in PROTOTYPES.values())]

#: How real meshes differ from simulated ones. Assumed, for want of faces with a known truth:
#: each unit of a person reads 0.4 to 1 times as strong, a little too high or low, and takes
#: some of every other unit with it. Lips and lids are measured and have none of that.
WEAKEST, OWN, TAKEN_ALONG = 0.4, 0.08, 0.1
#: How often a mesh hardly follows a unit of a person at all, and how strong it then reads at
#: most: a posed frown was seen to read AU04 as 0.06, loud laughter AU06 as 0.01.
LOST, LOST_STRENGTH = 0.2, 0.3
#: The jaw takes more: as it opens in a speaking and a laughing clip, other units rise or fall
#: by 0.45 and 0.62 of it in the mean (root mean square), beyond what simulated speech does.
#: Some of that is shown, so this is less.
TAKEN_BY_JAW = 0.2
JAW = UNITS.index("AU26")
MEASURED = [UNITS.index(unit) for unit in ("AU25", "AU43")]


def show_people(n_people: int, duration: float, seed: int) -> tuple[np.ndarray, ...]:
    """Readings (n, n_units), emotion on display (n,) and person (n,) of simulated frames."""
    # Fifty at a time, because landmarks are large.
    people = [
        ek.simulate_faces(n_faces=50, duration=duration, fps=4, seed=seed + index)[
            ["au", "displayed_emotion"]
        ]
        for index in range(n_people // 50)
    ]
    people = xr.concat([p.drop_vars("face") for p in people], "face")
    rows = people.stack(row=("time", "face"))
    person = np.tile(np.arange(people.sizes["face"]), people.sizes["time"])
    au = rows["au"].sel(action_unit=UNITS).transpose("row", ...).values
    return au.astype(np.float64), rows["displayed_emotion"].values.astype(int), person


def misread(au: np.ndarray, person: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Readings as of a mesh that follows the face less well."""
    shape = (person.max() + 1, len(UNITS))
    gain, own = rng.uniform(WEAKEST, 1, shape), rng.normal(0, OWN, shape)
    gain = np.where(rng.random(shape) < LOST, rng.uniform(0, LOST_STRENGTH, shape), gain)
    along = rng.normal(0, TAKEN_ALONG, (*shape, len(UNITS)))
    along[:, range(len(UNITS)), range(len(UNITS))] = 0
    along[:, JAW] *= TAKEN_BY_JAW / TAKEN_ALONG
    along[:, MEASURED] *= 0.5  # closed lids and parted lips are strong, but move little else
    gain[:, MEASURED], own[:, MEASURED], along[:, :, MEASURED] = 1, 0, 0
    read = au * gain[person] + own[person]
    for who in range(len(gain)):
        read[person == who] += au[person == who] @ along[who]
    return read.clip(0, 1)


def leave_out(n: int, rng: np.random.Generator) -> np.ndarray:
    """Which units are known (n, n_units): all in a quarter of the rows, few in another."""
    return rng.random((n, len(UNITS))) >= rng.choice([0, 0.1, 0.4, 0.8], (n, 1))


def to_features(au: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Presence of known units, 0 for others; and which are known."""
    return np.hstack([np.where(known, find_presence(au), 0), known])


def read_prototypes(au: np.ndarray) -> np.ndarray:
    """Probabilities (n, 7) by the prototypes as they stand, units taken as independent."""
    # Counted as shown between the intensities that were used before units were weighed.
    chance, presence = np.stack([reading_chance(unit) for unit in UNITS]), (au - 0.05) / 0.35
    presence = presence.clip(0, 1)
    logits = presence @ np.log(chance) + (1 - presence) @ np.log(1 - chance)
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


def calibration_error(probability: np.ndarray, emotion: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error (Guo et al. 2017): mean gap of confidence and accuracy."""
    confidence, right = probability.max(1), probability.argmax(1) == emotion
    within = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(within, confidence - right, bins)
    return float(np.abs(gaps).sum() / len(emotion))


def report(name: str, probability: np.ndarray, emotion: np.ndarray) -> None:
    """Print one line of figures."""
    labels = range(len(ek.schema.EMOTIONS))
    found = probability.argmax(1)
    share = confusion_matrix(emotion, found, labels=labels, normalize="true")
    print(
        f"{name:36} accuracy {np.mean(found == emotion):.3f}"
        f"  balanced {balanced_accuracy_score(emotion, found):.3f}"
        f"  calibration error {calibration_error(probability, emotion):.3f}"
        f"  log loss {log_loss(emotion, probability, labels=labels):.3f}"
    )
    print("    of each shown, found:", end="")
    for row, emotion_name in enumerate(ek.schema.EMOTIONS):
        rival = max((c for c in labels if c != row), key=share[row].__getitem__)
        print(
            f"  {emotion_name} {share[row, row]:.2f}"
            f" ({ek.schema.EMOTIONS[rival]} {share[row, rival]:.2f})",
            end="",
        )
    print()


def main() -> None:
    """Fit, write the package's data file, and measure on people who were held out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=500, help="simulated people to fit on")
    arguments = parser.parse_args()
    rng = np.random.default_rng(20261121)
    clips = show_people(arguments.people, 10, 100_000)
    moments = show_people(3 * arguments.people, 1, 200_000)
    au = np.concatenate([misread(a, person, rng) for a, _, person in (clips, moments)])
    emotion = np.concatenate([clips[1], moments[1]])
    model = LogisticRegression(C=0.1, max_iter=1000)
    model.fit(to_features(au, leave_out(len(au), rng)), emotion)
    n = len(UNITS)
    np.savez_compressed(
        WEIGHTS,
        units=np.array(UNITS),
        shown=model.coef_[:, :n].astype(np.float32),
        read=model.coef_[:, n:].astype(np.float32),
        expected=model.intercept_.astype(np.float32),
    )
    for what, seconds, seed in (("clips of 10 s", 10, 300_000), ("clips of 1 s", 1, 400_000)):
        plain, emotion, person = show_people(max(arguments.people // 2, 50), seconds, seed)
        for how, read in (("", plain), (", misread", misread(plain, person, rng))):
            everything = np.ones(read.shape, bool)
            report(f"{what}{how}: prototypes", read_prototypes(read), emotion)
            fitted = model.predict_proba(to_features(read, everything))
            report(f"{what}{how}: weighed", fitted, emotion)


if __name__ == "__main__":
    main()
