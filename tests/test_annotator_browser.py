"""The annotator in a real JupyterLab: laid, dragged, traced, reloaded, restarted, saved."""

import json

import pytest
from browser import (
    VIDEOS_READY,
    Shown,
    ask,
    find_video,
    open_notebook,
    run_lab,
    start_chromium,
    until,
)

pytestmark = pytest.mark.browser

DURATION = 19.69
FRAME = 1 / 23.976

CELLS = [
    "import browser, emokit as ek\nresult = browser.simulate_result(browser.find_video())",
    """tiers = [
    ek.Tier("smile", labels={"felt": "f", "<script>alert(1)</script>": "g"}, intensity=True),
    ek.Trace("valence"),
    ek.Trace("arousal", relative=True),
]
annotator = ek.annotate(result, tiers=tiers, annotator="Ada")
annotator""",
]


class Desk(Shown):
    """The annotator on a page, and its file."""

    def __init__(self, page, folder):
        super().__init__(page)
        self.folder = folder

    @property
    def file(self):
        found = list(self.folder.glob("*.Ada.annotations.json"))
        return json.loads(found[0].read_text(encoding="utf-8")) if found else None

    @property
    def spans(self):
        return sorted(
            (s["onset"], s["offset"], s["label"]) for s in (self.file or {}).get("annotations", [])
        )

    def at(self, t, row=0):
        """Where on the page time `t` is in the tiers, the first of which is `row` 0."""
        return self.place(t, DURATION)[0], self.line.bounding_box()["y"] + 24 + 20 + 12 + 53 * row

    def press(self, key):
        self.page.keyboard.press(key)

    def saved(self, count):
        until(lambda: len(self.spans), lambda n: n == count)
        words = self.root.locator(".ek-saved")
        until(words.inner_text, lambda text: text.startswith("saved in"))


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    find_video()
    folder = tmp_path_factory.mktemp("lab")
    errors = []

    def answer(dialog):
        # A page with edits that are not saved asks before it is left.
        if dialog.type != "beforeunload":
            errors.append(f"blob: a dialog opened: {dialog.message}")
        dialog.accept()

    with start_chromium() as chromium, run_lab(folder, CELLS) as address:
        page = chromium.new_page(viewport={"width": 1200, "height": 1500})
        page.on("pageerror", lambda error: errors.append(error.stack))
        page.on("dialog", answer)
        open_notebook(page, address)
        page.wait_for_function(VIDEOS_READY, timeout=60_000)
        yield Desk(page, folder / "root"), address
        page.close()
    assert [stack for stack in errors if "blob:" in stack] == []


@pytest.fixture
def desk(lab):
    """Paused at 2 s, with the focus, and nothing annotated."""
    shown = lab[0]
    shown.video.evaluate("video => video.pause()")
    ask(shown.page, "annotator._store.spans.clear()")
    ask(shown.page, "annotator._saved({})")
    until(lambda: shown.spans, lambda spans: spans == [])
    shown.page.wait_for_timeout(200)
    shown.click(2, DURATION)
    until(lambda: shown.media("seeking"), lambda seeking: not seeking)
    return shown


def hold(desk, key, milliseconds):
    desk.press("Space")
    until(lambda: desk.playhead, lambda t: t > 2.2)
    desk.page.keyboard.down(key)
    desk.page.wait_for_timeout(milliseconds)
    desk.page.keyboard.up(key)
    desk.press("Space")
    until(lambda: desk.media("paused"), lambda paused: paused)


def test_a_key_that_is_held_while_the_clip_plays_lays_a_span_and_it_is_saved(desk):
    hold(desk, "f", 900)
    desk.saved(1)
    ((onset, offset, label),) = desk.spans
    assert label == "felt"
    assert 2.1 < onset < offset <= desk.playhead + 2 * FRAME
    assert 0.5 < offset - onset < 1.6
    desk.press("Shift+C")
    until(lambda: desk.file["annotations"][0]["intensity"], lambda it: it == "C")
    desk.press("Enter")
    desk.page.keyboard.type("broad, s f")
    desk.press("Enter")
    until(lambda: desk.file["annotations"][0]["comment"], lambda it: it == "broad, s f")
    assert len(desk.spans) == 1  # what is typed is no hot key
    assert ask(desk.page, "annotator.annotations['label'].values.tolist()") == "['felt']"


def test_spans_are_drawn_dragged_split_removed_and_taken_back(desk):
    desk.drag(desk.at(5), desk.at(9))
    desk.saved(1)
    onset, offset, _ = desk.spans[0]
    assert onset == pytest.approx(5, abs=0.06) and offset == pytest.approx(9, abs=0.06)
    desk.drag(desk.at(9), desk.at(12))
    until(lambda: desk.spans[0][1], lambda end: end == pytest.approx(12, abs=0.06))
    # The picture is at the edge that was dragged, and the selection is the span.
    assert desk.playhead == pytest.approx(12, abs=0.1)
    assert "0:05." in desk.root.locator(".ek-chosen").inner_text()
    desk.drag(desk.at(8), desk.at(10))
    until(lambda: desk.spans[0][0], lambda start: start == pytest.approx(7, abs=0.06))
    assert desk.spans[0][1] == pytest.approx(14, abs=0.1)
    desk.click(10, DURATION)
    desk.press("s")
    desk.saved(2)
    assert desk.spans[0][1] == desk.spans[1][0] == pytest.approx(10, abs=0.06)
    desk.press("g")
    until(lambda: desk.spans[0][2], lambda label: label.startswith("<script>"))
    desk.press("Delete")
    desk.saved(1)
    for count in (2, 2, 1):
        desk.press("Control+z")
        desk.saved(count)
    desk.press("Control+Shift+Z")
    desk.saved(2)
    actions = [edit["action"] for edit in desk.file["edits"]]
    assert actions[-1] == "redo" and actions.count("undo") >= 3


def test_a_trace_is_recorded_by_the_mouse_while_the_clip_plays(desk):
    stage = desk.root.locator(".ek-stage").bounding_box()
    desk.press("r")
    pad = desk.root.locator(".ek-pad-track").bounding_box()
    middle = stage["x"] + stage["width"] / 2
    desk.page.mouse.move(middle, pad["y"] + 0.25 * pad["height"])
    desk.press("Space")
    until(lambda: desk.playhead, lambda t: t > 2.8)
    desk.page.mouse.move(middle, pad["y"] + 0.75 * pad["height"])
    until(lambda: desk.playhead, lambda t: t > 3.6)
    desk.press("Space")
    until(lambda: desk.file["traces"][0]["runs"], bool)
    desk.press("r")
    (run,) = desk.file["traces"][0]["runs"]
    assert run["start"] == pytest.approx(2 * 25, abs=4)
    assert run["values"][5] == pytest.approx(0.5, abs=0.02)
    assert run["values"][-1] == pytest.approx(-0.5, abs=0.02)
    assert 0 <= desk.file["traces"][0]["input_lag"] < 1
    desk.press("Control+z")
    until(lambda: desk.file["traces"][0]["runs"], lambda runs: runs == [])


def test_a_stick_moves_a_relative_trace_beyond_any_bound(desk):
    page = desk.page
    page.evaluate(
        """() => {
            const stick = { connected: true, axes: [0, -1], timestamp: performance.now() };
            const value = () => [stick];
            Object.defineProperty(navigator, "getGamepads", { value, configurable: true });
        }"""
    )
    desk.root.locator(".ek-record").nth(1).click()
    page.wait_for_timeout(100)
    desk.press("Space")
    until(lambda: desk.playhead, lambda t: t > 4)
    desk.press("Space")
    until(lambda: desk.file["traces"][1]["runs"], bool)
    desk.press("r")
    page.evaluate("delete navigator.getGamepads")
    (run,) = desk.file["traces"][1]["runs"]
    # Held all the way up, the stick crosses half of the scale, 1, in a second.
    assert run["values"][0] == pytest.approx(0, abs=0.1)
    slope = (run["values"][-1] - run["values"][0]) / ((len(run["values"]) - 1) / 25)
    assert slope == pytest.approx(1, abs=0.05)
    assert run["values"][-1] > 1.5
    assert desk.file["edits"][-1]["device"] == "gamepad"


def test_nothing_is_lost_by_a_reload_or_by_a_restart_of_the_kernel(desk, lab):
    page = desk.page
    desk.drag(desk.at(5), desk.at(9))
    desk.saved(1)
    page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    open_notebook(page, lab[1], run=False)
    page.wait_for_function(VIDEOS_READY, timeout=30_000)
    hint = desk.root.locator(".ek-saved")
    until(hint.inner_text, lambda text: text.startswith("saved in"))
    desk.drag(desk.at(9), desk.at(11))
    until(lambda: desk.spans[0][1], lambda end: end == pytest.approx(11, abs=0.06))

    # The new kernel knows nothing of the widget: an edit is kept by the browser, which says so.
    kernel = "window.jupyterapp.shell.currentWidget.sessionContext?.session?.kernel"
    page.evaluate(f"{kernel}.restart()")
    page.wait_for_function(f"{kernel}?.status === 'idle'", timeout=30_000)
    desk.drag(desk.at(14), desk.at(16))
    until(hint.inner_text, lambda text: "NOT SAVED" in text, seconds=10)
    assert len(desk.spans) == 1
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    until(lambda: len(desk.spans), lambda n: n == 2, seconds=40)
    assert desk.spans[0][:2] == pytest.approx((5, 11), abs=0.06)
    assert desk.spans[1][:2] == pytest.approx((14, 16), abs=0.06)
    assert desk.file["edits"][-1]["action"] == "recovered: lay"
