"""Graphs, plans and random tensors on which sums over edges are compared."""

from __future__ import annotations

import torch
from torch import Tensor

from geqlib.graph import EdgePlan, directed_plan, paired_plan
from geqlib.kernels.edge_product import edge_product

POINTS, FACTORS, CHANNELS = 4, 3, 2
ANTIPODE = torch.tensor([2, 3, 0, 1])
# nodes, sources above targets: repeats, loops, nodes without edges
GRAPHS: dict[str, tuple[int, list[list[int]]]] = {
    "no nodes": (0, [[], []]),
    "no edges": (3, [[], []]),
    "one edge": (2, [[0], [1]]),
    "one way": (4, [[0, 1, 2, 3], [1, 2, 0, 0]]),
    "both ways": (3, [[0, 1, 0, 2, 1, 2], [1, 0, 2, 0, 2, 1]]),
    "star": (6, [[1, 2, 3, 4, 0, 0], [0, 0, 0, 0, 4, 5]]),
    "repeats and loops": (4, [[0, 0, 1, 1, 1, 2, 2, 0], [1, 1, 0, 2, 1, 2, 2, 2]]),
}
# kernels by their values or by factors; served edges: one, or both with the opposite points or not
FORMS = ("values", "factors")
SIDES = ("directed", "paired", "antipodal")
# kernels of nodes to themselves: none, one for all, one for each
OWN = ("none", "shared", "each")


class Sample:
    """A plan and random tensors in float64: features and kernel, or features and two factors."""

    def __init__(self, graph: str, form: str, side: str, own: str = "none") -> None:
        nodes, edges = GRAPHS[graph]
        edge_index = torch.tensor(edges).long().view(2, -1)
        make = directed_plan if side == "directed" else paired_plan
        self.plan: EdgePlan = make(edge_index, nodes)
        self.antipode = ANTIPODE if side == "antipodal" else None
        self.own = {"none": 0, "shared": 1, "each": nodes}[own]
        count = len(self.plan.edge) + self.own
        generator = torch.Generator().manual_seed(0)
        shapes = [(nodes, POINTS, CHANNELS), (count, POINTS, CHANNELS)]
        if form == "factors":
            shapes[1:] = [(count, POINTS, FACTORS), (count, FACTORS, CHANNELS)]
        self.tensors = [
            torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes
        ]

    def __call__(self, x: Tensor, kernel: Tensor, weight: Tensor | None = None) -> Tensor:
        return edge_product(x, kernel, self.plan, weight=weight, antipode=self.antipode)

    def literal(self, x: Tensor, kernel: Tensor, weight: Tensor | None = None) -> Tensor:
        """Message by message."""
        if weight is not None:
            kernel = torch.einsum("rpm,rmc->rpc", kernel, weight)
        y = [0 * row + 0 * kernel.sum() for row in x]
        loops = kernel[len(self.plan.edge) :].expand(len(x), -1, -1) if self.own else 0 * x
        y = [row + k * v for row, k, v in zip(y, loops, x, strict=True)]
        ends = zip(self.plan.source.tolist(), self.plan.target.tolist(), strict=True)
        for r, (source, target) in enumerate(ends):
            y[target] = y[target] + kernel[r] * x[source]
            if r < self.plan.paired:
                back = kernel[r] if self.antipode is None else kernel[r][self.antipode]
                y[source] = y[source] + back * x[target]
        return torch.stack(y) if y else 0 * x

    def leaves(self) -> list[Tensor]:
        return [t.clone().requires_grad_() for t in self.tensors]
