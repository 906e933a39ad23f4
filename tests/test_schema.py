import json

import numpy as np
import pytest
import xarray as xr

from emokit import schema


def test_all_problems_come_in_one_message():
    ds = xr.Dataset(
        {
            "emotion_probability": (("time", "emotion"), np.full((2, 7), 0.5)),
            "valence": (("time",), [0.0, 7.0]),
            "weight": (("modality", "time"), np.ones((1, 2))),
        },
        coords={"time": [0.0, 0.0], "emotion": list(schema.EMOTIONS), "modality": ["face"]},
    )
    with pytest.raises(ValueError, match="fused") as caught:
        schema.validate(ds, group="fused", requires=["arousal"], argument="fused")
    message = str(caught.value)
    for part in ("increase strictly", "'arousal' is missing", "sum to 1", "7.0", "'weight' has"):
        assert part in message


@pytest.mark.parametrize("time", [["a", "b"], [0, 1], [np.nan, 1.0]])
def test_time_must_be_finite_seconds(time):
    with pytest.raises(ValueError, match="time"):
        schema.validate(xr.Dataset(coords={"time": time}), group="face")


def test_time_must_be_there():
    with pytest.raises(ValueError, match=r"'time' \(seconds\) is missing"):
        schema.validate(xr.Dataset(), group="face")


def test_fixed_labels():
    ds = xr.Dataset(
        {"face_box": (("time", "face", "box"), np.zeros((1, 1, 4)))},
        coords={"time": [0.0], "face": ["face_0"], "box": ["left", "top", "right", "bottom"]},
    )
    with pytest.raises(ValueError, match="coordinate 'box' must be x, y, width, height"):
        schema.validate(ds, group="face")


def test_what_is_no_dataset_is_a_type_error():
    with pytest.raises(TypeError, match="voice must be an xarray Dataset"):
        schema.validate(np.zeros(3), group="voice", argument="voice")


def test_every_spec_is_usable():
    for variables in schema.GROUPS.values():
        for name, spec in variables.items():
            own = ("time", "event", "annotation", "trace", "edit")
            assert name.startswith("clip_") or spec.dims[0] in own
            assert name not in spec.dims
            assert spec.doc
            assert spec.units or spec.text


def test_every_emotion_has_its_own_colour():
    assert set(schema.EMOTIONS) <= set(schema.EMOTION_COLORS)
    assert len(set(schema.EMOTION_COLORS.values())) == len(schema.EMOTION_COLORS)


def test_history_keeps_each_entry_once_and_holds_plain_json():
    first = xr.Dataset(
        attrs={"history": schema.extend_history("one", parameters={"n": np.int64(3)})}
    )
    second = first.assign_attrs(history=schema.extend_history("two", first))
    both = json.loads(schema.extend_history("three", first, second, extra=None, a=np.arange(2)))
    assert [entry["step"] for entry in both] == ["one", "two", "three"]
    assert both[0]["parameters"] == {"n": 3}
    assert both[2]["a"] == [0, 1]
    assert "extra" not in both[2]


def test_foreign_history_is_kept():
    ds = xr.Dataset(attrs={"history": "made by another tool"})
    assert schema.read_history(ds) == [{"step": "made by another tool"}]


def test_results_obey_their_specs(sample):
    for name, group in sample.children.items():
        schema.validate(group.to_dataset(), group=name, requires=["arousal"])
        assert all(isinstance(v, str | int | float) for v in group.attrs.values())
