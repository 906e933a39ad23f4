import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import xarray as xr

import emokit as ek
from emokit import smoothing

METHODS = ["median", "savgol", "exponential", "kalman"]


def dataset(time, **variables):
    """Fused Dataset; a two-dimensional variable is the emotion distribution."""
    coords = {"time": np.asarray(time, float), "emotion": list("abcdefg")}
    arrays = {name: np.asarray(values, float) for name, values in variables.items()}
    if "emotion_probability" in arrays:
        coords["emotion"] = list("abcdefg")[: arrays["emotion_probability"].shape[1]]
    return ek.schema.build_dataset("fused", arrays, coords, history="[]")


def valence(time, values, **options):
    return ek.smooth(dataset(time, valence=values), **options).valence.values


def even(n, rate=25):
    return np.arange(n) / rate


def uneven(n, seed=0):
    return np.cumsum(np.random.default_rng(seed).uniform(0.01, 0.08, n))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("time", [even(100), uneven(100)], ids=["even", "uneven"])
def test_constant_stays(method, time):
    np.testing.assert_allclose(valence(time, np.full(100, 0.3), method=method), 0.3, atol=1e-6)


def test_median_is_the_running_median():
    values = np.random.default_rng(0).uniform(-1, 1, 200)
    found = valence(even(200), values, window=0.28)  # 7 samples at 25 a second
    expected = scipy.ndimage.median_filter(values, 7)
    np.testing.assert_allclose(found[3:-3], expected[3:-3], atol=1e-6)


def test_savgol_is_the_filter_of_that_name_where_sampling_is_even():
    values = np.random.default_rng(0).uniform(-0.5, 0.5, 200)
    found = valence(even(200), values, window=0.4, method="savgol")  # 11 samples
    expected = scipy.signal.savgol_filter(values, 11, 2)
    np.testing.assert_allclose(found[5:-5], expected[5:-5], atol=1e-6)


def test_savgol_keeps_a_parabola_at_real_timestamps():
    time = uneven(200)
    values = 0.9 - 0.05 * (time - time.mean()) ** 2
    np.testing.assert_allclose(
        valence(time, values, window=0.5, method="savgol"), values, atol=1e-6
    )


def test_savgol_takes_away_noise():
    time = uneven(400)
    clean = 0.5 * np.sin(time)
    noisy = clean + np.random.default_rng(2).normal(0, 0.05, 400)
    error = valence(time, noisy, window=0.5, method="savgol") - clean
    assert error.std() < 0.035


def test_median_takes_away_a_spike_and_keeps_a_step():
    values = np.where(np.arange(50) < 25, -0.2, 0.6)
    spiked = values.copy()
    spiked[10] = 1.0
    np.testing.assert_allclose(valence(even(50), spiked), values, atol=1e-6)


def test_window_is_in_seconds_on_uneven_time():
    # Ten samples in the first 0.1 s, then one every 0.1 s: a window of 0.15 s holds many
    # of the former and only one of the latter.
    time = np.r_[np.arange(10) / 100, 0.2 + np.arange(10) / 10]
    spikes = np.isin(np.arange(20), [4, 15]).astype(float)
    found = valence(time, spikes, window=0.15)
    np.testing.assert_array_equal(np.flatnonzero(found), [15])


@pytest.mark.parametrize("method", METHODS)
def test_nan_stays_and_a_long_run_is_not_crossed(method):
    values = np.r_[np.zeros(20), np.full(8, np.nan), np.full(20, 0.8)]
    found = valence(even(48), values, window=2.0, method=method)
    np.testing.assert_allclose(found, values, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_hole_in_time_is_not_crossed(method):
    time = np.r_[even(20), 5 + even(20)] if method == "median" else np.r_[even(20), 1.1 + even(20)]
    values = np.r_[np.zeros(20), np.full(20, 0.8)]
    np.testing.assert_allclose(valence(time, values, window=20.0, method=method), values, atol=1e-6)


def test_a_short_run_of_nan_is_passed_over_but_stays():
    values = np.r_[np.zeros(10), np.full(3, np.nan), np.full(20, 0.8)]
    found = valence(even(33), values, window=3.0)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(values))
    np.testing.assert_allclose(found[:10], 0.8)  # most of the window lies beyond the three


def test_max_gap_decides_what_is_crossed():
    values = np.r_[np.zeros(10), np.full(3, np.nan), np.full(20, 0.8)]
    found = valence(even(33), values, window=3.0, max_gap=0.1)
    np.testing.assert_allclose(found, values, atol=1e-6)


def test_faces_have_gaps_of_their_own():
    values = np.zeros((40, 2))
    values[20:] = 0.8
    values[15:25, 1] = np.nan
    ds = ek.schema.build_dataset(
        "face",
        {"valence": values.astype(np.float32)},
        {"time": even(40), "face": ["face_0", "face_1"]},
        history="[]",
    )
    found = ek.smooth(ds, window=4.0).valence
    assert found.dtype == np.float32
    assert found.sel(face="face_0").values[15] == pytest.approx(0.4)  # 20 below, 20 above
    np.testing.assert_array_equal(found.sel(face="face_1"), ds.valence.sel(face="face_1"))


@pytest.mark.parametrize("method", METHODS)
def test_distributions_stay_distributions(method):
    raw = np.random.default_rng(0).dirichlet(np.full(7, 0.3), 300)
    raw[100:120] = np.nan
    ds = dataset(uneven(300), emotion_probability=raw)
    found = ek.smooth(ds, window=0.4, method=method)
    ek.schema.validate(found, group="fused")
    sums = found.emotion_probability.sum("emotion", skipna=False).values
    np.testing.assert_allclose(sums[np.isfinite(sums)], 1, atol=1e-6)
    assert np.isnan(sums).sum() == 20
    assert found.emotion_probability.std() < ds.emotion_probability.std()


def test_alternating_certainties_do_not_vanish():
    raw = np.eye(3)[np.arange(60) % 3]
    found = ek.smooth(dataset(even(60), emotion_probability=raw), window=0.4).emotion_probability
    np.testing.assert_array_equal(found.sum("emotion"), 1)


def test_savgol_stays_within_the_bounds_of_the_spec():
    step = np.where(np.arange(60) < 30, -1.0, 1.0)
    free = scipy.signal.savgol_filter(step, 11, 2)
    assert free.max() > 1.05  # it would overshoot
    found = valence(even(60), step, window=0.4, method="savgol")
    assert found.min() == -1 and found.max() == 1
    np.testing.assert_allclose(found[5:-5], free[5:-5].clip(-1, 1), atol=1e-6)


def test_the_rest_is_left_alone():
    ds = dataset(even(50), valence=np.random.default_rng(0).uniform(-1, 1, 50))
    ds["face_status"] = ("time", np.arange(50, dtype=np.int8) % 3)
    ds["flag"] = ("time", np.arange(50) % 2 == 0)
    ds["fixed"] = ((), 3.5)
    ds["own"] = (("thing", "time"), np.ones((2, 50)), {"units": "K"})
    ds = ds.assign_coords(frame=("time", np.arange(50))).assign_attrs(note="kept")
    before = ds.copy(deep=True)
    found = ek.smooth(ds)
    xr.testing.assert_identical(ds, before)
    for name in ("face_status", "flag", "fixed", "frame", "own"):
        xr.testing.assert_identical(found[name], ds[name])
    assert found.valence.attrs == ds.valence.attrs
    assert found.attrs["note"] == "kept"
    assert not found.valence.equals(ds.valence)


def test_large_datasets_are_smoothed_alike_in_every_corner():
    rng = np.random.default_rng(0)
    values = rng.uniform(0, 1, (1500, 1, 400))
    ds = ek.schema.build_dataset(
        "face",
        {"au": values},
        {"time": even(1500), "face": ["face_0"], "action_unit": np.arange(400)},
        history="[]",
    )
    found = ek.smooth(ds, window=0.28).au.values[:, 0]
    expected = scipy.ndimage.median_filter(values[:, 0], (7, 1))
    np.testing.assert_allclose(found[3:-3], expected[3:-3], atol=1e-6)


def test_one_row_and_no_rows():
    assert valence([1.0], [0.5]).tolist() == [0.5]
    assert valence([], []).size == 0


def test_history_says_what_was_done():
    ds = ek.smooth(dataset(even(9), valence=np.zeros(9)), window=0.5, method="savgol")
    step = ek.schema.read_history(ds)[-1]
    assert (step["step"], step["method"]) == ("smooth", "savgol")
    assert step["parameters"] == {"window": 0.5, "max_gap": 0.2}
    ds = ek.smooth(dataset(even(9), valence=np.zeros(9)), method="kalman", noise=0.1)
    assert ek.schema.read_history(ds)[-1]["parameters"]["noise"] == 0.1


def test_sparse_sampling_warns_and_changes_nothing():
    values = np.random.default_rng(0).uniform(-1, 1, 20)
    with pytest.warns(UserWarning, match="max_gap"):
        found = valence(np.arange(20.0), values, window=5.0)
    np.testing.assert_allclose(found, values, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"method": "mean"},
            "method must be one of median, savgol, exponential, kalman; got 'mean'",
        ),
        ({"window": 0}, "window must"),
        ({"window": float("nan")}, "window must"),
        ({"max_gap": -1}, "max_gap must"),
        ({"noise": 0, "method": "kalman"}, "noise must be a number above 0; got 0"),
    ],
)
def test_unusable_options_are_named(options, says):
    with pytest.raises(ValueError, match=says):
        valence(even(5), np.zeros(5), **options)


def test_unusable_datasets():
    with pytest.raises(TypeError, match="ds must be an xarray Dataset"):
        ek.smooth(np.zeros(5))
    with pytest.raises(ValueError, match="increase strictly"):
        ek.smooth(xr.Dataset({"valence": ("time", [0.0, 0.1])}, {"time": [1.0, 1.0]}))


# ------------------------------------------------------- exponential, Kalman


def test_exponential_is_the_weighted_mean_of_the_past():
    time, rng = uneven(60), np.random.default_rng(0)
    values = rng.uniform(-1, 1, 60)
    found = valence(time, values, method="exponential", window=0.3)
    for row in (0, 7, 59):
        weight = np.exp(-(time[row] - time[: row + 1]) / 0.3)
        assert found[row] == pytest.approx((weight * values[: row + 1]).sum() / weight.sum(), 1e-5)


def test_exponential_never_looks_ahead():
    values = np.random.default_rng(0).uniform(-1, 1, 60)
    changed = np.where(np.arange(60) < 40, values, 1.0)
    before, after = (valence(even(60), v, method="exponential") for v in (values, changed))
    np.testing.assert_array_equal(before[:40], after[:40])
    assert not np.array_equal(before[40:], after[40:])


def test_kalman_is_the_posterior_mean_of_its_model(monkeypatch):
    """Against the dense solution: a Gaussian process with the model's own covariance."""
    monkeypatch.setattr(smoothing, "_JERKINESS", np.array([2.0]))
    time = uneven(40)
    values = 0.3 * np.sin(3 * time) + np.random.default_rng(0).normal(0, 0.1, 40)
    values[[0, 11, 12]] = values[0], np.nan, np.nan
    values /= np.nanmax(values) - np.nanmin(values)  # the model is of a column's own range
    found = smoothing.smooth_by_kalman(
        time, values[:, None].copy(), noise=np.array([0.1]), max_gap=0.5
    )[:, 0]
    # Value and speed start from the first value with variances 1 and 4; the spread of the
    # integrated Wiener process is Rasmussen and Williams' (2006), equation 6.28.
    t, seen = time - time[0], np.isfinite(values)
    low, high = np.minimum.outer(t, t), np.maximum.outer(t, t)
    prior = 1 + 4 * np.outer(t, t) + 4.0 * (low**3 / 3 + (high - low) * low**2 / 2)
    on = prior[np.ix_(seen, seen)] + 0.01 * np.eye(seen.sum())
    expected = values[0] + prior[:, seen] @ np.linalg.solve(on, values[seen] - values[0])
    np.testing.assert_allclose(found[seen], expected[seen], atol=1e-8)
    assert np.isnan(found[~seen]).all()


@pytest.mark.parametrize("known", [True, False])
def test_kalman_takes_away_more_noise_than_the_median_and_keeps_the_peak(known):
    time = uneven(500)
    clean = 0.7 * np.exp(-(((time - time.mean()) / 0.8) ** 2))
    noisy = clean + np.random.default_rng(3).normal(0, 0.06, 500)
    ours = valence(time, noisy, method="kalman", noise=0.06 if known else None)
    median = valence(time, noisy)
    assert np.sqrt(np.mean((ours - clean) ** 2)) < 0.75 * np.sqrt(np.mean((median - clean) ** 2))
    assert ours.max() == pytest.approx(0.7, abs=0.05)


def test_noise_is_estimated_where_it_is_not_known():
    time = uneven(3000)
    noisy = 0.3 * np.sin(time)[:, None] + np.random.default_rng(0).normal(0, [0.02, 0.2], (3000, 2))
    noisy[::7, 0] = np.nan
    np.testing.assert_allclose(smoothing.estimate_noise(time, noisy, 0.5), [0.02, 0.2], rtol=0.1)


def test_kalman_believes_the_noise_it_is_given_unit_by_unit():
    rng = np.random.default_rng(0)
    au = (0.4 + 0.1 * np.sin(even(200)) + rng.normal(0, 0.05, 200)).astype(np.float32)
    ds = ek.schema.build_dataset(
        "face",
        {"au": np.stack([au, au], axis=1)[:, None]},
        {"time": even(200), "face": ["face_0"], "action_unit": ["AU01", "AU12"]},
        history="[]",
    )
    noise = xr.DataArray([0.2, 0.001], dims="action_unit", coords={"action_unit": ["AU12", "AU01"]})
    found = ek.smooth(ds, method="kalman", noise=noise).au[:, 0]
    trusted, doubted = (found.sel(action_unit=unit).values for unit in ("AU01", "AU12"))
    assert np.abs(trusted - au).max() < 0.01
    assert np.diff(doubted).std() < np.diff(trusted).std() / 10
    # The coordinate of that name is the whole error of a unit, not how much it jumps.
    whole = ek.smooth(ds.assign_coords(noise=("action_unit", [0.3, 0.3])), method="kalman")
    np.testing.assert_array_equal(whole.au, ek.smooth(ds, method="kalman").au)


def test_kalman_does_simulated_people_no_harm():
    people = ek.simulate_faces(n_faces=4, landmarks=False, seed=4)

    def error(au):
        return float(((au - people.au_true) ** 2).mean())

    assert error(ek.smooth(people, method="kalman").au) < 1.02 * error(people.au)


def test_kalman_is_the_same_in_any_units():
    time = uneven(300)
    noisy = 0.3 * np.sin(3 * time)[:, None] + np.random.default_rng(0).normal(0, 0.03, (300, 1))
    nothing = np.array([np.nan])
    one = smoothing.smooth_by_kalman(time, noisy, noise=nothing, max_gap=0.5)
    pixels = smoothing.smooth_by_kalman(time, 900 * noisy, noise=nothing, max_gap=0.5)
    np.testing.assert_allclose(pixels, 900 * one, rtol=1e-6)
