"""Values of the functions that kernels are linear maps of."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from geqlib.graph.edges import EdgePlan


@dataclass(frozen=True)
class Basis:
    """Values of the basis functions on one batch, with the plan that says what each row serves.

    Args:
        edge: [R, O, B], or [R, O, O, B] (target, source orientation) if not separable. O = 1
            for R^n and with one orientation a node. [R, B] if factored: functions of distance.
        angle: [R, O, M] harmonics of the direction, if factored, else None.
        loop, loop_angle: the same for a zero offset: one row for all nodes, or one a node with
            one orientation a node; None without loops.
        fiber: [O, O, B] on pairs of grid orientations; None if there are none, or not separable.
        offset: [R, d] from the target to the source of each row.
        plan: the rows.
        antipode: [O] index of -o for each grid orientation o, where rows are shared.

    Example:
        >>> import torch
        >>> from geqlib.nn import KernelBasis
        >>> kernel = KernelBasis("R3", 8)
        >>> basis = kernel(torch.randn(3, 3), torch.tensor([[0, 1, 2], [1, 0, 0]]))
        >>> basis.edge.shape, basis.orientations
        (torch.Size([2, 1, 8]), 1)
    """

    edge: Tensor
    angle: Tensor | None
    loop: Tensor | None
    loop_angle: Tensor | None
    fiber: Tensor | None
    offset: Tensor
    plan: EdgePlan
    antipode: Tensor | None

    @property
    def orientations(self) -> int:
        """O."""
        return (self.edge if self.angle is None else self.angle).size(1)
