"""Graphs: TU data sets, expressivity, generated graphs."""

from geqlib.data.graphs.ego_nets import EgoNets
from geqlib.data.graphs.module import GraphData
from geqlib.data.graphs.multitask import MultitaskData

__all__ = ["EgoNets", "GraphData", "MultitaskData"]
