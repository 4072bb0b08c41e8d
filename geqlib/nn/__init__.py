"""Layers: ordinary modules on plain tensors."""

from geqlib.atoms.long_range import GaussianCharges
from geqlib.atoms.zbl import ZBL
from geqlib.escaip.attention import NeighborhoodAttention
from geqlib.frames.averaging import FrameAveraging
from geqlib.frames.local_frames import LocalFrames
from geqlib.frames.soft_orders import SoftOrder
from geqlib.frames.transport import FrameTransport
from geqlib.gaunt.convolution import GauntConvolution
from geqlib.gaunt.power import GauntPower
from geqlib.gaunt.product import GauntTensorProduct
from geqlib.gaunt.self_mix import SelfMix
from geqlib.graph.categories import CategoryEmbedding
from geqlib.monoid.aggregation import MonoidAggregation, auxiliary_loss
from geqlib.monoid.networks import AggregateConv
from geqlib.ponita.conv import FiberConv, PositionOrientationConv
from geqlib.ponita.kernel import Basis, KernelBasis
from geqlib.radial import (
    BesselBasis,
    LogGaussianBasis,
    PolynomialCutoff,
    PolynomialFeatures,
    RadialNetwork,
)
from geqlib.spen.conv import SubgraphConv

__all__ = [
    "ZBL",
    "AggregateConv",
    "Basis",
    "BesselBasis",
    "CategoryEmbedding",
    "FiberConv",
    "FrameAveraging",
    "FrameTransport",
    "GauntConvolution",
    "GauntPower",
    "GauntTensorProduct",
    "GaussianCharges",
    "KernelBasis",
    "LocalFrames",
    "LogGaussianBasis",
    "MonoidAggregation",
    "NeighborhoodAttention",
    "PolynomialCutoff",
    "PolynomialFeatures",
    "PositionOrientationConv",
    "RadialNetwork",
    "SelfMix",
    "SoftOrder",
    "SubgraphConv",
    "auxiliary_loss",
]
