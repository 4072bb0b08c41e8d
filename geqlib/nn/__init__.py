"""Layers: ordinary modules on plain tensors."""

from geqlib.nn.fiber import FiberConv, PositionOrientationConv
from geqlib.nn.gaunt import GauntTensorProduct
from geqlib.nn.kernel import Basis, KernelBasis
from geqlib.nn.monoid import MonoidAggregation, auxiliary_loss
from geqlib.nn.radial import LogGaussianBasis, PolynomialCutoff, PolynomialFeatures

__all__ = [
    "Basis",
    "FiberConv",
    "GauntTensorProduct",
    "KernelBasis",
    "LogGaussianBasis",
    "MonoidAggregation",
    "PolynomialCutoff",
    "PolynomialFeatures",
    "PositionOrientationConv",
    "auxiliary_loss",
]
