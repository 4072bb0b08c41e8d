"""Linear maps of pairs and nodes on ego nets: four gathers and six matrix products.

Features of symmetric pairs [P, C] and of nodes [N, C] lie in one tensor h. With sparse matrices A,
B of means and their transposes A', B', which sum what was broadcast, the maps of
`geqlib.spen.maps.EquivariantMaps` between orders 1 and 2 are

    e = A h                         of each member of an ego net the mean of its row; d, v of nodes
    x = B e                         of each node and ego net: means of rows, diagonal, nodes
    z = B' (x W_x) + e W_e          to members, and to nodes
    y = A' z + h W_h                to pairs and nodes

with W_x of nodes and of ego nets, whose x is scaled and shifted by size. The derivative is of the
same form, and is written out: autograd would copy slices and add sums one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from geqlib.graph.functional import transformed, vectorised

SUM = 0  # as torch.embedding_bag numbers it
Plain = Callable[..., tuple[Tensor, Tensor]]


class Gather(NamedTuple):
    """A sparse matrix, row by row: r sums weight[k] x[index[k]], k = ptr[r] ... ptr[r + 1] - 1."""

    index: Tensor
    ptr: Tensor
    weight: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        x = x.detach()  # else torch would compute what its own derivative needs
        return torch.embedding_bag(x, self.index, self.ptr, False, SUM, False, self.weight, True)[0]


@dataclass(frozen=True)
class EgoGathers:
    """The matrices, each with its transpose; see above.

    Args:
        pairs, nodes, members: P, N, S.
        low: [2 N] the pairs (i, i), then the nodes, among pairs and nodes.
        restrict: A, [S + 2 N x P + N]; restrict_t: its first S rows, transposed.
        average: B, [3 (N + G) x S + 2 N], three rows of each node, then of each ego net.
        broadcast: B', [S + 2 N x 3 (N + G)].
        collect: the first S columns of A', [P + N x S]; collect_t: A' transposed.
    """

    pairs: int
    nodes: int
    members: int
    low: Tensor
    restrict: Gather
    restrict_t: Gather
    average: Gather
    average_t: Gather
    broadcast: Gather
    broadcast_t: Gather
    collect: Gather
    collect_t: Gather


class EgoWeights(NamedTuple):
    """Of `EquivariantMaps`: pair [C, D], spread [C, D], low [C, 2 D], node [C or 2 C, 3 D] and
    ego [2 C or 3 C, 3 D]; without the last C rows of the last two, nodes have no features."""

    pair: Tensor
    spread: Tensor
    low: Tensor
    node: Tensor
    ego: Tensor


def ego_maps(
    h: Tensor,
    gain: Tensor,
    shift: Tensor,
    weights: EgoWeights,
    gathers: EgoGathers,
    plain: Plain,
) -> tuple[Tensor, Tensor]:
    """y and the first N rows of x.

    Args:
        h: [P + N, C].
        gain, shift: [G, 2 C or 3 C] and [G, 3 D] of each ego net.
        weights: see there.
        gathers: of the plan, in the type of h.
        plain: the same function of (h, gain, shift, *weights) by plain operations, for derivatives
            of derivatives, for the transforms of torch.func and for autocast.

    Returns:
        [P + N, D], and [N, 3 C] the means of each node's rows, its diagonal entry and itself.
    """
    tensors = h, gain, shift, *weights
    if (
        torch.compiler.is_compiling()
        or torch.is_autocast_enabled(h.device.type)
        or transformed()
        or any(unpack_dual(t).tangent is not None for t in tensors)
    ):
        return plain(*tensors)
    y: Any = _EgoMaps.apply(*tensors, gathers, plain)
    return y


class _EgoMaps(torch.autograd.Function):
    """Of gradients with a graph, those of the plain form are taken."""

    @staticmethod
    def forward(
        ctx: Any,
        h: Tensor,
        gain: Tensor,
        shift: Tensor,
        pair: Tensor,
        spread: Tensor,
        low: Tensor,
        node: Tensor,
        ego: Tensor,
        gathers: EgoGathers,
        plain: Plain,
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        pairs, nodes, members = gathers.pairs, gathers.nodes, gathers.members
        channels, width = h.size(1), pair.size(1)
        e = gathers.restrict(h)
        x = gathers.average(e).view(-1, 3 * channels)
        of_nodes, scaled = x[:nodes], x[nodes:, : gain.size(1)] * gain
        to_owners = x.new_empty(x.size(0), 3 * width)
        torch.mm(of_nodes[:, channels:][:, : node.size(0)], node, out=to_owners[:nodes])
        to_owners[:nodes, width:].addmm_(of_nodes[:, :channels], low)
        torch.addmm(shift, scaled, ego, out=to_owners[nodes:])
        z = gathers.broadcast(to_owners.view(-1, width))
        z[:members].addmm_(e[:members], spread)
        y = gathers.collect(z[:members])
        y[:pairs].addmm_(h[:pairs], pair)
        y.index_add_(0, gathers.low, z[members:])
        ctx.gathers, ctx.plain = gathers, plain
        inputs = h, gain, shift, pair, spread, low, node, ego
        ctx.save_for_backward(*inputs, e[:members], x, scaled)
        return y, of_nodes

    @staticmethod
    def backward(ctx: Any, by_y: Tensor | None, by_nodes: Tensor | None) -> Any:
        *inputs, e, x, scaled = ctx.saved_tensors
        if by_y is None or torch.is_grad_enabled() or vectorised(by_y, by_nodes):
            return *_by_torch(ctx.plain, inputs, (by_y, by_nodes)), None, None
        return *_written_out(inputs, e, x, scaled, by_y, by_nodes, ctx.gathers), None, None


def _written_out(
    inputs: list[Tensor],
    e: Tensor,
    x: Tensor,
    scaled: Tensor,
    by_y: Tensor,
    by_nodes: Tensor | None,
    gathers: EgoGathers,
) -> tuple[Tensor, ...]:
    """Derivatives by the inputs."""
    h, gain, _, pair, spread, low, node, ego = inputs
    pairs, nodes, members = gathers.pairs, gathers.nodes, gathers.members
    channels, width = h.size(1), pair.size(1)
    by_z = gathers.collect_t(by_y)
    to_owners = gathers.broadcast_t(by_z).view(-1, 3 * width)
    to_nodes, to_egos = to_owners[:nodes], to_owners[nodes:]
    owned = slice(channels, channels + node.size(0))  # d, v
    by_scaled = to_egos @ ego.mT
    by_x = x.new_zeros(x.shape) if gain.size(1) < x.size(1) else torch.empty_like(x)
    torch.mm(to_nodes[:, width:], low.mT, out=by_x[:nodes, :channels])
    torch.mm(to_nodes, node.mT, out=by_x[:nodes, owned])
    torch.mul(by_scaled, gain, out=by_x[nodes:, : gain.size(1)])
    if by_nodes is not None:
        by_x[:nodes].add_(by_nodes)
    by_e = gathers.average_t(by_x.view(-1, channels))
    by_e[:members].addmm_(by_z[:members], spread.mT)
    by_h = gathers.restrict_t(by_e[:members])
    by_h[:pairs].addmm_(by_y[:pairs], pair.mT)
    by_h.index_add_(0, gathers.low, by_e[members:])
    return (
        by_h,
        by_scaled * x[nodes:, : gain.size(1)],
        to_egos,
        h[:pairs].mT @ by_y[:pairs],
        e.mT @ by_z[:members],
        x[:nodes, :channels].mT @ to_nodes[:, width:],
        x[:nodes, owned].mT @ to_nodes,
        scaled.mT @ to_egos,
    )


def _by_torch(
    plain: Plain, inputs: list[Tensor], grads: tuple[Tensor | None, ...]
) -> list[Tensor | None]:
    """The same by torch: for derivatives of derivatives, and for several gradients at once."""
    graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # of other graph nodes than the inputs', which may depend on each other
        inputs = [t.view_as(t) for t in inputs]
        outputs = zip(plain(*inputs), grads, strict=True)
    pairs_of = [(y, g) for y, g in outputs if g is not None and y.requires_grad]
    needed = [t for t in inputs if t.requires_grad]
    if not pairs_of or not needed:
        return [None] * len(inputs)
    ys, gs = zip(*pairs_of, strict=True)
    results = iter(torch.autograd.grad(ys, needed, gs, create_graph=graph, allow_unused=True))
    return [next(results) if t.requires_grad else None for t in inputs]
