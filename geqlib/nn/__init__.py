"""Layers: ordinary modules on plain tensors."""

from geqlib.nn.fiber import FiberConv, PositionOrientationConv
from geqlib.nn.kernel import Basis, KernelBasis
from geqlib.nn.radial import LogGaussianBasis, PolynomialCutoff, PolynomialFeatures

__all__ = [
    "Basis",
    "FiberConv",
    "KernelBasis",
    "LogGaussianBasis",
    "PolynomialCutoff",
    "PolynomialFeatures",
    "PositionOrientationConv",
]
