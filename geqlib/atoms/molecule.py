"""From a network on atoms to numbers of whole molecules."""

from __future__ import annotations

import inspect

from torch import Tensor, nn
from torch_geometric.nn.inits import reset

from geqlib.atoms.potential import ELEMENTS
from geqlib.graph.pool import sum_pool


class MoleculeModel(nn.Module):
    """Properties of molecules from any network on atoms: that network's symmetry.

    y = sum_i f_i, with f_i what the network gives atom i, which knows its element by a learnt
    embedding. A network whose attribute `level` is "graph" sums by itself.

    Args:
        model: its `forward` is given what it names of `pos`, `z`, `x` (the embedding, [N,
            model.in_scalars]), `edge_index`, `reverse`, `batch` and `num_graphs`. It returns
            [N, targets], [G, targets], or a tuple that starts with it.

    Example:
        >>> import torch
        >>> from geqlib.graph import neighbor_list
        >>> from geqlib.models import PONITA
        >>> pos, z = torch.tensor([[0.0, 0, 0], [0.0, 0, 0.74]]), torch.tensor([1, 1])
        >>> model = MoleculeModel(PONITA(8, 0, 1, 0, channels=8, layers=1, cutoff=5.0))
        >>> model(pos, z, neighbor_list(pos, 5.0).edge_index).shape
        torch.Size([1, 1])
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._wanted = frozenset(inspect.signature(model.forward).parameters)
        features = getattr(model, "in_scalars", 0) if "x" in self._wanted else 0
        self.embedding = nn.Embedding(ELEMENTS, features) if features else None

    def reset_parameters(self) -> None:
        for part in (self.model, self.embedding):
            reset(part)

    def forward(
        self,
        pos: Tensor,
        z: Tensor,
        edge_index: Tensor,
        reverse: Tensor | None = None,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
        plan: object | None = None,
    ) -> Tensor:
        """Properties [G, targets] of a batch.

        Args:
            pos: [N, 3] in angstrom.
            z: [N] atomic numbers.
            edge_index, reverse: [2, E], [E], as of `geqlib.graph.Neighbors`.
            batch: [N] molecule of each atom, and num_graphs: how many there are.
            plan: what the model made of the edges before, for compile and export.
        """
        given = {
            "pos": pos,
            "z": z,
            "x": None if self.embedding is None else self.embedding(z),
            "edge_index": edge_index,
            "reverse": reverse,
            "batch": batch,
            "num_graphs": num_graphs,
            "plan": plan,
        }
        out = self.model(**{k: v for k, v in given.items() if k in self._wanted and v is not None})
        out = out[0] if isinstance(out, tuple) else out
        if getattr(self.model, "level", "node") == "graph":
            return out
        return sum_pool(out, batch, num_graphs)
