"""Whether estimates are as good for one group of people as for another."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
import xarray as xr

from .evaluation import draw, interval, read_pair, read_rows, read_subjects

_CAUTION = (
    "These figures describe estimates of displayed behaviour on this sample only. A gap can come "
    "from the model, from how the groups were filmed, from what they displayed, or from who "
    "labelled them; this table cannot tell which. The groups of the gap were chosen for being "
    "farthest apart, which its interval allows for. An interval of a gap that reaches 0 does not "
    "show that the groups are treated alike: with this few people, a gap as large as the "
    "interval's far end may be there."
)


def audit(
    results: xr.Dataset | pd.DataFrame | Mapping,
    *,
    groups: str | Mapping[str, str] | Sequence[str],
    quantity: str | None = None,
    min_subjects: int = 10,
    n_resamples: int = 1000,
    seed: int = 0,
) -> xr.Dataset:
    """Compare groups of people: every metric for each, with intervals, and the gap.

    Parameters
    ----------
    results : xarray.Dataset, pandas.DataFrame or mapping
        ``truth``, ``subject``, and one of ``probability`` (a DataArray with a dim of classes),
        ``predicted`` (labels) and ``estimate`` (numbers), a row a clip or a frame; or a
        value such as ``true_valence`` and ``valence``. What
        :meth:`TemporalModel.cross_validate` returns will do.
    groups : str, mapping or sequence
        The group of each row: a column or coordinate of `results`, a mapping from subject to
        group, or one value a row. Missing ("" or None) leaves the row out.
    quantity : str, optional
        The value to judge, such as "valence". By default ``truth`` is what counts, or,
        without it, the one value there is.
    min_subjects : int
        A group of fewer people is refused: its row stays NaN, and a warning names it. Its
        figure would say more about these few than about the group.
    n_resamples, seed : int
        Of the bootstrap, which draws people, and of the permutations.

    Returns
    -------
    xarray.Dataset
        ``value``, ``low``, ``high (metric, group)``, as :func:`score`; ``n_rows``,
        ``n_subjects (group)``; ``gap (metric)`` between the groups of the highest and the
        lowest value, with its 95 % interval ``gap_low`` and ``gap_high``, and those groups'
        names in ``highest`` and ``lowest``. ``attrs["caution"]`` says what the figures
        cannot.

    Raises
    ------
    TypeError, ValueError
        If something is missing, or fewer than two groups are large enough.

    Warns
    -----
    UserWarning
        If a group is refused.

    Notes
    -----
    Of several groups some two lie far apart by chance, so the interval of the gap asks how
    far: people are dealt to the groups anew, at random, and the greatest gap among all pairs
    is noted, in units of the root of 1/n + 1/m for groups of n and m people. Its 95th
    percentile is the half width, as in the procedure of Tukey and Kramer (Kramer 1956,
    Biometrics 12, 307). Where the groups do not differ, at most one interval in twenty leaves
    out 0, however many groups there are; where they do, it is wider than it need be. Who
    occurs in several groups counts as another person in each. Fewer than 20 resamples
    cannot bound a gap: the interval is then infinite.

    Examples
    --------
    >>> import numpy as np, emokit as ek
    >>> rng = np.random.default_rng(0)
    >>> people = np.repeat([f"p{i}" for i in range(40)], 10)
    >>> old = np.char.str_len(people) == 3  # p10 to p39
    >>> truth = rng.choice(["joy", "fear"], 400)
    >>> guess = np.where(rng.random(400) < np.where(old, 0.3, 0.0), "fear", truth)
    >>> table = ek.audit({"truth": truth, "predicted": guess, "subject": people},
    ...                  groups=np.where(old, "old", "young"), n_resamples=200)
    >>> table["lowest"].sel(metric="accuracy").item()
    'old'
    """
    columns = _read_columns(results, quantity)
    group = _read_groups(groups, columns)
    who = read_subjects(columns["subject"], len(columns["subject"]))
    metrics, whole, measure, arrays = read_pair(columns["truth"], columns["estimate"])
    who, group = who[whole], group[whole]
    names = sorted(set(group) - {""})
    people = {name: len(np.unique(who[group == name])) for name in names}
    small = [name for name in names if people[name] < min_subjects]
    kept = [name for name in names if name not in small]
    if len(kept) < 2:
        raise ValueError(
            f"groups must hold at least two groups of {min_subjects} people or more; got "
            + (", ".join(f"{name} ({people[name]})" for name in names) or "none")
        )
    if small:
        warnings.warn(
            f"too few people to judge: {', '.join(f'{n} ({people[n]})' for n in small)}; "
            f"at least {min_subjects} are wanted",
            stacklevel=2,
        )
    shape = (len(metrics), len(names))
    value, low, high = (np.full(shape, np.nan) for _ in range(3))
    for name in kept:
        place, rows = names.index(name), group == name
        theirs = [array[rows] for array in arrays]
        value[:, place] = measure(*theirs)
        draws = draw(measure, theirs, who[rows], n_resamples=n_resamples, seed=seed + place)
        low[:, place], high[:, place] = interval(draws)
    seen = [names.index(name) for name in kept]
    best, worst = (
        np.array([seen[i] for i in choose(np.nan_to_num(value[:, seen], nan=fill), axis=1)])
        for choose, fill in ((np.argmax, -np.inf), (np.argmin, np.inf))
    )
    every = np.arange(len(metrics))
    gap = value[every, best] - value[every, worst]
    gap[np.isfinite(value).sum(1) < 2] = np.nan
    rows = np.isin(group, kept)
    unit = _deal(measure, [array[rows] for array in arrays], who[rows], group[rows],
                 n_resamples=n_resamples, seed=seed)  # fmt: skip
    share = 1 / np.array([people[name] for name in names])
    half = unit * np.sqrt(share[best] + share[worst])
    return xr.Dataset(
        {
            "value": (("metric", "group"), value),
            "low": (("metric", "group"), low),
            "high": (("metric", "group"), high),
            "n_rows": ("group", [int((group == name).sum()) for name in names]),
            "n_subjects": ("group", [people[name] for name in names]),
            "gap": ("metric", gap),
            "gap_low": ("metric", gap - half),
            "gap_high": ("metric", gap + half),
            "highest": ("metric", np.array(names)[best]),
            "lowest": ("metric", np.array(names)[worst]),
        },
        coords={"metric": list(metrics), "group": names},
        attrs={"caution": _CAUTION, "refused": ", ".join(small), "min_subjects": min_subjects},
    )


def _deal(
    measure: Callable,
    arrays: Sequence[np.ndarray],
    who: np.ndarray,
    group: np.ndarray,
    *,
    n_resamples: int,
    seed: int,
    level: float = 0.95,
) -> np.ndarray:
    """Greatest gap of each metric that chance makes at `level`, with people dealt at random.

    Divided, for a pair of groups of n and m people, by the root of 1/n + 1/m.
    """
    person = pd.DataFrame({"group": group, "who": who}).groupby(["group", "who"], sort=True)
    rows_of = list(person.indices.values())
    _, dealt = np.unique([name for name, _ in person.indices], return_inverse=True)
    share = 1 / np.bincount(dealt)
    first, second = np.array(list(combinations(range(len(share)), 2))).T
    scale = np.sqrt(share[first] + share[second])
    rng = np.random.default_rng(seed)
    greatest = []
    for _ in range(n_resamples):
        dealt = rng.permutation(dealt)
        values = []
        for number in range(len(share)):
            rows = np.concatenate([rows_of[i] for i in np.flatnonzero(dealt == number)])
            values.append(measure(*(array[rows] for array in arrays)))
        values = np.array(values, dtype=np.float64)
        apart = np.abs(values[first] - values[second]) / scale[:, None]
        # A metric that is NaN in a group has no gap there.
        greatest.append(np.nan_to_num(apart, nan=0).max(0))
    # The groups as they are were one way to deal; counting it keeps the level exact.
    greatest.append(np.full_like(greatest[0], np.inf))
    return np.quantile(greatest, level, axis=0, method="higher")


def _read_columns(results: xr.Dataset | pd.DataFrame | Mapping, quantity: str | None) -> dict:
    """Columns of `results` by name, with the truth and the estimate to judge among them."""
    if not isinstance(results, xr.Dataset | pd.DataFrame | Mapping):
        raise TypeError(
            f"results must be a Dataset, DataFrame or mapping; got {type(results).__name__}"
        )
    present = list(results.variables if isinstance(results, xr.Dataset) else results)
    values = [name for name in present if f"true_{name}" in present]
    if quantity is None and "truth" not in present and len(values) == 1:
        quantity = values[0]
    if quantity is not None:
        if quantity not in values:
            raise ValueError(
                f"quantity must be one of {', '.join(values) or 'the values of results'}; results "
                f"lacks true_{quantity} or {quantity}"
            )
        truth, estimates = f"true_{quantity}", [quantity]
    elif "truth" not in present and values:
        raise ValueError(f"quantity must say which of {', '.join(values)} to judge")
    else:
        truth = "truth"
        estimates = [n for n in ("probability", "predicted", "estimate") if n in present]
    lacking = [name for name in (truth, "subject") if name not in present]
    if lacking or not estimates:
        raise ValueError(
            f"results must hold {', '.join(lacking) or 'probability, predicted or estimate'}"
        )
    columns = {name: np.asarray(results[name]) for name in present if np.ndim(results[name]) == 1}
    # As they came: two DataArrays are to be compared by their coordinates.
    return {**columns, "truth": results[truth], "estimate": results[estimates[0]]}


def _read_groups(groups: str | Mapping[str, str] | Sequence[str], columns: Mapping) -> np.ndarray:
    who = columns["subject"]
    if isinstance(groups, str):
        if groups not in columns:
            raise ValueError(f"results has no column {groups!r} to group by")
        values = read_rows(columns[groups], len(who), "groups")
    elif isinstance(groups, Mapping):
        values = np.array([groups.get(name) for name in who.tolist()], dtype=object)
    else:
        values = read_rows(groups, len(who), "groups")
    return np.where(pd.isna(values), "", np.asarray(values).astype(str))
