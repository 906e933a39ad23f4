"""Arguments that many functions take, checked in one way."""

from __future__ import annotations

import math
import numbers
import warnings

import numpy as np


def check_number(
    name: str,
    value: object,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
    whole: bool = False,
    unit: str = "",
) -> None:
    """Raise where `value` is no number, or lies out of bounds; says which are allowed.

    Parameters
    ----------
    name : str
        Of the argument.
    value : object
        A scalar of NumPy or xarray is a number too; True and NaN are none.
    above, least, below, most : float, optional
        Bounds, the first and the third of them excluded.
    whole : bool
        Only whole numbers are allowed.
    unit : str
        Plural, for the message.

    Raises
    ------
    TypeError
        If it is no number, or none that is `whole`.
    ValueError
        If it is not within its bounds.
    """
    bounds = {"above": above, "at least": least, "below": below, "at most": most}
    stated = " and ".join(f"{word} {at:g}" for word, at in bounds.items() if at is not None)
    expected = " ".join(
        filter(None, ["a whole number" if whole else "a number", unit and f"of {unit}", stated])
    )
    if getattr(value, "ndim", None) == 0:
        value = value.item()
    kind = numbers.Integral if whole else numbers.Real
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{name} must be {expected}; got {value!r}")
    inside = (
        not math.isnan(value)
        and (above is None or value > above)
        and (least is None or value >= least)
        and (below is None or value < below)
        and (most is None or value <= most)
    )
    if not inside:
        raise ValueError(f"{name} must be {expected}; got {value!r}")


def check_max_gap(max_gap: object, time: np.ndarray, otherwise: str) -> None:
    """Raise where `max_gap` is no number of seconds; warn where rows usually lie further apart.

    `otherwise` says what comes of it. The warning points at who called the caller.
    """
    check_number("max_gap", max_gap, above=0, unit="seconds")
    usual = np.median(np.diff(time)) if len(time) > 1 else 0
    # A steady rate is a little off from row to row.
    if usual > max_gap * (1 + 1e-9):
        warnings.warn(
            f"samples lie {usual:.3g} s apart, further than max_gap={max_gap:g} s, so {otherwise}",
            stacklevel=3,
        )
