"""Ego nets of each graph, before batching."""

from __future__ import annotations

from typing import Any

from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from geqlib.spen.ego_nets import Direction, Neighbourhood, Oversize
from geqlib.spen.plan import ego_plan


class EgoNets(BaseTransform):
    """Store the ego nets of a graph as `data.plan`.

    A batch then has the plans of its graphs in a list, which `geqlib.models.SPEN` and
    `geqlib.graph.join_plans` take.

    Args:
        hops, direction, max_size, oversize, seed: see `geqlib.spen.ego_nets.Neighbourhood`.
        symmetric, shared: see `geqlib.graph.ego_plan`.

    Example:
        >>> import torch
        >>> graph = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=3)
        >>> EgoNets(hops=2)(graph).plan.size.tolist()
        [2, 2, 1]
    """

    def __init__(
        self,
        hops: int = 1,
        *,
        symmetric: bool = False,
        shared: bool = True,
        direction: Direction = "out",
        max_size: int | None = None,
        oversize: Oversize = "raise",
        seed: int = 0,
    ) -> None:
        neighbourhood = Neighbourhood(hops, direction, max_size, oversize, seed)
        kind = {"symmetric": symmetric, "shared": shared}
        self.options: dict[str, Any] = vars(neighbourhood) | kind

    def forward(self, data: Any) -> Data:
        data.plan = ego_plan(data.edge_index, data.num_nodes, **self.options)
        return data

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"{type(self).__name__}({options})"
