"""Potentials: energies of atoms from any network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from geqlib.atoms.channels import Channels, irreps
from geqlib.atoms.charge import is_plain
from geqlib.atoms.electric import SYMMETRIC, symmetric_matrices
from geqlib.atoms.long_range import GaussianCharges
from geqlib.atoms.network import AtomNetwork, first_output, shift_of_edges
from geqlib.atoms.statistics import (
    AtomicStatistics,
    Energies,
    check_elements,
    with_response,
)
from geqlib.atoms.zbl import ZBL
from geqlib.graph.checks import values_readable
from geqlib.graph.pool import sum_pool
from geqlib.graph.wrapping import near_cell


class Potential(AtomNetwork):
    """Energies of atoms and molecules from any network: that network's symmetry, E(3) at best.

    E = sum_i [ E_0[z_i] + scale e_i + shift ], with e_i the scalar that the network gives atom i,
    and optionally the repulsion of nuclei (`geqlib.nn.ZBL`) and the Coulomb energy of latent
    charges (`geqlib.nn.GaussianCharges`). The scalar of a network whose
    attribute `level` is "graph" is shared equally among the graph's atoms. Forces and stress are
    derivatives: see `energy_forces`. `reset_parameters` leaves the statistics as they are.

    Args:
        model: its `forward` takes what it names of `pos`, `z`, `x` (a learnt embedding of the
            element, [N, model.in_scalars]), `edge_index`, `edge_shift` [E, 3], `reverse`, `batch`,
            `num_graphs` and `plan`. It returns [N, 1], [G, 1], or a tuple that starts with it.
        zbl: whether to add the repulsion of nuclei.
        charge: whether energies depend on the total charge and the spin multiplicity of a graph.
        levels: names of the levels of theory, or data sets, whose energies differ: each has its own
            energies of atoms, and a vector among the features of atoms (`LevelEmbedding`).
        level: the one of them that is meant where a structure has none.
        long_range: the Coulomb energy of charges of the atoms, which are a second scalar of the
            network. The mean of a graph's is shifted, so that they add up to its total charge.
            They also give dipoles and Born charges: see `energy_forces`.
        polarisability: whether a network with outputs of degree 2 also gives the polarisability
            tensor of a structure, the sum of one symmetric matrix (0e + 2e) an atom, after the
            scalars above: `GauntNet(..., irreps_out="3x0e+2e")` with charges, "2x0e+2e" without.

    Attributes:
        conservative: whether forces are derivatives of the energy: of all but `DirectPotential`.

    Raises:
        ValueError: if the network has forces that are no derivatives (an attribute `direct_forces`
            that is true).

    Example:
        >>> from geqlib.graph import neighbor_list
        >>> from geqlib.models import PONITA
        >>> pos, z = torch.tensor([[0.0, 0, 0], [0.0, 0, 0.74]]), torch.tensor([1, 1])
        >>> potential = Potential(PONITA(8, 0, 1, 0, channels=8, layers=1, cutoff=5.0))
        >>> potential(pos, z, neighbor_list(pos, 5.0).edge_index).total.shape
        torch.Size([1])
    """

    conservative: bool = True

    def __init__(
        self,
        model: nn.Module,
        *,
        zbl: bool = False,
        charge: bool = False,
        levels: Sequence[str] | None = None,
        level: str | None = None,
        long_range: GaussianCharges | None = None,
        polarisability: bool = False,
    ) -> None:
        if self.conservative and getattr(model, "direct_forces", False):
            raise ValueError(
                f"{type(model).__name__} has direct_forces, which no energy has, but forces of a "
                "potential are derivatives: build it with direct_forces=False, or use "
                "geqlib.models.DirectPotential, whose forces are not conservative."
            )
        super().__init__(model, charge=charge)
        self.zbl = ZBL() if zbl else None
        self.long_range, self.polarisability = long_range, polarisability
        for name, wanted in (
            ("long_range", long_range is not None),
            ("polarisability", polarisability),
        ):
            if wanted and self.whole:
                raise ValueError(
                    f"{name} needs a network with further outputs of each atom, but "
                    f"{type(model).__name__} gives those of graphs: build it with "
                    'level="node".'
                )
        self.statistics = AtomicStatistics()
        if levels:
            self.take_levels(levels, level)
        elif level is not None:
            raise ValueError(f"level is {level!r}, but there are no levels: name them all.")

    def take_levels(self, names: Sequence[str], level: str | None = None) -> None:
        """See `AtomNetwork.take_levels`; energies of atoms are those of before at each level."""
        grows = self.levels is None
        super().take_levels(names, level)
        if grows:
            self.statistics = self.statistics.grown(len(tuple(names)))

    def at_level(self, name: str | None) -> Potential:
        """Let structures that name no level be of this one, in place.

        Args:
            name: of a level; None for the one that was set before, or of potentials without levels.

        Raises:
            ValueError: if there is no such level, or there are several and none is named.
        """
        if self.levels is None:
            if name is not None:
                raise ValueError(
                    f"This potential knows no level {name!r}: it was trained on one level of "
                    "theory alone, so leave the level out."
                )
        elif name is None:
            self.levels.resolve(None, 1)
        else:
            self.levels.default = self.levels.number(name)
        return self

    def share(self, other: Potential) -> Potential:
        """Take over all that is learnt outside of the network from another potential."""
        self.embedding, self.statistics = other.embedding, other.statistics
        if other.charges is not None:
            self.take_charge()
            self.charges = other.charges
        if other.levels is not None:
            self.levels, self.modulated = other.levels, other.modulated
        return self

    def check(
        self,
        z: Tensor,
        cell: Tensor | None = None,
        cell_shift: Tensor | None = None,
        charge: Tensor | None = None,
        multiplicity: Tensor | None = None,
        level: Tensor | None = None,
        batch: Tensor | None = None,
    ) -> None:
        """Refuse atoms that the model was not made for. Reads values: not for compiled code.

        Raises:
            ValueError: if an element, a charge or a multiplicity was not in the training data, or
                an element at that level; if there is no such level, or none is named; or edges
                cross the walls of a cell and the cell is missing or the network's forward does not
                name `edge_shift`.
        """
        self._check_elements(z, level, batch)
        if self.charges is not None:
            self.charges.check(charge, multiplicity)
        elif not is_plain(charge, multiplicity):
            raise ValueError(
                "A structure has a charge or is no singlet, which this potential does not know: "
                "build it with charge=True and train it on such data."
            )
        if cell_shift is None or not bool(cell_shift.any()):
            return
        if cell is None:
            raise ValueError("cell_shift leads to other cells, but `cell` is missing: pass it.")
        if not self.takes_shift:
            raise ValueError(
                f"{type(self.model).__name__} cannot work with periodic cells: its forward does "
                "not name `edge_shift`."
            )

    def _check_elements(self, z: Tensor, level: Tensor | None, batch: Tensor | None) -> None:
        seen = self.statistics.seen
        if self.levels is not None:
            self.levels.check(level)
            graph = None if level is None else batch
            check_elements(z, seen, graph, self.levels.resolve(level, 1), self.levels.names)
        elif level is not None:
            raise ValueError(
                "The structures have a level of theory, and this potential knows none: build it "
                "with levels=[...] and train it on such data."
            )
        else:
            check_elements(z, seen)

    def forward(
        self,
        pos: Tensor,
        z: Tensor,
        edge_index: Tensor,
        *,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
        cell: Tensor | None = None,
        cell_shift: Tensor | None = None,
        reverse: Tensor | None = None,
        plan: object | None = None,
        charge: Tensor | None = None,
        multiplicity: Tensor | None = None,
        level: Tensor | None = None,
    ) -> Energies:
        """Energies of a batch.

        Args:
            pos: [N, 3] in angstrom; with its cell in float64 for a network in float32 where atoms
                are far from their cell or the origin (`geqlib.graph.wrapping.near_cell`).
            z: [N] atomic numbers.
            edge_index, cell_shift, reverse: [2, E], [E, 3], [E], as of `geqlib.graph.Neighbors`.
            batch: [N] graph of each atom, and num_graphs: their number.
            cell: [G, 3, 3] cell vectors in rows, in angstrom; zeros for molecules.
            plan: made before by `self.plan`, for compile and export.
            charge, multiplicity: [G] of each graph, for a potential that was built with `charge`.
            level: [G] numbers of levels, for a potential that was built with `levels`.
        """
        graph = torch.zeros_like(z) if batch is None else batch
        if pos.dtype == torch.float64 and self._dtype == torch.float32:
            edges = {"cell": cell, "cell_shift": cell_shift}
            near, cell_shift = near_cell(
                pos, edge_index, batch=batch, num_graphs=num_graphs, **edges
            )
            pos, cell = near.float(), None if cell is None else cell.float()
        edge_shift = shift_of_edges(cell, cell_shift, graph, edge_index[1])
        tensors = {"pos": pos, "edge_index": edge_index, "edge_shift": edge_shift, "plan": plan}
        tensors |= {"reverse": reverse, "batch": batch, "num_graphs": num_graphs}
        if self.levels is not None:
            level = self.levels.resolve(level, num_graphs or 1)
        output = self._run(z, tensors, charge, multiplicity, level)
        scalars, matrices = self._outputs(output)
        charges = None
        if self.long_range is not None:
            scalars, charges = self._split(scalars, graph, num_graphs or 1, charge)
        atoms = self._atomic(scalars, graph, num_graphs or 1)
        atoms = atoms.to(pos.dtype) * self.statistics.scale
        if self.long_range is not None and charges is not None:
            atoms = atoms + self.long_range(charges, pos, batch, num_graphs, cell)
        if self.zbl is not None:
            atoms = atoms + self.zbl(pos, z, edge_index, edge_shift)
        atoms = atoms.double() + self.statistics.shifts(graph, level)
        interaction = sum_pool(atoms, batch, num_graphs).to(pos.dtype)
        atoms = atoms + self.statistics.isolated(z, graph, level)
        total = sum_pool(atoms, batch, num_graphs)
        response = None if matrices is None else sum_pool(matrices, batch, num_graphs)
        energies = Energies(total, interaction, atoms)
        return with_response(energies, charges, response, self._direct(output))

    def _direct(self, output: Any) -> Tensor | None:
        """Forces [N, 3] that the network gives itself: see `DirectPotential`."""
        return None

    def _outputs(self, output: Any) -> tuple[Tensor, Tensor | None]:
        """The scalars of the network, and polarisabilities [N, 3, 3] of atoms."""
        if not self.polarisability:
            return first_output(output), None
        channels = Channels(self.model, output)
        scalars = channels.take(irreps("1x0e" if self.long_range is None else "2x0e"), "energy")
        return scalars, symmetric_matrices(channels.take(irreps(SYMMETRIC), "polarisability"))

    def _split(
        self, out: Tensor, graph: Tensor, num_graphs: int, total: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The first scalars [N, 1], and charges [N] that add up to the totals of the graphs."""
        if not values_readable():
            raise ValueError(
                "A potential with long_range cannot be compiled, exported or replayed: how many "
                "waves its sum has depends on the cells."
            )
        if out.shape != (graph.size(0), 2):
            raise ValueError(
                f"{type(self.model).__name__} gave a tensor of shape {tuple(out.shape)} for "
                f"{graph.size(0)} atoms: a potential with long_range needs two scalars each, the "
                "second of which is a charge."
            )
        first, charges = out.split(1, 1)
        sums = charges.new_zeros(num_graphs, 2).index_add(
            0, graph, torch.cat([charges, torch.ones_like(charges)], 1)
        )
        target = 0.0 if total is None else total.to(charges.dtype)
        shift = (target - sums[:, 0]) / sums[:, 1].clamp(min=1)
        return first, charges[:, 0] + shift.index_select(0, graph)

    @property
    def _dtype(self) -> torch.dtype | None:
        """Of the network; None if it has no weights."""
        weights = next(self.parameters(), None)
        return None if weights is None else weights.dtype

    def _atomic(self, out: Tensor, graph: Tensor, num_graphs: int) -> Tensor:
        """[N] the network's scalars, one for each atom."""
        count = num_graphs if self.whole else graph.size(0)
        if out.numel() != count:
            raise ValueError(
                f"{type(self.model).__name__} gave a tensor of shape {tuple(out.shape)} for "
                f"{count} {'graphs' if self.whole else 'atoms'}: a potential needs one scalar each."
            )
        if not self.whole:
            return out.reshape(-1)
        size = torch.zeros_like(out[:, 0]).index_add(0, graph, torch.ones_like(out[:, 0])[graph])
        return (out[:, 0] / size.clamp(min=1)).index_select(0, graph)
