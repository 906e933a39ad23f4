"""Action units that other tools wrote, into the schema."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pooch
import xarray as xr

from . import schema
from .arguments import check_number
from .clip import Clip

#: Frames a second that are assumed where the file holds frame numbers and nothing is given.
_ASSUMED_FPS = 25.0

#: OpenFace's intensities run from 0 to 5, FACS' A to E.
_OPENFACE_MAXIMUM = 5.0

_EMOTIONS_V1 = {name: name for name in schema.EMOTIONS}
_EMOTIONS_V2 = {
    "Anger": "anger",
    "Disgust": "disgust",
    "Fear": "fear",
    "Happy": "happiness",
    "Sad": "sadness",
    "Surprise": "surprise",
    "Neutral": "neutral",
}

_MESH_POINTS = 478


def read_action_units(
    path: str | Path,
    *,
    clip: Clip | None = None,
    fps: float | None = None,
    landmarks: bool = False,
) -> xr.Dataset:
    r"""Read the action units that py-feat or OpenFace wrote to a CSV file.

    Parameters
    ----------
    path : str or pathlib.Path
        A table of py-feat's detectors (``Fex``, of ``Detectorv1`` or ``Detectorv2``), or of
        OpenFace's ``FeatureExtraction``, ``FaceLandmarkVidMulti`` or ``FaceLandmarkImg``.
        Which it is shows in its columns.
    clip : Clip, optional
        The clip it was made from: frame numbers then become the exact times of its frames.
    fps : float, optional
        Frames a second, where the clip is not at hand.
    landmarks : bool
        Keep the 478 points that ``Detectorv2`` writes.

    Returns
    -------
    xarray.Dataset
        On ``(time, face)``, a row for every frame in the file; NaN where it has no face.

        ``au (time, face, action_unit)`` in 0 to 1, and ``face_score``, ``face_status``.
        From py-feat: its own values, with ``face_box`` (for ``Detectorv2`` the square that
        the network saw) and ``emotion_probability``; from ``Detectorv2`` also ``valence``,
        ``arousal``, ``head_pose``, ``gaze`` in degrees and, on request,
        ``landmark_position``. From OpenFace: ``au`` is its intensity divided by 5, and
        ``au_presence``, ``head_pose`` and ``gaze`` come with it; ``face_score`` is its
        confidence; AU28, of which OpenFace tells only the presence, has NaN in ``au``.

    Raises
    ------
    TypeError
        If `clip` is not a Clip.
    ValueError
        If there is no such file, it is none of these tables, its frames are not in `clip`,
        or its values break the schema.

    Warns
    -----
    UserWarning
        If py-feat's file holds several frames and neither `clip` nor `fps` is given: it has
        no times in it, and 25 frames a second are assumed.
    UserWarning
        If some faces have no name while others do, or share one within a frame; they get tracks
        of their own.

    Notes
    -----
    Angles are turned to emokit's signs: up, to the person's right, tilted to the person's
    right. The head pose of ``Detectorv1`` is left out: its unit and signs changed between
    releases, and the file does not say which.

    Times come from `clip`, else from `fps`, else from OpenFace's timestamps. Faces are told
    apart by ``Identity`` or ``face_id``; without it by their order in the frame, which need
    not be the same person throughout.

    Examples
    --------
    >>> import pathlib, tempfile, emokit as ek
    >>> table = "frame, timestamp, success, AU12_r, AU12_c\n1, 0.0, 1, 2.5, 1\n"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "openface.csv"
    ...     _ = path.write_text(table)
    ...     aus = ek.read_action_units(path)
    >>> aus["au"].sel(action_unit="AU12").item()
    0.5
    """
    if clip is not None and not isinstance(clip, Clip):
        raise TypeError(f"clip must be a Clip, as ek.open_clip returns; got {type(clip).__name__}")
    if clip is not None and fps is not None:
        raise ValueError("give clip or fps, not both")
    if fps is not None:
        check_number("fps", fps, above=0)
    path = Path(path).expanduser()
    table = _read_table(path)
    reader = next((r for r in (_OpenFace, _FexV2, _FexV1) if r.recognises(table)), None)
    if reader is None:
        raise ValueError(
            f"{path.name} must have the columns of py-feat (AU01, …, and FaceRectX, …) or of "
            f"OpenFace (AU01_r, …, and success); it has {', '.join(list(table)[:12])}, …"
        )
    source = reader(table)
    frame = source.frames()
    numbers, row = np.unique(frame, return_inverse=True)
    times, how = _find_times(path.name, source, numbers, clip, fps)
    present = source.present()
    track, faces = _tell_apart(row, source.people(), present)

    shape = (len(times), max(len(faces), 1))
    variables: dict[str, np.ndarray] = {}
    for name, values in source.variables(landmarks).items():
        variables[name] = np.full((*shape, *values.shape[1:]), np.nan, np.float32)
        variables[name][row[present], track[present]] = values[present]
    status = np.full(shape, schema.FACE_STATUS.index("no_face"), np.int8)
    status[row[present], track[present]] = schema.FACE_STATUS.index("detected")
    variables["face_status"] = status
    labels = [f"face_{i}" for i in range(shape[1])]
    coords = {
        "time": times,
        "face": labels,
        "action_unit": source.units,
        "emotion": list(schema.EMOTIONS),
        "landmark": np.arange(_MESH_POINTS),
    }
    history = schema.extend_history(
        "read_action_units",
        source={"name": path.name, "sha256": pooch.file_hash(str(path))},
        model={"name": source.name},
        parameters={"times": how, "faces": dict(zip(labels, faces, strict=False))},
    )
    ds = schema.build_dataset("face", variables, coords, history=history)
    return schema.validate(ds, group="face", requires=["au"], argument=path.name)


def _read_table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise ValueError(f"there is no file {str(path)!r}")
    try:
        with warnings.catch_warnings():
            # Rows may end in a comma that the header lacks. Unless it is told not to, pandas
            # takes their first cells for names of rows, and shifts all others by a column. It
            # warns where such a cell beyond the header holds anything.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(path, skipinitialspace=True, low_memory=False, index_col=False)
    except pd.errors.ParserWarning:
        raise ValueError(f"{path.name} has rows with more cells than its header") from None
    except (ValueError, OSError) as error:
        # pandas' own errors and those of decoding are all ValueErrors.
        raise ValueError(f"{path.name} cannot be read as a CSV table: {error}") from error
    table.columns = [str(name).strip() for name in table.columns]
    if not len(table):
        raise ValueError(f"{path.name} holds no row")
    return table


class _Table:
    """One tool's table; a value for every row of it."""

    name: str
    pattern: str
    first_frame = 0

    def __init__(self, table: pd.DataFrame) -> None:
        self.table = table
        self.units = sorted({m[1] for c in table if (m := re.fullmatch(self.pattern, c))})

    @classmethod
    def recognises(cls, table: pd.DataFrame) -> bool:
        raise NotImplementedError

    def variables(self, landmarks: bool) -> dict[str, np.ndarray]:
        raise NotImplementedError

    def present(self) -> np.ndarray:
        """Whether the row shows a face, (row,)."""
        raise NotImplementedError

    def people(self) -> np.ndarray | None:
        """Whom the tool takes the face for, (row,)."""
        raise NotImplementedError

    def timestamps(self) -> np.ndarray | None:
        """Seconds, (row,)."""
        return None

    def frames(self) -> np.ndarray:
        """Number of the frame, the first one as the tool counts it, (row,)."""
        if "frame" not in self.table:
            stamps = self.timestamps()
            if stamps is not None:
                return np.unique(stamps, return_inverse=True)[1] + self.first_frame
            # What was made from a single image has no number in it.
            return np.full(len(self.table), self.first_frame)
        numbers = self.numbers(["frame"])[:, 0]
        if not np.isfinite(numbers).all() or (numbers < self.first_frame).any():
            raise ValueError(
                f"column 'frame' must hold frame numbers from {self.first_frame}; "
                f"got {self.table['frame'].iloc[int(np.argmin(np.nan_to_num(numbers, nan=-1)))]}"
            )
        return np.round(numbers).astype(int)

    def numbers(self, columns: Sequence[str]) -> np.ndarray:
        """Columns as floats, (row, column); NaN where the cell is empty or says so."""
        return np.column_stack([self._as_numbers(self.table[name]) for name in columns])

    @staticmethod
    def _as_numbers(column: pd.Series) -> np.ndarray:
        values = pd.to_numeric(column, errors="coerce")
        # C++ programs write not-a-number in many ways, such as -nan(ind).
        wrong = values.isna() & column.notna() & ~column.astype(str).str.contains("nan", case=False)
        if wrong.any():
            raise ValueError(
                f"column {column.name!r} must hold numbers; got {column[wrong].iloc[0]!r}"
            )
        return values.to_numpy(np.float64)

    def has(self, *columns: str) -> bool:
        return set(columns) <= set(self.table)


class _OpenFace(_Table):
    name = "OpenFace"
    pattern = r"(AU\d\d)_[rc]"
    first_frame = 1

    @classmethod
    def recognises(cls, table: pd.DataFrame) -> bool:
        return any(re.fullmatch(r"AU\d\d_r", column) for column in table)

    def present(self) -> np.ndarray:
        if not self.has("success"):
            return np.ones(len(self.table), dtype=bool)
        return self.numbers(["success"])[:, 0] > 0

    def people(self) -> np.ndarray | None:
        column = next((c for c in ("face_id", "face") if self.has(c)), None)
        return None if column is None else self.table[column].to_numpy()

    def timestamps(self) -> np.ndarray | None:
        return self.numbers(["timestamp"])[:, 0] if self.has("timestamp") else None

    def variables(self, landmarks: bool) -> dict[str, np.ndarray]:
        found = {"au": self._of_units("r") / _OPENFACE_MAXIMUM}
        if any(column.endswith("_c") for column in self.table):
            found["au_presence"] = self._of_units("c")
        if self.has("confidence"):
            found["face_score"] = self.numbers(["confidence"])[:, 0]
        if self.has("pose_Rx", "pose_Ry", "pose_Rz"):
            # Camera's axes: x right, y down, z away. Turning about x lowers the nose, about
            # y takes it to the person's right, about z tilts the head to the person's left.
            turned = self.numbers(["pose_Rx", "pose_Ry", "pose_Rz"])
            found["head_pose"] = np.degrees(turned * [-1, 1, -1])
        eyes = [[f"gaze_{eye}_{axis}" for axis in "xyz"] for eye in (0, 1)]
        if self.has(*eyes[0], *eyes[1]):
            x, y, z = (self.numbers(eyes[0]) + self.numbers(eyes[1])).T
            angles = np.degrees([np.arctan2(-y, -z), np.arctan2(-x, -z)])
            found["gaze"] = np.stack([*angles, np.full(len(x), np.nan)], -1)
        return found

    def _of_units(self, kind: str) -> np.ndarray:
        columns = [f"{unit}_{kind}" for unit in self.units]
        there = [column for column in columns if column in self.table]
        values = np.full((len(self.table), len(columns)), np.nan)
        values[:, [columns.index(column) for column in there]] = self.numbers(there)
        return values


class _Fex(_Table):
    pattern = r"(AU\d\d)"
    emotions: dict[str, str]

    def present(self) -> np.ndarray:
        return np.isfinite(self.numbers(["FaceRectX"])[:, 0])

    def frames(self) -> np.ndarray:
        frames = super().frames()
        if self.has("input"):
            inputs = self.table["input"].groupby(frames).nunique()
            if (inputs > 1).any():
                raise ValueError(
                    "the file must come from one video, or its frames be told apart by their "
                    f"numbers; frame {inputs.idxmax()} is in {inputs.max()} inputs: "
                    f"{', '.join(map(str, self.table['input'].unique()[:3]))}, …"
                )
        return frames

    def people(self) -> np.ndarray | None:
        return self.table["Identity"].to_numpy() if self.has("Identity") else None

    def variables(self, landmarks: bool) -> dict[str, np.ndarray]:
        box = ["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight"]
        found = {"au": self.numbers(self.units), "face_box": self.numbers(box)}
        if self.has("FaceScore"):
            found["face_score"] = self.numbers(["FaceScore"])[:, 0]
        if self.has(*self.emotions):
            names = {name: column for column, name in self.emotions.items()}
            shown = self.numbers([names[name] for name in schema.EMOTIONS])
            # Some of py-feat's emotion models score each emotion by itself.
            with np.errstate(invalid="ignore", divide="ignore"):
                found["emotion_probability"] = shown / shown.sum(1, keepdims=True)
        if self.has("gaze_pitch", "gaze_yaw"):
            gaze = np.degrees(self.numbers(["gaze_pitch", "gaze_yaw"]))
            found["gaze"] = np.column_stack([gaze, np.full(len(gaze), np.nan)])
        return found


class _FexV1(_Fex):
    name = "py-feat, Detectorv1"
    emotions = _EMOTIONS_V1

    @classmethod
    def recognises(cls, table: pd.DataFrame) -> bool:
        return "FaceRectX" in table and any(re.fullmatch(cls.pattern, c) for c in table)


class _FexV2(_Fex):
    name = "py-feat, Detectorv2"
    emotions = _EMOTIONS_V2

    @classmethod
    def recognises(cls, table: pd.DataFrame) -> bool:
        return _FexV1.recognises(table) and {"valence", "arousal"} <= set(table)

    def variables(self, landmarks: bool) -> dict[str, np.ndarray]:
        found = super().variables(landmarks)
        found["valence"], found["arousal"] = self.numbers(["valence", "arousal"]).T
        if self.has("Pitch", "Yaw", "Roll"):
            found["head_pose"] = np.degrees(self.numbers(["Pitch", "Yaw", "Roll"]))
        if landmarks and self.has(f"mesh_x_{_MESH_POINTS - 1}"):
            columns = [[f"mesh_{axis}_{i}" for i in range(_MESH_POINTS)] for axis in "xyz"]
            points = np.stack([self.numbers(axis) for axis in columns], -1)
            # z is a share of the square that the network saw.
            points[..., 2] *= self.numbers(["FaceRectWidth"])
            found["landmark_position"] = points
        return found


def _find_times(
    name: str, source: _Table, numbers: np.ndarray, clip: Clip | None, fps: float | None
) -> tuple[np.ndarray, str]:
    """Seconds of every frame number in the file, and how they were found."""
    index = numbers - source.first_frame
    if not source.has("frame") and len(numbers) > 1 and (clip is not None or fps is not None):
        raise ValueError(
            f"{name} has no column 'frame' to find times by; leave clip and fps out, to go by "
            "its timestamps"
        )
    if clip is not None:
        if index[-1] >= len(clip.frame_times):
            raise ValueError(
                f"{name} has a frame {numbers[-1]}; {clip.name} has {len(clip.frame_times)} frames"
            )
        return clip.frame_times[index].copy(), f"frames of {clip.name}"
    if fps is not None:
        return index / fps, f"frame number at {fps:g} frames/s"
    stamps = source.timestamps()
    if stamps is not None:
        times = stamps[np.unique(source.frames(), return_index=True)[1]]
        if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
            raise ValueError(
                f"column 'timestamp' of {name} must increase from frame to frame; "
                "give clip=… or fps=… to go by the frame numbers"
            )
        return times, "timestamps of the file"
    if len(numbers) == 1:
        return np.zeros(1), "a single image"
    warnings.warn(
        f"{name} holds frame numbers and no times: {_ASSUMED_FPS:g} frames a second are "
        "assumed. Give clip=… (exact) or fps=….",
        UserWarning,
        stacklevel=3,
    )
    return index / _ASSUMED_FPS, f"frame number at {_ASSUMED_FPS:g} frames/s, assumed"


def _tell_apart(
    row: np.ndarray, people: np.ndarray | None, present: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Track of every line of the table, and what the tool calls each track.

    The face that is there most often comes first.
    """
    table = pd.DataFrame({"row": row, "who": people if people is not None else np.nan})[present]
    nameless = table["who"].isna()
    if nameless.all():
        table["who"] = table.groupby("row").cumcount().map(lambda i: f"number {i + 1} in the frame")
    else:
        table["who"] = table["who"].astype(object).where(~nameless, "without a name")
        again = table.groupby(["row", "who"]).cumcount()
        wrong = int((nameless | (again > 0)).sum())
        if wrong:
            warnings.warn(
                f"{wrong} of {len(table)} faces have no name, or one that another face of the "
                "frame has too; they get tracks of their own",
                stacklevel=3,
            )
        table["who"] = table["who"].where(
            again == 0, table["who"].astype(str) + again.map(lambda i: f", again ({i + 1})")
        )
    counts = table["who"].value_counts(sort=False)
    order = counts.sort_values(ascending=False, kind="stable").index
    track = np.zeros(len(row), dtype=int)
    track[present] = pd.Index(order).get_indexer(table["who"])
    return track, [str(who) for who in order]
