"""Benchmark data as Lightning data modules."""

from geqlib.data.graphs.ego_nets import EgoNets
from geqlib.data.graphs.generation import GraphGeneration
from geqlib.data.graphs.module import GraphData
from geqlib.data.graphs.multitask import MultitaskData
from geqlib.data.graphs.own import OwnGraphData
from geqlib.data.molecules.compound_subsets import CompoundSubsetData
from geqlib.data.molecules.levels import LevelsData
from geqlib.data.molecules.md17 import MD17Data
from geqlib.data.molecules.module import MoleculeData
from geqlib.data.molecules.moleculenet import MoleculeNetData
from geqlib.data.molecules.ogb import OgbMoleculeData
from geqlib.data.molecules.penalised_logp import PenalisedLogPData
from geqlib.data.molecules.properties import PropertyData
from geqlib.data.molecules.qm9 import QM9Data
from geqlib.data.molecules.qm9_generation import QM9Generation
from geqlib.data.molecules.table import MoleculeTableData
from geqlib.data.molecules.zinc import ZincData
from geqlib.data.points.clouds import PointCloudData
from geqlib.data.points.images import DigitsData, SuperpixelData
from geqlib.data.points.nbody import NBodyData
from geqlib.data.points.own import CloudData
from geqlib.data.sets import SetData
from geqlib.data.subset_table import SubsetTableData
from geqlib.data.subsets import SubsetData

from_networkx = GraphData.from_networkx

__all__ = [
    "CloudData",
    "CompoundSubsetData",
    "DigitsData",
    "EgoNets",
    "GraphData",
    "GraphGeneration",
    "LevelsData",
    "MD17Data",
    "MoleculeData",
    "MoleculeNetData",
    "MoleculeTableData",
    "MultitaskData",
    "NBodyData",
    "OgbMoleculeData",
    "OwnGraphData",
    "PenalisedLogPData",
    "PointCloudData",
    "PropertyData",
    "QM9Data",
    "QM9Generation",
    "SetData",
    "SubsetData",
    "SubsetTableData",
    "SuperpixelData",
    "ZincData",
    "from_networkx",
]
