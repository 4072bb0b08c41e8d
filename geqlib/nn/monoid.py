"""Aggregation by a learnt commutative monoid: a balanced tree of products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch_geometric.nn.aggr import Aggregation

from geqlib.graph.tree import TreePlan, tree_plan
from geqlib.nn.operators import (
    BinaryGRU,
    ComplexProduct,
    GatedSum,
    LogSumExp,
    Max,
    Operator,
    Sum,
    TopK,
    UserOperator,
)
from geqlib.nn.regularisers import associativity_loss, identity_loss
from geqlib.nn.tree_reduce import permute_rows, reduce_tree

Name = Literal["gru", "gated", "topk", "logsumexp", "max", "sum", "product"]
Order = Literal["stable", "random", "canonical", "average"]
OPERATORS: dict[str, type[Operator]] = {
    "gru": BinaryGRU,
    "gated": GatedSum,
    "topk": TopK,
    "logsumexp": LogSumExp,
    "max": Max,
    "sum": Sum,
    "product": ComplexProduct,
}


class MonoidAggregation(Aggregation):
    """Reduces every set by a commutative operator, in a balanced tree of n - 1 products.

    Symmetry: with exact operators, every order of the elements; with learnt ones the canonical
    order (`order="canonical"`) makes the result independent of the given one, and otherwise it is
    as invariant as the operator is associative. Source: Ong and Velickovic (LoG 2022, arXiv
    2212.08541), section 4. With a, b, c, ... the elements of a set,

        y = P decode(((a + b) + (c + d)) + ...)      for one operator +, or several side by side

    where P is a linear map back to C channels, or nothing if there are C already. An empty set
    gives the operator's identity. No padding: a set's result does not depend on its batch-mates.

    Args:
        channels: C.
        operator: "gru" and "gated" are learnt; "topk" (k = 2), "logsumexp", "max", "sum" and
            "product" (of exp(i x)) exactly associative. Or a module f(a, b) of [..., C] tensors,
            or a list of any of these, each of which acts on all channels.
        order: of the elements at evaluation: as they stand, at random, sorted by a fixed projection
            (invariant up to ties), or the average over random orders.
        samples: how many random orders are averaged; they are the same at every call.
        shuffle: whether training takes a random order.
        assoc: weight of the associativity loss |(a + b) + c - a + (b + c)|^2 on the tree's triples.
        identity: weight of the identity loss |x + e - x|^2 on the elements x.

    Shapes:
        x [..., N, ..., C] with the elements along `dim`, index [N], output the same with N replaced
        by `dim_size`.

    Raises:
        ValueError: options out of range; x of another width, of integers, or not finite; index and
            ptr both given or out of range; an operator that does not keep the shape. Numbers and
            ranges are looked at where the plan is made, so not with a `plan`.

    Example:
        >>> agg = MonoidAggregation(8, operator=["gru", "topk"]).eval()
        >>> agg(torch.randn(4, 8), torch.tensor([2, 0, 2, 2]), dim_size=5).shape
        torch.Size([5, 8])
    """

    def __init__(
        self,
        channels: int,
        operator: Name | nn.Module | Sequence[Name | nn.Module] = "gru",
        *,
        order: Order = "stable",
        samples: int = 4,
        shuffle: bool = True,
        assoc: float = 0.0,
        identity: float = 0.0,
    ) -> None:
        super().__init__()
        if order not in Order.__args__:
            raise ValueError(f"order '{order}' is unknown: choose {', '.join(Order.__args__)}.")
        if samples < 1 or min(assoc, identity) < 0:
            raise ValueError(
                f"samples must be at least 1 and loss weights at least 0, got {samples}, {assoc} "
                f"and {identity}."
            )
        several = isinstance(operator, Sequence) and not isinstance(operator, str)
        chosen = list(operator) if several else [operator]
        self.channels, self.order, self.samples, self.shuffle = channels, order, samples, shuffle
        self.assoc, self.identity = assoc, identity
        self.operators = nn.ModuleList([_operator(channels, x) for x in chosen])
        width = sum(x.out_channels for x in self.operators)
        self.project = nn.Linear(width, channels) if several or width != channels else None
        self.aux_losses: list[Tensor] = []

    def reset_parameters(self) -> None:
        for operator in self.operators:
            operator.reset_parameters()
        if self.project is not None:
            self.project.reset_parameters()

    def train(self, mode: bool = True) -> MonoidAggregation:
        self.aux_losses.clear()
        return super().train(mode)

    def __call__(self, x: Tensor, *args: Any, plan: TreePlan | None = None, **kwargs: Any) -> Any:
        # Aggregation would look for the largest index, which a plan makes needless
        if plan is None:
            return super().__call__(x, *args, **kwargs)
        return nn.Module.__call__(self, x, *args, plan=plan, **kwargs)

    def forward(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
        max_num_elements: int | None = None,
        *,
        plan: TreePlan | None = None,
    ) -> Tensor:
        """Reduce the sets of `index`, of `ptr` or of a `plan` made before by `tree_plan`."""
        self._check(x, dim)
        rows = x.movedim(dim, 0)
        if plan is None:
            _check_finite(x)
            plans = self._plans(rows, index, ptr, dim_size)
        else:
            plans = [plan]
        if plans[0].num_elements != len(rows):
            raise ValueError(f"{plans[0].num_elements} elements are indexed, but x has {len(rows)}.")
        results = [self._reduce(rows, p) for p in plans]
        out = results[0] if len(results) == 1 else torch.stack(results).mean(0)
        return out.movedim(0, dim)

    def _check(self, x: Tensor, dim: int) -> None:
        if not x.is_floating_point():
            raise ValueError(f"x has dtype {x.dtype}: convert it with .float().")
        if x.size(-1) != self.channels:
            raise ValueError(f"x has {x.size(-1)} channels, but the layer has {self.channels}.")
        if dim in (-1, x.dim() - 1):
            raise ValueError(f"dim is {dim}, but the last dimension holds the channels.")

    def _plans(
        self, rows: Tensor, index: Tensor | None, ptr: Tensor | None, dim_size: int | None
    ) -> list[TreePlan]:
        order = "stable" if all(x.exact for x in self.operators) else self.order
        if self.training and order != "stable" or self.training and self.shuffle:
            order = "random" if self.shuffle else "stable"
        return []

    def _reduce(self, rows: Tensor, plan: TreePlan) -> Tensor:
        results = []
        return results[0]

    def __repr__(self) -> str:
        names = ", ".join(map(repr, self.operators))
        return f"{type(self).__name__}({self.channels}, operator=[{names}], order={self.order!r})"
