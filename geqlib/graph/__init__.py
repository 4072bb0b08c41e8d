"""Index plans and checks of graphs."""

from geqlib.graph.edges import EdgePlan, directed_plan, paired_plan, reverse_edges
from geqlib.graph.pool import sum_pool

__all__ = ["EdgePlan", "directed_plan", "paired_plan", "reverse_edges", "sum_pool"]
