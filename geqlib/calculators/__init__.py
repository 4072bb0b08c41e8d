"""Trained potentials in other people's programs."""

from geqlib.calculators.alarm import ExtrapolationAlarm
from geqlib.calculators.ase import GeqCalculator

__all__ = ["ExtrapolationAlarm", "GeqCalculator"]
