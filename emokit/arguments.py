"""What numbers a function was given, checked in one way."""

from __future__ import annotations

import math
import numbers


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
