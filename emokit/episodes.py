"""What simulated people do with their faces over time: expressions, speech, blinks, looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .head import NUISANCE, SHAPES, Head
from .prototypes import PROTOTYPES
from .schema import EMOTIONS

UNITS = tuple(SHAPES)

#: How often a unit that a prototype does not name takes part in a person's version of it.
_STRAY = 0.05

#: How often happiness is laughed rather than smiled: assumed. Whoever laughs raises the cheeks
#: and opens the jaw (Ruch and Ekman 2001), which shakes with a note every 0.21 s (Provine and
#: Yong 1991).
_LAUGHED, _NOTES = 0.35, 1 / 0.21

#: What syllables do besides opening the jaw: units (or the shape of a lip tucked in for f
#: and v), how often, and how far at most.
_SYLLABLE = {
    "AU10": (0.2, 0.2),
    "AU16": (0.4, 0.4),
    "AU18": (0.2, 0.5),
    "AU20": (0.2, 0.3),
    "AU22": (0.2, 0.5),
    "AU24": (0.2, 0.4),
    "mouthRollLower": (0.1, 0.3),
}

#: Units that people move in passing, as they listen, think and underline what they say.
_MANNERISMS = ("AU01", "AU02", "AU04", "AU07", "AU12", "AU14", "AU15", "AU17", "AU18", "AU24")
_MANNERISMS += ("AU43",)


@dataclass
class Performance:
    """What one person does, frame by frame."""

    time: np.ndarray
    head: Head
    au: np.ndarray = field(init=False)
    """Intensities (n, n_units) in the order of ``UNITS``; lids closed by a blink are apart."""
    other: np.ndarray = field(init=False)
    """Weights (n, n_shapes) of shapes that belong to no unit."""
    blink: np.ndarray = field(init=False)
    """How far the lids are closed by a blink (n,)."""
    emotion: np.ndarray = field(init=False)
    """Index into ``EMOTIONS`` of what is displayed (n,)."""
    intensity: np.ndarray = field(init=False)
    """How strongly it is displayed (n,), 0 to 1."""
    pose: np.ndarray = field(init=False)
    """The head turned up, to the person's right, tilted to that side (n, 3), in degrees."""
    gaze: np.ndarray = field(init=False)
    """Looking up, and to the person's right (n, 2), in degrees from the camera."""

    def __post_init__(self) -> None:
        n = len(self.time)
        self.au = np.zeros((n, len(UNITS)))
        self.other = np.zeros((n, len(self.head.names)))
        self.blink, self.intensity = np.zeros(n), np.zeros(n)
        self.emotion = np.full(n, EMOTIONS.index("neutral"))
        self.pose, self.gaze = np.zeros((n, 3)), np.zeros((n, 2))

    @property
    def end(self) -> float:
        """When the last frame is shown."""
        return float(self.time[-1])

    def show(self, unit: str, amount: np.ndarray) -> None:
        """Show a unit at least as strongly as `amount` (n,)."""
        column = UNITS.index(unit)
        self.au[:, column] = np.maximum(self.au[:, column], amount.clip(0, 1))


def express(
    performance: Performance, emotions: Sequence[str], rng: np.random.Generator
) -> Performance:
    """Add episodes of emotion, in this person's own way of showing each."""
    style = {name: _draw_style(name, rng) for name in EMOTIONS}
    vigour = rng.uniform(0.6, 1.2)
    start = rng.uniform(-1, 1.5)
    while start < performance.end:
        name = str(rng.choice(emotions))
        onset = rng.lognormal(np.log(0.45), 0.4)
        apex = rng.lognormal(np.log(1.2), 0.6)
        offset = onset * rng.lognormal(np.log(1.5), 0.3)
        if name != "neutral":
            peak = min(vigour * rng.uniform(0.3, 1.0), 1)
            course = (start, onset, apex, offset)
            _mark(performance, name, peak * rise_and_fall(performance.time, *course))
            _show_style(performance, style[name], peak, course, rng)
            if name == "happiness" and rng.random() < _LAUGHED:
                laugh(performance, peak, course, rng)
        start += onset + apex + offset + 0.3 + rng.exponential(1.2)
    return performance


def _draw_style(name: str, rng: np.random.Generator) -> dict[str, float]:
    """Units with which a person shows an emotion, and the share of its strength each gets."""
    if name == "neutral":
        return {}
    listed = {unit: share for unit, share in PROTOTYPES[name].items() if unit in SHAPES}
    style = {unit: rng.uniform(0.5, 1) for unit, share in listed.items() if rng.random() < share}
    if not style:
        style = {max(listed, key=listed.get): rng.uniform(0.5, 1)}
    strays = [unit for unit in SHAPES if unit not in listed]
    return style | {unit: rng.uniform(0.2, 0.6) for unit in strays if rng.random() < _STRAY}


def _mark(performance: Performance, name: str, whole: np.ndarray) -> None:
    """Note the emotion where it is displayed more strongly than another."""
    stronger = whole > performance.intensity
    performance.emotion[stronger & (whole > 0.05)] = EMOTIONS.index(name)
    performance.intensity = np.maximum(performance.intensity, whole)


def _show_style(
    performance: Performance,
    style: dict[str, float],
    peak: float,
    course: tuple[float, float, float, float],
    rng: np.random.Generator,
) -> None:
    start, onset, apex, offset = course
    for unit, share in style.items():
        if rng.random() < 0.1:
            continue
        own = (
            start + rng.normal(0, 0.06),
            onset * rng.lognormal(0, 0.2),
            max(apex + rng.normal(0, 0.1), 0),
            offset * rng.lognormal(0, 0.2),
        )
        strength = 1.0 if unit == "AU43" else peak * share * rng.uniform(0.8, 1.2)
        performance.show(unit, strength * rise_and_fall(performance.time, *own))


def laugh(
    performance: Performance,
    peak: float,
    course: tuple[float, float, float, float],
    rng: np.random.Generator,
) -> Performance:
    """Open the jaw, raise the cheeks and narrow the lids, along the `course` of a smile."""
    whole = peak * rise_and_fall(performance.time, *course)
    notes = 1 + rng.uniform(0, 0.3) * np.sin(2 * np.pi * (_NOTES * performance.time + rng.random()))
    performance.show("AU12", rng.uniform(0.6, 1) * whole)
    performance.show("AU26", rng.uniform(0.3, 1) * whole * notes)
    performance.show("AU06", rng.uniform(0.4, 1) * whole)
    performance.show("AU07", rng.uniform(0, 0.6) * whole)
    return performance


def rise_and_fall(
    time: np.ndarray, start: float, onset: float, apex: float, offset: float
) -> np.ndarray:
    """0 to 1 and back at `time`: rise over `onset`, hold for `apex`, fall over `offset`.

    Both slopes are those of least jerk (Flash and Hogan 1985).
    """
    rising = _least_jerk((time - start) / onset)
    return rising - _least_jerk((time - start - onset - apex) / offset)


def _least_jerk(share: np.ndarray) -> np.ndarray:
    share = share.clip(0, 1)
    return share**3 * (10 - 15 * share + 6 * share**2)


def fidget(performance: Performance, rng: np.random.Generator) -> Performance:
    """Add passing movements that mean no emotion."""
    for _ in range(rng.poisson(0.12 * (performance.end + 1))):
        course = (
            rng.uniform(-0.5, performance.end),
            rng.uniform(0.15, 0.5),
            rng.exponential(0.3),
            rng.uniform(0.2, 0.6),
        )
        name = str(rng.choice(_MANNERISMS + NUISANCE))
        strength = 1.0 if name == "AU43" else rng.uniform(0.1, 0.5)
        movement = strength * rise_and_fall(performance.time, *course)
        if name in UNITS:
            performance.show(name, movement)
        elif name != "mouthClose":  # which only follows an open jaw
            for side in performance.head.sides(name):
                performance.other[:, side] += movement
    return performance


def speak(performance: Performance, share: float, rng: np.random.Generator) -> Performance:
    """Add speech for a `share` of the time, in bouts of some seconds, and its nods.

    Syllables come 4 to 6 times a second, the rhythm of speech in every language measured
    (Chandrasekaran et al. 2009).
    """
    time, talking = performance.time, np.zeros(len(performance.time))
    start = -rng.exponential(2.5) if rng.random() < share else rng.exponential(2.5) * (1 - share)
    while share > 0 and start < performance.end:
        stop = start + rng.uniform(1, 4)
        talking = np.maximum(talking, rise_and_fall(time, start, 0.1, stop - start, 0.1))
        rate, openness = rng.uniform(4, 6), rng.uniform(0.2, 0.6)
        while start < stop:
            width = rng.uniform(0.8, 1.3) / rate
            course = rise_and_fall(time, start, 0.55 * width, 0, 0.55 * width)
            performance.show("AU26", rng.uniform(0.2, 1) * openness * course)
            for name, (chance, most) in _SYLLABLE.items():
                if rng.random() < chance:
                    amount = rng.uniform(0, most) * course
                    if name in UNITS:
                        performance.show(name, amount)
                    else:
                        for side in performance.head.sides(name):
                            performance.other[:, side] += amount
            start += width
        start += rng.exponential(3 * (1 - share) / share) + 0.2 * (1 - share)
    nod = _wander(time, rng, 0.5, 2.5, 1.0)
    performance.pose[:, 0] += 1.5 * nod * talking
    return performance


def blink(performance: Performance, rate: float, rng: np.random.Generator) -> Performance:
    """Add `rate` blinks a minute; a pair of lids closes faster than it opens."""
    if rate > 0:
        when = rng.uniform(-1, 60 / rate)
        while when < performance.end:
            slow = rng.lognormal(0, 0.2)
            course = rise_and_fall(
                performance.time, when, 0.1 * slow, rng.uniform(0.01, 0.06), 0.2 * slow
            )
            performance.blink = np.maximum(performance.blink, rng.uniform(0.85, 1) * course)
            when += 0.4 + rng.exponential(max(60 / rate - 0.4, 0.1))
    return performance


def move_head(performance: Performance, amount: float, rng: np.random.Generator) -> Performance:
    """Add slow turns of the head, and eyes that mostly stay on the camera."""
    time = performance.time
    for axis, (resting, moving) in enumerate(((4, 4), (6, 5), (3, 3))):
        course = rng.normal(0, resting) + moving * _wander(time, rng, 0.05, 0.6, 1.0)
        performance.pose[:, axis] += amount * course.clip(-25, 25)
    start = 0.0
    while start <= performance.end:
        away = rng.random() < 0.35
        target = rng.normal(0, (6, 12) if away else (1, 1.5)) * amount
        performance.gaze[time >= start] = target
        start += rng.lognormal(np.log(0.7), 0.6)
    return performance


def _wander(
    time: np.ndarray, rng: np.random.Generator, slowest: float, fastest: float, spread: float
) -> np.ndarray:
    """A smooth random course of standard deviation `spread`, between two frequencies in Hz."""
    frequency = np.exp(rng.uniform(np.log(slowest), np.log(fastest), 6))
    waves = np.sin(2 * np.pi * (np.outer(time, frequency) + rng.random(6)))
    return spread * waves @ rng.normal(size=6) / np.sqrt(3)
