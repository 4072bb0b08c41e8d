"""Graphs as index tensors: edges, neighbour lists, pooling and checks."""

from typing import Any

from geqlib.graph.checks import check_graph
from geqlib.graph.edges import EdgePlan, directed_plan, paired_plan, reverse_edges
from geqlib.graph.neighbors import Neighbors, neighbor_list, radius_graph
from geqlib.graph.plan import Plan, accepted
from geqlib.graph.pool import sum_pool

__all__ = [
    "EdgePlan",
    "Neighbors",
    "Plan",
    "accepted",
    "check_graph",
    "directed_plan",
    "neighbor_list",
    "paired_plan",
    "radius_graph",
    "reverse_edges",
    "sum_pool",
]


def __getattr__(name: str) -> Any:
    from geqlib.moved import moved_name

    return moved_name(__name__, name)
