"""Trained potentials in other people's programs."""

from geqlib.calculators.alarm import ExtrapolationAlarm
from geqlib.calculators.ase import GeqCalculator
from geqlib.calculators.lammps import LammpsForces
from geqlib.calculators.mliap import MLIAPModel

# geqlib.calculators.torch_sim.TorchSimModel is imported by itself: it is a class of torch-sim's
__all__ = ["ExtrapolationAlarm", "GeqCalculator", "LammpsForces", "MLIAPModel"]
