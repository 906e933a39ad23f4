"""Annotations without a browser: tiers, edits, the file, the Dataset, and the widget's contract."""

import json

import numpy as np
import pytest
import xarray as xr
from browser import find_video, simulate_face, simulate_result

import emokit as ek
from emokit.annotation_store import AnnotationStore

CLIP = {"name": "talk.mp4", "sha256": "ab" * 32, "duration": 20.0}


def make_store(*tiers, path=None):
    return AnnotationStore(tiers or ["smile"], annotator="Ada", clip=CLIP, path=path)


def span(onset, offset, tier="smile", label="smile", **more):
    return {"tier": tier, "label": label, "onset": onset, "offset": offset, **more}


def lay(store, number, *args, action="lay", **more):
    store.apply([{"id": number, "after": span(*args, **more)}], action=action)


# ---------------------------------------------------------------- tiers


def test_labels_get_keys_that_nobody_else_has():
    store = make_store(ek.Tier("a", labels={"x": "2", "y": ""}), "b", ek.Trace("valence"))
    assert [tier.labels for tier in store.tiers[:2]] == [{"x": "2", "y": "1"}, {"b": "3"}]


@pytest.mark.parametrize(
    ("tiers", "words"),
    [
        (["a", "a"], "their own name; twice: a"),
        ([ek.Tier("a", labels={"x": "q"}), ek.Tier("b", labels={"y": "q"})], "own key; twice: q"),
        ([ek.Tier("a", labels={"x": "r"}), ek.Trace("b")], "key 'r' records traces"),
        ([ek.Trace("")], "name of a tier must be some text"),
    ],
)
def test_tiers_that_cannot_be_told_apart_are_refused(tiers, words):
    with pytest.raises(ValueError, match=words):
        make_store(*tiers)


@pytest.mark.parametrize("labels", [{"x": " "}, {"x": "ab"}, {"": "q"}])
def test_labels_that_cannot_be_pressed_are_refused(labels):
    with pytest.raises(ValueError, match="labels of tier 'a'"):
        ek.Tier("a", labels=labels)


def test_a_scale_has_two_finite_ends():
    with pytest.raises(ValueError, match="low and high of trace 'v'"):
        ek.Trace("v", low=1, high=-1)
    with pytest.raises(TypeError, match="labels must be several strings"):
        ek.Tier("a", labels="xyz")


# ---------------------------------------------------------------- edits


def test_spans_are_laid_changed_and_removed_and_each_edit_is_kept():
    store = make_store()
    lay(store, 1, 1.0, 2.0)
    lay(store, 1, 1.5, 2.0, comment="weak", action="move onset")
    created = store.spans[1]["created"]
    store.annotator = "Bea"
    store.apply([{"id": 1, "after": None}], action="delete", when="2026-01-02T03:04:05Z")
    assert store.spans == {}
    log = [(edit["action"], edit["by"], edit["target"]) for edit in store.edits]
    assert log == [("lay", "Ada", 1), ("move onset", "Ada", 1), ("delete", "Bea", 1)]
    assert store.edits[1]["before"]["onset"] == 1.0 and store.edits[1]["after"]["onset"] == 1.5
    assert store.edits[2]["before"]["created"] == created
    assert store.edits[2]["when"] == "2026-01-02T03:04:05Z"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (span(3.0, 3.0), "begin before it ends"),
        (span(-1.0, 3.0), "within 0 to 20"),
        (span(1.0, 21.0), "within 0 to 20"),
        (span(float("nan"), 2.0), "begin before it ends"),
        (span(1.0, 2.0, tier="brows"), "no tier 'brows'"),
        (span(1.0, 2.0, intensity="F"), "A to E or empty; got 'F'"),
        (span(1.0, 2.0, label="grin"), "label must be one of smile in tier 'smile'; got 'grin'"),
        (span(1.0, 2.0, comment=7), "comment of a span must be text"),
        (span(5.5, 7.0), "must not overlap; one ends at 6.000"),
        (None, "not there to be removed"),
    ],
)
def test_an_edit_that_does_not_fit_changes_nothing(wrong, words):
    store = make_store()
    lay(store, 1, 5.0, 6.0)
    with pytest.raises(ValueError, match=words):
        store.apply([{"id": 2, "after": span(8, 9)}, {"id": 3, "after": wrong}], action="lay")
    assert list(store.spans) == [1] and len(store.edits) == store.revision == 1


def test_a_pass_that_comes_in_pieces_is_one_edit():
    store = make_store(ek.Trace("valence"))
    for start in (50, 75):
        values = np.linspace(0, 1, 25)
        store.write_trace("valence", start, values, device="mouse", lag=0.02, **{"pass": "p/1"})
    store.write_trace("valence", 60, np.full(5, np.nan), action="undo")
    assert [edit["action"] for edit in store.edits] == ["record", "undo"]
    assert (store.edits[0]["from"], store.edits[0]["to"]) == (2.0, 4.0)
    ds = store.to_dataset()
    trace = ds["trace_value"].sel(trace="valence")
    assert float(trace.sel(time=2.96)) == 1.0
    known = np.isfinite(trace.values)
    assert known.sum() == 45 and np.isnan(trace.sel(time=slice(2.4, 2.56))).all()
    assert float(ds["input_lag"][0]) == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("joy", 0, [1]), "no trace 'joy'"),
        (("valence", 499, [1, 2, 3]), "has 501 samples"),
        (("valence", -1, [1]), "has 501 samples"),
        (("valence", 0, [np.inf]), "finite or NaN"),
        (("valence", 0, [0.5, 5]), "goes from -1 to 1; got 5"),
    ],
)
def test_a_trace_that_does_not_fit_is_refused(args, words):
    store = make_store(ek.Trace("valence"))
    with pytest.raises(ValueError, match=words):
        store.write_trace(*args)
    assert np.isnan(store.traces["valence"]).all()


# ---------------------------------------------------------------- Dataset and file


def fill(store):
    lay(store, 1, 1.0, 2.0, comment="né\n<b>", intensity="C")
    lay(store, 2, 4.0, 4.1 + 1e-7)
    if "valence" in store.traces:
        store.write_trace("valence", 10, np.sin(np.arange(99) / 7), lag=0.0123)
    return store


def test_the_dataset_keeps_to_its_schema_and_its_seconds():
    ds = fill(make_store("smile", ek.Trace("valence"))).to_dataset()
    ek.schema.validate(ds, group="annotations", requires=ek.schema.ANNOTATIONS)
    assert ds["offset"].dtype == np.float64 and float(ds["offset"][1]) == 4.1 + 1e-7
    assert ds["annotator"].values.tolist() == ["Ada", "Ada"]
    assert ek.schema.read_history(ds)[-1]["source"]["sha256"] == CLIP["sha256"]
    assert all(isinstance(value, str | float) for value in ds.attrs.values())
    empty = make_store().to_dataset()
    ek.schema.validate(empty, group="annotations", requires=["onset"])
    assert empty.sizes["annotation"] == 0


def test_the_file_is_plain_json_and_what_is_read_is_what_was_written(tmp_path):
    path = tmp_path / "talk.annotations.json"
    store = fill(make_store("smile", ek.Trace("valence"), path=path))
    store.save()
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["annotations"][0]["comment"] == "né\n<b>"
    again = AnnotationStore.read(path)
    assert again.state() == store.state() and again.edits == store.edits
    xr.testing.assert_equal(again.to_dataset(), store.to_dataset())
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("tiers", [["smile"], ["smile", ek.Trace("valence")]])
def test_datasets_survive_netcdf_json_and_a_tree(tmp_path, tiers):
    ds = fill(make_store(*tiers)).to_dataset()
    tree = simulate_result()
    tree["annotations"] = xr.DataTree(ds)
    loaded = ek.load(ek.save(tree, tmp_path / "result.nc"))["annotations"].to_dataset()
    assert loaded.identical(ds)
    path = ek.save_annotations(loaded, tmp_path / "a.json")
    xr.testing.assert_equal(ek.load_annotations(path), ds)


def test_a_selection_keeps_its_place_in_the_clip(tmp_path):
    store = make_store(ek.Trace("valence"))
    store.write_trace("valence", 125, np.linspace(0, 1, 50))
    later = store.to_dataset().sel(time=slice(5, 8))
    loaded = ek.load_annotations(ek.save_annotations(later, tmp_path / "a.json"))
    known = np.isfinite(loaded["trace_value"].sel(trace="valence"))
    assert float(loaded["time"][known][0]) == 5.0
    assert int(known.sum()) == 50


def test_a_run_that_leaves_the_clip_is_refused(tmp_path):
    path = tmp_path / "a.json"
    ek.save_annotations(fill(make_store("smile", ek.Trace("valence"))).to_dataset(), path)
    path.write_text(path.read_text().replace('"start": 10', '"start": -3'))
    with pytest.raises(ValueError, match="leaves the clip"):
        ek.load_annotations(path)


def test_a_file_that_cannot_be_read_is_left_as_it_is(tmp_path):
    path = tmp_path / "a.json"
    for text in ("", "{}", '{"format": "other"}', "[1]"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"a\.json is not a file of emokit's annotations"):
            ek.annotate(find_video(), tiers=["smile"], path=path, annotator="Ada")
        assert path.read_text() == text
    with pytest.raises(ValueError, match="there is no file"):
        ek.load_annotations(tmp_path / "b.json")


def test_a_file_that_somebody_else_changed_is_not_written_over(tmp_path):
    path = tmp_path / "talk.annotations.json"
    mine = make_store(path=path)
    lay(mine, 1, 1.0, 2.0)
    mine.save()
    theirs = AnnotationStore.read(path)
    lay(theirs, 2, 5.0, 6.0)
    theirs.save()
    before = path.read_bytes()
    lay(mine, 3, 8.0, 9.0)
    mine.save()
    assert path.read_bytes() == before
    assert mine.path.name == "talk-2.annotations.json"
    assert list(AnnotationStore.read(mine.path).spans) == [1, 3]


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    store = make_store(path=path)
    store.save()
    before = path.read_bytes()
    lay(store, 1, 1.0, 2.0)

    def fail(_):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("emokit.annotation_store.os.fsync", fail)
        with pytest.raises(OSError, match="disk full"):
            store.save()
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    store.save()
    assert len(AnnotationStore.read(path).spans) == 1


# ---------------------------------------------------------------- the widget's contract


@pytest.fixture
def annotate(tmp_path, monkeypatch):
    """`ek.annotate` in a folder of its own, with every widget closed at the end."""
    monkeypatch.chdir(tmp_path)
    made = []

    def make(result=None, **kwargs):
        kwargs = {"tiers": ["smile"], "annotator": "Ada", **kwargs}
        made.append(ek.annotate(find_video() if result is None else result, **kwargs))
        made[-1].sent = []
        monkeypatch.setattr(
            type(made[-1]), "send", lambda self, content, buffers=None: self.sent.append(content)
        )
        return made[-1]

    yield make
    for widget in made:
        widget.close()


def tell(widget, **message):
    """What the annotator answers to a message of the browser."""
    widget.sent.clear()
    widget._handle_custom_msg({"from": "me", "number": 1, **message}, [])
    return widget.sent[-1]


def edit(widget, *changes, action="lay", when="2026-01-01T00:00:00.000Z"):
    return tell(widget, type="edit", action=action, when=when, changes=changes)


def test_an_edit_of_the_browser_is_saved_before_it_is_answered(annotate, tmp_path):
    widget = annotate(find_video())
    heard = []
    widget.observe(lambda change: heard.append(change["new"]), "revision")
    answer = edit(widget, {"id": 1, "before": None, "after": span(1.0, 2.5)})
    file = tmp_path / "WolfgangLanger_Pexels.Ada.annotations.json"
    assert (answer["type"], answer["number"], answer["revision"]) == ("saved", 1, 1)
    assert answer["file"] == file.name and answer["unsaved"] == ""
    assert widget.path == file and heard == [1]
    assert ek.load_annotations(file)["onset"].values.tolist() == [1.0]
    assert widget.annotations["created"].values.tolist() == ["2026-01-01T00:00:00.000Z"]


def test_the_next_annotator_of_the_clip_goes_on_where_the_last_one_stopped(annotate):
    first = annotate(tiers=["smile", ek.Trace("valence")])
    first.add_span("smile", 1, 2)
    values = {"start": 5, "values": [0.5, None, -1]}
    tell(first, type="trace", tier="valence", when="2026", action="record", **values)
    again = annotate(tiers=["frown"], annotator="Ada")
    assert [panel["title"] for panel in again._layout["panels"]] == ["frown", "smile", "valence"]
    state = tell(again, type="annotations")
    assert state["to"] == "me" and state["annotations"][0]["offset"] == 2.0
    runs = state["traces"][0]["runs"]
    assert runs == [{"start": 5, "values": [0.5]}, {"start": 7, "values": [-1.0]}]
    other = annotate(annotator="Bea")
    assert tell(other, type="annotations")["annotations"] == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": 1, "before": None, "after": span(5, 6)}, "changed elsewhere"),
        ({"id": 9, "before": span(5, 6), "after": None}, "changed elsewhere"),
        ({"id": 2, "before": None, "after": span(1.5, 6)}, "must not overlap"),
        ({"id": 2, "before": None, "after": {"tier": "smile"}}, "onset"),
        ({"id": "x", "before": None, "after": None}, "invalid literal"),
    ],
)
def test_an_edit_that_cannot_be_is_refused_with_its_reason(annotate, change, words):
    widget = annotate()
    widget.add_span("smile", 1, 2)
    before = widget.path.read_bytes()
    answer = edit(widget, change)
    assert words in answer["problem"]
    assert widget.path.read_bytes() == before and widget.revision == 1


def test_a_disk_that_is_full_is_told_and_nothing_is_forgotten(annotate, monkeypatch):
    def fail(_):
        raise OSError("full")

    widget = annotate()
    with monkeypatch.context() as patch:
        patch.setattr("emokit.annotation_store.os.fsync", fail)
        answer = edit(widget, {"id": 1, "before": None, "after": span(1, 2)})
    assert "could not be written: full" in answer["unsaved"]
    answer = edit(widget, {"id": 2, "before": None, "after": span(3, 4)})
    assert answer["unsaved"] == ""
    assert ek.load_annotations(widget.path).sizes["annotation"] == 2


def test_a_blind_pass_is_blind_until_it_is_finished_and_every_edit_says_so(annotate):
    widget = annotate(simulate_result(find_video()), blind=True)
    assert widget.blind is True
    edit(widget, {"id": 1, "before": None, "after": span(1, 2)})
    tell(widget, type="finish")
    assert widget.blind is False
    edit(widget, {"id": 2, "before": None, "after": span(3, 4)})
    ds = widget.annotations
    assert ds["blind"].values.tolist() == [1, 0]
    assert ds["edit_action"].values.tolist() == ["lay", "finish blind pass", "lay"]
    with pytest.raises(Exception, match="read-only"):
        widget.blind = True


def test_a_clip_alone_a_stage_and_a_result_can_be_annotated(annotate):
    path = find_video()
    clip = ek.open_clip(path)
    for result in (path, str(path), clip, simulate_face(clip.frame_times), simulate_result(path)):
        given = {} if not isinstance(result, xr.Dataset) else {"clip": clip}
        widget = annotate(result, path=None, **given)
        assert widget.duration == pytest.approx(19.69, abs=0.01)
        assert widget._layout["panels"][0]["tier"] == "smile"
        assert widget.path is None and widget.annotations.attrs["source"] == path.name
    assert len(widget._layout["panels"]) == 7


def test_annotations_of_a_result_are_shown_by_the_player_and_in_a_page(annotate, tmp_path):
    widget = annotate(simulate_result(find_video()), tiers=["<script>alert(1)</script>"])
    widget.add_span("<script>alert(1)</script>", 1, 2)
    tree = simulate_result(find_video())
    tree["annotations"] = xr.DataTree(widget.annotations)
    player = ek.play(tree)
    panel = player._layout["panels"][0]
    assert (panel["kind"], panel["spans"][0]["offset"]) == ("spans", 2.0)
    assert "tier" not in panel
    player.close()
    page = widget.to_html(tmp_path / "page.html", video=False).read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert widget.path.as_posix() not in page and "shelf" not in page


def test_another_version_of_the_clip_is_named(annotate, tmp_path):
    widget = annotate()
    widget.add_span("smile", 1, 2)
    with pytest.warns(UserWarning, match="made from another version of the clip"):
        annotate(find_video("single_face.mp4"), path=widget.path)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"tiers": []}, "tiers must hold at least one tier"),
        ({"tiers": "smile"}, "tiers must be a list"),
        ({"path": "nowhere/a.json"}, "path must lie in a folder that exists"),
        ({"clip": "other.mp4"}, "give a clip once"),
    ],
)
def test_what_cannot_be_annotated_is_refused(annotate, args, words):
    with pytest.raises((TypeError, ValueError), match=words):
        annotate(**args)
