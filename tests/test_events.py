import numpy as np
import pytest
import xarray as xr

import emokit as ek

NAN = np.nan


def uneven(seconds, rate=30, seed=0):
    step = np.random.default_rng(seed).uniform(0.5, 1.5, int(seconds * rate)) / rate
    return np.cumsum(step)


def faces(time, labels=("face_0",), **units):
    """Dataset of units, each of (time,) for one face or (time, face)."""
    values = [np.asarray(v, float).reshape(len(time), len(labels)) for v in units.values()]
    return ek.schema.build_dataset(
        "face",
        {"au": np.stack(values, axis=-1)},
        {"time": time, "face": list(labels), "action_unit": list(units)},
        history=ek.schema.extend_history("simulated"),
    )


def bump(time, apex, width=0.4, height=0.8):
    return height * np.exp(-(((time - apex) / width) ** 2))


# ------------------------------------------------------------------ events


@pytest.mark.parametrize("time", [np.arange(0, 12, 1 / 30), uneven(12)], ids=["even", "uneven"])
def test_onset_apex_and_offset_of_known_bumps(time):
    aus = faces(time, AU12=bump(time, 3) + bump(time, 8, width=0.8, height=0.5), AU04=0 * time)
    found = ek.find_events(aus)
    assert found.label.values.tolist() == ["AU12", "AU12"]
    # A Gaussian bump is at a tenth of its height at sqrt(ln 10) widths from its apex.
    apex, reach = np.array([3, 8]), np.sqrt(np.log(10)) * np.array([0.4, 0.8])
    np.testing.assert_allclose(found.apex, apex, atol=0.05)
    np.testing.assert_allclose(found.onset, apex - reach, atol=0.07)
    np.testing.assert_allclose(found.offset, apex + reach, atol=0.07)
    np.testing.assert_allclose(found.amplitude, [0.8, 0.5], atol=0.01)
    np.testing.assert_allclose(found.velocity, [0.72, 0.45] / reach, rtol=0.1)
    assert found.complete.values.tolist() == [1, 1]
    ek.schema.validate(found, group="events", requires=["onset", "apex", "offset", "label"])


def test_seconds_keep_their_precision():
    time = 36_000 + np.arange(0, 4, 1 / 30)
    found = ek.find_events(faces(time, AU12=bump(time, 36_002)))
    assert found.onset.dtype == np.float64
    assert found.apex.item() in time


def test_two_smiles_are_two_only_where_the_valley_is_deep():
    time = np.arange(0, 8, 1 / 30)
    for apart, expected in ((0.5, 1), (2.0, 2)):
        two = np.maximum(bump(time, 3), bump(time, 3 + apart, height=0.7))
        found = ek.find_events(faces(time, AU12=two))
        assert found.sizes["event"] == expected
    assert found.offset[0] <= found.onset[1]


def test_a_value_that_keeps_touching_its_bound_is_one_event():
    time = np.arange(0, 8, 1 / 30)
    flat = np.minimum(1.2 * np.exp(-(((time - 4) / 2) ** 4)), 1)
    flat[(time > 4) & (time < 4.1)] = 0.95
    assert ek.find_events(faces(time, AU12=flat)).sizes["event"] == 1


def test_a_constant_level_is_no_event_and_what_was_not_seen_whole_says_so():
    time = np.arange(0, 4, 1 / 30)
    rising = np.clip((time - 2) / 2.5, 0, 0.9)
    found = ek.find_events(faces(time, AU01=0 * time + 0.4, AU12=rising, AU15=rising[::-1]))
    assert sorted(found.label.values) == ["AU12", "AU15"]
    assert found.complete.values.tolist() == [0, 0]
    falling, rising = found.isel(event=0), found.isel(event=1)
    assert falling.onset == falling.apex == time[0] and np.isnan(falling.velocity)
    assert rising.offset == time[-1]


def test_events_do_not_cross_gaps_and_pass_over_short_ones():
    time = np.arange(0, 6, 1 / 30)
    long, short = bump(time, 3, width=1), bump(time, 3, width=1)
    long[(time > 2.8) & (time < 3.3)] = NAN
    short[(time > 3.5) & (time < 3.6)] = NAN
    found = ek.find_events(faces(time, AU04=long, AU12=short))
    smile = found.isel(event=found.label.values == "AU12")
    assert smile.sizes["event"] == 1 and smile.complete == 1
    brows = found.isel(event=found.label.values == "AU04")
    assert brows.sizes["event"] == 2 and not brows.complete.any()
    assert not ((brows.onset < 2.8) & (brows.offset > 3.3)).any()


def test_faces_and_emotions_are_told_apart():
    time = np.arange(0, 6, 1 / 30)
    two = np.stack([bump(time, 2), bump(time, 4)], axis=1)
    aus = faces(time, labels=("face_0", "face_1"), AU12=two)
    joy = two[..., None] * [1, 0] + [0, 1] * (1 - two[..., None])
    aus = aus.assign_coords(emotion=["happiness", "neutral"]).assign(
        emotion_probability=(("time", "face", "emotion"), joy)
    )
    found = ek.find_events(aus)
    assert sorted(zip(found.face.values, found.kind.values, found.label.values, strict=True)) == [
        ("face_0", "action_unit", "AU12"),
        ("face_0", "emotion", "happiness"),
        ("face_1", "action_unit", "AU12"),
        ("face_1", "emotion", "happiness"),
    ]
    np.testing.assert_allclose(found.apex, [2, 2, 4, 4], atol=0.02)
    only = ek.find_events(aus, labels="happiness")
    assert set(only.label.values) == {"happiness"}


def test_noise_is_no_event():
    time = np.arange(0, 20, 1 / 30)
    noisy = 0.4 + np.random.default_rng(0).normal(0, 0.1, len(time))
    aus = faces(time, AU12=noisy.clip(0, 1))
    assert ek.find_events(aus).sizes["event"] == 0
    aus["au"][:, 0, 0] = (noisy / 2 + bump(time, 9, width=0.8, height=0.6)).clip(0, 1)
    assert ek.find_events(aus).apex.item() == pytest.approx(9, abs=0.5)


def test_micro_expressions_are_flagged_where_the_rate_can_carry_them():
    time = np.arange(0, 8, 1 / 60)
    brief, blink = bump(time, 2, width=0.1), bump(time, 4, width=0.1)
    aus = faces(time, AU04=brief, AU12=bump(time, 6), AU45=blink)
    found = ek.find_events(aus, micro=True)
    flags = dict(zip(found.label.values, found.micro.values, strict=True))
    assert flags == {"AU04": 1, "AU12": 0, "AU45": 0}
    assert found.attrs["micro_note"] == ""

    slow = aus.isel(time=slice(None, None, 6))
    found = ek.find_events(slow)
    assert found.micro.isnull().all() and "10 rows a second" in found.attrs["micro_note"]
    with pytest.raises(ValueError, match="10 rows a second are too few; 24 are needed"):
        ek.find_events(slow, micro=True)
    uneven_rate = aus.isel(time=np.r_[0:60, 60:300:6, 300:480])
    found = ek.find_events(uneven_rate)
    assert np.isnan(found.micro[found.label.values == "AU04"]).all()
    with pytest.raises(ValueError, match=r"smoothed over 0.3 s"):
        ek.find_events(ek.smooth(aus, method="kalman"), micro=True)
    with pytest.raises(ValueError, match=r"smoothed over 0.5 s"):
        ek.find_events(ek.smooth(aus, window=0.5), micro=True)
    assert "micro" not in ek.find_events(aus, micro=False)


def test_no_events_is_an_empty_dataset_and_it_is_saved(tmp_path):
    time = np.arange(0, 2, 1 / 30)
    for aus in (faces(time, AU12=0 * time), faces(time, AU12=NAN * time)):
        found = ek.find_events(aus)
        assert found.sizes == {"event": 0} and found.onset.dtype == np.float64
    found = ek.find_events(faces(time, AU12=bump(time, 1)))
    tree = xr.DataTree.from_dict({"/events": found})
    loaded = ek.load(ek.save(tree, tmp_path / "events.nc"))
    xr.testing.assert_equal(loaded["events"].to_dataset(), found)


def test_sparse_sampling_warns_and_can_be_allowed_for():
    time = np.arange(0, 20, 0.5)
    aus = faces(time, AU12=bump(time, 10, width=2))
    with pytest.warns(UserWarning, match="0.5 s apart, further than max_gap=0.2"):
        assert ek.find_events(aus).sizes["event"] == 0
    assert ek.find_events(aus, max_gap=1).apex.item() == 10


def test_options_that_cannot_be():
    aus = faces(np.arange(5) / 25, AU12=np.zeros(5))
    with pytest.raises(ValueError, match="threshold must be a number above 0 and at most 1; got 2"):
        ek.find_events(aus, threshold=2)
    with pytest.raises(ValueError, match="labels must be among those of aus; got AU99"):
        ek.find_events(aus, labels=["AU99"])
    with pytest.raises(ValueError, match="must hold au or emotion_probability"):
        ek.find_events(aus.drop_vars("au"))


def test_real_clip_laughter_is_an_event(sample):
    found = ek.find_events(ek.smooth(sample["face"].to_dataset(), window=0.4))
    smile = found.isel(event=(found.label.values == "AU12") & (found.apex.values > 15))
    assert smile.sizes["event"] >= 1 and (smile.amplitude > 0.3).any()


# ----------------------------------------------------------------- moments


def affect(time, **variables):
    arrays = {name: np.asarray(values, float)[:, None] for name, values in variables.items()}
    return ek.schema.build_dataset("face", arrays, {"time": time, "face": ["face_0"]}, history="[]")


def tree(face, voice=None):
    groups = {"/face": face} | ({"/voice": voice} if voice is not None else {})
    return xr.DataTree.from_dict(groups)


def test_frustration_ranks_the_raised_voice_first():
    time = np.arange(0, 40, 0.1)
    burst = ((time > 10) & (time < 15)) | ((time > 25) & (time < 30))
    face = affect(time, valence=np.where(burst, -0.6, 0.1))
    voice = ek.schema.build_dataset(
        "voice", {"arousal": np.where(time > 20, 0.8, 0.0)}, {"time": time}, history="[]"
    )
    found = ek.find_moments(tree(face, voice), kind="frustration")
    assert found.sizes["event"] == 2
    assert 25 < found.apex[0] < 30 and 10 < found.apex[1] < 15
    assert "vocal arousal +0.80" in found.evidence.values[0]
    assert "vocal" not in found.evidence.values[1]
    assert (found.score[0] > found.score[1]).item()


def test_confusion_needs_lowered_brows_that_last():
    time = np.arange(0, 20, 0.04)
    lasting = np.where((time > 10) & (time < 13), 0.7, 0)
    glitch = np.where((time > 3) & (time < 3.2), 0.9, 0)
    found = ek.find_moments(
        tree(faces(time, AU04=lasting + glitch, AU07=lasting)), kind="confusion"
    )
    assert found.sizes["event"] == 1 and 10 < found.apex.item() < 13
    assert found.evidence.item().startswith("AU04 0.70, AU07 0.70")


def test_attention_is_against_where_this_face_mostly_looks():
    time = np.arange(0, 20, 0.04)
    pose = np.zeros((len(time), 1, 3))
    pose[:, :, 1] = 30
    pose[(time > 5) & (time < 8), :, 1] = -20
    face = ek.schema.build_dataset(
        "face", {"head_pose": pose}, {"time": time, "face": ["face_0"]}, history="[]"
    )
    found = ek.find_moments(tree(face))
    assert found.label.values.tolist() == ["attention"]
    assert found.onset.item() == pytest.approx(5, abs=0.5)
    assert found.evidence.item() == "head 50° from its usual direction"


def test_moments_are_found_in_sparse_rows_too():
    time = np.arange(0.0, 30)
    pose = np.zeros((30, 1, 3))
    pose[10:15, :, 1] = 60
    face = ek.schema.build_dataset(
        "face", {"head_pose": pose}, {"time": time, "face": ["face_0"]}, history="[]"
    )
    found = ek.find_moments(tree(face))
    assert found.onset.values.tolist() == [10] and found.offset.values.tolist() == [14]


def test_models_and_modalities_that_disagree():
    time = np.arange(0, 20, 0.1)
    one = np.where(((time > 4) & (time < 8))[:, None], [0.9, 0.1], [0.1, 0.9])
    two = np.broadcast_to([0.1, 0.9], one.shape)
    face = affect(time, arousal=np.where(time > 12, 0.7, 0.1)).assign_coords(
        emotion=["anger", "neutral"]
    )
    dims = ("time", "face", "emotion")
    face = face.assign(
        emotion_probability=(dims, one[:, None]), other_probability=(dims, two[:, None])
    )
    voice = ek.schema.build_dataset(
        "voice",
        {"arousal": np.where(time > 12, -0.7, 0.1), "speech": np.where(time > 16, 0.0, 1.0)},
        {"time": time},
        history="[]",
    )
    found = ek.find_moments(tree(face, voice), kind="disagreement")
    assert found.sizes["event"] == 2
    words = dict(zip(found.onset.values.round(), found.evidence.values, strict=True))
    assert words[4] == "emotion: anger 0.90 against other: neutral 0.90"
    assert words[12] == "arousal +0.70 in the face, -0.70 in the voice"
    # Where nobody speaks there is nothing to disagree with.
    assert found.offset.max() < 16.6


def test_moments_that_cannot_be_looked_for():
    face = affect(np.arange(10.0) / 10, valence=np.zeros(10))
    with pytest.raises(ValueError, match="lacks the measurements for kind confusion"):
        ek.find_moments(tree(face), kind="confusion")
    with pytest.raises(ValueError, match="kind must be among peak, frustration"):
        ek.find_moments(tree(face), kind="boredom")
    with pytest.raises(TypeError, match="result must be a DataTree"):
        ek.find_moments(face)
    assert ek.find_moments(tree(face)).sizes == {"event": 0}


def test_real_clip_has_peaks_with_evidence(sample):
    found = ek.find_moments(sample, kind="peak", top=3)
    assert 1 <= found.sizes["event"] <= 3
    assert (np.diff(found.score) <= 0).all()
    assert all("AU" in words for words in found.evidence.values)


# ------------------------------------------------------------------- group


def test_synchrony_and_the_share_of_smiles():
    time, rng = np.arange(0, 40, 0.1), np.random.default_rng(0)
    shared = sum(bump(time, at, width=0.8) for at in (5, 12, 20, 31))
    alone = sum(bump(time, at, width=0.8) for at in (8, 16, 25, 35))
    au = np.stack([shared, 0.5 * shared, alone], axis=1) + rng.normal(0, 0.01, (400, 3))
    both = faces(time, labels=("a", "b"), AU12=au[:, :2].clip(0, 1))
    three = faces(time, labels=("a", "b", "c"), AU12=au.clip(0, 1))
    middle = slice(5, 35)
    together = ek.measure_group(both, window=10).sel(time=middle)
    assert (together.synchrony > 0.9).all()
    mixed = ek.measure_group(three, window=10).sel(time=middle)
    assert mixed.synchrony.mean() < 0.5
    at_smile = ek.measure_group(three).sel(time=12, method="nearest")
    assert at_smile.smiling_share == pytest.approx(2 / 3) and at_smile.n_faces == 3


def test_a_face_that_is_away_does_not_count():
    time = np.arange(0, 20, 0.1)
    wave = np.stack([(np.sin(time) + 1) / 2] * 2, axis=1)
    wave[time > 10, 1] = NAN
    found = ek.measure_group(faces(time, labels=("a", "b"), AU12=wave), window=2)
    assert found.n_faces.values[[0, -1]].tolist() == [2, 1]
    assert np.isnan(found.synchrony.sel(time=slice(12, 20))).all()
    assert found.synchrony.sel(time=5, method="nearest") == pytest.approx(1)
    still = ek.measure_group(faces(time, labels=("a", "b"), AU12=np.full((200, 2), 0.2)))
    assert np.isnan(still.synchrony).all()
    one = ek.measure_group(faces(time, AU12=wave[:, 0]))
    assert np.isnan(one.synchrony).all() and one.smiling_share.max() == 1
