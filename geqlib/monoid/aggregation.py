"""Aggregation by a learnt commutative monoid: a balanced tree of products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch_geometric.nn.aggr import Aggregation

from geqlib.monoid.binary_gru import BinaryGRU
from geqlib.monoid.groups import random_groups
from geqlib.monoid.operators import (
    ComplexProduct,
    GatedSum,
    LogSumExp,
    Max,
    Operator,
    Product,
    Sum,
    TopK,
    UserOperator,
)
from geqlib.monoid.selection import Selection
from geqlib.monoid.tree import TreePlan, reduce_tree, tree_plan

Name = Literal["gru", "select", "gated", "topk", "logsumexp", "max", "sum", "product"]
Order = Literal["stable", "random", "canonical", "average"]
OPERATORS: dict[str, Callable[[int], Operator]] = {
    "gru": BinaryGRU,
    "select": Selection,
    "gated": GatedSum,
    "topk": TopK,
    "logsumexp": LogSumExp,
    "max": Max,
    "sum": Sum,
    "product": ComplexProduct,
}
Joined = list[tuple[Tensor, Tensor, Tensor]]  # left, right and waiting rows of each level
Plans = tuple[TreePlan, ...]  # of the elements, then of what they made, ...


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
        operator: "gru", "select" and "gated" are learnt; "topk" (k = 2), "logsumexp", "max", "sum"
            and "product" (of exp(i x)) exactly associative. Or a module f(a, b) of [..., C]
            tensors, or a list of any of these, each of which acts on all channels.
        order: of the elements at evaluation: as they stand, at random, sorted by a fixed projection
            (invariant up to ties), or the average over random orders.
        samples: how many random orders are averaged; they are the same at every call.
        shuffle: whether training takes a random order.
        regroup: whether training joins random groups of every set first and then the groups, as
            many products in trees of all shapes: what it learns carries over to larger sets. Sets
            that are given by a plan or by ptr keep their trees.
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
        regroup: bool = False,
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
        given: Any = operator
        chosen = list(given) if several else [given]
        self.channels, self.order, self.samples, self.shuffle = channels, order, samples, shuffle
        self.regroup, self.assoc, self.identity = regroup, assoc, identity
        made = [_operator(channels, x) for x in chosen]
        self.operators: Any = nn.ModuleList(made)
        width = sum(x.out_channels for x in made)
        self.project = nn.Linear(width, channels) if several or width != channels else None
        self.aux_losses: list[Tensor] = []

    @property
    def exact(self) -> bool:
        """Whether every operator is associative up to rounding, so that order is idle."""
        return all(operator.exact for operator in self.operators)

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
            plans = self._plans(rows, index=index, ptr=ptr, dim_size=dim_size)
        else:
            plans = [(plan,)]
        if plans[0][0].num_elements != len(rows):
            raise ValueError(
                f"x has {len(rows)} elements, but {plans[0][0].num_elements} are in sets: give "
                "each element a set."
            )
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

    def _plans(self, rows: Tensor, index: Any, ptr: Any, dim_size: Any) -> list[Plans]:
        sets = {"index": index, "ptr": ptr, "dim_size": dim_size}
        if self.training and self.regroup and ptr is None and not self.exact:
            group, owner = random_groups(index, dim_size)
            first = tree_plan(group, key=_random(rows))
            return [(first, tree_plan(owner, dim_size, key=_random(owner)))]
        order = "random" if self.training and self.shuffle else self.order
        if order == "stable" or self.exact:
            return [(tree_plan(**sets),)]
        if order == "canonical":
            return [(tree_plan(**sets, key=_score(rows.detach())),)]
        if order == "random":
            return [(tree_plan(**sets, key=_random(rows)),)]
        seeds = range(self.samples)
        return [(tree_plan(**sets, key=torch.Generator().manual_seed(seed)),) for seed in seeds]

    def _reduce(self, rows: Tensor, plans: Plans) -> Tensor:
        results = []
        for operator in self.operators:
            state = operator.encode(rows)
            neutral = operator.identity(state)
            product = operator.product()
            for plan in plans:
                out, joined = reduce_tree(product, state, neutral, plan)
                if self.training and not operator.exact:
                    self._keep_losses(product, state, neutral, plan, joined)
                state = out
            results.append(operator.decode(state))
        out = results[0] if len(results) == 1 else torch.cat(results, -1)
        return out if self.project is None else self.project(out)

    def _keep_losses(
        self, product: Product, state: Tensor, neutral: Tensor, plan: TreePlan, joined: Joined
    ) -> None:
        if self.assoc and len(joined) > 1:
            self.aux_losses.append(self.assoc * _associativity_loss(product, plan, joined))
        if self.identity:
            error = product(state, neutral.expand_as(state)) - state
            self.aux_losses.append(self.identity * _mean_square(error))

    def __repr__(self) -> str:
        names = ", ".join(map(repr, self.operators))
        return f"{type(self).__name__}({self.channels}, operator=[{names}], order={self.order!r})"


def auxiliary_loss(model: nn.Module) -> Tensor | float:
    """The sum of what layers such as `MonoidAggregation` have to add to a training loss.

    They list it as `aux_losses` in forward passes in training; this takes it, so call it once a
    step: `(loss + auxiliary_loss(model)).backward()`. It is 0 for models that have none.

    Example:
        >>> agg = MonoidAggregation(8, assoc=1.0)
        >>> y = agg(torch.randn(5, 8))
        >>> bool(auxiliary_loss(agg) > 0), auxiliary_loss(agg)
        (True, 0.0)
    """
    total: Tensor | float = 0.0
    for layer in model.modules():
        losses = getattr(layer, "aux_losses", None)
        if isinstance(losses, list):
            total = sum(losses, start=total)
            losses.clear()
    return total


def _operator(channels: int, given: Any) -> Operator:
    if isinstance(given, str):
        if given not in OPERATORS:
            raise ValueError(f"operator '{given}' is unknown: choose {', '.join(OPERATORS)}.")
        return OPERATORS[given](channels)
    if not isinstance(given, nn.Module):
        raise ValueError(f"operator must be a name or a module f(a, b), got {given!r}.")
    given = given if isinstance(given, Operator) else UserOperator(channels, given)
    if given.channels != channels:
        raise ValueError(f"{given} has {given.channels} channels, but the layer has {channels}.")
    return given


def _check_finite(x: Tensor) -> None:
    # one pass without a temporary: a sum shows every NaN
    if not torch.compiler.is_compiling() and bool(x.detach().sum().isnan()):
        raise ValueError("x is NaN or infinite somewhere: mend or drop that element.")


def _random(rows: Tensor) -> Tensor:
    return torch.randperm(len(rows), device=rows.device)


def _score(rows: Tensor) -> Tensor:
    """[N] a projection onto cos 1, ..., cos C: independent over the rationals, so few ties."""
    weights = torch.arange(1, rows.size(-1) + 1, device=rows.device).double().cos()
    return (rows.double() * weights).flatten(1).sum(1)


def _mean_square(x: Tensor) -> Tensor:
    """The mean of |x|^2 over rows, 0 if there are none."""
    return x.square().sum() / max(x.numel() // x.size(-1), 1)


def _associativity_loss(product: Product, plan: TreePlan, joined: Joined) -> Tensor:
    """The mean of |(a b) c - a (b c)|^2 over the tree's own triples.

    A node ((a, b), (c, d)) has two: (a, b, c) and (b, c, d); a node ((a, b), c) whose right
    partner had been waiting has one.
    """
    two, one, ends = [], [], []
    for level, below, (ab, cd, _) in zip(plan.levels[1:], joined, joined[1:], strict=False):
        left, right, odd = below
        of_left, of_right = level.order[: 2 * level.pairs].chunk(2)
        triple = (left[of_left], right[of_left], torch.cat([left, odd])[of_right], ab)
        n = level.twice
        two.append([x[:n] for x in triple])
        one.append([x[n:] for x in triple])
        ends.append((cd[:n], right[of_right[:n]]))
    a, b, c, ab = (torch.cat(x) for x in zip(*two, *one, strict=True))
    cd, d = (torch.cat(x) for x in zip(*ends, strict=True))
    bc, n = product(b, c), len(d)
    from_left = product(torch.cat([ab, bc[:n]]), torch.cat([c, d]))
    from_right = product(torch.cat([a, b[:n]]), torch.cat([bc, cd]))
    return _mean_square(from_left - from_right)
