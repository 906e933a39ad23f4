"""Numbers that cannot be are refused by name, whichever function they are given to."""

import numpy as np
import pytest
import xarray as xr

import emokit as ek


def clip():
    return ek.Clip.from_frames(np.zeros((4, 48, 64, 3), np.uint8), np.arange(4) / 10)


def boxes():
    box = np.full((4, 1, 4), 20, np.float32)
    return ek.schema.build_dataset(
        "face", {"face_box": box}, {"time": clip().frame_times, "face": ["face_0"]}, history="[]"
    )


def people():
    return ek.simulate_faces(duration=1, seed=1)


def result():
    return xr.DataTree.from_dict({"/face": people()})


def noise():
    time = np.arange(16000) / 16000
    sound = np.random.default_rng(1).normal(0, 0.1, 16000).astype(np.float32)
    return xr.DataArray(sound, dims="time", coords={"time": time})


def table(folder):
    path = folder / "units.csv"
    path.write_text("frame,AU01\n0,0.5\n1,0.5\n")
    return path


#: Of each function, its arguments that are numbers, and a call that is right but for them.
CALLS = [
    ("max_gap", lambda _, **kw: ek.align_time(people(), np.arange(3) / 10, **kw)),
    ("fps max_faces workers", lambda _, **kw: ek.analyze(clip(), progress=False, **kw)),
    ("size margin fps", lambda _, **kw: ek.crop_faces(clip(), boxes(), **kw)),
    (
        "fps max_faces min_score interval",
        lambda _, **kw: ek.detect_faces(clip(), progress=False, **kw),
    ),
    ("time", lambda _, **kw: ek.explain(ek.estimate_emotion(people()), **kw)),
    (
        "window",
        lambda _, **kw: ek.estimate_vocal_affect(ek.extract_prosody(noise(), progress=False), **kw),
    ),
    ("hop", lambda _, **kw: ek.extract_prosody(noise(), progress=False, **kw)),
    ("threshold min_duration max_gap", lambda _, **kw: ek.find_events(people(), **kw)),
    ("top", lambda _, **kw: ek.find_moments(result(), **kw)),
    ("window smile", lambda _, **kw: ek.measure_group(people(), **kw)),
    ("fps", lambda folder, **kw: ek.read_action_units(table(folder), **kw)),
    (
        "start end fps",
        lambda folder, **kw: ek.render(result(), folder / "out.mp4", clip=clip(), **kw),
    ),
    (
        "n_faces duration fps seed noise speech blinks movement identity",
        lambda _, **kw: ek.simulate_faces(**kw),
    ),
    ("n_clips duration fps missing seed", lambda _, **kw: ek.simulate_modalities(**kw)),
    ("window max_gap noise", lambda _, **kw: ek.smooth(people(), **kw)),
    ("time", lambda _, **kw: ek.split_face(people(), "face_0", **kw)),
    ("fps hidden layers dropout", lambda _, **kw: ek.TemporalModel(**kw)),
]


@pytest.mark.parametrize("value", ["3", float("nan"), -1, [1, 2], {}, True], ids=repr)
@pytest.mark.parametrize(
    ("name", "call"), [(name, call) for names, call in CALLS for name in names.split()]
)
def test_what_cannot_be_is_named(tmp_path, name, call, value):
    with pytest.raises((TypeError, ValueError), match=rf"\b{name}\b.*; got "):
        call(tmp_path, **{name: value})


def test_numbers_of_other_libraries_are_numbers():
    aus = people()
    half = ek.smooth(aus, window=0.5)
    xr.testing.assert_equal(ek.smooth(aus, window=np.float32(0.5)), half)
    emotion = ek.estimate_emotion(aus)
    push = ek.explain(emotion, time=emotion["time"][3])
    assert push["time"] == emotion["time"][3]
    assert ek.split_face(aus, "face_0", time=aus["time"][10]).sizes["face"] == 2
