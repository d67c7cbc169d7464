"""THE MICRO WORLD: eight real languages of a few hundred words, in which every task has a miniature."""

from polystilts.data.micro.grammar import LANGUAGES
from polystilts.data.micro.world import MicroWorld

__all__ = ["LANGUAGES", "MicroWorld"]
