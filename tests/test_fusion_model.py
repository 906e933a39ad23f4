import numpy as np
import pytest
import xarray as xr

import emokit as ek
from emokit import metrics

LEARNED = ["early", "intermediate", "attention", "ensemble"]
FIT = {"progress": False, "epochs": 9, "learning_rate": 0.03, "batch_size": 8}
SIMULATED = {"noise": ["text"], "missing": 0.05, "fps": 5.0}


def accuracy(estimates, truth):
    said = [found.emotion_probability.idxmax("emotion").values for found in estimates]
    # Rows that no modality covers are NaN, and left out.
    return metrics.accuracy(np.concatenate(truth), np.concatenate(said))


@pytest.fixture(scope="module")
def train():
    return ek.simulate_modalities(n_clips=24, seed=1, **SIMULATED)


@pytest.fixture(scope="module")
def test():
    return ek.simulate_modalities(n_clips=20, seed=2, **SIMULATED)


def without_noise(clips):
    return [{name: ds for name, ds in clip.items() if name != "text"} for clip in clips]


@pytest.fixture(scope="module")
def calibration(train):
    clips, truth = train
    return {
        name: ek.fit_calibration(
            np.concatenate(truth),
            np.concatenate([clip[name].emotion_probability.values for clip in clips]),
            labels=clips[0][name].emotion.values,
        )
        for name in clips[0]
    }


@pytest.fixture(scope="module")
def best_single(test):
    clips, truth = test
    return max(accuracy([c[name] for c in clips], truth) for name in ("face", "voice"))


def test_the_simulated_modalities_complement_each_other(test, best_single):
    clips, truth = test
    assert 0.35 < best_single < 0.6
    assert accuracy([c["text"] for c in clips], truth) == pytest.approx(0.25, abs=0.06)
    again, _ = ek.simulate_modalities(n_clips=1, seed=2, **SIMULATED)
    xr.testing.assert_equal(again[0]["text"].drop_attrs(), clips[0]["text"].drop_attrs())
    said = np.concatenate([c["face"].emotion_probability.values for c in clips])
    names = clips[0]["face"].emotion.values
    known = np.isfinite(said).all(1)
    error = ek.calibration.calibration_error(
        np.concatenate(truth)[known], said[known], labels=names
    )
    assert error < 0.05


@pytest.mark.parametrize("options", [{"method": "late"}, {"method": "ensemble", "pool": "log"}])
def test_fusion_that_learns_nothing_beats_the_best_single(test, best_single, options):
    clips, truth = test
    fused = [ek.fuse(clip, **options) for clip in without_noise(clips)]
    assert accuracy(fused, truth) > best_single + 0.08


def test_calibrated_late_fusion_loses_little_to_a_modality_that_knows_nothing(
    test, calibration, best_single
):
    clips, truth = test
    pure = accuracy([ek.fuse(clip) for clip in without_noise(clips)], truth)
    careless = accuracy([ek.fuse(clip) for clip in clips], truth)
    careful = accuracy([ek.fuse(clip, calibration=calibration) for clip in clips], truth)
    assert careful > careless + 0.02
    assert careful > pure - 0.03
    assert careful > best_single + 0.05


@pytest.mark.parametrize("method", LEARNED)
def test_learned_fusion_beats_the_best_single_though_one_knows_nothing(
    train, test, best_single, method, tmp_path
):
    model = ek.FusionModel(method=method, hidden=8, fps=5).fit(*train, **FIT)
    clips, truth = test
    fused = [ek.fuse(clip, method=method, model=model) for clip in clips]
    reached = accuracy(fused, truth)
    assert reached > best_single + 0.08
    if method == "attention":
        weight = xr.concat([f.weight for f in fused], "time")
        assert weight.sum("modality").values == pytest.approx(np.ones(weight.sizes["time"]))
        for clip, found in zip(clips, fused, strict=True):
            gone = np.isnan(clip["voice"].emotion_probability.values[:, 0])
            weights = found.weight.sel(modality="voice").values[gone]
            # Where all are missing there is nothing to weigh.
            assert (np.isnan(weights) | (weights < 1e-6)).all()
        shown = weight.mean("time")
        assert shown.sel(modality="text") < shown.sel(modality="face")
    # Without the voice it still works, about as well as the face alone.
    half = [ek.fuse({"face": c["face"]}, method=method, model=model) for c in clips]
    assert accuracy(half, truth) > best_single - 0.12
    again = ek.FusionModel.load(model.save(tmp_path / "fusion.safetensors"))
    assert again.method == method
    xr.testing.assert_allclose(
        ek.fuse(clips[0], method=method, model=again).emotion_probability,
        fused[0].emotion_probability,
    )


def test_modalities_may_have_their_own_times_and_faces():
    clips, truth = ek.simulate_modalities(n_clips=6, duration=10, seed=0)
    examples = [
        {
            "face": clip["face"].expand_dims(face=["a"], axis=1),
            "voice": ek.align_time(clip["voice"], np.arange(0.5, 9.5, 0.037)),
        }
        for clip in clips
    ]
    model = ek.FusionModel(method="early", hidden=8).fit(examples, truth, progress=False, epochs=2)
    found = ek.fuse(examples[0], method="early", model=model)
    np.testing.assert_array_equal(found.time, examples[0]["face"].time)
    on_voice = ek.fuse(examples[0], method="early", model=model, time=examples[0]["voice"])
    assert on_voice.sizes["time"] == examples[0]["voice"].sizes["time"]
    assert on_voice.emotion_probability.notnull().all()
    step = ek.schema.read_history(found)[-1]
    assert step["method"] == "early" and step["parameters"]["modalities"] == ["face", "voice"]


def test_landmarks_are_fused_where_they_are_asked_for():
    """How high some points lie over the others tells; nothing else does."""
    rng = np.random.default_rng(0)
    shape = rng.normal(size=(468, 3)).astype(np.float32)
    examples, labels = [], []
    for index in range(12):
        points = shape + 0.2 * rng.normal(size=(8, 1, 468, 3)).astype(np.float32)
        points[:, :, :100, 1] += 3 * (index % 2)
        face = ek.schema.build_dataset(
            "face",
            {"landmark_position": points},
            {"time": np.arange(8) / 4, "face": ["face_0"], "landmark": np.arange(468)},
            history="[]",
        )
        examples.append({"face": face})
        labels.append("up" if index % 2 else "down")
    model = ek.FusionModel(
        method="early", features={"face": ["landmark_position"]}, fps=4, hidden=8
    ).fit(examples[:8], labels[:8], epochs=40, validation=0, progress=False)
    said = [
        ek.fuse(one, method="early", model=model)["clip_probability"].idxmax("emotion").item()
        for one in examples[8:]
    ]
    assert said == labels[8:]
    with pytest.raises(ValueError, match="not learned"):
        ek.fuse(examples[0], method="early", model=model, pool="log")


def test_what_cannot_be_fused_is_named():
    clips, truth = ek.simulate_modalities(n_clips=2, duration=3)
    with pytest.raises(ValueError, match=r"'attention' is learned: give model=FusionModel"):
        ek.fuse(clips[0], method="attention")
    with pytest.raises(ValueError, match="pool must be one of linear, log"):
        ek.fuse(clips[0], method="ensemble", pool="max")
    with pytest.raises(ValueError, match="calibration names 'text'"):
        ek.fuse(clips[0], calibration={"text": lambda p: p})
    with pytest.raises(ValueError, match="method must be one of early"):
        ek.FusionModel(method="late")
    with pytest.raises(ValueError, match="not fitted"):
        ek.FusionModel().predict(clips[0])
    with pytest.raises(TypeError, match="must map names of modalities"):
        ek.FusionModel().fit(["face"], truth[:1])
    with pytest.raises(ValueError, match="may not hold '/' or ':'"):
        ek.FusionModel().fit([{"a:b": clips[0]["face"]}], truth[:1])
    with pytest.raises(ValueError, match="as many"):
        ek.FusionModel().fit(clips, truth[:1])
    model = ek.FusionModel(method="ensemble").fit(clips, truth, progress=False, epochs=1)
    with pytest.raises(ValueError, match="model fuses by 'ensemble'; method is 'early'"):
        ek.fuse(clips[0], method="early", model=model)
    with pytest.raises(ValueError, match="must hold rows of some of face, voice"):
        model.predict({"body": clips[0]["face"]})
