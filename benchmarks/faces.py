"""How fast faces and action units are found, against the bare libraries in the same run.

    python benchmarks/faces.py [CLIP]

Prints frames a second of decoding alone, of the networks alone on a frame that is already
there, and of emokit's stages, with ratios. Machines are noisy: compare within one run.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable

import numpy as np

import emokit as ek
from emokit import assets

REPEATS = 3


def best_rate(run: Callable[[], int]) -> float:
    """Frames a second of the fastest of some runs; the others were disturbed."""
    rates = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        frames = run()
        rates.append(frames / (time.perf_counter() - start))
    return max(rates)


def bare_network(name: str, *, batch: int = 1, runs: int = 200) -> float:
    """Runs a second of one model, with nothing before or after it."""
    model = assets.open_model(name, batch=batch)
    detail = model.get_input_details()[0]
    model.set_tensor(detail["index"], np.zeros(detail["shape"], np.float32))

    def run() -> int:
        for _ in range(runs):
            model.invoke()
        return runs

    return best_rate(run)


def main() -> None:
    """Measure and print one table."""
    clip = ek.open_clip(sys.argv[1]) if len(sys.argv) > 1 else ek.sample_clip()
    n = len(clip.frame_times)
    print(f"{clip}; {os.cpu_count()} cores, {platform.machine()}, Python {sys.version.split()[0]}")
    faces = ek.detect_faces(clip, progress=False)

    decoding = best_rate(lambda: sum(1 for _ in clip.frames()))
    networks = {
        "face detector": bare_network("face_detector"),
        "face mesh": bare_network("face_mesh"),
        "both eyes": bare_network("iris", batch=2),
    }
    bare = 1 / sum(1 / rate for rate in networks.values())

    detecting = best_rate(lambda: ek.detect_faces(clip, progress=False).sizes["time"])
    reading = best_rate(lambda: ek.extract_action_units(clip, faces, progress=False).sizes["time"])
    both = 1 / (1 / detecting + 1 / reading)

    rows = [
        ("decoding alone (PyAV)", decoding),
        *((f"{name} alone (LiteRT)", rate) for name, rate in networks.items()),
        ("the three networks, one after another", bare),
        ("detect_faces", detecting),
        ("extract_action_units", reading),
        ("detect_faces + extract_action_units", both),
    ]
    print(f"\n{'':44}{'frames/s':>10}{'ms/frame':>10}")
    for name, rate in rows:
        print(f"{name:44}{rate:10.0f}{1000 / rate:10.2f}")
    print(f"\nemokit's two stages reach {both / bare:.2f} of the bare networks' rate")
    print(
        f"on {n} frames, decoding each of them twice; clip time / run time: "
        f"{clip.duration * both / n:.1f}"
    )


if __name__ == "__main__":
    main()
