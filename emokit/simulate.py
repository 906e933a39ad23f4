"""Simulated faces whose truth is known: for documentation, tests, and fitting models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import xarray as xr
from scipy.spatial.transform import Rotation

from . import episodes, schema
from .arguments import check_number
from .episodes import UNITS, Performance
from .head import draw_bends, draw_errors, shipped_head
from .mesh import ActionUnitModel

#: Pixels for one unit of the head (about a centimetre), and between faces side by side.
_SCALE, _APART = 10.0, 240.0

#: How much landmarks jump from frame to frame, in units of the head: measured on the second
#: differences of four real clips (0.005 to 0.017), where it is 0.2 % of the distance
#: between the eyes.
_JITTER = np.array([0.015, 0.015, 0.01])
#: The same of the lids, in eye widths (0.001 to 0.005).
_LID_JITTER = 0.003
#: Degrees from the camera at which the bends that pose brings are as large as a person's own.
_POSE_BENDS = 20.0

#: Heights of upper and lower lid at rest, in eye widths, and how people differ in them.
_LIDS, _LIDS_DIFFER = np.array([0.15, 0.09]), np.array([0.012, 0.008])


def simulate_faces(
    *,
    n_faces: int = 1,
    duration: float = 10.0,
    fps: float = 25.0,
    emotions: str | Sequence[str] | None = None,
    au: Mapping[str, object] | None = None,
    landmarks: bool = True,
    speech: float | None = None,
    blinks: float | None = None,
    movement: float | None = None,
    identity: float | None = None,
    noise: float | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Simulate people who show emotions, speak, blink and look about, and the truth of it.

    Parameters
    ----------
    n_faces : int
        People, side by side. The first ones stay the same when there are more.
    duration : float
        Seconds; at least one frame is made.
    fps : float
        Frames a second.
    emotions : str or sequence of str, optional
        What episodes display: one of the seven emotions of the schema, or several to draw
        from. By default all seven, "neutral" being a stretch of rest.
    au : mapping of str to float or sequence of float, optional
        Show these units, 0 to 1, constantly or frame by frame, in place of episodes. All
        the parameters below are 0 then, unless given: it is the mean face, still.
    landmarks : bool
        Make the 468 landmarks, and read the units from them. Without, units are read in
        the small space of the read-out's own responses to shapes, identities and errors,
        which takes about a millisecond a second of video and no memory to speak of.
    speech : float, optional
        Share of the time during which a person talks, 0 to 1; 0.3 by default.
    blinks : float, optional
        Blinks a minute; 17 by default (Bentivoglio et al. 1997).
    movement : float, optional
        Scale of head turns, of looks away from the camera, and of passing movements that
        mean no emotion; 1 by default.
    identity : float, optional
        Scale of how people differ from the mean face, 1 by default.
    noise : float, optional
        Scale of the errors of landmarks and read-out, 1 by default: those of a person
        throughout, those that turning the head brings, and those from frame to frame.
    seed : int
        The same seed gives the same faces.

    Returns
    -------
    xarray.Dataset
        ``au (time, face, action_unit)``, the intensities that the built-in model reads,
        errors included, which any stage takes like those of :func:`extract_action_units`;
        and the truth: ``au_true (time, face, action_unit)``, ``displayed_emotion
        (time, face)`` (index into ``schema.EMOTIONS``; NaN where `au` is given),
        ``displayed_intensity (time, face)`` in 0 to 1, ``head_pose`` and
        ``gaze (time, face, angle)`` in degrees, ``eye_opening (time, face)``. With
        `landmarks`, ``landmark_position (time, face, landmark, space)`` in pixels.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or there is no such emotion or unit.

    Notes
    -----
    People are drawn from ICT-FaceKit's morphable head (Li et al. 2020), at the landmarks
    of MediaPipe's mesh. An episode takes the units of the emotion's prototype (Du, Tao and
    Martinez 2014), each with the share of people who used it; every person has a way of
    their own to show each emotion, and repeats it; happiness is also laughed, with the jaw
    open (Ruch and Ekman 2001). Rise and fall follow least jerk; they
    last some tenths of a second, the fall longer than the rise, whole episodes some 1 to 5
    seconds, and units come some 60 ms apart. These times are assumed within what is
    reported of spontaneous expressions, not fitted. AU11 and AU23 have no shape in the
    head and are left out.

    Speech opens the jaw and moves the lips 4 to 6 times a second. These movements are
    units too, and in ``au_true``; the displayed emotion does not change for them. AU25 is
    how far the lips are apart, whatever parted them.

    What is not simulated: wrinkles, colour, hair, glasses, hands, light; that muscles
    hinder each other; and faces of children.

    Examples
    --------
    >>> import emokit as ek
    >>> people = ek.simulate_faces(n_faces=3, duration=4, landmarks=False, seed=7)
    >>> dict(people["au"].sizes)
    {'time': 100, 'face': 3, 'action_unit': 21}

    What AU12 looks like on the mean face, as landmarks:

    >>> smile = ek.simulate_faces(au={"AU12": 1.0}, duration=0)
    >>> rest = ek.simulate_faces(au={}, duration=0)
    >>> moved = (smile - rest)["landmark_position"].squeeze()
    >>> moved.sel(space="y").idxmin().item() in (61, 291)  # a corner of the lips goes up
    True
    """
    check_number("n_faces", n_faces, least=1, whole=True)
    check_number("seed", seed, least=0, whole=True)
    check_number("duration", duration, least=0, below=math.inf, unit="seconds")
    check_number("fps", fps, above=0, below=math.inf)
    shown = _check_emotions(emotions)
    options = {"speech": speech, "blinks": blinks, "movement": movement}
    options |= {"identity": identity, "noise": noise}
    usual = {"speech": 0.3, "blinks": 17.0, "movement": 1.0, "identity": 1.0, "noise": 1.0}
    for name, value in options.items():
        options[name] = (usual[name] if au is None else 0.0) if value is None else value
        check_number(name, options[name], least=0, below=math.inf)
    if options["speech"] > 1:
        raise ValueError(f"speech must be a share of the time, 0 to 1; got {speech!r}")
    times = np.arange(max(round(duration * fps), 1)) / fps
    given = None if au is None else _check_units(au, len(times))
    if given is not None and emotions is not None:
        raise ValueError("emotions and au exclude each other: au says what is shown")

    camera = _Camera(landmarks)
    people = []
    for index in range(n_faces):
        rng = np.random.default_rng([seed, index])
        performance = _perform(times, given, shown, options, rng)
        people.append(camera.take(performance, index, options, rng))
    variables = {name: np.stack([person[name] for person in people], 1) for name in people[0]}
    if given is not None:
        variables["displayed_emotion"][:] = np.nan
        variables["displayed_intensity"][:] = np.nan
    coords = {
        "time": times,
        "face": [f"face_{index}" for index in range(n_faces)],
        "action_unit": [*UNITS, "AU45"],
    }
    if landmarks:
        coords["landmark"] = np.arange(468)
    history = schema.extend_history(
        "simulate_faces",
        model={"name": "ICT-FaceKit, light", "prototypes": "Du, Tao and Martinez 2014"},
        parameters={
            **{"duration": duration, "fps": fps, "n_faces": n_faces, "seed": seed},
            **{"emotions": list(shown), "au": sorted(au or {}), "landmarks": landmarks},
            **options,
        },
    )
    people = schema.build_dataset("face", variables, coords, history=history)
    return people.assign_coords(ActionUnitModel().reliability())


def _check_emotions(emotions: str | Sequence[str] | None) -> tuple[str, ...]:
    if emotions is None:
        return schema.EMOTIONS
    names = (emotions,) if isinstance(emotions, str) else tuple(emotions)
    unknown = [name for name in names if name not in schema.EMOTIONS]
    if unknown or not names:
        raise ValueError(f"emotions must be among {', '.join(schema.EMOTIONS)}; got {emotions!r}")
    return names


def _check_units(au: Mapping[str, object], n: int) -> dict[str, np.ndarray]:
    """The course (n,) of each unit asked for."""
    if not isinstance(au, Mapping):
        raise TypeError(f"au must be a mapping of units to intensities; got {type(au).__name__}")
    courses = {}
    for unit, asked in au.items():
        if unit not in (*UNITS, "AU45"):
            raise ValueError(f"au holds {unit!r}; the head can show {', '.join(UNITS)}, AU45")
        course = np.asarray(asked, np.float64)
        if course.shape not in ((), (n,)):
            raise ValueError(
                f"au[{unit!r}] must be a number or one a frame ({n}); it has shape {course.shape}"
            )
        if not ((course >= 0) & (course <= 1)).all():
            raise ValueError(f"au[{unit!r}] must lie in 0 to 1")
        courses[unit] = np.broadcast_to(course, n)
    return courses


def _perform(
    times: np.ndarray,
    given: dict[str, np.ndarray] | None,
    emotions: tuple[str, ...],
    options: dict[str, float],
    rng: np.random.Generator,
) -> Performance:
    performance = Performance(times, shipped_head())
    if given is None:
        episodes.express(performance, emotions, rng)
    else:
        for unit, course in given.items():
            if unit == "AU45":
                performance.blink = course.copy()
            else:
                performance.show(unit, course)
    episodes.speak(performance, options["speech"], rng)
    episodes.blink(performance, options["blinks"], rng)
    if options["movement"]:
        episodes.fidget(performance, rng)
        episodes.move_head(performance, options["movement"], rng)
    return performance


class _Camera:
    """Makes landmarks, truth and the units read of one person after another."""

    def __init__(self, landmarks: bool) -> None:
        self._landmarks = landmarks
        self._head = shipped_head()
        self._model = ActionUnitModel()

    def take(
        self,
        performance: Performance,
        index: int,
        options: dict[str, float],
        rng: np.random.Generator,
    ) -> dict[str, np.ndarray]:
        """Variables of one person, (n, …), named as in the schema."""
        weights = self._weigh(performance, options, rng)
        lids = _lids(performance, options, rng)
        who = rng.normal(size=len(self._head.identity)) * options["identity"]
        seen = lids + rng.normal(size=lids.shape) * _LID_JITTER * options["noise"]
        variables = {}
        if self._landmarks:
            points = self._see(performance, who, weights, options["noise"], rng)
            raw = self._model.raw(points)[0]
            centre = ((index + 0.5) * _APART, _APART / 2, 0)
            variables["landmark_position"] = points * _SCALE + centre
        else:
            raw = measure_responses().read(performance, who, weights, options["noise"], rng)
        true = performance.au.copy()
        part, wide = self._model.LIPS_PART, self._model.LIPS_WIDE
        gap = (self._head.gap(weights) - part) / (wide - part)
        true[:, UNITS.index("AU25")] = gap.clip(0, 1)
        gaze = np.column_stack([performance.gaze, np.full(len(true), np.nan)])
        return variables | {
            "au": self._model.settle(performance.time, raw, seen),
            "au_true": np.column_stack([true, performance.blink]),
            "displayed_emotion": performance.emotion.astype(np.float32),
            "displayed_intensity": performance.intensity,
            "head_pose": performance.pose,
            "gaze": gaze,
            "eye_opening": lids.sum(1).clip(0),
        }

    def _weigh(
        self, performance: Performance, options: dict[str, float], rng: np.random.Generator
    ) -> np.ndarray:
        au, other = performance.au.copy(), performance.other.copy()
        closed = UNITS.index("AU43")
        au[:, closed] = np.maximum(au[:, closed], performance.blink)
        up, right = _in_head(performance).T / 25
        for shape, amount in (
            ("eyeLookUp", up),
            ("eyeLookDown", -up),
            ("eyeLookOut", right),
            ("eyeLookIn", -right),
        ):
            left_side, right_side = self._head.sides(shape)
            # What is outwards for the right eye is inwards for the left one.
            mirrored = -1 if shape in ("eyeLookOut", "eyeLookIn") else 1
            other[:, right_side] += amount.clip(0)
            other[:, left_side] += (mirrored * amount).clip(0)
        uneven = rng.normal(0, 0.12, len(UNITS)) * options["identity"]
        return self._head.weigh(au, uneven=uneven, other=other)

    def _see(
        self,
        performance: Performance,
        who: np.ndarray,
        weights: np.ndarray,
        noise: float,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Landmarks (n, 468, 3) turned and seen with errors; y down, z away from the camera."""
        points = self._head.place(who, weights)
        points += draw_errors(self._head.neutral, 1, rng) * noise
        bends = noise * (draw_bends(3, rng) - np.eye(3))
        own, leaning, turning = bends
        lean, turn = performance.pose[:, :2].T[..., None, None] / _POSE_BENDS
        bent = np.eye(3) + own + lean * leaning + turn * turning
        points = np.einsum("nkj,nij->nki", points, bent)
        up, right, tilt = performance.pose.T
        pose = Rotation.from_euler("YXZ", np.column_stack([-right, -up, tilt]), degrees=True)
        points = np.einsum("nkj,nij->nki", points, pose.as_matrix())
        points += rng.normal(size=points.shape) * _JITTER * noise
        return points * (1, -1, -1)


def _in_head(performance: Performance) -> np.ndarray:
    """How far the eyes are turned in the head (n, 2): up, to the person's right; degrees."""
    return (performance.gaze - performance.pose[:, :2]).clip(-25, 25)


def _lids(
    performance: Performance, options: dict[str, float], rng: np.random.Generator
) -> np.ndarray:
    """Heights (n, 2) of upper and lower lid over the line between the eye's corners.

    In eye widths, as the iris network sees them. Set by hand to what real people's lids do
    at rest, wide open, narrowed and closed.
    """
    rest = _LIDS + _LIDS_DIFFER * rng.normal(size=2) * options["identity"]
    unit = {name: performance.au[:, column] for column, name in enumerate(UNITS)}
    up = _in_head(performance)[:, 0] / 25
    upper = rest[0] + 0.12 * unit["AU05"] - 0.04 * unit["AU07"] + 0.06 * up.clip(-1, 0.4)
    lower = rest[1] - 0.055 * unit["AU07"] - 0.03 * np.maximum(unit["AU06"], 0.7 * unit["AU12"])
    closed = np.maximum(unit["AU43"], performance.blink)
    lower = lower - 0.02 * closed
    return np.column_stack([upper * (1 - closed) + (0.02 - lower) * closed, lower])


@dataclass(frozen=True)
class Responses:
    """What shapes, people and errors do to the units read, to first order."""

    shapes: np.ndarray
    people: np.ndarray
    rest: np.ndarray
    errors: np.ndarray
    bends: np.ndarray
    jitter: np.ndarray

    @property
    def spread(self) -> np.ndarray:
        """Covariance (n_units, n_units) of what people who rest read, each with their own face."""
        return sum(part.T @ part for part in (self.people, self.errors, self.bends))

    def read(
        self,
        performance: Performance,
        who: np.ndarray,
        weights: np.ndarray,
        noise: float,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Unbounded units (n, n_units) of one person."""
        size = len(self.rest)
        own = who @ self.people + noise * rng.normal(size=size) @ self.errors
        bend, leaning, turning = noise * rng.normal(size=(3, size)) @ self.bends
        lean, turn = performance.pose[:, :2].T[..., None] / _POSE_BENDS
        jitter = noise * rng.normal(size=(len(weights), size)) @ self.jitter
        return (
            self.rest
            + own
            + bend
            + weights @ self.shapes
            + lean * leaning
            + turn * turning
            + jitter
        )


@cache
def measure_responses() -> Responses:
    """Measure the read-out on the shipped head; errors as factors of their covariance."""
    head, model, rng = shipped_head(), ActionUnitModel(), np.random.default_rng(0)

    def read(points: np.ndarray) -> np.ndarray:
        return model.raw(points * (1, -1, -1))[0]

    def factor(points: np.ndarray) -> np.ndarray:
        return np.linalg.cholesky(np.cov(read(points), rowvar=False) + 1e-9 * np.eye(len(rest))).T

    rest = read(head.neutral[None])[0]
    step, n = 0.5, 400
    bent = np.einsum("kj,nij->nki", head.neutral, draw_bends(n, rng))
    return Responses(
        shapes=(read(head.neutral + step * head.expression) - rest) / step,
        people=(read(head.neutral + step * head.identity) - rest) / step,
        rest=rest,
        errors=factor(head.neutral + draw_errors(head.neutral, n, rng)),
        bends=factor(bent),
        jitter=factor(head.neutral + rng.normal(size=(n, *head.neutral.shape)) * _JITTER),
    )
