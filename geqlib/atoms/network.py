"""Any network on atoms, with embeddings of their elements, charges and levels of theory."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn.inits import reset

from geqlib.atoms.charge import ChargeEmbedding
from geqlib.atoms.levels import LevelEmbedding
from geqlib.graph.checks import check_numbers
from geqlib.graph.plan import accepted
from geqlib.radial import PolynomialCutoff

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
        self.levels: LevelEmbedding | None = None
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
        if self.charges is None:
            features = self._features_of("the charge or multiplicity of a graph")
            self.charges = ChargeEmbedding(features).to(next(self.parameters()))

    def take_levels(self, names: Sequence[str], level: str | None = None) -> None:
        """Learn from now on what differs between levels of theory: see `LevelEmbedding`.

        Args:
            names: of the levels.
            level: the one that is meant where none is named.

        Raises:
            ValueError: if the network has no input for them, or knows other levels.
        """
        if self.levels is not None:
            if self.levels.names != tuple(names):
                raise ValueError(
                    f"The levels are {', '.join(names)}, but this potential knows "
                    f"{self.levels.listed}: name these, in this order."
                )
            return
        features = self._features_of("the level of theory of a graph")
        self.levels = LevelEmbedding(names, features, level).to(next(self.parameters()))

    def _features_of(self, what: str) -> int:
        """How many numbers tell the network of an atom what holds for the whole graph."""
        self.modulated = "modulation" in signature(self.model.forward).parameters
        if not self.modulated and self.embedding is None:
            raise ValueError(
                f"{type(self.model).__name__} cannot know {what}: "
                "its forward names neither `x`, with an attribute in_scalars above 0, nor "
                "`modulation`. Use another network, or data without them."
            )
        network: Any = self.model
        return network.modulation_features if self.modulated else network.in_scalars

    def reset_parameters(self) -> None:
        """Fresh weights of the network and of the embeddings."""
        for part in (self.model, self.embedding, self.charges, self.levels):
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
        level: Tensor | None = None,
    ) -> Any:
        """What the network returns; `level` [G] are numbers."""
        check_numbers(z)
        x = None if self.embedding is None else self.embedding(z)
        added = None
        if self.charges is not None and not (charge is None and multiplicity is None):
            added = self.charges(charge, multiplicity)
        if self.levels is not None and level is not None:
            added = self.levels(level) + (0.0 if added is None else added)
        if added is not None:
            batch = tensors["batch"]
            graph = torch.zeros_like(z) if batch is None else batch
            each = added.index_select(0, graph)
            x, tensors = (
                (x, tensors | {"modulation": each}) if self.modulated else (x + each, tensors)
            )
        return self.model(**accepted(self.model.forward, tensors | {"z": z, "x": x}))


def first_output(output: Any) -> Tensor:
    """The scalars of a network that returns more."""
    return output[0] if isinstance(output, tuple) else output


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
