"""The player in a real browser: in JupyterLab, and as a page on its own."""

import wave

import numpy as np
import pytest
import xarray as xr
from browser import (
    VIDEOS_READY,
    Shown,
    add_evidence,
    ask,
    find_video,
    open_notebook,
    run_lab,
    simulate_face,
    simulate_result,
    simulate_voice,
    start_chromium,
    until,
)
from test_clip import write_video

import emokit as ek

pytestmark = pytest.mark.browser

#: A frame of the test clip, in seconds.
FRAME = 1 / 23.976

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


@pytest.fixture(scope="module")
def chromium():
    find_video()
    with start_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def lab(chromium, tmp_path_factory):
    cells = [
        "import browser, emokit as ek\n"
        "result = browser.add_evidence(browser.simulate_result(browser.find_video()))\n"
        "met = []\nevents = browser.simulate_events()",
        "player = ek.play(result)\nplayer",
        "other = ek.play(result, events=events)\n"
        "other.on_event(lambda event, how: met.append((event.label.item(), how)))\nother",
    ]
    errors = []
    with run_lab(tmp_path_factory.mktemp("lab"), cells) as address:
        page = chromium.new_page(viewport={"width": 1200, "height": 1300})
        page.on("pageerror", lambda error: errors.append(error.stack))
        open_notebook(page, address)
        page.locator(".emokit-player video").nth(1).wait_for(state="attached", timeout=60_000)
        page.wait_for_function(VIDEOS_READY)
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
    for key in ("a", "b", "b", "x", "d", "d", "Space", "Space"):
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


def test_shift_and_drag_selects_and_the_kernel_has_the_stretch(player):
    player.drag(player.place(4, 19.69), player.place(7, 19.69), key="Shift")

    def chosen():
        text = ask(player.page, "player.selection")
        return [float(x) for x in text.strip("()").split(",")] if text != "None" else [0, 0]

    start, end = until(chosen, lambda ends: ends[1] == pytest.approx(7, abs=0.05))
    assert start == pytest.approx(4, abs=0.05)
    times = ask(player.page, "player.selected()['face'].time.values[[0, -1]].tolist()")
    first, last = (float(x) for x in times.strip("[]").split(","))
    assert start <= first < start + FRAME and end - FRAME < last <= end
    # Selecting is not seeking.
    assert player.playhead == pytest.approx(5, abs=0.1)
    ask(player.page, "setattr(player, 'selection', (1, 2.5))")
    words = player.root.locator(".ek-chosen")
    until(words.inner_text, lambda text: "0:01.00 – 0:02.50" in text)
    player.page.keyboard.press("Escape")
    until(lambda: ask(player.page, "player.selection"), lambda t: t == "None")


def test_a_drag_on_the_ruler_selects_and_its_edges_can_be_moved(player):
    y = player.line.bounding_box()["y"] + 8

    def on_ruler(t):
        return player.place(t, 19.69)[0], y

    player.drag(on_ruler(10), on_ruler(12))
    player.drag(on_ruler(12), on_ruler(15))
    words = player.root.locator(".ek-chosen")
    assert until(words.inner_text, lambda t: "(5." in t or "(4.9" in t)
    player.page.mouse.click(*on_ruler(3))
    assert player.playhead == pytest.approx(3, abs=0.1)
    assert words.inner_text()
    player.page.keyboard.press("Escape")


def test_the_wheel_zooms_about_the_pointer_only_with_control(player):
    x, y = player.place(12, 19.69)
    player.page.mouse.move(x, y)
    player.page.mouse.wheel(0, 120)
    player.page.wait_for_timeout(100)
    y = player.place(12, 19.69)[1]
    player.page.mouse.move(x, y)
    player.page.keyboard.down("Control")
    for _ in range(4):
        player.page.mouse.wheel(0, -100)
    player.page.keyboard.up("Control")
    player.page.wait_for_timeout(100)
    player.page.mouse.click(x, y)
    assert player.playhead == pytest.approx(12, abs=0.06)
    # Seen closer, the same way on the screen is less time.
    player.page.mouse.click(x + 50, y)
    assert 12.1 < player.playhead < 12.1 + 50 / 950 * 19.69 / 2
    overview = player.root.locator(".ek-overview").bounding_box()
    player.page.mouse.dblclick(overview["x"] + 300, overview["y"] + 12)
    player.page.wait_for_timeout(100)
    player.click(3, 19.69)
    assert player.playhead == pytest.approx(3, abs=0.06)


def test_the_overviews_window_moves_what_is_in_view(player):
    player.page.keyboard.press("+")
    player.page.keyboard.press("+")
    player.page.wait_for_timeout(100)
    strip = player.root.locator(".ek-overview").bounding_box()
    plot = strip["width"] - 62 - 52

    def on_strip(t):
        return strip["x"] + 62 + plot * t / 19.69, strip["y"] + 12

    player.drag(on_strip(5), on_strip(12))
    player.page.wait_for_timeout(100)
    box = player.line.bounding_box()
    player.page.mouse.click(box["x"] + 62 + plot / 2, box["y"] + 100)
    middle = player.playhead
    player.page.keyboard.press("0")
    assert 11 < middle < 15


def test_a_selection_plays_over_and_over(player):
    ask(player.page, "setattr(player, 'selection', (5, 5.6))")
    ask(player.page, "setattr(player, 'loop', True)")
    until(player.root.locator(".ek-chosen").inner_text, bool)
    player.page.evaluate(RECORD)
    player.page.keyboard.press("Space")
    player.page.wait_for_timeout(1700)
    player.page.keyboard.press("Space")
    seen = np.array(player.page.evaluate("window.seen"))[:, 0]
    assert (np.diff(seen) < -0.3).sum() >= 1
    assert seen.min() > 5 - 2 * FRAME and seen.max() < 5.6 + 3 * FRAME
    player.page.keyboard.press("l")
    player.page.keyboard.press("Escape")
    until(lambda: ask(player.page, "player.loop"), lambda t: t == "False")


def test_evidence_of_a_moment_names_units_and_their_push(player):
    player.page.keyboard.press("e")
    panel = player.root.locator(".ek-evidence")
    words = until(panel.inner_text, lambda text: "AU" in text)
    assert "0:04.9" in words or "0:05.0" in words
    until(panel.locator(".ek-face").is_visible, bool)
    until(panel.locator(".ek-pitch").is_visible, bool)
    player.click(12, 19.69)
    until(panel.inner_text, lambda text: "0:12" in text or "0:11.9" in text)
    player.click(8.7, 19.69)
    until(panel.inner_text, lambda text: "No face is read" in text)
    player.page.keyboard.press("e")
    assert panel.is_hidden()


def test_events_are_met_by_playing_over_them_and_by_a_click(player):
    other = Shown(player.page, 1)
    ask(player.page, "met.clear()")
    other.click(5.2, 19.69)
    player.page.keyboard.press("Space")
    until(lambda: other.playhead, lambda t: t > 5.8)
    player.page.keyboard.press("Space")
    until(lambda: ask(player.page, "met"), lambda met: met == "[('AU12', 'playback')]")
    x, _ = other.place(9.2, 19.69)
    player.page.mouse.click(x, other.line.bounding_box()["y"] + 24 + 20 + 7)
    until(lambda: ask(player.page, "met[1:]"), lambda met: met == "[('AU04', 'click')]")
    until(lambda: other.playhead, lambda t: t == pytest.approx(10, abs=FRAME))
    assert "0:09.00 – 0:12.00" in other.root.locator(".ek-chosen").inner_text()
    panel = other.root.locator(".ek-evidence")
    until(panel.inner_text, lambda text: "AU" in text)
    player.page.keyboard.press("e")
    player.page.keyboard.press("Escape")


def test_the_mesh_comes_from_the_kernel_when_it_is_wanted(player):
    before = player.picture()
    player.page.keyboard.press("m")
    until(player.picture, lambda drawn: drawn != before)
    player.page.keyboard.press("m")
    until(player.picture, lambda drawn: drawn == before)


def test_linked_players_move_together(player):
    other = Shown(player.page, 1)
    ask(player.page, "globals().update(both=ek.link(player, other))")
    player.page.wait_for_timeout(200)
    player.click(10, 19.69)
    until(lambda: other.playhead, lambda t: abs(t - 10) < 0.1)
    player.page.keyboard.press("Space")
    until(lambda: other.media("paused"), lambda paused: not paused)
    until(lambda: player.playhead, lambda t: t > 10.6)
    apart = player.page.evaluate(
        "(([a, b]) => a.currentTime - b.currentTime)([...document.querySelectorAll('video')])"
    )
    assert abs(apart) < 0.35
    player.page.keyboard.press("Space")
    until(lambda: other.media("paused"), lambda paused: paused)
    until(lambda: other.playhead - player.playhead, lambda d: abs(d) < FRAME)
    ask(player.page, "both.unlink()")
    rest = other.playhead
    player.page.wait_for_timeout(200)
    player.click(2, 19.69)
    player.page.wait_for_timeout(300)
    assert other.playhead == rest


def test_a_closed_player_leaves_the_page(lab):
    ask(lab, "other.close()")
    until(lambda: lab.locator(".emokit-player").count(), lambda n: n == 1)


RUN_CELL = """async (source) => {
  const { commands, shell } = window.jupyterapp;
  await commands.execute("notebook:insert-cell-below");
  shell.currentWidget.content.activeCell.model.sharedModel.setSource(source);
  await commands.execute("notebook:run-cell");
}"""


def test_a_clip_that_goes_while_it_plays_plays_on(lab):
    shown = Shown(lab, 1)
    lab.evaluate(
        RUN_CELL,
        "import pathlib, shutil\n"
        "copy = pathlib.Path(shutil.copy(browser.find_video(), 'talk.mp4'))\n"
        "gone = ek.play(result, clip=copy)\ngone",
    )
    until(lambda: shown.video.count() and shown.media("readyState"), lambda state: state >= 2)
    shown.click(3, 19.69)
    lab.keyboard.press("Space")
    until(lambda: shown.playhead, lambda t: t > 3.3)
    ask(lab, "copy.unlink()")
    start = shown.playhead
    until(lambda: shown.playhead, lambda t: t > start + 0.3)
    lab.keyboard.press("Space")
    ask(lab, "gone.close()")
    until(lambda: lab.locator(".emokit-player").count(), lambda n: n == 1)


def test_a_video_that_cannot_be_loaded_is_named_and_the_timelines_remain(lab):
    lab.evaluate(
        RUN_CELL,
        "copy = pathlib.Path(shutil.copy(browser.find_video(), 'gone.mp4'))\n"
        "lost = ek.play(result, clip=copy)\ncopy.unlink()\nlost",
    )
    shown = Shown(lab, 1)
    message = shown.root.locator(".ek-message")
    until(lambda: message.count() and message.is_visible(), bool)
    assert "gone.mp4" in message.inner_text() and "could not be loaded" in message.inner_text()
    shown.click(12, 19.69)
    assert shown.playhead == pytest.approx(12, abs=0.1)
    ask(lab, "lost.close()")
    until(lambda: lab.locator(".emokit-player").count(), lambda n: n == 1)


def test_twenty_players_in_one_notebook_all_play(lab):
    lab.evaluate(
        RUN_CELL,
        "import ipywidgets\nmany = [ek.play(result) for _ in range(20)]\nipywidgets.VBox(many)",
    )
    until(lambda: lab.locator(".emokit-player").count(), lambda n: n == 21, seconds=30)
    lab.wait_for_function(VIDEOS_READY, timeout=60_000)
    last = Shown(lab, 20)
    last.click(12, 19.69)
    until(lambda: last.media("currentTime"), lambda t: abs(t - 12) < 0.1)
    lab.keyboard.press("Space")
    until(lambda: last.playhead, lambda t: t > 12.3)
    lab.keyboard.press("Space")
    until(lambda: float(ask(lab, "many[19].current_time")), lambda t: t > 12.3)
    assert ask(lab, "{p.current_time for p in many[:19]}") == "{0.0}"
    ask(lab, "[one.close() for one in many]")


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


def test_a_page_carries_its_evidence_where_that_is_little(open_page):
    result = add_evidence(simulate_result())
    face = result["face"].to_dataset()
    alone = face["emotion_probability"].roll(emotion=1, roll_coords=False)
    face = face.assign(prototype_probability=alone)
    result["face"] = xr.DataTree(face)
    shown = open_page("", widget=ek.play(result), video=False)
    shown.click(12, 20)
    shown.page.keyboard.press("e")
    panel = shown.root.locator(".ek-evidence")
    words = until(panel.inner_text, lambda text: "AU" in text)
    assert "0:12.00" in words or "0:11.9" in words
    assert "this frame alone, at" in words and "Of this frame alone" in words
    assert "nearest moment" not in words
    shown.click(12.25, 20)
    until(panel.inner_text, lambda text: "the nearest moment that this page explains" in text)
    shown.click(8.8, 20)
    until(panel.inner_text, lambda text: "no evidence for face_0 near 8.8" in text)
    assert shown.root.get_by_label("Face mesh (m)").is_hidden()


def test_two_fingers_zoom(open_page):
    shown = open_page(find_video(), video=False)
    session = shown.page.context.new_cdp_session(shown.page)
    box = shown.line.bounding_box()
    middle, y = box["x"] + 62 + (box["width"] - 114) / 2, box["y"] + 100

    def touch(kind, *places):
        points = [{"x": x, "y": y, "id": k} for k, x in enumerate(places)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", middle - 50, middle + 50)
    for apart in (80, 120, 160, 200):
        touch("touchMove", middle - apart, middle + apart)
    touch("touchEnd")
    shown.page.wait_for_timeout(300)
    shown.page.mouse.click(middle, y)
    there = shown.playhead
    assert there == pytest.approx(19.69 / 2, abs=0.3)
    shown.page.mouse.click(middle + 100, y)
    # Four times as close: a hundred pixels are a quarter of the time.
    whole = 100 / (box["width"] - 114) * 19.69
    assert shown.playhead - there == pytest.approx(whole / 4, abs=0.1)


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


@pytest.mark.parametrize(("size", "most"), [((480, 480), 400), ((360, 640), 500), ((64, 36), 400)])
@pytest.mark.parametrize("width", [690, 1400])
def test_square_and_upright_pictures_leave_room_for_timelines(
    open_page, tmp_path, size, most, width
):
    path = write_video(tmp_path / "clip.mp4", np.arange(20) / 10, size=size)
    result = simulate_result(path)
    result.attrs.update(width=size[0], height=size[1])
    shown = open_page(path, widget=ek.play(result))
    shown.page.set_viewport_size({"width": width, "height": 900})
    shown.page.wait_for_timeout(200)
    stage = shown.root.locator(".ek-stage").bounding_box()
    assert stage["height"] <= most + 1
    assert stage["width"] / stage["height"] == pytest.approx(size[0] / size[1], rel=0.02)
    controls = shown.root.locator(".ek-controls").first.bounding_box()
    sound = shown.root.locator(".ek-controls button").last.bounding_box()
    assert sound["x"] + sound["width"] <= controls["x"] + controls["width"] + 1


def test_a_click_on_a_face_shows_its_timelines(open_page):
    shown = open_page(find_video(), faces=2)
    box = shown.root.locator(".ek-stage").bounding_box()
    scale = box["width"] / 640
    select = shown.root.get_by_label("Face shown in the timelines")
    assert select.input_value() == "face_0"
    # Face 1 is simulated about (40, 40) to (190, 230), face 0 beside it.
    place = (box["x"] + 110 * scale, box["y"] + 130 * scale)
    shown.page.mouse.click(*place)
    assert select.input_value() == "face_1"
    assert shown.media("paused") is True
    shown.page.mouse.click(*place)
    until(lambda: shown.media("paused"), lambda paused: not paused)


def test_tracks_fold_hide_and_change_their_form(open_page):
    shown = open_page(find_video())
    height = shown.line.bounding_box()["height"]
    shown.root.get_by_label("Fold Action units").click()
    folded = shown.line.bounding_box()["height"]
    assert folded < height - 200
    shown.root.locator("summary").click()
    shown.root.get_by_label("Voice", exact=True).uncheck()
    assert shown.line.bounding_box()["height"] < folded - 70
    shown.root.get_by_label("How Displayed emotion, face is drawn").select_option("heat")
    shown.page.mouse.click(500, 5)
    assert shown.root.locator(".ek-menu-list").is_hidden()
    shown.root.get_by_label("Unfold Action units").click()
    assert shown.root.locator(".ek-fold").count() == 5


def test_faces_are_covered_while_reviewing(open_page):
    shown = open_page(find_video(), faces=1)
    until(lambda: shown.media("readyState"), lambda state: state >= 2)
    box = shown.root.locator(".ek-stage").bounding_box()
    scale = box["width"] / 640
    inside = {"x": box["x"] + 260 * scale, "y": box["y"] + 90 * scale, "width": 60, "height": 60}
    plain = shown.page.screenshot(clip=inside)
    shown.root.locator(".ek-timelines").click(position={"x": 300, "y": 100})
    shown.page.keyboard.press("b")
    shown.page.wait_for_timeout(200)
    covered = shown.page.screenshot(clip=inside)
    # Flat squares need far fewer bytes than a face.
    assert len(covered) < 0.5 * len(plain)


def test_a_real_clip_in_an_old_codec_plays(open_page, weekly_address, tmp_path, monkeypatch):
    monkeypatch.setattr("emokit.widgets.proxy.pooch.os_cache", lambda name: tmp_path / name)
    clip = ek.open_clip(weekly_address)
    shown = open_page(weekly_address, widget=ek.play(simulate_face(clip.frame_times), clip=clip))
    until(lambda: shown.media("readyState"), lambda state: state >= 2)
    assert shown.media("videoWidth") == 512
    assert abs(shown.media("currentTime") - 5) < 0.04
    shown.root.locator(".ek-timelines").click(position={"x": 300, "y": 100})
    shown.page.keyboard.press("Space")
    start = shown.playhead
    until(lambda: shown.playhead, lambda t: t > start + 0.3)


def test_ten_hours_and_a_hostile_name_are_shown_as_they_are(open_page):
    evil = "<img src=x onerror=alert(1)>"
    times = np.arange(0, 36_000, 1.0)
    face = simulate_face(times, 2).assign_coords(face=["face_0", evil])
    shown = open_page("", widget=ek.play(face), video=False)
    select = shown.root.get_by_label("Face shown in the timelines")
    select.select_option(evil)
    assert shown.root.locator("img").count() == 0
    shown.line.focus() if shown.line.get_attribute("tabindex") else shown.root.focus()
    shown.page.keyboard.press("End")
    assert shown.root.locator(".ek-clock").inner_text().startswith("9:59:")
    for _ in range(12):
        shown.page.keyboard.press("+")
    # What was stretched on the way is drawn anew once the view rests.
    shown.page.wait_for_timeout(400)
    numbers = "canvas => canvas.toDataURL()"
    rested = shown.line.locator("canvas").first.evaluate(numbers)
    shown.page.set_viewport_size({"width": 1001, "height": 1100})
    shown.page.wait_for_timeout(100)
    shown.page.set_viewport_size({"width": 1000, "height": 1100})
    shown.page.wait_for_timeout(200)
    assert shown.line.locator("canvas").first.evaluate(numbers) == rested
    box = shown.line.bounding_box()
    shown.page.mouse.move(box["x"] + 400, box["y"] + 100)
    assert "9:59:" in until(shown.root.locator(".ek-tip").inner_text, bool)
