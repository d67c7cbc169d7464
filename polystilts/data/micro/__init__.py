"""THE MICRO WORLD: eight real languages of a few hundred words, in which every task has a miniature."""

from polystilts.data.micro.world import LANGUAGES, MicroWorld

__all__ = ["LANGUAGES", "MicroWorld"]
