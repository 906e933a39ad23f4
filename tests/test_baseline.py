import json

import numpy as np
import pytest

import emokit as ek

TIME = np.arange(200) / 20


def person(rest, *, faces=1, smile=None):
    """Faces whose units rest at `rest`; ``AU12`` rises by `smile` from 6 to 8 s."""
    au = np.tile(np.asarray(rest, float), (len(TIME), faces, 1))
    if smile is not None:
        au[(TIME >= 6) & (TIME < 8), :, 1] += smile
    return ek.schema.build_dataset(
        "face",
        {"au": au},
        {
            "time": TIME,
            "face": [f"face_{i}" for i in range(faces)],
            "action_unit": ["AU02", "AU12", "AU43"],
        },
        history="[]",
    )


@pytest.mark.parametrize("method", ["quiet", "median", (0, 5)])
def test_rest_becomes_zero_and_movement_stays(method):
    aus = person([0.3, 0.1, 0.0], smile=0.5)
    before = aus.copy(deep=True)
    neutral = ek.remove_baseline(aus, method=method)["au"].squeeze("face")
    assert aus.identical(before)
    np.testing.assert_allclose(neutral.sel(action_unit="AU02"), 0, atol=1e-6)
    smile = neutral.sel(action_unit="AU12")
    np.testing.assert_allclose(smile.sel(time=slice(6, 7.9)), 0.5, atol=1e-6)
    np.testing.assert_allclose(smile.sel(time=slice(0, 5.9)), 0, atol=1e-6)


def test_reference_from_another_clip_of_the_same_person():
    """Someone who smiles all through needs rest from elsewhere."""
    always = person([0.3, 0.6, 0.0])
    rest = person([0.3, 0.1, 0.0])
    lost = ek.remove_baseline(always)["au"].sel(action_unit="AU12")
    kept = ek.remove_baseline(always, reference=rest)["au"].sel(action_unit="AU12")
    np.testing.assert_allclose(lost, 0, atol=1e-6)
    np.testing.assert_allclose(kept, 0.5, atol=1e-6)


def test_each_face_has_its_own_baseline_and_absent_rows_stay_absent():
    aus = person([0.2, 0.2, 0.2], faces=3)
    aus["au"][:, 1] += 0.3
    aus["au"][:50, 1] = np.nan
    aus["au"][:, 2] = np.nan
    neutral = ek.remove_baseline(aus)["au"]
    assert np.isnan(neutral[:50, 1]).all()
    np.testing.assert_allclose(neutral[50:, 1], 0, atol=1e-6)
    assert np.isnan(neutral[:, 2]).all()


def test_a_unit_that_is_never_read_hides_no_rest():
    """Blinks are not told in frames half a second apart."""
    aus = person([0.3, 0.1, np.nan], smile=0.5)
    neutral = ek.remove_baseline(aus)["au"].squeeze("face")
    np.testing.assert_allclose(neutral.sel(action_unit="AU02"), 0, atol=1e-6)
    assert neutral.sel(action_unit="AU43").isnull().all()


def test_a_unit_unread_of_one_face_hides_no_rest_of_that_face():
    rng = np.random.default_rng(0)
    au = rng.uniform(0, 0.2, (40, 2, 3)).astype(np.float32)
    au[:, 1, 2] = np.nan
    aus = ek.schema.build_dataset(
        "face",
        {"au": au},
        {
            "time": np.arange(40) / 10,
            "face": ["face_0", "face_1"],
            "action_unit": ["AU01", "AU12", "AU45"],
        },
        history="[]",
    )
    both = ek.remove_baseline(aus, method="quiet")["au"]
    alone = ek.remove_baseline(aus.isel(face=[1]), method="quiet")["au"]
    np.testing.assert_array_equal(both.isel(face=[1]), alone)
    assert both.isel(face=1, action_unit=slice(0, 2)).notnull().all()


def test_history_holds_the_baselines():
    entry = json.loads(ek.remove_baseline(person([0.3, 0.1, 0])).attrs["history"])[-1]
    assert entry["step"] == "remove_baseline"
    np.testing.assert_allclose(entry["baseline"]["face_0"], [0.3, 0.1, 0], atol=1e-4)


def test_real_neutral_stranger_reads_near_zero(feat_data):
    """The man of face_noface.mov rests at first; his own rest is his zero."""
    clip = ek.open_clip(feat_data / "face_noface.mov")
    faces = ek.detect_faces(clip, progress=False).sel(time=slice(0, 2))
    aus = ek.extract_action_units(clip, faces, progress=False)
    resting = {"time": slice(0, 0.7)}
    plain = aus["au"].sel(resting).mean(["time", "face"])
    neutral = ek.remove_baseline(aus, method=(0, 0.7))["au"].sel(resting).mean(["time", "face"])
    assert plain.max() > 0.2
    assert neutral.max() < plain.max() / 2
    assert neutral.mean() < plain.mean() / 2


@pytest.mark.parametrize(
    ("method", "match"),
    [("mean", "method must be"), ((50, 60), "has none"), (3, "method must be")],
)
def test_wrong_methods(method, match):
    with pytest.raises(ValueError, match=match):
        ek.remove_baseline(person([0, 0, 0]), method=method)


def test_reference_must_know_face_and_unit():
    with pytest.raises(ValueError, match="reference lacks face face_1"):
        ek.remove_baseline(person([0, 0, 0], faces=2), reference=person([0, 0, 0]))


def test_a_unit_that_the_reference_never_shows_stays():
    """A neutral photograph tells nothing of blinks."""
    aus = person([0.3, 0.1, 0.2])
    reference = person([0.3, 0.1, np.nan])
    neutral = ek.remove_baseline(aus, reference=reference, method="median")
    np.testing.assert_allclose(neutral["au"].sel(action_unit="AU43"), 0.2)
    np.testing.assert_allclose(neutral["au"].sel(action_unit="AU02"), 0, atol=1e-6)


def test_nothing_else_comes_along():
    aus = person([0.3, 0.1, 0.0], smile=0.5)
    assert set(ek.remove_baseline(aus).coords) == set(aus.coords)
