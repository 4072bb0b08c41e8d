"""Benchmark data as Lightning data modules."""

from geqlib.data.digits import DigitsData
from geqlib.data.nbody import NBodyData

__all__ = ["DigitsData", "NBodyData"]
