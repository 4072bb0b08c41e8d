"""Index plans and checks of graphs."""

from geqlib.graph.checks import check_graph
from geqlib.graph.edges import EdgePlan, directed_plan, paired_plan, reverse_edges
from geqlib.graph.neighbors import radius_graph
from geqlib.graph.pool import sum_pool

__all__ = [
    "EdgePlan",
    "check_graph",
    "directed_plan",
    "paired_plan",
    "radius_graph",
    "reverse_edges",
    "sum_pool",
]
