"""Widgets that show a clip beside what emokit found in it."""

from .link import Link, link
from .player import Player, play

__all__ = ["Link", "Player", "link", "play"]
