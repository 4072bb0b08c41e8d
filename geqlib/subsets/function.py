"""Set functions F(S; V): the value of a subset S, seen against the set V that it is taken from."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch_geometric.nn.aggr import Aggregation, SumAggregation
from torch_geometric.nn.inits import reset
from torch_geometric.nn.resolver import aggregation_resolver

from geqlib.graph.checks import values_readable
from geqlib.graph.functional import is_true
from geqlib.graph.pairs import pair_plan
from geqlib.graph.pool import graph_index, sum_pool

Background = Literal["none", "superset", "complement"]


class SetFunction(nn.Module):
    """The value of subsets S of sets V, F(S; V).

    Symmetry: exchanges of the elements of a set, as exactly as the aggregation keeps them. Sources:
    Ou et al., "Learning neural set functions under the optimal subset oracle" (NeurIPS 2022) for
    `background=None`; Xie et al., "Enhancing neural subset selection" (ICLR 2024) for the others.
    With a(S) the aggregate of phi(x_i) over i in S,

        F(S; V) = f(a(S))                       background=None
        F(S; V) = f([a(S), a(V)])               background="superset", as in the second paper
        F(S; V) = f(a(S)) + g(a(V without S))   background="complement", as its authors' code has it

    With sums the second is as general as f([a(S), a(V without S)]), and the third is not.

    Args:
        in_channels: of x.
        channels: C, what phi maps to.
        hidden: width of f and g, which have two hidden layers.
        background: what F knows of V beside S; "none", which command lines can say, is None.
        embed: phi, a module from [N, in_channels] to [N, C]; a linear map by default.
        aggr: a, an aggregation of torch_geometric or geqlib from C to C channels, or its name. It
            has to give numbers for empty sets.

    Shapes:
        x [N, in_channels], subsets [N, M] of zeros and ones: M subsets of each set, batch [N];
        returns [num_graphs, M].

    Raises:
        ValueError: options out of range, batch without num_graphs, x or subsets of another shape.

    Example:
        >>> value = SetFunction(2, 8, hidden=8, background="superset")
        >>> value(torch.randn(3, 2), torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])).shape
        torch.Size([1, 2])
    """

    def __init__(
        self,
        in_channels: int,
        channels: int = 256,
        *,
        hidden: int = 500,
        background: Background | None = None,
        embed: nn.Module | None = None,
        aggr: Aggregation | str = "sum",
    ) -> None:
        super().__init__()
        if min(in_channels, channels, hidden) < 1:
            raise ValueError(
                f"in_channels, channels and hidden must be positive, got {in_channels}, "
                f"{channels} and {hidden}."
            )
        if background not in (None, *get_args(Background)):
            raise ValueError(
                f'background must be "superset", "complement", "none" or None, got {background!r}.'
            )
        background = None if background == "none" else background
        self.in_channels, self.channels, self.background = in_channels, channels, background
        self.embed = nn.Linear(in_channels, channels) if embed is None else embed
        self.aggr = aggregation_resolver(aggr)
        self.of_subset = head(channels * (2 if background == "superset" else 1), hidden)
        self.of_rest = head(channels, hidden) if background == "complement" else None

    @property
    def sums(self) -> bool:
        """Whether elements are added up, so that one more or less costs one addition."""
        return type(self.aggr) is SumAggregation

    def reset_parameters(self) -> None:
        for part in self.children():
            reset(part)

    def forward(
        self,
        x: Tensor,
        subsets: Tensor,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
    ) -> Tensor:
        """Values [num_graphs, M]; with sums, `subsets` may hold shares between 0 and 1."""
        batch, num_graphs = graph_index(batch, num_graphs, x.size(0), x.device)
        h, subsets = self._embedded(x, subsets)
        chosen = self._pooled(h, subsets, batch, num_graphs)
        rest = None
        if self.of_rest is not None:
            rest = self._pooled(h, 1 - subsets, batch, num_graphs)
        return self._value(chosen, rest, self._whole(h, batch, num_graphs))

    def gains(
        self,
        x: Tensor,
        subsets: Tensor,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
    ) -> Tensor:
        """What each element is worth to each subset, F(S + i; V) - F(S - i; V).

        One of S + i and S - i is S itself, so that F is evaluated once for S and once for each i.
        With sums, memory is of order N M C: a(S) is computed once, and phi(x_i) added or taken
        away. With other aggregations, each changed subset is aggregated anew: the sum over sets of
        their squared sizes times C, for one of the M at a time until it is differentiated.

        Args:
            x, batch, num_graphs: as of the function itself.
            subsets: [N, M] of zeros and ones, or booleans; with shares there is no S + i.

        Returns:
            [N, M].

        Raises:
            ValueError: shares of elements.

        Example:
            >>> count = SetFunction(1, 1)
            >>> count.of_subset = nn.Identity()
            >>> count.gains(torch.ones(2, 1), torch.tensor([[1.0], [0.0]])).shape
            torch.Size([2, 1])
        """
        batch, num_graphs = graph_index(batch, num_graphs, x.size(0), x.device)
        _check_whole(subsets)
        h, subsets = self._embedded(x, subsets)
        whole, rest, rest_exchanged = self._whole(h, batch, num_graphs), None, None
        chosen, exchanged = self._with_exchanges(h, subsets, batch, num_graphs)
        if self.of_rest is not None:
            rest, rest_exchanged = self._with_exchanges(h, 1 - subsets, batch, num_graphs)
        value = self._value(chosen, rest, whole).index_select(0, batch)
        whole = None if whole is None else whole.index_select(0, batch)
        change = self._value(exchanged, rest_exchanged, whole) - value
        return torch.where(subsets > 0.5, -change, change)

    def _value(self, chosen: Tensor, rest: Tensor | None, whole: Tensor | None) -> Tensor:
        """[R, M] of statistics [R, M, C] of S and of the rest, and [R, C] of V."""
        if whole is not None:
            chosen = torch.cat([chosen, whole[:, None].expand_as(chosen)], -1)
        value = self.of_subset(chosen).squeeze(-1)
        if self.of_rest is not None and rest is not None:
            value = value + self.of_rest(rest).squeeze(-1)
        return value

    def _embedded(self, x: Tensor, subsets: Tensor) -> tuple[Tensor, Tensor]:
        if x.dim() != 2 or x.size(1) != self.in_channels:
            raise ValueError(
                f"x has shape {tuple(x.shape)}, expected [elements, {self.in_channels}]: set "
                "in_channels to the number of features of an element."
            )
        if subsets.dim() != 2 or subsets.size(0) != x.size(0):
            raise ValueError(
                f"subsets has shape {tuple(subsets.shape)}, expected [{x.size(0)}, M]: whether "
                "each element is in each of M subsets."
            )
        h = self.embed(x)
        if h.dim() != 2 or h.size(1) != self.channels:
            raise ValueError(
                f"embed returns {tuple(h.shape)} for {len(x)} elements, expected "
                f"[{len(x)}, {self.channels}]: let its last width be channels."
            )
        return h, subsets.to(h.dtype)

    def _whole(self, h: Tensor, batch: Tensor, num_graphs: int) -> Tensor | None:
        """[num_graphs, C] of V, where it is asked for."""
        if self.background != "superset":
            return None
        if self.sums:
            return sum_pool(h, batch, num_graphs)
        return self.aggr(h, batch, dim_size=num_graphs)

    def _pooled(self, h: Tensor, subsets: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        """[num_graphs, M, C] statistics of subsets."""
        if self.sums:
            return sum_pool(subsets[..., None] * h[:, None], batch, num_graphs)
        parts = [
            self.aggr(h[inside], batch[inside], dim_size=num_graphs)
            for inside in (subsets > 0.5).unbind(1)
        ]
        return torch.stack(parts, 1)

    def _with_exchanges(
        self, h: Tensor, subsets: Tensor, batch: Tensor, num_graphs: int
    ) -> tuple[Tensor, Tensor]:
        """[num_graphs, M, C] statistics of S, and [N, M, C] of S with i in the other state."""
        chosen = self._pooled(h, subsets, batch, num_graphs)
        if not self.sums:
            return chosen, self._exchanged(h, subsets > 0.5, batch, num_graphs)
        return chosen, chosen.index_select(0, batch) + (1 - 2 * subsets)[..., None] * h[:, None]

    def _exchanged(self, h: Tensor, member: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        """[N, M, C] statistics of S with i if it lacks it, and without i if it has it."""
        pairs = pair_plan(h.size(0), batch, num_graphs, device=h.device)
        itself = pairs.row == pairs.column
        parts = []
        for inside in member.unbind(1):
            there = inside[pairs.column] ^ itself
            rows, columns = pairs.row[there], pairs.column[there]
            order = rows.argsort(stable=True)  # some aggregations take sorted indices alone
            parts.append(self.aggr(h[columns[order]], rows[order], dim_size=h.size(0)))
        return torch.stack(parts, 1)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.in_channels}, {self.channels}, "
            f"background={self.background!r}, aggr={self.aggr})"
        )


def _check_whole(subsets: Tensor) -> None:
    """Raise a ValueError where an element is in a subset in part."""
    if subsets.dtype == torch.bool:
        return
    shares = ((subsets != 0) & (subsets != 1)).any()
    if values_readable() and is_true(shares):
        raise ValueError(
            "subsets hold numbers other than 0 and 1, but gains are those of whole elements: draw "
            "subsets from the shares first."
        )


def head(inputs: int, hidden: int, outputs: int = 1) -> nn.Sequential:
    """A network with two hidden layers."""
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, outputs),
    )
