"""All permutation-equivariant linear maps between tensors of orders 0, 1 and 2 on ego nets."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from geqlib.spen.contraction import Contraction, Features, contract
from geqlib.spen.ego_nets import EgoPlan


class EquivariantMaps(nn.Module):
    """Every linear map of ego-net tensors that commutes with all permutations of its nodes.

    Source: Maron et al. (ICLR 2019, arXiv 1812.09902) for one tensor, Mitton and Murray-Smith
    (TMLR 2023, arXiv 2111.11840) for ego nets. For X [m, m, C] with diagonal d, row means R, column
    means C, mean S and trace / m = t, and Y [m, m, D], the fifteen maps of order 2 to order 2 are

        Y_ij = X_ij, X_ji;  R_i, C_i, d_i;  R_j, C_j, d_j;  t, S;  [i = j] (d_i, R_i, C_i, t, S)

    those to order 1 d, R, C, t, S, those to order 0 t, S; of order 1, v with mean s, to order 2
    v_i, v_j, s, [i = j] (v_i, s), to order 1 v, s, to order 0 s; and of order 0 a constant
    everywhere, and to order 2 one on the diagonal: 34 in all. Biases are constants.

    With `centre` the group is that of the permutations that fix the centre r: X_ri and X_ir are
    contractions too, X_rr, v_r and the means of the centre's row and column are known to the whole
    ego net, and there are outputs to the centre's row, column and diagonal entry alone.

    Symmetric tensors, X_ij = X_ji, have the maps X_ij; R_i + R_j, d_i + d_j; t, S; [i = j] (d_i,
    R_i, t, S), nine of order 2 to order 2.

    Contractions are made and multiplied by weights before they are broadcast; X and its transpose
    are multiplied once a pair, however many ego nets hold it. Weights are drawn with variance
    1 / (number of inputs of an output).

    Args:
        in_channels, out_channels: C and D, of every order.
        in_orders, out_orders: some of 0, 1, 2.
        centre: whether the centre of an ego net is told from its other nodes.
        symmetric: whether tensors of order 2 are symmetric.
        bias: whether there are biases.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        in_orders: Sequence[int],
        out_orders: Sequence[int],
        *,
        centre: bool = False,
        symmetric: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.in_orders, self.out_orders = tuple(in_orders), tuple(out_orders)
        self.centre, self.symmetric, self.sides = centre, symmetric, 1 if symmetric else 2
        given, wanted = (
            [int(k in orders) for k in (0, 1, 2)] for orders in (in_orders, out_orders)
        )
        sides, node = self.sides * given[2], given[1] + given[2]
        self.ego_width = in_channels * (node + given[2] + given[0] + centre * (node + sides))
        # rows and columns, and the same of the centre; diagonal and order 1
        wide, low = self.sides * wanted[2] * (1 + centre), wanted[1] + wanted[2]
        self.wide = wide * out_channels
        # what is the same everywhere goes to columns, and with symmetric tensors to both
        parts = (wide - (not symmetric) * wanted[2], low, wanted[0], centre * low)
        self.split = [out_channels * part for part in parts]
        self.pair = self._weight(sides * wanted[2], 1)
        self.spread = self._weight(sides * (1 + centre), wide)
        self.low = self._weight(sides * (1 + centre), low)
        self.node = self._weight(node, wide + low)
        self.ego = nn.Parameter(torch.empty(self.ego_width, sum(self.split)))
        self.bias = nn.Parameter(torch.empty(sum(self.split))) if bias else None
        self.reset_parameters()

    def _weight(self, rows: int, columns: int) -> nn.Parameter | None:
        shape = (rows * self.in_channels, columns * self.out_channels)
        return nn.Parameter(torch.empty(shape)) if rows and columns else None

    def reset_parameters(self) -> None:
        ends = ((self.pair, 1), (self.spread, 2), (self.node, 2), (self.ego, 1))
        inputs = sum(copies * len(weight) for weight, copies in ends if weight is not None)
        for weight in self.parameters():
            nn.init.normal_(weight, std=1 / sqrt(inputs))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(
        self,
        x: Features,
        plan: EgoPlan,
        gain: Tensor | None = None,
        shift: Tensor | None = None,
        *,
        seen: Contraction | None = None,
    ) -> dict[int, Tensor]:
        """The maps, averaged over all ego nets that hold a pair or node.

        Args:
            x: order -> [G, C], [N, C] or [P, C].
            plan: of the ego nets.
            gain: [G, ego_width] factors of what is known to the whole ego net.
            shift: [G, sum(split)] added to what is broadcast from it.
            seen: contract(x, plan, in_channels, centre=centre), made here if it is not given.

        Returns:
            order -> [G, D], [N, D] or [P, D].
        """
        if seen is None:
            seen = contract(x, plan, self.in_channels, centre=self.centre)
        everywhere, low_ego, top, hub = self._heads(seen, gain, shift)
        wide, low_node = self._node_heads(seen)
        low = plan.nets.T.mean(low_ego)
        if low_node is not None:
            low = low + low_node
        if seen.mean is not None and self.low is not None:
            low = torch.addmm(low, seen.mean, self.low)
        if self.centre and plan.centre is not None:
            node = plan.node.index_select(0, plan.centre)
            hub = hub / plan.members.T.counts().index_select(0, node)[:, None]
            low = low.index_add(0, node, hub.to(low.dtype))
        out = {0: top}
        if 2 in self.out_orders:
            diagonal, low = low.tensor_split([self.out_channels], 1)
            out[2] = self._pairs(x, plan, self._spread(seen, wide, everywhere, plan), diagonal)
        return {order: out.get(order, low) for order in self.out_orders}

    def unfold(
        self,
        x: Features,
        plan: EgoPlan,
        gain: Tensor | None = None,
        shift: Tensor | None = None,
        *,
        seen: Contraction | None = None,
    ) -> dict[int, Tensor]:
        """The maps before they are averaged: order -> [G, D], slots [S, D] or places [Q, D]."""
        if seen is None:
            seen = contract(x, plan, self.in_channels, centre=self.centre)
        everywhere, low_ego, top, hub = self._heads(seen, gain, shift)
        wide, low_node = self._node_heads(seen)
        low = low_ego.index_select(0, plan.ego)
        if low_node is not None:
            low = low + low_node.index_select(0, plan.node)
        if seen.slot is not None and self.low is not None:
            low = torch.addmm(low, seen.slot, self.low)
        if self.centre and plan.centre is not None:
            low = low.index_add(0, plan.centre, hub.to(low.dtype))
        out = {0: top}
        if 2 in self.out_orders:
            diagonal, low = low.tensor_split([self.out_channels], 1)
            out[2] = self._places(x, plan, self._spread(seen, wide, everywhere, plan), diagonal)
        return {order: out.get(order, low) for order in self.out_orders}

    def _heads(
        self, seen: Contraction, gain: Tensor | None, shift: Tensor | None
    ) -> Sequence[Tensor]:
        """[G, ...] for everywhere and the centre's row and column; low; order 0; the centre."""
        ego = seen.ego if gain is None else seen.ego * gain
        if self.bias is not None:
            shift = self.bias if shift is None else shift + self.bias
        heads = ego @ self.ego if shift is None else torch.addmm(shift, ego, self.ego)
        return heads.split(self.split, 1)

    def _node_heads(self, seen: Contraction) -> Sequence[Tensor | None]:
        """[N, ...] for rows and columns, and low."""
        if seen.node is None or self.node is None:
            return None, None
        return (seen.node @ self.node).tensor_split([self.wide], 1)

    def _spread(
        self, seen: Contraction, wide: Tensor | None, everywhere: Tensor, plan: EgoPlan
    ) -> Tensor:
        """[S, ...] to the row and to the column of each slot, and to those of the centre."""
        everywhere = pad(everywhere, (self.wide - everywhere.size(1), 0))
        if wide is None:
            wide = everywhere.new_zeros(plan.diagonal.size(0), self.wide)
        spread = plan.parents @ torch.cat([wide, everywhere.to(wide.dtype)])
        if seen.slot is None or self.spread is None:
            return spread
        return (seen.slot @ self.spread).add_(spread)

    def _pairs(self, x: Features, plan: EgoPlan, spread: Tensor, diagonal: Tensor) -> Tensor:
        """[P, D]; a place sums what its row and its column say, so there are twice as many."""
        rows, spokes = spread, None
        if self.centre:
            rows, spokes = spread.split(self.sides * self.out_channels, 1)
        y = plan.places.T.mean(rows.reshape(-1, self.out_channels), times=2)
        if spokes is not None and plan.spokes is not None:
            alone = plan.spokes.T @ spokes.reshape(-1, self.out_channels)
            y = y + alone / plan.count[:, None]
        if self.pair is not None:
            y = self._alone(x[2], self.pair, plan).add_(y)
        return y.index_add_(0, plan.diagonal, diagonal.to(y.dtype))

    def _alone(self, x: Tensor, weight: Tensor, plan: EgoPlan) -> Tensor:
        """[P, D] what pairs say of themselves and of their transposes."""
        here, *mirrored = weight.split(self.in_channels)
        y = x @ here
        return y if plan.transpose is None else y.add_(plan.transpose @ (x @ mirrored[0]))

    def _places(self, x: Features, plan: EgoPlan, spread: Tensor, diagonal: Tensor) -> Tensor:
        """[Q, D]."""
        row, column, pair = plan.grid()
        parts = spread.split(self.out_channels, 1)
        y = parts[0].index_select(0, row)
        y = y + parts[self.sides - 1].index_select(0, column)
        if self.pair is not None:
            y = y + self._alone(x[2], self.pair, plan).index_select(0, pair)
        if self.centre and plan.centre is not None:
            hub = plan.centre.index_select(0, plan.ego).index_select(0, row)
            begins, ends = row == hub, column == hub
            if self.symmetric:
                ends = ends & ~begins
            for part, at, other in ((parts[self.sides], begins, column), (parts[-1], ends, row)):
                at = at.nonzero()[:, 0]
                y = y.index_add(0, at, part.index_select(0, other[at]))
        at = (row == column).nonzero()[:, 0]  # of slot 0, 1, ...
        return y.index_add(0, at, diagonal.to(y.dtype))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.in_channels}, {self.out_channels}, "
            f"{self.in_orders} -> {self.out_orders}, centre={self.centre}, "
            f"symmetric={self.symmetric})"
        )
