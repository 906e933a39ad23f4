"""How near estimates come to labels: one number from two arrays.

Every function takes the truth first and the estimate second, as arrays or DataArrays of the
same shape, and leaves out what is missing in either (NaN, None or ""). Labels that are numbers
compare as numbers, so that 1, 1.0 and True are one label; others compare as text. Scikit-learn
computes what it knows; what it lacks is written out here.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import rankdata
from sklearn import metrics as sk

#: Forms of the intraclass correlation, by Shrout and Fleiss's names.
ICC_FORMS = ("ICC(1,1)", "ICC(2,1)", "ICC(3,1)", "ICC(1,k)", "ICC(2,k)", "ICC(3,k)")


def accuracy(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Share of labels that were hit: the weighted average recall (WAR).

    Parameters
    ----------
    truth, predicted : array_like or xarray.DataArray
        Labels, of the same shape.

    Returns
    -------
    float
        In 0 to 1. NaN where there is nothing to compare.

    Raises
    ------
    ValueError
        If the shapes, or the coordinates of two DataArrays, differ.

    Examples
    --------
    >>> from emokit import metrics
    >>> truth = ["anger", "anger", "anger", "fear"]
    >>> metrics.accuracy(truth, ["anger"] * 4), metrics.unweighted_recall(truth, ["anger"] * 4)
    (0.75, 0.5)
    """
    truth, predicted = _labels(truth, predicted)
    return float(sk.accuracy_score(truth, predicted)) if truth.size else float("nan")


def unweighted_recall(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Mean over the classes of the share that was hit (UAR, balanced accuracy).

    A class counts the same whether it is frequent or rare; classes that never occur in
    `truth` do not count. Takes, returns and raises what :func:`accuracy` does.
    """
    truth, predicted = _labels(truth, predicted)
    if not truth.size:
        return float("nan")
    return float(
        sk.recall_score(truth, predicted, average="macro", labels=np.unique(truth), zero_division=0)
    )


def macro_f1(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Mean over the classes of F1, the harmonic mean of precision and recall.

    Classes that occur neither in `truth` nor in `predicted` do not count. Takes, returns
    and raises what :func:`accuracy` does.
    """
    truth, predicted = _labels(truth, predicted)
    if not truth.size:
        return float("nan")
    return float(sk.f1_score(truth, predicted, average="macro", zero_division=0))


def confusion(
    truth: np.ndarray,
    predicted: np.ndarray,
    *,
    labels: Sequence[str] | None = None,
    normalize: bool = False,
) -> xr.DataArray:
    """How often each label was taken for each.

    Parameters
    ----------
    truth, predicted : array_like or xarray.DataArray
        Labels, of the same shape.
    labels : sequence of str, optional
        Order of rows and columns; by default all that occur, sorted.
    normalize : bool
        Give shares of each true label instead of counts.

    Returns
    -------
    xarray.DataArray, dims ``(truth, predicted)``
        Named by text. All zero where there is nothing to compare.

    Raises
    ------
    ValueError
        As :func:`accuracy`, and if `labels` lacks a label that occurs.

    Examples
    --------
    >>> from emokit import metrics
    >>> print(metrics.confusion(["fear", "fear", "joy"], ["fear", "joy", "joy"]).values)
    [[1 1]
     [0 1]]
    """
    order = () if labels is None else np.array([*labels], dtype=object)
    truth, predicted, order = _labels(truth, predicted, order)
    occur = {*truth.tolist(), *predicted.tolist()}
    names = sorted(occur) if labels is None else order.tolist()
    strange = occur - set(names)
    if strange:
        raise ValueError(f"labels lacks {', '.join(sorted(strange))}, which occur")
    if truth.size:
        counts = sk.confusion_matrix(
            truth, predicted, labels=names, normalize="true" if normalize else None
        )
    else:  # which scikit-learn refuses
        counts = np.zeros((len(names),) * 2, dtype=float if normalize else int)
    return xr.DataArray(
        counts, dims=("truth", "predicted"), coords={"truth": names, "predicted": names}
    )


def concordance(truth: np.ndarray, estimate: np.ndarray) -> float:
    """Lin's concordance correlation coefficient (CCC).

    1 only where every estimate equals its truth: unlike Pearson's correlation it falls
    when the estimates are shifted or stretched.

    Parameters
    ----------
    truth, estimate : array_like or xarray.DataArray
        Numbers, of the same shape.

    Returns
    -------
    float
        In -1 to 1; NaN with fewer than two pairs, or where both are constant and equal.

    Notes
    -----
    Lin (1989, Biometrics 45, 255), with variances divided by n as there.

    Examples
    --------
    >>> from emokit import metrics
    >>> round(metrics.concordance([1, 2, 3], [2, 3, 4]), 3)  # Pearson's would be 1
    0.571
    """
    truth, estimate = _numbers(truth, estimate)
    if truth.size < 2 or _is_constant(np.concatenate([truth, estimate])):
        return float("nan")
    covariance = np.mean((truth - truth.mean()) * (estimate - estimate.mean()))
    spread = truth.var() + estimate.var() + (truth.mean() - estimate.mean()) ** 2
    return float(2 * covariance / spread)


def pearson(truth: np.ndarray, estimate: np.ndarray) -> float:
    """Pearson's correlation; NaN where either is constant. Takes what :func:`concordance` does."""
    truth, estimate = _numbers(truth, estimate)
    if truth.size < 2 or _is_constant(truth) or _is_constant(estimate):
        return float("nan")
    return float(np.corrcoef(truth, estimate)[0, 1])


def intraclass_correlation(ratings: np.ndarray, *, form: str = "ICC(2,1)") -> float:
    """How much of the variance of ratings is between the things rated.

    Parameters
    ----------
    ratings : array_like, shape (target, rater)
        A row a thing rated, a column a rater (or a truth and an estimate). Rows with a
        missing rating are left out.
    form : {"ICC(1,1)", "ICC(2,1)", "ICC(3,1)", "ICC(1,k)", "ICC(2,k)", "ICC(3,k)"}
        1: each target has its own raters; 2: the raters are a sample, and agreement is
        absolute; 3: these raters only, and consistency is enough. With k, of the mean of
        all raters instead of a single one.

    Returns
    -------
    float
        At most 1; NaN with fewer than two whole rows, or where no target differs from
        another in its mean.

    Notes
    -----
    Shrout and Fleiss (1979, Psychological Bulletin 86, 420).

    Examples
    --------
    The ratings of their Table 2:

    >>> from emokit import metrics
    >>> ratings = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9],
    ...            [6, 2, 4, 7]]
    >>> round(metrics.intraclass_correlation(ratings), 2)
    0.29
    >>> round(metrics.intraclass_correlation(ratings, form="ICC(3,k)"), 2)
    0.91
    """
    if form not in ICC_FORMS:
        raise ValueError(f"form must be one of {', '.join(ICC_FORMS)}; got {form!r}")
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] < 2:
        raise ValueError(f"ratings must be (target, rater) with two raters; got {table.shape}")
    table = table[np.isfinite(table).all(1)]
    n, k = table.shape
    if n < 2 or _is_constant(table.mean(1), magnitude=np.abs(table).max()):
        return float("nan")
    mean = table.mean()
    rows = k * ((table.mean(1) - mean) ** 2).sum() / (n - 1)
    within = ((table - table.mean(1, keepdims=True)) ** 2).sum() / (n * (k - 1))
    columns = n * ((table.mean(0) - mean) ** 2).sum() / (k - 1)
    error = (n * (k - 1) * within - (k - 1) * columns) / ((n - 1) * (k - 1))
    single, mean_of = {
        "1": ((rows - within) / (rows + (k - 1) * within), (rows - within) / rows),
        "2": (
            (rows - error) / (rows + (k - 1) * error + k * (columns - error) / n),
            (rows - error) / (rows + (columns - error) / n),
        ),
        "3": ((rows - error) / (rows + (k - 1) * error), (rows - error) / rows),
    }[form[4]]
    return float(single if form[6] == "1" else mean_of)


def auc(
    truth: np.ndarray, probability: np.ndarray, *, labels: Sequence[str] | None = None
) -> float:
    """Area under the ROC curve, the mean of one class against the rest.

    0.5 is chance, whatever the classes' frequencies.

    Parameters
    ----------
    truth : array_like or xarray.DataArray, shape (row,)
        Labels; or True and False (1 and 0) with a one-dimensional `probability`.
    probability : array_like or xarray.DataArray, shape (row, class) or (row,)
        Probability of each class; rows with NaN are left out.
    labels : sequence of str, optional
        Names of the classes; a DataArray's own coordinate by default.

    Returns
    -------
    float
        NaN where fewer than two classes occur.

    Raises
    ------
    ValueError
        If the shapes, or the coordinates of two DataArrays, differ, the classes have no
        names, or `truth` has a label that is none of them.
    """
    if np.ndim(probability) == 1:
        truth, probability = _numbers(truth, probability)
        return one_against_rest((truth > 0).astype(int), np.stack([-probability, probability], 1))
    truth, probability, names = read_probability(truth, probability, labels)
    return one_against_rest(pd.Index(names).get_indexer(truth), probability)


def unit_f1(truth: xr.DataArray, estimate: xr.DataArray, *, threshold: float = 0.5) -> xr.DataArray:
    """F1 of each action unit being shown.

    Parameters
    ----------
    truth, estimate : xarray.DataArray
        With dim ``action_unit``, and others in common. Intensities or presences: shown
        is what reaches `threshold`.
    threshold : float
        The same for both.

    Returns
    -------
    xarray.DataArray, dims ``(action_unit,)``
        Over the units that both have. NaN for a unit that is shown in neither, or that
        was never read in both at once.

    Examples
    --------
    >>> import xarray as xr
    >>> from emokit import metrics
    >>> units = {"action_unit": ["AU06", "AU12"]}
    >>> truth = xr.DataArray([[1, 1], [0, 1]], dims=("time", "action_unit"), coords=units)
    >>> print(metrics.unit_f1(truth, xr.zeros_like(truth) + [1, 0]).values.round(2))
    [0.67 0.  ]
    """
    for name, array in (("truth", truth), ("estimate", estimate)):
        if not isinstance(array, xr.DataArray) or "action_unit" not in array.dims:
            raise TypeError(f"{name} must be a DataArray with dim action_unit")
    units = [unit for unit in truth["action_unit"].values if unit in estimate["action_unit"].values]
    if not units:
        raise ValueError("truth and estimate have no action unit in common")
    values = []
    for unit in units:
        pair = _numbers(truth.sel(action_unit=unit), estimate.sel(action_unit=unit))
        ours, theirs = (intensity >= threshold for intensity in pair)
        values.append(sk.f1_score(ours, theirs, zero_division=np.nan) if ours.size else np.nan)
    return xr.DataArray(values, dims="action_unit", coords={"action_unit": units}, name="f1")


def one_against_rest(truth: np.ndarray, probability: np.ndarray) -> float:
    """Mean area under the ROC curve, of classes by number, with nothing missing.

    By ranks (Mann and Whitney), all classes at once: bootstraps call it thousands of times.
    """
    ranks = rankdata(probability, axis=0)
    belongs = truth[:, None] == np.arange(probability.shape[1])
    n = belongs.sum(0)
    both = (n > 0) & (n < len(truth))
    if not both.any():
        return float("nan")
    above = (ranks * belongs).sum(0)[both] - n[both] * (n[both] + 1) / 2
    return float(np.mean(above / (n[both] * (len(truth) - n[both]))))


def read_probability(
    truth: np.ndarray, probability: np.ndarray, labels: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Labels (row,), probabilities (row, class) and names of classes, of whole rows only.

    Raises
    ------
    ValueError
        If the shapes or coordinates do not fit, the names are missing, or a true label is not
        among them.
    """
    truth, probability = align_rows(truth, probability)
    if isinstance(probability, xr.DataArray) and labels is None:
        labels = probability[probability.dims[-1]].values
    truth = np.asarray(truth, dtype=object)
    values = np.asarray(probability, dtype=np.float64)
    if values.ndim < 2 or values.shape[:-1] != truth.shape:
        raise ValueError(
            f"probability must have the shape of truth and one dim more for the classes; got "
            f"{values.shape} for {truth.shape}"
        )
    if labels is None or len(labels) != values.shape[-1]:
        raise ValueError(f"labels must name the {values.shape[-1]} classes of probability")
    truth, values = truth.ravel(), values.reshape(-1, len(labels))
    whole = np.isfinite(values).all(1) & ~is_missing(truth)
    truth, names = name_labels(truth[whole], np.array([*labels], dtype=object))
    strange = sorted(set(truth) - set(names))
    if strange:
        raise ValueError(f"probability has no class {', '.join(strange)}, which truth has")
    return truth, values[whole], names.tolist()


def name_labels(*several: np.ndarray) -> list[np.ndarray]:
    """Labels as text that is equal where the labels are: 1, 1.0 and, beside these, True.

    Nothing may be missing in them.
    """
    listed = [np.asarray(labels, dtype=object).tolist() for labels in several]
    kinds = {type(label) for labels in listed for label in labels}
    only_flags = all(issubclass(kind, bool | np.bool_ | str) for kind in kinds)

    def name(label: object) -> str:
        if isinstance(label, bool | np.bool_):
            return str(bool(label) if only_flags else int(label))
        if isinstance(label, Real) and float(label).is_integer():
            return str(int(label))
        return str(label)

    return [np.array([name(label) for label in labels], dtype=str) for labels in listed]


def is_missing(labels: np.ndarray) -> np.ndarray:
    """Where an array of any type holds NaN, None or ""."""
    labels = np.asarray(labels, dtype=object)
    return pd.isna(labels) | (labels == "")


def align_rows(truth: np.ndarray, estimate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both, the dims of two DataArrays in the order of the truth's, others last.

    Raises
    ------
    ValueError
        If two DataArrays differ in their coordinates.
    """
    if isinstance(truth, xr.DataArray) and isinstance(estimate, xr.DataArray):
        try:
            xr.align(truth, estimate, join="exact")
            estimate = estimate.transpose(*truth.dims, ...)
        except ValueError as error:
            raise ValueError(
                f"truth and estimate must have the same coordinates: {error}"
            ) from None
    return truth, estimate


def _labels(truth: np.ndarray, predicted: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    truth, predicted = _same_shape(truth, predicted, object)
    kept = ~is_missing(truth) & ~is_missing(predicted)
    return name_labels(truth[kept], predicted[kept], *others)


def _numbers(truth: np.ndarray, estimate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    truth, estimate = _same_shape(truth, estimate, np.float64)
    kept = np.isfinite(truth) & np.isfinite(estimate)
    return truth[kept], estimate[kept]


def _same_shape(
    truth: np.ndarray, estimate: np.ndarray, dtype: type
) -> tuple[np.ndarray, np.ndarray]:
    truth, estimate = align_rows(truth, estimate)
    try:
        truth, estimate = np.asarray(truth, dtype=dtype), np.asarray(estimate, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise TypeError(f"truth and estimate must be numbers: {error}") from None
    if truth.shape != estimate.shape:
        raise ValueError(
            f"truth and estimate must have the same shape; got {truth.shape} and {estimate.shape}"
        )
    return truth.ravel(), estimate.ravel()


def _is_constant(values: np.ndarray, magnitude: float | None = None) -> bool:
    """Whether values differ by no more than rounding makes of numbers of that magnitude."""
    magnitude = np.abs(values).max() if magnitude is None else magnitude
    return bool(np.ptp(values) <= 8 * np.finfo(np.float64).eps * magnitude)
