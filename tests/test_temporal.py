import json
import pickle

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import save_file

import emokit as ek
from emokit import sequences, temporal_nets
from emokit.augment import Augmenter

#: Sequence models, small enough to learn a toy in a second.
KINDS = ["gru", "lstm", "tcn", "transformer"]
SMALL = {"hidden": 16, "dropout": 0.0}
QUICK = {"progress": False, "learning_rate": 0.02, "validation": 0.2}


def units(values, fps=10.0, time=None):
    """Units (time, unit) as a DataArray."""
    values = np.asarray(values, float)
    time = np.arange(len(values)) / fps if time is None else time
    names = ["AU12", "AU04", "AU01"][: values.shape[1]]
    return xr.DataArray(
        values, dims=("time", "action_unit"), coords={"time": time, "action_unit": names}, name="au"
    )


def order_task(n=48, seed=0, lengths=(20, 40)):
    """First AU12 then AU04, or the other way round: no single row tells which."""
    rng = np.random.default_rng(seed)
    clips, labels = [], []
    for i in range(n):
        rows = rng.integers(*lengths)
        values = rng.normal(0, 0.05, (rows, 2)).clip(0, 1)
        first, second = np.sort(rng.choice(np.arange(3, rows - 5, 6), 2, replace=False))
        swap = i % 2
        values[first : first + 3, swap] += 0.7
        values[second : second + 3, 1 - swap] += 0.7
        clips.append(units(values.clip(0, 1)))
        labels.append("relief" if swap else "letdown")
    return clips, labels


def level_task(n=24, seed=0):
    """Rows in which AU12 shows are happiness; valence is AU12 less AU04."""
    rng = np.random.default_rng(seed)
    clips, labels = [], []
    for _ in range(n):
        on = rng.random(30) < 0.5
        values = np.stack([on * 0.8, rng.random(30) * 0.8], axis=1) + rng.normal(0, 0.03, (30, 2))
        clips.append(units(values.clip(0, 1)))
        valence = np.clip(values[:, 0] - values[:, 1], -1, 1)
        labels.append({"emotion": np.where(on, "happiness", "neutral"), "valence": valence})
    return clips, labels


def share_right(model, clips, labels):
    said = [model.predict(c).clip_probability.idxmax().item() for c in clips]
    return np.mean(np.array(said) == labels)


@pytest.fixture(scope="module")
def fitted():
    """A small GRU that knows happiness and valence, row by row."""
    clips, labels = level_task()
    return ek.TemporalModel(**SMALL).fit(clips, labels, epochs=25, **QUICK)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_learns_what_no_single_row_tells(kind):
    clips, labels = order_task(72)
    rate = 0.01 if kind == "transformer" else 0.02
    model = ek.TemporalModel(kind=kind, **SMALL).fit(
        clips, labels, epochs=25, **{**QUICK, "learning_rate": rate}
    )
    assert share_right(model, *order_task(40, seed=9)) > 0.8
    assert model.training["training"].iloc[-1] < model.training["training"].iloc[0] / 2


def test_a_model_of_single_rows_cannot():
    model = ek.TemporalModel(kind="linear").fit(*order_task(), epochs=15, **QUICK)
    assert share_right(model, *order_task(40, seed=9)) < 0.75


def moving_pictures(n, seed=0):
    """A bright square that moves to the right, or to the left."""
    rng = np.random.default_rng(seed)
    clips, labels = [], []
    for i in range(n):
        pictures = rng.integers(0, 40, (8, 24, 24, 3))
        for row in range(8):
            left = 2 + 2 * row if i % 2 else 16 - 2 * row
            pictures[row, 8:14, left : left + 6] += 180
        clips.append(
            xr.DataArray(
                pictures.astype(np.uint8),
                dims=("time", "y", "x", "channel"),
                coords={"time": np.arange(8) / 10},
                name="face_crop",
            )
        )
        labels.append("right" if i % 2 else "left")
    return clips, labels


def test_conv3d_learns_movement_from_pictures():
    model = ek.TemporalModel(kind="conv3d", **SMALL).fit(
        *moving_pictures(24), epochs=12, **{**QUICK, "learning_rate": 0.005}
    )
    assert share_right(model, *moving_pictures(10, seed=5)) >= 0.9


def test_image_encoder_is_frozen_first_and_tuned_after(tmp_path):
    clips, labels = moving_pictures(6)
    encoder = temporal_nets.ImageEncoder("test_resnet")
    path = tmp_path / "encoder.safetensors"
    save_file(encoder.net.state_dict(), path)
    options = {"encoder_weights": path, "progress": False, "validation": 0, "epochs": 2}

    def first_layer(**more):
        model = ek.TemporalModel(kind="gru", encoder="test_resnet", **SMALL)
        model.fit(clips, labels, **options, **more)
        return model, model._network.encoder.net.state_dict()["conv1.0.weight"]

    given = encoder.net.state_dict()["conv1.0.weight"]
    model, _ = first_layer(freeze_epochs=2)
    frozen = model._network.encoder.net.state_dict()
    # All of it: running statistics as well as weights.
    assert all(torch.equal(frozen[k], v) for k, v in encoder.net.state_dict().items())
    _, tuned = first_layer(freeze_epochs=1)
    assert not torch.equal(tuned, given)
    again = ek.TemporalModel.load(model.save(tmp_path / "model.safetensors"))
    xr.testing.assert_equal(again.predict(clips[0]), model.predict(clips[0]))
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="they are of another network"):
        first_layer()


def test_values_and_classes_of_rows(fitted):
    clips, labels = level_task(6, seed=7)
    for clip, label in zip(clips, labels, strict=True):
        found = fitted.predict(clip)
        assert set(found.data_vars) == {
            "emotion_probability", "clip_probability", "valence", "clip_valence",
        }  # fmt: skip
        said = found.emotion_probability.idxmax("emotion").values
        assert (said == label["emotion"]).mean() > 0.9
        assert ek.metrics.concordance(label["valence"], found.valence) > 0.7
        ek.schema.validate(found, group="fused")
    assert "arousal" not in found


def test_the_same_seed_gives_the_same_network_bit_for_bit():
    clips, labels = order_task(24)

    def fit(seed):
        model = ek.TemporalModel(hidden=8, seed=seed)
        model.fit(clips, labels, epochs=3, augment=ek.Augmentation(), progress=False)
        return model._network.state_dict()

    before = torch.get_rng_state()
    one, two, other = fit(4), fit(4), fit(5)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(torch.get_rng_state(), before)


def test_saved_and_loaded_it_says_the_same(fitted, tmp_path):
    path = fitted.save(tmp_path / "model.safetensors")
    again = ek.TemporalModel.load(path)
    clip = level_task(1, seed=3)[0][0]
    xr.testing.assert_equal(again.predict(clip), fitted.predict(clip))
    assert again.classes == fitted.classes and repr(again) == repr(fitted)
    assert list(again.training["epoch"]) == list(fitted.training["epoch"])
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_other_files_are_refused(fitted, tmp_path):
    pickled = tmp_path / "model.pt"
    pickled.write_bytes(pickle.dumps({"weights": 1}))
    with pytest.raises(ValueError, match="is not a model file"):
        ek.TemporalModel.load(pickled)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(2)}, foreign)
    with pytest.raises(ValueError, match="holds no emokit temporal model"):
        ek.TemporalModel.load(foreign)
    with pytest.raises(ValueError, match="there is no file"):
        ek.TemporalModel.load(tmp_path / "gone")
    whole = fitted.save(tmp_path / "whole.safetensors").read_bytes()
    size = int.from_bytes(whole[:8], "little")
    about = json.loads(json.loads(whole[8 : 8 + size])["__metadata__"]["emokit"])
    about["config"]["hidden"] = 5
    save_file({"x": torch.zeros(2)}, foreign, metadata={"emokit": json.dumps(about)})
    with pytest.raises(ValueError, match="does not hold what it says"):
        ek.TemporalModel.load(foreign)
    with pytest.raises(ValueError, match="not fitted"):
        ek.TemporalModel().save(tmp_path / "empty")


def test_what_was_not_seen_is_nan_and_changes_little_around_it(fitted):
    clip = level_task(1, seed=3)[0][0]
    holed = clip.copy()
    holed[10:18] = np.nan
    whole, found = fitted.predict(clip), fitted.predict(holed)
    assert found.emotion_probability[10:18].isnull().all()
    assert found.valence[10:18].isnull().all()
    assert found.emotion_probability[:10].notnull().all()
    np.testing.assert_allclose(found.valence[:6], whole.valence[:6], atol=0.3)
    nothing = fitted.predict(clip * np.nan)
    assert nothing.clip_probability.isnull().all() and nothing.valence.isnull().all()


@pytest.mark.parametrize("kind", KINDS)
def test_what_fills_shorter_clips_up_does_not_leak_into_them(kind):
    clips, labels = order_task(8)
    model = ek.TemporalModel(kind=kind, **SMALL).fit(
        clips, labels, epochs=1, validation=0, progress=False
    )
    net, short = model._network, clips[0].values.astype(np.float32)
    padded = temporal_nets.pad([short, np.ones((60, 2), np.float32)], np.nan)
    valid = temporal_nets.pad([np.ones(len(short), bool), np.ones(60, bool)], False)
    with torch.inference_mode():
        alone = net(torch.from_numpy(short)[None], torch.ones(1, len(short), dtype=torch.bool))
        together = net(padded, valid)
    for name in ("frame_logits", "clip_logits"):
        mine = together[name][0][: len(short)] if name.startswith("frame") else together[name][0]
        torch.testing.assert_close(mine, alone[name][0], atol=1e-5, rtol=1e-4)


def test_sampling_may_be_uneven_and_columns_in_any_order(fitted):
    rng = np.random.default_rng(0)
    time = np.cumsum(rng.uniform(0.01, 0.06, 400))
    values = np.stack([(np.sin(time) > 0) * 0.8, np.full(400, 0.2)], axis=1)
    clip = units(values, time=time)
    found = fitted.predict(clip)
    np.testing.assert_array_equal(found.time, time)
    said = found.emotion_probability.sel(emotion="happiness").values > 0.5
    assert (said == (values[:, 0] > 0)).mean() > 0.9
    turned = clip.sel(action_unit=["AU04", "AU12"])
    xr.testing.assert_allclose(fitted.predict(turned), found, atol=1e-6)
    more = xr.concat([clip, clip[:, :1].assign_coords(action_unit=["AU99"])], "action_unit")
    xr.testing.assert_equal(fitted.predict(more), found)
    lacking = fitted.predict(clip.sel(action_unit=["AU12"]))
    assert lacking.emotion_probability.notnull().all()


def test_every_face_is_a_sequence(fitted):
    clips, _ = level_task(2, seed=3)
    both = xr.concat(clips, xr.DataArray(["face_0", "face_1"], dims="face"))
    found = fitted.predict(both.transpose("time", "face", "action_unit").to_dataset())
    assert found.emotion_probability.dims == ("time", "face", "emotion")
    assert found.clip_probability.dims == ("face", "emotion")
    ek.schema.validate(found, group="face")
    np.testing.assert_allclose(
        found.valence.sel(face="face_1"), fitted.predict(clips[1]).valence, atol=1e-6
    )
    with pytest.raises(ValueError, match="has 2 faces; give each as a sequence"):
        ek.TemporalModel().fit([both], ["a"])


def test_long_sequences_are_read_in_pieces_that_agree(fitted, monkeypatch):
    rng = np.random.default_rng(1)
    clip = units(np.repeat(rng.random((40, 2)) * 0.8, 10, axis=0))
    whole = fitted.predict(clip)
    monkeypatch.setattr("emokit.training._PIECE", 90)
    pieces = fitted.predict(clip)
    np.testing.assert_allclose(pieces.valence, whole.valence, atol=0.02)
    np.testing.assert_allclose(pieces.clip_valence, whole.clip_valence, atol=0.1)


def test_cross_validation_predicts_everybody_once_from_others():
    clips, labels = order_task(24)
    people = np.repeat([f"p{i}" for i in range(6)], 4)
    found = ek.TemporalModel(**SMALL).cross_validate(
        clips, labels, groups=people, n_folds=3, epochs=20, **QUICK
    )
    assert sorted(found.sequence.values) == list(range(24))
    assert found.truth.values[np.argsort(found.sequence.values)].tolist() == labels
    for person in set(people):
        assert len(set(found.fold.values[found.subject.values == person])) == 1
    assert found.probability.sum("emotion").values == pytest.approx(np.ones(24))
    scored = ek.score(
        found.truth.values, found.probability, subjects=found.subject.values, n_resamples=20
    )
    assert scored["value"].sel(metric="accuracy") > 0.6
    table = ek.audit(
        found, groups=np.where(found.subject < "p3", "a", "b"), min_subjects=3, n_resamples=20
    )
    assert table["n_subjects"].values.tolist() == [3, 3]


def test_cross_validation_by_row_holds_values_too():
    clips, labels = level_task(6)
    found = ek.TemporalModel(hidden=4).cross_validate(
        clips, labels, groups=list("aabbcc"), n_folds=3, epochs=1, progress=False
    )
    assert found.sizes["row"] == 180
    assert {"truth", "probability", "true_valence", "valence"} <= set(found.data_vars)
    truth = found.truth.values[found.sequence.values == 2]
    assert truth.tolist() == labels[2]["emotion"].tolist()


def test_a_class_of_the_clip_goes_for_its_rows_where_values_are_by_row():
    clips, labels = level_task(4)
    mixed = [
        {"emotion": name, "valence": label["valence"]}
        for name, label in zip("abab", labels, strict=True)
    ]
    found = ek.TemporalModel(hidden=4).cross_validate(
        clips, mixed, groups=list("wxyz"), n_folds=2, epochs=1, progress=False
    )
    for i, name in enumerate("abab"):
        assert set(found.truth.values[found.sequence.values == i]) == {name}


def test_it_stops_when_it_does_not_get_better():
    clips, _ = order_task(20)
    by_chance = np.random.default_rng(0).choice(["a", "b"], 20)
    model = ek.TemporalModel(**SMALL).fit(clips, by_chance, epochs=200, patience=3, **QUICK)
    assert len(model.training) < 100
    figure = model.plot_training()
    assert [line.get_label() for line in figure.axes[0].lines[:2]] == ["training", "validation"]


def test_rare_classes_are_weighed_and_rows_may_be_unlabelled():
    rng = np.random.default_rng(0)
    clips = [units(rng.random((20, 2))) for _ in range(12)]
    labels = [np.where(c[:, 0] > 0.9, "rare", "usual") for c in clips]
    labels[0][:] = ""
    recalls = {}
    for weights in ("balanced", None):
        model = ek.TemporalModel(kind="linear").fit(
            clips, labels, epochs=15, class_weights=weights, **{**QUICK, "validation": 0}
        )
        said = np.concatenate(
            [model.predict(c).emotion_probability.idxmax("emotion").values for c in clips[1:]]
        )
        truth = np.concatenate(labels[1:])
        recalls[weights] = (said == "rare")[truth == "rare"].mean()
    assert recalls["balanced"] > recalls[None]
    assert model.classes == ["rare", "usual"]


def test_landmarks_do_not_care_where_and_how_large_the_face_is():
    rng = np.random.default_rng(0)
    face = rng.normal(size=(5, 20, 3))
    np.testing.assert_allclose(
        sequences.centre_landmarks(face), sequences.centre_landmarks(face * 7 + 100), atol=1e-4
    )


def test_real_faces_from_the_simulator_train_it():
    people = ek.simulate_faces(n_faces=12, duration=4, fps=10, landmarks=False, seed=3)
    clips = [people.sel(face=name) for name in people.face.values]
    names = np.array(ek.schema.EMOTIONS)
    labels = [names[clip.displayed_emotion.values.astype(int)] for clip in clips]
    model = ek.TemporalModel(hidden=8).fit(clips, labels, epochs=2, progress=False)
    found = model.predict(people)
    assert found.emotion_probability.dims == ("time", "face", "emotion")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda c, n: ek.TemporalModel(kind="rnn"), "kind must be one of gru"),
        (lambda c, n: ek.TemporalModel(fps=0), "fps must be a number above 0"),
        (lambda c, n: ek.TemporalModel().fit(c, n[1:]), "labels must be one for each of 4"),
        (lambda c, n: ek.TemporalModel().fit(c, ["a"] * 4), "at least two classes"),
        (lambda c, n: ek.TemporalModel().fit(c, n, groups=["a"]), "groups must be one"),
        (lambda c, n: ek.TemporalModel(features=["f0"]).fit(c, n), "features must be variables"),
        (lambda c, n: ek.TemporalModel(kind="conv3d").fit(c, n), "features must be variables"),
        (lambda c, n: ek.TemporalModel().fit(c, [["a"]] * 4), "one value, or one for each"),
        (lambda c, n: ek.TemporalModel().fit(c, [{"mood": 1}] * 4), "may hold emotion"),
        (lambda c, n: ek.TemporalModel(encoder="nosuchnet").fit(*moving_pictures(2)), "timm knows"),
        (lambda c, n: temporal_nets.ImageEncoder("hf-hub:someone/net"), "timm knows; got 'hf-hub"),
        (lambda c, n: ek.TemporalModel(kind="tcn", bidirectional=False), "looks both ways"),
        (lambda c, n: ek.TemporalModel().fit(c, n, batch_size=0), "batch_size must be a whole"),
        (lambda c, n: ek.TemporalModel().fit(c, [{"valence": 7.0}] * 4), "lie in -1 to 1; got 7"),
        (lambda c, n: ek.TemporalModel().predict(c[0]), "not fitted"),
        (lambda c, n: ek.Augmentation(mirror=2), "mirror must lie in 0 to 1"),
    ],
)
def test_what_cannot_be_is_named(make, says):
    with pytest.raises(ValueError, match=says):
        make(*order_task(4))


def test_columns_are_those_of_all_datasets_and_only_labelled_clips_are_held_out():
    clips, labels = order_task(12)
    clips[0] = clips[0].sel(action_unit=["AU12"])
    labels[:6] = [np.full(c.sizes["time"], "") for c in clips[:6]]
    model = ek.TemporalModel(hidden=4, seed=np.int64(2)).fit(
        clips, labels, epochs=3, **{**QUICK, "validation": 0.4}
    )
    assert model.columns == ["au:AU12", "au:AU04"]
    assert (model.training["validation"] > 0).all()


def test_a_seed_from_numpy_is_saved(tmp_path):
    clips, labels = order_task(4)
    model = ek.TemporalModel(hidden=4, seed=np.int64(3)).fit(
        clips, labels, epochs=1, progress=False
    )
    assert ek.TemporalModel.load(model.save(tmp_path / "m.safetensors")).options["seed"] == 3


# ------------------------------------------------------------- augmentation


def clip_of(values, columns):
    n = len(values)
    return sequences.Clip(
        np.arange(n) / 10, np.asarray(values, np.float32), np.arange(n),
        np.zeros((n, 3), np.float32),
    )  # fmt: skip


def only(**options):
    every = dict.fromkeys(vars(ek.Augmentation()), 0.0)
    return ek.Augmentation(**{**every, **options})


def vary(options, values, columns, seed=0, mean=None):
    mean = np.zeros(len(columns)) if mean is None else mean
    augmenter = Augmenter(options, columns, mean, np.ones(len(columns)))
    return augmenter.vary(clip_of(values, columns), np.random.default_rng(seed))


def test_time_warp_keeps_rows_and_labels_together():
    values = np.arange(50.0)[:, None]
    found = vary(only(time_warp=0.5), values, ["au:AU12"])
    np.testing.assert_array_equal(found.x[:, 0], found.frame_class)
    assert (np.diff(found.x[:, 0]) >= 0).all() and found.x[[0, -1], 0].tolist() == [0, 49]
    assert (found.x[:, 0] != values[:, 0]).any()


def test_a_mirror_swaps_partners_and_signs_and_leaves_units_alone():
    face = np.array([[-1.0, 0, 0], [1.0, 0.01, 0], [0, 1, 0]])
    columns = [f"landmark_position:{i}:{axis}" for i in range(3) for axis in "xyz"]
    columns += ["head_pose:yaw", "au:AU12"]
    values = np.r_[face.ravel() + 0.1, 20, 0.5][None].repeat(5, 0)
    once = vary(only(mirror=1.0), values, columns, mean=np.r_[face.ravel(), 0, 0])
    np.testing.assert_allclose(once.x[0, :3], [-1.1, 0.11, 0.1])
    np.testing.assert_allclose(once.x[0, 9:], [-20, 0.5])
    twice = vary(only(mirror=1.0), once.x, columns, mean=np.r_[face.ravel(), 0, 0])
    np.testing.assert_allclose(twice.x, values, atol=1e-6)


def test_one_modality_always_stays():
    columns = ["face/au:AU12", "face/au:AU04", "voice/f0", "text/valence"]
    lost = 0
    for seed in range(30):
        found = vary(only(drop_modality=1.0), np.ones((30, 4)), columns, seed)
        missing = np.isnan(found.x)
        assert not missing.all(1).any()
        np.testing.assert_array_equal(missing[:, 0], missing[:, 1])
        lost += missing.any()
    assert lost == 30


def test_pictures_are_varied_and_stay_pictures():
    clips, _ = moving_pictures(2)
    clip = clip_of(np.zeros((8, 1)), [])
    clip.x = clips[1].values
    augmenter = Augmenter(only(mirror=1.0), [], np.empty(0), np.empty(0))
    mirrored = augmenter.vary(clip, np.random.default_rng(0))
    np.testing.assert_array_equal(mirrored.x, clips[1].values[:, :, ::-1])
    rough = Augmenter(only(brightness=0.5, blur=1.0, occlusion=1.0), [], np.empty(0), np.empty(0))
    found = rough.vary(clip, np.random.default_rng(0)).x
    assert found.dtype == np.uint8 and found.shape == clip.x.shape
    assert not np.array_equal(found, clip.x)
