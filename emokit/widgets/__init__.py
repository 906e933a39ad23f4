"""Widgets that show a clip beside what emokit found in it."""

from .annotator import Annotator, annotate
from .link import Link, link
from .player import Player, play

__all__ = ["Annotator", "Link", "Player", "annotate", "link", "play"]
