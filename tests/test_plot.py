import shutil

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

import emokit as ek


def drawn(figure, tmp_path):
    path = tmp_path / "figure.png"
    figure.savefig(path, dpi=60)
    return plt.imread(path)


def test_overview_has_all_panels_and_draws(sample, tmp_path):
    figure = ek.plot(sample)
    labels = [ax.get_ylabel() for ax in figure.axes]
    for part in ("action units", "displayed emotion", "valence", "pitch", "intensity"):
        assert any(part in label for label in labels)
    image = drawn(figure, tmp_path)
    assert image[..., :3].std() > 0.1
    assert not plt.get_fignums()  # nothing is left open for a notebook to show twice


def test_weak_units_are_labelled_faintly(sample):
    axes = next(ax for ax in ek.plot(sample).axes if "action units" in ax.get_ylabel())
    colours = {label.get_text()[-2:]: label.get_color() for label in axes.get_yticklabels()}
    assert sample["face"]["trust"].sel(action_unit="AU07") < 0.8
    assert colours["07"] != colours["12"]
    assert colours["12"] == colours["01"]


def test_without_its_file_there_are_no_pictures(sample, tmp_path):
    gone = sample.copy()
    gone.attrs = {**sample.attrs, "source": str(tmp_path / "gone.mp4")}
    assert len(ek.plot(gone).axes) == len(ek.plot(sample).axes) - 1
    drawn(ek.plot(gone), tmp_path)


def test_absent_rows_are_grey_not_drawn(sample, tmp_path):
    """The grey of absence covers far more of the figure once nothing is read."""
    empty = sample.copy(deep=True)
    for name in ("au", "emotion_probability", "valence", "arousal"):
        empty["face"][name][:] = np.nan
    grey = [
        (np.abs(drawn(ek.plot(tree), tmp_path)[..., :3] - 0xE9 / 255).max(-1) < 0.01).mean()
        for tree in (sample, empty)
    ]
    assert grey[0] < 0.03
    assert grey[1] > 0.3


def test_one_frame(feat_data, tmp_path):
    result = ek.analyze(ek.open_clip(feat_data / "single_face.jpg"), progress=False)
    assert drawn(ek.plot(result), tmp_path).size


def test_folder_of_images_at_its_own_rate(feat_data, tmp_path):
    """The figure opens the folder again, at the rate at which it was analysed."""
    for number in range(3):
        shutil.copy(feat_data / "single_face.jpg", tmp_path / f"{number}.jpg")
    (tmp_path / "._0.jpg").write_bytes(b"a file system's own note")
    result = ek.analyze(ek.open_clip(tmp_path, fps=2), progress=False)
    assert list(result["face"]["time"].values) == [0, 0.5, 1.0]
    with_pictures = ek.plot(result)
    assert len(with_pictures.axes[0].child_axes) == 3
    player = ek.play(result, proxy=False)
    assert player.duration == 1.5
    player.close()


def test_voice_alone_and_face_alone(sample, tmp_path):
    for name in ("voice", "face"):
        part = xr.DataTree.from_dict({f"/{name}": sample[name].to_dataset()})
        drawn(ek.plot(part), tmp_path)


def test_wrong_input(sample):
    with pytest.raises(TypeError, match="result must be a DataTree"):
        ek.plot(sample["face"].to_dataset())
    with pytest.raises(ValueError, match="face must be one of face_0"):
        ek.plot(sample, face="face_3")
    with pytest.raises(ValueError, match="nothing to draw"):
        ek.plot(xr.DataTree())
