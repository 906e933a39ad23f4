"""Whether probabilities mean what they say, and how to make them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.special
import xarray as xr
from matplotlib.figure import Figure
from scipy.optimize import minimize_scalar
from sklearn.isotonic import IsotonicRegression

from .arguments import check_number
from .metrics import read_probability

_METHODS = ("temperature", "isotonic")
#: A probability of exactly 0 would rule a class out for ever.
_LEAST = 1e-7


def calibration_error(
    truth: np.ndarray,
    probability: np.ndarray,
    *,
    labels: Sequence[str] | None = None,
    bins: int = 10,
) -> float:
    """Expected calibration error: how far confidence is from accuracy.

    Parameters
    ----------
    truth : array_like or xarray.DataArray, shape (row,)
        Labels.
    probability : array_like or xarray.DataArray, shape (row, class)
        Rows with NaN are left out.
    labels : sequence of str, optional
        Names of the classes; a DataArray's own coordinate by default.
    bins : int
        Of equal width, over the probability of the likeliest class.

    Returns
    -------
    float
        In 0 to 1: the mean over rows of the distance, within the row's bin, between the
        mean confidence and the share that was right. 0 is calibrated. Few rows make it
        look worse than it is.

    Notes
    -----
    Naeini, Cooper and Hauskrecht (2015, AAAI); Guo et al. (2017, ICML).

    Examples
    --------
    Always 80 % sure, and right in one case of two:

    >>> from emokit import calibration
    >>> round(calibration.calibration_error(["a", "b"], [[0.8, 0.2]] * 2, labels="ab"), 3)
    0.3
    """
    table = _bin_confidence(truth, probability, labels, bins)
    if not table["count"].sum():
        return float("nan")
    return float((abs(table["confidence"] - table["accuracy"])).weighted(table["count"]).mean())


def plot_reliability(
    truth: np.ndarray,
    probability: np.ndarray | dict[str, np.ndarray],
    *,
    labels: Sequence[str] | None = None,
    bins: int = 10,
) -> Figure:
    """Draw how often each degree of confidence was right.

    Parameters
    ----------
    truth, labels, bins
        As in :func:`calibration_error`.
    probability : array_like, xarray.DataArray or mapping of str to them
        Several, by name, are drawn in one figure.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown and not saved. Above, the share that was right in each bin of confidence,
        with 95 % intervals (Wilson), against the diagonal of perfect calibration; below,
        the share of rows in each bin.

    Examples
    --------
    >>> from emokit import calibration
    >>> figure = calibration.plot_reliability(["a", "b"], [[0.8, 0.2]] * 2, labels="ab")
    >>> [axis.get_ylabel() for axis in figure.axes]
    ['share that was right', 'share of rows']
    """
    import matplotlib.pyplot as plt

    several = probability if isinstance(probability, dict) else {"": probability}
    ink, faint = "#222222", "#888888"
    colors = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
    with plt.rc_context({"font.size": 9, "axes.edgecolor": faint, "text.color": ink}):
        figure, (above, below) = plt.subplots(
            2, figsize=(4.4, 5.2), height_ratios=(3.4, 1), sharex=True, layout="constrained"
        )
        above.plot([0, 1], [0, 1], color=faint, lw=0.8, ls=(0, (4, 3)))
        # Side by side within the bin, so that the bars do not hide each other.
        places = (np.arange(len(several)) + 0.5) / len(several)
        for (name, values), color, place in zip(several.items(), colors, places, strict=False):
            table = _bin_confidence(truth, values, labels, bins)
            used = table.where(table["count"] > 0, drop=True)
            error = calibration_error(truth, values, labels=labels, bins=bins)
            low, high = _wilson(used["accuracy"].values, used["count"].values)
            above.vlines(used["confidence"], low, high, color=color, lw=1, alpha=0.55)
            above.plot(
                used["confidence"], used["accuracy"], "o-", color=color, ms=4.5, lw=1.4,
                mec="white", mew=0.7, label=f"{name}  ECE {error:.3f}".strip(),
            )  # fmt: skip
            below.bar(
                (table["bin"] + place) / bins, table["count"] / table["count"].sum(),
                width=0.86 / bins / len(several), color=color, alpha=0.75,
            )  # fmt: skip
        above.legend(frameon=False, loc="upper left", handlelength=1.4)
        above.set(xlim=(0, 1), ylim=(0, 1), ylabel="share that was right")
        below.set(xlabel="confidence", ylabel="share of rows")
        for ax in (above, below):
            ax.spines[["top", "right"]].set_visible(False)
        figure.align_ylabels()
    plt.close(figure)
    return figure


@dataclass(frozen=True)
class Calibration:
    """What :func:`fit_calibration` learned: ``calibration(probability)`` applies it.

    Parameters
    ----------
    method : {"temperature", "isotonic"}
        How it was fitted.
    labels : tuple of str
        The classes, in the order of the last dim of probabilities.
    temperature : float
        For "temperature": above 1 softens, below 1 sharpens.
    steps : tuple of (x, y) pairs of tuples
        For "isotonic": of each class, the corners of its rising line.
    """

    method: str
    labels: tuple[str, ...]
    temperature: float = 1.0
    steps: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = ()

    def __call__(self, probability: np.ndarray) -> np.ndarray:
        """Calibrate probabilities (…, class), which stay a distribution; NaN stays NaN.

        A DataArray comes back as a DataArray, with its classes in its own order.
        """
        if isinstance(probability, xr.DataArray):
            dim = next(
                (d for d in probability.dims if set(map(str, probability[d].values))
                 == set(self.labels)), None,
            )  # fmt: skip
            if dim is None:
                raise ValueError(f"probability must have the classes {', '.join(self.labels)}")
            last = probability.transpose(..., dim).sel({dim: list(self.labels)})
            done = last.copy(data=self(last.values).astype(last.dtype))
            return done.sel({dim: probability[dim]}).transpose(*probability.dims)
        values = np.asarray(probability, dtype=np.float64)
        if values.shape[-1] != len(self.labels):
            raise ValueError(
                f"probability must have {len(self.labels)} classes; got {values.shape}"
            )
        if self.method == "temperature":
            return scipy.special.softmax(np.log(values.clip(_LEAST)) / self.temperature, axis=-1)
        lifted = [np.interp(values[..., i], x, y) for i, (x, y) in enumerate(self.steps)]
        lifted = np.stack(lifted, axis=-1).clip(_LEAST)
        return lifted / lifted.sum(-1, keepdims=True)


def fit_calibration(
    truth: np.ndarray,
    probability: np.ndarray,
    *,
    labels: Sequence[str] | None = None,
    method: str = "temperature",
) -> Calibration:
    """Learn, on rows that trained nothing, to make probabilities mean what they say.

    Parameters
    ----------
    truth, probability, labels
        As in :func:`calibration_error`. Take other people than those of the training, and
        others again than those on whom you report the result.
    method : {"temperature", "isotonic"}
        "temperature" divides the log probabilities by one number, which never changes
        which class is likeliest (Guo et al. 2017, ICML). "isotonic" fits a rising step
        line for each class (Zadrozny and Elkan 2002, KDD); it can bend more, and wants
        some hundreds of rows a class.

    Returns
    -------
    Calibration
        Call it with probabilities.

    Raises
    ------
    ValueError
        If `method` is unknown, fewer than two classes occur, or the shapes do not fit.

    Examples
    --------
    >>> from emokit import calibration
    >>> overconfident = [[0.99, 0.01]] * 4
    >>> fitted = calibration.fit_calibration(list("aaab"), overconfident, labels="ab")
    >>> print(fitted(overconfident)[0].round(2))
    [0.75 0.25]
    """
    if method not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(_METHODS)}; got {method!r}")
    truth, values, names = read_probability(truth, probability, labels)
    if len(set(truth)) < 2:
        raise ValueError("truth must have rows of at least two classes")
    hit = truth[:, None] == np.array(names)
    if method == "isotonic":
        lines = [
            IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(values[:, i], hit[:, i])
            for i in range(len(names))
        ]
        steps = tuple(
            (tuple(line.X_thresholds_.tolist()), tuple(line.y_thresholds_.tolist()))
            for line in lines
        )
        return Calibration(method, tuple(names), steps=steps)
    logits = np.log(values.clip(_LEAST))

    def loss(log_temperature: float) -> float:
        return -scipy.special.log_softmax(logits / np.exp(log_temperature), axis=1)[hit].mean()

    best = minimize_scalar(loss, bounds=(np.log(0.05), np.log(50)), method="bounded")
    return Calibration(method, tuple(names), temperature=float(np.exp(best.x)))


def _bin_confidence(
    truth: np.ndarray, probability: np.ndarray, labels: Sequence[str] | None, bins: int
) -> xr.Dataset:
    """Mean confidence, accuracy and count of each bin of confidence."""
    check_number("bins", bins, least=1, whole=True)
    truth, values, names = read_probability(truth, probability, labels)
    confidence = values.max(1) if len(values) else np.empty(0)
    right = np.array(names)[values.argmax(1)] == truth if len(values) else np.empty(0, bool)
    count, sure, hit = bin_confidence(confidence, right, bins)
    of = np.where(count > 0, count, 1)
    return xr.Dataset(
        {
            "confidence": ("bin", sure / of),
            "accuracy": ("bin", hit / of),
            "count": ("bin", count),
        },
        coords={"bin": np.arange(bins)},
    )


def bin_confidence(
    confidence: np.ndarray, right: np.ndarray, bins: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, sum of confidence and rows that were right, in each bin of equal width."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    return (
        np.bincount(place, minlength=bins),
        np.bincount(place, confidence, minlength=bins),
        np.bincount(place, right, minlength=bins),
    )


def _wilson(share: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of a share."""
    z2 = 1.96**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = np.sqrt(z2 * (share * (1 - share) / count + z2 / (4 * count**2))) / (1 + z2 / count)
    return middle - half, middle + half
