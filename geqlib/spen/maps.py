"""All permutation-equivariant linear maps between tensors of orders 0, 1 and 2 on ego nets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from geqlib.spen.plan import EgoPlan

Features = Mapping[int, Tensor]


class EquivariantMaps(nn.Module):
    """Every linear map of ego-net tensors that commutes with all permutations of its nodes.

    Source: Maron et al. (ICLR 2019, arXiv 1812.09902) for one tensor, Mitton and Murray-Smith
    (TMLR 2023, arXiv 2111.11840) for ego nets. On an ego net of m nodes let X [m, m, C] be of order
    2, with row means R, column means C, diagonal d, mean S and t = trace / m; v [m, C] of order 1,
    with mean s; u [C] of order 0. The 34 maps, with [i=j] for the diagonal alone, are

        2 -> 2    X_ij, X_ji, R_i, C_i, d_i, R_j, C_j, d_j, S, t,
                  [i=j] R_i, [i=j] C_i, [i=j] d_i, [i=j] S, [i=j] t        15
        2 -> 1    R_i, C_i, d_i, S, t                                       5
        2 -> 0    S, t                                                      2
        1 -> 2    v_i, v_j, s, [i=j] v_i, [i=j] s                           5
        1 -> 1    v_i, s                                                    2
        1 -> 0    s                                                         1
        0 -> 2    u, [i=j] u                                                2
        0 -> 1    u                                                         1
        0 -> 0    u                                                         1

    and each has a weight [C, D] in one of five matrices:

        pair      X_ij, X_ji  to  Y_ij
        spread    R, C        to  Y_ij as _i and as _j
        low       R, C        to  [i=j] Y_ij and y_i
        node      d, v        to  Y_ij as _i and as _j, [i=j] Y_ij and y_i
        ego       S, t, s, u  to  Y_ij, [i=j] Y_ij, y_i and y

    Biases are constants. With `centre` the group is that of the permutations that fix the centre r:
    X_ri and X_ir join R and C; X_rr, v_r and the means of the centre's row and column join S; and
    there are outputs to the centre's row, column and diagonal entry alone. Symmetric tensors,
    X_ij = X_ji, have the maps X_ij; R_i + R_j, d_i + d_j; S, t; [i=j] (R_i, d_i, S, t), nine of
    order 2 to order 2.

    Contractions are multiplied by weights before they are broadcast; X and its transpose are
    multiplied once per pair, however many ego nets contain it. Weights are drawn with variance
    1 / (number of inputs of an output).

    Args:
        in_channels, out_channels: C and D, of every order.
        in_orders, out_orders: some of 0, 1, 2.
        centre: whether the centre of an ego net is distinguished from its other nodes.
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
        has_pairs, to_pairs = 2 in in_orders, 2 in out_orders
        # blocks of C inputs: R and C, with a centre X_ri and X_ir too; d and v; those of ego nets
        members = has_pairs * self.sides * (1 + centre)
        nodes = (1 in in_orders) + has_pairs
        egos = has_pairs + (0 in in_orders) + nodes + centre * (nodes + has_pairs * self.sides)
        # blocks of D outputs: as _i and as _j, also of the centre; [i=j] and order 1
        spread = to_pairs * self.sides * (1 + centre)
        low = (1 in out_orders) + to_pairs
        self.spread_width, self.ego_width = spread * out_channels, egos * in_channels
        # what is the same everywhere goes to columns, and with symmetric tensors to both
        everywhere = spread - (not symmetric) * to_pairs
        blocks = (everywhere, low, int(0 in out_orders), centre * low)
        self.split = [out_channels * count for count in blocks]
        self.pair = self._weight(has_pairs * self.sides * to_pairs, 1)
        self.spread = self._weight(members, spread)
        self.low = self._weight(members, low)
        self.node = self._weight(nodes, spread + low)
        self.ego = nn.Parameter(torch.empty(self.ego_width, sum(self.split)))
        self.bias = nn.Parameter(torch.empty(sum(self.split))) if bias else None
        self.reset_parameters()

    def _weight(self, inputs: int, outputs: int) -> nn.Parameter | None:
        shape = (inputs * self.in_channels, outputs * self.out_channels)
        return nn.Parameter(torch.empty(shape)) if inputs and outputs else None

    def reset_parameters(self) -> None:
        uses = ((self.pair, 1), (self.spread, 2), (self.node, 2), (self.ego, 1))
        inputs = sum(copies * len(weight) for weight, copies in uses if weight is not None)
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
        contraction: Contraction | None = None,
    ) -> dict[int, Tensor]:
        """The maps, averaged over all ego nets that contain a pair or node.

        Args:
            x: order -> [G, C], [N, C] or [P, C].
            plan: of the ego nets.
            gain: [G, ego_width] factors of what is the same in a whole ego net.
            shift: [G, sum(split)] biases of each ego net.
            contraction: contract(x, plan, ...), computed here by default.

        Returns:
            order -> [G, D], [N, D] or [P, D].
        """
        if contraction is None:
            contraction = contract(x, plan, self.in_channels, centre=self.centre)
        everywhere, low, invariant, at_centre = self._from_ego_nets(contraction.ego, gain, shift)
        spread, low_node = self._from_nodes(contraction.node)
        low = plan.nets.T.mean(low)
        if low_node is not None:
            low = low + low_node
        if contraction.mean is not None and self.low is not None:
            low = torch.addmm(low, contraction.mean, self.low)
        if self.centre and plan.centre is not None:
            node = plan.node.index_select(0, plan.centre)
            at_centre = at_centre / plan.members.T.counts().index_select(0, node)[:, None]
            low = low.index_add(0, node, at_centre.to(low.dtype))
        out = {0: invariant}
        if 2 in self.out_orders:
            diagonal, low = _split(low, [self.out_channels, low.size(1) - self.out_channels])
            spread = self._to_members(contraction, spread, everywhere, plan)
            out[2] = self._to_pairs(x, plan, spread, diagonal)
        return {order: out.get(order, low) for order in self.out_orders}

    def _from_ego_nets(
        self, ego: Tensor, gain: Tensor | None, shift: Tensor | None
    ) -> Sequence[Tensor]:
        """S, t, s, u: [G, ...] everywhere; to [i=j] and order 1; to order 0; to the centre."""
        ego = ego if gain is None else ego * gain
        if self.bias is not None:
            shift = self.bias if shift is None else shift + self.bias
        y = ego @ self.ego if shift is None else torch.addmm(shift, ego, self.ego)
        return _split(y, self.split)

    def _from_nodes(self, node: Tensor | None) -> Sequence[Tensor | None]:
        """d, v: [N, ...] as _i and as _j; to [i=j] and order 1."""
        if node is None or self.node is None:
            return None, None
        y = node @ self.node
        return _split(y, [self.spread_width, y.size(1) - self.spread_width])

    def _to_members(
        self, contraction: Contraction, node: Tensor | None, everywhere: Tensor, plan: EgoPlan
    ) -> Tensor:
        """[S, ...] all that is broadcast along the row and the column of each member."""
        if everywhere.size(1) < self.spread_width:
            everywhere = pad(everywhere, (self.spread_width - everywhere.size(1), 0))
        if node is None:
            node = everywhere.new_zeros(plan.diagonal.size(0), self.spread_width)
        spread = plan.owners @ torch.cat([node, everywhere.to(node.dtype)])
        if contraction.member is None or self.spread is None:
            return spread
        return torch.addmm(spread, contraction.member, self.spread)

    def _to_pairs(self, x: Features, plan: EgoPlan, spread: Tensor, diagonal: Tensor) -> Tensor:
        """[P, D] an entry sums what its row and its column say: twice their mean."""
        to_lines, to_centre = spread, None
        if self.centre:
            to_lines, to_centre = spread.split(self.sides * self.out_channels, 1)
        y = plan.lines.T.mean(to_lines.reshape(-1, self.out_channels), times=2)
        if to_centre is not None and plan.pairs_of_centre is not None:
            of_centre = plan.pairs_of_centre.T @ to_centre.reshape(-1, self.out_channels)
            y = y + of_centre / plan.count[:, None]
        if self.pair is not None and plan.transpose is None:
            y = torch.addmm(y, x[2], self.pair)
        elif self.pair is not None and plan.transpose is not None:
            same, transposed = self.pair.split(self.in_channels)
            y = torch.addmm(y, x[2], same).add_(plan.transpose @ (x[2] @ transposed))
        return y.index_add_(0, plan.diagonal, diagonal.to(y.dtype))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.in_channels}, {self.out_channels}, "
            f"{self.in_orders} -> {self.out_orders}, centre={self.centre}, "
            f"symmetric={self.symmetric})"
        )


class Contraction(NamedTuple):
    """What the maps read of the features of a batch, beside X itself, each at its own level.

    Args:
        member: [S, ...] R, C; with a centre also X_ri and X_ir.
        mean: [N, ...] means of `member` over the ego nets that contain a node.
        node: [N, ...] d, v.
        ego: [G, ...] S, u, t, s; with a centre also X_rr, v_r and the means of X_ri and X_ir.
    """

    member: Tensor | None
    mean: Tensor | None
    node: Tensor | None
    ego: Tensor


def contract(x: Features, plan: EgoPlan, channels: int, *, centre: bool) -> Contraction:
    """All contractions of features of orders 0, 1 and 2 on ego nets.

    Args:
        x: order -> [G, C], [N, C] or [P, C].
        plan: of the ego nets.
        channels: C.
        centre: whether the centre is distinguished from the other nodes.

    Raises:
        ValueError: if the ego nets of the plan have no centres, but the maps need them.
    """
    if centre and (plan.centre is None or plan.pairs_of_centre is None):
        raise ValueError("centre=True needs ego nets with centres: make the plan by ego_plan.")
    width = channels if plan.symmetric else 2 * channels
    members, nodes, egos, of_centre = [], [], [], []
    mean = None
    if 2 in x:
        lines, diagonal = plan.lines.mean_and_select(x[2], plan.diagonal)
        members.append(lines.view(plan.node.size(0), width))
        nodes.append(diagonal)
    if 2 in x and centre and plan.pairs_of_centre is not None:
        members.append((plan.pairs_of_centre @ x[2]).view(plan.node.size(0), width))
    if 1 in x:
        nodes.append(x[1])
    member, node = _joined(members), _joined(nodes)
    if member is not None:
        means, nets = plan.owners.T.mean(member), plan.lengths[0]
        mean, of_ego = means.split([means.size(0) - nets, nets])
        of_lines, *of_centre = _split(of_ego, [width] * (of_ego.size(1) // width))
        egos.append(of_lines[:, :channels])  # rows and columns have one mean
    if 0 in x:
        egos.append(x[0])
    if node is not None:
        egos.append(plan.nets.mean(node))
    if node is not None and centre and plan.centre is not None:
        egos.append(node.index_select(0, plan.node.index_select(0, plan.centre)))
    return Contraction(member, mean, node, torch.cat([*egos, *of_centre], 1))


def _split(x: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Columns of x; derivatives of parts without any, and of all of x, would be operations."""
    if x.size(1) in sizes:
        return [x if size else x[:, :0].detach() for size in sizes]
    parts = iter(x.split([size for size in sizes if size], 1))
    return [next(parts) if size else x[:, :0].detach() for size in sizes]


def _joined(parts: Sequence[Tensor]) -> Tensor | None:
    if len(parts) > 1:
        return torch.cat(list(parts), 1)
    return parts[0] if parts else None
