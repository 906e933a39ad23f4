"""The voice: pitch, level, spectrum and speech, and vocal arousal from them."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import librosa
import numpy as np
import scipy.stats
import xarray as xr
from tqdm.auto import tqdm

from emokit.arguments import check_number
from emokit.clip import Clip
from emokit.schema import build_dataset, extend_history, validate

_RATE = 16_000
_FFT = 512  # 32 ms: short enough for speech, and its 31 Hz bins tell 80 from 500 Hz
_VAD_CHUNK = 512  # the only size that silero-vad takes at 16 kHz
_FLOOR = 1e-10  # -100 dB: what digital silence is given in place of -inf
_PITCH_RESOLUTION = 0.2  # semitones
_PITCH_JUMPS = 35.92  # octaves a second, librosa's default
_N_MFCC = 13

#: The pitch tracker holds some 120 MB a minute, so long audio goes through it in
#: pieces; what a piece sees beyond its own frames lets its path settle.
_PIECE = 60.0
_MARGIN = 1.0

#: Share of a window that must be voiced speech before arousal is estimated.
_MIN_VOICED = 0.1


def extract_prosody(
    clip: Clip | xr.DataArray,
    *,
    hop: float = 0.01,
    f0_range: tuple[float, float] = (65, 600),
    progress: bool = True,
) -> xr.Dataset:
    """Pitch, voicing, speech, level and spectral shape of the sound.

    Parameters
    ----------
    clip : Clip or xarray.DataArray
        A clip with sound, or one channel of it as ``clip.audio()`` returns: float
        samples in [-1, 1] along ``time``, evenly spaced, in seconds.
    hop : float
        Seconds from one row to the next, rounded to whole samples at 16 kHz.
    f0_range : tuple of float
        Lowest and highest pitch looked for, in Hz.
    progress : bool
        Whether to show progress.

    Returns
    -------
    xarray.Dataset
        Along ``time``, the sound's own (its start offset is kept):

        - ``f0``: fundamental frequency in Hz, in steps of 0.2 semitones; NaN where the
          sound is not voiced. This is the voicing *decision*.
        - ``voiced``: pYIN's probability of voicing, 0 to 1. It is low for real voices
          (often below 0.3 in frames that the tracker rightly decides are voiced).
        - ``speech``: probability of speech, 0 to 1, of the 32 ms chunk around each row.
        - ``intensity``: root mean square level over 32 ms, in dB re full scale; -100 is
          the floor, and digital silence is given it.
        - ``high_frequency_ratio``: energy above 500 Hz over energy from 80 to 500 Hz, in
          dB; NaN in digital silence.
        - ``mfcc (time, coefficient)``: 13 mel-frequency cepstral coefficients.

        Long sound is measured a minute at a time, so little is held beside its samples.

    Raises
    ------
    ClipError
        If the clip has no sound.
    TypeError, ValueError
        If the sound is not evenly sampled float samples along ``time``, or `hop` or
        `f0_range` cannot be used.

    Notes
    -----
    Pitch is pYIN (Mauch & Dixon 2014, ICASSP) as in librosa; speech is silero-vad with
    the model its package carries; the ratio is the HF500 of Bone, Lee and Narayanan
    (2014). What the sound shows is a voice's behaviour, not what the speaker feels.

    Examples
    --------
    A tone of 200 Hz with six overtones:

    >>> import numpy as np, xarray as xr, emokit as ek
    >>> time = np.arange(16000) / 16000
    >>> tone = sum(np.sin(2 * np.pi * 200 * k * time) / k for k in range(1, 8)) / 10
    >>> sound = xr.DataArray(tone, coords={"time": time}, dims="time")
    >>> voice = ek.extract_prosody(sound, progress=False)
    >>> print(f"{voice.f0.median():.0f} Hz, {voice.intensity.median():.1f} dB")
    199 Hz, -21.2 dB
    """
    low, high = _check_options(hop, f0_range)
    sound, source = _read_sound(clip)
    samples, start = _to_rate(sound)
    step = round(hop * _RATE)
    n_rows = 1 + (len(samples) - 1) // step
    centres = np.arange(n_rows) * step

    acoustic = [
        _measure(samples, rows, step, low, high)
        for rows in _pieces(n_rows, step, progress=progress)
    ]
    variables = {name: np.concatenate([part[name] for part in acoustic]) for name in acoustic[0]}
    probability, vad = _detect_speech(samples, progress=progress)
    variables["speech"] = probability[centres // _VAD_CHUNK]

    history = extend_history(
        "extract_prosody",
        source=source,
        model=vad,
        method={"pitch": "pYIN", "librosa": metadata.version("librosa")},
        parameters={"hop": step / _RATE, "f0_range": [low, high]},
    )
    return build_dataset(
        "voice",
        variables,
        {"time": start + centres / _RATE, "coefficient": np.arange(_N_MFCC)},
        history=history,
    )


def estimate_vocal_affect(
    voice: xr.Dataset,
    *,
    baseline: xr.Dataset | tuple[float, float] | None = None,
    window: float = 2.0,
) -> xr.Dataset:
    """Vocal arousal against the speaker's own range, with nothing trained.

    Around each row, the medians of log pitch, level and high-frequency ratio over a
    window are each scored by where they fall in the speaker's baseline:
    ``2 * P(baseline < value) - 1``. The arousal is the mean of the three scores, each
    weighted by its rank correlation with their plain mean, so that a feature that goes
    against the others counts little; one that correlates negatively counts nothing.

    Parameters
    ----------
    voice : xarray.Dataset
        From :func:`extract_prosody`: `f0`, `speech`, `intensity`, `high_frequency_ratio`.
    baseline : xarray.Dataset or tuple of float, optional
        What counts as this speaker's usual voice: another recording of the same person
        under the same conditions, or start and end in seconds of a stretch of `voice`.
        By default the whole of `voice`.
    window : float
        Seconds over which the medians are taken, centred on each row.

    Returns
    -------
    xarray.Dataset
        ``arousal (time)``, -1 to 1, on the time of `voice`; NaN where less than a tenth
        of the window is voiced speech. 0 is the middle of the baseline: **the figures
        are relative to one speaker's own range**, do not compare speakers, and say
        nothing of how aroused the baseline itself was. Several voices in one recording
        are scored as if they were one.

    Raises
    ------
    TypeError, ValueError
        If `voice` or `baseline` lacks a variable, the baseline holds too little voiced
        speech, or `window` is not positive.

    Notes
    -----
    After Bone, Lee and Narayanan (2014), Robust unsupervised arousal rating, IEEE
    Transactions on Affective Computing 5(2), 201-213. They score whole utterances
    against neutral utterances; here the baseline is the distribution of single rows of
    voiced speech, so a voice in which nothing changes stays near 0.

    Examples
    --------
    A voice that rises in pitch and level half way:

    >>> import numpy as np, emokit as ek
    >>> time = np.arange(0, 20, 0.01)
    >>> rise = (time > 10) + np.random.default_rng(0).normal(0, 0.2, time.size)
    >>> voice = ek.schema.build_dataset(
    ...     "voice",
    ...     {"f0": 200 + 60 * rise, "speech": np.ones(time.size),
    ...      "intensity": 10 * rise - 40, "high_frequency_ratio": 3 * rise},
    ...     {"time": time}, history="[]")
    >>> arousal = ek.estimate_vocal_affect(voice).arousal
    >>> float(arousal.sel(time=5, method="nearest").round(1))
    -0.5
    >>> float(arousal.sel(time=15, method="nearest").round(1))
    0.5
    """
    features = ("f0", "intensity", "high_frequency_ratio")
    validate(voice, group="voice", requires=(*features, "speech"), argument="voice")
    check_number("window", window, above=0, unit="seconds")
    time = voice["time"].values
    when, values = _voiced_rows(voice, features)
    reference, previous, described = _read_baseline(baseline, voice, features)

    first = np.searchsorted(when, time - window / 2, side="left")
    last = np.searchsorted(when, time + window / 2, side="right")
    hop = np.median(np.diff(time)) if time.size > 1 else window
    enough = last - first >= max(_MIN_VOICED * window / hop, 1)
    arousal = np.full(time.shape, np.nan)
    weights = np.full(len(features), np.nan)
    if enough.any() and reference.size:
        scores = np.stack(
            [
                _score(_window_medians(column, first[enough], last[enough]), known)
                for column, known in zip(values.T, reference.T, strict=True)
            ]
        )
        weights = _agreement(scores)
        arousal[enough] = weights @ scores

    history = extend_history(
        "estimate_vocal_affect",
        voice,
        *previous,
        method="Bone, Lee & Narayanan 2014",
        parameters={"window": window, "baseline": described},
        weights={n: float(w) for n, w in zip(features, weights, strict=True) if np.isfinite(w)},
    )
    return build_dataset("voice", {"arousal": arousal}, {"time": time}, history=history)


def _check_options(hop: float, f0_range: tuple[float, float]) -> tuple[float, float]:
    check_number("hop", hop, least=0.001, most=1, unit="seconds")
    try:
        low, high = (float(value) for value in f0_range)
    except (TypeError, ValueError) as error:
        raise ValueError(f"f0_range must be two frequencies in Hz; got {f0_range!r}") from error
    if not 20 <= low < high <= _RATE / 4:
        raise ValueError(
            f"f0_range must be two frequencies, the lower first, within 20 to {_RATE // 4} Hz; "
            f"got {f0_range!r}"
        )
    return low, high


def _read_sound(clip: Clip | xr.DataArray) -> tuple[xr.DataArray, dict[str, str]]:
    if isinstance(clip, Clip):
        return clip.audio(rate=_RATE), clip.provenance
    if not isinstance(clip, xr.DataArray):
        raise TypeError(
            "clip must be a Clip or an xarray DataArray of sound, as clip.audio() returns; "
            f"got {type(clip).__name__}"
        )
    if clip.dims != ("time",) or "time" not in clip.coords or clip.sizes["time"] < 2:
        raise ValueError(
            "clip must hold at least two samples along 'time' alone, with the times in seconds; "
            f"got dims {clip.dims} of shape {clip.shape}"
        )
    if not np.issubdtype(clip.dtype, np.floating):
        raise TypeError(f"clip must hold float samples in [-1, 1]; it holds {clip.dtype}")
    if not np.isfinite(clip.values).all():
        raise ValueError("clip must hold finite samples; silence is 0")
    return clip, {"name": "sound in memory", "sha256": ""}


def _to_rate(sound: xr.DataArray) -> tuple[np.ndarray, float]:
    """Samples at 16 kHz, and the time of the first."""
    samples = np.ascontiguousarray(sound.values, dtype=np.float32)
    time = sound["time"].values
    start, span = float(time[0]), float(time[-1] - time[0])
    if len(time) == 1:  # a clip's sound, which is at 16 kHz already
        return samples, start
    period = span / (len(time) - 1)
    # A sparse look is enough to find a gap, and spares an hour's worth of differences.
    some = np.linspace(0, len(time) - 1, 1000).astype(int)
    if not period > 0 or np.abs(time[some] - start - some * period).max() > period:
        raise ValueError("clip must be evenly spaced along 'time', in seconds")
    rate = 1 / period
    if abs(rate - _RATE) / _RATE > 1e-4:
        samples = librosa.resample(samples, orig_sr=rate, target_sr=_RATE)
    return samples, start


def _pieces(n_rows: int, step: int, *, progress: bool) -> Iterator[range]:
    """Ranges of rows to measure at a time."""
    size = max(round(_PIECE * _RATE / step), 1)
    seconds = round(n_rows * step / _RATE, 1)
    with tqdm(total=seconds, desc="voice", unit="s", disable=not progress) as bar:
        for first in range(0, n_rows, size):
            rows = range(first, min(first + size, n_rows))
            yield rows
            bar.update(round(len(rows) * step / _RATE, 1))


def _measure(
    samples: np.ndarray, rows: range, step: int, low: float, high: float
) -> dict[str, np.ndarray]:
    """Acoustic variables of some rows, each measured around sample ``row * step``."""
    margin = round(_MARGIN * _RATE / step)
    first = max(rows.start - margin, 0)
    stop = rows.stop + margin
    piece = samples[first * step : stop * step]
    own = slice(rows.start - first, rows.stop - first)

    padded = np.pad(piece, _FFT // 2)
    window = librosa.filters.get_window("hann", _FFT).astype(np.float32)
    power_weights = window**2
    frames = librosa.util.frame(padded, frame_length=_FFT, hop_length=step)[:, own]
    inside = np.pad(np.ones(len(piece), np.float32), _FFT // 2)
    # Near the ends part of the window lies outside the sound: only what lies inside counts.
    covered = power_weights @ librosa.util.frame(inside, frame_length=_FFT, hop_length=step)[:, own]
    mean_square = (power_weights @ frames**2 / covered).astype(np.float64)
    silent = mean_square <= _FLOOR

    spectrum = np.abs(np.fft.rfft(frames * window[:, None], axis=0)) ** 2
    frequency = np.fft.rfftfreq(_FFT, 1 / _RATE)
    lower = spectrum[(frequency >= 80) & (frequency < 500)].sum(axis=0)
    upper = spectrum[frequency >= 500].sum(axis=0)
    ratio = 10 * np.log10(np.maximum(upper, _FLOOR) / np.maximum(lower, _FLOOR))
    mel = librosa.filters.mel(sr=_RATE, n_fft=_FFT, n_mels=40) @ spectrum
    # No top_db: a floor that follows the loudest row would differ from piece to piece.
    mfcc = librosa.feature.mfcc(S=librosa.power_to_db(mel, top_db=None), n_mfcc=_N_MFCC)

    # librosa refuses steps in pitch from row to row that are wider than the range itself.
    widest = np.floor(12 * np.log2(high / low)) / 12 * _RATE / step
    f0, _, voiced = librosa.pyin(
        piece,
        fmin=low,
        fmax=high,
        sr=_RATE,
        frame_length=max(1024, 2 * int(np.ceil(2 * _RATE / low))),  # four of the longest periods
        hop_length=step,
        resolution=_PITCH_RESOLUTION,
        max_transition_rate=min(_PITCH_JUMPS, widest),
    )
    unpitched = silent | (len(samples) < 2 * _RATE / low)  # one period tells nothing
    return {
        "f0": np.where(unpitched, np.nan, f0[own]),
        "voiced": np.where(unpitched, 0, voiced[own]),
        "intensity": 10 * np.log10(np.maximum(mean_square, _FLOOR)),
        "high_frequency_ratio": np.where(silent, np.nan, ratio),
        "mfcc": mfcc.T,
    }


def _detect_speech(samples: np.ndarray, *, progress: bool) -> tuple[np.ndarray, dict[str, str]]:
    """Probability of speech of every 512 samples, and what detected it."""
    import torch  # slow to import, and arousal needs none of it

    threads = torch.get_num_threads()
    import silero_vad  # sets torch to one thread as it is imported

    try:
        torch.set_num_threads(1)  # a network this small is slower on several
        with warnings.catch_warnings():
            # How the package reads its own file is not the user's to change.
            warnings.simplefilter("ignore")
            model = silero_vad.load_silero_vad()
        firsts = range(0, len(samples), _VAD_CHUNK)
        probability = np.empty(len(firsts))
        model.reset_states()
        with torch.inference_mode():
            bar = tqdm(firsts, desc="speech", unit="chunk", disable=not progress)
            for number, first in enumerate(bar):
                chunk = samples[first : first + _VAD_CHUNK]
                chunk = np.pad(chunk, (0, _VAD_CHUNK - len(chunk)))
                probability[number] = model(torch.from_numpy(chunk), _RATE).item()
    finally:
        torch.set_num_threads(threads)
    file = Path(silero_vad.__file__).parent / "data" / "silero_vad.jit"
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    version = metadata.version("silero-vad")
    return probability, {"name": "silero-vad", "version": version, "sha256": digest}


def _voiced_rows(voice: xr.Dataset, features: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Times and features of the rows that are voiced speech."""
    values = np.stack([voice[name].values.astype(np.float64) for name in features], axis=1)
    values[:, 0] = np.log2(values[:, 0], where=values[:, 0] > 0, out=np.full(len(values), np.nan))
    usable = (voice["speech"].values > 0.5) & np.isfinite(values).all(axis=1)
    return voice["time"].values[usable], values[usable]


def _read_baseline(
    baseline: xr.Dataset | tuple[float, float] | None, voice: xr.Dataset, features: tuple[str, ...]
) -> tuple[np.ndarray, list[xr.Dataset], object]:
    """Feature values of the baseline, Datasets it came from, and its description."""
    if baseline is None:
        return _voiced_rows(voice, features)[1], [], "whole recording"
    if isinstance(baseline, xr.Dataset):
        validate(baseline, group="voice", requires=(*features, "speech"), argument="baseline")
        part, previous, described = baseline, [baseline], "another recording"
    else:
        try:
            start, end = (float(value) for value in baseline)
        except (TypeError, ValueError) as error:
            raise TypeError(
                "baseline must be a voice Dataset or (start, end) in seconds; "
                f"got {type(baseline).__name__} {baseline!r}"
            ) from error
        if not start < end:
            raise ValueError(f"baseline must be (start, end), start first; got {baseline!r}")
        part, previous, described = voice.sel(time=slice(start, end)), [], [start, end]
    when, values = _voiced_rows(part, features)
    if len(when) < 20:
        raise ValueError(
            f"baseline must hold at least 20 rows of voiced speech; it holds {len(when)}"
        )
    return values, previous, described


def _window_medians(values: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Median of ``values[first:last]`` of each pair; no pair may be empty."""
    medians = np.empty(len(first))
    width = int((last - first).max())
    block = max(2_000_000 // width, 1)  # rows at a time, to keep memory flat
    for begin in range(0, len(first), block):
        rows = slice(begin, begin + block)
        index = first[rows, None] + np.arange(width)
        beyond = index >= last[rows, None]
        ordered = np.sort(np.where(beyond, np.inf, values[index.clip(max=len(values) - 1)]), axis=1)
        count = last[rows] - first[rows]
        middle = np.stack([(count - 1) // 2, count // 2], axis=1)
        medians[rows] = np.take_along_axis(ordered, middle, axis=1).mean(axis=1)
    return medians


def _score(values: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """``2 * P(baseline < value) - 1``; ties count half, so a constant voice scores 0."""
    known = np.sort(baseline)
    below = np.searchsorted(known, values, side="left")
    not_above = np.searchsorted(known, values, side="right")
    return (below + not_above) / len(known) - 1


def _agreement(scores: np.ndarray) -> np.ndarray:
    """Weight of each feature: its rank correlation with the mean of all, as shares of 1."""
    mean = scores.mean(axis=0)
    varies = np.array([np.ptp(score) > 0 and np.ptp(mean) > 0 for score in scores])
    weights = np.zeros(len(scores))
    for number in np.flatnonzero(varies):
        weights[number] = max(scipy.stats.spearmanr(scores[number], mean).statistic, 0)
    total = weights.sum()
    return weights / total if total > 0 else np.full(len(scores), 1 / len(scores))
