import numpy as np
import pandas as pd
import pytest
import xarray as xr
from sklearn import metrics as sk

import emokit as ek
from emokit import calibration, evaluation, metrics

#: Shrout and Fleiss (1979), Table 2: six targets, four judges.
SHROUT_FLEISS = [
    [9, 2, 5, 8],
    [6, 1, 3, 2],
    [8, 4, 6, 8],
    [7, 1, 2, 6],
    [10, 5, 6, 9],
    [6, 2, 4, 7],
]


def simulate_probabilities(n=4000, sharpen=1.0, seed=0):
    """Labels drawn from known distributions, which are then made too sharp."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (n, 3))
    honest = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = np.array(list("abc"))[(honest.cumsum(1) < rng.random((n, 1))).sum(1)]
    said = honest**sharpen / (honest**sharpen).sum(1, keepdims=True)
    return truth, xr.DataArray(said, dims=("row", "emotion"), coords={"emotion": list("abc")})


# ------------------------------------------------------------------ metrics


@pytest.mark.parametrize(
    ("form", "published"),
    [
        ("ICC(1,1)", 0.17),
        ("ICC(2,1)", 0.29),
        ("ICC(3,1)", 0.71),
        ("ICC(1,k)", 0.44),
        ("ICC(2,k)", 0.62),
        ("ICC(3,k)", 0.91),
    ],
)
def test_icc_is_that_of_shrout_and_fleiss(form, published):
    found = metrics.intraclass_correlation(SHROUT_FLEISS, form=form)
    assert found == pytest.approx(published, abs=0.005)
    with_missing = [*SHROUT_FLEISS, [5, np.nan, 3, 3]]
    assert metrics.intraclass_correlation(with_missing, form=form) == pytest.approx(found)


def test_concordance_is_correlation_times_lins_bias_correction():
    """Lin (1989): r × 2 / (v + 1/v + u²), with v the ratio of scales and u the shift."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=300)
    estimate = 1.7 * truth + 0.4 + rng.normal(0, 0.5, 300)
    v = estimate.std() / truth.std()
    u = (estimate.mean() - truth.mean()) / np.sqrt(estimate.std() * truth.std())
    expected = np.corrcoef(truth, estimate)[0, 1] * 2 / (v + 1 / v + u**2)
    assert metrics.concordance(truth, estimate) == pytest.approx(expected)
    assert metrics.concordance(truth, truth) == pytest.approx(1)
    assert metrics.concordance(truth, -truth + 2 * truth.mean()) == pytest.approx(-1)
    assert metrics.pearson(truth, 3 * truth - 1) == pytest.approx(1)


def test_concordance_with_unbiased_variances_is_that_of_torchmetrics():
    """Its documentation gives 0.9777 with n - 1 for these; Lin's own n gives a little less."""
    truth, estimate = [3, -0.5, 2, 7], [2.5, 0.0, 2, 8]
    found = metrics.concordance(truth, estimate)
    shift = (np.mean(truth) - np.mean(estimate)) ** 2
    spread = np.var(truth) + np.var(estimate)
    unbiased = found * (spread + shift) / (spread + shift * 3 / 4)
    assert unbiased == pytest.approx(0.9777, abs=5e-5)


def test_labels_that_are_missing_are_left_out():
    truth = np.array(["a", "b", "", None, "b"], dtype=object)
    predicted = np.array(["a", "a", "a", "a", None], dtype=object)
    assert metrics.accuracy(truth, predicted) == 0.5
    assert metrics.confusion(truth, predicted).values.tolist() == [[1, 0], [1, 0]]
    assert np.isnan(metrics.accuracy([""], ["a"]))


def test_labels_that_are_numbers_compare_as_numbers():
    assert metrics.accuracy(np.array([1, 2, 1]), np.array([1.0, 2.0, np.nan])) == 1
    assert metrics.accuracy([True, False, True], [1, 0, 1]) == 1
    assert metrics.accuracy([True, False], ["True", "False"]) == 1
    assert metrics.macro_f1([1, 0, 1], [1.0, 1.0, 1.0]) == pytest.approx(0.4)
    table = metrics.confusion([0, 1, 1], [0.0, 1.0, 0.0], labels=[1, 0])
    assert table.values.tolist() == [[1, 1], [0, 1]]
    assert metrics.confusion([True], [False])["truth"].values.tolist() == ["False", "True"]
    said = [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.5, 0.5]]
    assert metrics.auc([0.0, 1.0, 1.0, np.nan], said, labels=[0, 1]) == 1


def test_rounding_is_not_variance():
    """A constant has no correlation, however its mean is rounded."""
    for form in metrics.ICC_FORMS:
        assert np.isnan(metrics.intraclass_correlation([[0.1, 0.2]] * 7, form=form))
        assert np.isnan(metrics.intraclass_correlation([[0.7, 0.1]] * 6, form=form))
    assert np.isnan(metrics.concordance([0.1] * 3, [0.1] * 3))
    assert np.isnan(metrics.pearson([0.1 + 0.2, 0.3, 0.3], [1, 2, 2]))
    # What is small is not constant for that.
    small = np.array(SHROUT_FLEISS) * 1e-9
    assert metrics.intraclass_correlation(small) == pytest.approx(0.29, abs=0.005)
    assert metrics.concordance([1e-9, 2e-9, 3e-9], [1e-9, 2e-9, 3e-9]) == pytest.approx(1)


def test_nothing_to_compare_is_no_error():
    assert metrics.confusion([], []).shape == (0, 0)
    assert metrics.confusion([""], ["a"], labels=["a", "b"]).values.tolist() == [[0, 0], [0, 0]]
    units = {"action_unit": ["AU01", "AU12"]}
    truth = xr.DataArray([[1, 1], [0, 1.0]], dims=("time", "action_unit"), coords=units)
    unread = truth.where(truth["action_unit"] != "AU01")
    np.testing.assert_array_equal(metrics.unit_f1(truth, unread), [np.nan, 1])


def test_recall_is_macro_over_the_classes_of_the_truth():
    truth = ["a"] * 8 + ["b"] * 2
    predicted = ["a"] * 8 + ["b", "c"]
    assert metrics.unweighted_recall(truth, predicted) == 0.75
    assert metrics.accuracy(truth, predicted) == 0.9


def test_auc_is_the_mean_of_one_against_the_rest():
    truth, said = simulate_probabilities()
    expected = sk.roc_auc_score(truth, said.values, multi_class="ovr", labels=list("abc"))
    assert metrics.auc(truth, said) == pytest.approx(expected)
    assert metrics.auc([0, 0, 1, np.nan], [0.1, 0.2, 0.9, 0.5]) == 1
    assert np.isnan(metrics.auc([1, 1], [0.1, 0.2]))


def test_arrays_of_different_coordinates_are_refused():
    one = xr.DataArray([0.1, 0.2], dims="time", coords={"time": [0.0, 1.0]})
    with pytest.raises(ValueError, match="same coordinates"):
        metrics.concordance(one, one.assign_coords(time=[0.0, 2.0]))
    with pytest.raises(ValueError, match="same shape"):
        metrics.accuracy(["a"], ["a", "b"])
    with pytest.raises(ValueError, match="form must be one of"):
        metrics.intraclass_correlation(SHROUT_FLEISS, form="ICC(4,1)")
    with pytest.raises(ValueError, match="labels lacks b"):
        metrics.confusion(["a"], ["b"], labels=["a"])


def test_unit_f1_takes_units_by_name():
    units = {"action_unit": ["AU01", "AU12"]}
    truth = xr.DataArray([[0, 1], [1, 1], [0, 0]], dims=("time", "action_unit"), coords=units)
    estimate = truth.sel(action_unit=["AU12", "AU01"]) * 0.8
    assert metrics.unit_f1(truth, estimate).values.tolist() == [1, 1]
    assert np.isnan(metrics.unit_f1(truth * 0, truth * 0)).all()


# -------------------------------------------------------------- calibration


def test_honest_probabilities_are_calibrated_and_sharpened_ones_are_not():
    truth, honest = simulate_probabilities()
    _, sharp = simulate_probabilities(sharpen=3)
    assert calibration.calibration_error(truth, honest) < 0.03
    assert calibration.calibration_error(truth, sharp) > 0.1


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_calibration_learned_on_some_holds_for_others(method):
    truth, sharp = simulate_probabilities(sharpen=3)
    fitted = calibration.fit_calibration(truth, sharp, method=method)
    truth, sharp = simulate_probabilities(sharpen=3, seed=1)
    mended = fitted(sharp)
    assert calibration.calibration_error(truth, mended) < 0.05
    np.testing.assert_allclose(mended.sum("emotion"), 1)
    turned = fitted(sharp.sel(emotion=list("cab")))
    xr.testing.assert_allclose(turned.sel(emotion=list("abc")), mended)
    if method == "temperature":
        assert fitted.temperature == pytest.approx(3, rel=0.15)
        np.testing.assert_array_equal(mended.argmax("emotion"), sharp.argmax("emotion"))


def test_missing_rows_stay_missing_when_calibrated():
    truth, sharp = simulate_probabilities(500, sharpen=3)
    sharp[3] = np.nan
    mended = calibration.fit_calibration(truth, sharp, method="isotonic")(sharp)
    assert mended.isnull().any("emotion").values.nonzero()[0].tolist() == [3]
    with pytest.raises(ValueError, match="must have the classes"):
        calibration.fit_calibration(truth, sharp)(sharp.assign_coords(emotion=list("xyz")))


def test_reliability_plot_draws_the_diagonal_and_every_model():
    truth, honest = simulate_probabilities(400)
    figure = ek.plot_reliability(truth, {"honest": honest, "cubed": honest**3})
    above, below = figure.axes
    assert [line.get_label().split()[0] for line in above.lines[1:]] == ["honest", "cubed"]
    assert len(below.patches) == 20
    shares = sum(patch.get_height() for patch in below.patches)
    assert shares == pytest.approx(2)


# --------------------------------------------------------------- evaluation


def test_intervals_draw_people_not_rows():
    """Forty people, each constant over 50 rows: 2000 rows say no more than forty do."""
    rng = np.random.default_rng(0)
    level = rng.normal(0, 1, 40)
    people = np.repeat(np.arange(40), 50)
    by_person = np.diff(evaluation.bootstrap(np.mean, level[people], subjects=people))
    by_row = np.diff(evaluation.bootstrap(np.mean, level[people]))
    expected = 2 * 1.96 * level.std() / np.sqrt(40)
    assert by_person == pytest.approx(expected, rel=0.15)
    assert by_row < by_person / 5


def test_intervals_cover_as_often_as_they_say():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(100):
        low, high = evaluation.bootstrap(np.mean, rng.normal(size=60), n_resamples=200)
        covered += low <= 0 <= high
    assert 87 <= covered <= 100


def test_score_chooses_its_metrics_by_what_it_gets():
    truth, said = simulate_probabilities(300)
    found = ek.score(truth, said, n_resamples=50)
    assert {"accuracy", "unweighted_recall", "macro_f1", "auc", "calibration_error"} == set(
        found["metric"].values
    )
    assert ((found["low"] <= found["value"]) & (found["value"] <= found["high"]))[:4].all()
    xr.testing.assert_identical(found, ek.score(truth, said, n_resamples=50))
    likeliest = said["emotion"].values[said.argmax("emotion")]
    assert found["value"].values == pytest.approx(
        [
            metrics.accuracy(truth, likeliest),
            metrics.unweighted_recall(truth, likeliest),
            metrics.macro_f1(truth, likeliest),
            metrics.auc(truth, said),
            calibration.calibration_error(truth, said),
        ]
    )
    numbers = ek.score(np.arange(20.0), np.arange(20.0) + 1, n_resamples=50)
    assert numbers["value"].sel(metric="pearson") == pytest.approx(1)
    assert numbers["value"].sel(metric="mean_absolute_error") == pytest.approx(1)
    assert numbers["value"].sel(metric="concordance") < 1


def test_score_takes_flags_and_numbered_classes():
    flags, chance = [True, False, True, False] * 2, [0.9, 0.1, 0.8, 0.3] * 2
    of_true = ek.score(flags, chance, n_resamples=20)["value"]
    assert of_true.sel(metric=["accuracy", "auc"]).values.tolist() == [1, 1]
    assert of_true.sel(metric="calibration_error") == pytest.approx(0.175)
    assert ek.score(flags, [1, 0, 1, 1] * 2, n_resamples=20)["value"][0] == 0.75
    said = np.stack([1 - np.array(chance), chance], axis=1)
    for truth in (np.array(flags).astype(int), np.array(flags).astype(float)):
        numbered = ek.score(truth, said, labels=[0, 1], n_resamples=20)["value"]
        xr.testing.assert_allclose(numbered, of_true)
    with pytest.raises(ValueError, match="must be probabilities"):
        ek.score(flags, np.array(chance) * 10)
    with pytest.raises(ValueError, match="a column for each class"):
        ek.score(["joy", "fear"] * 4, chance)


def test_score_refuses_what_was_measured_at_other_times():
    truth = xr.DataArray(np.arange(6.0), dims="time", coords={"time": np.arange(6)})
    with pytest.raises(ValueError, match="same coordinates"):
        ek.score(truth, truth.assign_coords(time=truth["time"] + 10))
    emotions, said = simulate_probabilities(6)
    emotions = xr.DataArray(emotions, dims="row", coords={"row": np.arange(6)})
    said = said.assign_coords(row=np.arange(6))
    turned = ek.score(emotions, said.transpose("emotion", "row"), n_resamples=20)
    xr.testing.assert_equal(turned, ek.score(emotions, said, n_resamples=20))
    for function in (ek.score, metrics.auc, calibration.calibration_error):
        with pytest.raises(ValueError, match="same coordinates"):
            function(emotions, said.assign_coords(row=np.arange(6) + 1))


def test_one_person_has_no_interval():
    truth = np.arange(12.0)
    with pytest.warns(UserWarning, match="no interval from one person"):
        alone = ek.score(truth, truth + 1, subjects=["ann"] * 12)
    assert alone["value"].notnull().all() and alone[["low", "high"]].isnull().all()
    with pytest.warns(UserWarning, match="from 3 people says little"):
        low, high = evaluation.bootstrap(np.mean, truth, subjects=np.arange(12) % 3)
    assert low < high
    with pytest.raises(ValueError, match="row 1 has None"):
        ek.score(truth, truth, subjects=["ann", None, *["bob"] * 10])


def test_nobody_is_in_training_and_test_at_once():
    people = np.repeat([f"p{i}" for i in range(12)], 5)
    labels = np.tile(["a", "b", "a", "a", "b"], 12)
    for options in ({}, {"labels": labels}):
        folds = ek.split_subjects(people, n_folds=4, **options)
        tested = np.concatenate([test for _, test in folds])
        assert sorted(tested) == list(range(60))
        for train, test in folds:
            assert not set(people[train]) & set(people[test])
    with pytest.raises(ValueError, match="number of people, 12"):
        ek.split_subjects(people, n_folds=13)
    with pytest.raises(ValueError, match="subjects must name a person"):
        ek.split_subjects(["ann", None, "bob"], n_folds=2)


def test_labels_that_cannot_be_even_over_folds_do_not_stop_the_split():
    folds = ek.split_subjects(["a", "a", "b", "c"], labels=["x", "y", "x", "y"], n_folds=3)
    assert sorted(tuple(test.tolist()) for _, test in folds) == [(0, 1), (2,), (3,)]
    rng = np.random.default_rng(0)
    for seed in range(40):
        people = np.append(rng.integers(4, size=9), [0, 1, 2])
        folds = ek.split_subjects(people, labels=rng.integers(2, size=12), n_folds=3, seed=seed)
        assert all(len(train) and len(test) for train, test in folds)


def spans(*triples):
    onset, offset, label = zip(*triples, strict=True) if triples else ((), (), ())
    return xr.Dataset(
        {
            "onset": ("event", np.array(onset, float)),
            "offset": ("event", np.array(offset, float)),
            "label": ("event", np.array(label, dtype=str)),
        }
    )


def test_events_match_one_to_one_by_overlap_and_label():
    truth = spans((0, 1, "AU12"), (2, 3, "AU12"), (5, 6, "AU04"))
    found = spans((0.1, 1, "AU12"), (0, 0.9, "AU12"), (2, 3, "AU04"), (5.4, 6, "AU04"))
    scored = ek.match_events(truth, found, by=["label"])
    assert scored["n_hits"] == 2
    assert scored["precision"] == 0.5 and scored["recall"] == pytest.approx(2 / 3)
    assert sorted(scored["match"].values) == [-1, -1, 0, 2]
    assert ek.match_events(truth, found)["n_hits"] == 3
    strict = ek.match_events(truth, found, min_overlap=0.95, by=["label"])
    assert strict["n_hits"] == 0 and np.isnan(strict["onset_error"])
    nothing = ek.match_events(truth, spans())
    assert np.isnan(nothing["precision"]) and nothing["recall"] == 0


def test_events_of_unknown_time_are_left_out():
    truth = spans((0, 1, "AU12"), (2, 3, "AU12"), (4, np.nan, "AU12"))
    found = spans((np.nan, np.nan, ""), (2, 3, "AU12"))
    scored = ek.match_events(truth, found)
    assert scored["match"].values.tolist() == [-1, 1]
    assert (scored["precision"], scored["recall"]) == (1, 0.5)


def simulate_audit(n_people=60, seed=0):
    """Two thirds of the people are read well, one third badly; three people are of a third kind."""
    rng = np.random.default_rng(seed)
    people = np.repeat([f"p{i:02}" for i in range(n_people + 3)], 20)
    kind = np.where(np.arange(n_people + 3) % 3 < 2, "x", "y")
    kind[-3:] = "z"
    truth = rng.choice(["joy", "fear", "anger"], len(people))
    wrong = rng.random(len(people)) < np.repeat(np.where(kind == "y", 0.4, 0.1), 20)
    predicted = np.where(wrong, rng.choice(["joy", "fear", "anger"], len(people)), truth)
    table = pd.DataFrame({"truth": truth, "predicted": predicted, "subject": people})
    return table, dict(zip(dict.fromkeys(people), kind, strict=True))


def test_audit_finds_the_gap_and_refuses_the_few():
    table, kind = simulate_audit()
    with pytest.warns(UserWarning, match=r"too few people to judge: z \(3\)"):
        found = ek.audit(table, groups=kind, n_resamples=200)
    accuracy = found.sel(metric="accuracy")
    assert (accuracy["highest"], accuracy["lowest"]) == ("x", "y")
    # A wrong draw is right by chance in one case of three: 0.3 * 2/3.
    assert accuracy["gap"] == pytest.approx(0.2, abs=0.05)
    assert 0 < accuracy["gap_low"] < accuracy["gap"] < accuracy["gap_high"]
    assert found["value"].sel(group="z").isnull().all()
    assert found["n_subjects"].sel(group="z") == 3
    assert "does not show that the groups are treated alike" in found.attrs["caution"]
    assert found.attrs["refused"] == "z"


def test_audit_says_nothing_of_groups_that_are_all_too_small():
    table, kind = simulate_audit(n_people=12)
    with pytest.raises(ValueError, match=r"at least two groups of 10 people or more; got x \(8\)"):
        ek.audit(table, groups=kind)
    with pytest.raises(ValueError, match="no column 'sex'"):
        ek.audit(table, groups="sex")
    with pytest.raises(ValueError, match="must hold subject"):
        ek.audit(table.drop(columns="subject"), groups=kind)


def test_audit_takes_probabilities_in_a_dataset_and_leaves_unknown_groups_out():
    truth, said = simulate_probabilities(600)
    people = np.repeat(np.arange(60), 10).astype(str)
    results = xr.Dataset(
        {
            "truth": ("row", truth),
            "probability": said,
            "subject": ("row", people),
            "site": ("row", np.where(people.astype(int) < 30, "here", "there")),
        }
    )
    results["site"][:10] = ""
    found = ek.audit(results, groups="site", n_resamples=50)
    assert found["n_rows"].values.tolist() == [290, 300]
    assert "calibration_error" in found["metric"]
    # Nothing tells the groups apart.
    assert found["gap_low"].sel(metric="accuracy") < 0 < found["gap"].sel(metric="accuracy")
    as_coordinate = ek.audit(results.set_coords(["site", "subject"]), groups="site", n_resamples=50)
    xr.testing.assert_identical(as_coordinate, found)


def test_the_interval_of_the_gap_allows_for_the_choice_of_groups():
    """Four groups that do not differ: one audit in twenty may say that the widest gap is real."""
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(60), 10)
    kind = np.repeat(["w", "x", "y", "z"], [210, 150, 130, 110])
    alarms = 0
    for _ in range(100):
        skill = rng.beta(4, 2, 60)
        truth = rng.choice(["joy", "fear", "anger"], 600)
        other = rng.choice(["joy", "fear", "anger"], 600)
        said = np.where(rng.random(600) < skill[people], truth, other)
        table = {"truth": truth, "predicted": said, "subject": people}
        found = ek.audit(table, groups=kind, n_resamples=40).sel(metric="accuracy")
        assert found["gap_low"] < found["gap"] < found["gap_high"]
        alarms += found["gap_low"].item() > 0
    assert alarms <= 10  # of 100; at 5 %, one seed in a hundred would give more


def test_audit_judges_the_values_of_a_cross_validation():
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(40), 5)
    truth = rng.normal(size=200)
    results = xr.Dataset(
        {
            "true_valence": ("row", truth),
            "valence": ("row", truth + rng.normal(0, np.where(people < 20, 0.1, 2))),
            "subject": ("row", people),
        }
    )
    groups = np.where(people < 20, "young", "old")
    found = ek.audit(results, groups=groups, n_resamples=60).sel(metric="concordance")
    assert (found["highest"], found["gap_low"] > 0) == ("young", True)
    both = results.assign(true_arousal=("row", truth), arousal=("row", truth))
    with pytest.raises(ValueError, match="quantity must say which of valence, arousal"):
        ek.audit(both, groups=groups)
    arousal = ek.audit(both, groups=groups, quantity="arousal", n_resamples=60)
    assert arousal["gap"].sel(metric="concordance") == pytest.approx(0)
    with pytest.raises(ValueError, match="quantity must be one of valence"):
        ek.audit(results, groups=groups, quantity="joy")
