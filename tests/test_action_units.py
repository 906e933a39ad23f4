import json

import numpy as np
import pytest
import xarray as xr
from PIL import Image, ImageFilter
from scipy.spatial.transform import Rotation

import emokit as ek
from emokit.mesh import ActionUnitModel, Crop, align

NEEDED = "AU01 AU02 AU04 AU05 AU06 AU07 AU09 AU10 AU12 AU14 AU15 AU17 AU20 AU24 AU25 AU26 AU43"


def read(clip, **kwargs):
    faces = ek.detect_faces(clip, progress=False)
    return ek.extract_action_units(clip, faces, progress=False, **kwargs)


def test_units_and_range(sample):
    au = sample["face"]["au"]
    assert set(NEEDED.split()) <= set(au["action_unit"].values)
    values = au.values[np.isfinite(au.values)]
    assert values.min() >= 0
    assert values.max() <= 1


def test_laughter_pulls_the_lip_corners(sample):
    smile = sample["face"]["au"].sel(action_unit="AU12", face="face_0")
    laughing, crying = smile.sel(time=slice(16, 19)), smile.sel(time=slice(0, 8))
    assert laughing.mean() - crying.mean() > 0.2


def test_lids_close_over_the_tears_and_open_after(sample):
    closed = sample["face"]["au"].sel(action_unit="AU43", face="face_0")
    assert closed.sel(time=slice(1.5, 3.5)).mean() > 0.9
    assert closed.sel(time=slice(10, 15)).mean() < 0.05
    opening = sample["face"]["eye_opening"].sel(face="face_0")
    assert opening.sel(time=slice(10, 15)).mean() > opening.sel(time=slice(1.5, 3.5)).mean() + 0.1


def test_posed_surprise_against_posed_happiness(feat_data):
    surprise = read(ek.open_clip(feat_data / "0-f1-su-ph.jpg"))["au"].squeeze()
    happy = read(ek.open_clip(feat_data / "0-f15-hao-ph.jpg"))["au"].squeeze()
    for unit in ("AU01", "AU02", "AU26"):
        assert surprise.sel(action_unit=unit) > happy.sel(action_unit=unit) + 0.1
    assert happy.sel(action_unit="AU12") > surprise.sel(action_unit="AU12") + 0.2


def test_neutral_stranger_reads_low(feat_data):
    """The man of face_noface.mov looks into the camera with a resting face at first."""
    clip = ek.open_clip(feat_data / "face_noface.mov")
    faces = ek.detect_faces(clip, progress=False).sel(time=slice(0, 0.7))
    au = ek.extract_action_units(clip, faces, progress=False)["au"].mean(["time", "face"])
    assert au.mean() < 0.08
    # What is his own is not all known from one clip: the corners of his lips and his brows.
    assert au.max() < 0.35


def test_speech_parts_the_lips(weekly_address):
    au = read(ek.open_clip(weekly_address))["au"].squeeze("face")
    lips = au.sel(action_unit="AU25")
    assert lips.std() > 0.1
    assert au.sel(action_unit="AU12").mean() < 0.2


def test_turned_picture_gives_the_same_units(feat_data):
    """A crop is laid level with the eyes, so that a tilted head reads like a straight one."""
    _, frame = next(ek.open_clip(feat_data / "0-f15-hao-ph.jpg").frames())
    turned = np.asarray(Image.fromarray(frame).rotate(25, Image.Resampling.BICUBIC))
    straight, tilted = (
        read(ek.Clip.from_frames(f[None], [0.0]))["au"].drop_sel(action_unit="AU45").values.ravel()
        for f in (frame, turned)
    )
    assert np.abs(straight - tilted).max() < 0.25
    assert np.abs(straight - tilted).mean() < 0.05


@pytest.mark.parametrize(
    ("axis", "degrees", "expected"),
    [("x", 20, (-20, 0, 0)), ("y", 20, (0, -20, 0)), ("z", 20, (0, 0, 20))],
)
def test_head_pose_of_a_turned_reference(axis, degrees, expected):
    """About x by the right hand: the nose goes down. About y: to the viewer's right."""
    model = ActionUnitModel()
    turn = Rotation.from_euler(axis, degrees, degrees=True).as_matrix()
    turned = model._reference @ turn.T * (1, -1, -1)
    _, pose = model.read(turned[None])
    np.testing.assert_allclose(pose[0], expected, atol=1e-6)


def test_head_pose_of_a_turned_photograph(feat_data):
    """Turned counter-clockwise, the top of the head moves to the person's right."""
    _, frame = next(ek.open_clip(feat_data / "0-f15-hao-ph.jpg").frames())
    turned = np.asarray(Image.fromarray(frame).rotate(20, Image.Resampling.BICUBIC))
    straight, tilted = (
        read(ek.Clip.from_frames(f[None], [0.0]))["head_pose"].squeeze() for f in (frame, turned)
    )
    assert list(straight["angle"].values) == ["pitch", "yaw", "roll"]
    np.testing.assert_allclose((tilted - straight).values, [0, 0, 20], atol=3)
    mirrored = read(ek.Clip.from_frames(turned[None, :, ::-1], [0.0]))["head_pose"].squeeze()
    np.testing.assert_allclose(mirrored.sel(angle="roll"), -tilted.sel(angle="roll"), atol=3)


def test_landmarks_on_request(feat_data):
    clip = ek.open_clip(feat_data / "multi_face.jpg")
    faces = ek.detect_faces(clip, progress=False)
    with_points = ek.extract_action_units(clip, faces, landmarks=True, progress=False)
    plain = ek.extract_action_units(clip, faces, progress=False)
    assert "landmark_position" not in plain
    points = with_points["landmark_position"]
    assert points.dims == ("time", "face", "landmark", "space")
    nose = points.sel(landmark=1, space=["x", "y"]).values[0]
    box = faces["face_box"].values[0]
    assert (nose > box[:, :2]).all()
    assert (nose < box[:, :2] + box[:, 2:]).all()


def test_boxes_of_another_detector_are_enough(feat_data):
    """Without the detector's points the crop starts unlevelled, and levels itself."""
    clip = ek.open_clip(feat_data / "single_face.jpg")
    faces = ek.detect_faces(clip, progress=False)
    full = ek.extract_action_units(clip, faces, progress=False)["au"].values
    bare = ek.extract_action_units(clip, faces[["face_box"]], progress=False)["au"].values
    np.testing.assert_allclose(full, bare, atol=0.1)


def test_selected_rows_and_tracks(feat_data):
    clip = ek.open_clip(feat_data / "multi_face.jpg")
    faces = ek.detect_faces(clip, progress=False)
    every = ek.extract_action_units(clip, faces, progress=False)
    one = ek.extract_action_units(clip, faces.sel(face=["face_3"]), progress=False)
    np.testing.assert_allclose(one["au"].values[:, 0], every["au"].sel(face="face_3").values)


def test_input_is_not_changed_and_history_grows():
    clip = ek.sample_clip()
    faces = ek.detect_faces(clip, fps=1, progress=False)
    before = faces.copy(deep=True)
    aus = ek.extract_action_units(clip, faces, progress=False)
    assert faces.identical(before)
    steps = [entry["step"] for entry in json.loads(aus.attrs["history"])]
    assert steps == ["detect_faces", "extract_action_units"]


def test_every_problem_of_the_input_is_reported():
    clip = ek.sample_clip()
    faces = ek.detect_faces(clip, fps=1, progress=False)
    with pytest.raises(ValueError, match="model must be"):
        ek.extract_action_units(clip, faces, model="magic")
    with pytest.raises(ValueError, match="'face_box' is missing"):
        ek.extract_action_units(clip, faces.drop_vars("face_box"))
    with pytest.raises(ValueError, match="not frames of"):
        ek.extract_action_units(clip, faces.assign_coords(time=faces["time"].values + 0.01))
    with pytest.raises(TypeError, match="clip must be a Clip"):
        ek.extract_action_units("clip.mp4", faces)


class TestReliability:
    def test_every_unit_says_how_well_it_is_recovered(self, sample):
        for ds in (sample["face"].to_dataset(), ek.simulate_faces(duration=0, landmarks=False)):
            assert ds["trust"].dims == ds["noise"].dims == ("action_unit",)
            assert ((ds["trust"] > 0) & (ds["trust"] <= 1)).all()
            assert ((ds["noise"] > 0) & (ds["noise"] < 0.2)).all()
        assert ds["trust"].sel(action_unit="AU12") > ds["trust"].sel(action_unit="AU07")

    def test_stated_noise_is_met_on_new_people(self):
        people = ek.simulate_faces(n_faces=60, fps=10, landmarks=False, seed=77)
        error = (people["au"] - people["au_true"]).std(["time", "face"])
        ratio = error / people["noise"]
        assert 0.8 < ratio.median() < 1.25
        assert ((ratio > 0.5) & (ratio < 2)).all()

    def test_it_travels_with_the_units(self, sample, tmp_path):
        face = sample["face"].to_dataset()
        loaded = ek.load(ek.save(sample, tmp_path / "result.nc"))["face"].to_dataset()
        derived = {
            "load": loaded,
            "smooth": ek.smooth(face[["au"]]),
            "baseline": ek.remove_baseline(face),
            "align": ek.align_time(face[["au"]], np.arange(2, 15, 0.1)),
            "split": (split := ek.split_face(face, "face_0", time=9)),
            "merge": ek.merge_faces(split, {"face_1": "face_0"}),
        }
        for name, ds in derived.items():
            for coordinate in ("trust", "noise"):
                assert coordinate in ds.coords, name
                np.testing.assert_allclose(ds[coordinate], face[coordinate])
        ek.schema.validate(loaded, group="face", requires=["au"])
        assert "trust" not in ek.estimate_emotion(face)["valence"].coords

    def test_without_it_units_work_as_well(self, sample):
        bare = sample["face"].to_dataset().drop_vars(["trust", "noise"])
        assert ek.estimate_emotion(bare)["valence"].notnull().any()


class TestOwnFace:
    """What a person's face reads throughout is told from what the person shows."""

    @pytest.mark.parametrize(("duration", "most"), [(10, 0.02), (0, 0.07)])
    def test_strangers_at_rest_read_near_zero(self, duration, most):
        people = ek.simulate_faces(
            **{"n_faces": 60, "duration": duration, "au": {}, "identity": 1, "noise": 1},
            **{"landmarks": False, "fps": 10},
        )
        assert people["au"].drop_sel(action_unit="AU45").mean(["time", "face"]).max() < most

    def test_persons_own_reading_is_taken_away(self):
        """Against the same readings, settled without knowing who is whose."""
        people = ek.simulate_faces(n_faces=40, fps=10, seed=8)
        model, units = ActionUnitModel(), ["AU01", "AU04", "AU06", "AU10", "AU12", "AU15", "AU17"]
        points = people["landmark_position"].values.astype(float)
        plain = np.stack([model.raw(points[:, i])[0] for i in range(40)], 1)
        plain = people["au"].isel(action_unit=slice(20)).copy(data=plain.clip(0, 1))
        r = [
            xr.corr(
                *(a.sel(action_unit=units) for a in (read, people["au_true"])), ["time", "face"]
            )
            for read in (people["au"], plain)
        ]
        assert (r[0] > r[1]).all()
        assert (r[0] - r[1]).mean() > 0.05

    def test_a_lasting_smile_stays(self):
        for duration in (1, 10, 40):
            people = ek.simulate_faces(
                **{"n_faces": 20, "au": {"AU12": 0.5, "AU06": 0.4}, "duration": duration},
                **{"identity": 1, "noise": 1, "landmarks": False, "fps": 5},
            )
            assert 0.35 < people["au"].sel(action_unit="AU12").mean() < 0.6

    def test_unseen_rows_change_nothing(self):
        model, rng = ActionUnitModel(), np.random.default_rng(3)
        time, values = np.arange(50) / 5, rng.normal(0.1, 0.1, (50, 20))
        lids = np.tile([0.15, 0.09], (50, 1))
        seen = rng.random(50) < 0.6
        gappy = model.settle(
            time, *(np.where(seen[:, None], rows, np.nan) for rows in (values, lids))
        )
        np.testing.assert_allclose(gappy[seen], model.settle(time[seen], values[seen], lids[seen]))
        assert np.isnan(gappy[~seen]).all()
        nobody = model.settle(time, np.full((50, 20), np.nan), np.full((50, 2), np.nan))
        assert np.isnan(nobody).all()


class TestGeometry:
    rng = np.random.default_rng(1)

    def test_align_undoes_turn_scale_and_shift(self):
        reference = self.rng.normal(size=(468, 3))
        turn, _ = np.linalg.qr(self.rng.normal(size=(3, 3)))
        turn *= np.sign(np.linalg.det(turn))
        moved = 2.5 * reference @ turn.T + (3, -1, 7)
        aligned, found = align(moved[None], reference)
        np.testing.assert_allclose(aligned[0], reference, atol=1e-9)
        np.testing.assert_allclose(found[0], turn, atol=1e-9)

    def test_crop_returns_points_to_where_they_were(self):
        frame = np.zeros((200, 300, 3), np.uint8)
        frame[118:123, 168:173] = 255  # a dot around (170.5, 120.5)
        for angle in (0, 0.4, -1.2):
            crop = Crop((150.0, 110.0), 120.0, angle)
            cut = crop.cut(frame, 192)[..., 0].astype(float)
            rows, columns = np.indices(cut.shape) + 0.5
            at = np.array([(columns * cut).sum(), (rows * cut).sum()]) / cut.sum() / 192
            found = crop.to_frame(np.array([[*at, 0.0]]))[0]
            np.testing.assert_allclose(found[:2], (170.5, 120.5), atol=0.3)

    def test_crop_outside_the_frame_is_black(self):
        frame = np.full((50, 50, 3), 255, np.uint8)
        assert not Crop((500.0, 500.0), 40.0).cut(frame, 64).any()

    def test_large_faces_are_averaged_not_sampled(self):
        """A fine chequerboard is grey from afar; sampling single pixels would flicker."""
        board = (np.indices((1200, 1200)).sum(0) % 2 * 255).astype(np.uint8)
        cut = Crop((600.0, 600.0), 1000.0).cut(np.dstack([board] * 3), 192)
        assert np.abs(cut.astype(float) - 127.5).max() < 8

    def test_reference_face_reads_zero(self):
        model = ActionUnitModel()
        neutral = model._reference[None] * (1, -1, -1)
        raw = model.raw(neutral)[0][0]
        assert raw.max() < 0.1


@pytest.fixture(scope="module")
def photograph(feat_data):
    return Image.fromarray(next(ek.open_clip(feat_data / "0-f15-hao-ph.jpg").frames())[1])


class TestQuality:
    """A photograph made worse in one way at a time."""

    @staticmethod
    def judge(frame):
        found = read(ek.Clip.from_frames(frame[None], [0.0]))
        (index,) = found["quality_reason"].values.ravel()
        return float(found["face_quality"].squeeze()), ek.schema.QUALITY_REASON[index]

    def test_a_good_photograph_is_good(self, photograph):
        quality, reason = self.judge(np.asarray(photograph))
        assert quality > 0.6
        assert reason == "none"

    def test_blur(self, photograph):
        good, _ = self.judge(np.asarray(photograph))
        slight, _ = self.judge(np.asarray(photograph.filter(ImageFilter.GaussianBlur(1))))
        quality, reason = self.judge(np.asarray(photograph.filter(ImageFilter.GaussianBlur(10))))
        assert reason == "blurred"
        assert quality < 0.4 * good
        assert slight > 0.9 * good

    def test_small(self, photograph):
        small = Image.new("RGB", (300, 300))
        small.paste(photograph.reduce(12), (100, 100))
        quality, reason = self.judge(np.asarray(small))
        assert quality < 0.6
        assert reason in ("small", "blurred")

    def test_cut_off(self, photograph):
        faces = ek.detect_faces(
            ek.Clip.from_frames(np.asarray(photograph)[None], [0.0]), progress=False
        )
        x, _, width, _ = faces["face_box"].values[0, 0]
        cut = np.asarray(photograph)[:, int(x + 0.3 * width) :]
        quality, reason = self.judge(cut)
        assert quality < 0.7
        assert reason in ("cut_off", "uncertain")

    def test_no_face_has_no_quality(self, feat_data):
        read_nothing = read(ek.open_clip(feat_data / "no_face.mp4"))
        assert np.isnan(read_nothing["face_quality"]).all()
        assert (read_nothing["quality_reason"] == 0).all()
