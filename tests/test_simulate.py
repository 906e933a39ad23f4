"""Simulated faces: the truth is what was asked for, and the read-out finds it again."""

import numpy as np
import pytest
import xarray as xr

import emokit as ek
from emokit.mesh import ActionUnitModel


@pytest.fixture(scope="module")
def crowd():
    """Many people, without landmarks."""
    return ek.simulate_faces(n_faces=60, landmarks=False, seed=5)


@pytest.fixture(scope="module")
def seen():
    """The same first people, with landmarks."""
    return ek.simulate_faces(n_faces=25, seed=5)


def units_of(ds, name):
    return ds[name].stack(row=("time", "face")).transpose("row", "action_unit")


def test_both_ways_obey_the_schema_and_share_their_truth(crowd, seen):
    for ds in (crowd, seen):
        ek.schema.validate(ds, group="face", requires=["au", "au_true", "displayed_emotion"])
    truth = ["au_true", "displayed_emotion", "displayed_intensity", "head_pose", "eye_opening"]
    xr.testing.assert_equal(crowd[truth].isel(face=slice(25)), seen[truth])
    assert "landmark_position" not in crowd
    assert seen["landmark_position"].dims == ("time", "face", "landmark", "space")


def test_same_seed_same_faces_another_seed_others():
    one, again, more, other = (
        ek.simulate_faces(n_faces=n, duration=2, landmarks=False, seed=seed)["au"]
        for n, seed in ((2, 1), (2, 1), (4, 1), (2, 2))
    )
    xr.testing.assert_equal(one, again)
    xr.testing.assert_equal(one, more.isel(face=slice(2)))
    assert not np.allclose(one, other)


def test_frames_come_at_the_rate_asked_for():
    ds = ek.simulate_faces(duration=3.5, fps=12, landmarks=False)
    np.testing.assert_allclose(ds["time"], np.arange(42) / 12)
    assert ek.simulate_faces(duration=0, landmarks=False).sizes["time"] == 1


@pytest.mark.parametrize("which", ["crowd", "seen"])
def test_the_read_out_follows_the_truth(which, request):
    ds = request.getfixturevalue(which)
    read, true = units_of(ds, "au"), units_of(ds, "au_true")
    r = xr.corr(read, true, dim="row")
    assert (r.sel(action_unit=["AU01", "AU02", "AU04", "AU09", "AU12", "AU26"]) > 0.75).all()
    assert (r.sel(action_unit=["AU43", "AU45"]) > 0.85).all()


def test_reading_without_landmarks_errs_as_much_as_with_them(crowd, seen):
    """The short way is there to be like the long one."""
    short, long = (
        (units_of(ds, "au") - units_of(ds, "au_true")).std("row").drop_sel(action_unit="AU25")
        for ds in (crowd, seen)
    )
    ratio = short / long
    assert 0.85 < ratio.median() < 1.18
    assert (ratio > 0.5).all()
    assert (ratio < 2).all()


def test_pose_is_in_the_landmarks():
    ds = ek.simulate_faces(au={}, movement=1, duration=4, fps=5, seed=3)
    points = ds["landmark_position"].values[:, 0].astype(float)
    pose = ActionUnitModel().read(points)[1]
    assert np.ptp(ds["head_pose"].values, axis=0).max() > 5
    # Movements in passing shift the points on which a face is aligned by a little.
    np.testing.assert_allclose(pose, ds["head_pose"].values[:, 0], atol=1.5)


def test_units_asked_for_are_shown_and_nothing_else():
    course = np.linspace(0, 1, 10)
    ds = ek.simulate_faces(au={"AU12": course, "AU25": 0.5}, duration=1, fps=10)
    true = ds["au_true"].squeeze("face")
    np.testing.assert_allclose(true.sel(action_unit="AU12"), course, atol=1e-6)
    np.testing.assert_allclose(true.sel(action_unit="AU25"), 0.5, atol=1e-6)
    assert (true.drop_sel(action_unit=["AU12", "AU25"]) == 0).all()
    assert ds["displayed_emotion"].isnull().all()
    read = ds["au"].squeeze("face").sel(action_unit="AU12")
    assert (np.diff(read) > 0).all()


def test_a_still_mean_face_reads_as_rest():
    au = ek.simulate_faces(au={}, duration=0)["au"].squeeze()
    assert au.max() < 0.1


def test_brows_rise_and_jaws_drop_on_the_head():
    rest, shown = (
        ek.simulate_faces(au=au, duration=0)["landmark_position"].squeeze()
        for au in ({}, {"AU01": 1, "AU26": 1})
    )
    moved = (shown - rest).sel(space="y")  # downwards in a picture
    assert moved.sel(landmark=[107, 336]).max() < -3  # inner ends of the brows
    assert moved.sel(landmark=152) > 5  # the chin
    assert np.abs(moved.sel(landmark=[1, 4])).max() < 1  # the tip of the nose


def test_chosen_emotions_are_displayed():
    ds = ek.simulate_faces(n_faces=20, emotions="happiness", landmarks=False, speech=0, seed=2)
    happy = ek.schema.EMOTIONS.index("happiness")
    shown = set(np.unique(ds["displayed_emotion"]))
    assert shown == {happy, ek.schema.EMOTIONS.index("neutral")}
    smile = ds["au_true"].sel(action_unit="AU12")
    strong = ds["displayed_intensity"] > 0.3
    assert smile.where(strong).mean() > smile.where(ds["displayed_intensity"] == 0).mean() + 0.1
    # Not everyone takes every unit of the prototype, and everyone shows something.
    own = ds["au_true"].where(strong).max("time").sel(action_unit="AU06") > 0.05
    assert 0.2 < own.mean() < 0.95
    # Some laugh, with an open jaw, and nobody all the time.
    laughing = (ds["au_true"].sel(action_unit="AU26") > 0.15).where(strong)
    assert 0.05 < laughing.mean() < 0.6 and laughing.mean("time").max() < 1


def test_expressions_rise_faster_than_they_fall():
    ds = ek.simulate_faces(
        n_faces=60, emotions="surprise", landmarks=False, speech=0, blinks=0, duration=8, seed=4
    )
    change = ds["displayed_intensity"].diff("time")
    assert (change > 0).sum() < (change < 0).sum()


def test_speech_has_the_rhythm_of_syllables():
    ds = ek.simulate_faces(
        n_faces=10, emotions="neutral", speech=1, blinks=0, movement=0, landmarks=False, fps=50
    )
    jaw = ds["au_true"].sel(action_unit="AU26").values.T
    power = (np.abs(np.fft.rfft(jaw - jaw.mean(1, keepdims=True))) ** 2).mean(0)
    frequency = np.fft.rfftfreq(jaw.shape[1], 1 / 50)
    syllables = frequency > 1  # below is how bouts of speech come and go
    assert 3 < frequency[syllables][power[syllables].argmax()] < 7
    assert (ds["displayed_emotion"] == ek.schema.EMOTIONS.index("neutral")).all()
    quiet = ek.simulate_faces(emotions="neutral", speech=0, movement=0, landmarks=False)
    assert (quiet["au_true"].sel(action_unit="AU26") == 0).all()


def test_blinks_come_as_often_as_asked_for():
    ds = ek.simulate_faces(
        n_faces=10, duration=60, blinks=20, emotions="neutral", landmarks=False, seed=9
    )
    count = {}
    for name in ("au_true", "au"):
        shut = (ds[name].sel(action_unit="AU45") > 0.5).values.astype(int)
        count[name] = (np.diff(shut, axis=0) == 1).sum() / 10
    assert 15 < count["au_true"] < 25
    assert abs(count["au"] - count["au_true"]) < 2
    assert ds["au"].sel(action_unit="AU43").mean() < 0.01


def test_people_differ_by_identity_alone():
    ds = ek.simulate_faces(n_faces=6, au={}, identity=1, duration=0)
    shapes = ds["landmark_position"].isel(time=0).values
    shapes = shapes - shapes.mean(1, keepdims=True)
    assert np.abs(shapes[0] - shapes[1]).max() > 2
    assert (ds["au_true"] == 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_faces": 0}, "n_faces must be a whole number at least 1"),
        ({"fps": 0}, "fps must be a number above 0"),
        ({"speech": 2}, "speech must be a share"),
        ({"emotions": "joy"}, "emotions must be among anger"),
        ({"au": {"AU99": 1}}, "au holds 'AU99'"),
        ({"au": {"AU12": 2}}, "must lie in 0 to 1"),
        ({"au": {"AU12": [0.1, 0.2]}}, "one a frame"),
        ({"au": {}, "emotions": "fear"}, "exclude each other"),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        ek.simulate_faces(**arguments)


def test_arguments_of_the_wrong_type():
    with pytest.raises(TypeError, match="n_faces must be a whole number"):
        ek.simulate_faces(n_faces=1.5)
    with pytest.raises(TypeError):
        ek.simulate_faces(colour="green")


def test_the_head_moves_alike_on_both_sides():
    """Every shape that is not one-sided moves a landmark as far as its mirror image."""
    rest = ek.simulate_faces(au={}, duration=0)["landmark_position"].values[0, 0]
    middle = rest[[1, 4, 152, 10], 0].mean()
    mirrored = rest * (-1, 1, 1) + (2 * middle, 0, 0)
    partner = np.linalg.norm(rest[:, None] - mirrored[None], axis=-1).argmin(1)
    for unit in ("AU06", "AU09", "AU12", "AU26"):
        shown = ek.simulate_faces(au={unit: 1.0}, duration=0)["landmark_position"].values[0, 0]
        moved = np.linalg.norm(shown - rest, axis=1)
        assert np.abs(moved - moved[partner]).mean() < 0.1 * moved.max(), unit
