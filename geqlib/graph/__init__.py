"""Index plans and checks of graphs."""

from geqlib.graph.checks import check_graph
from geqlib.graph.edges import EdgePlan, directed_plan, paired_plan, reverse_edges
from geqlib.graph.neighbors import radius_graph
from geqlib.graph.pool import sum_pool
from geqlib.graph.tree import TreePlan, reduce_tree, tree_plan

__all__ = [
    "EdgePlan",
    "TreePlan",
    "check_graph",
    "directed_plan",
    "paired_plan",
    "radius_graph",
    "reduce_tree",
    "reverse_edges",
    "sum_pool",
    "tree_plan",
]
