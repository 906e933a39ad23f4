"""Copies for browsers: when they are made, and that nothing moves in them."""

import os
import time

import av
import numpy as np
import pytest
from browser import find_video, simulate_face
from test_clip import set_display_rotation, write_video

import emokit as ek
from emokit.widgets import proxy


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setattr(proxy.pooch, "os_cache", lambda name: str(folder / name))
    return folder / "emokit" / "proxies"


def make(clip):
    return ek.open_clip(proxy.make_proxy(clip, progress=False))


@pytest.fixture
def old_codec(tmp_path):
    """A clip in MPEG-4 part 2 of a varying rate, whose sound starts after its picture."""
    times = np.array([0.0, 0.04, 0.08, 0.2, 0.5, 0.54, 0.9])
    return ek.open_clip(write_video(tmp_path / "old.mp4", times, codec="mpeg4", sound_at=0.25))


def test_what_browsers_play_is_left_alone(tmp_path, cache):
    path = write_video(tmp_path / "new.mp4", np.arange(5) / 10, sound_at=0.0)
    assert not proxy.needs_proxy(ek.open_clip(path))
    player = ek.play(simulate_face(np.arange(5) / 10), clip=path)
    assert player._media == path
    player.close()
    assert not cache.exists()


@pytest.mark.parametrize("name", ["face_noface.mov", "noface_face.mov"])
def test_hevc_is_copied_frame_by_frame(name):
    clip = ek.open_clip(find_video(name))
    assert proxy.needs_proxy(clip)
    copy = make(clip)
    assert copy.codec == "h264" and not proxy.needs_proxy(copy)
    np.testing.assert_allclose(copy.frame_times, clip.frame_times, atol=1e-4)
    assert copy.size == clip.size


def test_a_real_clip_in_an_old_codec_keeps_its_picture_and_sound(weekly_address):
    clip = ek.open_clip(weekly_address)
    copy = make(clip)
    np.testing.assert_allclose(copy.frame_times, clip.frame_times, atol=1e-4)
    here, there = (next(c.frames(times=[4]))[1].astype(int) for c in (clip, copy))
    assert np.abs(here - there).mean() < 4
    heard, again = (c.audio() for c in (clip, copy))
    n = min(heard.size, again.size)
    assert n > 0.99 * heard.size
    assert np.corrcoef(heard[:n], again[:n])[0, 1] > 0.95


def test_a_varying_rate_and_a_late_sound_keep_their_times(old_codec):
    copy = make(old_codec)
    np.testing.assert_allclose(copy.frame_times, old_codec.frame_times, atol=1e-4)
    loud = [np.abs(c.audio()) > 0.1 for c in (old_codec, copy)]
    starts = [float(sound["time"][np.argmax(sound.values)]) for sound in loud]
    assert starts[1] == pytest.approx(starts[0], abs=0.03)
    assert starts[0] > 0.2


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_clip_that_a_phone_turned_stands_upright(tmp_path, degrees):
    path = write_video(tmp_path / "phone.mp4", np.arange(4) / 10, codec="mpeg4")
    set_display_rotation(path, degrees)
    clip = ek.open_clip(path)
    copy = make(clip)
    assert copy.size == clip.size == ((48, 64) if degrees != 180 else (64, 48))
    assert copy.path != path
    _, here = next(clip.frames())
    _, there = next(copy.frames())
    assert np.abs(here.astype(int) - there).mean() < 8
    with av.open(str(copy.path)) as container:
        assert next(container.decode(video=0)).rotation == 0


def test_odd_and_large_pictures_become_even_and_smaller():
    frames = np.zeros((2, 2001, 3001, 3), np.uint8)
    copy = make(ek.Clip.from_frames(frames, [0.0, 0.1]))
    assert copy.size == (1920, 1280)
    assert make(ek.Clip.from_frames(frames[:, :33, :45], [0.0, 0.1])).size == (44, 32)


def test_frames_in_memory_and_folders_of_images_play(tmp_path, feat_data):
    photograph = (feat_data / "0-f1-su-ph.jpg").read_bytes()
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(photograph)
    clip = ek.open_clip(tmp_path, fps=10)
    player = ek.play(simulate_face(clip.frame_times), clip=clip, progress=False)
    assert player._layout["media"]["kind"] == "video"
    assert player._layout["media"]["type"] == "video/mp4"
    np.testing.assert_allclose(ek.open_clip(player._media).frame_times, [0, 0.1, 0.2], atol=1e-4)
    player.close()


def test_a_copy_is_made_once_and_kept_under_the_hash_of_its_source(old_codec, cache):
    first = proxy.make_proxy(old_codec, progress=False)
    made = first.stat().st_ino
    again = proxy.make_proxy(ek.open_clip(old_codec.path), progress=False)
    assert (again, again.stat().st_ino) == (first, made)
    assert old_codec.sha256.startswith(first.stem)
    assert list(cache.iterdir()) == [first]


def test_the_cache_lets_go_of_what_was_not_used_for_longest(old_codec, cache, monkeypatch):
    cache.mkdir(parents=True)
    day = 86_400
    for name, age in (("a.mp4", 3 * day), ("b.m4a", 2 * day), ("c.mp4", 60)):
        (cache / name).write_bytes(bytes(1000))
        now = time.time()
        os.utime(cache / name, (now - age, now - age))
    size = proxy.make_proxy(old_codec, progress=False).stat().st_size
    assert len(list(cache.iterdir())) == 4  # there is room for all
    proxy.make_proxy(old_codec, progress=False).unlink()
    monkeypatch.setattr(proxy, "CACHE_LIMIT", size + 2500)
    made = proxy.make_proxy(old_codec, progress=False)
    assert sorted(p.name for p in cache.iterdir()) == sorted(["b.m4a", "c.mp4", made.name])
    made.unlink()
    monkeypatch.setattr(proxy, "CACHE_LIMIT", 0)
    made = proxy.make_proxy(old_codec, progress=False)
    # What may still be playing stays, whatever the limit.
    assert sorted(p.name for p in cache.iterdir()) == sorted(["c.mp4", made.name])


def test_a_copy_that_fails_leaves_nothing_behind_and_the_message_stays(
    old_codec, cache, monkeypatch
):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(proxy, "_picture_frame", fail)
    with pytest.raises(ek.ClipError, match=r"no copy of old\.mp4 for browsers.*disk full"):
        proxy.make_proxy(old_codec, progress=False)
    assert list(cache.iterdir()) == []
    player = ek.play(simulate_face(old_codec.frame_times), clip=old_codec, progress=False)
    assert player._media == old_codec.path
    assert player._layout["media"]["codec"] == "mpeg4"
    player.close()


def test_the_player_says_that_it_shows_a_copy(old_codec):
    player = ek.play(simulate_face(old_codec.frame_times), clip=old_codec, progress=False)
    assert player._layout["note"].endswith("The picture is an H.264 copy of mpeg4.")
    assert player._layout["media"]["name"] == "old.mp4"
    np.testing.assert_array_equal(
        np.frombuffer(player._arrays["frame.time"]["data"]), old_codec.frame_times
    )
    player.close()
    plain = ek.play(simulate_face(old_codec.frame_times), clip=old_codec, proxy=False)
    assert plain._media == old_codec.path
    plain.close()
