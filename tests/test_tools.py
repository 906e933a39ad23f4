"""The scripts that write what ships."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import emokit as ek

TOOLS = Path(__file__).parents[1] / "tools"


def load_tool(name):
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def fit_mesh_au():
    return load_tool("fit_mesh_au")


@pytest.fixture(scope="module")
def fit_emotion():
    return load_tool("fit_emotion")


def test_calibration_error_of_a_known_forecaster(fit_emotion):
    """Says 0.8 and is right in half of the cases: off by 0.3."""
    probability = np.tile([0.8, 0.2], (100, 1))
    emotion = np.repeat([0, 1], 50)
    assert fit_emotion.calibration_error(probability, emotion) == pytest.approx(0.3)


def test_misread_units_stay_intensities_and_lips_stay_as_measured(fit_emotion):
    rng = np.random.default_rng(0)
    au = rng.random((60, len(fit_emotion.UNITS)))
    read = fit_emotion.misread(au, np.arange(60) // 20, rng)
    assert read.min() >= 0
    assert read.max() <= 1
    np.testing.assert_allclose(read[:, fit_emotion.MEASURED], au[:, fit_emotion.MEASURED])
    assert np.abs(read - au).mean() > 0.05


def test_reads_a_checkout_of_the_face_model(fit_mesh_au, tmp_path):
    folder = tmp_path / "FaceXModel"
    folder.mkdir()

    def write(name, points):
        lines = [f"v {x} {y} {z}" for x, y, z in points] + ["vt 0 0", "f 1/1 2/1 3/1"]
        (folder / f"{name}.obj").write_text("\n".join(lines))

    neutral = np.arange(30.0).reshape(10, 3)
    write("generic_neutral_mesh", neutral)
    write("identity000", neutral + 1)
    write("identity001", neutral + 2)
    write("jawOpen", neutral - (0, 3, 0))
    landmarks = list(range(10)) * 7
    (folder / "vertex_indices.json").write_text(json.dumps({"idx_to_landmark_verts": landmarks}))
    model, found = fit_mesh_au.read_face_model(tmp_path)
    np.testing.assert_array_equal(model.neutral, neutral)
    np.testing.assert_array_equal(model.identity.mean((1, 2)), [1, 2])
    assert model.names == ["jawOpen"]
    np.testing.assert_array_equal(model.expression[0, :, 1], -3)
    assert list(found) == landmarks


@pytest.fixture(scope="module")
def face_model(fit_mesh_au):
    """The morphable face, its vertex of each landmark, and MediaPipe's canonical face."""
    path = Path(__file__).parents[2] / "shared" / "face_model" / "ict_facekit_light.npz"
    if not path.is_file():
        pytest.skip("the face model is not beside the repository")
    model, landmarks = fit_mesh_au.read_face_model(path)
    canonical = fit_mesh_au.read_canonical_face()
    match = fit_mesh_au.match_vertices(model, landmarks, canonical)
    return model, match, canonical


def test_shipped_head_is_the_face_model_at_the_landmarks(fit_mesh_au, face_model):
    model, match, canonical = face_model
    made, shipped = fit_mesh_au.make_head(model, match, canonical), fit_mesh_au.Head.load()
    assert made.names == shipped.names
    smile = model.expression[model.names.index("mouthSmile_L")][match]
    here = shipped.expression[shipped.names.index("mouthSmile_L")]
    np.testing.assert_allclose(here, smile, atol=2e-3)
    # The few modes that ship spread people as widely as the hundred they replace.
    every, few = (np.sqrt((modes**2).sum(0)) for modes in (model.identity[:, match], made.identity))
    assert np.abs(few - every).max() < 0.05
    np.testing.assert_allclose(shipped.identity**2, made.identity**2, atol=2e-3)


def test_shipped_read_out_recovers_units_of_held_out_faces(fit_mesh_au, face_model):
    """Draw new synthetic people from the face model, where it is, and read their units."""
    model, match, canonical = face_model
    simulator = fit_mesh_au.Simulator(fit_mesh_au.make_head(model, match, canonical))
    moved, truth = simulator.draw(600, np.random.default_rng(7))
    reader = fit_mesh_au.ActionUnitModel()
    read = moved @ reader._coefficient + reader._intercept
    r = {
        unit: np.corrcoef(read[:, i], truth[:, i])[0, 1]
        for i, unit in enumerate(fit_mesh_au.SHAPES)
        if truth[:, i].any()
    }
    for unit in ("AU01", "AU02", "AU04", "AU09", "AU10", "AU12", "AU14", "AU26"):
        assert r[unit] > 0.85
    resting = truth.sum(1) == 0
    assert np.abs(read[resting].mean(0))[np.array(reader.units[:-1]) != "AU25"].max() < 0.1


@pytest.fixture(scope="module")
def fit_temporal(fit_emotion):
    assert fit_emotion is sys.modules["fit_emotion"]  # of which it takes how people are misread
    return load_tool("fit_temporal")


def test_temporal_model_is_fitted_and_compared_by_its_script(fit_temporal):
    model = fit_temporal.fit(people=24, epochs=1, progress=False)
    files = sorted(fit_temporal.DATA.glob("temporal_gru_*.safetensors"))
    assert len(files) == fit_temporal.NETWORKS
    for shipped in map(ek.TemporalModel.load, files):
        # What ships reads the same units as what the script would fit today.
        assert shipped.columns == model.columns and shipped.classes == model.classes
    scores = fit_temporal.compare(seed=5, n=20)
    for way in ("", ", misread"):
        over_time, per_frame = scores["over time" + way], scores["per frame" + way]
        for metric in ("accuracy", "unweighted_recall"):
            assert over_time["value"].sel(metric=metric) > per_frame["value"].sel(metric=metric)


def test_some_of_what_trains_the_temporal_model_is_a_single_row(fit_temporal):
    clips, labels = fit_temporal.split(fit_temporal.draw_people(40, seed=3))
    short, shown = fit_temporal.shorten(clips, labels, np.random.default_rng(0))
    lengths = [clip.sizes["time"] for clip in short]
    assert lengths == [len(label) for label in shown]
    assert lengths.count(1) >= 3 and np.median(lengths) > 100
