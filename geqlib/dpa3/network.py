"""DPA3: invariant message passing on atoms, bonds and angles."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import pi, sqrt

import torch
from torch import Tensor, nn
from torch_geometric.nn.inits import reset

from geqlib.dpa3.angles import AnglePlan, angle_plan, short_edges
from geqlib.dpa3.functions import SiLUT, Switch
from geqlib.dpa3.layer import COLUMNS, LastLayer, LineGraph, LineGraphLayer, by_fan_in
from geqlib.graph.checks import check_atoms
from geqlib.kernels.polar import length_and_direction

SOFTENING = 1e-3  # in the units of the positions
STEEPNESS = 2.0  # of initial features of bonds, per unit of length


class DPA3(nn.Module):
    """Atoms to invariant scalars of atoms, by messages between atoms, bonds and angles.

    Symmetry: E(3) and relabelling, exactly. All features are invariant scalars. Energies
    and forces are continuous where bonds and angles come and go.

    Source: Zhang et al., "A graph neural network for the era of large atomistic models" (arXiv
    2506.01686), the series of line graphs up to order 2: atoms and bonds are the nodes and edges
    of the first graph, bonds and angles those of the second. The update of a layer stands in
    `geqlib.dpa3.layer`. Initial features are f(x) of atoms, a linear map of the length of bonds,
    and one of cos(angle) / sqrt(pi) of angles between two different bonds at an atom; a network
    with the activation f reads the atoms after the last layer.

    Differences from the paper: switches are exactly 0 at their cutoffs (`Switch`); the last layer
    leaves out the updates of bonds, and the last two those of angles, which nothing uses; what
    angles add to bonds has no bias; lengths are (|r|^2 + 1e-6)^(1/2). Sizes are those of its recipe
    for water by default, but for `compressed`, whose default is not a published value.

    Args:
        node_channels, edge_channels, angle_channels: width of the features of atoms, bonds and
            angles.
        compressed: number of channels of atoms and bonds, the first ones, in updates by angles.
        layers: at least 2.
        cutoff: longest bond, in the units of the positions.
        switch: where the weight of bonds begins to fall.
        angle_cutoff: longest bond in angles, at most `cutoff`.
        angle_switch: where the weight of these begins to fall.
        neighbors, angle_neighbors: M and M', by which sums over bonds and angles are divided:
            about the numbers of neighbours within the two cutoffs. Fixed numbers, not those of
            each atom, which would jump.
        readout: widths of the layers of the network that reads the atoms.
        out_scalars: number of outputs.

    Example:
        >>> from geqlib.graph import neighbor_list
        >>> from geqlib.models import Potential
        >>> potential = Potential(DPA3(16, 8, 8, compressed=8, layers=2, readout=[16]))
        >>> pos = torch.tensor([[0.0, 0, 0], [0.0, 0.76, 0.59], [0.0, -0.76, 0.59]])
        >>> potential(pos, torch.tensor([8, 1, 1]), neighbor_list(pos, 6.0).edge_index).total.shape
        torch.Size([1])
    """

    def __init__(
        self,
        node_channels: int = 128,
        edge_channels: int = 64,
        angle_channels: int = 32,
        *,
        compressed: int = 32,
        layers: int = 6,
        cutoff: float = 6.0,
        switch: float = 5.3,
        angle_cutoff: float = 4.0,
        angle_switch: float = 3.5,
        neighbors: float = 120.0,
        angle_neighbors: float = 30.0,
        readout: Sequence[int] = (240, 240, 240),
        out_scalars: int = 1,
    ) -> None:
        super().__init__()
        sizes = (node_channels, edge_channels, angle_channels, compressed)
        _check_sizes(sizes, (*readout, out_scalars), layers)
        if angle_cutoff > cutoff:
            raise ValueError(
                f"angle_cutoff must be at most cutoff, got {angle_cutoff} and {cutoff}: only "
                "bonds make angles."
            )
        if min(neighbors, angle_neighbors) <= 0:
            raise ValueError(
                f"neighbors and angle_neighbors must be positive, got {neighbors} and "
                f"{angle_neighbors}."
            )
        self.in_scalars, self.out_scalars = node_channels, out_scalars
        self.cutoff, self.angle_cutoff = float(cutoff), float(angle_cutoff)
        self.neighbors, self.angle_neighbors = neighbors, angle_neighbors
        self.switch = Switch(switch, cutoff)
        self.angle_switch = Switch(angle_switch, angle_cutoff)
        self.act = SiLUT()
        self.length = nn.Linear(1, edge_channels)
        self.cosine = nn.Linear(1, angle_channels)
        self.layers = nn.ModuleList(
            LineGraphLayer(*sizes, update_angles=k < layers - 2) for k in range(layers - 1)
        )
        self.last = LastLayer(node_channels, edge_channels)
        widths = [node_channels, *readout, out_scalars]
        self.readout = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self._draw_linear()

    def reset_parameters(self) -> None:
        for part in (*self.layers, self.last):
            reset(part)
        self._draw_linear()

    def _draw_linear(self) -> None:
        # zeros of the maps anywhere below the cutoff: with all at 0 training starts slowly
        weight, bias = self.length.weight, self.length.bias
        nn.init.normal_(weight, std=STEEPNESS)
        nn.init.uniform_(bias, 0.0, self.cutoff)
        with torch.no_grad():
            bias.mul_(-weight[:, 0])
        for layer in (self.cosine, *self.readout.children()):
            if isinstance(layer, nn.Linear):
                by_fan_in([layer], layer.in_features)

    @property
    def last_weights(self) -> tuple[str, ...]:
        """Names of the parameters in which the outputs are linear, but for their bias."""
        return (f"readout.{len(self.readout) - 1}.weight",)

    def plan(
        self,
        edge_index: Tensor,
        num_nodes: int,
        pos: Tensor | None = None,
        cell: Tensor | None = None,
        cell_shift: Tensor | None = None,
        batch: Tensor | None = None,
    ) -> AnglePlan:
        """Which bonds make angles: see `geqlib.dpa3.angles.angle_plan`.

        With positions they are those of at most `angle_cutoff`, and the plan is one of these
        positions. Without them they are all bonds: the same results for any positions, but more
        work.

        Args:
            edge_index: [2, E], source and target, in any order.
            num_nodes: N.
            pos: [N, 3].
            cell, cell_shift, batch: [G, 3, 3], [E, 3], [N] of periodic structures, as of
                `Potential.forward`.
        """
        if pos is None:
            return angle_plan(edge_index, num_nodes)
        periodic = {"cell": cell, "cell_shift": cell_shift, "batch": batch}
        near = short_edges(pos.detach(), edge_index, self.angle_cutoff, **periodic)
        return angle_plan(edge_index, num_nodes, near)

    def forward(
        self,
        pos: Tensor,
        edge_index: Tensor,
        x: Tensor,
        edge_shift: Tensor | None = None,
        plan: AnglePlan | None = None,
    ) -> Tensor:
        """Run the network.

        Args:
            pos: [N, 3] positions.
            edge_index: [2, E], source and target, without self-loops.
            x: [N, node_channels] features of atoms, such as the embedding of their elements that
                `Potential` learns.
            edge_shift: [E, 3] added to pos[source] - pos[target], for periodic images.
            plan: made before, by `plan(...)`: needed for compile and export.

        Returns:
            [N, out_scalars].
        """
        check_atoms(pos, x, self.in_scalars)
        edge_index = edge_index.long()
        offset = edge_offsets(pos, edge_index, edge_shift)
        if plan is None:
            near = offset.detach().square().sum(1) <= self.angle_cutoff**2
            plan = angle_plan(edge_index, pos.size(0), near)
        with torch.autocast(pos.device.type, enabled=False):
            graph, length, cosine = self.geometry(offset, edge_index, plan)
            n, e, a = self.act(x), self.length(length), self.cosine(cosine / sqrt(pi))
            for layer in self.layers:
                n, e, a = layer(n, e, a, graph)
            n = self.last(n, e, graph)
            for layer in self.readout[:-1]:
                n = self.act(layer(n))
            return self.readout[-1](n)

    def geometry(
        self, offset: Tensor, edge_index: Tensor, plan: AnglePlan
    ) -> tuple[LineGraph, Tensor, Tensor]:
        """The line graph, lengths [E, 1] and cosines of angles [A, 1], from offsets [E, 3]."""
        source, target = edge_index
        length, direction = length_and_direction(offset, SOFTENING)
        weight = self.angle_switch(length.index_select(0, plan.edge))
        weights = weight.index_select(0, plan.first) * weight.index_select(0, plan.second)
        if plan.weight is not None:
            weights = weights * plan.weight.to(weights.dtype)
        short = direction.index_select(0, plan.edge)
        cosine = short.index_select(0, plan.first) * short.index_select(0, plan.second)
        graph = LineGraph(
            source,
            target,
            direction,
            self.switch(length).unsqueeze(1) / self.neighbors,
            plan.edge,
            plan.first,
            plan.second,
            weights.unsqueeze(1) / sqrt(self.angle_neighbors),
        )
        return graph, length.unsqueeze(1), cosine.sum(1, keepdim=True)


def edge_offsets(pos: Tensor, edge_index: Tensor, shift: Tensor | None) -> Tensor:
    """[E, 3] pos[source] - pos[target] + shift."""
    source, target = edge_index
    offset = pos.index_select(0, source) - pos.index_select(0, target)
    return offset if shift is None else offset + shift


def _check_sizes(sizes: Sequence[int], readout: Sequence[int], layers: int) -> None:
    nodes, edges, angles, compressed = sizes
    if layers < 2:
        raise ValueError(
            f"layers must be at least 2, got {layers}: the last one updates atoms alone, so that "
            "angles would not count."
        )
    if min(nodes, edges) < COLUMNS:
        raise ValueError(
            f"node_channels and edge_channels must be at least {COLUMNS}, the columns of their "
            f"symmetrised products, got {nodes} and {edges}."
        )
    if min(angles, compressed, *readout) < 1:
        raise ValueError(
            "angle_channels, compressed, readout and out_scalars must be positive, got "
            f"{angles}, {compressed}, {list(readout[:-1])} and {readout[-1]}."
        )
    if compressed > min(nodes, edges):
        raise ValueError(
            f"compressed must be at most node_channels and edge_channels, got {compressed} of "
            f"{nodes} and {edges}."
        )
