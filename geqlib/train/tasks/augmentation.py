"""Batches under random symmetries: every graph under its own group element."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import pad

from geqlib.graph.checks import values_readable
from geqlib.graph.padding import OF_NODES, level_of, sizes_of
from geqlib.symmetry.affine import SCALE, Linear, random_matrices
from geqlib.symmetry.groups import Group, beside_identity, check_moves
from geqlib.symmetry.rotations import random_rotations
from geqlib.symmetry.types import TensorType, parse_type, rotate

# which belong to one labelling of the nodes
PLANS = ("plan", "padded_plan")


@dataclass(frozen=True)
class GraphElements:
    """One group element for each graph of a batch; None is the identity.

    Args:
        matrix: [graphs, d, d] R, and shift: [graphs, d] t, of x -> R x + t.
        nodes: [N] new node i is old node nodes[i], of the same graph.
    """

    matrix: Tensor | None = None
    shift: Tensor | None = None
    nodes: Tensor | None = None

    def where(self, chosen: Tensor, other: GraphElements, batch: Tensor) -> GraphElements:
        """These where `chosen` [graphs] is false, and those of `other` where it is true.

        Args:
            chosen: [graphs] of booleans.
            other: elements of the same group.
            batch: [N] the graph of each node.
        """
        mine, theirs = vars(self), vars(other)
        masks = {"matrix": chosen[:, None, None], "shift": chosen[:, None], "nodes": chosen[batch]}
        parts = {
            name: None if mine[name] is None else torch.where(mask, theirs[name], mine[name])
            for name, mask in masks.items()
        }
        return GraphElements(**parts)


def rotated_graphs(
    batch: Any, inputs: Mapping[str, str], labels: Mapping[str, str], task: str
) -> Any:
    """A copy of the batch with every graph rotated by its own random rotation.

    Args:
        batch: of graphs.
        inputs, labels: types of the inputs, and of outputs by the names that labels have.
        task: its name, for errors.

    Raises:
        ValueError: if none of the inputs is a point or a vector.
    """
    first = _first_cartesian(batch, _parsed(batch, inputs))
    if first is None:  # a StopIteration would end the epoch without a word
        raise ValueError(
            f"{task} has rotate=True, but none of its `inputs` in the batch is a point or a "
            "vector: declare them, or set rotate=False."
        )
    rotation = random_rotations(
        batch.num_graphs, first.size(-1), dtype=first.dtype, device=first.device
    )
    return transformed_graphs(batch, {**inputs, **labels}, GraphElements(rotation))


def random_elements(
    batch: Any, group: Group, types: Mapping[str, str], *, scale: float = SCALE
) -> GraphElements:
    """A random group element for each graph, from torch's own random stream.

    Rotations, permutations and matrices of a finite group are uniform, half of O(d) are
    reflections, translations are standard normal, and stretches those of
    `geqlib.symmetry.affine.random_matrices`. Groups of fewer
    dimensions than the points have act on the first ones: SO(2) turns space about the z axis.

    Args:
        batch: of graphs.
        group: of `geqlib.symmetry.groups.parse_group`.
        types: of the tensors of the batch.
        scale: of stretches.

    Raises:
        ValueError: points of fewer dimensions than the group's.
    """
    graphs = int(batch.num_graphs)
    rotating = [type_ for type_ in _parsed(batch, types) if type_.rotates]
    matrix = shift = nodes = None
    if group.dim and rotating:
        first = batch[rotating[0].where]
        widths = {t.where: batch[t.where].size(-1) if t.cartesian else 3 for t in rotating}
        where, dim = min(widths.items(), key=lambda item: item[1])
        if dim < group.dim or len({*widths.values()}) > 1:
            raise ValueError(
                f"{group.label} acts on {group.dim} dimensions, but {where} of the batch has "
                f"{dim}: name a group of these."
            )
        like: dict[str, Any] = {"dtype": first.dtype, "device": first.device}
        if group.matrices is not None:
            number = torch.randint(len(group.matrices), (graphs,), device=first.device)
            matrix = group.matrices.to(**like)[number]
        elif group.stretches:
            kind = cast(Linear, group.linear)
            matrix = random_matrices(graphs, group.dim, kind, scale=scale, **like)
        elif group.linear:
            matrix = random_rotations(graphs, group.dim, **like)
            if not group.proper:  # a reflection is minus a rotation, or one with a column negated
                sign = 2.0 * torch.randint(2, (graphs, 1), device=first.device) - 1
                matrix = torch.cat([matrix[..., :1] * sign[..., None], matrix[..., 1:]], -1)
        shift = torch.randn(graphs, group.dim, **like) if group.translates else None
        matrix = None if matrix is None else beside_identity(matrix, dim)
        shift = None if shift is None else pad(shift, (0, dim - group.dim))
    if group.permutes:
        number = batch.batch
        order = torch.rand(len(number), device=number.device).argsort()
        nodes = order[number[order].argsort(stable=True)]
        if values_readable() and bool((number.diff() < 0).any()):
            raise ValueError("S_n needs batches whose nodes stand graph by graph: sort them.")
    return GraphElements(matrix, shift, nodes)


def check_action(
    group: Group, batch: Any, inputs: Mapping[str, str], labels: Mapping[str, str], task: str
) -> None:
    """Raise a ValueError if a group does not act on a task's inputs, or on its labels.

    Each factor of a product must act on an input, see `geqlib.symmetry.groups.check_moves`.

    Args:
        group: any.
        batch: of graphs.
        inputs, labels: types of the inputs, and of outputs by the names that labels have.
        task: its name.
    """
    check_moves(group, {t.where: t for t in _parsed(batch, inputs)}, task)
    rotating = [t for t in _parsed(batch, {**inputs, **labels}) if t.degree > 0]
    if group.stretches and rotating:
        raise ValueError(
            f"{group.label} does not act on {rotating[0].where}, whose type is "
            f"{rotating[0].text!r}: irreps are of rotations. Take O, SO, E or SE."
        )


def transformed_graphs(batch: Any, types: Mapping[str, str], elements: GraphElements) -> Any:
    """A copy of the batch with every graph under its own group element.

    Tensors without a type stay as they are, but those that have an entry per node follow a
    relabelling of nodes. Edges stay in their order.

    Args:
        batch: of graphs.
        types: of its tensors, as in `geqlib.testing`.
        elements: one for each graph.

    Raises:
        ValueError: a tensor of which it is not clear whether it has an entry per node.
    """
    result = batch.clone()
    for type_ in _parsed(batch, types):
        x = batch[type_.where]
        if type_.rotates and elements.matrix is not None:
            x = rotate(x, type_, _own(elements.matrix, type_, batch))
        if type_.kind == "point" and elements.shift is not None:
            own = _own(elements.shift, type_, batch)
            x = x + own.view(len(own), *[1] * (x.dim() - 2), -1).to(x.dtype)
        result[type_.where] = x
    return result if elements.nodes is None else _relabelled(result, types, elements.nodes)


def _relabelled(batch: Any, types: Mapping[str, str], nodes: Tensor) -> Any:
    """The same graphs with nodes[i] in place i; in place."""
    tensors = {k: x for k, x in batch.to_dict().items() if isinstance(x, Tensor)}
    sizes = sizes_of(tensors, int(batch.num_graphs))
    levels: dict[str, Any] = {t.where: t.level for t in _parsed(batch, types)}
    place = nodes.argsort()
    for name, x in tensors.items():
        if name in OF_NODES:
            batch[name] = place[x]
        elif name not in ("batch", "ptr") and _level(name, x, sizes, levels) == "node":
            batch[name] = x.index_select(0, nodes)
    for name in PLANS:
        if name in batch:
            del batch[name]
    return batch


def _level(name: str, x: Tensor, sizes: Any, levels: Mapping[str, Any]) -> str:
    if x.dim() == 0 or not {sizes.nodes} & {*x.shape}:
        return "graph"
    return level_of(name, x, sizes, levels)


def _own(values: Tensor, type_: TensorType, batch: Any) -> Tensor:
    """Of the graph to which each entry of a tensor belongs."""
    if type_.level == "graph":
        return values
    node = batch.edge_index[0] if type_.level == "edge" else slice(None)
    return values.index_select(0, batch.batch[node])


def _parsed(batch: Any, types: Mapping[str, str]) -> list[TensorType]:
    """Types of what the batch holds."""
    return [parse_type(name, text) for name, text in types.items() if name in batch]


def _first_cartesian(batch: Any, types: list[TensorType]) -> Tensor | None:
    where = next((type_.where for type_ in types if type_.rotates and type_.cartesian), None)
    return None if where is None else batch[where]
