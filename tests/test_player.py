"""The player without a browser: what it sends, serves and writes."""

import base64
import errno
import http.client
import json
import shutil
import socket
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from browser import (
    NO_FACE,
    add_evidence,
    find_video,
    simulate_face,
    simulate_result,
    simulate_voice,
)

import emokit as ek
from emokit.widgets import serve


@pytest.fixture
def show():
    """`ek.play`, with every player closed at the end."""
    players = []

    def play(*args, **kwargs):
        players.append(ek.play(*args, **kwargs))
        return players[-1]

    yield play
    for player in players:
        player.close()


def read_array(player, name):
    entry = player._arrays[name]
    return np.frombuffer(entry["data"], entry["dtype"]).reshape(entry["shape"])


def titles(player):
    return [panel["title"] for panel in player._layout["panels"]]


# ---------------------------------------------------------------- what is sent


def test_numbers_arrive_unchanged_and_absent_stays_nan(show):
    result = simulate_result(faces=2)
    player = show(result)
    for name in ("face_box", "au", "emotion_probability", "valence"):
        expected = result["face"][name].values.astype(np.float32)
        np.testing.assert_array_equal(read_array(player, f"face.{name}"), expected)
    times = result["face"]["time"].values
    lost = (times >= NO_FACE[0]) & (times < NO_FACE[1])
    assert np.isnan(read_array(player, "face.au")[lost, 0]).all()


def test_times_keep_their_precision_hours_into_a_clip(show):
    time = 4 * 3600 + np.arange(10) / 29.97
    voice = ek.schema.build_dataset("voice", {"f0": time * 0 + 100}, {"time": time}, history="[]")
    np.testing.assert_array_equal(read_array(show(voice), "voice.time"), time)


def test_steps_follow_the_frames_of_the_clip_not_the_analysed_ones(show):
    path = find_video()
    result = simulate_result(path)
    sparse = xr.DataTree.from_dict(
        {"/face": result["face"].to_dataset().isel(time=slice(0, None, 5))}
    )
    sparse.attrs = result.attrs
    player = show(sparse)
    np.testing.assert_array_equal(read_array(player, "frame.time"), ek.open_clip(path).frame_times)


def test_video_never_enters_the_widget_state(show):
    path = find_video()
    player = show(simulate_result(path))
    head = path.read_bytes()[4096:4160]
    state = player.get_state()
    for entry in state["_arrays"].values():
        assert head not in entry["data"]
    assert head not in json.dumps(state["_layout"]).encode()


def test_the_result_is_left_alone(show):
    result = simulate_result()
    before = result.copy(deep=True)
    show(result)
    assert result.identical(before)


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ("voice", ["Displayed arousal", "Voice"]),
        (
            "face",
            [
                "Action units",
                "Displayed emotion, face",
                "Displayed valence",
                "Displayed arousal",
            ],
        ),
        ("fused", ["Displayed emotion, fused", "Displayed valence", "Displayed arousal"]),
    ],
)
def test_any_group_may_be_missing(show, groups, expected):
    result = simulate_result()
    tree = xr.DataTree.from_dict({f"/{groups}": result[groups].to_dataset()})
    assert titles(show(tree)) == expected


@pytest.mark.parametrize("group", ["face", "voice", "fused"])
def test_any_variable_may_be_missing(show, group):
    ds = simulate_result()[group].to_dataset()
    for name in ds.data_vars:
        player = show(ds.drop_vars(name))
        assert not any(f"{group}.{name}" == array for array in player._arrays), name
        if name in ("face_box", "face_status"):
            continue
        alone = show(xr.DataTree.from_dict({f"/{group}": ds[[name]]}))
        assert np.isfinite(read_array(alone, f"{group}.{name}")).any(), name


def test_a_stage_of_its_own_is_shown_over_its_clip(show):
    path = find_video()
    times = ek.open_clip(path).frame_times
    player = show(simulate_face(times), clip=path)
    layout = player._layout
    assert layout["media"]["kind"] == "video"
    assert layout["media"]["codec"] == "h264"
    assert (layout["width"], layout["height"]) == (640, 360)
    assert player.duration == pytest.approx(19.69, abs=0.01)


@pytest.mark.parametrize("group", ["face", "voice", "fused"])
def test_a_stage_of_its_own_is_recognised(show, group):
    player = show(simulate_result()[group].to_dataset())
    assert {panel["group"] for panel in player._layout["panels"]} == {group}


def test_arousal_alone_is_the_voices(show):
    player = show(simulate_voice(3.0)[["arousal"]])
    assert player._layout["panels"][0]["series"][0]["source"] == "voice"


def test_boxes_keep_the_size_they_were_found_at_when_a_copy_is_shown(show):
    result = simulate_result()
    result.attrs |= {"width": 1920, "height": 1080}
    layout = show(result, clip=find_video())._layout
    assert (layout["width"], layout["height"]) == (1920, 1080)


def test_a_stage_that_was_saved_and_loaded(show, tmp_path):
    voice = simulate_result()["voice"].to_dataset()
    loaded = ek.load(ek.save(voice, tmp_path / "voice.nc"))
    assert titles(show(loaded)) == titles(show(voice))


def test_an_interpolated_box_is_a_face_that_is_there(show):
    face = simulate_result()["face"].to_dataset()
    face["face_status"][::2] = ek.schema.FACE_STATUS.index("interpolated")
    missing = read_array(show(face), "face.status")[::2]
    assert not missing.any()


def test_a_lost_face_is_marked_with_and_without_its_status(show):
    face = simulate_face(np.arange(0, 12, 0.04))
    lost = (face["time"].values >= NO_FACE[0]) & (face["time"].values < NO_FACE[1])
    for ds in (face, face.drop_vars("face_status")):
        player = show(ds)
        np.testing.assert_array_equal(read_array(player, "face.status")[:, 0] != 0, lost)
        assert player._layout["reasons"]["face"][1] == "no face"


def test_silence_does_not_count_as_a_missing_voice(show):
    voice = simulate_voice(6.0)
    assert np.isnan(voice["f0"]).any()
    assert not read_array(show(voice), "voice.status").any()
    unrecorded = voice.where(voice["time"] < 4)
    marked = read_array(show(unrecorded), "voice.status") != 0
    np.testing.assert_array_equal(marked, voice["time"].values >= 4)


def test_the_level_axis_is_not_spent_on_digital_silence(show):
    level = np.array([-120.0, -40.0, -12.0])
    voice = ek.schema.build_dataset(
        "voice", {"intensity": level}, {"time": [0.0, 0.1, 0.2]}, history="[]"
    )
    axis = show(voice)._layout["panels"][0]["axes"][0]["range"]
    assert axis == [-70, -10]


def test_a_voice_without_any_pitch_still_has_an_axis(show):
    voice = ek.schema.build_dataset(
        "voice", {"f0": np.full(3, np.nan)}, {"time": [0.0, 0.1, 0.2]}, history="[]"
    )
    low, high = show(voice)._layout["panels"][0]["axes"][0]["range"]
    assert 0 < low < high


def test_a_clip_that_has_gone_is_named_and_the_timelines_remain(show):
    result = simulate_result()
    result.attrs["source"] = "gone <b>.mp4"
    player = show(result)
    assert "gone <b>.mp4" in player._layout["media"]["note"]
    assert player._layout["media"]["kind"] == "none"
    assert len(titles(player)) == 6


def test_a_clip_that_was_replaced_since_is_said_and_shown(show, tmp_path):
    path = tmp_path / "talk.mp4"
    shutil.copy(find_video(), path)
    result = simulate_result(path)
    result.attrs["source_sha256"] = ek.open_clip(path).sha256
    assert "changed" not in show(result)._layout["note"]
    shutil.copy(find_video("single_face.mp4"), path)
    with pytest.warns(UserWarning, match=r"talk\.mp4 is not the file that was analysed"):
        player = show(result)
    assert "The file has changed since it was analysed" in player._layout["note"]
    assert player._layout["media"]["kind"] == "video"


def test_uncertainty_becomes_a_band_where_the_data_has_it(show):
    fused = simulate_result()["fused"].to_dataset()
    sure = fused.assign(valence_low=fused["valence"] - 0.2, valence_high=fused["valence"] + 0.1)
    player = show(sure)
    valence = next(p for p in player._layout["panels"] if p["title"] == "Displayed valence")
    assert valence["series"][0]["band"] == ["fused.valence_low", "fused.valence_high"]
    np.testing.assert_array_equal(
        read_array(player, "fused.valence_low"), sure["valence_low"].values.astype(np.float32)
    )
    face = simulate_face(np.arange(0, 3, 0.1), 2)
    face["arousal"] = face["arousal"].assign_coords(noise=("face", [0.05, np.nan]))
    arousal = show(face)._layout["panels"][-1]
    assert arousal["title"] == "Displayed arousal" and arousal["series"][0]["noise"] == [0.05, 0.0]
    assert "band" not in arousal["series"][0]
    (emotion,) = (p for p in show(face)._layout["panels"] if p["title"].endswith("emotion, face"))
    assert "noise" not in emotion["series"][0]
    assert not any(
        "noise" in s for p in show(simulate_result())._layout["panels"] for s in p["series"]
    )


def test_gaze_is_sent_with_the_eyes_it_comes_from(show):
    face = simulate_face(np.arange(0, 3, 0.1), 2)
    gaze = np.zeros((30, 2, 3), np.float32)
    point = np.arange(30 * 2 * 12, dtype=np.float32).reshape(30, 2, 6, 2)
    face["gaze"] = (("time", "face", "angle"), gaze)
    face["face_point"] = (("time", "face", "point", "plane"), point)
    player = show(face)
    assert read_array(player, "face.gaze").shape == (30, 2, 3)
    np.testing.assert_array_equal(read_array(player, "face.eye"), point[:, :, :2])
    assert "face.eye" not in show(face.drop_vars("gaze"))._arrays


def test_frames_in_memory_have_no_file_to_play(show):
    clip = ek.Clip.from_frames(np.zeros((3, 48, 64, 3), np.uint8), [0.0, 0.1, 0.2])
    player = show(simulate_face(clip.frame_times), clip=clip, proxy=False)
    assert player._layout["media"]["kind"] == "none"
    assert player._layout["width"] == 64


@pytest.mark.parametrize(
    ("result", "error", "words"),
    [
        ({"face": 1}, TypeError, "result must be an xarray DataTree.*got dict"),
        (xr.DataTree(), ValueError, "none of the groups face, voice, fused"),
        (xr.Dataset({"loudness": ("time", [1.0])}), ValueError, "knows; it has loudness"),
        (
            xr.Dataset({"arousal": ("time", [9.0])}, coords={"time": [0.0]}),
            ValueError,
            r"group 'voice' of result.*\n.*'arousal' lies outside",
        ),
    ],
)
def test_what_cannot_be_shown_is_refused_with_its_reason(result, error, words):
    with pytest.raises(error, match=words):
        ek.play(result)


def test_a_clip_asked_for_by_name_must_exist():
    with pytest.raises(ek.ClipError, match="nowhere"):
        ek.play(simulate_voice(1.0), clip="nowhere.mp4")


def test_a_shell_without_a_browser_shows_words(show):
    from IPython.core.formatters import DisplayFormatter

    shown, _ = DisplayFormatter().format(show(simulate_result()))
    assert shown["text/plain"].startswith("<Player of a result without a clip: 20.00 s")


# ---------------------------------------------------------------- traits


def test_current_time_stays_inside_the_clip(show):
    player = show(simulate_result())
    assert player.current_time == 0
    for asked, kept in ((7.25, 7.25), (99, 20.0), (-1, 0.0)):
        player.current_time = asked
        assert player.current_time == kept
    with pytest.raises(Exception, match="finite number of seconds"):
        player.current_time = float("nan")


def test_face_must_be_one_of_the_tracks(show):
    player = show(simulate_result(faces=2))
    assert player.face == "face_0"
    player.face = "face_1"
    with pytest.raises(Exception, match="one of face_0, face_1; got 'Ada'"):
        player.face = "Ada"
    assert player.face == "face_1"


def test_selection_is_a_start_and_a_later_end_inside_the_clip(show):
    player = show(simulate_result())
    assert player.selection is None
    for asked, kept in (((2, 5), (2.0, 5.0)), ([18, 99], (18.0, 20.0)), (None, None)):
        player.selection = asked
        assert player.selection == kept
    player.selection = (2, 5)
    for wrong in ((5, 2), (3, 3), (1, float("nan")), (30, 40)):
        with pytest.raises(Exception, match="selection must"):
            player.selection = wrong
    assert player.selection == (2.0, 5.0)


def test_a_selection_that_the_browser_sends_is_taken(show):
    player = show(simulate_result())
    heard = []
    player.observe(lambda change: heard.append(change["new"]), "selection")
    player.set_state({"selection": [1.5, 2.5]})
    player.set_state({"selection": None})
    assert heard == [(1.5, 2.5), None]


def test_selected_slices_every_group_on_its_own_time(show):
    result = simulate_result(faces=2)
    before = result.copy(deep=True)
    player = show(result)
    player.selection = (3.3, 4.7)
    part = player.selected()
    assert set(part.children) == {"face", "voice", "fused"}
    for name, child in part.children.items():
        whole = result[name]["time"].values
        inside = whole[(whole >= 3.3) & (whole <= 4.7)]
        np.testing.assert_array_equal(child["time"].values, inside)
        assert inside.size
        step = ek.schema.read_history(child.to_dataset())[-1]
        assert step["step"] == "select"
        assert step["parameters"] == {"start": 3.3, "end": 4.7}
        ek.schema.validate(child.to_dataset(), group=name)
    assert part.attrs == result.attrs
    assert result.identical(before)


def test_selected_is_everything_where_nothing_is_selected(show):
    result = simulate_result()
    assert show(result).selected().identical(result)


def test_a_stage_of_its_own_can_be_selected_from(show):
    player = show(simulate_voice(10.0))
    player.selection = (2, 3)
    assert player.selected()["voice"]["f0"].sizes["time"] == 101


def ask(player, **message):
    """What the player answers to a message of the browser, as (content, buffers)."""
    sent = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            type(player),
            "send",
            lambda self, content, buffers=None: sent.append((content, buffers)),
        )
        player._handle_custom_msg(message, [])
    (answer,) = sent
    return answer


def test_evidence_is_what_explain_says_of_the_moment_and_the_face(show):
    result = add_evidence(simulate_result(faces=2))
    player = show(result)
    assert player._layout["explains"] is True
    answer, _ = ask(player, type="explain", number=7, time=3.0, face="face_1")
    assert (answer["type"], answer["number"], answer["face"]) == ("evidence", 7, "face_1")
    json.dumps(answer, allow_nan=False)
    face = result["face"].to_dataset()
    push = ek.explain(face, time=3.0, face="face_1")
    probability = face["emotion_probability"].sel(face="face_1").sel(time=3.0, method="nearest")
    first = answer["emotions"][0]
    assert first["label"] == probability.idxmax("emotion").item()
    assert first["probability"] == pytest.approx(float(probability.max()))
    found = {unit["unit"]: unit["push"] for unit in first["units"]}
    expected = push.sel(emotion=first["label"]).to_series().sort_values(key=np.abs)[-6:]
    assert found == pytest.approx(expected[expected != 0].to_dict())
    assert "pitch" in answer["voice"] or "intensity" in answer["voice"]


def test_evidence_says_where_it_is_of_one_frame_and_the_timeline_is_not(show):
    """What `analyze` puts first is read over time; units explain each frame alone."""
    result = add_evidence(simulate_result())
    answer, _ = ask(show(result), type="explain", number=1, time=3.0, face="face_0")
    assert answer["alone"] is False
    face = result["face"].to_dataset()
    same = face.assign(prototype_probability=face["emotion_probability"])  # as of photographs
    result["face"] = xr.DataTree(same)
    answer, _ = ask(show(result), type="explain", number=1, time=3.0, face="face_0")
    assert answer["alone"] is False
    alone = face["emotion_probability"].roll(emotion=1, roll_coords=False)
    result["face"] = xr.DataTree(face.assign(prototype_probability=alone))
    answer, _ = ask(show(result), type="explain", number=1, time=3.0, face="face_0")
    assert answer["alone"] is True
    here = alone.sel(face="face_0").sel(time=3.0, method="nearest")
    assert answer["emotions"][0]["label"] == here.idxmax("emotion").item()


def test_no_face_has_no_evidence_but_a_reason(show):
    player = show(add_evidence(simulate_result()))
    answer, _ = ask(player, type="explain", number=1, time=8.7, face="face_0")
    assert "No face is read at 8.70 s" in answer["note"]


def test_evidence_comes_from_the_function_that_is_given(show):
    def explain(ds, *, time, face):
        return ek.explain(ds, time=time, face=face) * 0 + 1.0

    player = show(add_evidence(simulate_result()), explain=explain)
    answer, _ = ask(player, type="explain", number=1, time=3.0, face="face_0")
    assert {unit["push"] for unit in answer["emotions"][0]["units"]} == {1.0}


def test_a_page_has_the_evidence_of_every_half_second_of_a_short_clip(show, tmp_path):
    result = add_evidence(simulate_result(faces=2))
    player = show(result)
    moments = read_page(player.to_html(tmp_path / "a.html", video=False)).state["_evidence"]
    assert {one["face"] for one in moments} == {"face_0", "face_1"}
    times = [one["time"] for one in moments if one["face"] == "face_1"]
    np.testing.assert_allclose(times, np.arange(0, 20, 0.5), atol=0.03)
    (at_five,) = (one for one in moments if one["face"] == "face_1" and abs(one["time"] - 5) < 0.1)
    push = ek.explain(result["face"].to_dataset(), time=5.0, face="face_1")
    unit = at_five["emotions"][0]["units"][0]
    expected = push.sel(emotion=at_five["emotions"][0]["label"], action_unit=unit["unit"])
    assert unit["push"] == pytest.approx(float(expected))
    long = add_evidence(simulate_result(faces=2)).map_over_datasets(
        lambda ds: ds.assign_coords(time=ds["time"] * 30) if "time" in ds.dims else ds
    )
    assert read_page(show(long).to_html(tmp_path / "b.html", video=False)).state["_evidence"] == []


def test_without_its_grounds_no_evidence_is_offered(show):
    assert show(simulate_result())._layout["explains"] is False


def test_meshes_are_sent_when_asked_for_and_not_before(show):
    result = add_evidence(simulate_result(faces=2))
    player = show(result)
    assert player._layout["mesh"] is True
    assert not any("landmark" in name for name in player._arrays)
    answer, (data,) = ask(player, type="mesh", face=1, start=480, count=64)
    points = np.frombuffer(data, "<f4").reshape(20, 30, 2)  # the clip ends after 500
    expected = result["face"]["landmark_position"].values[480:, 1, :, :2]
    np.testing.assert_array_equal(points, expected)
    assert (answer["face"], answer["start"]) == (1, 480)


def simulate_events():
    return xr.Dataset(
        {
            "onset": ("event", [1.0, 4.0, np.nan]),
            "apex": ("event", [1.5, np.nan, 7.0]),
            "offset": ("event", [2.0, 6.0, 8.0]),
            "face": ("event", ["face_0", "", "face_0"]),
            "label": ("event", ["AU12", "<script>", "AU04"]),
        }
    )


def test_events_become_spans_and_what_is_not_known_of_them_is_left_out(show):
    result = simulate_result()
    result["events"] = xr.DataTree(simulate_events())
    panel = show(result)._layout["panels"][0]
    assert panel["title"] == "Events" and [row["label"] for row in panel["rows"]] == [
        "<script>",
        "AU12",
    ]
    first, second = panel["spans"]
    assert (first["onset"], first["apex"], first["offset"]) == (1.0, 1.5, 2.0)
    assert second["apex"] is None and second["amplitude"] is None
    many = xr.Dataset(
        {
            "onset": ("event", np.arange(40.0)),
            "offset": ("event", np.arange(40.0) + 0.5),
            "label": ("event", [f"label {k:02}" for k in range(40)]),
        }
    )
    panel = show(result, events=many)._layout["panels"][0]
    assert len(panel["rows"]) == 16 and panel["spans"][-1]["row"] == "others"


def test_found_events_are_shown_as_they_come(show):
    time = np.arange(0, 4, 0.04)
    face = simulate_face(time)
    face["au"][:, 0, 9] = 0.8 * np.exp(-(((time - 2) / 0.4) ** 2))
    events = ek.find_events(face, labels=["AU12"])
    (panel, *_) = show(face, events=events)._layout["panels"]
    assert [span["label"] for span in panel["spans"]] == ["AU12"] * events.sizes["event"]
    assert panel["spans"][0]["apex"] == pytest.approx(float(events["apex"][0]))


def test_events_that_are_met_are_told_with_how(show):
    player = show(simulate_voice(10.0), events=simulate_events())
    met = []
    player.on_event(lambda event, how: met.append((event["label"].item(), how)))
    player._handle_custom_msg({"type": "event", "numbers": [0, 1], "how": "playback"}, [])
    assert met == [("AU12", "playback"), ("<script>", "playback")]
    with pytest.raises(TypeError, match="callback must be a function; got str"):
        player.on_event("print")
    with pytest.raises(ValueError, match="there are no events to meet"):
        show(simulate_voice(1.0)).on_event(print)


@pytest.mark.parametrize(
    ("events", "error", "words"),
    [
        ([1.0], TypeError, "events must be an xarray Dataset; got list"),
        (xr.Dataset({"onset": ("event", [1.0])}), ValueError, "'offset' along 'event' is missing"),
    ],
)
def test_events_that_are_none_are_refused(events, error, words):
    with pytest.raises(error, match=words):
        ek.play(simulate_voice(1.0), events=events)


def test_linked_players_share_a_clock_until_they_do_not(show):
    one, two, three = (show(simulate_voice(2.0)) for _ in range(3))
    first = ek.link(one, two)
    assert one._clock and one._clock == two._clock
    assert three._clock == ""
    second = ek.link(two, three)
    assert two._clock == three._clock != one._clock
    first.unlink()
    assert one._clock == "" and two._clock == three._clock != ""
    second.unlink()
    assert {two._clock, three._clock} == {""}
    with pytest.raises(ValueError, match="two or more"):
        ek.link(one, one)
    with pytest.raises(TypeError, match="made by play; got str"):
        ek.link(one, "two")


# ---------------------------------------------------------------- the page


class Page(HTMLParser):
    """Elements of a page, and the text of its scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self.inside = [], [], None
        self.title = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.inside = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside == "script":
            attrs, text = self.scripts[-1]
            self.scripts[-1] = (attrs, text + data)
        elif self.inside == "title":
            self.title += data

    @property
    def state(self):
        return json.loads(next(t for a, t in self.scripts if a.get("id") == "emokit-state"))

    @property
    def media(self):
        pieces = [t for a, t in self.scripts if a.get("class") == "emokit-media"]
        return b"".join(map(base64.b64decode, pieces))


def read_page(path):
    return Page(path.read_text(encoding="utf-8"))


def test_a_page_carries_the_video_whole_and_the_numbers(show, tmp_path, monkeypatch):
    monkeypatch.setattr("emokit.widgets.page._MEDIA_PIECE", 3 * 2**18)
    path = find_video()
    player = show(simulate_result(path))
    player.current_time = 3.5
    player.selection = (2, 4)
    page = read_page(player.to_html(tmp_path / "talk.html"))
    assert page.media == path.read_bytes()
    assert page.state["current_time"] == 3.5
    assert page.state["selection"] == [2, 4]
    entry = page.state["_arrays"]["face.au"]
    assert base64.b64decode(entry["data"]) == player._arrays["face.au"]["data"]
    assert list(tmp_path.iterdir()) == [tmp_path / "talk.html"]


def test_a_page_without_video_holds_none_of_it(show, tmp_path):
    path = find_video()
    page_path = show(simulate_result(path)).to_html(tmp_path / "talk.html", video=False)
    page = read_page(page_path)
    assert page.media == b""
    assert page.state["_layout"]["media"]["kind"] == "none"
    assert "without the video" in page.state["_layout"]["media"]["note"]


def test_a_page_tells_nothing_of_this_machine(show, tmp_path):
    path = find_video()
    player = show(simulate_result(path))
    text = player.to_html(tmp_path / "talk.html").read_text(encoding="utf-8")
    assert path.parent.as_posix() not in text
    assert player._layout["media"]["token"] not in text


def test_names_cannot_break_out_of_the_page(show, tmp_path):
    evil = '</script><img src=x onerror="alert(1)"><!--<script>'
    face = simulate_face(np.arange(0, 2, 0.1)).assign_coords(face=[evil])
    video = tmp_path / "<b>&'quoted'.mp4"
    shutil.copy(find_video(), video)
    page = read_page(show(face, clip=video).to_html(tmp_path / "page.html", video=False))
    assert "img" not in page.tags and "b" not in page.tags
    assert page.tags.count("script") == 2
    assert page.state["face"] == evil
    assert page.title.startswith(video.name)


def test_the_widget_code_cannot_end_its_own_element():
    folder = Path(ek.widgets.__file__).parent
    for part in folder.glob("*.js"):
        assert "</script" not in part.read_text(encoding="utf-8").lower()
    assert "</style" not in (folder / "player.css").read_text(encoding="utf-8").lower()


def test_a_page_that_cannot_be_written_leaves_the_old_one(show, tmp_path):
    video = tmp_path / "talk.mp4"
    shutil.copy(find_video(), video)
    player = show(simulate_face(np.arange(0, 2, 0.1)), clip=video)
    page = player.to_html(tmp_path / "talk.html", video=False)
    before = page.read_bytes()
    video.unlink()
    with pytest.raises(ValueError, match="use video=False"):
        player.to_html(page)
    assert page.read_bytes() == before

    def fail(path):
        raise OSError(errno.ENOSPC, "disk full")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emokit.widgets.page._script_json", fail)
        with pytest.raises(OSError, match="disk full"):
            player.to_html(page, video=False)
    assert list(tmp_path.iterdir()) == [page]
    assert page.read_bytes() == before


# ---------------------------------------------------------------- serving


@pytest.fixture
def served(tmp_path):
    """A file of 1000 numbered bytes, served; yields its address and its content."""
    path = tmp_path / "clip.mp4"
    content = bytes(i % 251 for i in range(1000))
    path.write_bytes(content)
    handle = serve.serve_file(path)
    yield handle, content
    handle.close()


def fetch(served, *, method="GET", path=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    try:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path or f"/{served.token}", headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def test_a_whole_file_is_served_with_its_type(served):
    status, headers, body = fetch(served[0])
    assert (status, body) == (200, served[1])
    assert headers["Content-Type"] == "video/mp4"
    assert headers["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=0-9", 0, 9),
        ("bytes=990-", 990, 999),
        ("bytes=-5", 995, 999),
        ("bytes=5-9999", 5, 999),
    ],
)
def test_a_range_is_served_exactly(served, wanted, first, last):
    status, headers, body = fetch(served[0], Range=wanted)
    assert (status, body) == (206, served[1][first : last + 1])
    assert headers["Content-Range"] == f"bytes {first}-{last}/1000"
    assert int(headers["Content-Length"]) == len(body)


@pytest.mark.parametrize("wanted", ["bytes=1000-", "bytes=2000-3000", "bytes=-0"])
def test_a_range_beyond_the_end_is_refused_with_the_length(served, wanted):
    status, headers, _ = fetch(served[0], Range=wanted)
    assert status == 416
    assert headers["Content-Range"] == "bytes */1000"


@pytest.mark.parametrize("wanted", ["bytes=9-2", "bytes=0-1,5-6", "chapters=1-2", "bytes=-"])
def test_what_is_no_single_range_gets_the_whole_file(served, wanted):
    status, _, body = fetch(served[0], Range=wanted)
    assert (status, len(body)) == (200, 1000)


def test_a_range_of_a_file_that_changed_gets_the_whole_file(served):
    etag = fetch(served[0])[1]["ETag"]
    assert fetch(served[0], Range="bytes=0-9", If_Range=etag)[0] == 206
    assert fetch(served[0], Range="bytes=0-9", If_Range='"older"')[0] == 200


def test_an_open_range_of_a_long_film_comes_in_parts(tmp_path):
    path = tmp_path / "film.mp4"
    size = 20 * 2**20
    with path.open("wb") as file:
        file.truncate(size)
    handle = serve.serve_file(path)
    got, requests = 0, 0
    while got < size:
        status, headers, body = fetch(handle, Range=f"bytes={got}-")
        assert status == 206 and len(body) <= 8 * 2**20
        assert headers["Content-Range"].endswith(f"/{size}")
        got, requests = got + len(body), requests + 1
    handle.close()
    assert requests == 3


def test_head_tells_the_length_and_sends_nothing(served):
    status, headers, body = fetch(served[0], method="HEAD")
    assert (status, headers["Content-Length"], body) == (200, "1000", b"")


@pytest.mark.parametrize("path", ["/", "/clip.mp4", "/wrong-token", "/../clip.mp4"])
def test_only_the_token_leads_to_the_file(served, path):
    assert fetch(served[0], path=path)[0] == 404
    assert fetch(served[0], path=f"/{served[0].token}/../clip.mp4")[0] == 404


def test_another_sites_name_for_this_machine_is_refused(served):
    assert fetch(served[0], Host="evil.example")[0] == 403
    assert fetch(served[0], Host=f"localhost:{served[0].port}")[0] == 200
    proxied = fetch(served[0], Host="hub.example", X_ProxyContextPath="/user/ada/proxy/5000")
    assert proxied[0] == 200


def test_scripts_of_other_pages_may_not_read_the_file(served):
    _, headers, _ = fetch(served[0], Origin="https://evil.example")
    assert not [name for name in headers if name.lower().startswith("access-control")]
    assert fetch(served[0], method="POST")[0] == 405


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")
def test_no_other_address_of_the_machine_answers(served):
    with pytest.raises(ConnectionRefusedError), socket.socket() as other:
        other.connect(("127.0.0.2", served[0].port))


def test_closing_ends_one_file_and_the_last_ends_the_server(served, tmp_path):
    other = serve.serve_file(tmp_path / "clip.mp4")
    assert other.port == served[0].port and other.token != served[0].token
    other.close()
    assert fetch(other)[0] == 404
    assert fetch(served[0])[0] == 200
    served[0].close()
    served[0].close()
    with pytest.raises(ConnectionRefusedError):
        fetch(served[0])


def test_a_player_serves_its_clip_until_it_is_closed():
    path = find_video()
    player = ek.play(simulate_result(path))
    media = player._layout["media"]
    handle = serve.ServedFile(media["port"], media["token"])
    assert fetch(handle, Range="bytes=4-7")[2] == b"ftyp"
    player.close()
    player.close()
    with pytest.raises(ConnectionRefusedError):
        fetch(handle)


# ---------------------------------------------------------------- the rest


def test_emokit_starts_without_the_widget_machinery():
    code = "import emokit, sys; print([m for m in ('anywidget', 'tornado') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_javascript():
    node = shutil.which("node")
    if node is None:
        pytest.skip("node, which runs the JavaScript tests, is not installed")
    files = map(str, (Path(__file__).parent / "js").glob("*.test.mjs"))
    run = subprocess.run([node, "--test", *files], check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_weak_units_weights_and_the_reason_of_low_quality_are_sent(show, sample):
    player = show(sample)
    panels = {panel["title"]: panel for panel in player._layout["panels"]}
    trust = sample["face"]["trust"].to_series()
    units = panels["Action units"]["series"]
    assert [one["label"] for one in units if one["weak"]] == list(trust[trust < 0.8].index)
    assert all(f"trust {trust[one['label']]:.2f}" in one["hint"] for one in units)
    assert [one["label"] for one in panels["Weight of each modality"]["series"]] == [
        "weight of face",
        "weight of voice",
    ]
    np.testing.assert_array_equal(
        read_array(player, "face.quality_reason"), sample["face"]["quality_reason"].values
    )
    words = player._layout["quality_reasons"]
    assert words[ek.schema.QUALITY_REASON.index("cut_off")] == "cut off"
