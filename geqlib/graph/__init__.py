"""Index plans and checks of graphs."""

from geqlib.graph.checks import check_graph
from geqlib.graph.edges import EdgePlan, directed_plan, paired_plan, reverse_edges
from geqlib.graph.ego import EgoPlan, ego_plan, graph_plan, join_plans
from geqlib.graph.ego_parts import EgoPart, split_by_size
from geqlib.graph.groups import random_groups
from geqlib.graph.incidence import Incidence
from geqlib.graph.neighbors import Neighbors, neighbor_list, radius_graph
from geqlib.graph.pool import sum_pool
from geqlib.graph.reach import Reach
from geqlib.graph.tree import TreePlan, reduce_tree, tree_plan

__all__ = [
    "EdgePlan",
    "EgoPart",
    "EgoPlan",
    "Incidence",
    "Neighbors",
    "Reach",
    "TreePlan",
    "check_graph",
    "directed_plan",
    "ego_plan",
    "graph_plan",
    "join_plans",
    "neighbor_list",
    "paired_plan",
    "radius_graph",
    "random_groups",
    "reduce_tree",
    "reverse_edges",
    "split_by_size",
    "sum_pool",
    "tree_plan",
]
