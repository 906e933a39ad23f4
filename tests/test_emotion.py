import numpy as np
import pytest
import xarray as xr

import emokit as ek
from emokit.emotion import PROTOTYPES

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
    assert laughing.sel(emotion="happiness") > laughing.sel(emotion="sadness")
    assert crying.sel(emotion="sadness") > crying.sel(emotion="happiness")
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
