import numpy as np
import pytest
import xarray as xr

import emokit as ek
from emokit.prototypes import PROTOTYPES

UNITS = sorted({unit for members in PROTOTYPES.values() for unit in members})


def units(**intensity):
    """One face for one row, all units absent but the named ones."""
    values = [[[intensity.get(unit, 0.0) for unit in UNITS]]]
    return xr.Dataset(
        {"au": (("time", "face", "action_unit"), values)},
        coords={"time": [0.0], "face": ["face_0"], "action_unit": UNITS},
    )


def top(**intensity):
    return ek.estimate_emotion(units(**intensity))["emotion_probability"].squeeze().idxmax().item()


@pytest.mark.parametrize(
    "emotion", ["anger", "disgust", "fear", "happiness", "sadness", "surprise"]
)
def test_a_full_prototype_is_read_as_its_emotion(emotion):
    own = [unit for unit, share in PROTOTYPES[emotion].items() if share > 0.5]
    assert top(**dict.fromkeys(own, 0.8)) == emotion


def test_a_resting_face_is_neutral_also_while_talking():
    assert top() == "neutral"
    assert top(AU25=0.7, AU26=0.2) == "neutral"


def test_probabilities(sample):
    probability = sample["face"]["emotion_probability"]
    seen = np.isfinite(probability).all("emotion")
    np.testing.assert_allclose(probability.sum("emotion").values[seen], 1, atol=1e-5)
    assert np.isnan(probability.values[~seen.values]).all()
    assert list(probability["emotion"].values) == list(ek.schema.EMOTIONS)


def test_tears_then_laughter(sample):
    """Crying until about 8 s, laughing from 16 to 19 s."""
    shown = sample["face"]["emotion_probability"].sel(face="face_0")
    crying = shown.sel(time=slice(0, 8)).mean("time")
    laughing = shown.sel(time=slice(16, 19)).mean("time")
    assert laughing.idxmax() == "happiness"
    assert crying.sel(emotion="sadness") > 2 * crying.sel(emotion="happiness")
    valence = sample["face"]["valence"].sel(face="face_0")
    assert valence.sel(time=slice(16, 19)).mean() > 0.4
    assert valence.sel(time=slice(2.5, 5.5)).mean() < 0


def test_valence_and_arousal_stay_in_range_and_have_a_sign():
    happy = ek.estimate_emotion(units(AU06=1, AU12=1, AU25=1))
    sad = ek.estimate_emotion(units(AU01=1, AU04=1, AU15=1, AU17=1))
    assert 0.5 < happy["valence"].item() <= 1
    assert -1 <= sad["valence"].item() < -0.3
    assert sad["arousal"].item() < 0 < happy["arousal"].item()


def test_absent_is_nan():
    aus = units()
    aus["au"][:] = np.nan
    emotion = ek.estimate_emotion(aus)
    for name in ("emotion_probability", "valence", "arousal", "unit_presence"):
        assert np.isnan(emotion[name].values).all()


def test_a_unit_that_is_not_read_says_nothing():
    """Without AU15 the rest decides, as if the unit were not in the table."""
    aus = units(AU04=1, AU17=1, AU01=1)
    missing = aus.copy(deep=True)
    missing["au"].loc[{"action_unit": "AU15"}] = np.nan
    dropped = aus.drop_sel(action_unit="AU15")
    np.testing.assert_allclose(
        ek.estimate_emotion(missing)["emotion_probability"],
        ek.estimate_emotion(dropped)["emotion_probability"],
        rtol=1e-6,
    )


@pytest.fixture(scope="module", params=[10, 1])
def displays(request):
    seconds = request.param
    people = ek.simulate_faces(
        n_faces=600 // seconds, duration=seconds, fps=4, landmarks=False, seed=31
    )
    probability = ek.estimate_emotion(people)["emotion_probability"]
    return people, probability.values.reshape(-1, 7), people["displayed_emotion"].values.ravel()


class TestSimulatedPeople:
    """People whom nothing was fitted on, and what they display."""

    def test_most_displays_are_found(self, displays):
        people, probability, emotion = displays
        strong = people["displayed_intensity"].values.ravel() > 0.4
        right = probability.argmax(1) == emotion
        assert right.mean() > 0.75
        for index, name in enumerate(ek.schema.EMOTIONS[:6]):
            assert right[strong & (emotion == index)].mean() > 0.5, name

    def test_probabilities_mean_what_they_say(self, displays):
        _, probability, emotion = displays
        confidence, right = probability.max(1), probability.argmax(1) == emotion
        # Confident rows are right as often as they say, and so are doubtful ones.
        for low, high in ((0.9, 1.01), (0.5, 0.8)):
            rows = (confidence >= low) & (confidence < high)
            assert rows.sum() > 100
            assert right[rows].mean() == pytest.approx(confidence[rows].mean(), abs=0.12)

    def test_speech_and_blinks_stay_neutral(self):
        talk = ek.simulate_faces(
            n_faces=30, emotions="neutral", speech=1, movement=0, landmarks=False, fps=10
        )
        found = ek.estimate_emotion(talk)["emotion_probability"].idxmax("emotion")
        assert (found == "neutral").mean() > 0.7


def test_posed_photographs(feat_data):
    shown = {}
    for name in ("0-f1-su-ph.jpg", "0-f15-hao-ph.jpg"):
        clip = ek.open_clip(feat_data / name)
        faces = ek.detect_faces(clip, progress=False)
        aus = ek.extract_action_units(clip, faces, progress=False)
        shown[name] = ek.estimate_emotion(aus)["emotion_probability"].squeeze()
    assert shown["0-f1-su-ph.jpg"].idxmax() == "surprise"
    assert shown["0-f15-hao-ph.jpg"].idxmax() == "happiness"


def test_units_of_other_models_count_too():
    """py-feat reads AU23, which is not simulated, and lacks others that are."""
    other = [
        unit for unit in ek.schema.ACTION_UNITS if unit not in ("AU16", "AU18", "AU22", "AU45")
    ]
    au = xr.DataArray(
        np.zeros((1, 1, len(other))),
        coords={"time": [0.0], "face": ["face_0"], "action_unit": other},
    )

    def read(**intensity):
        for unit, value in intensity.items():
            au.loc[{"action_unit": unit}] = value
        return ek.estimate_emotion(au.to_dataset(name="au"))["emotion_probability"].squeeze()

    assert read().idxmax() == "neutral"
    before = read(AU04=0.3)
    tight = read(AU23=0.9)
    odds = np.log(tight / tight.sel(emotion="happiness")) - np.log(
        before / before.sel(emotion="happiness")
    )
    assert odds.sel(emotion="anger") > 0.5
    assert read(AU04=0, AU23=0, AU06=0.8, AU12=0.9, AU25=0.7).idxmax() == "happiness"


def test_blinks_say_nothing():
    aus = units(AU12=0.6).reindex(action_unit=[*UNITS, "AU45"], fill_value=0)
    blinking = aus.copy(deep=True)
    blinking["au"].loc[{"action_unit": "AU45"}] = 1
    np.testing.assert_allclose(
        ek.estimate_emotion(blinking)["emotion_probability"],
        ek.estimate_emotion(aus)["emotion_probability"],
    )


class TestExplain:
    def test_pushes_account_for_the_change_of_the_odds(self):
        """Pushes add up to what showing the units did to the log odds of any two emotions."""
        shown, resting = (
            ek.estimate_emotion(units(**kwargs))
            for kwargs in ({"AU12": 0.3, "AU06": 0.2, "AU04": 0.9}, {})
        )
        change = np.log(shown["emotion_probability"]) - np.log(resting["emotion_probability"])
        change = change.squeeze().values
        push = ek.explain(shown, time=0).sum("action_unit").values
        np.testing.assert_allclose(change - change.mean(), push - push.mean(), atol=1e-4)

    def test_laughter_is_pushed_by_the_lip_corners(self, sample):
        push = ek.explain(sample["face"].to_dataset(), time=17.5, face="face_0")
        assert push.sel(emotion="happiness").idxmax("action_unit").item() == "AU12"
        assert push.attrs["units"] == "nat"
        assert float(push["time"]) == pytest.approx(17.5, abs=0.03)

    def test_absent_units_push_nothing(self):
        push = ek.explain(ek.estimate_emotion(units(AU12=1)), time=0)
        assert (push.drop_sel(action_unit="AU12") == 0).all()

    def test_wrong_face_and_time(self, sample):
        emotion = sample["face"].to_dataset()
        with pytest.raises(ValueError, match="face must be one of face_0"):
            ek.explain(emotion, time=1, face="face_9")
        with pytest.raises(ValueError, match="time must lie in"):
            ek.explain(emotion, time=500)
        with pytest.raises(ValueError, match="'unit_presence' is missing"):
            ek.explain(emotion.drop_vars("unit_presence"), time=1)


def test_units_of_no_prototype_are_refused():
    aus = units().sel(action_unit=["AU43"]).assign_coords(action_unit=["AU99"])
    with pytest.raises(ValueError, match="no unit of the emotions' prototypes"):
        ek.estimate_emotion(aus)


def test_input_is_not_changed():
    aus = units(AU12=1)
    before = aus.copy(deep=True)
    ek.estimate_emotion(aus)
    assert aus.identical(before)
