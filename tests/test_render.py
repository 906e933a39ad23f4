"""Videos of results: the right frames at the right times, sound, boxes, timelines."""

import av
import numpy as np
import pytest
import xarray as xr
from browser import add_evidence, find_video, simulate_face, simulate_result
from test_clip import write_video

import emokit as ek


def frames_of(path):
    clip = ek.open_clip(path)
    return clip, list(clip.frames())


def tree_of(clip, faces=1):
    face = simulate_face(clip.frame_times, faces)
    return xr.DataTree.from_dict({"/face": face.drop_vars("face_box")})


def test_each_frame_is_the_one_that_was_on_the_screen_at_a_varying_rate(tmp_path):
    times = np.array([0.0, 0.04, 0.08, 0.2, 0.5, 0.54, 0.9, 1.3, 1.34])
    source = ek.open_clip(write_video(tmp_path / "v.mp4", times, size=(640, 360)))
    path = ek.render(
        tree_of(source), tmp_path / "out.mp4", clip=source, tracks=[], fps=25, progress=False
    )
    shown, frames = frames_of(path)
    assert frames[-1][0] > 1.33
    for time, frame in frames:
        number = np.searchsorted(times, time + 0.02 + 1e-6, side="right") - 1
        assert frame[300, 500].mean() == pytest.approx(10 * number, abs=3), time
    np.testing.assert_allclose(np.diff(shown.frame_times), 0.04, atol=1e-6)


def test_at_the_clips_own_rate_every_frame_comes_once(tmp_path):
    source = ek.open_clip(write_video(tmp_path / "c.mp4", np.arange(20) / 25, size=(640, 360)))
    path = ek.render(tree_of(source), tmp_path / "out.mp4", clip=source, tracks=[], progress=False)
    _, frames = frames_of(path)
    grey = [frame[300, 500].mean() for _, frame in frames]
    np.testing.assert_allclose(grey, 10 * np.arange(20), atol=3)


def test_a_real_clip_of_a_varying_rate_and_late_sound(tmp_path, feat_data):
    source = ek.open_clip(feat_data / "face_noface.mov")
    start, end = 2.0, 3.2
    path = ek.render(
        tree_of(source),
        tmp_path / "out.mp4",
        clip=source,
        tracks=["emotion"],
        start=start,
        end=end,
        progress=False,
    )
    shown, frames = frames_of(path)
    assert shown.duration == pytest.approx(end - start, abs=0.06)
    assert shown.codec == "h264" and shown.has_audio
    time, frame = frames[len(frames) // 2]
    rate = 1 / np.median(np.diff(shown.frame_times))
    _, original = next(source.frames(times=[start + time + 0.5 / rate]))
    height = round(source.size[1] * frame.shape[1] / source.size[0] / 2) * 2
    small = np.asarray(_resize(original, (frame.shape[1], height)))
    assert np.abs(frame[:height].astype(int) - small).mean() < 6
    here, there = source.audio(), shown.audio()
    first = float(here["time"][0])
    assert first > start + 0.3
    quiet = there.sel(time=slice(0, first - start - 0.05))
    assert np.abs(quiet).max() < 1e-3
    heard = there.sel(time=slice(first - start + 0.05, 1.1)).values
    wanted = here.sel(time=slice(first + 0.05, start + 1.1)).values[: heard.size]
    lags = range(-200, 201, 2)
    match = [np.corrcoef(wanted[400:-400], np.roll(heard, k)[400:-400])[0, 1] for k in lags]
    assert max(match) > 0.8 and abs(lags[int(np.argmax(match))]) < 0.01 * 16_000


def _resize(frame, size):
    from PIL import Image

    return Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR)


def test_boxes_and_meshes_stand_where_the_faces_are(tmp_path):
    clip = ek.Clip.from_frames(np.full((5, 360, 640, 3), 90, np.uint8), np.arange(5) / 25)
    result = xr.DataTree.from_dict({"/face": simulate_face(clip.frame_times, 2)})
    given = {"clip": clip, "tracks": [], "progress": False}
    _, plain = frames_of(ek.render(result, tmp_path / "a.mp4", **given))
    _, meshed = frames_of(ek.render(add_evidence(result), tmp_path / "b.mp4", mesh=True, **given))
    frame = plain[2][1].astype(int)
    # Face 0 is simulated from x = 231, y = 48, face 1 at x = 50; each 150 wide, 190 high.
    assert frame[140, 229:234].max() > 170 and frame[140, 300].max() < 110
    assert frame[140, 229:234, 0].max() - frame[140, 229:234, 2].min() > 60  # the chosen one
    assert np.abs(meshed[2][1].astype(int) - frame)[60:230, 240:375].max() > 40


def test_timelines_have_a_playhead_that_moves_with_the_time(tmp_path):
    result = simulate_result(find_video())
    path = ek.render(
        result, tmp_path / "a.mp4", start=4, end=8, fps=5, tracks=["affect"], progress=False
    )
    clip, frames = frames_of(path)
    assert len(frames) == 20 and clip.size[1] > 460

    def playhead(frame):
        strip = frame[370:440].astype(int)
        red = (strip[..., 0] - strip[..., 1:].max(-1)) > 60
        return int(red.sum(0).argmax())

    places = [playhead(frame) for _, frame in frames]
    steps = np.diff(places)
    assert steps.min() > 0 and np.ptp(steps) <= 2
    with av.open(str(path)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"


def test_tracks_of_spans_and_units_are_drawn(tmp_path):
    result = simulate_result(find_video())
    result["events"] = xr.DataTree(
        xr.Dataset({"onset": ("event", [4.1]), "offset": ("event", [4.6])})
    )
    path = ek.render(
        result,
        tmp_path / "a.mp4",
        start=4,
        end=4.4,
        fps=5,
        tracks=["events", "action_units", "voice"],
        progress=False,
    )
    assert ek.open_clip(path).size[1] > 360 + 400
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(
    ("args", "error", "words"),
    [
        ({"path": "a.avi"}, ValueError, r"path must end in \.mp4"),
        ({"path": "nowhere/a.mp4"}, ValueError, "folder that exists"),
        ({"start": 5, "end": 4}, ValueError, "start and end must lie in 0 to 19"),
        ({"end": 99}, ValueError, "start and end"),
        ({"tracks": ["mood"]}, ValueError, "that result has: action_units, .*got 'mood'"),
        ({"tracks": "voice"}, TypeError, "tracks must be a list"),
        ({"face": "Ada"}, ValueError, "face must be one of face_0; got 'Ada'"),
        ({"fps": 0}, ValueError, "fps must be a number"),
        ({"clip": "gone.mp4"}, ek.ClipError, "gone"),
    ],
)
def test_what_cannot_be_rendered_is_refused_and_nothing_is_written(tmp_path, args, error, words):
    given = {"path": "out.mp4", **args}
    with pytest.raises(error, match=words):
        ek.render(
            simulate_result(find_video()), tmp_path / given.pop("path"), progress=False, **given
        )
    assert list(tmp_path.iterdir()) == []


def test_a_video_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr("moviepy.VideoClip.write_videofile", fail)
    with pytest.raises(OSError, match=r"a\.mp4 could not be written: disk full"):
        ek.render(simulate_result(find_video()), path, end=1, progress=False)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(ek.ClipError, match="does not name its clip"):
        ek.render(xr.DataTree(), path)
    with pytest.raises(TypeError, match="result must be a DataTree"):
        ek.render(simulate_face(np.arange(3) / 10), path)
