"""Whether estimates are as good for one group of people as for another."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from .evaluation import draw, interval, read_pair, read_rows

_CAUTION = (
    "These figures describe estimates of displayed behaviour on this sample only. A gap can come "
    "from the model, from how the groups were filmed, from what they displayed, or from who "
    "labelled them; this table cannot tell which. An interval of a gap that reaches 0 does not "
    "show that the groups are treated alike: with this few people, a gap as large as the "
    "interval's far end may be there."
)


def audit(
    results: xr.Dataset | pd.DataFrame | Mapping,
    *,
    groups: str | Mapping[str, str] | Sequence[str],
    min_subjects: int = 10,
    n_resamples: int = 1000,
    seed: int = 0,
) -> xr.Dataset:
    """Compare groups of people: every metric for each, with intervals, and the gap.

    Parameters
    ----------
    results : xarray.Dataset, pandas.DataFrame or mapping
        ``truth``, ``subject``, and one of ``probability`` (with a dim of classes),
        ``predicted`` (labels) and ``estimate`` (numbers), a row a clip or a frame; what
        :meth:`TemporalModel.cross_validate` returns will do.
    groups : str, mapping or sequence
        The group of each row: a column of `results`, a mapping from subject to group, or
        one value a row. Missing ("" or None) leaves the row out.
    min_subjects : int
        A group of fewer people is refused: its row stays NaN, and a warning names it. Its
        figure would say more about these few than about the group.
    n_resamples, seed : int
        Of the bootstrap, which draws people.

    Returns
    -------
    xarray.Dataset
        ``value``, ``low``, ``high (metric, group)``, as :func:`score`; ``n_rows``,
        ``n_subjects (group)``; ``gap (metric)`` between the groups of the highest and the
        lowest value, with ``gap_low`` and ``gap_high``, and those groups' names in
        ``highest`` and ``lowest``. ``attrs["caution"]`` says what the figures cannot.

    Raises
    ------
    TypeError, ValueError
        If something is missing, or fewer than two groups are large enough.

    Warns
    -----
    UserWarning
        If a group is refused.

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
    columns = _read_columns(results)
    who = columns["subject"]
    group = _read_groups(groups, columns, who)
    metrics, whole, measure, arrays = read_pair(
        columns["truth"], columns["estimate"], columns.get("labels")
    )
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
    draws = {}
    for name in kept:
        place, rows = names.index(name), group == name
        theirs = [array[rows] for array in arrays]
        value[:, place] = measure(*theirs)
        draws[name] = draw(measure, theirs, who[rows], n_resamples=n_resamples, seed=seed + place)
        low[:, place], high[:, place] = interval(draws[name])
    seen = [names.index(name) for name in kept]
    best, worst = (
        np.array([seen[i] for i in choose(np.nan_to_num(value[:, seen], nan=fill), axis=1)])
        for choose, fill in ((np.argmax, -np.inf), (np.argmin, np.inf))
    )
    rows = np.arange(len(metrics))
    apart = np.stack([draws[names[b]][:, i] - draws[names[w]][:, i] for i, b, w in
                      zip(rows, best, worst, strict=True)], axis=1)  # fmt: skip
    gap_low, gap_high = interval(apart)
    return xr.Dataset(
        {
            "value": (("metric", "group"), value),
            "low": (("metric", "group"), low),
            "high": (("metric", "group"), high),
            "n_rows": ("group", [int((group == name).sum()) for name in names]),
            "n_subjects": ("group", [people[name] for name in names]),
            "gap": ("metric", value[rows, best] - value[rows, worst]),
            "gap_low": ("metric", gap_low),
            "gap_high": ("metric", gap_high),
            "highest": ("metric", np.array(names)[best]),
            "lowest": ("metric", np.array(names)[worst]),
        },
        coords={"metric": list(metrics), "group": names},
        attrs={"caution": _CAUTION, "refused": ", ".join(small), "min_subjects": min_subjects},
    )


def _read_columns(results: xr.Dataset | pd.DataFrame | Mapping) -> dict:
    """Columns of `results` by name, with whichever estimate there is as "estimate"."""
    if not isinstance(results, xr.Dataset | pd.DataFrame | Mapping):
        raise TypeError(
            f"results must be a Dataset, DataFrame or mapping; got {type(results).__name__}"
        )
    estimates = [name for name in ("probability", "predicted", "estimate") if name in results]
    lacking = [name for name in ("truth", "subject") if name not in results]
    if lacking or not estimates:
        raise ValueError(
            f"results must hold {', '.join(lacking) or 'probability, predicted or estimate'}"
        )
    estimate = results[estimates[0]]
    columns = {name: np.asarray(results[name]) for name in results if np.ndim(results[name]) == 1}
    if isinstance(estimate, xr.DataArray) and estimate.ndim == 2:
        columns["labels"] = [str(name) for name in estimate[estimate.dims[-1]].values]
    return {**columns, "estimate": np.asarray(estimate)}


def _read_groups(
    groups: str | Mapping[str, str] | Sequence[str], columns: Mapping, who: np.ndarray
) -> np.ndarray:
    if isinstance(groups, str):
        if groups not in columns:
            raise ValueError(f"results has no column {groups!r} to group by")
        values = columns[groups]
    elif isinstance(groups, Mapping):
        values = np.array([groups.get(name) for name in who.tolist()], dtype=object)
    else:
        values = read_rows(groups, len(who), "groups")
    return np.where(pd.isna(values), "", np.asarray(values).astype(str))
