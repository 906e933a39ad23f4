import numpy as np
import pytest

import emokit as ek


def clip_and_faces():
    """A white square that moves over black; no face in the third frame."""
    frames = np.zeros((5, 60, 80, 3), np.uint8)
    boxes = np.full((5, 1, 4), np.nan)
    for i in (0, 1, 3, 4):
        frames[i, 20:40, 10 * i : 10 * i + 20] = 255
        boxes[i, 0] = 10 * i, 20, 20, 20
    times = np.array([0.0, 0.1, 0.2, 0.35, 0.5])
    faces = ek.schema.build_dataset(
        "face", {"face_box": boxes}, {"time": times, "face": ["face_0"]}, history="[]"
    )
    return ek.Clip.from_frames(frames, times), faces


def test_pictures_follow_the_face_and_rows_without_one_are_left_out():
    clip, faces = clip_and_faces()
    found = ek.crop_faces(clip, faces, size=20, margin=0)
    assert found.dtype == np.uint8 and found.dims == ("time", "y", "x", "channel")
    np.testing.assert_allclose(found.time, [0, 0.1, 0.35, 0.5])
    assert (found == 255).all()
    wide = ek.crop_faces(clip, faces, size=40, margin=1)
    assert (wide[:, 15:25, 15:25] == 255).all() and (wide[:, :5] == 0).all()
    assert ek.crop_faces(clip, faces, size=20, fps=4).time.values.tolist() == [0.0, 0.35, 0.5]


def test_what_cannot_be_cut():
    clip, faces = clip_and_faces()
    with pytest.raises(ValueError, match="face must be one of face_0; got 'face_9'"):
        ek.crop_faces(clip, faces, face="face_9")
    with pytest.raises(ValueError, match="size must be a whole number of pixels at least 8; got"):
        ek.crop_faces(clip, faces, size=2)
    with pytest.raises(ValueError, match="never found"):
        ek.crop_faces(clip, faces * np.nan)
