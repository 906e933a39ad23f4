"""What can be annotated: tiers of labelled spans, and continuous traces."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

#: Keys that a vocabulary cannot have: the player needs them while a clip is annotated.
RESERVED_KEYS = frozenset(" ,.[]+-=?")

#: Which no label can have where there are traces to record.
_RECORD_KEY = "r"

#: Given to labels in this order. Letters that command the player come last.
_FREE_KEYS = "123456789qwtyuiopadfghjkcvn"


@dataclass(frozen=True)
class Tier:
    """Labelled spans that do not overlap, as a tier of ELAN holds them.

    Parameters
    ----------
    name : str
        What the tier is called; each has another name.
    labels : sequence of str, or mapping of str to str
        The vocabulary, or the vocabulary with the key of each label. A label without a
        key gets one. By default the tier's own name is its only label.
    intensity : bool
        Whether a span has a FACS intensity, A to E.

    Examples
    --------
    >>> import emokit as ek
    >>> ek.Tier("smile", labels={"felt": "f", "posed": "p"}).labels
    {'felt': 'f', 'posed': 'p'}
    >>> ek.Tier("AU12", intensity=True).labels
    {'AU12': ''}
    """

    name: str
    labels: Mapping[str, str] | Sequence[str] = field(default=(), kw_only=True)
    intensity: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        labels = self.labels
        if isinstance(labels, str):
            raise TypeError(f"labels must be several strings or a mapping; got {labels!r}")
        if not isinstance(labels, Mapping):
            labels = dict.fromkeys(labels or [self.name], "")
        problems = [
            *(
                f"{label!r} is no label"
                for label in labels
                if not isinstance(label, str) or not label
            ),
            *(f"{key!r} is no single key" for key in labels.values() if len(key) > 1),
            *(f"{key!r} is a key of the player" for key in labels.values() if key in RESERVED_KEYS),
        ]
        if problems:
            raise ValueError(f"labels of tier {self.name!r}: {'; '.join(problems)}")
        object.__setattr__(self, "labels", dict(labels))


@dataclass(frozen=True)
class Trace:
    """A scale that is followed continuously while the clip plays, 25 values a second.

    Parameters
    ----------
    name : str
        Such as ``"valence"``.
    low, high : float
        Ends of the scale; of a relative trace, what is in view at first.
    relative : bool
        Whether movements add to the value, without any bound, rather than place it on
        the scale. People agree on changes more than on levels.

    Examples
    --------
    >>> import emokit as ek
    >>> ek.Trace("valence")
    Trace(name='valence', low=-1.0, high=1.0, relative=False)
    """

    name: str
    low: float = field(default=-1.0, kw_only=True)
    high: float = field(default=1.0, kw_only=True)
    relative: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        numeric = all(isinstance(end, numbers.Real) for end in (self.low, self.high))
        if not (numeric and -math.inf < self.low < self.high < math.inf):
            raise ValueError(
                f"low and high of trace {self.name!r} must be finite numbers, the lower first; "
                f"got {self.low!r}, {self.high!r}"
            )


def prepare_tiers(tiers: Iterable[Tier | Trace | str]) -> list[Tier | Trace]:
    """Tiers with names that differ and a key for every label.

    Raises
    ------
    TypeError, ValueError
        If one is no tier, or a name or a key comes twice.

    Examples
    --------
    >>> from emokit.tiers import Tier, prepare_tiers
    >>> prepare_tiers(["blink", Tier("smile", labels=["felt", "posed"])])[1].labels
    {'felt': '2', 'posed': '3'}
    """
    if isinstance(tiers, str | Tier | Trace):
        raise TypeError(f"tiers must be a list of tiers; got {tiers!r}")
    tiers = [Tier(tier) if isinstance(tier, str) else tier for tier in tiers]
    for tier in tiers:
        if not isinstance(tier, Tier | Trace):
            raise TypeError(f"tiers must hold Tier, Trace or names; got {type(tier).__name__}")
        if not isinstance(tier.name, str) or not tier.name:
            raise ValueError(f"the name of a tier must be some text; got {tier.name!r}")
    _refuse_twice("tiers", "name", [tier.name for tier in tiers])
    given = [k for t in tiers if isinstance(t, Tier) for k in t.labels.values() if k]
    _refuse_twice("tiers", "key", given)
    if _RECORD_KEY in given and any(isinstance(tier, Trace) for tier in tiers):
        raise ValueError(f"key {_RECORD_KEY!r} records traces; give its label another one")
    free = (key for key in _FREE_KEYS if key not in given)
    return [
        replace(t, labels={label: key or next(free, "") for label, key in t.labels.items()})
        if isinstance(t, Tier)
        else t
        for t in tiers
    ]


def _refuse_twice(argument: str, what: str, values: list[str]) -> None:
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"{argument} must each have their own {what}; twice: {', '.join(twice)}")


def join_tiers(wanted: list[Tier | Trace], own: list[Tier | Trace]) -> list[Tier | Trace]:
    """Tiers as they are wanted now, then those of the file that nobody asked for."""
    names = {tier.name for tier in wanted}
    kinds = {tier.name: type(tier) for tier in wanted}
    for tier in own:
        if kinds.get(tier.name, type(tier)) is not type(tier):
            raise ValueError(f"tier {tier.name!r} is of another kind in the file")
    taken = {k for t in wanted if isinstance(t, Tier) for k in t.labels.values()}
    rest = [tier for tier in own if tier.name not in names]
    return wanted + [
        replace(t, labels={label: "" if key in taken else key for label, key in t.labels.items()})
        if isinstance(t, Tier)
        else t
        for t in rest
    ]


def tier_json(tier: Tier | Trace) -> dict:
    """A tier as a file and the browser hold it."""
    if isinstance(tier, Tier):
        return {
            "kind": "spans",
            "name": tier.name,
            "labels": dict(tier.labels),
            "intensity": tier.intensity,
        }
    return {
        "kind": "trace",
        "name": tier.name,
        "low": tier.low,
        "high": tier.high,
        "relative": tier.relative,
    }


def tier_from_json(one: Mapping) -> Tier | Trace:
    """The tier that :func:`tier_json` wrote."""
    if one["kind"] == "spans":
        return Tier(one["name"], labels=one["labels"], intensity=one["intensity"])
    return Trace(one["name"], low=one["low"], high=one["high"], relative=one["relative"])
