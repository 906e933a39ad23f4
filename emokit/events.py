"""When an action unit or an emotion begins to show, peaks and goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import xarray as xr
from scipy.signal import find_peaks

from .arguments import check_max_gap, check_number
from .schema import build_dataset, extend_history, read_history, validate
from .smoothing import estimate_noise, number_runs

#: What rises as an event, the dim of its labels, and how far it must rise where the user
#: does not say.
_SOURCES = (("au", "action_unit", 0.2), ("emotion_probability", "emotion", 0.4))

#: Onset and offset are where the value crosses this share of the way from base to apex.
_FOOT = 0.1

#: A rise counts as an event from this many standard deviations of the jitter on: peaks and
#: troughs of noise lie three to four of them to either side.
_JITTER_FACTOR = 8

#: Micro-expressions last from 1/6 to 1/2 s (Yan et al. 2013). Four samples in the shortest
#: are the least in which an onset, an apex and an offset can be told apart; what is shorter
#: is a glitch.
_MICRO_SHORTEST, _MICRO_LONGEST, _MICRO_RATE = 1 / 6, 0.5, 24.0

#: Seconds between rows from which on nothing can be said of micro-expressions.
_COARSE = 1 / (_MICRO_RATE * 0.98)

#: Eyes that close for a moment blink; that is no micro-expression.
_BLINKS = ("AU43", "AU45")


def find_events(
    aus: xr.Dataset,
    *,
    threshold: float | None = None,
    labels: str | Sequence[str] | None = None,
    min_duration: float = 0.0,
    max_gap: float = 0.2,
    micro: bool | None = None,
) -> xr.Dataset:
    """Find when each action unit and each emotion shows: onset, apex, offset.

    Parameters
    ----------
    aus : xarray.Dataset
        With ``au (time, face, action_unit)``, ``emotion_probability (time, face,
        emotion)``, or both, at any and also uneven sampling. Smooth noisy readings first.
    threshold : float, optional
        How far a value must rise above what surrounds it (its prominence); by default 0.2
        for units and 0.4 for emotions. In any case eight times the jitter of the series,
        as its second differences show it.
    labels : str or sequence of str, optional
        Units and emotions to look at; by default all but neutral.
    min_duration : float
        Seconds; shorter events are left out.
    max_gap : float
        Seconds; an event never crosses a longer gap.
    micro : bool, optional
        Flag events of 1/6 to 1/2 s, blinks (AU43, AU45) excepted. By default where
        the sampling can carry it, NaN elsewhere; True asks for it or an error; False
        leaves the flag out. Lips that speak move as quickly: look at the clip.

    Returns
    -------
    xarray.Dataset
        Along ``event``, by onset: ``onset``, ``apex``, ``offset``, ``duration`` (s),
        ``amplitude`` (rise above the base before it), ``intensity`` (value at the apex),
        ``velocity`` (1/s, from onset to apex), ``complete`` (0 where a run of readings
        begins or ends within the event, so that its onset or offset was not seen),
        ``micro``, ``face``, ``label`` and ``kind`` ("action_unit" or "emotion").

    Raises
    ------
    TypeError, ValueError
        If `aus` holds neither, an option is unknown or out of range, or `micro` is asked
        of a sampling below 24 frames/s, or of values smoothed over 0.2 s or more.

    Warns
    -----
    UserWarning
        If rows usually lie further apart than `max_gap`, so that nothing can be found.

    Notes
    -----
    Events are peaks by prominence (:func:`scipy.signal.find_peaks`), so that two smiles
    with half a smile between them are two only if the valley is deep enough. Onset and
    offset lie where the value crosses a tenth of the way between base and apex. A level
    that never changes is no event.

    Examples
    --------
    >>> import numpy as np, emokit as ek
    >>> time = np.arange(0, 4, 0.04)
    >>> smile = 0.8 * np.exp(-(((time - 2) / 0.4) ** 2))
    >>> aus = ek.schema.build_dataset(
    ...     "face", {"au": smile.reshape(-1, 1, 1)},
    ...     {"time": time, "face": ["face_0"], "action_unit": ["AU12"]}, history="[]")
    >>> events = ek.find_events(aus)
    >>> events.label.item(), events.apex.item(), round(events.duration.item(), 2)
    ('AU12', 2.0, 1.28)
    """
    if threshold is not None:
        check_number("threshold", threshold, above=0, most=1)
    check_number("min_duration", min_duration, least=0, unit="seconds")
    validate(aus, group="face", argument="aus")
    check_max_gap(max_gap, aus["time"].values, "no event can be found; give a larger max_gap")
    too_coarse = _why_not_micro(aus) if micro is not False else None
    if micro and too_coarse:
        raise ValueError(f"micro-expressions cannot be told: {too_coarse}")

    rows = []
    for array, kind, least in _signals(aus, labels, threshold):
        label, track = str(array.coords[kind].item()), str(array["face"].item())
        values = array.values.astype(np.float64)
        for found in find_rises(aus["time"].values, values, least, max_gap):
            if found["duration"] >= min_duration:
                brief = _MICRO_SHORTEST <= found["duration"] < _MICRO_LONGEST
                brief = brief and found["complete"] and label not in _BLINKS
                flag = float("nan") if too_coarse or found["coarse"] else float(brief)
                del found["coarse"]
                rows.append({**found, "micro": flag, "face": track, "label": label, "kind": kind})
    rows.sort(key=lambda row: (row["onset"], row["face"], row["label"]))
    history = extend_history(
        "find_events", aus, parameters={"threshold": threshold, "max_gap": max_gap}
    )
    ds = collect_events(rows, history)
    if micro is False:
        return ds.drop_vars("micro")
    return ds.assign_attrs(micro_note=too_coarse or "")


def _signals(
    aus: xr.Dataset, labels: str | Sequence[str] | None, threshold: float | None
) -> Iterator[tuple[xr.DataArray, str, float]]:
    """Each series to look at, along time, with its kind and how far it must rise."""
    sources = [source for source in _SOURCES if source[0] in aus.data_vars]
    if not sources:
        raise ValueError("aus must hold au or emotion_probability; it has neither")
    known = {str(name) for _, kind, _ in sources for name in aus[kind].values}
    labels = [labels] if isinstance(labels, str) else labels
    strange = sorted(set(labels or ()) - known)
    if strange:
        raise ValueError(f"labels must be among those of aus; got {', '.join(strange)}")
    wanted = known - {"neutral"} if labels is None else set(labels)
    for name, kind, default in sources:
        least = default if threshold is None else threshold
        for label in [name for name in aus[kind].values if str(name) in wanted]:
            for face in aus["face"].values:
                yield aus[name].sel({kind: label, "face": face}), kind, least


def collect_events(rows: Sequence[dict], history: str, *, like: Sequence[str] = ()) -> xr.Dataset:
    """Dataset of events from one mapping an event; `like` names the variables of none."""
    texts = ("face", "label", "kind", "evidence")
    times = ("onset", "apex", "offset", "duration")
    names = list(rows[0]) if rows else list(like) or [
        *times, "amplitude", "intensity", "velocity", "complete", "face", "label", "kind", "micro",
    ]  # fmt: skip
    columns = {
        name: np.array([row[name] for row in rows], dtype=str if name in texts else np.float64)
        for name in names
    }
    if "complete" in columns:
        columns["complete"] = columns["complete"].astype(np.int8)
    return build_dataset("events", columns, {}, history=history)


def find_rises(
    time: np.ndarray, values: np.ndarray, least: float, max_gap: float
) -> Iterator[dict]:
    """Onset, apex, offset and size of each rise of one series by at least `least`."""
    jitter = estimate_noise(time, values[:, None], max_gap)[0]
    least = float(np.fmax(least, _JITTER_FACTOR * jitter))
    run = number_runs(time, values[:, None], max_gap)[:, 0]
    seen = np.flatnonzero(np.isfinite(values))
    for rows in np.split(seen, np.flatnonzero(np.diff(run[seen])) + 1):
        if len(rows) < 2:
            continue
        at, part = time[rows], values[rows]
        # What begins or ends outside the run rises from the lowest level within it.
        padded = np.r_[part.min(), part, part.min()]
        peaks = _merge_peaks(padded, find_peaks(padded, prominence=least)[0], least)
        valleys = [first + int(padded[first:second].argmin()) for first, second in pairwise(peaks)]
        bounds = [0, *valleys, len(padded) - 1]
        for peak, start, end in zip(peaks, bounds, bounds[1:], strict=False):
            base, floor = padded[start:peak].min(), padded[peak : end + 1].min()
            foot = base + _FOOT * (padded[peak] - base)
            ankle = floor + _FOOT * (padded[peak] - floor)
            before = start + np.flatnonzero(padded[start:peak] <= foot)[-1] - 1
            after = peak + np.flatnonzero(padded[peak : end + 1] <= ankle)[0] - 1
            complete = before >= 0 and after < len(part)
            apex, begins = peak - 1, before >= 0
            before, after = max(before, 0), min(after, len(part) - 1)
            took = at[apex] - at[before] if begins else 0
            yield {
                "onset": at[before],
                "apex": at[apex],
                "offset": at[after],
                "duration": at[after] - at[before],
                "amplitude": padded[peak] - base,
                "intensity": padded[peak],
                "velocity": (part[apex] - part[before]) / took if took > 0 else float("nan"),
                "complete": complete,
                "coarse": bool((np.diff(at[before : after + 1]) > _COARSE).any()),
            }


def _merge_peaks(values: np.ndarray, peaks: np.ndarray, least: float) -> list[int]:
    """Peaks with a valley as deep as `least` between any two.

    By prominence alone two equal heights are two peaks however shallow the valley: a value
    that keeps touching its upper bound would be many.
    """
    kept: list[int] = []
    for peak in peaks.tolist():
        if kept and values[kept[-1] : peak].min() > min(values[kept[-1]], values[peak]) - least:
            kept[-1] = max(kept[-1], peak, key=lambda row: (values[row], -row))
        else:
            kept.append(peak)
    return kept


def _why_not_micro(ds: xr.Dataset) -> str | None:
    """Why events of less than half a second cannot be told; None where they can."""
    time = ds["time"].values
    if len(time) < 2:
        return "there are not two rows"
    rate = 1 / np.median(np.diff(time))
    if rate < _MICRO_RATE * 0.98:  # cinema's 23.976 will do
        return f"{rate:.3g} rows a second are too few; {_MICRO_RATE:g} are needed"
    smoothed = [
        step.get("parameters", {}).get("window", 0)
        for step in read_history(ds)
        if step.get("step") == "smooth"
    ]
    if smoothed and max(smoothed) >= 0.2:
        return f"the values were smoothed over {max(smoothed):g} s, which takes brief events away"
    return None
