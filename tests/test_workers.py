"""Parts of a clip read side by side give what one process gives."""

import os
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
import xarray as xr
from PIL import Image

import emokit as ek
from emokit import pipeline
from emokit.faces import FaceSearch
from emokit.workers import choose_workers


@pytest.fixture(scope="module")
def two_shots(feat_data, tmp_path_factory):
    """Six seconds: a man, then at the same place a woman, from a key frame on."""
    man = next(ek.open_clip(feat_data / "single_face.mp4").frames(fit=480))[1]
    other = Image.open(feat_data / "0-f15-hao-ph.jpg").convert("RGB")
    height, width = (size - size % 2 for size in man.shape[:2])
    other = other.resize((round(other.width * height / other.height), height))
    placed = Image.new("RGB", (width, height), "teal")
    placed.paste(other, ((width - other.width) // 2, 0))
    woman = np.asarray(placed)
    path = tmp_path_factory.mktemp("clips") / "two shots.mp4"
    with av.open(str(path), "w") as output:
        # Key frames at 0, 3 and 6 s, and nowhere else.
        options = {"g": "75", "sc_threshold": "0", "keyint_min": "75"}
        stream = output.add_stream("h264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for row in range(160):
            shot = man[:height, :width] if row < 75 else woman
            frame = av.VideoFrame.from_ndarray(np.roll(shot, row % 3, axis=1), "rgb24")
            frame.pts, frame.time_base = row, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def test_no_value_depends_on_the_number_of_processes(two_shots):
    clip = ek.open_clip(two_shots)
    assert FaceSearch(clip).n_parts == 3
    alone, together = (
        ek.analyze(clip, workers=workers, landmarks=True, progress=False) for workers in (1, 2)
    )
    xr.testing.assert_equal(together["face"].to_dataset(), alone["face"].to_dataset())
    seen = np.isfinite(alone["face"]["au"].sel(action_unit="AU12").values)
    assert seen.shape == (160, 2)
    # The cut lies between two parts.
    rows = sorted(np.flatnonzero(column).tolist() for column in seen.T)
    assert rows == [list(range(75)), list(range(75, 160))]


def test_the_sample_clip_too(sample):
    together = ek.analyze(ek.sample_clip(), workers=2, progress=False)
    xr.testing.assert_equal(together["face"].to_dataset(), sample["face"].to_dataset())


def compare(clip, **options):
    """One process, two, and the single stages."""
    alone, together = (
        ek.analyze(clip, workers=workers, progress=False, **options)["face"].to_dataset()
        for workers in (1, 2)
    )
    xr.testing.assert_equal(together, alone)
    faces = ek.detect_faces(clip, progress=False, **options)
    units = ek.extract_action_units(clip, faces, progress=False)
    for stage in (faces, units):
        for name in stage.data_vars:
            xr.testing.assert_equal(alone[name], stage[name])
    return alone


@pytest.mark.parametrize("damage", ["bits", "zeros"])
def test_a_damaged_key_frame_reads_the_same_for_all(damage, two_shots, tmp_path):
    data = bytearray(two_shots.read_bytes())
    with av.open(str(two_shots)) as video:
        second = [packet for packet in video.demux(video=0) if packet.is_keyframe][1]
        start, stop = second.pos, second.pos + second.size
    if damage == "bits":
        for place in range(start + 200, stop, 50):
            data[place] ^= 0x5A
    else:
        data[start + 4 : stop] = bytes(stop - start - 4)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    compare(ek.open_clip(path))


def test_who_stops_where_a_part_begins_reads_the_same_for_all(feat_data, tmp_path):
    """What a track did in the part before tells who is who, not where the mesh lies."""
    man = next(ek.open_clip(feat_data / "single_face.mp4").frames(fit=320))[1]
    height, width = (size - size % 2 for size in man.shape[:2])
    path = tmp_path / "stops.mp4"
    with av.open(str(path), "w") as output:
        options = {"g": "75", "sc_threshold": "0", "keyint_min": "75"}
        stream = output.add_stream("h264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 3 * width, height, "yuv420p"
        for row in range(150):
            picture = np.full((height, 3 * width, 3), 90, np.uint8)
            left = round(np.interp(row, [0, 50, 76], [0.3 * width, 0.3 * width, 1.8 * width]))
            picture[:, left : left + width] = man[:height, :width]
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = row, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    face = compare(ek.open_clip(path), fps=6.25)
    assert face["face_score"].notnull().any("face").mean() > 0.5


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_is_replaced_meanwhile(workers, two_shots, tmp_path, monkeypatch):
    path = tmp_path / "clip.mp4"
    path.write_bytes(two_shots.read_bytes())
    clip = ek.open_clip(path)
    open_reader = pipeline.open_reader

    def write(more):
        def reader(*args, **kwargs):
            path.write_bytes(two_shots.read_bytes() + more)
            return open_reader(*args, **kwargs)

        monkeypatch.setattr("emokit.pipeline.open_reader", reader)

    write(b"")  # anew, with what was in it
    assert ek.analyze(clip, fps=3, workers=workers, progress=False).attrs["source_sha256"]
    write(b" ")
    with pytest.raises(ek.ClipError, match="has changed since it was opened"):
        ek.analyze(clip, fps=3, workers=workers, progress=False)


def test_a_process_that_the_system_ends(two_shots, monkeypatch):
    monkeypatch.setattr("emokit.workers._read_part", lambda *_: os._exit(1))
    with pytest.raises(RuntimeError, match="workers=1"):
        ek.analyze(two_shots, workers=2, progress=False)
    monkeypatch.undo()
    assert ek.analyze(two_shots, fps=3, workers=2, progress=False)["face"].sizes["time"] > 10


def test_processes_that_stay_find_a_clip_by_its_relative_path(two_shots, tmp_path, monkeypatch):
    ek.analyze(two_shots, workers=2, fps=5, progress=False)  # they started in another folder
    (tmp_path / "clip.mp4").write_bytes(two_shots.read_bytes())
    monkeypatch.chdir(tmp_path)
    result = ek.analyze("clip.mp4", workers=2, fps=5, progress=False)
    assert result["face"]["face_score"].notnull().any("face").all()


def test_what_cannot_be_read_in_parts_is_read_at_once(feat_data):
    frames = np.zeros((400, 36, 64, 3), np.uint8)
    clip = ek.Clip.from_frames(frames, np.arange(400) / 25)
    assert choose_workers(FaceSearch(clip), 8) == 1


def test_processes_are_started_where_they_are_worth_it(monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 4)
    assert choose_workers(FaceSearch(ek.sample_clip())) == 1
    monkeypatch.setattr("emokit.workers._WORTH_IT", 300)
    clip = ek.sample_clip()
    assert choose_workers(FaceSearch(clip)) == 4
    assert choose_workers(FaceSearch(clip), 2) == 2
    assert choose_workers(FaceSearch(clip, fps=4)) == 1


@pytest.mark.parametrize("workers", [0, -1, 2.5, "2", True])
def test_wrong_numbers(workers):
    with pytest.raises((TypeError, ValueError), match="workers"):
        ek.analyze(ek.sample_clip(), workers=workers)


def test_a_script_needs_no_guard(two_shots, tmp_path):
    """Processes do not run the script that starts them."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, emokit as ek\n"
        "result = ek.analyze(sys.argv[1], workers=2, fps=10, progress=False)\n"
        "print('rows', result['face'].sizes['time'])\n"
    )
    answer = subprocess.run(
        [sys.executable, str(script), str(two_shots)], check=True, capture_output=True, text=True
    )
    assert answer.stdout.split() == ["rows", "64"]
