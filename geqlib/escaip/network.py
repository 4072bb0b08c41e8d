"""EScAIP: a potential of attention inside neighbourhoods, made of invariants alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu
from torch_geometric.nn.inits import reset

from geqlib.escaip.attention import NeighborhoodAttention, angular_products
from geqlib.escaip.inputs import EdgeAttributes, EdgeLinear, Inputs, bond_orders, rms_norm
from geqlib.escaip.neighborhoods import (
    Envelope,
    NeighborhoodPlan,
    Neighborhoods,
    neighborhood_plan,
    neighborhoods,
)
from geqlib.graph.checks import check_atoms
from geqlib.graph.functional import transformed
from geqlib.radial import GaussianBasis
from geqlib.sphere.harmonics import SolidHarmonics


class EScAIP(nn.Module):
    """Atoms to scalars by attention between the neighbours of each atom.

    Symmetry: invariant under E(3), equivariant under relabelling, exactly: it takes distances, bond
    orders and Legendre polynomials of angles. With `direct_forces`, the second output is
    neither equivariant nor the derivative of an energy: see below.

    Source: Qu and Krishnapriyan, "The importance of being scalable" (NeurIPS 2024, arXiv
    2410.24169) and the code released with it. Each atom has its neighbours in slots, itself in
    slot 0. With states n_i of atoms and e_ij of slots, attributes a_ij (`EdgeAttributes`), and
    pre-norms not written, a block is

        m_ij = RMSNorm(GELU(W [a_ij, e_ij, n_j, n_i]))
        n_i += o_i0,  e_ij += o_ij   with o_i = NeighborhoodAttention(m_i)
        n_i += FFN(n_i),  e_ij += FFN'(e_ij)

    Read-outs n + FFN(n) of the input and of all blocks are joined, and make the output. Neighbours
    come, leave and change their ranks smoothly (`geqlib.escaip.neighborhoods`).

    Args:
        in_scalars: features of atoms, such as the embedding that `Potential` learns.
        out_scalars: outputs of an atom.
        channels: H, width of all states.
        layers: number of blocks.
        heads: of attention, a divisor of `channels`.
        cutoff: distance at which neighbours vanish, in the units of the positions.
        k: rank at which they vanish.
        softness: difference of distances over which ranks change, in the same units.
        temperature: of the smooth maximum of distance and ranks.
        gaussians: number of Gaussians of a distance, at least 2.
        radial: width of the layer that embeds them.
        bond_degree: highest degree of bond orders, at least 1.
        bond_features: width of the layer that embeds them.
        angular: channels of a head for each degree of angles: see `NeighborhoodAttention`.
        direct_forces: whether to return a vector of each atom, too, by the published head for
            forces that are not conservative: the sum over neighbours of w_ij W e_ij * r_ij, entry
            by entry, times a scalar. It is equivariant only as far as training makes it so;
            `Potential` refuses such a network.

    Example:
        >>> from geqlib.graph import neighbor_list
        >>> net = EScAIP(4, 1, channels=16, layers=1, heads=2, cutoff=5.0)
        >>> pos = torch.tensor([[0.0, 0, 0], [0.0, 0.76, 0.59], [0.0, -0.76, 0.59]])
        >>> net(pos, neighbor_list(pos, 5.0).edge_index, torch.ones(3, 4)).shape
        torch.Size([3, 1])
    """

    def __init__(
        self,
        in_scalars: int,
        out_scalars: int = 1,
        *,
        channels: int = 64,
        layers: int = 4,
        heads: int = 4,
        cutoff: float = 6.0,
        k: int = 30,
        softness: float = 0.2,
        temperature: float = 0.1,
        gaussians: int = 64,
        radial: int = 64,
        bond_degree: int = 9,
        bond_features: int = 16,
        angular: Sequence[int] | None = None,
        direct_forces: bool = False,
    ) -> None:
        super().__init__()
        _check_options(in_scalars, out_scalars, layers, cutoff, k, softness, temperature)
        if min(radial, bond_degree, bond_features) < 1:
            raise ValueError(
                "radial, bond_degree and bond_features must be at least 1, got "
                f"{radial}, {bond_degree} and {bond_features}."
            )
        self.in_scalars, self.cutoff, self.direct_forces = in_scalars, cutoff, direct_forces
        self.bond_degree = bond_degree
        self.envelope = Envelope(cutoff, k, softness, temperature)
        self.basis = GaussianBasis(gaussians, cutoff)
        self.radial = nn.Linear(gaussians, radial)
        self.bonds = nn.Linear(bond_degree, bond_features)
        sizes = radial, in_scalars + bond_features, channels
        self.start = Start(*sizes)
        blocks = [
            Block(*sizes, heads, angular, edges=direct_forces or number < layers - 1)
            for number in range(layers)
        ]
        self.degree = max(block.attention.degree for block in blocks)
        self.blocks = nn.ModuleList(blocks)
        self.harmonics = SolidHarmonics(max(self.degree, bond_degree))
        self.readout = Readout(channels, layers + 1)
        self.head = Head(channels, out_scalars)
        self.forces = DirectForces(channels, layers + 1) if direct_forces else None

    def reset_parameters(self) -> None:
        for part in self.children():
            reset(part)

    @property
    def last_weights(self) -> tuple[str, ...]:
        """Names of the parameters in which the scalar outputs are linear."""
        return ("head.1.weight",)

    def plan(self, edge_index: Tensor, num_nodes: int) -> NeighborhoodPlan:
        """Tables of the edges of a batch: see `geqlib.escaip.neighborhoods`."""
        return neighborhood_plan(edge_index, num_nodes, self.envelope.k)

    def forward(
        self,
        pos: Tensor,
        edge_index: Tensor,
        x: Tensor,
        edge_shift: Tensor | None = None,
        plan: NeighborhoodPlan | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Run the network.

        Args:
            pos: [N, 3] positions.
            edge_index: [2, E] source and target of all pairs within the cutoff.
            x: [N, in_scalars] features of atoms.
            edge_shift: [E, 3] added to pos[source] - pos[target], for periodic images.
            plan: made before by `plan(...)`: needed for compile and export. Without one there are
                fewer slots, as the positions are known.

        Returns:
            [N, out_scalars]; with `direct_forces` also [N, 1, 3].
        """
        check_atoms(pos, x, self.in_scalars)
        # values of a batch in disguise cannot be read
        trimmed = plan is None and not transformed()
        if plan is None:
            plan = self.plan(edge_index, pos.size(0))
        with torch.autocast(pos.device.type, enabled=False):
            slots = neighborhoods(pos, plan, self.envelope, edge_shift, trimmed=trimmed)
            weight = slots.log_weight.exp()
            harmonics = self.harmonics(slots.direction.flatten(0, 1))
            harmonics = harmonics.unflatten(0, slots.neighbor.shape)
            angles = angular_products(harmonics, self.degree)
            orders = bond_orders(harmonics, weight, self.bond_degree)
            gaussians = self.basis(slots.distance)
        atoms = torch.cat([x, gelu(self.bonds(orders))], 1)
        inputs = Inputs(atoms, gelu(self.radial(gaussians)))
        nodes, edges = self.start(inputs, slots)
        states, edge_states = [nodes], [edges]
        for block in self.blocks:
            nodes, edges = block(nodes, edges, inputs, slots, angles)
            states.append(nodes)
            edge_states.append(edges)
        features = self.readout(states)
        out = self.head(features)
        if self.forces is None:
            return out
        return out, self.forces(features, edge_states, slots.direction, weight)


class FeedForward(nn.Sequential):
    """Two layers with GELU between them, twice as wide in the middle."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)
        )

    def reset_parameters(self) -> None:
        for part in self:
            reset(part)


class Start(nn.Module):
    """States before the first block: a + FFN(a) of the attributes; atoms take their slot 0."""

    def __init__(self, radial_features: int, atom_features: int, channels: int) -> None:
        super().__init__()
        self.attributes = EdgeAttributes(radial_features, atom_features, channels)
        self.network = FeedForward(channels)
        self.node_norm, self.edge_norm = rms_norm(channels), rms_norm(channels)

    def reset_parameters(self) -> None:
        for part in self.children():
            reset(part)

    def forward(self, inputs: Inputs, slots: Neighborhoods) -> tuple[Tensor, Tensor]:
        attributes = self.attributes(inputs, slots)
        edges = attributes + self.network(attributes)
        return self.node_norm(edges[:, 0]), self.edge_norm(edges)


class Block(nn.Module):
    """One layer of EScAIP: see there.

    Args:
        radial_features, atom_features: of `Inputs`.
        channels, heads, angular: of `NeighborhoodAttention`.
        edges: whether edges have a state afterwards. Without, only slot 0 is a query, with
            channels of degree 0, because its direction is 0.
    """

    def __init__(
        self,
        radial_features: int,
        atom_features: int,
        channels: int,
        heads: int,
        angular: Sequence[int] | None,
        *,
        edges: bool,
    ) -> None:
        super().__init__()
        self.attributes = EdgeAttributes(radial_features, atom_features, channels)
        self.node_norm, self.edge_norm = rms_norm(channels), rms_norm(channels)
        self.message = EdgeLinear(channels, channels, channels)
        self.of_attributes = nn.Linear(channels, channels, bias=False)
        self.message_norm = rms_norm(channels)
        self.attention = NeighborhoodAttention(
            channels, heads, angular=angular if edges else None, centre=not edges
        )
        self.node_network = Residual(channels)
        self.edge_network = Residual(channels) if edges else None

    def reset_parameters(self) -> None:
        for part in self.children():
            reset(part)

    def forward(
        self, nodes: Tensor, edges: Tensor, inputs: Inputs, slots: Neighborhoods, angles: Tensor
    ) -> tuple[Tensor, Tensor]:
        message = self.message(self.edge_norm(edges), self.node_norm(nodes), slots)
        message = message + self.of_attributes(self.attributes(inputs, slots))
        message = self.message_norm(gelu(message))
        update = self.attention(message, slots.log_weight, angles)
        nodes = self.node_network(nodes + update[:, 0])
        if self.edge_network is not None:
            edges = self.edge_network(edges + update)
        return nodes, edges


class Residual(nn.Module):
    """x + FFN(RMSNorm(x))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.network = rms_norm(channels), FeedForward(channels)

    def reset_parameters(self) -> None:
        for part in self.children():
            reset(part)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.network(self.norm(x))


class Readout(nn.Module):
    """RMSNorm(GELU(W [x + FFN(x) of all states])): one feature vector of all states."""

    def __init__(self, channels: int, states: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(Residual(channels) for _ in range(states))
        self.join = nn.Linear(states * channels, channels)
        self.norm = rms_norm(channels)

    def reset_parameters(self) -> None:
        for part in (*self.parts, self.join, self.norm):
            reset(part)

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        parts = [part(state) for part, state in zip(self.parts, states, strict=True)]
        return self.norm(gelu(self.join(torch.cat(parts, -1))))


class Head(nn.Sequential):
    """A feed-forward network and a linear map."""

    def __init__(self, channels: int, out_features: int) -> None:
        super().__init__(FeedForward(channels), nn.Linear(channels, out_features, bias=False))

    def reset_parameters(self) -> None:
        for part in self:
            reset(part)


class DirectForces(nn.Module):
    """f_i = s_i sum_j w_ij (v_ij * r_ij), with s of atoms and v [3] of edges: not equivariant.

    Not conservative: the published head, whose product of v and the direction r is entry by entry.
    """

    def __init__(self, channels: int, states: int) -> None:
        super().__init__()
        self.readout = Readout(channels, states)
        self.magnitude, self.entries = Head(channels, 1), Head(channels, 3)

    def reset_parameters(self) -> None:
        for part in self.children():
            reset(part)

    def forward(
        self, features: Tensor, edges: Sequence[Tensor], direction: Tensor, weight: Tensor
    ) -> Tensor:
        """[N, 1, 3]."""
        entries = self.entries(self.readout(edges)) * direction * weight.unsqueeze(2)
        return (self.magnitude(features) * entries.sum(1)).unsqueeze(1)


def _check_options(
    in_scalars: int,
    out_scalars: int,
    layers: int,
    cutoff: float,
    k: int,
    softness: float,
    temperature: float,
) -> None:
    if min(in_scalars, out_scalars, layers) < 1:
        raise ValueError(
            "in_scalars, out_scalars and layers must be at least 1, got "
            f"{in_scalars}, {out_scalars} and {layers}."
        )
    if k < 2:
        raise ValueError(f"k must be at least 2, because the atom itself takes a rank, got {k}.")
    if min(cutoff, softness, temperature) <= 0:
        raise ValueError(
            "cutoff, softness and temperature must be positive, got "
            f"{cutoff}, {softness} and {temperature}."
        )
