import json
import warnings

import numpy as np
import pytest
from PIL import Image

import emokit as ek
from emokit.detector import Detections
from emokit.tracking import Picture, Tracker, Watch

SEEN = [ek.schema.FACE_STATUS.index(name) for name in ("detected", "interpolated")]


def test_sample_clip_has_a_row_for_every_frame_and_one_track(sample):
    faces = sample["face"]
    assert np.array_equal(faces["time"].values, ek.sample_clip().frame_times)
    assert list(faces["face"].values) == ["face_0"]
    seen = np.isin(faces["face_status"].values, SEEN)
    assert seen.mean() > 0.9
    box = faces["face_box"].values
    assert np.isfinite(box[seen]).all()
    assert np.isnan(box[~seen]).all()


def test_boxes_lie_on_the_face(sample):
    """The woman's face is right of the middle, and taller than half of the picture."""
    centre = sample["face"]["face_box"].sel(face="face_0").mean("time")
    x = centre.sel(box="x") + centre.sel(box="width") / 2
    assert 380 < x < 500
    assert centre.sel(box="height") > 180


def test_group_photograph_has_five_faces(feat_data):
    faces = ek.detect_faces(ek.open_clip(feat_data / "multi_face.jpg"), progress=False)
    assert faces.sizes["face"] == 5
    assert faces.sizes["time"] == 1
    area = faces["face_box"].sel(box="width").values[0] ** 2
    assert (np.diff(area) <= 0).all()  # the most present first


def test_interpolation_changes_little(feat_data):
    """Looking at every fifth frame finds the same face, a few pixels off at most."""
    clip = ek.open_clip(feat_data / "WolfgangLanger_Pexels.mp4")
    every = ek.detect_faces(clip, interval=0, progress=False)
    some = ek.detect_faces(clip, progress=False)
    detected = ek.schema.FACE_STATUS.index("detected")
    looked = (some["face_status"] == detected).values
    assert 0.15 < looked.mean() < 0.4
    assert not (every["face_status"] == ek.schema.FACE_STATUS.index("interpolated")).any()
    both = np.isfinite(every["face_box"]) & np.isfinite(some["face_box"])
    assert both.mean() > 0.97
    error = np.abs(every["face_box"] - some["face_box"]).where(both)
    assert error.quantile(0.99) < 12
    np.testing.assert_array_equal(every["face_box"].values[looked], some["face_box"].values[looked])


def test_max_faces_keeps_the_largest(feat_data):
    clip = ek.open_clip(feat_data / "multi_face.jpg")
    every = ek.detect_faces(clip, progress=False)
    two = ek.detect_faces(clip, max_faces=2, progress=False)
    np.testing.assert_array_equal(two["face_box"], every["face_box"][:, :2])


def test_more_tracks_than_memory_holds(feat_data, monkeypatch):
    clip = ek.open_clip(feat_data / "multi_face.jpg")
    monkeypatch.setattr("emokit.faces._CELLS", 3)
    with pytest.warns(UserWarning, match="5 tracks in 1 frames.*the 3 that fill most") as caught:
        faces = ek.detect_faces(clip, progress=False)
    assert faces.sizes["face"] == 3
    assert caught[0].filename == __file__
    assert ek.detect_faces(clip, max_faces=5, progress=False).sizes["face"] == 5


def test_no_face_gives_rows_of_nan_and_no_warning(feat_data):
    clip = ek.open_clip(feat_data / "no_face.mp4")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = ek.analyze(clip, progress=False)
    face = result["face"]
    assert np.array_equal(face["time"].values, clip.frame_times)
    for name in ("face_box", "face_score", "face_quality", "au", "emotion_probability", "valence"):
        assert np.isnan(face[name].values).all()
    assert (face["face_status"].values == ek.schema.FACE_STATUS.index("no_face")).all()


def test_face_that_leaves(feat_data):
    """The man walks out of face_noface.mov about half way."""
    faces = ek.detect_faces(ek.open_clip(feat_data / "face_noface.mov"), progress=False)
    assert faces.sizes == {"time": 169, "face": 1, "box": 4, "point": 6, "plane": 2}
    seen = np.isin(faces["face_status"].values[:, 0], SEEN)
    assert seen[:60].all()
    assert not seen[100:].any()


def test_fps_looks_at_fewer_frames():
    clip = ek.sample_clip()
    faces = ek.detect_faces(clip, fps=2, progress=False)
    assert np.array_equal(faces["time"].values, clip.select_times(fps=2))
    assert faces.sizes["face"] == 1


def test_moved_picture_moves_the_box(feat_data):
    _, frame = next(ek.open_clip(feat_data / "single_face.mp4").frames())
    moved = np.zeros_like(frame)
    moved[:, 100:] = frame[:, :-100]
    boxes = [
        ek.detect_faces(ek.Clip.from_frames(f[None], [0.0]), progress=False)["face_box"].values
        for f in (frame, moved)
    ]
    np.testing.assert_allclose((boxes[1] - boxes[0]).ravel(), [100, 0, 0, 0], atol=8)


def test_tall_and_wide_pictures(feat_data):
    _, frame = next(ek.open_clip(feat_data / "single_face.mp4").frames())
    tall = np.vstack([frame, np.zeros_like(frame), np.zeros_like(frame)])
    plain, padded = (
        ek.detect_faces(ek.Clip.from_frames(f[None], [0.0]), progress=False)["face_box"].values
        for f in (frame, tall)
    )
    np.testing.assert_allclose(plain, padded, atol=8)


def test_history_names_source_and_model():
    clip = ek.sample_clip()
    faces = ek.detect_faces(clip, fps=1, progress=False)
    (entry,) = json.loads(faces.attrs["history"])
    assert entry["step"] == "detect_faces"
    assert entry["source"] == {"name": "emokit_sample.mp4", "sha256": clip.sha256}
    assert entry["model"]["sha256"] == ek.assets.ASSETS["face_detector"].sha256


@pytest.mark.parametrize(
    ("kwargs", "error"),
    [
        ({"max_faces": 0}, ValueError),
        ({"min_score": 2}, ValueError),
        ({"fps": -1}, ValueError),
        ({"interval": -1}, ValueError),
        ({"fps": "5"}, TypeError),
        ({"max_faces": "2"}, TypeError),
        ({"min_score": None}, TypeError),
    ],
)
def test_wrong_options(kwargs, error):
    with pytest.raises(error, match=next(iter(kwargs))):
        ek.detect_faces(ek.sample_clip(), progress=False, **kwargs)


def test_a_path_is_not_a_clip():
    with pytest.raises(TypeError, match="clip must be a Clip"):
        ek.detect_faces("clip.mp4")


def test_a_hard_cut_ends_the_track(feat_data):
    """Another face at the very same place is another person, from the first frame on."""
    man = next(ek.open_clip(feat_data / "single_face.mp4").frames())[1]
    other = next(ek.open_clip(feat_data / "0-f15-hao-ph.jpg").frames())[1]

    def box(frame):
        faces = ek.detect_faces(ek.Clip.from_frames(frame[None], [0.0]), progress=False)
        return faces["face_box"].values[0, 0]

    (x, y, width, _), (u, v, wide, _) = box(man), box(other)
    scale = width / wide
    size = (round(other.shape[1] * scale), round(other.shape[0] * scale))
    placed = Image.new("RGB", man.shape[1::-1], "teal")
    placed.paste(Image.fromarray(other).resize(size), (round(x - u * scale), round(y - v * scale)))
    shots = [man] * 17 + [np.asarray(placed)] * 17
    # A little movement, and a flash that is no cut.
    frames = np.stack([np.roll(shot, row % 3, axis=1) for row, shot in enumerate(shots)])
    frames[8] = np.minimum(frames[8].astype(int) * 2 + 40, 255)
    faces = ek.detect_faces(ek.Clip.from_frames(frames, np.arange(34) / 25), progress=False)
    seen = np.isfinite(faces["face_score"].values)
    assert seen.shape == (34, 2)
    assert sorted(np.flatnonzero(column).tolist() for column in seen.T) == [
        list(range(17)),
        list(range(17, 34)),
    ]


class TestTracks:
    """Two faces in uniform motion, 10 frames a second."""

    @staticmethod
    def track(paths, *, missing=(), rows=30):
        tracker = Tracker()
        for row in range(rows):
            present = [path for index, path in enumerate(paths) if (index, row) not in missing]
            boxes = np.array([[path(row), 50.0, 100.0, 100.0] for path in present]).reshape(-1, 4)
            found = Detections(boxes, np.zeros((len(boxes), 6, 2)), np.full(len(boxes), 0.9))
            tracker.add(row, row / 10, found)
        return tracker.finish(still=False)

    def test_tracks_follow_their_face(self):
        tracks = self.track([lambda r: 5.0 * r, lambda r: 800 - 5.0 * r])
        assert len(tracks) == 2
        starts = sorted(track.boxes[0] for track in tracks)
        assert starts == [0, 800]
        for track in tracks:
            assert np.abs(np.diff(track.boxes[::4])).max() == 5

    def test_a_few_missed_frames_do_not_end_a_track(self):
        missing = {(0, row) for row in (10, 11, 12)}
        (track,) = self.track([lambda r: 3.0 * r], missing=missing)
        assert list(track.rows) == [row for row in range(30) if row not in (10, 11, 12)]

    def test_who_comes_back_to_the_same_place_soon_is_the_same(self):
        missing = {(0, row) for row in range(5, 27)}
        motionless = [lambda r: 0.0]
        assert len(self.track(motionless, missing=missing, rows=45)) == 1
        missing = {(0, row) for row in range(5, 37)}
        assert len(self.track(motionless, missing=missing, rows=45)) == 2

    def test_who_comes_back_elsewhere_is_somebody_else(self):
        missing = {(0, row) for row in range(8, 18)}
        assert len(self.track([lambda r: 0.0 if r < 12 else 300.0], missing=missing)) == 2

    @pytest.mark.parametrize("speed", [6.0, 15.0, 30.0])
    def test_crossing_faces_keep_their_tracks(self, speed):
        """One walks right, one left; while one hides the other there is one detection."""
        tracker, middle = Tracker(), 400.0
        centres = [lambda t: middle + speed * (t - 20), lambda t: middle - speed * (t - 20)]
        for row in range(40):
            at = np.array([path(row) for path in centres])
            hidden = np.abs(np.diff(at)) < 60  # the detector blends boxes that overlap so
            at = at.mean(keepdims=True) if hidden else at
            boxes = np.stack([at - 50, 0 * at + 50, 0 * at + 100, 0 * at + 100], 1)
            found = Detections(boxes, np.zeros((len(at), 6, 2)), np.full(len(at), 0.9))
            tracker.add(row, row / 25, found)
        tracks = tracker.finish(still=False)
        assert len(tracks) == 2
        for track in tracks:
            x = np.asarray(track.boxes)[::4] + 50
            assert np.sign(x[0] - middle) == -np.sign(x[-1] - middle)

    def test_faces_that_change_places_between_two_looks_are_not_taken_for_each_other(self):
        """Looks at rows 14 and 21 see two faces in the very same two places."""
        centres = [lambda row: 300 + 8 * (row - 17.5), lambda row: 300 - 8 * (row - 17.5)]

        class Seen:
            def detect(self, small):
                at = np.array([path(int(small[0, 0, 0])) for path in centres])
                at = at.mean(keepdims=True) if np.ptp(at) < 35 else at
                boxes = np.stack([at - 25, 0 * at + 50, 0 * at + 50, 0 * at + 50], 1)
                return Detections(boxes, np.zeros((len(at), 6, 2)), np.full(len(at), 0.9))

        times = np.arange(36) / 25
        watch = Watch(Seen(), times, np.zeros(36, int), 0.25)
        rows = []
        for row in range(36):
            frame = np.full((64, 64, 3), row, np.uint8)
            rows += watch.look(Picture(row, lambda fit=None, frame=frame: frame))
        rows += watch.finish()
        assert [settled.picture.row for settled in rows] == list(range(36))
        for number in (0, 1):
            x = {
                settled.picture.row: settled.found.box[settled.tracks.index(number), 0]
                for settled in rows
                if number in settled.tracks
            }
            assert np.sign(x[0] - 275) == -np.sign(x[35] - 275)

    def test_a_cut_ends_every_track(self):
        tracker = Tracker()
        for row in range(20):
            if row == 10:
                tracker.cut()
            found = Detections(np.array([[0.0, 0, 90, 90]]), np.zeros((1, 6, 2)), np.array([0.9]))
            tracker.add(row, row / 10, found)
        assert [len(track.rows) for track in tracker.finish(still=False)] == [10, 10]

    def test_a_chance_detection_is_no_track(self):
        only_once = {(1, row) for row in range(30) if row != 15}
        assert len(self.track([lambda r: 0.0, lambda r: 600.0], missing=only_once)) == 1
