import subprocess
import sys
from pathlib import Path

import emokit as ek
from emokit.__main__ import main


def test_demo_writes_everything_and_says_how_to_go_on(tmp_path, capsys, feat_data):
    out = tmp_path / "ä folder"
    assert main(["demo", str(feat_data / "single_face.mp4"), "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "overview.png",
        "player.html",
        "result.nc",
    ]
    assert ek.load(out / "result.nc")["face"].sizes["time"] == 72
    assert (out / "overview.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "player.html").read_text(encoding="utf-8")
    assert "https://" not in page
    said = capsys.readouterr().out
    for part in ("result.nc", "overview.png", "player.html", "ek.play(result)", "make lab"):
        assert part in said


def test_what_cannot_be_read_is_one_line_and_writes_nothing(tmp_path, capsys):
    (tmp_path / "text.mp4").write_text("no video")
    assert main(["demo", str(tmp_path / "text.mp4"), "--out", str(tmp_path / "out")]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "text.mp4 cannot be read" in captured.err
    assert not (tmp_path / "out").exists()


def test_old_python_is_told_plainly(tmp_path):
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = "--version" ] && echo "Python 3.9.2" && exit 0\nexit 1\n')
    old.chmod(0o755)
    script = Path(__file__).parents[1] / "tools" / "make_venv.sh"
    result = subprocess.run(
        ["/bin/sh", str(script), str(old), str(tmp_path / "venv"), "."],
        capture_output=True,
        text=True,
        env={"PATH": str(tmp_path)},
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("emokit needs Python 3.11 or newer; found: Python 3.9.2.")
    assert not (tmp_path / "venv").exists()


def test_module_runs():
    result = subprocess.run(
        [sys.executable, "-m", "emokit", "--help"], capture_output=True, text=True, check=True
    )
    assert "demo" in result.stdout
