"""Properties of atoms and structures from any network: scalars, vectors and tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from e3nn import o3
from torch import Tensor, nn

from geqlib.atoms.channels import Channels
from geqlib.atoms.network import AtomNetwork, shift_of_edges
from geqlib.graph.pool import sum_pool
from geqlib.graph.segments import segment_lengths
from geqlib.symmetry.types import TensorType, parse_type

NAMED = {"scalar": "0e", "vector": "1o"}


class AtomProperties(AtomNetwork):
    """Any properties of structures and of atoms, in the channels of one network: its symmetry.

    Of each atom the network gives channels of irreps; properties take them one after the other,
    each its own. A property of a structure is the sum over its atoms of mean + scale x_i, where the
    mean is that of scalars; an intensive one the mean over its atoms.

    Args:
        model: its `forward` takes what it names of `pos`, `z`, `x` (a learnt embedding of the
            element, [N, model.in_scalars]), `edge_index`, `edge_shift`, `reverse`, `batch`,
            `num_graphs` and `plan`. It returns scalars [n, S], a pair of these and vectors
            [n, V, 3], or, with an attribute `irreps_out`, [n, irreps]; n are atoms, or graphs if
            its `level` is "graph".
        properties: name -> type: "scalar", "vector" or irreps such as "0e+2e" of each atom, after
            "graph:" of each structure, as in `geqlib.testing`.
        intensive: which of those of structures do not grow with their size.
        charge: whether it knows the total charge and the spin multiplicity of each structure.

    Raises:
        ValueError: no properties, an unknown type, or intensive ones that are not of structures.

    Example:
        >>> from geqlib.graph import neighbor_list
        >>> from geqlib.models import PONITA
        >>> net = PONITA(8, 0, 2, 1, channels=8, layers=1, cutoff=5.0)
        >>> model = AtomProperties(net, {"dipole": "graph:vector", "gap": "graph:scalar"}, ["gap"])
        >>> pos, z = torch.tensor([[0.0, 0, 0], [0.0, 0, 0.74]]), torch.tensor([1, 9])
        >>> {name: y.shape for name, y in model(pos, z, neighbor_list(pos, 5.0).edge_index).items()}
        {'dipole': torch.Size([1, 3]), 'gap': torch.Size([1, 1])}
    """

    def __init__(
        self,
        model: nn.Module,
        properties: Mapping[str, str],
        intensive: Sequence[str] = (),
        *,
        charge: bool = False,
    ) -> None:
        super().__init__(model, charge=charge)
        self.types = property_types(properties)
        self.intensive = tuple(intensive)
        wrong = [n for n in self.intensive if n not in self.types or self.types[n].level != "graph"]
        if wrong:
            raise ValueError(
                f"{wrong[0]!r} is intensive, but no property of structures: these are "
                f"{', '.join(n for n, t in self.types.items() if t.level == 'graph') or 'none'}."
            )
        for name, type_ in self.types.items():
            self.register_buffer(f"mean_{name}", torch.zeros(property_irreps(type_).dim))
            self.register_buffer(f"scale_{name}", torch.ones(()))

    def set_statistics(self, name: str, values: Tensor, atoms: Tensor | None) -> None:
        """Standardise a property by the values of a training set, of which NaN are left out.

        Args:
            name: of the property.
            values: [n, dim].
            atoms: [n] of each structure, for extensive properties, whose mean is that of an atom.
        """
        complete = values[~values.isnan().any(1)]
        if atoms is not None:
            complete = complete / atoms[~values.isnan().any(1), None]
        if not len(complete):
            return
        irreps = property_irreps(self.types[name])
        scalar = torch.cat([torch.full((mul * ir.dim,), ir.l == 0) for mul, ir in irreps])
        mean = complete.double().mean(0) * scalar
        scale = (complete.double() - mean).square().mean().sqrt()
        getattr(self, f"mean_{name}").copy_(mean)
        getattr(self, f"scale_{name}").copy_(scale if scale > 0 else torch.ones(()))

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
    ) -> dict[str, Tensor]:
        """Properties by name, [graphs, dim] or [N, dim]; arguments as of `Potential`."""
        if self.charges is None and not (charge is None and multiplicity is None):
            raise ValueError(
                "The structures have a charge or multiplicity, which this model does not know: "
                "build it with charge=True, or leave them out of the data."
            )
        graph = torch.zeros_like(z) if batch is None else batch
        edge_shift = shift_of_edges(cell, cell_shift, graph, edge_index[1])
        if edge_shift is not None and not self.takes_shift and bool(edge_shift.any()):
            raise ValueError(
                f"{type(self.model).__name__} cannot work with periodic cells: its forward "
                "does not name `edge_shift`."
            )
        tensors = {"pos": pos, "edge_index": edge_index, "edge_shift": edge_shift, "plan": plan}
        tensors |= {"reverse": reverse, "batch": batch, "num_graphs": num_graphs}
        channels = Channels(self.model, self._run(z, tensors, charge, multiplicity))
        atoms = segment_lengths(graph, num_graphs or 1).clamp(min=1).to(pos.dtype)[:, None]
        return {
            name: self._property(name, type_, channels, (batch, num_graphs), atoms)
            for name, type_ in self.types.items()
        }

    def _property(
        self, name: str, type_: TensorType, channels: Channels, of: Any, atoms: Tensor
    ) -> Tensor:
        x = channels.take(property_irreps(type_), name)
        mean, scale = getattr(self, f"mean_{name}"), getattr(self, f"scale_{name}")
        if type_.level == "node":
            if self.whole:
                raise ValueError(
                    f"{name!r} belongs to atoms, but {type(self.model).__name__} gives values of "
                    'graphs: build it with level="node".'
                )
            return mean + scale * x
        total = x if self.whole else sum_pool(x, *of)
        if name in self.intensive:
            return mean + scale * total / atoms
        return mean * atoms + scale * total


def property_types(properties: Mapping[str, str]) -> dict[str, TensorType]:
    """The types of properties.

    Raises:
        ValueError: no properties, or a type that none can have.
    """
    if not properties:
        raise ValueError("There are no properties: name at least one with its type.")
    types = {name: parse_type(f"the property {name!r}", text) for name, text in properties.items()}
    for name, type_ in types.items():
        if not name.isidentifier():
            raise ValueError(
                f"A property cannot be called {name!r}: use letters, digits and _, and name its "
                "key in the file as `keys`."
            )
        if type_.level == "edge" or type_.kind in ("point", "batch", "edge_index"):
            raise ValueError(
                f"The property {name!r} is {type_.text!r}: choose 'scalar', 'vector' or irreps "
                "such as '0e+2e', after 'graph:' for one of structures."
            )
    return types


def property_irreps(type_: TensorType) -> o3.Irreps:
    """The irreps of a property.

    Example:
        >>> property_irreps(parse_type("y", "graph:vector"))
        1x1o
    """
    return cast(o3.Irreps, o3.Irreps(NAMED.get(type_.kind, type_.kind)))
