"""Layers: ordinary modules on plain tensors."""

from geqlib.nn.aggregate import AggregateConv
from geqlib.nn.bessel import BesselBasis, RadialNetwork
from geqlib.nn.categories import CategoryEmbedding
from geqlib.nn.fiber import FiberConv, PositionOrientationConv
from geqlib.nn.frames import FrameAveraging
from geqlib.nn.gaunt import GauntTensorProduct
from geqlib.nn.gaunt_convolution import GauntConvolution
from geqlib.nn.gaunt_power import GauntPower
from geqlib.nn.kernel import Basis, KernelBasis
from geqlib.nn.monoid import MonoidAggregation, auxiliary_loss
from geqlib.nn.radial import LogGaussianBasis, PolynomialCutoff, PolynomialFeatures
from geqlib.nn.self_mix import SelfMix
from geqlib.nn.subgraph import SubgraphConv
from geqlib.nn.zbl import ZBL

__all__ = [
    "ZBL",
    "AggregateConv",
    "Basis",
    "BesselBasis",
    "CategoryEmbedding",
    "FiberConv",
    "FrameAveraging",
    "GauntConvolution",
    "GauntPower",
    "GauntTensorProduct",
    "KernelBasis",
    "LogGaussianBasis",
    "MonoidAggregation",
    "PolynomialCutoff",
    "PolynomialFeatures",
    "PositionOrientationConv",
    "RadialNetwork",
    "SelfMix",
    "SubgraphConv",
    "auxiliary_loss",
]
