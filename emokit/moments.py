"""Moments of a clip that are worth a person's look, and why."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from scipy.spatial.distance import jensenshannon

from .alignment import align_time
from .arguments import check_number
from .events import collect_events, find_rises
from .schema import extend_history, validate
from .smoothing import number_runs, window_means

#: Gaps up to this many seconds do not end a moment.
_GAP = 0.5

#: Units that speech, blinks and a hanging jaw move all the time.
_BUSY = ("AU25", "AU26", "AU43", "AU45")

_COLUMNS = ("onset", "apex", "offset", "duration", "score", "face", "label", "kind", "evidence")

#: A score along the rows of one face, and what tells at a row what made it.
_Scored = tuple[np.ndarray, Callable[[int], str]]


def find_moments(
    result: xr.DataTree,
    *,
    kind: str | Sequence[str] | None = None,
    top: int = 20,
) -> xr.Dataset:
    """Find moments that are worth a person's look, each with the evidence that made it.

    Parameters
    ----------
    result : xarray.DataTree
        What :func:`analyze` returned; at least its group ``face``.
    kind : str or sequence of str, optional
        What to look for; by default everything for which `result` holds measurements:

        - "peak": the strongest expression around, by units other than those of speech and
          blinks, times the probability that the face is not neutral.
        - "frustration": anger, disgust or negative valence over 3 s, more so while it rises
          and while the voice is raised.
        - "confusion": lowered brows over 1 s, more so with tightened lids or a tilted head.
        - "attention": head or gaze away from where this face mostly looks, or eyes closed,
          over 1 s.
        - "disagreement": face and voice, or two models of the same face, that say
          different things over 1 s.
    top : int
        At most so many, the highest scores first.

    Returns
    -------
    xarray.Dataset
        Along ``event``, by falling score: ``onset``, ``apex``, ``offset`` (s), ``score``
        (0 to 1, comparable within a kind only), ``face``, ``label`` (the kind asked for),
        ``kind`` ("moment") and ``evidence``, the measurements at the apex in words.

    Raises
    ------
    TypeError, ValueError
        If `result` has no faces, or `kind` is unknown or lacks its measurements.

    Notes
    -----
    The scores are rules, not models: nothing is fitted, and no threshold was validated on
    people. Brows with lids as a sign of confusion are after Craig et al. (2008, Cognition
    and Emotion 22, 777). A moment is a question to the clip, never a finding on a person.

    Examples
    --------
    >>> import numpy as np, xarray as xr, emokit as ek
    >>> time = np.arange(0, 8, 0.04)
    >>> turned = np.where((time > 3) & (time < 6), 50.0, 0.0)
    >>> pose = np.stack([0 * time, turned, 0 * time], axis=1)[:, None]
    >>> face = ek.schema.build_dataset(
    ...     "face", {"head_pose": pose}, {"time": time, "face": ["face_0"]}, history="[]")
    >>> moment = ek.find_moments(xr.DataTree.from_dict({"/face": face}))
    >>> moment.label.item(), moment.evidence.item()
    ('attention', 'head 50° from its usual direction')
    """
    if not isinstance(result, xr.DataTree):
        raise TypeError(f"result must be a DataTree, as analyze returns; got {type(result)}")
    if "face" not in result.children:
        raise ValueError("result has no group 'face' in which to look for moments")
    check_number("top", top, least=1, whole=True)
    kinds = _read_kinds(kind)
    face = validate(result["face"].to_dataset(), group="face", argument="result['face']")
    time = face["time"].values
    voice = _voice_on(result, time)

    rows, possible = [], set()
    for track in face["face"].values:
        seen = face.sel(face=track)
        for name in kinds:
            scored = _KINDS[name](seen, voice)
            if scored is not None:
                possible.add(name)
                score, tell = scored
                for found in _stretches(name, time, score):
                    row = int(np.searchsorted(time, found["apex"]))
                    rows.append(
                        {**found, "face": str(track), "label": name, "kind": "moment",
                         "evidence": tell(row)}
                    )  # fmt: skip
    lacking = [] if kind is None or not face.sizes["face"] else sorted(set(kinds) - possible)
    if lacking:
        raise ValueError(f"result lacks the measurements for kind {', '.join(lacking)}")
    rows.sort(key=lambda row: (-row["score"], row["onset"]))
    history = extend_history("find_moments", face, parameters={"kind": list(kinds), "top": top})
    return collect_events(rows[:top], history, like=_COLUMNS)


def _read_kinds(kind: str | Sequence[str] | None) -> list[str]:
    kinds = list(_KINDS) if kind is None else [kind] if isinstance(kind, str) else list(kind)
    strange = sorted(set(kinds) - set(_KINDS))
    if strange or not kinds:
        raise ValueError(f"kind must be among {', '.join(_KINDS)}; got {kind!r}")
    return kinds


def _voice_on(result: xr.DataTree, time: np.ndarray) -> xr.Dataset | None:
    if "voice" not in result.children or "arousal" not in result["voice"] or not len(time):
        return None
    voice = result["voice"].to_dataset()
    names = [name for name in ("arousal", "speech") if name in voice]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a face sampled sparsely
        return align_time(voice[names], time, method="mean")


def _stretches(name: str, time: np.ndarray, score: np.ndarray) -> list[dict]:
    """Moments of one score: peaks by prominence, all else by staying above its threshold."""
    least, shortest = _LEAST[name]
    # Rows that are sparse throughout are no gaps.
    gap = max(_GAP, 1.5 * float(np.median(np.diff(time)))) if len(time) > 1 else _GAP
    if name == "peak":
        found = find_rises(time, score, least, gap)
        return [
            {k: rise[k] for k in ("onset", "apex", "offset", "duration")}
            | {"score": min(rise["intensity"], 1.0)}
            for rise in found
        ]
    above = np.where(score >= least, score, np.nan)
    run = number_runs(time, above[:, None], gap)[:, 0]
    rows = np.flatnonzero(np.isfinite(above))
    moments = []
    for part in np.split(rows, np.flatnonzero(np.diff(run[rows])) + 1):
        if len(part) and time[part[-1]] - time[part[0]] >= shortest:
            apex = part[above[part].argmax()]
            moments.append(
                {
                    "onset": time[part[0]],
                    "apex": time[apex],
                    "offset": time[part[-1]],
                    "duration": time[part[-1]] - time[part[0]],
                    "score": float(min(above[apex], 1.0)),
                }
            )
    return moments


def _score_peak(face: xr.Dataset, voice: xr.Dataset | None) -> _Scored | None:
    if "au" not in face:
        return None
    units = face["au"].drop_sel(action_unit=list(_BUSY), errors="ignore")
    if not units.sizes["action_unit"]:
        return None
    strongest = _without_warning(np.nanmax, units.values)
    shown = 1.0
    if "emotion_probability" in face and "neutral" in face["emotion"]:
        shown = 1 - face["emotion_probability"].sel(emotion="neutral").values
    score = window_means(face["time"].values, strongest * shown, 0.5)

    def tell(row: int) -> str:
        at = units.isel(time=row).to_series().dropna().nlargest(3)
        words = ", ".join(f"{unit} {value:.2f}" for unit, value in at.items() if value > 0.1)
        if "emotion_probability" in face:
            said = face["emotion_probability"].isel(time=row).to_series().dropna()
            if len(said):
                words = f"{said.idxmax()} {said.max():.2f}; {words}"
        return words

    return score, tell


def _score_frustration(face: xr.Dataset, voice: xr.Dataset | None) -> _Scored | None:
    if "valence" not in face:
        return None
    time = face["time"].values
    negative = (-face["valence"].values).clip(0, 1)
    if "emotion_probability" in face:
        names = [name for name in ("anger", "disgust") if name in face["emotion"]]
        said = face["emotion_probability"].sel(emotion=names).sum("emotion", skipna=False).values
        negative = np.maximum(negative, said)
    lasting = window_means(time, negative, 3.0)
    rise = _rise(time, lasting, 3.0)
    loud = np.zeros(len(time))
    if voice is not None:
        raised = window_means(time, voice["arousal"].values, 3.0)
        loud = np.nan_to_num(raised).clip(0, 1)
    score = lasting * (0.5 + 0.25 * (2 * rise).clip(0, 1) + 0.25 * loud)

    def tell(row: int) -> str:
        words = f"anger, disgust or negative valence {lasting[row]:.2f} over 3 s"
        if rise[row] >= 0.1:
            words += f", up by {rise[row]:.2f}"
        return words + (f"; vocal arousal {loud[row]:+.2f}" if loud[row] else "")

    return score, tell


def _score_confusion(face: xr.Dataset, voice: xr.Dataset | None) -> _Scored | None:
    if "au" not in face or "AU04" not in face["action_unit"]:
        return None
    time, brows = face["time"].values, face["au"].sel(action_unit="AU04").values
    has_lids = "AU07" in face["action_unit"]
    lids = face["au"].sel(action_unit="AU07").values if has_lids else np.zeros(len(time))
    tilt = np.zeros(len(time))
    if "head_pose" in face:
        roll = face["head_pose"].sel(angle="roll").values
        tilt = np.abs(roll - _without_warning(np.nanmedian, roll, axis=0))
    helped = np.fmax(lids, (tilt / 20).clip(0, 1))
    score = window_means(time, brows * (0.5 + 0.5 * np.nan_to_num(helped)), 1.0)

    def tell(row: int) -> str:
        return f"AU04 {brows[row]:.2f}, AU07 {lids[row]:.2f}, head tilted by {tilt[row]:.0f}°"

    return score, tell


def _score_attention(face: xr.Dataset, voice: xr.Dataset | None) -> _Scored | None:
    time = face["time"].values
    signs: dict[str, np.ndarray] = {}
    for name, word in (("head_pose", "head"), ("gaze", "gaze")):
        if name in face:
            angles = face[name].sel(angle=["pitch", "yaw"]).values
            usual = _without_warning(np.nanmedian, angles, axis=0)
            signs[word] = np.hypot(*(angles - usual).T)
    closed = None
    if "au" in face and "AU43" in face["action_unit"]:
        closed = face["au"].sel(action_unit="AU43").values
    if not signs and closed is None:
        return None
    away = [((angle - 15) / 30).clip(0, 1) for angle in signs.values()]
    every = np.stack([*away, *([] if closed is None else [closed])], axis=-1)
    score = window_means(time, _without_warning(np.nanmax, every), 1.0)

    def tell(row: int) -> str:
        words = [
            f"{word} {angle[row]:.0f}° from its usual direction"
            for word, angle in signs.items()
            if angle[row] > 15
        ]
        if closed is not None and closed[row] > 0.5:
            words.append(f"eyes closed (AU43 {closed[row]:.2f})")
        return "; ".join(words)

    return score, tell


def _score_disagreement(face: xr.Dataset, voice: xr.Dataset | None) -> _Scored | None:
    time = face["time"].values
    signs: dict[str, np.ndarray] = {}
    readings = [name for name in face.data_vars if str(name).endswith("_probability")]
    readings = [str(n) for n in readings if face[n].dims == ("time", "emotion")]
    if len(readings) >= 2:
        one, two = (face[name].values.astype(np.float64) for name in readings[:2])
        signs["models"] = jensenshannon(one, two, base=2, axis=1)
    if voice is not None and "arousal" in face:
        apart = np.abs(face["arousal"].values - voice["arousal"].values) / 2
        signs["arousal"] = (
            np.where(voice["speech"].values > 0.5, apart, np.nan) if "speech" in voice else apart
        )
    if not signs:
        return None
    means = {name: window_means(time, values, 1.0) for name, values in signs.items()}
    score = _without_warning(np.nanmax, np.stack(list(means.values()), axis=-1))

    def tell(row: int) -> str:
        words = []
        if "models" in means and means["models"][row] >= _LEAST["disagreement"][0]:
            said = [face[name].isel(time=row) for name in readings[:2]]
            words.append(
                " against ".join(
                    f"{name.removesuffix('_probability')}: {p.idxmax().item()} {p.max().item():.2f}"
                    for name, p in zip(readings, said, strict=False)
                )
            )
        if "arousal" in means and means["arousal"][row] >= _LEAST["disagreement"][0]:
            words.append(
                f"arousal {face['arousal'].values[row]:+.2f} in the face, "
                f"{voice['arousal'].values[row]:+.2f} in the voice"
            )
        return "; ".join(words)

    return score, tell


_KINDS: dict[str, Callable[[xr.Dataset, xr.Dataset | None], _Scored | None]] = {
    "peak": _score_peak,
    "frustration": _score_frustration,
    "confusion": _score_confusion,
    "attention": _score_attention,
    "disagreement": _score_disagreement,
}

#: Least score of a moment of each kind, and least seconds that it stays above.
_LEAST = {
    "peak": (0.2, 0.0),
    "frustration": (0.25, 1.0),
    "confusion": (0.2, 0.5),
    "attention": (0.5, 0.5),
    "disagreement": (0.4, 0.5),
}


def _rise(time: np.ndarray, values: np.ndarray, span: float) -> np.ndarray:
    """How far each value lies above that of `span` seconds before; 0 where that is unknown."""
    earlier = np.searchsorted(time, time - span, side="right") - 1
    return np.nan_to_num(np.where(earlier >= 0, values - values[earlier], 0))


def _without_warning(function: Callable, values: np.ndarray, axis: int = -1) -> np.ndarray:
    """NumPy warns of rows that are all NaN; here those are a face that is not there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return function(values, axis=axis)
