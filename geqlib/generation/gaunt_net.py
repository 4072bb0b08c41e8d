"""GauntNet as a network of denoisers: of features that are real numbers, not elements."""

from __future__ import annotations

from torch import Tensor, nn

from geqlib.gaunt.network import GauntNet
from geqlib.gaunt.readout import DegreeReadout, last_layer
from geqlib.gaunt.slots import NeighborSlots

NO_ELEMENT = 0  # of all atoms: under noise nobody knows which they are


class DenoisingGauntNet(nn.Module):
    """Positions and features of atoms to scalars and vectors, by many-body products on the sphere.

    Symmetry: E(3) and relabelling, exactly. Source: `geqlib.models.GauntNet`, of one element for
    all atoms. Their features x enter where a `GauntNet` takes what an atom is beside its element:

        A_lm,c <- (1 + a_c) A_lm,c + b_c [l = 0],  (a, b) = W x + w,

    with A the density of the neighbours, which the first powers are of. Features of neighbours
    come in messages, so that there are at least two layers. At high noise all atoms are close to
    each other, so that densities are normalised before they are multiplied (`normalize` of
    `GauntNet`). A vector of each atom, its position from the centre, is added to each vector that
    is read out, times a number: at low noise a denoiser's output is close to that.

    Args:
        in_scalars: F, features of each atom.
        out_scalars, out_vectors: outputs of each atom.
        channels, width, degree, hidden_degree, order, layers, count, neighbors: of `GauntNet`.
        cutoff: distance at which neighbours vanish, in the units of the positions: beyond the
            largest molecules, for which a denoiser is.

    Shapes:
        pos [N, 3], x [N, F], vec [N, 1, 3], to [N, out_scalars] and [N, out_vectors, 3].

    Raises:
        ValueError: fewer than two layers or than one feature or output of a kind, tensors
            of other shapes, or options of `GauntNet` out of their range.

    Example:
        >>> import torch
        >>> net = DenoisingGauntNet(6, 5, 1, channels=4, degree=1)
        >>> pairs = torch.tensor([[0, 1], [1, 0]])
        >>> pos = torch.randn(2, 3)
        >>> scalars, vectors = net(pos, torch.randn(2, 6), pos[:, None], pairs)
        >>> scalars.shape, vectors.shape
        (torch.Size([2, 5]), torch.Size([2, 1, 3]))
    """

    level = "node"
    in_vectors = 1

    def __init__(
        self,
        in_scalars: int,
        out_scalars: int,
        out_vectors: int = 1,
        *,
        channels: int = 32,
        width: int | None = None,
        degree: int = 3,
        hidden_degree: int = 1,
        order: int = 3,
        layers: int = 2,
        cutoff: float = 12.0,
        count: int = 16,
        neighbors: float = 16.0,
    ) -> None:
        super().__init__()
        if min(in_scalars, out_scalars, out_vectors) < 1 or layers < 2:
            raise ValueError(
                f"in_scalars={in_scalars}, out_scalars={out_scalars}, out_vectors={out_vectors}, "
                f"layers={layers}: they must be at least 1, 1, 1 and 2."
            )
        self.in_scalars, self.out_scalars = in_scalars, out_scalars
        self.out_vectors = out_vectors
        self.network = GauntNet(
            [NO_ELEMENT],
            channels=channels,
            width=width,
            degree=degree,
            hidden_degree=hidden_degree,
            order=order,
            layers=layers,
            cutoff=cutoff,
            count=count,
            neighbors=neighbors,
            irreps_out=f"{out_scalars}x0e+{out_vectors}x1o",
            normalize=True,
        )
        self.embed = nn.Linear(in_scalars, self.network.modulation_features)
        self.own = nn.Linear(self.in_vectors, out_vectors, bias=False)

    def reset_parameters(self) -> None:
        self.network.reset_parameters()
        self.embed.reset_parameters()
        self.own.reset_parameters()

    def zero_readout(self) -> None:
        """Let all outputs be 0 until the read-out is trained."""
        for part in self.network.readouts:
            layers = part.maps if isinstance(part, DegreeReadout) else ()
            for layer in map(last_layer, layers):
                if isinstance(layer, nn.Linear):
                    nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.own.weight)

    def plan(
        self, edge_index: Tensor, num_nodes: int, reverse: Tensor | None = None
    ) -> NeighborSlots:
        """The neighbours of a batch in slots: see `GauntNet.plan`."""
        return self.network.plan(edge_index, num_nodes, reverse)

    def forward(
        self,
        pos: Tensor,
        x: Tensor,
        vec: Tensor,
        edge_index: Tensor,
        reverse: Tensor | None = None,
        plan: NeighborSlots | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run the network.

        Args:
            pos: [N, 3] positions.
            x: [N, F] features.
            vec: [N, 1, 3] positions from the centre.
            edge_index, reverse: pairs of atoms, as of `geqlib.graph.Neighbors`.
            plan: slots made before, by `plan(...)`.
        """
        if x.dim() != 2 or x.size(1) != self.in_scalars:
            raise ValueError(f"x has shape {tuple(x.shape)}, expected [atoms, {self.in_scalars}].")
        if vec.shape[1:] != (self.in_vectors, 3):
            raise ValueError(f"vec has shape {tuple(vec.shape)}, expected [atoms, 1, 3].")
        z = edge_index.new_full((pos.size(0),), NO_ELEMENT)
        out = self.network(pos, z, edge_index, reverse=reverse, plan=plan, modulation=self.embed(x))
        scalars, vectors = out.split([self.out_scalars, 3 * self.out_vectors], 1)
        return scalars, vectors.unflatten(1, (self.out_vectors, 3)) + self.own(vec.mT).mT
