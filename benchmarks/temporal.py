"""How well each kind of temporal model reads simulated episodes, against the per-frame reading.

    python benchmarks/temporal.py [--people 1000] [--epochs 20] [--kinds gru tcn ...]

Trains on simulated people for ten seconds each (units only, with speech, blinks and noise as
distractors), tests on others, and prints one table: accuracy, unweighted recall and expected
calibration error with 95 % intervals over people, and what the training took.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time

import numpy as np
import xarray as xr

import emokit as ek

NAMES = np.array(ek.schema.EMOTIONS)
KINDS = ("linear", "gru", "lstm", "tcn", "transformer")
SHOWN = ("accuracy", "unweighted_recall", "calibration_error")


def draw(n: int, seed: int) -> tuple[list[xr.Dataset], list[np.ndarray]]:
    """A ten-second sequence of each person, and what is displayed at each row."""
    people = ek.simulate_faces(n_faces=n, duration=10, fps=12.5, landmarks=False, seed=seed)
    clips = [people.sel(face=[name]) for name in people.face.values]
    return clips, [NAMES[clip["displayed_emotion"].values[:, 0].astype(int)] for clip in clips]


def print_row(name: str, found: list[xr.Dataset], labels: list[np.ndarray], training: str) -> None:
    """Score estimates against the truth, and print a row of the table."""
    said = np.concatenate([f["emotion_probability"].sel(emotion=NAMES).values[:, 0] for f in found])
    said = xr.DataArray(said, dims=("row", "emotion"), coords={"emotion": NAMES})
    who = np.repeat(np.arange(len(labels)), [len(label) for label in labels])
    score = ek.score(np.concatenate(labels), said, subjects=who, n_resamples=200)
    cells = [
        f"{row['value'].item():.3f} ({row['low'].item():.3f} to {row['high'].item():.3f})"
        for row in (score.sel(metric=metric) for metric in SHOWN)
    ]
    print(f"| {name} | " + " | ".join(cells) + f" | {training} |", flush=True)


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    options = parser.parse_args()
    clips, labels = draw(options.people, seed=1)
    tests, truths = draw(200, seed=2)
    print(
        f"{platform.machine()}, Python {sys.version.split()[0]}; trained on {len(clips)} people, "
        f"tested on {len(tests)}, 10 s each, {options.epochs} epochs at most, one thread\n"
    )
    print("| | accuracy | unweighted recall | calibration error | training, clock (CPU) |")
    print("|---|---|---|---|---|")
    print_row("per frame (prototypes)", [ek.estimate_emotion(c) for c in tests], truths, "none")
    shipped = [ek.estimate_emotion_in_time(clip) for clip in tests]
    print_row("shipped GRUs", shipped, truths, "shipped")
    for kind in options.kinds:
        start, work = time.perf_counter(), time.process_time()
        model = ek.TemporalModel(kind=kind, hidden=48, device="cpu").fit(
            clips, labels, epochs=options.epochs, class_weights=None, progress=False
        )
        took = f"{time.perf_counter() - start:.0f} s ({time.process_time() - work:.0f} s)"
        print_row(kind, [model.predict(clip) for clip in tests], truths, took)


if __name__ == "__main__":
    main()
