"""Blinks, closed eyes and gaze."""

import numpy as np
import pytest

import emokit as ek
from emokit.eyes import find_gaze, separate_blinks


def read(clip):
    faces = ek.detect_faces(clip, progress=False)
    return ek.extract_action_units(clip, faces, progress=False)


@pytest.fixture(scope="module")
def speaker(weekly_address):
    return read(ek.open_clip(weekly_address)).squeeze("face")


class TestBlinks:
    time = np.arange(100) / 25

    def lids(self, *spans, time=time, rest=0.24, down=0.02):
        """Opening that goes down in spans of seconds, and how far it counts as closed."""
        opening = np.full(len(time), rest)
        for start, end in spans:
            opening[(time >= start - 1e-9) & (time < end - 1e-9)] = down
        return opening, ((0.12 - opening) / 0.08).clip(0, 1)

    def test_short_closures_are_blinks_and_long_ones_closed_eyes(self):
        held, blinks = separate_blinks(self.time, *self.lids((0.4, 0.6), (2.0, 3.2)))
        np.testing.assert_array_equal(blinks, (self.time >= 0.4) & (self.time < 0.6))
        np.testing.assert_array_equal(held, (self.time >= 2) & (self.time < 3.2))

    @pytest.mark.parametrize("seconds", [0.6, 1, 2, 3.5])
    def test_no_part_of_a_long_closure_is_a_blink(self, seconds):
        time = np.arange(250) / 25
        held, blinks = separate_blinks(time, *self.lids((4, 4 + seconds), time=time))
        assert blinks.max() == 0
        assert held.sum() == pytest.approx(seconds * 25, abs=1)

    def test_a_lowered_lid_is_no_blink(self):
        held, blinks = separate_blinks(self.time, *self.lids((1, 1.2), down=0.15))
        assert held.max() == 0
        assert blinks.max() == 0

    def test_lids_that_the_network_leaves_ajar_have_blinked(self):
        _, blinks = separate_blinks(self.time, *self.lids((1, 1.2), down=0.11))
        assert blinks[25:30].min() > 0.5

    def test_unseen_rows_stay_unseen_and_end_a_closure(self):
        opening, closed = self.lids((1.0, 1.2), (1.4, 2.4))
        opening[30:35] = closed[30:35] = np.nan  # 1.2 to 1.4 s
        held, blinks = separate_blinks(self.time, opening, closed)
        assert np.isnan(held[30:35]).all()
        assert np.isnan(blinks[30:35]).all()
        assert blinks[27] == 1
        assert held[40] == 1

    def test_time_decides_not_the_number_of_frames(self):
        time = np.cumsum(np.where(np.arange(100) < 50, 0.04, 0.12))
        opening, closed = self.lids(time=time)
        for rows in (slice(10, 17), slice(70, 77)):  # 0.28 s, 0.84 s
            opening[rows], closed[rows] = 0.02, 1
        held, blinks = separate_blinks(time, opening, closed)
        assert blinks[10:17].all()
        assert held[70:77].all()
        assert not blinks[70:77].any()

    def test_single_frames_cannot_tell(self):
        for time in ([0.0], [0.0, 1.0, 2.0]):
            opening, closed = self.lids((0.0, 0.5), time=np.array(time))
            held, blinks = separate_blinks(np.array(time), opening, closed)
            np.testing.assert_array_equal(held, closed)
            assert np.isnan(blinks).all()

    def test_speaker_blinks_and_does_not_close_her_eyes(self, speaker):
        au = speaker["au"]
        blinks = (au.sel(action_unit="AU45") > 0.3).values.astype(int)
        assert 3 <= (np.diff(blinks) == 1).sum() <= 12  # in eight seconds
        assert au.sel(action_unit="AU43").mean() < 0.05

    def test_eyes_closed_in_tears_are_no_blinks(self, sample):
        au = sample["face"]["au"].sel(face="face_0", time=slice(1.5, 3.5))
        assert au.sel(action_unit="AU43").mean() > 0.9
        assert au.sel(action_unit="AU45").max() == 0


class TestGaze:
    def seen(self, gaze, pose):
        """What a camera sees of an eyeball: degrees to where the iris stands."""
        up, right = np.sin(np.radians(gaze)).T
        lean, turn = np.sin(np.radians(pose[:, :2])).T
        # The middle between the corners lies in front of the eye's centre, and turns with
        # the head; the iris stands on the eyeball where it looks.
        return np.stack([-(0.376 * right - 0.13 * turn), 0.376 * up - 0.13 * lean + 0.075], 1)

    def test_known_directions(self):
        rng = np.random.default_rng(0)
        gaze, pose = rng.uniform(-30, 30, (50, 2)), rng.uniform(-25, 25, (50, 3))
        found = find_gaze(self.seen(gaze, pose), pose, np.zeros(50))
        np.testing.assert_allclose(found[:, :2], gaze, atol=1e-6)
        assert np.isnan(found[:, 2]).all()

    def test_closed_eyes_look_nowhere(self):
        found = find_gaze(np.zeros((2, 2)), np.zeros((2, 3)), np.array([0.2, 0.9]))
        assert np.isfinite(found[0, :2]).all()
        assert np.isnan(found[1]).all()

    def test_speaker_looks_into_the_camera(self, speaker):
        """Her head turns to and fro, her eyes stay."""
        yaw = speaker["gaze"].sel(angle="yaw")
        assert abs(yaw.median()) < 5
        assert yaw.std() < 0.6 * speaker["head_pose"].sel(angle="yaw").std()
        assert abs(speaker["gaze"].sel(angle="pitch").median()) < 8

    def test_looks_aside_in_the_sample_clip(self, sample):
        gaze = sample["face"]["gaze"].sel(face="face_0")
        yaw = gaze.sel(angle="yaw")
        assert yaw.sel(time=slice(6.9, 7.1)).mean() > 15
        assert yaw.sel(time=slice(15.4, 15.6)).mean() < -8

    def test_mirrored_eyes_look_the_other_way(self):
        _, frame = next(ek.sample_clip().frames(times=[15.5]))
        there, back = (
            read(ek.Clip.from_frames(np.ascontiguousarray(f)[None], [0.0]))["gaze"].squeeze()
            for f in (frame, frame[:, ::-1])
        )
        assert there.sel(angle="yaw") < -8
        assert back.sel(angle="yaw") == pytest.approx(-there.sel(angle="yaw").item(), abs=5)
        assert back.sel(angle="pitch") == pytest.approx(there.sel(angle="pitch").item(), abs=5)
