"""Several players on one clock."""

from __future__ import annotations

import uuid

from .player import Player


class Link:
    """Players on one clock, until :meth:`unlink`; made by :func:`link`."""

    def __init__(self, players: tuple[Player, ...]) -> None:
        self._players = players
        self._name = uuid.uuid4().hex
        for player in players:
            player._clock = self._name

    def unlink(self) -> None:
        """Let each player go its own way again."""
        for player in self._players:
            if player._clock == self._name:
                player._clock = ""

    def __repr__(self) -> str:
        return f"<Link of {len(self._players)} players>"


def link(*players: Player) -> Link:
    """Put players on one clock, to compare two clips, or two readings of one.

    What is done to one of them in the browser (play, pause, seek, speed) the others do
    too; of two that play, the one that was started keeps the time. A clip that is
    shorter waits at its end.

    Parameters
    ----------
    *players : Player
        Two or more, shown on the same page. One that was on another clock leaves it.

    Returns
    -------
    Link
        ``unlink()`` ends it.

    Raises
    ------
    TypeError
        If one of them is not a player.
    ValueError
        If there are fewer than two.

    Examples
    --------
    >>> import numpy as np, emokit as ek
    >>> voice = ek.schema.build_dataset(
    ...     "voice", {"f0": np.full(9, 120.0)}, {"time": np.arange(9) / 10}, history="[]"
    ... )
    >>> both = ek.link(ek.play(voice), ek.play(voice))
    >>> both
    <Link of 2 players>
    >>> both.unlink()
    """
    for player in players:
        if not isinstance(player, Player):
            raise TypeError(f"players must be made by play; got {type(player).__name__}")
    if len(set(map(id, players))) < 2:
        raise ValueError("players must be two or more, each another one")
    return Link(players)
