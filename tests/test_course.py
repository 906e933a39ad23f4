import numpy as np
import pytest
import xarray as xr

import emokit as ek
from emokit import metrics

NAMES = np.array(ek.schema.EMOTIONS)


@pytest.fixture(scope="module")
def people():
    """People that trained nothing: the script that fits the model draws other seeds."""
    return ek.simulate_faces(n_faces=40, duration=10, fps=12.5, landmarks=False, seed=77)


def recall(people, found):
    truth = NAMES[people.displayed_emotion.values.astype(int)]
    said = NAMES[found.emotion_probability.sel(emotion=NAMES).values.argmax(-1)]
    return metrics.accuracy(truth, said), metrics.unweighted_recall(truth, said)


def test_it_reads_held_out_episodes_better_than_frames_alone(people):
    over_time = recall(people, ek.estimate_emotion_in_time(people))
    per_frame = recall(people, ek.estimate_emotion(people))
    assert over_time[0] > per_frame[0] + 0.03
    assert over_time[1] > per_frame[1] + 0.05


def test_it_reads_people_whom_the_mesh_follows_badly(people):
    """Some units come out weak, and every other one goes along with an open jaw."""
    rng = np.random.default_rng(3)
    au = people["au"].sel(face=people.face[:20])
    gain = rng.uniform(0.3, 1, (20, 21)) * (rng.random((20, 21)) > 0.15)
    jaw = au.sel(action_unit="AU26").expand_dims(action_unit=au.action_unit).transpose(*au.dims)
    read = (au * gain + jaw * rng.normal(0, 0.2, (20, 21))).clip(0, 1)
    keep = au.action_unit.isin(["AU25", "AU43", "AU45"])
    misread = people.sel(face=au.face).assign(au=xr.where(keep, au, read).transpose(*au.dims))
    over_time = recall(misread, ek.estimate_emotion_in_time(misread))
    per_frame = recall(misread, ek.estimate_emotion(misread))
    assert over_time[0] > per_frame[0] + 0.02
    assert over_time[1] > per_frame[1] + 0.05


def test_its_probabilities_mean_what_they_say_on_simulated_people(people):
    found = ek.estimate_emotion_in_time(people).emotion_probability.sel(emotion=NAMES)
    truth = NAMES[people.displayed_emotion.values.astype(int)]
    error = ek.calibration.calibration_error(truth, found.values, labels=NAMES)
    assert error < 0.05


def test_it_follows_the_schema_and_says_what_read_it(people):
    before = people.copy(deep=True)
    found = ek.estimate_emotion_in_time(people)
    ek.schema.validate(found, group="face", requires=["emotion_probability", "valence", "arousal"])
    assert found.emotion.values.tolist() == list(ek.schema.EMOTIONS)
    step = ek.schema.read_history(found)[-1]
    assert step["step"] == "estimate_emotion_in_time" and len(step["model"]["sha256"]) > 1
    assert people.equals(before)


def test_nothing_seen_is_nan_and_no_faces_are_no_faces(people):
    holed = people[["au"]].isel(face=[0]).copy(deep=True)
    holed["au"][40:80] = np.nan
    found = ek.estimate_emotion_in_time(holed)
    assert found.valence.isnull().values[:, 0].tolist() == [40 <= i < 80 for i in range(125)]
    none = ek.estimate_emotion_in_time(people.isel(face=[]))
    assert none.emotion_probability.shape == (125, 0, 7)
    with pytest.raises(ValueError, match="none of the units the networks know"):
        ek.estimate_emotion_in_time(
            people[["au"]].isel(action_unit=[0]).assign_coords(action_unit=["AU99"])
        )


def test_it_does_with_the_units_there_are(people):
    units = ["AU01", "AU02", "AU04", "AU06", "AU12", "AU15", "AU25", "AU26"]
    fewer = people[["au"]].sel(action_unit=units)
    assert recall(people, ek.estimate_emotion_in_time(fewer))[1] > 0.5


def test_real_clip_tears_and_laughter(sample):
    found = ek.estimate_emotion_in_time(sample["face"].to_dataset()).emotion_probability
    crying = found.sel(time=slice(0, 8)).mean("time").squeeze()
    laughing = found.sel(time=slice(16, 19)).mean("time").squeeze()
    assert crying.idxmax() == "sadness"
    assert laughing.idxmax() == "happiness"
    assert laughing.sel(emotion="happiness") > crying.sel(emotion="happiness") + 0.3
