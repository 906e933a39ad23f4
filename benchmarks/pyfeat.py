"""How fast emokit feeds py-feat's network, beside the bare network and py-feat's detector.

Run ``python benchmarks/pyfeat.py``; ``--help`` lists the options. Where the weights are
not on the machine, random numbers take their place: the arithmetic is the same.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import xarray as xr

import emokit as ek
from emokit import pyfeat
from emokit.rows import rows_of


def main() -> None:
    """Measure the ways in turn, several times over, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip", help="a video; the sample clip by default")
    parser.add_argument("--frames", type=int, default=8, help="frames a round (default: 8)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument("--batch", type=int, default=4, help="faces a run (default: 4)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="torch threads (default: as torch chooses)")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", "py-feat's multitask weights", UserWarning)
    clip = ek.open_clip(options.clip) if options.clip else ek.sample_clip()
    times = clip.frame_times[: options.frames]
    frames = np.stack([frame for _, frame in clip.frames(times=times)])
    held = ek.Clip.from_frames(frames, times)
    faces = ek.detect_faces(held, progress=False)
    count = int(np.isfinite(faces["face_box"].values[..., 0]).sum())
    if not count:
        parser.error(f"no face in the first {len(times)} frames of {clip.name}")
    with tempfile.TemporaryDirectory() as folder:
        weights = pyfeat.find_weights() or write_random_weights(Path(folder))
        network = pyfeat._load(
            str(weights), weights.stat().st_mtime_ns, pyfeat._choose_device(options.device)
        )
        crops = cut_crops(held, faces, network.device)
        detector = build_detector(faces, weights, options.device)
        images = torch.tensor(frames).permute(0, 3, 1, 2)

        def run_bare() -> None:
            for start in range(0, len(crops), options.batch):
                network(crops[start : start + options.batch])

        def run_emokit() -> None:
            ek.extract_action_units(
                clip,
                faces,
                model="py-feat",
                weights=weights,
                device=options.device,
                batch_size=options.batch,
                progress=False,
            )

        def run_emokit_and_detection() -> None:
            ek.detect_faces(held, progress=False)
            run_emokit()

        def run_detectorv2() -> None:
            detector.detect(
                images, data_type="tensor", batch_size=options.batch, progress_bar=False
            )

        ways = {
            "MultitaskModel alone, crops ready": run_bare,
            "emokit: decode, crop, network": run_emokit,
            "emokit: with its face detection": run_emokit_and_detection,
            "Detectorv2.detect, frames in memory": run_detectorv2,
        }
        taken = measure(ways, options.rounds)
    print(
        f"{len(times)} frames of {frames.shape[2]}×{frames.shape[1]}, {count} faces, batches of "
        f"{options.batch}, {network.device} ({torch.get_num_threads()} threads), "
        f"{'mixed' if network.amp else 'single'} precision, "
        f"{'random' if weights.parent == Path(folder) else 'published'} weights"
    )
    report(taken, len(times))


def measure(
    ways: dict[str, Callable[[], None]], rounds: int
) -> dict[str, list[tuple[float, float]]]:
    """Seconds on the clock and of all cores together, of every way in every round.

    The ways take turns, so that other load on the machine strikes all of them; the
    seconds of the cores hardly feel it.
    """
    for way in ways.values():
        way()
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start, busy = time.perf_counter(), time.process_time()
            way()
            taken[name].append((time.perf_counter() - start, time.process_time() - busy))
    return taken


def report(taken: dict[str, list[tuple[float, float]]], frames: int) -> None:
    """One line a way; ratios are of throughput, round by round, and their median."""
    first, *_, last = taken

    def ratio(name: str, other: str, clock: int) -> float:
        pairs = zip(taken[name], taken[other], strict=True)
        return statistics.median(b[clock] / a[clock] for a, b in pairs)

    print(f"{'':38}{'':>10}{'ratio to the bare network':>28}{'ratio to Detectorv2':>24}")
    print(f"{'':38}{'frames/s':>10}{'clock':>16}{'cores':>12}{'clock':>12}{'cores':>12}")
    for name, rounds in taken.items():
        speed = frames / statistics.median(clock for clock, _ in rounds)
        print(
            f"{name:38}{speed:10.2f}{ratio(name, first, 0):16.2f}{ratio(name, first, 1):12.2f}"
            f"{ratio(name, last, 0):12.2f}{ratio(name, last, 1):12.2f}"
        )


def write_random_weights(folder: Path) -> Path:
    """A file in py-feat's format with random numbers."""
    from feat.multitask.model_v2 import MEGraphAUv2, ModelV2Config
    from safetensors.torch import save_file

    torch.manual_seed(0)
    config = ModelV2Config(
        pretrained=False,
        n_au=20,
        n_emotion=7,
        n_blendshape=52,
        mesh_normalized=True,
        use_head_v3=True,
        gaze_eye_roi=True,
        gaze_pose_6d=True,
    )
    state = {name: value.contiguous() for name, value in MEGraphAUv2(config).state_dict().items()}
    path = folder / "random.safetensors"
    save_file(state, path, metadata={"config": json.dumps(asdict(config))})
    return path


def cut_crops(clip: ek.Clip, faces: xr.Dataset, device: torch.device) -> torch.Tensor:
    """The crops that emokit's path makes, (n, 3, 256, 256)."""
    cut = pyfeat._crop_faces(rows_of(clip, faces), device)
    return torch.stack([chip for _, chip, _ in cut])


def build_detector(faces: xr.Dataset, weights: Path, device: str) -> torch.nn.Module:
    """py-feat's Detectorv2, whose RetinaFace does all its work and then finds emokit's faces.

    Random weights would find none, or hundreds; with these boxes both sides read the same
    faces. The high threshold spares it the sorting of random boxes.
    """
    import feat.detector_v2

    boxes = iter(())

    class Retinaface(feat.detector_v2.Retinaface):
        def forward(self, images: torch.Tensor) -> list[list[list[float]]]:
            nonlocal boxes
            super().forward(images)
            found = []
            for _ in images:
                row = next(boxes, None)
                if row is None:
                    boxes = iter(faces["face_box"].values)
                    row = next(boxes)
                row = row[np.isfinite(row[:, 0])]
                found.append([[x, y, x + w, y + h, 0.99] for x, y, w, h in row.tolist()])
            return found

    original = feat.detector_v2.Retinaface
    feat.detector_v2.Retinaface = functools.partial(
        Retinaface, pretrained="none", confidence_threshold=0.999
    )
    try:
        return feat.detector_v2.Detectorv2(
            device=device, identity_model=None, multitask_weights=str(weights)
        )
    finally:
        feat.detector_v2.Retinaface = original


if __name__ == "__main__":
    main()
