"""How quick the player is with an hour of results, in a real Chromium.

Run it as ``python benchmarks/player.py``. A clip of an hour at 30 frames/s with 30 series a
frame is simulated and shown; what is measured stands beside what is wanted. The
figures are of this machine, which draws without a graphics card where it has none.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import shutil
import statistics
import tempfile
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import xarray as xr

import emokit as ek

RATE = 30
PIECE = 20  # seconds that are really encoded; the rest are copies of it

CHROMIUM = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]

PAGE = """<!doctype html><meta charset="utf-8"><style>{style}</style><main></main>
<script type="module">
import createWidget from "./player.mjs";
const state = {state};
for (const [name, entry] of Object.entries(state._arrays)) {{
  entry.data = new DataView(await (await fetch(`${{name}}.bin`)).arrayBuffer());
}}
const model = {{
  get: (name) => state[name],
  set: (name, value) => (state[name] = value),
  save_changes() {{}}, on() {{}}, off() {{}},
}};
const began = performance.now();
createWidget().render({{ model, el: document.querySelector("main") }});
// The second animation frame begins when the first has been painted.
requestAnimationFrame(() => requestAnimationFrame(() => {{
  window.ready = performance.now() - began;
}}));
</script>"""

#: Zooms in and out about the middle for some seconds, at every frame that can be drawn.
ZOOM = """async (seconds) => {
  const line = document.querySelector(".ek-timelines");
  const box = line.getBoundingClientRect();
  const stamps = [];
  const wheel = (deltaY) => line.dispatchEvent(new WheelEvent("wheel", {
    deltaY, ctrlKey: true, clientX: box.left + box.width / 2, clientY: box.top + 150,
    bubbles: true, cancelable: true,
  }));
  const end = performance.now() + seconds * 1000;
  await new Promise((done) => {
    let k = 0;
    const step = (at) => {
      stamps.push(at);
      wheel(k++ % 120 < 60 ? -20 : 20);
      if (at < end) requestAnimationFrame(step);
      else done();
    };
    requestAnimationFrame(step);
  });
  return stamps;
}"""

#: At every video frame: its time, and where the playhead stands when it has been shown.
WATCH = """async (seconds) => {
  const video = document.querySelector("video");
  const line = document.querySelector(".ek-timelines");
  const rows = [];
  let on = true;
  const note = (_, { mediaTime }) => {
    rows.push([mediaTime, Number(line.getAttribute("aria-valuenow"))]);
    if (on) video.requestVideoFrameCallback(note);
  };
  video.requestVideoFrameCallback(note);
  await new Promise((done) => setTimeout(done, seconds * 1000));
  on = false;
  return rows;
}"""

#: Milliseconds from a press on the timelines to the frame on the screen.
SEEK = """async (share) => {
  const video = document.querySelector("video");
  const line = document.querySelector(".ek-timelines");
  const box = line.getBoundingClientRect();
  const at = { clientX: box.left + 62 + share * (box.width - 114), clientY: box.top + 150 };
  const press = { ...at, bubbles: true, button: 0, pointerId: 1 };
  const began = performance.now();
  line.setPointerCapture = () => {};
  const shown = new Promise((done) => video.requestVideoFrameCallback(done));
  line.dispatchEvent(new PointerEvent("pointerdown", press));
  line.dispatchEvent(new PointerEvent("pointerup", press));
  await shown;
  return performance.now() - began;
}"""


def simulate_result(minutes: float) -> xr.DataTree:
    """Twenty units, seven emotions, valence, arousal and quality of one face."""
    n = int(minutes * 60 * RATE)
    times = np.arange(n) / RATE
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(n, 1, 27)).cumsum(0) * 0.02
    au = (0.5 + 0.5 * np.sin(noise[..., :20] + np.arange(20))).astype(np.float32)
    scores = np.exp(2 * np.sin(noise[..., 20:] + np.arange(7)))
    box = np.tile([200.0, 60.0, 160.0, 200.0], (n, 1, 1)) + 5 * np.sin(times)[:, None, None]
    quality = np.where(rng.random((n, 1)) < 0.02, 0.2, 0.9)
    lost = (times % 300) > 290
    variables = {
        "face_box": box,
        "au": au,
        "emotion_probability": scores / scores.sum(-1, keepdims=True),
        "valence": np.sin(noise[..., 0]),
        "arousal": np.cos(noise[..., 1]),
        "face_quality": quality,
    }
    for values in variables.values():
        values[lost] = np.nan
    face = ek.schema.build_dataset(
        "face",
        variables | {"face_status": lost[:, None].astype(np.int8)},
        {
            "time": times,
            "face": ["face_0"],
            "action_unit": list(ek.schema.ACTION_UNITS)[:20],
            "emotion": list(ek.schema.EMOTIONS),
        },
        history="[]",
    )
    return xr.DataTree.from_dict({"/face": face})


def write_clip(path: Path, minutes: float) -> None:
    """A moving pattern of 20 s, over and over."""
    piece = path.with_name("piece.mp4")
    with av.open(str(piece), "w") as output:
        stream = output.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        stream.options = {"preset": "ultrafast", "g": str(RATE), "bf": "0"}
        ramp = np.arange(640)[None, :, None] + np.zeros((360, 1, 3))
        for k in range(PIECE * RATE):
            picture = ((ramp + 3 * k) % 256).astype(np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))
    with av.open(str(piece)) as source, av.open(str(path), "w") as output:
        stream = source.streams.video[0]
        packets = [p for p in source.demux(stream) if p.dts is not None]
        stamps = [(p.pts, p.dts, p.time_base) for p in packets]
        copy = output.add_stream_from_template(stream)
        for turn in range(round(minutes * 60 / PIECE)):
            for packet, (pts, dts, base) in zip(packets, stamps, strict=True):
                later = round(Fraction(turn * PIECE) / base)
                packet.time_base, packet.pts, packet.dts = base, pts + later, dts + later
                packet.stream = copy
                output.mux(packet)


def serve(folder: Path) -> tuple[http.server.ThreadingHTTPServer, str]:
    """A server of this machine only, without a line for each request."""
    types = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}
    quiet = type(
        "Quiet",
        (http.server.SimpleHTTPRequestHandler,),
        {"log_message": lambda *_: None, "extensions_map": types},
    )
    handler = functools.partial(quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}/page.html"


def write_files(player: ek.widgets.Player, folder: Path) -> float:
    """The player as files that a page fetches; returns the megabytes."""
    size = 0
    arrays = {}
    for name, entry in player._arrays.items():
        (folder / f"{name}.bin").write_bytes(entry["data"])
        size += len(entry["data"])
        arrays[name] = {key: value for key, value in entry.items() if key != "data"}
    names = ("current_time", "selection", "face", "loop", "blur_faces", "_clock")
    state = {name: getattr(player, name) for name in names}
    state |= {"_layout": player._layout, "_arrays": arrays}
    text = json.dumps(state)
    (folder / "player.mjs").write_text(player._esm, encoding="utf-8")
    page = PAGE.format(style=player._css, state=text)
    (folder / "page.html").write_text(page, encoding="utf-8")
    return (size + len(text)) / 1e6


def cpu_times(browser: object) -> tuple[float, float]:
    """Seconds of processor time so far: of the pages, and of the whole browser."""
    session = browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    pages = sum(one["cpuTime"] for one in processes if one["type"] == "renderer")
    return pages, sum(one["cpuTime"] for one in processes)


def measure(address: str, seconds: float) -> dict[str, float]:
    """Figures of one page, in a browser of its own."""
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM)
        page = browser.new_page(viewport={"width": 1100, "height": 1100})
        page.goto(address)
        page.wait_for_function("window.ready && document.querySelector('video').readyState >= 2")
        ready = page.evaluate("window.ready") / 1000
        page.evaluate("document.querySelector('.emokit-player').focus()")
        seeks = [page.evaluate(SEEK, share) for share in (0.5, 0.1, 0.9, 0.35, 0.7, 0.2)]
        before = cpu_times(browser)
        idle = page.evaluate(ZOOM, seconds)
        spent = cpu_times(browser)
        page.keyboard.press("0")
        page.keyboard.press("Space")
        page.wait_for_timeout(500)
        rows = np.array(page.evaluate(WATCH, seconds))
        stamps = page.evaluate(ZOOM, seconds)
        browser.close()
    late = np.abs(rows[:, 0] - rows[:, 1]).max()
    return {
        "ready": ready,
        "zooming": 1000 * (len(idle) - 1) / (idle[-1] - idle[0]),
        "playing and zooming": 1000 * (len(stamps) - 1) / (stamps[-1] - stamps[0]),
        "CPU, page": 1000 * (spent[0] - before[0]) / (len(idle) - 1),
        "CPU, browser": 1000 * (spent[1] - before[1]) / (len(idle) - 1),
        "shown while playing": (len(rows) - 1) / (rows[-1, 0] - rows[0, 0]),
        "playhead late": late * RATE,
        "seek": statistics.median(seeks) / 1000,
        "slowest seek": max(seeks) / 1000,
    }


def main() -> None:
    """Measure, and print each figure beside what is wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = folder / "hour.mp4"
        write_clip(clip, options.minutes)
        player = ek.play(simulate_result(options.minutes), clip=clip)
        size = write_files(player, folder)
        server, address = serve(folder)
        found = measure(address, options.seconds)
        server.shutdown()
        player.close()
    rows = [
        ("over the wire", size, "MB", "<=", 30),
        ("ready after the data", found["ready"], "s", "<=", 1.5),
        ("zooming, paused", found["zooming"], "frames/s", ">=", 50),
        ("zooming while playing", found["playing and zooming"], "frames/s", ">=", 50),
        ("CPU a frame, zooming: page", found["CPU, page"], "ms", "", "less"),
        ("CPU a frame, zooming: all", found["CPU, browser"], "ms", "", "less"),
        ("video frames shown, playing", found["shown while playing"], "frames/s", "", RATE),
        ("playhead behind the picture", found["playhead late"], "video frames", "<=", 1),
        ("seek, median of six", found["seek"], "s", "<=", 0.3),
        ("seek, slowest of six", found["slowest seek"], "s", "<=", 0.3),
    ]
    for label, value, unit, sign, wanted in rows:
        print(f"{label:28} {value:8.2f} {unit:13} (wanted: {sign} {wanted})")


if __name__ == "__main__":
    main()
