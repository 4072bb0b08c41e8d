"""Benchmark data as Lightning data modules."""

from geqlib.data.digits import DigitsData
from geqlib.data.ego_nets import EgoNets
from geqlib.data.graphs import GraphData
from geqlib.data.md17 import MD17Data
from geqlib.data.moleculenet import MoleculeNetData
from geqlib.data.molecules import MoleculeData
from geqlib.data.multitask import MultitaskData
from geqlib.data.nbody import NBodyData
from geqlib.data.point_clouds import PointCloudData
from geqlib.data.qm9 import QM9Data
from geqlib.data.sets import SetData
from geqlib.data.superpixels import SuperpixelData
from geqlib.data.zinc import ZincData

from_networkx = GraphData.from_networkx

__all__ = [
    "DigitsData",
    "EgoNets",
    "GraphData",
    "MD17Data",
    "MoleculeData",
    "MoleculeNetData",
    "MultitaskData",
    "NBodyData",
    "PointCloudData",
    "QM9Data",
    "SetData",
    "SuperpixelData",
    "ZincData",
    "from_networkx",
]
