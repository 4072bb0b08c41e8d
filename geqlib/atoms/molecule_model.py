"""Properties of molecules from any network on atoms."""

from __future__ import annotations

from torch import Tensor

from geqlib.atoms.network import AtomNetwork, first_output
from geqlib.graph.pool import sum_pool


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
        >>> import torch
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
        out = first_output(self._run(z, tensors, charge, multiplicity))
        return out if self.whole else sum_pool(out, batch, num_graphs)
