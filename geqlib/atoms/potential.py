"""Potentials and models of molecules: energies and properties from any network on atoms."""

from __future__ import annotations

from inspect import signature
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.nn.inits import reset

from geqlib.atoms.charge import ChargeEmbedding, is_plain
from geqlib.atoms.long_range import GaussianCharges
from geqlib.atoms.zbl import ZBL
from geqlib.elements import chemical_symbols
from geqlib.graph.checks import values_readable
from geqlib.graph.plan import accepted
from geqlib.graph.pool import sum_pool
from geqlib.graph.wrapping import near_cell
from geqlib.radial import PolynomialCutoff
from geqlib.sphere.tables import Constants

ELEMENTS = 119  # length of a table by atomic number


def shift_of_edges(
    cell: Tensor | None, cell_shift: Tensor | None, graph: Tensor, target: Tensor
) -> Tensor | None:
    """[E, 3] how far the source's image is from the source; None without cells.

    Args:
        cell: [G, 3, 3] cell vectors in rows.
        cell_shift: [E, 3] integers.
        graph: [N] of each node, and target: [E] of each edge.
    """
    if cell is None or cell_shift is None:
        return None
    across = cell.index_select(0, graph.index_select(0, target))
    return torch.einsum("ed,edk->ek", cell_shift.to(cell.dtype), across)


class AtomNetwork(nn.Module):
    """A network on atoms, and a learnt embedding of their elements if the network takes one.

    Args:
        model: its `forward` names what it takes, see `geqlib.graph.accepted`; `x` is the embedding,
            [N, model.in_scalars].
        charge: whether it knows the total charge and the spin multiplicity of each graph: see
            `take_charge`.
    """

    def __init__(self, model: nn.Module, *, charge: bool = False) -> None:
        super().__init__()
        self.model = model
        self.charges: ChargeEmbedding | None = None
        names = accepted(model.forward, {"x": True, "edge_shift": True})
        self.takes_shift = "edge_shift" in names
        features = getattr(model, "in_scalars", 0) if "x" in names else 0
        self.embedding = nn.Embedding(ELEMENTS, features) if features else None
        if charge:
            self.take_charge()

    def take_charge(self) -> None:
        """Learn from now on what charge and multiplicity change: see `ChargeEmbedding`.

        They are added to the embedding `x` of the elements, or reach a network whose forward names
        `modulation` [N, model.modulation_features] by that.

        Raises:
            ValueError: if the network takes neither.
        """
        if self.charges is not None:
            return
        self.modulated = "modulation" in signature(self.model.forward).parameters
        if not self.modulated and self.embedding is None:
            raise ValueError(
                f"{type(self.model).__name__} cannot know the charge or multiplicity of a graph: "
                "its forward names neither `x`, with an attribute in_scalars above 0, nor "
                "`modulation`. Use another network, or data without them."
            )
        network: Any = self.model
        features = network.modulation_features if self.modulated else network.in_scalars
        weights = next(self.parameters())
        self.charges = ChargeEmbedding(features).to(weights)

    def reset_parameters(self) -> None:
        """Fresh weights of the network and of the embeddings."""
        for part in (self.model, self.embedding, self.charges):
            reset(part)

    def plan(
        self,
        edge_index: Tensor,
        num_nodes: int,
        reverse: Tensor | None = None,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
        pos: Tensor | None = None,
        cell: Tensor | None = None,
        cell_shift: Tensor | None = None,
    ) -> Any:
        """The network's plan of a batch; None if it makes none. See `geqlib.graph.Plan`.

        A network whose `plan` names positions makes the plan of these positions alone.
        """
        tensors = {"reverse": reverse, "batch": batch, "num_graphs": num_graphs}
        tensors |= {"edge_index": edge_index, "num_nodes": num_nodes}
        tensors |= {"pos": pos, "cell": cell, "cell_shift": cell_shift}
        make = getattr(self.model, "plan", None)
        return None if make is None else make(**accepted(make, tensors))

    @property
    def whole(self) -> bool:
        """Whether the network gives values of graphs, not of atoms."""
        return getattr(self.model, "level", "node") == "graph"

    def _run(
        self,
        z: Tensor,
        tensors: dict[str, Any],
        charge: Tensor | None,
        multiplicity: Tensor | None,
    ) -> Tensor:
        x = None if self.embedding is None else self.embedding(z)
        if self.charges is not None and not (charge is None and multiplicity is None):
            added = self.charges(charge, multiplicity)
            batch = tensors["batch"]
            graph = torch.zeros_like(z) if batch is None else batch
            each = added.index_select(0, graph)
            x, tensors = (
                (x, tensors | {"modulation": each}) if self.modulated else (x + each, tensors)
            )
        out = self.model(**accepted(self.model.forward, tensors | {"z": z, "x": x}))
        return out[0] if isinstance(out, tuple) else out


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
        long_range: the Coulomb energy of charges of the atoms, which are a second scalar of the
            network. The mean of a graph's is shifted, so that they add up to its total charge.

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

    def __init__(
        self,
        model: nn.Module,
        *,
        zbl: bool = False,
        charge: bool = False,
        long_range: GaussianCharges | None = None,
    ) -> None:
        if getattr(model, "direct_forces", False):
            raise ValueError(
                f"{type(model).__name__} has direct_forces, which no energy has, but forces of a "
                "potential are derivatives: build it with direct_forces=False, or learn its forces "
                "as a property of atoms (geqlib.train.PropertyTask)."
            )
        super().__init__(model, charge=charge)
        self.zbl = ZBL() if zbl else None
        self.long_range = long_range
        if long_range is not None and self.whole:
            raise ValueError(
                f"long_range needs a network with two scalars an atom, but {type(model).__name__} "
                'gives those of graphs: build it with level="node".'
            )
        self.statistics = AtomicStatistics()

    def check(
        self,
        z: Tensor,
        cell: Tensor | None = None,
        cell_shift: Tensor | None = None,
        charge: Tensor | None = None,
        multiplicity: Tensor | None = None,
    ) -> None:
        """Refuse atoms that the model was not made for. Reads values: not for compiled code.

        Raises:
            ValueError: if an element, a charge or a multiplicity was not in the training data, or
                edges cross the walls of a cell and the cell is missing or the network's forward
                does not name `edge_shift`.
        """
        check_elements(z, self.statistics.seen)
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
        scalars = self._run(z, tensors, charge, multiplicity)
        charges = None
        if self.long_range is not None:
            scalars, charges = self._split(scalars, graph, num_graphs or 1, charge)
        atoms = self._atomic(scalars, graph, num_graphs or 1)
        atoms = atoms.to(pos.dtype) * self.statistics.scale
        if self.long_range is not None and charges is not None:
            atoms = atoms + self.long_range(charges, pos, batch, num_graphs, cell)
        if self.zbl is not None:
            atoms = atoms + self.zbl(pos, z, edge_index, edge_shift)
        atoms = atoms.double() + self.statistics.shift
        interaction = sum_pool(atoms, batch, num_graphs).to(pos.dtype)
        atoms = atoms + self.statistics.references.index_select(0, z)
        return Energies(sum_pool(atoms, batch, num_graphs), interaction, atoms)

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


class Energies(NamedTuple):
    """Energies in eV; totals are float64, as they may be -10^4 eV with differences of 10^-3.

    Args:
        total: [G] of graphs.
        interaction: [G] the part that is not reference energies, in the precision of the model.
        atoms: [N] float64; they add up to the totals.

    Example:
        >>> total, interaction, atoms = Energies(torch.ones(1), torch.ones(1), torch.ones(1))
    """

    total: Tensor
    interaction: Tensor
    atoms: Tensor


class AtomicStatistics(Constants):
    """Energies of atoms before any network, in float64 and part of the state dict.

    An atom of element z with the network's output e has the energy E_0[z] + scale e + shift.
    """

    references: Tensor
    seen: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        # fixed shapes, so that every state dict loads
        self.register_buffer("references", torch.zeros(ELEMENTS, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(ELEMENTS, dtype=torch.bool))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))
        self.register_buffer("shift", torch.zeros((), dtype=torch.float64))

    @property
    def fitted(self) -> bool:
        """Whether `set` was called, or a state loaded for which it was."""
        return bool(self.seen.any())

    def set(self, references: Tensor, seen: Tensor, scale: float, shift: float) -> None:
        """Write the statistics of a training set.

        Args:
            references: [119] E_0 by atomic number, in eV.
            seen: [119] whether the training set has the element.
            scale: eV per unit of the network's output.
            shift: eV per atom.
        """
        self.references.copy_(references)
        self.seen.copy_(seen)
        self.scale.fill_(scale)
        self.shift.fill_(shift)


class MoleculeModel(AtomNetwork):
    """Properties of molecules from any network on atoms: that network's symmetry.

    y = sum_i f_i, with f_i what the network gives atom i, whose element it knows by a learnt
    embedding. A network whose attribute `level` is "graph" sums by itself.

    Args:
        model: its `forward` takes what it names of `pos`, `z`, `x` (the embedding, [N,
            model.in_scalars]), `edge_index`, `reverse`, `batch`, `num_graphs` and `plan`. It
            returns [N, targets], [G, targets], or a tuple that starts with it.
        charge: whether it knows the total charge and the spin multiplicity of each molecule.

    Example:
        >>> from geqlib.graph import neighbor_list
        >>> from geqlib.models import PONITA
        >>> pos, z = torch.tensor([[0.0, 0, 0], [0.0, 0, 0.74]]), torch.tensor([1, 1])
        >>> model = MoleculeModel(PONITA(8, 0, 1, 0, channels=8, layers=1, cutoff=5.0))
        >>> model(pos, z, neighbor_list(pos, 5.0).edge_index).shape
        torch.Size([1, 1])
    """

    def forward(
        self,
        pos: Tensor,
        z: Tensor,
        edge_index: Tensor,
        reverse: Tensor | None = None,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
        plan: object | None = None,
        charge: Tensor | None = None,
        multiplicity: Tensor | None = None,
    ) -> Tensor:
        """Properties [G, targets] of a batch.

        Args:
            pos: [N, 3] in angstrom.
            z: [N] atomic numbers.
            edge_index, reverse: [2, E], [E], as of `geqlib.graph.Neighbors`.
            batch: [N] molecule of each atom, and num_graphs: their number.
            plan: made before by `self.plan`, for compile and export.
            charge, multiplicity: [G] of each molecule, for a model that was built with `charge`.
        """
        if self.charges is None and not (charge is None and multiplicity is None):
            raise ValueError(
                "The molecules have a charge or multiplicity, which this model does not know: "
                "build it with charge=True, or leave them out of the data."
            )
        tensors = {"pos": pos, "edge_index": edge_index, "reverse": reverse, "plan": plan}
        tensors |= {"batch": batch, "num_graphs": num_graphs}
        out = self._run(z, tensors, charge, multiplicity)
        return out if self.whole else sum_pool(out, batch, num_graphs)


def network_cutoff(network: nn.Module) -> float | None:
    """The distance beyond which no pair of points matters; None if the network has none.

    It is the network's attribute `cutoff` if that is a number, else the longest of its envelopes.

    Example:
        >>> from geqlib.models import PONITA
        >>> network_cutoff(PONITA(8, 0, 1, 0, channels=8, layers=1, cutoff=5.0))
        5.0
    """
    own = getattr(network, "cutoff", None)
    if isinstance(own, int | float) and not isinstance(own, bool):
        return float(own)
    cutoffs = [part.cutoff for part in network.modules() if isinstance(part, PolynomialCutoff)]
    return float(max(cutoffs)) if cutoffs else None


def check_elements(z: Tensor, seen: Tensor) -> None:
    """Refuse atoms of other elements than `seen` [119], if it has any."""
    elements = seen.nonzero()[:, 0].tolist()
    unseen = (~seen.index_select(0, z)).nonzero()[:, 0].tolist()
    if elements and unseen:
        symbols = ", ".join(chemical_symbols[k] for k in elements)
        raise ValueError(
            f"atom {unseen[0]} is {chemical_symbols[int(z[unseen[0]])]}, which the training data "
            f"never showed ({symbols}): use a model that was trained on it."
        )
