"""Widgets that show a clip beside what emokit found in it."""

from .player import Player, play

__all__ = ["Player", "play"]
