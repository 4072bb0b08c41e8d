"""From a network's scalars to energies in electronvolts."""

from __future__ import annotations

import inspect
from typing import NamedTuple

import torch
from ase.data import chemical_symbols
from torch import Tensor, nn
from torch_geometric.nn.inits import reset

from geqlib.atoms.zbl import ZBL
from geqlib.graph.pool import sum_pool
from geqlib.sphere.tables import Constants

ELEMENTS = 119  # rows of a table by atomic number


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
    """What is known of the energies of atoms before any network: kept in float64, and saved.

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
            scale: eV for one unit of the network's output.
            shift: eV an atom.
        """
        self.references.copy_(references)
        self.seen.copy_(seen)
        self.scale.fill_(scale)
        self.shift.fill_(shift)


class Potential(nn.Module):
    """Energies of atoms and molecules from any network: that network's symmetry, E(3) at best.

    E = sum_i [ E_0[z_i] + scale e_i + shift ], with e_i the scalar that the network gives atom i,
    and optionally the repulsion of nuclei (`geqlib.nn.ZBL`). A network with one scalar a graph
    (its attribute `level` is "graph") shares it equally among the graph's atoms. Forces and stress
    are derivatives: see `energy_forces`.

    Args:
        model: its `forward` is given what it names of `pos`, `z`, `x` (a learnt embedding of the
            element, [N, model.in_scalars]), `edge_index`, `edge_shift` [E, 3], `reverse`, `batch`,
            `num_graphs` and `plan`. It returns [N, 1], [G, 1], or a tuple that starts with it.
        zbl: whether to add the repulsion of nuclei.

    Example:
        >>> from geqlib.graph import neighbor_list
        >>> from geqlib.models import PONITA
        >>> pos, z = torch.tensor([[0.0, 0, 0], [0.0, 0, 0.74]]), torch.tensor([1, 1])
        >>> potential = Potential(PONITA(8, 0, 1, 0, channels=8, layers=1, cutoff=5.0))
        >>> potential(pos, z, neighbor_list(pos, 5.0).edge_index).total.shape
        torch.Size([1])
    """

    def __init__(self, model: nn.Module, *, zbl: bool = False) -> None:
        super().__init__()
        self.model = model
        self._wanted = frozenset(inspect.signature(model.forward).parameters)
        features = getattr(model, "in_scalars", 0) if "x" in self._wanted else 0
        self.embedding = nn.Embedding(ELEMENTS, features) if features else None
        self.zbl = ZBL() if zbl else None
        self.statistics = AtomicStatistics()

    def reset_parameters(self) -> None:
        """Fresh weights; the statistics of the training set stay."""
        for part in (self.model, self.embedding):
            reset(part)

    def check(
        self, z: Tensor, cell: Tensor | None = None, cell_shift: Tensor | None = None
    ) -> None:
        """Is the model made for these atoms? Looks at values, so not in compiled code.

        Raises:
            ValueError: if an element was not in the training data, or edges cross the walls of a
                cell and the cell is missing or the model does not know `edge_shift`.
        """
        check_elements(z, self.statistics.seen)
        if cell_shift is None or not bool(cell_shift.any()):
            return
        if cell is None:
            raise ValueError("cell_shift leads to other cells, but `cell` is missing: pass it.")
        if "edge_shift" not in self._wanted:
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
    ) -> Energies:
        """Energies of a batch.

        Args:
            pos: [N, 3] in angstrom.
            z: [N] atomic numbers.
            edge_index, cell_shift, reverse: [2, E], [E, 3], [E], as of `geqlib.graph.Neighbors`.
            batch: [N] graph of each atom, and num_graphs: how many there are.
            cell: [G, 3, 3] cell vectors in rows, in angstrom; zeros for molecules.
            plan: what the model made of the edges before, for compile and export.
        """
        graph = torch.zeros_like(z) if batch is None else batch
        edge_shift = None
        if cell is not None and cell_shift is not None:
            across = cell.index_select(0, graph.index_select(0, edge_index[1]))
            edge_shift = torch.einsum("ed,edk->ek", cell_shift.to(pos.dtype), across)
        given = {
            "pos": pos,
            "z": z,
            "x": None if self.embedding is None else self.embedding(z),
            "edge_index": edge_index,
            "edge_shift": edge_shift,
            "reverse": reverse,
            "batch": batch,
            "num_graphs": num_graphs,
            "plan": plan,
        }
        out = self.model(**{k: v for k, v in given.items() if k in self._wanted and v is not None})
        atoms = self._atomic(out[0] if isinstance(out, tuple) else out, graph, num_graphs or 1)
        atoms = atoms.to(pos.dtype) * self.statistics.scale
        if self.zbl is not None:
            atoms = atoms + self.zbl(pos, z, edge_index, edge_shift)
        atoms = atoms.double() + self.statistics.shift
        interaction = sum_pool(atoms, batch, num_graphs).to(pos.dtype)
        atoms = atoms + self.statistics.references.index_select(0, z)
        return Energies(sum_pool(atoms, batch, num_graphs), interaction, atoms)

    def _atomic(self, out: Tensor, graph: Tensor, num_graphs: int) -> Tensor:
        """The network's scalars, one an atom."""
        whole = getattr(self.model, "level", "node") == "graph"
        rows = num_graphs if whole else graph.size(0)
        if out.numel() != rows:
            raise ValueError(
                f"{type(self.model).__name__} gave a tensor of shape {tuple(out.shape)} for {rows} "
                f"{'graphs' if whole else 'atoms'}: a potential needs one scalar each."
            )
        if not whole:
            return out.reshape(-1)
        count = torch.zeros_like(out[:, 0]).index_add(0, graph, torch.ones_like(out[:, 0])[graph])
        return (out[:, 0] / count.clamp(min=1)).index_select(0, graph)


def check_elements(z: Tensor, seen: Tensor) -> None:
    """Refuse atoms of other elements than `seen` [119], if it has any."""
    known = seen.nonzero()[:, 0].tolist()
    strange = (~seen.index_select(0, z)).nonzero()[:, 0].tolist()
    if known and strange:
        symbols = ", ".join(chemical_symbols[k] for k in known)
        raise ValueError(
            f"atom {strange[0]} is {chemical_symbols[int(z[strange[0]])]}, which the training data "
            f"never showed ({symbols}): the model knows nothing of it."
        )
