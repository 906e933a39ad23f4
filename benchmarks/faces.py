"""How fast faces, action units and emotion are read, and how much memory a long clip takes.

    python benchmarks/faces.py [--clip FILE]
    python benchmarks/faces.py --memory [--minutes 5 60]

The first prints, side by side and measured in turns in one run, decoding alone, the networks
alone, emokit's stages, and py-feat's ``Detectorv2`` (random weights where the published ones
are not here: the arithmetic is the same). The second loops the clip to each length and prints
the peak memory of a fresh process that reads it. Machines are noisy: compare within one run.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import av
import joblib
import numpy as np

import emokit as ek
from emokit import assets
from emokit.action_units import MeshReader
from emokit.clip import Clip, read_ahead
from emokit.faces import FaceSearch
from emokit.workers import read_in_parts

DETECTOR_FRAMES = 4


def read_in_one_pass(clip: Clip, workers: int = 1) -> int:
    """Faces, units and emotion as ``analyze`` reads them; returns the number of frames."""
    search, reader = FaceSearch(clip), MeshReader(clip)
    if workers > 1:
        read_in_parts(search, reader, workers=workers, progress=False)
    else:
        reader.read(read_ahead(search.rows(frames=True), depth=4))
    units = reader.dataset(search.dataset(), search.order)
    return ek.estimate_emotion(units).sizes["time"]


def bare_network(name: str, *, batch: int = 1, runs: int = 100) -> Callable[[], int]:
    """Runs of one model, with nothing before or after it."""
    model = assets.open_model(name, batch=batch)
    detail = model.get_input_details()[0]
    model.set_tensor(detail["index"], np.zeros(detail["shape"], np.float32))

    def run() -> int:
        for _ in range(runs):
            model.invoke()
        return runs

    return run


def detectorv2(clip: Clip, folder: Path) -> Callable[[], int]:
    """py-feat's own detector on the first frames, already in memory."""
    import torch
    from pyfeat import build_detector, write_random_weights

    warnings.filterwarnings("ignore", "py-feat's multitask weights", UserWarning)
    times = clip.frame_times[:DETECTOR_FRAMES]
    frames = np.stack([frame for _, frame in clip.frames(times=times)])
    faces = ek.detect_faces(Clip.from_frames(frames, times), progress=False)
    detector = build_detector(faces, write_random_weights(folder), "cpu")
    images = torch.tensor(frames).permute(0, 3, 1, 2)

    def run() -> int:
        detector.detect(images, data_type="tensor", batch_size=len(images), progress_bar=False)
        return len(images)

    return run


def measure_speed(clip: Clip, rounds: int, workers: int) -> None:
    """Print one table; processes have been started before."""
    faces = ek.detect_faces(clip, progress=False)
    processes = f"the same in {workers} processes"
    longer = f"the same, to and fro for a minute, in {workers}"
    with tempfile.TemporaryDirectory() as folder:
        looped = Path(folder) / "looped.mp4"
        loop_clip(clip, 1, looped)
        looped = ek.open_clip(looped)
        ways = {
            "decoding alone (PyAV)": lambda: sum(1 for _ in clip.frames()),
            "face detector alone (LiteRT, one thread)": bare_network("face_detector"),
            "face mesh alone": bare_network("face_mesh"),
            "both eyes alone": bare_network("iris", batch=2),
            "detect_faces": lambda: ek.detect_faces(clip, progress=False).sizes["time"],
            "extract_action_units": lambda: ek.extract_action_units(
                clip, faces, progress=False
            ).sizes["time"],
            "faces, units and emotion in one pass": lambda: read_in_one_pass(clip),
            processes: lambda: read_in_one_pass(clip, workers),
            longer: lambda: read_in_one_pass(looped, workers),
            "Detectorv2.detect (py-feat)": detectorv2(clip, Path(folder)),
        }
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for way in ways.values():
            way()
        for _ in range(rounds):
            for name, way in ways.items():
                start, busy = time.perf_counter(), time.process_time()
                frames = way()
                clock, cores = time.perf_counter() - start, time.process_time() - busy
                taken[name].append((clock / frames * 1000, cores / frames * 1000))
    print(f"{'':46}{'frames/s':>10}{'best':>8}{'ms/frame':>10}{'ms of cores':>13}")
    for name, costs in taken.items():
        clocks, cores = zip(*costs, strict=True)
        middle = statistics.median(clocks)
        print(
            f"{name:46}{1000 / middle:10.1f}{1000 / min(clocks):8.1f}{middle:10.2f}"
            # What other processes do is not counted here.
            + (f"{'':13}" if name in (processes, longer) else f"{statistics.median(cores):13.2f}")
        )

    def ratio(name: str, others: list[str], which: int) -> float:
        """How many times as fast as the others one after another, round by round."""
        return statistics.median(
            sum(taken[other][i][which] for other in others) / taken[name][i][which]
            for i in range(rounds)
        )

    networks = [name for name in ways if "alone" in name and "decoding" not in name]
    one_pass, peer = "faces, units and emotion in one pass", "Detectorv2.detect (py-feat)"
    print(
        f"\none pass: {ratio(one_pass, networks, 0):.2f} × the rate of the three bare networks "
        f"run on every frame,\n{ratio(one_pass, [peer], 0):.0f} × Detectorv2 by the clock, "
        f"{ratio(one_pass, [peer], 1):.0f} × by the time of the cores"
    )


def loop_clip(clip: Clip, minutes: float, target: Path) -> None:
    """Write the clip to and fro, so that there is no cut and one track for all its length.

    It is encoded once; the copies are not encoded again.
    """
    once = target.with_name("once.mp4")
    frames = [frame for _, frame in clip.frames()]
    rate = round(len(frames) / clip.duration)
    with av.open(str(once), "w") as output:
        stream = output.add_stream("h264", rate=rate, options={"crf": "20"})
        stream.width, stream.height, stream.pix_fmt = *clip.size, "yuv420p"
        for frame in [*frames, *reversed(frames)]:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        output.mux(stream.encode())
    with av.open(str(once)) as source, av.open(str(target), "w") as output:
        stream = source.streams.video[0]
        copy = output.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.dts is not None]
        stamps = [(packet.pts, packet.dts, packet.duration) for packet in packets]
        length = sum(duration for *_, duration in stamps)
        for turn in range(max(round(minutes * 60 / (length * stream.time_base)), 1)):
            for packet, (pts, dts, _) in zip(packets, stamps, strict=True):
                packet.stream, packet.time_base = copy, stream.time_base
                packet.pts, packet.dts = pts + turn * length, dts + turn * length
                output.mux(packet)


def measure_memory(clip: Clip, minutes: list[float]) -> None:
    """Print the peak memory of a fresh process for each length."""
    peaks = []
    for length in minutes:
        with tempfile.TemporaryDirectory() as folder:
            looped = Path(folder) / "looped.mp4"
            loop_clip(clip, length, looped)
            start = time.perf_counter()
            answer = subprocess.run(
                [sys.executable, __file__, "--clip", str(looped), "--peak"],
                check=True,
                capture_output=True,
                text=True,
            )
            frames, peak = answer.stdout.split()
        peaks.append(float(peak))
        rate = int(frames) / (time.perf_counter() - start)
        print(f"{length:5.0f} min, {frames:>7} frames: peak {peaks[-1]:6.0f} MB, {rate:.0f}/s")
    print(f"the longest takes {peaks[-1] - peaks[0]:+.0f} MB against the shortest")


def peak_memory() -> float:
    """Most megabytes that this process ever held."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: on Linux that of the process which started this one counts in it.
        (line,) = (row for row in status.read_text().splitlines() if row.startswith("VmHWM"))
        return int(line.split()[1]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes on macOS


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip", help="a video; the sample clip by default")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument("--workers", type=int, default=joblib.cpu_count(), help="processes")
    parser.add_argument("--memory", action="store_true", help="measure memory, not speed")
    parser.add_argument("--minutes", type=float, nargs="+", default=[5, 60])
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    clip = ek.open_clip(options.clip) if options.clip else ek.sample_clip()
    if options.peak:
        frames = read_in_one_pass(clip)
        print(frames, peak_memory())
        return
    print(f"{clip}; {os.cpu_count()} cores, {platform.machine()}, Python {sys.version.split()[0]}")
    if options.memory:
        measure_memory(clip, options.minutes)
    else:
        measure_speed(clip, options.rounds, options.workers)


if __name__ == "__main__":
    main()
