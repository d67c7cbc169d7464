"""Typographical noise that is right for the script: typing mistakes, lost marks, look-alikes. See docs/noise.md."""

from polystilts.data.noise.edits import KINDS
from polystilts.data.noise.noise import (
    HELD_OUT_KINDS,
    TRAIN_KINDS,
    Counts,
    Coverage,
    Noise,
    NoiseSettings,
    describe,
)

__all__ = [
    "HELD_OUT_KINDS",
    "KINDS",
    "TRAIN_KINDS",
    "Counts",
    "Coverage",
    "Noise",
    "NoiseSettings",
    "describe",
]
