import json
import shutil
import warnings

import numpy as np
import pytest
import xarray as xr

import emokit as ek
from emokit.course import SHIPPED


def test_groups_and_attributes(sample):
    clip = ek.sample_clip()
    assert set(sample.children) == {"face", "voice", "fused"}
    assert sample.attrs["source_sha256"] == clip.sha256
    assert sample.attrs["duration"] == pytest.approx(19.69, abs=0.01)
    assert (sample.attrs["width"], sample.attrs["height"]) == clip.size


def test_history_tells_every_step(sample):
    steps = [entry["step"] for entry in json.loads(sample["fused"].attrs["history"])]
    expected = ["detect_faces", "extract_action_units", "estimate_emotion"]
    expected += ["estimate_emotion_in_time"]
    expected += ["extract_prosody", "estimate_vocal_affect"]
    assert steps[: len(expected)] == expected
    assert steps[-1] == "fuse"


def test_voice_of_the_sample_rises_with_the_laughter(sample):
    voice = sample["voice"]
    early, late = slice(0.5, 8), slice(11, 19)
    assert voice["f0"].sel(time=late).median() > 1.4 * voice["f0"].sel(time=early).median()
    arousal = voice["arousal"]
    assert arousal.sel(time=late).mean() > arousal.sel(time=early).mean() + 0.4


def test_fused_arousal_lies_between_face_and_voice(sample):
    fused = sample["fused"]
    assert np.array_equal(fused["time"].values, sample["face"]["time"].values)
    face = sample["face"]["arousal"].sel(face="face_0").values
    voice = ek.align_time(sample["voice"].to_dataset(), fused["time"].values, method="mean")
    both = np.isfinite(face) & np.isfinite(voice["arousal"].values)
    low = np.minimum(face, voice["arousal"])[both]
    high = np.maximum(face, voice["arousal"])[both]
    assert ((fused["arousal"][both] >= low - 1e-4) & (fused["arousal"][both] <= high + 1e-4)).all()


def test_a_lost_face_leaves_the_voice(sample):
    fused, face = sample["fused"], sample["face"]
    lost = np.isnan(face["valence"].values[:, 0])
    assert lost.any()
    assert np.isnan(fused["valence"].values[lost]).all()
    spoken = lost & np.isfinite(fused["arousal"].values)
    if spoken.any():
        assert (fused["weight"].sel(modality="voice").values[spoken] == 1).all()


def test_silent_clip_and_sound_file(feat_data, real_clips):
    silent = ek.analyze(ek.open_clip(feat_data / "multi_face.jpg"), progress=False)
    assert set(silent.children) == {"face", "fused"}
    spoken = ek.analyze(real_clips / "radio_speech.wav", progress=False)
    assert set(spoken.children) == {"voice", "fused"}
    assert np.isfinite(spoken["fused"]["arousal"]).any()


def test_one_pass_gives_what_the_stages_give():
    """And keeps the landmarks when asked for them."""
    clip = ek.sample_clip()
    result = ek.analyze(clip, fps=6, landmarks=True, progress=False)["face"].to_dataset()
    faces = ek.detect_faces(clip, fps=6, progress=False)
    units = ek.extract_action_units(clip, faces, landmarks=True, progress=False)
    for stage in (faces, units):
        for name in stage.data_vars:
            xr.testing.assert_equal(result[name], stage[name])


def test_variables_say_what_they_are(sample, tmp_path):
    """In a result, and in its file, as where they come from."""
    kept = ek.load(ek.save(sample, tmp_path / "result.nc"))
    for result in (sample, kept):
        face, voice = result["face"], result["voice"]
        assert face["face_status"].attrs["flag_meanings"].split() == list(ek.schema.FACE_STATUS)
        meanings = face["quality_reason"].attrs["flag_meanings"].split()
        assert meanings == list(ek.schema.QUALITY_REASON)
        assert "held-out" in face["trust"].attrs["long_name"]
        assert face["head_pose"].attrs["units"] == "degree"
        assert (voice["f0"].attrs["units"], voice["time"].attrs["units"]) == ("Hz", "s")


def test_broken_sound_does_not_lose_the_picture(feat_data, monkeypatch):
    clip = ek.open_clip(feat_data / "single_face.mp4")

    def fail(rate=16000):
        raise ek.ClipError("the sound of single_face.mp4 cannot be decoded")

    monkeypatch.setattr(clip, "audio", fail)
    with pytest.warns(UserWarning, match="cannot be decoded; the result has no voice"):
        result = ek.analyze(clip, fps=2, progress=False)
    assert set(result.children) == {"face", "fused"}


def test_silent_sound_track(feat_data):
    """The sample's own sound is digital silence: a voice group without a voice."""
    clip = ek.open_clip(feat_data / "WolfgangLanger_Pexels.mp4")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = ek.analyze(clip, fps=1, progress=False)
    assert np.isnan(result["voice"]["f0"]).all()
    assert np.isnan(result["voice"]["arousal"]).all()
    assert np.isfinite(result["fused"]["arousal"]).mean() > 0.9


def test_round_trip(sample, tmp_path):
    path = ek.save(sample, tmp_path / "result.nc")
    loaded = ek.load(path)
    xr.testing.assert_identical(loaded, sample)
    assert [p.name for p in tmp_path.iterdir()] == ["result.nc"]
    path.unlink()  # nothing holds the file open
    assert loaded["face"]["au"].notnull().any()


def test_a_failed_save_leaves_the_old_file(sample, tmp_path, monkeypatch):
    path = ek.save(sample, tmp_path / "result.nc")
    before = path.read_bytes()

    def fail(self, target, **kwargs):
        target.write_bytes(b"half a file")
        raise OSError("disk full")

    monkeypatch.setattr(xr.DataTree, "to_netcdf", fail)
    with pytest.raises(OSError, match="disk full"):
        ek.save(sample, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["result.nc"]


def test_bad_files_and_arguments(sample, tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        ek.load(tmp_path / "nothing.nc")
    (tmp_path / "text.nc").write_text("not netCDF")
    with pytest.raises(ValueError, match=r"text\.nc is not a netCDF file"):
        ek.load(tmp_path / "text.nc")
    with pytest.raises(TypeError, match="result must be"):
        ek.save({"a": 1}, tmp_path / "x.nc")
    with pytest.raises(ValueError, match="folder that exists"):
        ek.save(sample, tmp_path / "no" / "x.nc")


def test_a_file_that_breaks_the_schema_is_named(sample, tmp_path):
    broken = sample["voice"].to_dataset().copy()
    broken["speech"] = broken["speech"] + 5
    path = ek.save(xr.DataTree.from_dict({"/voice": broken}), tmp_path / "b.nc")
    with pytest.raises(ValueError, match=r"b\.nc, group voice.*\n.*'speech' lies outside"):
        ek.load(path)


def test_each_frames_own_reading_is_kept_beside_the_one_over_time(sample):
    face = sample["face"].to_dataset()
    alone = ek.estimate_emotion(face)["emotion_probability"]
    np.testing.assert_allclose(face["prototype_probability"], alone, atol=1e-6)
    over_time = ek.estimate_emotion_in_time(face)["emotion_probability"]
    np.testing.assert_allclose(face["emotion_probability"], over_time, atol=1e-6)
    assert (face["prototype_probability"].isnull() == face["emotion_probability"].isnull()).all()


def test_laughter_reads_as_happiness_all_the_way(sample):
    """Also with the mouth wide open, which looks a little like fear."""
    shown = sample["face"].sel(face="face_0")
    for part in (slice(10, 13), slice(13, 16), slice(16, 19)):
        both = [
            shown[name].sel(time=part).mean("time")
            for name in ("emotion_probability", "prototype_probability")
        ]
        assert all(one.idxmax() == "happiness" for one in both)
        over_time, alone = (one.sel(emotion="happiness").item() for one in both)
        assert over_time > alone - 0.05


def test_a_photograph_is_read_by_its_one_frame(feat_data):
    face = ek.analyze(ek.open_clip(feat_data / "0-f15-hao-ph.jpg"), progress=False)["face"]
    xr.testing.assert_equal(
        face["emotion_probability"].drop_attrs(),
        face["prototype_probability"].rename("emotion_probability").drop_attrs(),
    )
    assert face["emotion_probability"].squeeze().idxmax() == "happiness"


def test_a_protected_file_is_not_replaced(sample, tmp_path):
    """Not even by who may write in its folder."""
    path = ek.save(sample, tmp_path / "result.nc")
    path.chmod(0o444)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="protected from writing"):
        ek.save(sample["voice"].to_dataset(), path)
    assert path.read_bytes() == before


def test_no_result_replaces_a_recording(feat_data, tmp_path):
    """A slip of the hand in the path must not cost the clip."""
    path = tmp_path / "talk.mp4"
    shutil.copyfile(feat_data / "single_face.mp4", path)
    before = path.read_bytes()
    result = ek.analyze(path, fps=2, progress=False)
    with pytest.raises(ValueError, match=r"names a recording, talk\.mp4"):
        ek.save(result, path)
    with pytest.raises(ValueError, match="names a recording"):
        ek.play(result).to_html(path)
    with pytest.raises(ValueError, match="the clip itself"):
        ek.render(result, path, progress=False)
    (tmp_path / "link.mp4").symlink_to(path)
    with pytest.raises(ValueError, match="the clip itself"):
        ek.render(result, tmp_path / "link.mp4", progress=False)
    with pytest.raises(ValueError, match="names a recording"):
        ek.TemporalModel.load(SHIPPED[0]).save(path)
    assert path.read_bytes() == before
    with pytest.raises(TypeError, match=r"take one group: result\['face'\]"):
        ek.smooth(result)
