"""The player in a real browser: in JupyterLab, and as a page on its own."""

import time
import wave

import numpy as np
import pytest
from browser import find_video, run_lab, simulate_result, simulate_voice, start_chromium

import emokit as ek

pytestmark = pytest.mark.browser

#: A frame of the test clip, in seconds.
FRAME = 1 / 23.976

ASK_KERNEL = """async (code) => {
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  const options = { code: "", user_expressions: { it: code }, store_history: false };
  const reply = await kernel.requestExecute(options).done;
  const it = reply.content.user_expressions.it;
  if (it.status !== "ok") throw new Error(it.evalue);
  return it.data["text/plain"];
}"""

#: Every frame that the first video shows, with the playhead's time just after.
RECORD = """() => {
  const video = document.querySelector("video");
  const line = document.querySelector(".ek-timelines");
  window.seen = [];
  const note = (_, { mediaTime }) => {
    const at = Number(line.getAttribute("aria-valuenow"));
    window.seen.push([mediaTime, at]);
    video.requestVideoFrameCallback(note);
  };
  video.requestVideoFrameCallback(note);
}"""


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


@pytest.fixture(scope="module")
def chromium():
    find_video()
    with start_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def lab(chromium, tmp_path_factory):
    cells = [
        "import browser, emokit as ek\nresult = browser.simulate_result(browser.find_video())",
        "player = ek.play(result)\nplayer",
        "other = ek.play(result)\nother",
    ]
    errors = []
    with run_lab(tmp_path_factory.mktemp("lab"), cells) as address:
        page = chromium.new_page(viewport={"width": 1200, "height": 1300})
        page.on("pageerror", lambda error: errors.append(error.stack))
        page.goto(address)
        page.wait_for_function(
            "window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel"
            "?.connectionStatus === 'connected'",
            timeout=60_000,
        )
        page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        page.locator(".emokit-player video").nth(1).wait_for(state="attached", timeout=60_000)
        page.wait_for_function(
            "[...document.querySelectorAll('.emokit-player video')].every(v => v.readyState >= 2)"
        )
        yield page
        page.close()
    # A widget's code runs from a blob; JupyterLab's own errors are not the player's.
    assert [stack for stack in errors if "blob:" in stack] == []


@pytest.fixture
def player(lab):
    """The first player, paused at 5 s and with the focus."""
    shown = Shown(lab)
    shown.video.evaluate("video => video.pause()")
    shown.click(5, 19.69)
    until(lambda: shown.media("seeking"), lambda seeking: not seeking)
    return shown


@pytest.fixture(scope="module")
def frame_times():
    return ek.open_clip(find_video()).frame_times


def ask(page, code):
    return page.evaluate(ASK_KERNEL, code)


def kernel_time(page, name="player"):
    return float(ask(page, f"{name}.current_time"))


def test_the_video_loads_over_the_loopback(player):
    assert player.media("readyState") >= 2
    assert player.media("videoWidth") == 640
    assert player.media("src").startswith("http://127.0.0.1:")


def test_a_click_seeks_to_the_frame_and_tells_the_kernel(player, frame_times):
    player.click(12, 19.69)
    here = until(lambda: player.shown_frame, lambda t: abs(t - 12) < 0.05)
    until(lambda: player.media("currentTime"), lambda t: here <= t < here + FRAME)
    told = until(lambda: kernel_time(player.page), lambda t: abs(t - here) < 0.001)
    assert np.abs(frame_times - told).min() < 1e-5


def test_a_drag_seeks_along(player):
    x, y = player.place(3, 19.69)
    end, _ = player.place(16, 19.69)
    player.page.mouse.move(x, y)
    player.page.mouse.down()
    player.page.mouse.move((x + end) / 2, y, steps=4)
    assert player.playhead == pytest.approx(9.5, abs=0.1)
    player.page.mouse.move(end, y, steps=4)
    player.page.mouse.up()
    until(lambda: player.media("currentTime"), lambda t: abs(t - 16) < 0.1)
    until(lambda: kernel_time(player.page), lambda t: abs(t - 16) < 0.1)


def test_space_plays_and_the_playhead_follows_every_frame(player, frame_times):
    player.page.evaluate(RECORD)
    player.page.keyboard.press("Space")
    until(lambda: player.page.evaluate("window.seen.length"), lambda n: n > 15)
    assert player.media("paused") is False
    player.page.keyboard.press("Space")
    until(lambda: player.media("paused"), lambda paused: paused)
    seen = np.array(player.page.evaluate("window.seen"))
    assert np.abs(seen[:, :1] - frame_times).min(axis=1).max() < 1e-4
    # The playhead is on the frame itself (its time is written with two decimals).
    assert np.abs(seen[:, 0] - seen[:, 1]).max() < 0.006
    until(lambda: kernel_time(player.page), lambda t: abs(t - player.shown_frame) < 0.001)


def test_arrows_step_by_one_frame(player, frame_times):
    start = int(np.abs(frame_times - player.shown_frame).argmin())
    for key, by in (
        ("ArrowRight", 1),
        ("ArrowRight", 2),
        (".", 3),
        ("ArrowLeft", 2),
        (",", 1),
    ):
        player.page.keyboard.press(key)
        expected = frame_times[start + by]
        assert player.shown_frame == pytest.approx(expected, abs=0.001), key
        until(
            lambda expected=expected: player.media("currentTime") - expected,
            lambda beyond: 0 <= beyond < FRAME,
        )
    until(lambda: kernel_time(player.page), lambda t: abs(t - frame_times[start + 1]) < 1e-4)


def test_the_kernel_seeks_and_nothing_comes_back(player):
    ask(player.page, "setattr(player, 'current_time', 7.77)")
    until(lambda: player.media("currentTime"), lambda t: abs(t - 7.77) < FRAME)
    player.page.wait_for_timeout(600)
    assert kernel_time(player.page) == 7.77
    assert abs(player.shown_frame - 7.77) < FRAME


def test_keys_stay_out_of_the_notebook(player):
    cells = player.page.locator(".jp-CodeCell")
    before = cells.count()
    for key in ("a", "b", "x", "d", "d", "Space", "Space"):
        player.page.keyboard.press(key)
    player.page.wait_for_timeout(300)
    assert cells.count() == before
    assert player.page.evaluate("document.activeElement.className") == "emokit-player"


def test_a_button_gives_space_back_to_playing(player):
    player.root.locator("button[title^='One frame on']").click()
    player.page.wait_for_timeout(100)
    player.page.keyboard.press("Space")
    until(lambda: player.media("paused"), lambda paused: not paused)
    player.page.keyboard.press("Space")


def test_players_do_not_disturb_one_another(player):
    other = Shown(player.page, 1)
    ask(player.page, "setattr(other, 'current_time', 2.0)")
    until(lambda: other.playhead, lambda t: abs(t - 2) < FRAME)
    player.page.keyboard.press("Space")
    player.page.wait_for_timeout(400)
    player.page.keyboard.press("Space")
    assert abs(other.playhead - 2) < FRAME
    assert other.media("paused") is True
    assert kernel_time(player.page, "other") == 2.0


def test_colours_follow_the_notebooks_theme(player):
    def change(theme, expected):
        player.page.evaluate(
            "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })",
            theme,
        )
        until(lambda: player.root.get_attribute("data-theme"), lambda t: t == expected)

    change("JupyterLab Dark", "dark")
    change("JupyterLab Light", "light")


def test_pointing_shows_time_and_value(player):
    player.page.mouse.move(*player.place(10, 19.69))
    tip = player.root.locator(".ek-tip")
    words = until(tip.inner_text, bool)
    assert "0:10.0" in words and "AU06 cheek raiser" in words
    player.page.mouse.move(*player.place(8.7, 19.69))
    assert "no face" in until(tip.inner_text, lambda text: "0:08.7" in text)


def test_a_closed_player_leaves_the_page(lab):
    ask(lab, "other.close()")
    until(lambda: lab.locator(".emokit-player").count(), lambda n: n == 1)


# ---------------------------------------------------------------- a page of its own


@pytest.fixture
def open_page(chromium, tmp_path):
    """Write a player to a file and open it, without a network."""
    page = chromium.new_page(offline=True, viewport={"width": 1000, "height": 1100})
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: m.type == "error" and errors.append(m.text))

    def show(path, widget=None, **kwargs):
        faces = kwargs.pop("faces", 1)
        widget = widget or ek.play(simulate_result(path, faces=faces))
        widget.current_time = 5.0
        file = widget.to_html(tmp_path / "page.html", **kwargs)
        widget.close()
        page.goto(file.as_uri())
        page.locator(".emokit-player").wait_for()
        return Shown(page)

    yield show
    page.close()
    assert errors == []
    assert [url for url in asked if url.split(":")[0] not in ("file", "blob")] == []


def test_a_page_plays_from_disk_without_a_network(open_page):
    shown = open_page(find_video())
    until(lambda: shown.media("readyState"), lambda state: state >= 2)
    assert abs(shown.media("currentTime") - 5) < FRAME
    shown.click(12, 19.69)
    until(lambda: shown.media("currentTime"), lambda t: abs(t - 12) < 0.1)
    shown.page.keyboard.press("Space")
    until(lambda: shown.playhead, lambda t: t > 12.5)
    assert shown.media("paused") is False


def test_values_at_the_playhead_are_those_of_the_chosen_face(open_page):
    path = find_video()
    shown = open_page(path, faces=2)
    face = simulate_result(path, faces=2)["face"].to_dataset()
    row = shown.root.locator(".ek-readout tbody tr", has_text="valence").locator("td").first

    def value(label):
        number = float(face["valence"].sel(face=label).sel(time=5.0, method="pad"))
        return f"{number:+.2f}".replace("-", "\N{MINUS SIGN}")

    assert value("face_0") != value("face_1")
    assert row.inner_text() == value("face_0")
    shown.root.get_by_label("Face shown in the timelines").select_option("face_1")
    assert row.inner_text() == value("face_1")


def test_a_lost_face_has_no_values_and_a_reason(open_page):
    shown = open_page(find_video())
    shown.click(8.7, 19.69)
    rows = shown.root.locator(".ek-readout tbody tr")
    assert rows.filter(has_text="anger").locator("td").first.inner_text() == "–"
    assert shown.root.locator(".ek-reason").inner_text() == "no face"


def test_sound_alone_plays(open_page, tmp_path):
    path = tmp_path / "tone.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        tone = 8000 * np.sin(np.arange(6 * 16000) / 20)
        file.writeframes(tone.astype("<i2").tobytes())
    shown = open_page(path, widget=ek.play(simulate_voice(6.0), clip=path))
    assert shown.video.count() == 0
    shown.click(3, 6)
    shown.page.keyboard.press("Space")
    until(lambda: shown.playhead, lambda t: t > 3.4)
    assert shown.root.locator("audio").evaluate("audio => audio.currentTime") > 3.3


def test_a_page_without_video_keeps_its_timelines(open_page):
    shown = open_page(find_video(), video=False)
    assert shown.video.count() == 0
    assert "without the video" in shown.root.locator(".ek-message").inner_text()
    shown.click(12, 19.69)
    assert abs(shown.playhead - 12) < 0.1
    shown.page.keyboard.press("Space")
    until(lambda: shown.playhead, lambda t: t > 12.5)
    shown.page.keyboard.press("Space")
    rest = shown.playhead
    shown.page.wait_for_timeout(200)
    assert shown.playhead == rest


def test_a_codec_that_the_browser_lacks_is_named(open_page):
    path = find_video("face_noface.mov")
    duration = ek.open_clip(path).duration
    shown = open_page(path, widget=ek.play(simulate_result(path), proxy=False))
    message = shown.root.locator(".ek-message")
    message.wait_for()
    assert "hevc" in message.inner_text() and "libx264" in message.inner_text()
    shown.click(2, duration)
    assert abs(shown.playhead - 2) < 0.1


@pytest.mark.parametrize("width", [500, 1400])
def test_the_page_fits_narrow_and_wide(open_page, width):
    shown = open_page(find_video())
    shown.page.set_viewport_size({"width": width, "height": 900})
    shown.page.wait_for_timeout(200)
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
    canvas = shown.line.locator("canvas").first
    assert canvas.evaluate("c => c.width / devicePixelRatio") == pytest.approx(
        shown.line.bounding_box()["width"], abs=1.5
    )
