import http.server
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import emokit as ek
from emokit import pyfeat
from emokit.__main__ import main

PACKAGE = Path(importlib.util.find_spec("emokit").origin).parent


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Iterator[Path]:
    """A file in py-feat's format, with random numbers in it."""
    import torch
    from feat.multitask.model_v2 import MEGraphAUv2, ModelV2Config
    from safetensors.torch import save_file

    torch.manual_seed(7)
    config = ModelV2Config(
        pretrained=False,
        n_au=20,
        n_emotion=7,
        n_blendshape=52,
        mesh_normalized=True,
        use_head_v3=True,
        gaze_eye_roi=True,
        gaze_pose_6d=True,
    )
    state = MEGraphAUv2(config).state_dict()
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_file(
        {name: value.contiguous() for name, value in state.items()},
        path,
        metadata={"config": json.dumps(asdict(config))},
    )
    yield path
    path.unlink()  # 180 MB that pytest would keep for the next runs


@pytest.fixture(autouse=True)
def no_weights_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.delenv("FEAT_MULTITASK_WEIGHTS", raising=False)
    monkeypatch.setattr(pyfeat, "_caches", lambda: [tmp_path / "feat", tmp_path / "emokit"])


@pytest.fixture(scope="module")
def network(weights):
    from feat.multitask.inference import MultitaskModel

    return MultitaskModel(device="cpu", weights_path=weights)


@pytest.fixture(scope="module")
def faces() -> xr.Dataset:
    """Four frames of the sample clip; in the second, the face is missing."""
    found = ek.detect_faces(ek.sample_clip(), fps=0.2, progress=False).copy(deep=True)
    found["face_box"][1] = np.nan
    return found


@pytest.fixture(scope="module")
def read(weights, faces) -> xr.Dataset:
    """In batches of 2 and 1."""
    return extract(ek.sample_clip(), faces, weights=weights, batch_size=2, landmarks=True)


def extract(clip, faces, **kwargs):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "py-feat's multitask weights", UserWarning)
        kwargs = {"model": "py-feat", "device": "cpu", "progress": False} | kwargs
        return ek.extract_action_units(clip, faces, **kwargs)


def small_weights(folder: Path) -> Path:
    """The format of the weights around a single number: enough to be carried about."""
    import torch
    from safetensors.torch import save_file

    path = folder / pyfeat.WEIGHTS
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"nothing": torch.zeros(1)}, path, metadata={"config": '{"n_au": 20}'})
    return path


def run_python(code: str, *, streams: tuple[str, ...] = ("stdout",), **environment: str) -> str:
    left_out = ("HF_", "FEAT_", "OMP_")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(left_out)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return "".join(getattr(done, stream) for stream in streams)


QUALITY = "quality_reason"


class TestOutput:
    def test_equals_the_network_called_directly_on_the_same_crops(self, read, faces, network):
        import torch
        from feat.utils.image_operations import extract_face_square_pad_torch

        seen = [0, 2, 3]
        frames = [f for _, f in ek.sample_clip().frames(times=faces["time"].values[seen])]
        stack = torch.tensor(np.stack(frames)).permute(0, 3, 1, 2) / 255.0
        x, y, width, height = faces["face_box"].values[seen, 0].T
        chips, squares = extract_face_square_pad_torch(
            stack,
            torch.tensor(np.stack([x, y, x + width, y + height], 1)),
            face_size=256,
            expand_bbox=1.2,
            frame_idx=torch.arange(3),
        )
        out = network(chips)
        got = read.isel(face=0, time=seen)

        def close(name, expected, scale=1.0):
            values = got[name].values / scale
            np.testing.assert_allclose(values, expected, atol=1e-5, rtol=0, err_msg=name)

        assert list(got["action_unit"].values) == out.au_names
        close("au", out.au)
        names = ["Anger", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral"]
        close("emotion_probability", out.emotion[:, [out.emotion_names.index(n) for n in names]])
        close("valence", out.valence)
        close("arousal", out.arousal)
        radian = 180 / np.pi
        yaw, pitch = out.gaze.T
        looking = np.stack([-pitch, yaw], 1)
        np.testing.assert_allclose(got["gaze"][:, :2] / radian, looking, atol=1e-5)
        assert got["gaze"].sel(angle="roll").isnull().all()
        close("head_pose", out.pose[:, :3] * [-1, 1, -1], radian)
        left, top, side = squares.numpy().T[..., None, None]
        points = got["landmark_position"].values
        origin = np.concatenate([left, top, np.zeros_like(left)], -1)
        np.testing.assert_allclose((points - origin) / side, out.mesh478, atol=1e-5)
        assert points.shape == (3, 478, 3)

    def test_the_faces_differ(self, read):
        """Without it, the comparison above could not tell one face from another."""
        au = read["au"].values[[0, 2, 3], 0]
        assert np.abs(np.diff(au, axis=0)).max() > 1e-3

    def test_equals_what_py_feat_itself_writes_to_a_file(self, read, faces, network, tmp_path):
        """Detectorv2's own table of the same box in the first frame, read back."""
        import torch
        from feat.detector_v2 import Detectorv2

        _, frame = next(ek.sample_clip().frames(times=[0]))
        x, y, width, height = map(float, faces["face_box"].values[0, 0])
        # Its constructor would ask for the weights of its face detector.
        detector = Detectorv2.__new__(Detectorv2)
        torch.nn.Module.__init__(detector)
        detector.device, detector.face_size = torch.device("cpu"), 256
        detector.multitask, detector.identity_detector = network, None
        detector._idx68 = network._idx68
        image = torch.tensor(frame).permute(2, 0, 1)[None]
        crops = detector.crop_faces_from_boxes(image, torch.tensor([[x, y, x + width, y + height]]))
        padding = {side: torch.zeros(1) for side in ("Left", "Top", "Right", "Bottom")}
        batch = {"Image": image, "Scale": torch.ones(1), "Padding": padding}
        detector.forward(crops, batch).assign(frame=0).to_csv(tmp_path / "fex.csv")
        theirs = ek.read_action_units(tmp_path / "fex.csv", landmarks=True)
        ours = read.isel(time=[0])
        for name in ours.drop_vars(["face_quality", "quality_reason"]).data_vars:
            a, b = theirs[name].sel(ours[name].coords), ours[name]
            # Degrees and pixels, as float32 holds them.
            close = 1e-2 if name == "landmark_position" else 1e-4 if "angle" in b.dims else 1e-5
            np.testing.assert_allclose(a, b, atol=close, err_msg=name)

    def test_absent_face_is_nan_and_keeps_its_row(self, read, faces):
        np.testing.assert_array_equal(read["time"], faces["time"])
        gone = read.isel(time=1)
        assert all(gone[name].isnull().all() for name in gone.data_vars if name != QUALITY)
        assert (gone[QUALITY] == 0).all()
        assert read["au"].isel(time=[0, 2, 3]).notnull().all()

    def test_batch_size_and_order_change_nothing(self, weights, feat_data):
        clip = ek.open_clip(feat_data / "multi_face.jpg")
        found = ek.detect_faces(clip, progress=False)
        assert found.sizes["face"] == 5
        whole = extract(clip, found, weights=weights, batch_size=8)
        turned = extract(
            clip, found.isel(face=slice(None, None, -1)), weights=weights, batch_size=2
        )
        assert list(turned["face"].values) == list(whole["face"].values[::-1])
        for name in whole.data_vars:
            a, b = whole[name].values, turned.sel(face=whole["face"])[name].values
            scale = 180 / np.pi if name in ("gaze", "head_pose") else 1
            np.testing.assert_allclose(a / scale, b / scale, atol=1e-5, err_msg=name)
        assert np.abs(np.diff(whole["au"].values, axis=1)).max() > 1e-3

    def test_keeps_to_the_schema_and_survives_a_file(self, read, tmp_path):
        ek.schema.validate(read, group="face", requires=["au", "gaze", "head_pose"])
        path = ek.save(xr.DataTree.from_dict({"/face": read}), tmp_path / "result.nc")
        assert ek.load(path)["face"].to_dataset().identical(read)

    def test_landmarks_only_on_request(self, weights, faces):
        nobody = faces.isel(time=[1])
        assert "landmark_position" not in extract(ek.sample_clip(), nobody, weights=weights)

    def test_input_stays_as_it_was(self, weights, faces):
        before = faces.copy(deep=True)
        extract(ek.sample_clip(), faces.isel(time=[1]), weights=weights)
        assert faces.identical(before)

    def test_torch_and_its_children_are_left_as_they_were(self, weights):
        code = f"""
import os, warnings
warnings.simplefilter("ignore")
import torch
threads = torch.get_num_threads()
from emokit import pyfeat
pyfeat._load({str(weights)!r}, 0, "cpu")
print(torch.get_num_threads() == threads, torch.is_grad_enabled(),
      os.environ.get("OMP_NUM_THREADS"))
"""
        expected = "True True None" if sys.platform != "darwin" else "True True 1"
        assert run_python(code).strip() == expected

    def test_mixed_precision_on_cuda(self, weights, faces, read):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
        fast = extract(ek.sample_clip(), faces, weights=weights, device="auto")
        parameters = ek.schema.read_history(fast)[-1]["parameters"]
        assert parameters["device"].startswith("cuda")
        assert parameters["mixed_precision"] is True
        assert np.nanmax(np.abs(fast["au"] - read["au"])) < 0.05


class TestProvenance:
    def test_history_names_weights_and_their_licence(self, read, weights):
        import hashlib

        step = ek.schema.read_history(read)[-1]
        assert step["step"] == "extract_action_units"
        assert step["model"]["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
        assert "non-commercial" in step["model"]["licence"]
        assert step["parameters"]["used"] == "py-feat"
        assert step["parameters"]["mixed_precision"] is False

    def test_licence_is_shown_once(self, weights, faces):
        pyfeat.show_licence.cache_clear()
        nobody = faces.isel(time=[1])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(2):
                ek.extract_action_units(
                    ek.sample_clip(), nobody, model="py-feat", weights=weights, progress=False
                )
        shown = [w for w in caught if "non-commercial" in str(w.message)]
        assert len(shown) == 1
        assert shown[0].filename == __file__


class TestAuto:
    def test_without_weights_it_is_the_mesh(self, faces, caplog):
        with caplog.at_level("INFO", logger="emokit"):
            aus = extract(ek.sample_clip(), faces, model="auto")
        assert "mesh" in caplog.text
        assert ek.schema.read_history(aus)[-1]["parameters"] == {"model": "auto", "used": "mesh"}
        mesh = extract(ek.sample_clip(), faces, model="mesh")
        xr.testing.assert_identical(aus.drop_attrs(), mesh.drop_attrs())

    def test_with_weights_it_is_py_feat(self, weights, faces, monkeypatch, caplog):
        monkeypatch.setenv("FEAT_MULTITASK_WEIGHTS", str(weights))
        with caplog.at_level("INFO", logger="emokit"):
            aus = extract(ek.sample_clip(), faces.isel(time=[1]), model="auto")
        assert str(weights) in caplog.text
        parameters = ek.schema.read_history(aus)[-1]["parameters"]
        assert (parameters["model"], parameters["used"]) == ("auto", "py-feat")

    def test_looks_without_network_and_without_torch(self):
        code = """
import sys, socket
def refuse(*args, **kwargs):
    raise AssertionError("the network was asked")
socket.socket.connect = socket.getaddrinfo = refuse
import emokit as ek
from emokit import pyfeat
ek.extract_action_units
pyfeat.find_weights()
print(sorted({"torch", "feat"} & set(sys.modules)))
"""
        assert run_python(code).strip() == "[]"


class TestWeights:
    def test_names_are_those_of_py_feat(self):
        from feat.multitask import AU_NAMES_V24, EMOTION_NAMES, inference

        assert inference.HF_REPO == pyfeat.REPOSITORY
        assert inference.HF_WEIGHTS_FILE == pyfeat.WEIGHTS
        assert set(EMOTION_NAMES) == set(pyfeat._EMOTIONS)
        assert set(AU_NAMES_V24) <= set(ek.schema.ACTION_UNITS)

    def test_order_of_the_places(self, tmp_path, monkeypatch):
        assert pyfeat.find_weights() is None
        seeded = pyfeat.seed_weights(small_weights(tmp_path / "brought").parent)
        assert pyfeat.find_weights() == seeded
        named = small_weights(tmp_path / "named")
        monkeypatch.setenv("FEAT_MULTITASK_WEIGHTS", str(named))
        assert pyfeat.find_weights() == named
        given = small_weights(tmp_path / "given")
        assert pyfeat.find_weights(given) == given

    @pytest.mark.parametrize("model", ["py-feat", "auto"])
    def test_named_file_that_is_not_there(self, faces, tmp_path, model):
        with pytest.raises(ek.AssetError, match=r"weights must name a file.*gone\.safetensors"):
            extract(ek.sample_clip(), faces, model=model, weights=tmp_path / "gone.safetensors")

    def test_variable_that_names_no_file(self, faces, monkeypatch):
        monkeypatch.setenv("FEAT_MULTITASK_WEIGHTS", "/no/such/file.safetensors")
        with pytest.raises(ek.AssetError, match="FEAT_MULTITASK_WEIGHTS must name a file"):
            extract(ek.sample_clip(), faces)

    def test_pickles_and_other_files_are_refused(self, faces, tmp_path):
        import torch
        from safetensors.torch import save_file

        torch.save({"config": {}, "model": {}}, tmp_path / "pickle.pt")
        (tmp_path / "text.safetensors").write_text("hello, this is no network at all")
        (tmp_path / "empty.safetensors").write_bytes(b"")
        save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
        for path in tmp_path.glob("*.*"):
            with pytest.raises(ek.AssetError, match="is not a file of py-feat's multitask weights"):
                extract(ek.sample_clip(), faces, weights=path)

    def test_damaged_file(self, weights, faces, tmp_path):
        cut = tmp_path / "cut.safetensors"
        cut.write_bytes(weights.read_bytes()[: 2**20])
        with pytest.raises(ek.AssetError, match="is not a file of py-feat's multitask weights"):
            extract(ek.sample_clip(), faces, weights=cut)

    def test_file_of_another_network(self, faces, tmp_path):
        path = small_weights(tmp_path / "other")
        with pytest.raises(ek.AssetError, match="cannot be read as weights"):
            extract(ek.sample_clip(), faces, weights=path)


FETCH = """
import sys
from pathlib import Path
import emokit as ek
from emokit import pyfeat
pyfeat._caches = lambda: [Path(sys.argv[0]) / "nowhere", Path({cache!r})]
try:
    print(pyfeat.fetch_weights(progress={progress}))
except ek.AssetError as error:
    print(error)
print(sorted({{"torch", "feat"}} & set(sys.modules)))
"""


class TestHub:
    def test_hub_that_does_not_answer(self, tmp_path):
        """It takes the connection and says nothing, as some firewalls do."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
            said = run_python(
                FETCH.format(cache=str(tmp_path), progress=True), HF_ENDPOINT=endpoint
            )
        for needed in (
            pyfeat.WEIGHTS,
            f"{endpoint}/{pyfeat.REPOSITORY}",
            "the hub does not",
            "python -m emokit assets seed",
            "FEAT_MULTITASK_WEIGHTS",
            "model='mesh'",
            str(tmp_path),
        ):
            assert needed in said
        assert said.splitlines()[-1] == "[]"

    def test_hub_told_to_be_left_alone(self, tmp_path):
        said = run_python(FETCH.format(cache=str(tmp_path), progress=True), HF_HUB_OFFLINE="1")
        assert "cannot be had" in said
        assert "offline mode" in said

    def test_fetched_where_the_hub_answers(self, tmp_path):
        content = small_weights(tmp_path / "published").read_bytes()
        asked = []

        class Hub(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self):
                asked.append(self.path)
                self.send_response(200)
                self.send_header("ETag", '"0123456789"')
                self.send_header("X-Repo-Commit", "a" * 40)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()

            def do_GET(self):
                self.do_HEAD()
                self.wfile.write(content)

            def log_message(self, *args):
                pass

        def fetch(name, *, progress):
            code = FETCH.format(cache=str(tmp_path / name), progress=progress)
            return run_python(code, streams=("stdout", "stderr"), HF_ENDPOINT=endpoint)

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            endpoint = f"http://127.0.0.1:{server.server_port}"
            said = fetch("shown", progress=True)
            quiet = fetch("quiet", progress=False)
            asked_before = len(asked)
            again = fetch("shown", progress=True)
            server.shutdown()
        path = Path(said.splitlines()[0])
        assert path.read_bytes() == content
        assert path.is_relative_to(tmp_path / "shown")
        assert "100%" in said
        assert "100%" not in quiet
        assert "non-commercial" in said
        # Once it is here, nobody is asked any more.
        assert again.splitlines()[0] == str(path)
        assert len(asked) == asked_before


class TestSeed:
    def test_where_py_feat_looks(self, tmp_path, capsys, monkeypatch):
        """py-feat asks the hub's library for the file in its own folder."""
        from huggingface_hub import hf_hub_download

        cache = tmp_path / "feat"
        cache.mkdir()
        monkeypatch.setattr(ek.assets, "cache_folder", lambda: tmp_path / "models")
        mesh = ek.assets.ASSETS["face_mesh"].filename
        brought = small_weights(tmp_path / "stick" / "below")
        (tmp_path / "stick" / mesh).write_bytes(b"not the mesh")
        assert main(["assets", "seed", str(tmp_path / "stick")]) == 0
        found = hf_hub_download(
            pyfeat.REPOSITORY, pyfeat.WEIGHTS, cache_dir=cache, local_files_only=True
        )
        assert Path(found).read_bytes() == brought.read_bytes()
        assert capsys.readouterr().out.split() == [found]
        assert not (tmp_path / "models" / mesh).exists()
        assert pyfeat.find_weights() == Path(found)

    def test_emokits_own_files_too(self, tmp_path, monkeypatch, capsys):
        stick = tmp_path / "stick"
        stick.mkdir()
        path = ek.assets.fetch("iris")
        (stick / path.name).write_bytes(path.read_bytes())
        monkeypatch.setattr(ek.assets, "cache_folder", lambda: tmp_path / "models")
        monkeypatch.delenv("EMOKIT_ASSETS", raising=False)
        assert main(["assets", "seed", str(stick)]) == 0
        assert ek.assets.fetch("iris") == tmp_path / "models" / path.name

    def test_again_and_with_another_file(self, tmp_path):
        (tmp_path / "feat").mkdir()
        first = pyfeat.seed_weights(small_weights(tmp_path / "a").parent)
        assert pyfeat.seed_weights(tmp_path / "a") == first
        changed = small_weights(tmp_path / "b")
        changed.write_bytes(changed.read_bytes()[:-1] + b"\x01")
        second = pyfeat.seed_weights(tmp_path / "b")
        assert second != first
        assert pyfeat.find_weights() == second

    def test_nothing_to_place(self, tmp_path, capsys):
        assert main(["assets", "seed", str(tmp_path)]) == 1
        assert pyfeat.WEIGHTS in capsys.readouterr().err
        assert main(["assets", "seed", str(tmp_path / "gone")]) == 1

    def test_wrong_file_under_the_name(self, tmp_path, capsys):
        (tmp_path / pyfeat.WEIGHTS).write_text("a page that says: sign in first")
        assert main(["assets", "seed", str(tmp_path)]) == 1
        assert "is not a file of py-feat's multitask weights" in capsys.readouterr().err
        assert pyfeat.find_weights() is None

    def test_half_a_file_replaces_no_whole_one(self, tmp_path, capsys):
        first = pyfeat.seed_weights(small_weights(tmp_path / "a").parent)
        half = tmp_path / "b" / pyfeat.WEIGHTS
        half.parent.mkdir()
        half.write_bytes(first.read_bytes()[:-10])
        assert main(["assets", "seed", str(half.parent)]) == 1
        assert "is not a file of py-feat's multitask weights" in capsys.readouterr().err
        assert pyfeat.find_weights() == first

    def test_the_good_one_among_several(self, tmp_path):
        (tmp_path / "a" / pyfeat.WEIGHTS).mkdir(parents=True)
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / pyfeat.WEIGHTS).write_bytes(b"")
        small_weights(tmp_path / "c")
        assert pyfeat.seed_weights(tmp_path) == pyfeat.find_weights()

    def test_listed(self, capsys, tmp_path):
        assert main(["assets"]) == 0
        said = capsys.readouterr().out
        assert pyfeat.WEIGHTS in said
        assert "assets seed" in said


class TestAnalyze:
    def test_emotions_are_the_networks_and_the_prototypes_stay_at_hand(self, weights, feat_data):
        clip = ek.open_clip(feat_data / "0-f15-hao-ph.jpg")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = ek.analyze(
                clip, model="py-feat", weights=weights, device="cpu", progress=False
            )
        face = result["face"].to_dataset()
        direct = extract(clip, ek.detect_faces(clip, progress=False), weights=weights)
        for name in ("emotion_probability", "valence", "arousal"):
            xr.testing.assert_allclose(
                face[name].drop_attrs(), direct[name].drop_attrs(), atol=1e-5
            )
        assert "unit_presence" not in face
        assert "fused" in result.children
        prototypes = ek.estimate_emotion(face)
        assert ek.explain(prototypes, time=0).sizes["action_unit"] == 20
        assert np.abs(prototypes["emotion_probability"] - face["emotion_probability"]).max() > 0.01


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "openface"}, "model must be one of 'mesh', 'py-feat', 'auto'; got 'openface'"),
        ({"batch_size": 0}, "batch_size must be a whole number at least 1; got 0"),
        ({"device": "tpu"}, "device must be 'auto', 'cpu', .*got 'tpu'"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not on this machine"),
        ({"model": "mesh", "weights": "w.safetensors"}, "weights are for model='py-feat'"),
    ],
)
def test_wrong_arguments(weights, faces, arguments, message):
    with pytest.raises(ValueError, match=message):
        extract(ek.sample_clip(), faces, **{"weights": weights} | arguments)


def test_half_a_batch(weights, faces):
    with pytest.raises(TypeError, match=r"batch_size must be a whole number at least 1; got 2\.5"):
        extract(ek.sample_clip(), faces, weights=weights, batch_size=2.5)


def test_one_module_imports_feat():
    pattern = re.compile(r"^\s*(from|import)\s+feat\b", re.MULTILINE)
    users = {path.name for path in PACKAGE.rglob("*.py") if pattern.search(path.read_text())}
    assert users == {"pyfeat.py"}
