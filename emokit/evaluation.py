"""How good estimates are: metrics with intervals, folds by person, and events."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pandas as pd
import xarray as xr
from scipy.optimize import linear_sum_assignment
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from . import metrics
from .arguments import check_number
from .calibration import bin_confidence

#: Metrics of each kind of estimate.
_OF_LABELS = ("accuracy", "unweighted_recall", "macro_f1")
_OF_PROBABILITY = (*_OF_LABELS, "auc", "calibration_error")
_OF_NUMBERS = ("concordance", "pearson", "icc", "mean_absolute_error")

#: Fewer people than this hardly differ from draw to draw.
_FEW = 5


def score(
    truth: np.ndarray,
    estimate: np.ndarray,
    *,
    subjects: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> xr.Dataset:
    """Score estimates by every metric that fits them, with intervals.

    Parameters
    ----------
    truth : array_like or xarray.DataArray, shape (row,)
        Labels, True and False among them, or numbers.
    estimate : array_like or xarray.DataArray, shape (row,) or (row, class)
        Labels; probabilities of the classes; where `truth` is True and False, the
        probability of True; or, where `truth` is numbers, numbers. Missing rows are left
        out.
    subjects : sequence of str, shape (row,), optional
        Who is in each row. Rows of one person are not independent, so intervals draw
        people, not rows. Without, each row counts as a person of its own.
    labels : sequence, optional
        The classes of a probability (row, class), as `truth` writes them; a DataArray's own
        coordinate by default.
    n_resamples : int
        Of the bootstrap.
    seed : int
        Of the bootstrap.

    Returns
    -------
    xarray.Dataset
        ``value``, ``low`` and ``high (metric)``, the 95 % interval, NaN with one person
        only; ``accuracy`` (which is
        the weighted average recall), ``unweighted_recall``, ``macro_f1``, and of
        probabilities ``auc`` and ``calibration_error``; of numbers ``concordance``,
        ``pearson``, ``icc`` (ICC(2,1)) and ``mean_absolute_error``.

    Raises
    ------
    ValueError
        If the shapes, or the coordinates of two DataArrays, do not fit, if numbers stand
        against labels, or if `subjects` leaves a row without a name.

    Warns
    -----
    UserWarning
        With fewer than five people, of whom no interval says much.

    Examples
    --------
    >>> import emokit as ek
    >>> truth = ["joy", "fear", "joy", "fear", "joy", "fear", "joy", "fear"]
    >>> found = ek.score(truth, ["joy", "joy", "joy", "fear"] * 2)
    >>> found["value"].sel(metric="accuracy").item()
    0.75
    """
    who = read_subjects(subjects, len(truth), default=np.arange(len(truth)))
    names, kept, measure, arrays = read_pair(truth, estimate, labels)
    who = who[kept]
    _warn_of_few(who)
    low, high = interval(draw(measure, arrays, who, n_resamples=n_resamples, seed=seed))
    return xr.Dataset(
        {
            "value": ("metric", measure(*arrays)),
            "low": ("metric", low),
            "high": ("metric", high),
        },
        coords={"metric": list(names)},
        attrs={
            "interval": "95 %, percentiles of a bootstrap that draws people",
            "n_rows": int(kept.sum()),
            "n_subjects": len(np.unique(who)),
        },
    )


def bootstrap(
    function: Callable[..., float],
    *arrays: np.ndarray,
    subjects: Sequence[str] | None = None,
    level: float = 0.95,
    n_resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of any figure, by drawing people with replacement.

    Parameters
    ----------
    function : callable
        Takes as many arrays as are given, and returns one number.
    *arrays : array_like
        With rows along the first axis.
    subjects : sequence of str, shape (row,), optional
        Who is in each row; all rows of a person are drawn together. Without, rows are.
    level : float
        Share of the interval.
    n_resamples, seed : int
        How many draws, and the seed that makes them the same again.

    Returns
    -------
    low, high : float
        Percentiles of the draws; draws in which the figure is NaN are left out. NaN with
        one person only, whom every draw would repeat.

    Warns
    -----
    UserWarning
        With fewer than five people.

    Notes
    -----
    The cluster bootstrap (Davison and Hinkley 1997, section 3.8). With fewer than some 20
    people its intervals are too narrow.

    Examples
    --------
    >>> import numpy as np
    >>> from emokit import evaluation
    >>> low, high = evaluation.bootstrap(np.mean, np.arange(100))
    >>> bool(low < 49.5 < high)
    True
    """
    check_number("level", level, above=0, below=1)
    rows = {len(array) for array in arrays}
    if len(rows) != 1:
        raise ValueError("arrays must have the same number of rows, and there must be one")
    who = read_subjects(subjects, rows.pop(), default=np.arange(len(arrays[0])))
    _warn_of_few(who)
    arrays = tuple(np.asarray(array) for array in arrays)
    draws = draw(function, arrays, who, n_resamples=n_resamples, seed=seed)
    low, high = interval(draws, level)
    return float(low[0]), float(high[0])


def split_subjects(
    subjects: Sequence[str],
    *,
    labels: Sequence[str] | None = None,
    n_folds: int = 5,
    seed: int = 0,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Split rows into folds so that nobody is in training and test at once.

    Parameters
    ----------
    subjects : sequence of str, shape (row,)
        Who is in each row.
    labels : sequence of str, shape (row,), optional
        Kept as even over the folds as the people allow; not at all where every label has
        fewer rows than there are folds.
    n_folds : int
        At most as many as there are people.
    seed : int
        Who goes where.

    Returns
    -------
    list of (train, test)
        Row numbers; each row is in one test.

    Raises
    ------
    ValueError
        If there are fewer people than folds, or a row has no subject (NaN, None or "").

    Examples
    --------
    >>> import emokit as ek
    >>> folds = ek.split_subjects(["ann", "ann", "bob", "cy"], n_folds=3)
    >>> sorted(tuple(test.tolist()) for _, test in folds)
    [(0, 1), (2,), (3,)]
    """
    who = read_subjects(subjects, len(subjects))
    people = len(np.unique(who))
    if not 2 <= n_folds <= people:
        raise ValueError(f"n_folds must be from 2 to the number of people, {people}; got {n_folds}")
    by_person = GroupKFold(n_folds, shuffle=True, random_state=seed).split(who, groups=who)
    if labels is None:
        return list(by_person)
    labels = read_rows(labels, len(who), "labels").astype(str)
    if np.unique(labels, return_counts=True)[1].max() < n_folds:  # StratifiedGroupKFold refuses
        return list(by_person)
    with warnings.catch_warnings():
        # Rare classes cannot be even over folds of people; that is not news to the user.
        warnings.simplefilter("ignore", UserWarning)
        even = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
        folds = list(even.split(who, labels, groups=who))
    # It may leave a fold empty, where people are few.
    return folds if all(len(test) for _, test in folds) else list(by_person)


def match_events(
    truth: xr.Dataset, found: xr.Dataset, *, min_overlap: float = 0.5, by: Sequence[str] = ()
) -> xr.Dataset:
    """Score found events against true ones by how far they overlap.

    Parameters
    ----------
    truth, found : xarray.Dataset
        Along ``event``, with ``onset`` and ``offset`` in seconds, as
        :func:`find_events` returns. Events without both (NaN) are left out.
    min_overlap : float
        A found event hits a true one where their intersection over their union is at
        least this. Each hits one at most; pairs are chosen so that overlap is greatest.
    by : sequence of str
        Variables that must be equal too, such as ``["label", "face"]``.

    Returns
    -------
    xarray.Dataset
        ``precision`` (share of found events that hit), ``recall`` (share of true events
        that were hit) and ``f1``, NaN where there is nothing to share; ``n_hits``; and of
        the hits ``onset_error``, the median distance in seconds. ``match (event)`` is,
        for each found event, the number of the true one it hits, or -1.

    Examples
    --------
    >>> import xarray as xr, emokit as ek
    >>> def spans(*pairs):
    ...     onset, offset = zip(*pairs)
    ...     return xr.Dataset({"onset": ("event", list(onset)), "offset": ("event", list(offset))})
    >>> scored = ek.match_events(spans((1, 2), (5, 6)), spans((1.1, 2.1), (8, 9), (5, 9)))
    >>> round(scored["precision"].item(), 2), scored["recall"].item()
    (0.33, 0.5)
    """
    for name, events in (("truth", truth), ("found", found)):
        lacking = {"onset", "offset", *by} - set(getattr(events, "data_vars", ()))
        if lacking:
            raise ValueError(f"{name} must hold {', '.join(sorted(lacking))} along event")
    if not 0 < min_overlap <= 1:
        raise ValueError(f"min_overlap must be in 0 to 1; got {min_overlap!r}")
    start, end = (found[key].values[:, None] for key in ("onset", "offset"))
    true_start, true_end = (truth[key].values[None] for key in ("onset", "offset"))
    shared = (np.minimum(end, true_end) - np.maximum(start, true_start)).clip(0)
    union = np.maximum(end, true_end) - np.minimum(start, true_start)
    overlap = shared / np.where(union > 0, union, 1)
    # An event of a single frame has no length; it can only be hit exactly.
    overlap[(union == 0) & (start == true_start)] = 1
    for name in by:
        overlap[found[name].values[:, None] != truth[name].values[None]] = 0
    known, truly_known = np.isfinite(start + end)[:, 0], np.isfinite(true_start + true_end)[0]
    overlap[~known] = overlap[:, ~truly_known] = 0
    overlap[overlap < min_overlap] = 0
    rows, columns = linear_sum_assignment(overlap, maximize=True)
    hit = overlap[rows, columns] > 0
    rows, columns = rows[hit], columns[hit]
    match = np.full(start.shape[0], -1)
    match[rows] = columns
    n_found, n_true, n_hits = int(known.sum()), int(truly_known.sum()), len(rows)
    errors = np.abs(start[rows, 0] - true_start[0, columns])
    nan = float("nan")
    return xr.Dataset(
        {
            "precision": n_hits / n_found if n_found else nan,
            "recall": n_hits / n_true if n_true else nan,
            "f1": 2 * n_hits / (n_found + n_true) if n_found + n_true else nan,
            "n_hits": n_hits,
            "onset_error": float(np.median(errors)) if n_hits else nan,
            "match": ("event", match),
        }
    )


def draw(
    function: Callable,
    arrays: Sequence[np.ndarray],
    who: np.ndarray,
    *,
    n_resamples: int,
    seed: int,
) -> np.ndarray:
    """What `function` gives for each draw of people, (draw, figure); NaN if there is but one."""
    check_number("n_resamples", n_resamples, least=1, whole=True)
    rng = np.random.default_rng(seed)
    _, number = np.unique(who, return_inverse=True)
    order = np.argsort(number, kind="stable")
    rows_of = np.split(order, np.flatnonzero(np.diff(number[order])) + 1)
    if len(rows_of) < 2:
        return np.full((n_resamples, np.size(function(*arrays))), np.nan)
    draws = []
    for _ in range(n_resamples):
        chosen = rng.integers(len(rows_of), size=len(rows_of))
        rows = np.concatenate([rows_of[i] for i in chosen])
        draws.append(np.atleast_1d(function(*(array[rows] for array in arrays))))
    return np.array(draws, dtype=np.float64)


def interval(draws: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Percentiles of each figure over its draws."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a metric that is NaN in all draws
        low, high = np.nanquantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def read_pair(
    truth: np.ndarray, estimate: np.ndarray, labels: Sequence[str] | None = None
) -> tuple[tuple[str, ...], np.ndarray, Callable, list[np.ndarray]]:
    """Names of the metrics that fit, rows that are whole, what measures them, and the rows.

    Classes become numbers, so that the bootstrap need not read names a thousand times.
    """
    truth, estimate = metrics.align_rows(truth, estimate)
    if isinstance(estimate, xr.DataArray) and estimate.ndim == 2 and labels is None:
        labels = estimate[estimate.dims[-1]].values
    truth, estimate = np.asarray(truth), np.asarray(estimate)
    if truth.ndim != 1 or estimate.shape[:1] != truth.shape:
        raise ValueError(
            f"truth must be one value a row, and the estimate as long; got {truth.shape} "
            f"and {estimate.shape}"
        )
    known = ~metrics.is_missing(truth)
    numeric, exact = np.issubdtype(truth.dtype, np.number), estimate.dtype.kind != "f"
    if estimate.ndim == 1 and not numeric and not exact:
        estimate, labels = _read_chance_of_true(truth[known], estimate)
    if estimate.ndim == 1 and numeric and np.issubdtype(estimate.dtype, np.number):
        names, kept = _OF_NUMBERS, np.isfinite(truth) & np.isfinite(estimate)
        measure, arrays = _measure_numbers, [truth[kept], estimate[kept]]
    elif estimate.ndim == 1:
        if numeric != np.issubdtype(estimate.dtype, np.number) and not (
            {truth.dtype.kind, estimate.dtype.kind} <= set("biu")
        ):
            raise ValueError("truth and estimate must both be numbers, or both be labels")
        names, kept = _OF_LABELS, known & ~metrics.is_missing(estimate)
        pair = metrics.name_labels(truth[kept], estimate[kept])
        classes, codes = np.unique(np.concatenate(pair), return_inverse=True)
        measure, arrays = partial(_measure_labels, n=len(classes)), np.split(codes, 2)
    else:
        names, kept = _OF_PROBABILITY, known & np.isfinite(estimate).all(1)
        true, said, classes = metrics.read_probability(truth, estimate, labels)
        measure, arrays = _measure_probability, [pd.Index(classes).get_indexer(true), said]
    if not kept.any():
        raise ValueError("truth and estimate have no row in common")
    return names, kept, measure, arrays


def _read_chance_of_true(
    truth: np.ndarray, estimate: np.ndarray
) -> tuple[np.ndarray, tuple[bool, bool]]:
    """Probabilities (row, class) and classes, where one number a row is that of True."""
    if not all(isinstance(label, bool | np.bool_) for label in truth.tolist()):
        raise ValueError(
            "estimate must be labels, or have a column for each class, where truth is labels; "
            "got one number a row"
        )
    if (estimate < 0).any() or (estimate > 1).any():
        raise ValueError("estimate must be probabilities, in 0 to 1, where truth is True and False")
    return np.stack([1 - estimate, estimate], axis=1), (False, True)


def _measure_numbers(truth: np.ndarray, estimate: np.ndarray) -> list[float]:
    return [
        metrics.concordance(truth, estimate),
        metrics.pearson(truth, estimate),
        metrics.intraclass_correlation(np.stack([truth, estimate], axis=1)),
        float(np.abs(truth - estimate).mean()),
    ]


def _measure_labels(truth: np.ndarray, predicted: np.ndarray, n: int) -> list[float]:
    """Accuracy, unweighted recall and macro F1, from the confusion matrix."""
    table = np.bincount(truth * n + predicted, minlength=n * n).reshape(n, n)
    hits, true, said = table.diagonal(), table.sum(1), table.sum(0)
    seen = true + said > 0
    return [
        hits.sum() / len(truth),
        (hits[true > 0] / true[true > 0]).mean(),
        (2 * hits[seen] / (true + said)[seen]).mean(),
    ]


def _measure_probability(truth: np.ndarray, probability: np.ndarray) -> list[float]:
    likeliest = probability.argmax(1)
    _, sure, hit = bin_confidence(probability.max(1), likeliest == truth)
    return [
        *_measure_labels(truth, likeliest, probability.shape[1]),
        metrics.one_against_rest(truth, probability),
        np.abs(sure - hit).sum() / len(truth),
    ]


def read_rows(
    values: Sequence | None, n: int, argument: str, default: np.ndarray | None = None
) -> np.ndarray:
    """`values` as an array with one for each of `n` rows."""
    if values is None and default is not None:
        return default
    values = np.asarray(values)
    if values.shape != (n,):
        raise ValueError(f"{argument} must be one value for each of {n} rows; got {values.shape}")
    return values


def read_subjects(values: Sequence | None, n: int, default: np.ndarray | None = None) -> np.ndarray:
    """Who is in each of `n` rows; nobody may be missing."""
    who = read_rows(values, n, "subjects", default)
    missing = np.flatnonzero(metrics.is_missing(who))
    if len(missing):
        raise ValueError(
            f"subjects must name a person for every row; row {missing[0]} has "
            f"{who[missing[0]]!r}, and {len(missing)} of {n} lack one"
        )
    return who.astype(str) if who.dtype == object else who


def _warn_of_few(who: np.ndarray) -> None:
    people = len(np.unique(who))
    if people < _FEW:
        warnings.warn(
            f"an interval from {people} people says little"
            if people > 1
            else "there is no interval from one person",
            stacklevel=3,
        )
