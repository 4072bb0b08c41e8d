"""Aggregation by a learnt commutative monoid: a balanced tree of products f(a, b)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch_geometric.nn.aggr import Aggregation

from geqlib.graph.checks import values_readable
from geqlib.graph.functional import autocast_device, is_true, outside_vmap
from geqlib.kernels.symmetric_gru import Level, SymmetricGRU
from geqlib.monoid.operators import LearntOperator, Product, UserOperator, as_operator
from geqlib.monoid.tree import TreeLevel, TreePlan, tree_plan

Name = Literal["gru", "select", "gated", "topk", "logsumexp", "max", "sum", "product"]
Order = Literal["stable", "random", "canonical", "average"]


def reduce_tree(
    product: Product, x: Tensor, identity: Tensor, plan: TreePlan
) -> tuple[Tensor, list[Tensor]]:
    """Reduce every set by a product of two stacks of states, f: [P, ...], [P, ...] -> [P, ...].

    Args:
        product: f, called once a level.
        x: [N, ...] states of the elements.
        identity: [...] the result of an empty set.
        plan: of these elements.

    Returns:
        [num_sets, ...], and the members of each level that has pairs.

    Example:
        >>> plan = tree_plan(torch.tensor([2, 0, 2, 2]), 4)
        >>> reduce_tree(torch.add, torch.arange(4.0), torch.zeros(()), plan)[0].tolist()
        [1.0, 0.0, 5.0, 0.0]
    """
    states, finished = _levels(product, x, plan)
    finished += [states[-1].index_select(0, level.order) for level in plan.levels[plan.depth :]]
    empty = identity.expand(plan.empty, *identity.shape)
    return torch.cat([x[:0], *finished, empty]).index_select(0, plan.roots), states[:-1]


def _levels(product: Product, x: Tensor, plan: TreePlan) -> tuple[list[Tensor], list[Tensor]]:
    """The members of every level, and the results of the sets that are finished before the last."""
    levels = plan.levels[: plan.depth]
    if levels and isinstance(product, SymmetricGRU):
        states, finished = product.tree(
            x, [Level(v.order, v.pairs, v.waiting, v.in_order) for v in levels]
        )
        return [x, *states], finished
    states, finished = [x], []
    for level in levels:
        left, right, waiting, done = _arranged(states[-1], level)
        states.append(torch.cat([_checked(product(left, right), left), waiting]))
        finished.append(done)
    return states, finished


def _arranged(x: Tensor, level: TreeLevel) -> tuple[Tensor, ...]:
    """Left partners, right partners, waiting and finished members."""
    sizes = 2 * level.pairs, level.waiting, level.finished
    partners, *rest = x.index_select(0, level.order).split(sizes)
    left, right = partners.unflatten(0, (level.pairs, 2)).unbind(1)
    return left, right, *rest


class MonoidAggregation(Aggregation):
    """Reduces every set by a commutative operator, in a balanced tree of n - 1 products.

    Symmetry: with exact operators, every order of the elements; with learnt ones the canonical
    order (`order="canonical"`) makes the result independent of the order in which they stand, and
    otherwise it is as invariant as the operator is associative. Source: Ong and Velickovic (LoG
    2022, arXiv 2212.08541), section 4. With a, b, c, ... the elements of a set,

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
        samples: number of random orders that are averaged; they are the same at every call.
        shuffle: whether training takes a random order.
        regroup: False; True was an option of the first edition.
        assoc: weight of the associativity loss |(a + b) + c - a + (b + c)|^2 on the tree's triples.
        identity: weight of the identity loss |x + e - x|^2 on the elements x.

    Shapes:
        x [..., N, ..., C] with the elements along `dim`, index [N], output the same with N replaced
        by `dim_size`.

    Raises:
        ValueError: options out of range; x of another width, of integers, of another type than the
            weights outside autocast, or not finite; index and ptr both passed or out of range; an
            operator that does not keep the shape. Numbers and ranges are checked where the plan is
            made, so not with a `plan`.

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
        if regroup:
            raise ValueError(
                "regroup is no longer supported: for sets larger than those of the training, "
                'take operator="select" or "topk", or assoc above 0. Evaluation never used '
                "regroup, so a trained model loads with regroup=False."
            )
        several = isinstance(operator, Sequence) and not isinstance(operator, str)
        chosen: Any = operator if several else [operator]
        operators = [as_operator(channels, choice) for choice in chosen]
        self.channels, self.order, self.samples, self.shuffle = channels, order, samples, shuffle
        self.assoc, self.identity = assoc, identity
        self.operators: Any = nn.ModuleList(operators)
        width = sum(operator.out_channels for operator in operators)
        self.project = nn.Linear(width, channels) if several or width != channels else None
        self.aux_losses: list[Tensor] = []

    @property
    def exact(self) -> bool:
        """Whether every operator is associative up to rounding, so that the order is immaterial."""
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
        # Aggregation would search for the largest index, which a plan makes needless
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
        """Reduce the sets of `index`, of `ptr`, or of a `plan` made before by `tree_plan`."""
        self._check(x, dim)
        x = x.movedim(dim, 0)
        if plan is None:
            _check_finite(x)
            keys = self._keys(x)
            with outside_vmap(f"MonoidAggregation with order={self.order!r}"):
                plans = [tree_plan(index, dim_size, ptr=ptr, key=key) for key in keys]
        else:
            plans = [plan]
        if plans[0].num_elements != len(x):
            raise ValueError(
                f"x has {len(x)} elements, but {plans[0].num_elements} are in sets: give each "
                "element a set."
            )
        results = [self._reduce(x, plan) for plan in plans]
        out = results[0] if len(results) == 1 else torch.stack(results).mean(0)
        return out.movedim(0, dim)

    def _check(self, x: Tensor, dim: int) -> None:
        if not x.is_floating_point():
            raise ValueError(f"x has dtype {x.dtype}: convert it with .float().")
        if x.size(-1) != self.channels:
            raise ValueError(f"x has {x.size(-1)} channels, but the layer has {self.channels}.")
        if dim in (-1, x.dim() - 1):
            raise ValueError(f"dim is {dim}, but the last dimension holds the channels.")
        weights = self._weight_type()
        if x.dtype == weights or weights is None or torch.is_autocast_enabled(autocast_device(x)):
            return
        raise ValueError(
            f"x has type {x.dtype} and the weights {weights}: convert x with .to({weights}), or "
            "the layer."
        )

    def _weight_type(self) -> torch.dtype | None:
        """Of the learnt operators and the projection; modules of users see to their own."""
        for operator in self.operators:
            if isinstance(operator, LearntOperator) and not isinstance(operator, UserOperator):
                return operator.neutral.dtype
        return None if self.project is None else self.project.weight.dtype

    def _keys(self, x: Tensor) -> list[Tensor | torch.Generator | None]:
        """By what the elements are sorted, once for each result that is averaged."""
        order = "random" if self.training and self.shuffle else self.order
        if order == "stable" or self.exact:
            return [None]
        if order == "random":
            return [torch.randperm(len(x), device=x.device)]
        if order == "canonical":
            return [_score(x.detach())]
        return [torch.Generator().manual_seed(seed) for seed in range(self.samples)]

    def _reduce(self, x: Tensor, plan: TreePlan) -> Tensor:
        results = []
        for operator in self.operators:
            state = operator.encode(x)
            neutral = operator.identity(state)
            product = operator.product()
            out, members = reduce_tree(product, state, neutral, plan)
            if self.training and not operator.exact:
                self._add_losses(product, state, neutral, plan, members)
            results.append(operator.decode(out))
        out = results[0] if len(results) == 1 else torch.cat(results, -1)
        return out if self.project is None else self.project(out)

    def _add_losses(
        self,
        product: Product,
        state: Tensor,
        neutral: Tensor,
        plan: TreePlan,
        members: list[Tensor],
    ) -> None:
        if self.assoc and len(members) > 1:
            self.aux_losses.append(self.assoc * _associativity_loss(product, plan, members))
        if self.identity:
            error = product(state, neutral.expand_as(state)) - state
            self.aux_losses.append(self.identity * _mean_square(error))

    def __repr__(self) -> str:
        names = ", ".join(map(repr, self.operators))
        return f"{type(self).__name__}({self.channels}, operator=[{names}], order={self.order!r})"


def auxiliary_loss(model: nn.Module) -> Tensor | float:
    """The sum of what layers such as `MonoidAggregation` add to a training loss.

    They list it as `aux_losses` in forward passes in training; this clears the lists, so call it
    once a step: `(loss + auxiliary_loss(model)).backward()`. It is 0 for models that have none.

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


def _checked(result: Tensor, left: Tensor) -> Tensor:
    if result.shape != left.shape:
        raise ValueError(
            f"The operator made {tuple(result.shape)} of two tensors {tuple(left.shape)}: its "
            "output must have the shape of each input."
        )
    return result.to(left.dtype)


def _check_finite(x: Tensor) -> None:
    if not values_readable():
        return
    total = x.detach().sum()  # one pass without a temporary: a sum shows every NaN
    if is_true(total.isnan()):
        raise ValueError("x is NaN or infinite somewhere: correct or drop that element.")


def _score(x: Tensor) -> Tensor:
    """[N] a projection onto cos 1, ..., cos C: independent over the rationals, so few ties."""
    weights = torch.arange(1, x.size(-1) + 1, device=x.device).double().cos()
    return (x.double() * weights).flatten(1).sum(1)


def _mean_square(x: Tensor) -> Tensor:
    """The mean of |x|^2 over [N, C], 0 if N is 0."""
    return x.square().sum() / max(x.numel() // x.size(-1), 1)


def _associativity_loss(product: Product, plan: TreePlan, members: list[Tensor]) -> Tensor:
    """The mean of |(a b) c - a (b c)|^2 over the tree's own triples.

    A product ((a b) (c d)) has two: (a, b, c) and (b, c, d); a product ((a b) c) whose right
    partner had been waiting has one.
    """
    partners = [_arranged(x, level) for x, level in zip(members, plan.levels, strict=False)]
    levels = []
    for level, below, (ab, cd, *_) in zip(plan.levels[1:], partners, partners[1:], strict=False):
        left, right, waiting, _ = below
        of_left, of_right = level.order[: 2 * level.pairs].view(-1, 2).unbind(1)
        c = torch.cat([left, waiting])[of_right]
        two = of_right < len(left)
        d = right[of_right.clamp(max=len(left) - 1)]
        levels.append((left[of_left], right[of_left], c, d, ab, cd, two))
    a, b, c, d, ab, cd, two = (torch.cat(parts) for parts in zip(*levels, strict=True))
    bc = product(b, c)
    error = product(torch.cat([ab, bc]), torch.cat([c, d]))
    error = error - product(torch.cat([a, b]), torch.cat([bc, cd]))
    squares = error.square().sum(-1).view(len(error), -1).mean(1)
    weight = torch.cat([torch.ones_like(two), two]).to(squares)
    return (squares * weight).sum() / weight.sum()
