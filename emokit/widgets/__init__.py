"""Widgets that show a clip beside what emokit found in it."""

from .player import Link, Player, link, play

__all__ = ["Link", "Player", "link", "play"]
