"""Trained potentials in other people's programs."""

from geqlib.calculators.ase import GeqCalculator

__all__ = ["GeqCalculator"]
