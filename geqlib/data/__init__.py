"""Benchmark data as Lightning data modules."""

from geqlib.data.nbody import NBodyData

__all__ = ["NBodyData"]
