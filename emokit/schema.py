"""Names, specs and provenance of every Dataset emokit returns.

The tables below are the documentation of the data model and its validator at
once. Nothing here imports the rest of emokit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata

import numpy as np
import xarray as xr

EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")

#: Facial Action Coding System units emokit knows by name (Ekman, Friesen & Hager 2002).
ACTION_UNITS = {
    "AU01": "inner brow raiser",
    "AU02": "outer brow raiser",
    "AU04": "brow lowerer",
    "AU05": "upper lid raiser",
    "AU06": "cheek raiser",
    "AU07": "lid tightener",
    "AU09": "nose wrinkler",
    "AU10": "upper lip raiser",
    "AU11": "nasolabial deepener",
    "AU12": "lip corner puller",
    "AU14": "dimpler",
    "AU15": "lip corner depressor",
    "AU16": "lower lip depressor",
    "AU17": "chin raiser",
    "AU18": "lip pucker",
    "AU20": "lip stretcher",
    "AU22": "lip funneler",
    "AU23": "lip tightener",
    "AU24": "lip pressor",
    "AU25": "lips part",
    "AU26": "jaw drop",
    "AU28": "lip suck",
    "AU43": "eyes closed",
    "AU45": "blink",
}

#: One colour an emotion, everywhere. The hues are Okabe and Ito's (2008), which
#: stay apart for colour-blind readers; contempt takes their black, lightened.
EMOTION_COLORS = {
    "anger": "#D55E00",
    "disgust": "#009E73",
    "fear": "#CC79A7",
    "happiness": "#E69F00",
    "sadness": "#0072B2",
    "surprise": "#56B4E9",
    "neutral": "#999999",
    "contempt": "#5C4B51",
}

#: Why a row of the face group is as it is: the values of ``face_status``.
FACE_STATUS = ("detected", "no_face", "unreadable_frame", "interpolated")

#: What lowers ``face_quality`` most: the values of ``quality_reason``.
QUALITY_REASON = ("none", "uncertain", "small", "cut_off", "blurred", "turned", "covered")

DETECTOR_POINTS = ("right_eye", "left_eye", "nose_tip", "mouth", "right_ear", "left_ear")


@dataclass(frozen=True)
class Variable:
    """What one variable of a Dataset holds.

    ``low`` and ``high`` bound the values that are not NaN. ``sums_to_one`` names
    the dimension over which the values are a probability distribution. ``text`` marks
    variables that hold words, which are never absent but may be empty.
    """

    dims: tuple[str, ...]
    units: str
    doc: str
    low: float = -np.inf
    high: float = np.inf
    sums_to_one: str | None = None
    text: bool = False


_PIXELS = "pixels of the upright frame"
_TF = ("time", "face")

FACE = {
    "face_box": Variable((*_TF, "box"), _PIXELS, "left, top, width and height of the face"),
    "face_score": Variable(_TF, "1", "detector's score", 0, 1),
    "face_point": Variable((*_TF, "point", "plane"), _PIXELS, "the detector's six key points"),
    "face_quality": Variable(
        _TF,
        "1",
        "how well the face can be read, from score, size, framing, sharpness, turn and cover",
        0,
        1,
    ),
    "quality_reason": Variable(
        _TF,
        "1",
        "what lowers the quality most: " + ", ".join(QUALITY_REASON),
        0,
        len(QUALITY_REASON) - 1,
    ),
    "face_status": Variable(
        _TF, "1", "why the row is as it is: " + ", ".join(FACE_STATUS), 0, len(FACE_STATUS) - 1
    ),
    "landmark_position": Variable(
        (*_TF, "landmark", "space"), _PIXELS, "face mesh; z in pixels, smaller is nearer"
    ),
    "mesh_score": Variable(_TF, "1", "the mesh network's belief that it sees a face", 0, 1),
    "eye_opening": Variable(_TF, "1", "height of the lid opening over the eye's width", 0),
    "head_pose": Variable(
        (*_TF, "angle"), "degree", "head turned up, to the person's right, tilted to that side"
    ),
    "gaze": Variable(
        (*_TF, "angle"), "degree", "looking up, to the person's right; eyes have no roll: NaN"
    ),
    "au": Variable((*_TF, "action_unit"), "1", "intensity of the action unit", 0, 1),
    "au_presence": Variable(
        (*_TF, "action_unit"), "1", "whether the model calls the action unit present", 0, 1
    ),
    "au_true": Variable(
        (*_TF, "action_unit"), "1", "intensity of the action unit that a simulated face shows", 0, 1
    ),
    "unit_presence": Variable(
        (*_TF, "action_unit"), "1", "how surely a unit counts as shown, as emotion reads it", 0, 1
    ),
    "emotion_probability": Variable(
        (*_TF, "emotion"), "1", "probability of the displayed emotion", 0, 1, "emotion"
    ),
    "prototype_probability": Variable(
        (*_TF, "emotion"),
        "1",
        "probability of the displayed emotion, by each frame's units alone",
        0,
        1,
        "emotion",
    ),
    "displayed_emotion": Variable(
        _TF,
        "1",
        "what a simulated face displays: " + ", ".join(EMOTIONS),
        0,
        len(EMOTIONS) - 1,
    ),
    "displayed_intensity": Variable(
        _TF, "1", "how strongly a simulated face displays its emotion", 0, 1
    ),
    "valence": Variable(_TF, "1", "displayed valence, unpleasant to pleasant", -1, 1),
    "arousal": Variable(_TF, "1", "displayed arousal, calm to excited", -1, 1),
    "dominance": Variable(_TF, "1", "displayed dominance, submissive to dominant", -1, 1),
    "clip_probability": Variable(
        ("face", "emotion"), "1", "the same of the whole clip", 0, 1, "emotion"
    ),
    "clip_valence": Variable(("face",), "1", "displayed valence of the whole clip", -1, 1),
    "clip_arousal": Variable(("face",), "1", "displayed arousal of the whole clip", -1, 1),
    "clip_dominance": Variable(("face",), "1", "displayed dominance of the whole clip", -1, 1),
}

VOICE = {
    "f0": Variable(("time",), "Hz", "fundamental frequency; NaN where unvoiced", 0),
    "voiced": Variable(("time",), "1", "pYIN's probability that the frame is voiced", 0, 1),
    "speech": Variable(("time",), "1", "probability of speech", 0, 1),
    "intensity": Variable(("time",), "dB", "root mean square level re full scale"),
    "high_frequency_ratio": Variable(
        ("time",), "dB", "energy above 500 Hz over energy from 80 to 500 Hz"
    ),
    "mfcc": Variable(("time", "coefficient"), "1", "mel-frequency cepstral coefficients"),
    "arousal": Variable(("time",), "1", "vocal arousal against the speaker's own range", -1, 1),
}

FUSED = {
    "emotion_probability": Variable(
        ("time", "emotion"), "1", "probability of the displayed emotion", 0, 1, "emotion"
    ),
    "valence": Variable(("time",), "1", "displayed valence, unpleasant to pleasant", -1, 1),
    "arousal": Variable(("time",), "1", "displayed arousal, calm to excited", -1, 1),
    "dominance": Variable(("time",), "1", "displayed dominance, submissive to dominant", -1, 1),
    "clip_probability": Variable(
        ("emotion",), "1", "probability of the emotion, of the whole clip", 0, 1, "emotion"
    ),
    "clip_valence": Variable((), "1", "displayed valence of the whole clip", -1, 1),
    "clip_arousal": Variable((), "1", "displayed arousal of the whole clip", -1, 1),
    "clip_dominance": Variable((), "1", "displayed dominance of the whole clip", -1, 1),
    "weight": Variable(
        ("time", "modality"),
        "1",
        "share of each modality, by the quality of its signal",
        0,
        1,
        "modality",
    ),
}


def _text(dim: str, doc: str) -> Variable:
    return Variable((dim,), "text", doc, text=True)


#: What people said of a clip: spans (dim ``annotation``), traces, and the log of edits.
ANNOTATIONS = {
    "onset": Variable(("annotation",), "s", "start of the span: time of its first frame"),
    "offset": Variable(("annotation",), "s", "end of the span: where the next thing begins"),
    "tier": _text("annotation", "tier that the span lies in"),
    "label": _text("annotation", "what the annotator saw"),
    "intensity": _text("annotation", "FACS intensity, A (trace) to E (maximum); empty: not coded"),
    "comment": _text("annotation", "the annotator's own words"),
    "face": _text("annotation", "track that was chosen when the span was laid"),
    "annotator": _text("annotation", "who changed the span last"),
    "created": _text("annotation", "when the span was laid, UTC"),
    "modified": _text("annotation", "when it was changed last, UTC"),
    "blind": Variable(
        ("annotation",), "1", "whether the model's estimates were hidden at the last change", 0, 1
    ),
    "trace_value": Variable(("time", "trace"), "1", "value that the annotator traced"),
    "input_lag": Variable(
        ("trace",), "s", "from a movement of the hand to its value, median; the machine's part", 0
    ),
    "edit_when": _text("edit", "when it was done, UTC"),
    "edit_annotator": _text("edit", "who did it"),
    "edit_action": _text("edit", "what was done"),
    "edit_target": _text("edit", "number of the span, or name of the trace"),
}

_EVENT = ("event",)

EVENTS = {
    "onset": Variable(_EVENT, "s", "when it begins to show"),
    "apex": Variable(_EVENT, "s", "when it is strongest"),
    "offset": Variable(_EVENT, "s", "when it has gone again"),
    "duration": Variable(_EVENT, "s", "from onset to offset", 0),
    "amplitude": Variable(_EVENT, "1", "how far it rises above what was there before", 0),
    "intensity": Variable(_EVENT, "1", "the value at the apex", 0),
    "velocity": Variable(_EVENT, "1/s", "rise from onset to apex, by their distance in time", 0),
    "score": Variable(_EVENT, "1", "how much a moment asks for a person's look", 0, 1),
    "complete": Variable(_EVENT, "1", "whether both onset and offset were seen", 0, 1),
    "micro": Variable(_EVENT, "1", "lasts 1/6 to 1/2 s; NaN where that could not be told", 0, 1),
    "face": Variable(_EVENT, "", "track of the face", text=True),
    "label": Variable(_EVENT, "", "action unit, emotion or kind of moment", text=True),
    "kind": Variable(_EVENT, "", "what the label is of", text=True),
    "evidence": Variable(_EVENT, "", "the measurements that made it, in words", text=True),
}

GROUP = {
    "n_faces": Variable(("time",), "1", "how many faces can be read", 0),
    "smiling_share": Variable(("time",), "1", "share of those faces that smile", 0, 1),
    "synchrony": Variable(
        ("time",), "1", "mean correlation of the faces' movements, over pairs", -1, 1
    ),
}

# A variable may not bear the name of one of its own dimensions: xarray could not hold
# the dimension's labels then. Hence emotion_probability, landmark_position, coefficient.
GROUPS: dict[str, dict[str, Variable]] = {
    "face": FACE,
    "voice": VOICE,
    "fused": FUSED,
    "annotations": ANNOTATIONS,
    "events": EVENTS,
    "group": GROUP,
}

#: Labels that a coordinate must carry, in this order, where its dimension is used.
LABELS = {
    "box": ("x", "y", "width", "height"),
    "space": ("x", "y", "z"),
    "plane": ("x", "y"),
    "point": DETECTOR_POINTS,
    "angle": ("pitch", "yaw", "roll"),
}


def build_dataset(
    group: str,
    variables: Mapping[str, np.ndarray],
    coords: Mapping[str, object],
    *,
    history: str,
) -> xr.Dataset:
    """Assemble a Dataset of `group` with dims, units and descriptions from the specs.

    Every Dataset that emokit returns is made here, so that names, units and
    coordinate labels cannot drift apart between stages.

    Parameters
    ----------
    group : str
        One of ``GROUPS``.
    variables : mapping
        Array of each variable, in the order of its spec's dims. Kept in single
        precision: no estimate has more than seven digits. Seconds stay in double.
    coords : mapping
        Coordinate of each dimension whose labels are not fixed by ``LABELS``.
    history : str
        JSON made by :func:`extend_history`.
    """
    specs = GROUPS[group]
    used = {dim for name in variables for dim in specs[name].dims}
    known = {**{dim: list(LABELS[dim]) for dim in LABELS if dim in used}, **coords}
    ds = xr.Dataset(
        {
            name: (
                specs[name].dims,
                # Seconds keep the precision of the timestamps they are compared with.
                np.asarray(values) if specs[name].units == "s" else _single_precision(values),
                {"units": specs[name].units, "long_name": specs[name].doc},
            )
            for name, values in variables.items()
        },
        coords={dim: values for dim, values in known.items() if dim in used or dim == "time"},
        attrs={"history": history},
    )
    if "time" not in ds.coords:
        return ds
    ds["time"].attrs = {"units": "s", "long_name": "time from the start of the video"}
    for name, meanings in (
        ("face_status", FACE_STATUS),
        ("quality_reason", QUALITY_REASON),
        ("displayed_emotion", EMOTIONS),
    ):
        if name in ds:
            ds[name].attrs |= {
                "flag_values": np.arange(len(meanings), dtype=np.int8),
                "flag_meanings": " ".join(meanings),
            }
    return ds


def _single_precision(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values)
    return values.astype(np.float32) if values.dtype == np.float64 else values


def validate(
    ds: xr.Dataset,
    *,
    group: str,
    requires: Iterable[str] = (),
    argument: str = "ds",
) -> xr.Dataset:
    """Check `ds` against the specs of `group`, and report every problem at once.

    Parameters
    ----------
    ds : xarray.Dataset
        Never changed.
    group : str
        One of ``GROUPS``.
    requires : iterable of str
        Variables that must be there. Others are checked where they are present;
        variables without a spec are left alone.
    argument : str
        What the caller's user knows `ds` as; it begins the message.

    Returns
    -------
    xarray.Dataset
        `ds` itself.

    Raises
    ------
    TypeError
        If `ds` is not a Dataset.
    ValueError
        With every problem found, one a line.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from emokit.schema import validate
    >>> ds = xr.Dataset({"arousal": ("time", [0.1, 2.0])}, coords={"time": [0.0, 0.0]})
    >>> validate(ds, group="voice", requires=["f0"], argument="voice")
    Traceback (most recent call last):
    ...
    ValueError: voice cannot be used:
    - coordinate 'time' must increase strictly
    - variable 'f0' is missing
    - variable 'arousal' lies outside [-1, 1]: 2.0
    """
    return _check(ds, GROUPS[group], requires, argument)


def validate_time(ds: xr.Dataset, *, argument: str = "ds") -> xr.Dataset:
    """Check what every Dataset of emokit has, whatever its variables: time and fixed labels.

    Takes, returns and raises what :func:`validate` does, for functions that work on the
    Datasets of any group.

    Examples
    --------
    >>> import xarray as xr
    >>> from emokit.schema import validate_time
    >>> validate_time(xr.Dataset(coords={"time": [1.0, 0.0]}))
    Traceback (most recent call last):
    ...
    ValueError: ds cannot be used:
    - coordinate 'time' must increase strictly
    """
    return _check(ds, {}, (), argument)


def _check(
    ds: xr.Dataset, specs: Mapping[str, Variable], requires: Iterable[str], argument: str
) -> xr.Dataset:
    if not isinstance(ds, xr.Dataset):
        cure = "; take one group: result['face'].to_dataset()"
        raise TypeError(
            f"{argument} must be an xarray Dataset, as emokit's stages return; "
            f"got {type(ds).__name__}{cure if isinstance(ds, xr.DataTree) else ''}"
        )
    timeless = specs and not any("time" in spec.dims for spec in specs.values())
    problems = [] if timeless else _time_problems(ds)
    problems += [f"variable {name!r} is missing" for name in requires if name not in ds]
    for name, spec in specs.items():
        if name in ds:
            problems += _variable_problems(ds, name, spec)
    for dim, labels in LABELS.items():
        if dim in ds.dims and dim in ds.coords and tuple(ds[dim].values) != labels:
            problems.append(f"coordinate {dim!r} must be {', '.join(labels)}")
    if problems:
        raise ValueError(f"{argument} cannot be used:\n" + "\n".join(f"- {p}" for p in problems))
    return ds


def _time_problems(ds: xr.Dataset) -> list[str]:
    if "time" not in ds.coords:
        return ["coordinate 'time' (seconds) is missing"]
    time = ds["time"].values
    if time.ndim != 1 or not np.issubdtype(time.dtype, np.floating):
        return ["coordinate 'time' must be seconds as float64 along its own dimension"]
    if not np.isfinite(time).all():
        return ["coordinate 'time' must be finite"]
    if (np.diff(time) <= 0).any():
        return ["coordinate 'time' must increase strictly"]
    return []


def _variable_problems(ds: xr.Dataset, name: str, spec: Variable) -> list[str]:
    array = ds[name]
    if array.dims != spec.dims:
        return [f"variable {name!r} has dims {array.dims}; expected {spec.dims}"]
    if spec.text:
        words = array.dtype.kind in "UO" and all(
            isinstance(word, str) for word in array.values.flat
        )
        return [] if words else [f"variable {name!r} must hold text; it holds {array.dtype}"]
    if not np.issubdtype(array.dtype, np.number):
        return [f"variable {name!r} must hold numbers; it holds {array.dtype}"]
    values = array.values
    if not values.size:
        return []
    problems = []
    slack = 1e-4  # float32 sums and products overshoot their bounds by about this
    outside = (values < spec.low - slack) | (values > spec.high + slack) | np.isinf(values)
    if outside.any():
        problems.append(
            f"variable {name!r} lies outside [{spec.low}, {spec.high}]: {values[outside].flat[0]}"
        )
    elif spec.sums_to_one:
        sums = array.sum(spec.sums_to_one, skipna=False).values
        if (np.abs(sums - 1) > 1e-3).any():
            problems.append(f"variable {name!r} must sum to 1 over {spec.sums_to_one!r}")
    return problems


def extend_history(step: str, *previous: xr.Dataset, **details: object) -> str:
    """Provenance of a new Dataset as JSON, ready for ``attrs["history"]``.

    The entries of every Dataset in `previous` come first, each once, then the new
    step with emokit's version, the time of the run and `details` (parameters,
    model files with their hashes, the source file).
    """
    entries: list[dict] = []
    for ds in previous:
        entries += [entry for entry in read_history(ds) if entry not in entries]
    entries.append(
        {
            "step": step,
            "emokit": package_version(),
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            **{key: _plain(value) for key, value in details.items() if value is not None},
        }
    )
    return json.dumps(entries)


def read_history(ds: xr.Dataset) -> list[dict]:
    """Entries of ``attrs["history"]``, oldest first; empty where there is none.

    Examples
    --------
    >>> import emokit as ek, xarray as xr
    >>> ek.schema.read_history(xr.Dataset())
    []
    """
    try:
        entries = json.loads(ds.attrs.get("history", "[]"))
    except (TypeError, json.JSONDecodeError):
        # A file made elsewhere may hold free text here, as the CF conventions allow.
        return [{"step": str(ds.attrs["history"])}]
    return entries if isinstance(entries, list) else [{"step": str(entries)}]


def package_version() -> str:
    """Version of the installed distribution."""
    return metadata.version("emokit-video")


def _plain(value: object) -> object:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
