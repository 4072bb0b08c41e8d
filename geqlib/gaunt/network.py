"""GauntNet: a many-body potential whose products are functions on the sphere, multiplied."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise
from math import pi, sqrt
from typing import Any

import torch
from e3nn import o3
from torch import Tensor, nn
from torch_geometric.nn.aggr import Aggregation
from torch_geometric.nn.inits import reset

from geqlib.elements import atomic_numbers, chemical_symbols
from geqlib.gaunt.interaction import (
    GauntInteraction,
    NeighborDensity,
    natural_irreps,
    normalized,
)
from geqlib.gaunt.layout import read_irreps
from geqlib.gaunt.power import GauntPower
from geqlib.gaunt.readout import DegreeReadout, components, last_layer
from geqlib.gaunt.slots import NeighborSlots, neighbor_slots
from geqlib.graph.checks import check_numbers, values_readable
from geqlib.kernels.offsets import offsets
from geqlib.kernels.polar import length_and_direction
from geqlib.radial import RadialNetwork
from geqlib.sphere.harmonics import SolidHarmonics
from geqlib.sphere.tables import Constants

ELEMENTS = 119  # atomic numbers from 0 on
SOFTENING = 1e-3  # in the units of the positions


class GauntNet(nn.Module):
    """Atoms to scalars, vectors and tensors of atoms, by many-body products on the sphere.

    Symmetry: E(3) and relabelling, exactly. MACE's architecture (Batatia et al., NeurIPS 2022,
    arXiv 2206.07697) with the products of Luo et al. (ICLR 2024, arXiv 2401.10216):

        A = density of neighbours, by element             x_1 = P(A)
        A = Gaunt products of x_j with edges, summed      x_t = P(A) + W_z x_(t-1),   t = 2, ...

    where P are powers up to `order` (`GauntPower`, weights for each element): terms of x_t depend
    on up to 1 + t order atoms at once. Each layer adds to the output, linearly; the scalars of the
    last one through a small network.

    Args:
        elements: symbols or atomic numbers of all elements that may come.
        channels: C of the messages, which are made for each edge.
        width: W of x, of the densities and of their powers, which are made for each atom; twice
            `channels` by default.
        degree: highest l of the densities and messages.
        hidden_degree: highest l of x.
        order: highest power.
        layers: at least 1.
        cutoff: distance at which neighbours vanish, in the units of the positions.
        count: number of Bessel functions.
        features: H, number of learnt radial functions that the layers share.
        hidden: width of the network that makes them.
        neighbors: a typical number of neighbours: sums over them are divided by its root.
        readout: width of the last layer's network.
        irreps_out: of an atom: each of 0e, 1o, 2e, ... at most once.
        aggr: how scalar messages of the layers after the first are collected: "sum", or any
            aggregation of torch_geometric of C channels; messages of higher degrees are summed in
            any case. Sums alone make energies that are smooth where neighbours come and go.
        normalize: divide the densities of each atom by sqrt(1 + their mean square) before they are
            multiplied, so that atoms with many close neighbours have powers of the same scale as
            others. For positions at any distance from each other, such as those of a denoiser.

    Example:
        >>> from geqlib.graph import neighbor_list
        >>> net = GauntNet(["H", "O"], channels=8)
        >>> pos = torch.tensor([[0.0, 0, 0], [0.0, 0.76, 0.59], [0.0, -0.76, 0.59]])
        >>> net(pos, torch.tensor([8, 1, 1]), neighbor_list(pos, 5.0).edge_index).shape
        torch.Size([3, 1])
    """

    def __init__(
        self,
        elements: Sequence[str | int],
        *,
        channels: int = 32,
        width: int | None = None,
        degree: int = 3,
        hidden_degree: int = 1,
        order: int = 3,
        layers: int = 2,
        cutoff: float = 5.0,
        count: int = 8,
        features: int = 16,
        hidden: int = 64,
        neighbors: float = 16.0,
        readout: int = 16,
        irreps_out: str | o3.Irreps = "0e",
        aggr: str | Aggregation = "sum",
        normalize: bool = False,
    ) -> None:
        super().__init__()
        self.irreps_out = read_irreps("irreps_out", irreps_out)
        width = 2 * channels if width is None else width
        self._check_options(min(channels, width), layers, degree, hidden_degree, neighbors)
        if layers == 1 and aggr != "sum":
            raise ValueError(f"aggr={aggr!r} needs layers=2 or more: the first one is a density.")
        numbers = _atomic_numbers(elements)
        self.elements = tuple(numbers)
        self.cutoff, self.channels, self.width, self.neighbors = cutoff, channels, width, neighbors
        self.normalize = normalize
        self.modulation_features = 2 * width
        self.species = Constants(elements=torch.eye(ELEMENTS, dtype=torch.float64)[:, numbers])
        parity = [(-1.0) ** ell for ell in range(degree + 1) for _ in range(2 * ell + 1)]
        reverse = torch.tensor(parity, dtype=torch.float64)
        by_sign = torch.stack([torch.zeros_like(reverse), torch.ones_like(reverse), reverse])
        self.signs = Constants(by_sign=by_sign * sqrt(4 * pi / neighbors))
        top = max(self.irreps_out.ls)
        degrees = [hidden_degree] * (layers - 1) + [top]
        self.harmonics = SolidHarmonics(degree)
        self.radial = RadialNetwork(features, cutoff, count=count, hidden=hidden)
        self.density = NeighborDensity(len(numbers), features, degree, width)
        self.power = GauntPower(
            natural_irreps(width, degree),
            natural_irreps(width, degrees[0]),
            order,
            elements=len(numbers),
        )
        self.layers = nn.ModuleList(
            GauntInteraction(
                len(numbers),
                features,
                channels=channels,
                width=width,
                hidden_degree=before,
                degree=degree,
                out_degree=after,
                order=order,
                aggr=deepcopy(aggr),
                normalize=normalize,
            )
            for before, after in pairwise(degrees)
        )
        self.readouts = nn.ModuleList(
            DegreeReadout(self.irreps_out, width, ell, None if n < layers - 1 else readout)
            for n, ell in enumerate(degrees)
        )

    def reset_parameters(self) -> None:
        for part in self.children():
            reset(part)

    @property
    def last_weights(self) -> tuple[str, ...]:
        """Names of the parameters in which scalar outputs are linear, all together."""
        layers = [
            last_layer(part.maps[0]) for part in self.readouts if isinstance(part, DegreeReadout)
        ]
        return tuple(
            name for name, p in self.named_parameters() if any(p is x.weight for x in layers)
        )

    @property
    def layer_inputs(self) -> tuple[tuple[nn.Module, int], ...]:
        """Layers that read features of neighbours first, and in which dimension atoms are."""
        return tuple((layer, 1) for layer in self.layers)

    @property
    def element_axes(self) -> dict[str, int]:
        """Parameters with a block for each of `elements`, in their order, and along which axis."""
        names = [name for name, _ in self.named_parameters()]
        mixed = [name for name in names if name.endswith(("density.mix.weight", "skip.weight"))]
        powers = [name for name in names if name.endswith("power.weight")]
        return dict.fromkeys(mixed, 1) | dict.fromkeys(powers, 0)

    def plan(
        self, edge_index: Tensor, num_nodes: int, reverse: Tensor | None = None
    ) -> NeighborSlots:
        """The neighbours of a batch in slots: see `geqlib.gaunt.slots.neighbor_slots`."""
        return neighbor_slots(edge_index, num_nodes, reverse=reverse)

    def forward(
        self,
        pos: Tensor,
        z: Tensor,
        edge_index: Tensor,
        edge_shift: Tensor | None = None,
        reverse: Tensor | None = None,
        plan: NeighborSlots | None = None,
        modulation: Tensor | None = None,
    ) -> Tensor:
        """Run the network.

        Args:
            pos: [N, 3] positions.
            z: [N] atomic numbers.
            edge_index: [2, E], source and target.
            edge_shift: [E, 3] added to pos[source] - pos[target], for periodic images.
            reverse: [E] index of each edge's reverse, where it is known: saves a search.
            plan: slots made before, by `plan(...)`: needed for compile and export.
            modulation: [N, 2 width] a and b of each atom: the channels of its first density are
                multiplied by 1 + a, and b is added to its scalars. For what a structure is beside
                its atoms, such as its charge.

        Returns:
            [N, irreps_out.dim].
        """
        self._check_inputs(pos, z)
        if plan is None:
            paired = edge_shift is None or reverse is not None
            plan = neighbor_slots(edge_index, pos.size(0), reverse=reverse, paired=paired)
        with torch.autocast(pos.device.type, enabled=False):
            harmonics, radial = self._edges(pos, plan, edge_shift)
            choice = self.species.table("elements", pos).index_select(0, z)
            context = harmonics, radial, choice, plan
            density = _modulated(self.density(*context), modulation)
            density = normalized(density) if self.normalize else density
            x = self.power.on_components(density, choice)
            read = []
            layers: Any = self.layers
            for layer, readout in zip(layers, self.readouts[:-1], strict=True):
                # both take one slice, which then has one derivative
                shared = components(x, 0, layer.shared)
                read.append(readout(shared))
                x = layer(x, shared, *context)
            out = sum(read, self.readouts[-1](x))
        return out

    def _edges(
        self, pos: Tensor, plan: NeighborSlots, edge_shift: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Harmonics [N, K, k] and radial functions [N, K, H] of the edges in their slots."""
        offset = offsets(pos, plan.source, plan.target)
        if edge_shift is not None:
            offset = offset + edge_shift.index_select(0, plan.edge)
        distance, direction = length_and_direction(offset, SOFTENING)
        values, radial = self.harmonics(direction), self.radial(distance)
        return plan.spread(values) * self._signs(plan, values), plan.spread(radial)

    def _signs(self, plan: NeighborSlots, like: Tensor) -> Tensor:
        """[N, K, k]: reversed edges change the sign of odd degrees; empty slots are 0."""
        return self.signs.table("by_sign", like)[plan.sign]  # -1 is the last row

    def _check_options(
        self, channels: int, layers: int, degree: int, hidden_degree: int, neighbors: float
    ) -> None:
        if channels < 1 or layers < 1:
            raise ValueError(
                f"channels, width and layers must be positive, got {channels} and {layers}."
            )
        if min(degree, hidden_degree) < 0:
            raise ValueError(f"degrees must be at least 0, got {degree} and {hidden_degree}.")
        if neighbors <= 0:
            raise ValueError(f"neighbors must be positive, got {neighbors}.")
        for _, ir in self.irreps_out:
            if ir.p != (-1) ** ir.l:
                raise ValueError(
                    f"irreps_out has {ir}, but positions and elements alone give "
                    "0e, 1o, 2e, ... only: leave it out."
                )

    def _check_inputs(self, pos: Tensor, z: Tensor) -> None:
        if pos.dim() != 2 or pos.size(1) != 3:
            raise ValueError(f"pos has shape {tuple(pos.shape)}, expected [atoms, 3].")
        if z.shape != pos.shape[:1]:
            raise ValueError(
                f"z has shape {tuple(z.shape)}, expected one atomic number for each of "
                f"{pos.size(0)} atoms."
            )
        if not values_readable():
            return
        check_numbers(z)
        listed = self.species.get_buffer("elements").index_select(0, z).any(1)
        if not bool(listed.all()):
            atom = int((~listed).nonzero()[0])
            raise ValueError(
                f"atom {atom} is {chemical_symbols[int(z[atom])]}, which is none of the network's "
                f"`elements`: add it there."
            )


def _modulated(density: Tensor, modulation: Tensor | None) -> Tensor:
    """Densities [k, N, W], components first, times 1 + a, with b added to scalars."""
    if modulation is None:
        return density
    factor, scalars = modulation.to(density.dtype).chunk(2, 1)
    density = density * (1 + factor)
    return torch.cat([density[:1] + scalars, density[1:]])


def _atomic_numbers(elements: Sequence[str | int]) -> list[int]:
    numbers = [atomic_numbers.get(e, -1) if isinstance(e, str) else e for e in elements]
    for element, number in zip(elements, numbers, strict=True):
        if not 0 <= number < ELEMENTS:
            raise ValueError(f"elements has {element!r}, which is no symbol or atomic number.")
    if not numbers or len(set(numbers)) < len(numbers):
        raise ValueError(f"elements must name each element once, got {list(elements)}.")
    return numbers
