"""Fit the small temporal model that ships: a GRU on simulated episodes of action units.

    python tools/fit_temporal.py [--people 1500] [--epochs 16] [--out FILE]

No person's face trains it. Every simulated person shows episodes of emotions by published
prototypes, talks, blinks, turns and fidgets, and is read with the built-in model's own
errors (``ek.simulate_faces``). Other simulated people decide when to stop, and others again
say how good it is against the per-frame reading. With the same versions the same file comes
out. Run it again whenever the read-out of action units or the simulator changes.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import xarray as xr

import emokit as ek

DATA = Path(ek.__file__).parent / "data"
NAMES = np.array(ek.schema.EMOTIONS)

#: Pictures vary in rate; the model works at ten rows a second whatever comes.
RATES = (12.0, 25.0)


def draw_people(n: int, seed: int) -> list[xr.Dataset]:
    """Ten seconds each of `n` simulated people: half of them talk, all of them move."""
    half = n // 2
    groups = [
        ek.simulate_faces(
            n_faces=count, duration=10, fps=RATES[i % 2], landmarks=False, seed=2 * seed + i,
            speech=speech,
        )
        for i, (count, speech) in enumerate([(n - half, 0.3), (half, 0.1)])
    ]  # fmt: skip
    return groups


def split(groups: list[xr.Dataset]) -> tuple[list[xr.Dataset], list[np.ndarray]]:
    """A sequence for each person, and what they display at each row."""
    clips = [group.sel(face=[name]) for group in groups for name in group.face.values]
    return clips, [NAMES[clip["displayed_emotion"].values[:, 0].astype(int)] for clip in clips]


def shorten(
    clips: list[xr.Dataset], labels: list[np.ndarray], rng: np.random.Generator
) -> tuple[list[xr.Dataset], list[np.ndarray]]:
    """Cut every fourth sequence to 2 s or less, many to one row: photographs are clips too."""
    parts = []
    for i, (clip, label) in enumerate(zip(clips, labels, strict=True)):
        n = len(label)
        length = n if i % 4 else max(int(n * rng.uniform(-0.2, 0.2)), 1)
        # A photograph is taken when there is something to see.
        shown = np.flatnonzero(label != "neutral")
        middle = rng.choice(shown) if len(shown) and i % 8 == 0 else rng.integers(n)
        start = int(np.clip(middle - length // 2, 0, n - length))
        parts.append((clip.isel(time=slice(start, start + length)), label[start : start + length]))
    return [part[0] for part in parts], [part[1] for part in parts]


def compare(model: ek.TemporalModel, seed: int, n: int = 300) -> dict[str, xr.Dataset]:
    """Scores of the model and of the per-frame reading on people that trained nothing."""
    groups = draw_people(n, seed)
    clips, labels = split(groups)
    truth = np.concatenate(labels)
    who = np.repeat(np.arange(len(clips)), [len(label) for label in labels])
    readings = {
        "per frame": [ek.estimate_emotion(clip) for clip in clips],
        "over time": [model.predict(clip) for clip in clips],
    }
    scores = {}
    for name, found in readings.items():
        said = np.concatenate(
            [f["emotion_probability"].sel(emotion=NAMES).values[:, 0] for f in found]
        )
        said = xr.DataArray(said, dims=("row", "emotion"), coords={"emotion": NAMES})
        scores[name] = ek.score(truth, said, subjects=who, n_resamples=200)
    return scores


def fit(people: int, epochs: int, seed: int = 1, progress: bool = True) -> ek.TemporalModel:
    """Fit the model on `people` simulated people."""
    clips, labels = split(draw_people(people, seed))
    clips, labels = shorten(clips, labels, np.random.default_rng(seed))
    model = ek.TemporalModel(
        kind="gru", features=["au"], fps=10.0, hidden=64, dropout=0.2, device="cpu", seed=seed
    )
    return model.fit(
        clips,
        labels,
        validation=0.1,
        epochs=epochs,
        batch_size=64,
        learning_rate=8e-3,
        # As frequent as it is simulated, so that probabilities mean what they say there.
        class_weights=None,
        augment=ek.Augmentation(drop_units=0.08, noise=0.05),
        progress=progress,
    )


def main() -> None:
    """Fit, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=1500)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--out", type=Path, default=DATA / "temporal_gru.safetensors")
    options = parser.parse_args()
    start, work = time.perf_counter(), time.process_time()
    model = fit(options.people, options.epochs)
    print(
        f"fitted in {time.perf_counter() - start:.0f} s, {time.process_time() - work:.0f} s of the "
        f"processor, {len(model.training)} epochs"
    )
    path = model.save(options.out)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
    for name, score in compare(model, seed=1000).items():
        figures = [
            f"{metric} {score['value'].sel(metric=metric).item():.3f} "
            f"({score['low'].sel(metric=metric).item():.3f} to "
            f"{score['high'].sel(metric=metric).item():.3f})"
            for metric in score["metric"].values
        ]
        print(f"{name}: " + ", ".join(figures))


if __name__ == "__main__":
    main()
