import shutil
import subprocess
import warnings
from fractions import Fraction

import av
import numpy as np
import pytest

import emokit as ek


def write_video(path, times, *, rotation=0, size=(64, 48), codec="libx264", sound_at=None):
    """Frames whose grey level is their number; time base 1/1000."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=1000)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        stream.options = {"crf": "1", "bf": "2"}
        if sound_at is not None:
            sound = output.add_stream("aac", rate=16000, layout="mono")
        for number, time in enumerate(times):
            array = np.full((size[1], size[0], 3), 10 * number, np.uint8)
            array[: size[1] // 2, : size[0] // 2] = 255
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if sound_at is not None:
            tone = np.sin(np.arange(16000) / 16000 * 2 * np.pi * 440).astype(np.float32)[None]
            for start in range(0, 16000, 1024):
                part = av.AudioFrame.from_ndarray(tone[:, start : start + 1024], "fltp", "mono")
                part.sample_rate, part.pts = 16000, start + round(sound_at * 16000)
                part.time_base = Fraction(1, 16000)
                output.mux(sound.encode(part))
            output.mux(sound.encode(None))
    return path


class TestTimes:
    def test_delayed_frames_in_avi_keep_their_order(self, tmp_path):
        """AVI has the times at which to decode: frames come with each other's."""
        frames = [frame for _, frame in ek.sample_clip().frames(np.arange(0, 4, 0.04), fit=320)]
        height, width = (size - size % 2 for size in frames[0].shape[:2])
        with av.open(str(tmp_path / "a.avi"), "w") as output:
            stream = output.add_stream("libx264", rate=25, options={"bf": "2", "b_strategy": "0"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for frame in frames:
                picture = np.ascontiguousarray(frame[:height, :width])
                output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            output.mux(stream.encode())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            clip = ek.open_clip(tmp_path / "a.avi")
        found = [frame for _, frame in clip.frames()]
        assert len(found) == len(clip.frame_times) == len(frames)
        for one, other in zip(found, frames, strict=True):
            assert np.abs(one.astype(int) - other[:height, :width]).mean() < 4

    def test_sample_clip_has_the_timestamps_of_its_stream(self):
        clip = ek.sample_clip()
        with av.open(str(clip.path)) as container:
            shown = [frame.time for frame in container.decode(video=0)]
        assert len(clip.frame_times) == 472
        np.testing.assert_allclose(clip.frame_times, shown, atol=1e-9)
        assert clip.frame_times.dtype == np.float64

    def test_variable_rate_and_start_offset_are_kept(self, tmp_path):
        times = [0.5, 0.54, 0.7, 0.71, 1.5]
        clip = ek.open_clip(write_video(tmp_path / "v.mkv", times))
        np.testing.assert_allclose(clip.frame_times, times, atol=1e-9)
        np.testing.assert_allclose([time for time, _ in clip.frames()], times, atol=1e-9)

    def test_real_variable_rate_clip_with_late_sound(self, feat_data):
        clip = ek.open_clip(feat_data / "face_noface.mov")
        with av.open(str(clip.path)) as container:
            shown = [frame.time for frame in container.decode(video=0)]
        np.testing.assert_allclose(clip.frame_times, shown, atol=1e-9)
        assert np.diff(clip.frame_times).std() > 1e-3
        assert clip.audio()["time"].values[0] == pytest.approx(2.430, abs=1e-3)

    def test_frames_that_an_edit_list_hides_are_not_rows(self, feat_data):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            clip = ek.open_clip(feat_data / "no_face.mp4")
        assert [time for time, _ in clip.frames()] == list(clip.frame_times)

    def test_times_pick_the_frame_on_screen(self, tmp_path):
        clip = ek.open_clip(write_video(tmp_path / "v.mp4", [0, 0.1, 0.2, 0.6, 0.7]))
        picked = [(time, int(frame[-1, -1, 0])) for time, frame in clip.frames([0.05, 0.25, 0.65])]
        assert [time for time, _ in picked] == pytest.approx([0, 0.2, 0.6])
        assert [level for _, level in picked] == pytest.approx([0, 20, 30], abs=2)

    def test_fps_picks_real_frames_nearest_to_the_grid(self):
        clip = ek.sample_clip()
        times = clip.select_times(fps=2)
        assert len(times) == 40
        assert set(times) <= set(clip.frame_times)
        np.testing.assert_allclose(np.diff(times), 0.5, atol=0.03)

    def test_more_frames_a_second_than_there_are_gives_all(self):
        clip = ek.sample_clip()
        assert np.array_equal(clip.select_times(fps=1000), clip.frame_times)

    def test_seeking_gives_the_same_frames_as_decoding_through(self):
        clip = ek.sample_clip()
        wanted = clip.frame_times[[3, 250, 251, 460]]
        through = dict(clip.frames())
        for time, frame in clip.frames(times=wanted):
            assert np.array_equal(frame, through[time])

    def test_a_container_that_cannot_seek_still_gives_every_frame(self, tmp_path):
        """MPEG-TS has no index: a jump may land behind the frame that was asked for."""
        with av.open(str(ek.sample_clip().path)) as source:
            path = tmp_path / "stream.ts"
            with av.open(str(path), "w") as output:
                stream = source.streams.video[0]
                copy = output.add_stream_from_template(stream)
                for packet in source.demux(stream):
                    if packet.dts is not None:
                        packet.stream = copy
                        output.mux(packet)
        clip = ek.open_clip(path)
        wanted = clip.frame_times[[5, 200, 201, 460]]
        through = dict(clip.frames())
        jumped = dict(clip.frames(times=wanted))
        assert list(jumped) == list(wanted)
        assert all(np.array_equal(jumped[time], through[time]) for time in wanted)

    def test_a_stream_that_starts_before_zero(self, tmp_path):
        """Streams cut out of longer ones may; every frame is still a row."""
        clip = ek.open_clip(write_video(tmp_path / "early.mkv", [0, 0.1, 0.2]))
        clip.frame_times = clip.frame_times - 2
        assert np.array_equal(clip.select_times(times=clip.frame_times), clip.frame_times)

    def test_no_times_are_no_frames(self):
        assert list(ek.sample_clip().frames(times=[])) == []

    @pytest.mark.parametrize("wrong", [{"times": [-1]}, {"times": [99]}, {"fps": 0}, {"fps": -3}])
    def test_impossible_requests_are_named(self, wrong):
        with pytest.raises(ValueError, match=r"times must|fps must"):
            list(ek.sample_clip().frames(**wrong))

    def test_times_and_fps_together_are_refused(self):
        with pytest.raises(ValueError, match="not both"):
            ek.sample_clip().select_times(times=[1], fps=2)


class TestPicture:
    @pytest.mark.parametrize("degrees", [90, 180, 270])
    def test_rotated_phone_clip_is_upright(self, tmp_path, degrees):
        plain = write_video(tmp_path / "plain.mp4", np.arange(5) / 10)
        turned = tmp_path / "turned.mp4"
        with av.open(str(plain)) as source, av.open(str(turned), "w") as output:
            stream = source.streams.video[0]
            copy = output.add_stream_from_template(stream)
            for packet in source.demux(stream):
                if packet.dts is not None:
                    packet.stream = copy
                    output.mux(packet)
        set_display_rotation(turned, degrees)
        clip = ek.open_clip(turned)
        _, upright = next(clip.frames())
        _, stored = next(ek.open_clip(plain).frames())
        # A player turns the stored picture clockwise by what the tag says.
        expected = np.rot90(stored, -degrees // 90)
        assert clip.size == expected.shape[1::-1]
        np.testing.assert_allclose(upright.astype(int), expected.astype(int), atol=3)

    def test_folder_of_images_in_the_order_of_their_numbers(self, tmp_path, feat_data):
        for number in (10, 9, 1):
            shutil.copy(feat_data / "0-f1-su-ph.jpg", tmp_path / f"frame{number}.jpg")
        shutil.copy(feat_data / "15-f13-anc-ph.jpg", tmp_path / "frame1.jpg")
        (tmp_path / "notes.txt").write_text("not an image")
        clip = ek.open_clip(tmp_path, fps=10)
        assert clip.size == (512, 512)
        np.testing.assert_allclose(clip.frame_times, [0, 0.1, 0.2])
        frames = [frame for _, frame in clip.frames()]
        assert not np.array_equal(frames[0], frames[1])
        assert np.array_equal(frames[1], frames[2])

    def test_images_of_different_sizes_are_refused(self, tmp_path, feat_data):
        shutil.copy(feat_data / "0-f1-su-ph.jpg", tmp_path / "1.jpg")
        shutil.copy(feat_data / "multi_face.jpg", tmp_path / "2.jpg")
        with pytest.raises(ek.ClipError, match=r"2\.jpg is 1000×667"):
            list(ek.open_clip(tmp_path).frames())

    def test_arrays(self):
        frames = np.random.default_rng(0).integers(0, 255, (3, 20, 30, 3)).astype(np.uint8)
        clip = ek.Clip.from_frames(frames, [0.1, 0.2, 0.5])
        assert clip.size == (30, 20)
        assert [time for time, _ in clip.frames()] == [0.1, 0.2, 0.5]
        assert all(np.array_equal(a, b) for (_, a), b in zip(clip.frames(), frames, strict=True))
        with pytest.raises(ek.ClipError, match="no sound"):
            clip.audio()

    @pytest.mark.parametrize(
        ("frames", "times"),
        [
            (np.zeros((2, 4, 4)), [0, 1]),
            (np.zeros((2, 4, 4, 3)), [0, 1]),
            (np.zeros((2, 4, 4, 3), np.uint8), [0]),
            (np.zeros((2, 4, 4, 3), np.uint8), [1, 0]),
            (np.zeros((2, 4, 4, 3), np.uint8), [0, np.nan]),
            (np.zeros((0, 4, 4, 3), np.uint8), []),
        ],
    )
    def test_wrong_arrays_are_refused(self, frames, times):
        with pytest.raises(ValueError, match=r"frames must|times must"):
            ek.Clip.from_frames(frames, times)


class TestSound:
    def test_start_offset_and_rate(self, tmp_path):
        path = write_video(tmp_path / "late.mkv", np.arange(20) / 10, sound_at=0.7)
        sound = ek.open_clip(path).audio(rate=8000)
        time = sound["time"].values
        assert time[0] == pytest.approx(0.7, abs=0.07)  # AAC fills up to one packet
        np.testing.assert_allclose(np.diff(time), 1 / 8000, rtol=1e-6)
        loud = time[np.abs(sound.values) > 0.5]
        assert loud[0] == pytest.approx(0.7, abs=0.01)
        assert sound.dtype == np.float32

    def test_sound_file_is_a_clip_without_picture(self, real_clips):
        clip = ek.open_clip(real_clips / "radio_speech.wav")
        assert not clip.has_video
        assert clip.has_audio
        assert clip.size is None
        assert clip.audio().sizes["time"] == pytest.approx(clip.duration * 16000, abs=2)
        with pytest.raises(ek.ClipError, match="no picture"):
            clip.frames()
        with pytest.raises(ek.ClipError, match="no picture"):
            ek.detect_faces(clip, progress=False)

    def test_cover_picture_of_a_sound_file_is_no_video(self, tmp_path, feat_data):
        if not shutil.which("ffmpeg"):
            pytest.skip("no ffmpeg to make a sound file with a cover")
        path = tmp_path / "song.mp3"
        command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-t", "1", "-i", "sine"]
        command += ["-i", str(feat_data / "0-f1-su-ph.jpg"), "-map", "0", "-map", "1"]
        command += ["-c:v", "copy", "-disposition:v", "attached_pic", str(path)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=30)
        assert not ek.open_clip(path).has_video

    @pytest.mark.parametrize("rate", [0, -1, 16000.5])
    def test_wrong_rate(self, rate):
        with pytest.raises((TypeError, ValueError), match="rate must"):
            ek.sample_clip().audio(rate=rate)


class TestBadFiles:
    def test_missing(self, tmp_path):
        with pytest.raises(ek.ClipError, match="there is no file or folder"):
            ek.open_clip(tmp_path / "nothing.mp4")

    def test_empty(self, tmp_path):
        (tmp_path / "empty.mp4").touch()
        with pytest.raises(ek.ClipError, match="empty"):
            ek.open_clip(tmp_path / "empty.mp4")

    def test_text(self, tmp_path):
        (tmp_path / "text.mp4").write_text("this is no video\n" * 100)
        with pytest.raises(ek.ClipError, match=r"text\.mp4 cannot be read.*Invalid data"):
            ek.open_clip(tmp_path / "text.mp4")

    def test_text_with_an_image_name(self, tmp_path):
        (tmp_path / "text.jpg").write_text("this is no image\n" * 100)
        with pytest.raises(ek.ClipError, match=r"text\.jpg cannot be read"):
            ek.open_clip(tmp_path / "text.jpg")

    def test_empty_folder(self, tmp_path):
        with pytest.raises(ek.ClipError, match="no image"):
            ek.open_clip(tmp_path)

    def test_truncated_without_index(self, tmp_path, feat_data):
        whole = (feat_data / "single_face.mp4").read_bytes()
        assert whole.index(b"moov") > len(whole) / 2
        (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ek.ClipError, match=r"cut\.mp4 cannot be read"):
            ek.open_clip(tmp_path / "cut.mp4")

    def test_truncated_with_index_is_read_as_far_as_it_goes(self, tmp_path):
        whole = ek.sample_clip().path.read_bytes()
        assert whole.index(b"moov") < 1000
        (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
        with pytest.warns(UserWarning, match="truncated"):
            clip = ek.open_clip(tmp_path / "cut.mp4")
        assert 100 < len(clip.frame_times) < 472
        read = [time for time, _ in clip.frames()]
        assert len(read) >= len(clip.frame_times) - 2

    def test_damaged_in_the_middle_keeps_every_row(self, tmp_path):
        data = bytearray(ek.sample_clip().path.read_bytes())
        middle = len(data) // 2
        data[middle : middle + 20_000] = bytes(20_000)
        (tmp_path / "hole.mp4").write_bytes(data)
        clip = ek.open_clip(tmp_path / "hole.mp4")
        faces = ek.detect_faces(clip, progress=False)
        assert faces.sizes["time"] == 472
        unread = faces["face_status"].values[:, 0] == ek.schema.FACE_STATUS.index(
            "unreadable_frame"
        )
        assert np.isnan(faces["face_box"].values[unread]).all()

    @pytest.mark.parametrize("name", ["Übung müde 表情.mp4", "-dash.mp4", "a:b.mp4", "100%d.mp4"])
    def test_unusual_names(self, tmp_path, monkeypatch, name, feat_data):
        shutil.copy(feat_data / "single_face.mp4", tmp_path / name)
        monkeypatch.chdir(tmp_path)
        assert len(ek.open_clip(name).frame_times) == 72


def set_display_rotation(path, degrees):
    """Write the rotation into the video track's header of an mp4, as phones do."""
    data = bytearray(path.read_bytes())
    matrices = {
        90: (0, 1, -1, 0),
        180: (-1, 0, 0, -1),
        270: (0, -1, 1, 0),
    }
    a, b, c, d = (value * 0x10000 for value in matrices[degrees])
    at = data.index(b"tkhd") + 4 + 40
    for offset, value in ((0, a), (4, b), (12, c), (16, d)):
        data[at + offset : at + offset + 4] = value.to_bytes(4, "big", signed=True)
    path.write_bytes(data)
