import json

import numpy as np
import pytest

import emokit as ek

TIME = np.arange(10) / 10
NO_FACE = ek.schema.FACE_STATUS.index("no_face")


def tracks(*spans):
    """Faces seen from row to row; the box of face k is at 100 k + row."""
    shape = (len(TIME), len(spans))
    box = np.full((*shape, 4), np.nan)
    status = np.full(shape, NO_FACE, np.int8)
    for k, (start, stop) in enumerate(spans):
        box[start:stop, k] = (100 * k + np.arange(start, stop))[:, None]
        status[start:stop, k] = 0
    return ek.schema.build_dataset(
        "face",
        {"face_box": box, "face_status": status},
        {"time": TIME, "face": [f"face_{k}" for k in range(len(spans))]},
        history="[]",
    )


def test_a_person_who_came_back():
    faces = tracks((0, 3), (0, 10), (6, 9))
    before = faces.copy(deep=True)
    merged = ek.merge_faces(faces, {"face_2": "face_0"})
    assert faces.identical(before)
    assert list(merged["face"].values) == ["face_0", "face_1"]
    x = merged["face_box"].sel(face="face_0", box="x").values
    np.testing.assert_array_equal(x, [0, 1, 2, np.nan, np.nan, np.nan, 206, 207, 208, np.nan])
    status = merged["face_status"].sel(face="face_0").values
    assert list(status) == [0, 0, 0, 1, 1, 1, 0, 0, 0, 1]
    assert status.dtype == np.int8
    assert merged["face_box"].sel(face="face_1").identical(faces["face_box"].sel(face="face_1"))
    assert json.loads(merged.attrs["history"])[-1]["parameters"] == {"same": {"face_2": "face_0"}}


def test_three_into_one():
    merged = ek.merge_faces(
        tracks((0, 2), (3, 5), (6, 8)), {"face_1": "face_0", "face_2": "face_0"}
    )
    assert merged.sizes["face"] == 1
    assert merged["face_box"].notnull().all("box").sum() == 6


def test_one_person_is_not_in_two_places():
    with pytest.raises(ValueError, match=r"both seen at 0\.40 s"):
        ek.merge_faces(tracks((0, 6), (4, 9)), {"face_1": "face_0"})
    # Nor through a third track.
    with pytest.raises(ValueError, match="two people"):
        ek.merge_faces(tracks((0, 2), (4, 7), (5, 9)), {"face_1": "face_0", "face_2": "face_0"})


def test_split_and_merge_are_inverse():
    faces = tracks((0, 8), (2, 5))
    split = ek.split_face(faces, "face_0", time=0.45)
    assert list(split["face"].values) == ["face_0", "face_1", "face_2"]
    x = split["face_box"].sel(box="x")
    np.testing.assert_array_equal(x.sel(face="face_0").values[:5], range(5))
    assert np.isnan(x.sel(face="face_0").values[5:]).all()
    np.testing.assert_array_equal(x.sel(face="face_2").values[5:8], [5, 6, 7])
    assert (split["face_status"].sel(face="face_2").values[:5] == NO_FACE).all()
    back = ek.merge_faces(split, {"face_2": "face_0"})
    assert back.drop_attrs().equals(faces.drop_attrs())


def test_whole_result_of_a_clip(sample):
    face = sample["face"].to_dataset()
    split = ek.split_face(face, "face_0", time=10)
    ek.schema.validate(split, group="face", requires=list(face.data_vars))
    assert np.isnan(split["au"].sel(face="face_1").sel(time=slice(0, 9.9))).all()
    xr_back = ek.merge_faces(split, {"face_1": "face_0"})
    assert xr_back.drop_attrs().equals(face.drop_attrs())


def test_the_reason_of_a_quality_moves_with_it():
    faces = tracks((0, 10))
    reason = np.full((len(TIME), 1), ek.schema.QUALITY_REASON.index("blurred"), np.int8)
    quality = np.full((len(TIME), 1), 0.3)
    faces = faces.merge(
        ek.schema.build_dataset(
            "face",
            {"face_quality": quality, "quality_reason": reason},
            {"time": TIME, "face": ["face_0"]},
            history="[]",
        ),
        combine_attrs="drop_conflicts",
    )
    split = ek.split_face(faces, "face_0", time=0.5)
    known = np.isfinite(split["face_quality"].values)
    assert known.sum() == len(TIME)
    assert (split["quality_reason"].values[known] == 4).all()
    assert (split["quality_reason"].values[~known] == 0).all()


def test_renamed_tracks_and_unreadable_frames():
    faces = tracks((0, 8)).assign_coords(face=["Anna"])
    unreadable = ek.schema.FACE_STATUS.index("unreadable_frame")
    faces["face_status"][[2, 9]] = unreadable
    split = ek.split_face(faces, "Anna", time=0.45)
    assert list(split["face"].values) == ["Anna", "face_0"]
    assert (split["face_status"][[2, 9]] == unreadable).all()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda f: ek.merge_faces(f, {"face_7": "face_0"}), "no track 'face_7'"),
        (lambda f: ek.merge_faces(f, {"face_1": "face_0", "face_0": "face_1"}), "itself joined"),
        (lambda f: ek.split_face(f, "face_9", time=1), "no track 'face_9'"),
        (lambda f: ek.split_face(f, "face_0", time=50), "both before and after"),
    ],
)
def test_wrong_tracks(call, match):
    with pytest.raises(ValueError, match=match):
        call(tracks((0, 3), (5, 9)))
