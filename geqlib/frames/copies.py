"""Index tensors of a batch that holds a copy of each sample for each of its frames."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geqlib.frames.point_frames import Frames
from geqlib.graph.pairs import PairPlan
from geqlib.graph.plan import Plan
from geqlib.graph.segments import ragged_ranges, segment_index, segment_lengths, segment_ptr
from geqlib.symmetry.types import TensorType, wigner_matrices


@dataclass(frozen=True)
class FrameCopies(Plan):
    """The frames of a batch, and the nodes and edges of its copies.

    Copy f shows sample `sample[f]` from the frame (R, t) with R = `matrix[f]`.

    Args:
        matrix, sample, weight: of the frames (`geqlib.frames.point_frames.Frames`).
        shift: [B, d] t of each sample; None for groups without translations.
        nodes: [M] node of each node of the copies, and node_copy: [M] its copy, ascending.
        edges: [L] edge of each edge of the copies, and edge_copy: [L] its copy, ascending.
        edge_index: [2, L] between the nodes of the copies.
        wigner: [F, 2l + 1, 2l + 1] for l = 0, 1, ..., of R / det R.
        num_nodes, num_edges, num_graphs: of the batch.
        orbit: [M] class of each node of the copies; outputs are averaged over classes. None
            where each node is a class by itself.
        distinct: the copies that are computed, where others equal them; None if all are.
        mixing: how a soft order mixes nodes before it sorts them; None for all other frames. Edges
            are then all pairs of nodes.
    """

    matrix: Tensor
    sample: Tensor
    weight: Tensor
    shift: Tensor | None
    nodes: Tensor
    node_copy: Tensor
    edges: Tensor
    edge_copy: Tensor
    edge_index: Tensor
    wigner: tuple[Tensor, ...]
    num_nodes: int
    num_edges: int
    num_graphs: int
    orbit: Tensor | None = None
    distinct: DistinctCopies | None = None
    mixing: Mixing | None = None

    def of(self, level: str) -> tuple[Tensor, Tensor]:
        """For each node, edge or graph of the copies: its number in the batch, and its copy."""
        if level == "node":
            return self.nodes, self.node_copy
        if level == "edge":
            return self.edges, self.edge_copy
        return self.sample, torch.arange(self.sample.size(0), device=self.nodes.device)

    def count(self, level: str) -> int:
        """Number of nodes, edges or graphs of the batch."""
        return {"node": self.num_nodes, "edge": self.num_edges, "graph": self.num_graphs}[level]


@dataclass(frozen=True)
class DistinctCopies(Plan):
    """One of each set of equal copies.

    Args:
        copies: these alone.
        node, edge, graph: for each node, edge and graph of all copies, its equal among these.
    """

    copies: FrameCopies
    node: Tensor
    edge: Tensor
    graph: Tensor

    def same(self, level: str) -> Tensor:
        return {"node": self.node, "edge": self.edge, "graph": self.graph}[level]


@dataclass(frozen=True)
class Mixing(Plan):
    """A matrix M for each graph: nodes become M x, weights of edges M A M^T.

    Args:
        weight: [P, 1] M_ij of each pair (i, j).
        pairs: of nodes.
        edge: [E] the pair of each edge.
    """

    weight: Tensor
    pairs: PairPlan
    edge: Tensor

    def mixed(self, x: Tensor, type_: TensorType) -> Tensor:
        """M x [N, ...] of nodes, or M A M^T [P, ...], where A holds the x [E, ...] of edges.

        Raises:
            ValueError: integers, which have no mean.
        """
        if not x.is_floating_point():
            raise ValueError(
                f"{type_.where} holds {x.dtype}, which soft orders cannot mix: give floating-point "
                "numbers, such as one-hot vectors of kinds."
            )
        if type_.level == "node":
            return self._products(x, transpose=False)
        columns = x.flatten(1) if x.dim() > 1 else x[:, None]
        matrix = columns.new_zeros(len(self.weight), columns.size(1))
        matrix = matrix.index_add(0, self.edge, columns)
        weight = self.weight.to(x.dtype).expand_as(matrix)
        with torch.autocast(x.device.type, enabled=False):
            product = self.pairs.matmul(weight, matrix)
            product = self.pairs.matmul(product, weight[self.pairs.transpose])
        return product.view(len(product), *x.shape[1:])

    def transposed(self, y: Tensor) -> Tensor:
        """M^T y [N, ...]."""
        return self._products(y, transpose=True)

    def _products(self, x: Tensor, *, transpose: bool) -> Tensor:
        columns = x.flatten(1) if x.dim() > 1 else x[:, None]
        products = torch.zeros_like(columns)
        weights = self.pairs.blocks(self.weight.to(x.dtype))
        for weight, rows in zip(weights, self.pairs.blocks(self.pairs.row[:, None]), strict=True):
            node, matrix = rows[:, :, 0, 0], weight[..., 0]
            with torch.autocast(x.device.type, enabled=False):
                product = (matrix.mT if transpose else matrix) @ columns[node]
            products = products.index_copy(0, node.flatten(), product.flatten(0, 1))
        return products.view(x.shape)


torch.export.register_dataclass(FrameCopies)
torch.export.register_dataclass(DistinctCopies)


def frame_copies(
    frames: Frames, sample: Tensor, edge_index: Tensor | None, count: int, degree: int
) -> FrameCopies:
    """Arrange a batch's nodes and edges in copies.

    Args:
        frames: of the batch.
        sample: [N] the sample of each node.
        edge_index: [2, E] between nodes of one sample, or None.
        count: number of samples.
        degree: highest degree of irreps among inputs and outputs, -1 if there are none.
    """
    if edge_index is None:
        edge_index = sample.new_zeros(2, 0)
    nodes, node_copy = members(sample, frames.sample, count)
    if frames.nodes is not None:
        nodes = frames.nodes
    edges, edge_copy = members(sample[edge_index[0]], frames.sample, count)
    return FrameCopies(
        matrix=_owned(frames.matrix),
        sample=_owned(frames.sample),
        weight=_owned(frames.weight),
        shift=frames.shift,
        nodes=nodes,
        node_copy=node_copy,
        edges=edges,
        edge_copy=edge_copy,
        edge_index=copied_edges(edge_index[:, edges], edge_copy, nodes, node_copy, len(sample)),
        wigner=wigner_matrices(frames.matrix, degree),
        num_nodes=len(sample),
        num_edges=edge_index.size(1),
        num_graphs=count,
    )


def members(sample: Tensor, chosen: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Members of each chosen sample, one sample after the other, and the choice each belongs to.

    Args:
        sample: [n] the sample of each member.
        chosen: [F] samples.
        count: number of samples.

    Example:
        >>> members(torch.tensor([1, 0, 1]), torch.tensor([1, 0, 1]), 2)[0].tolist()
        [0, 2, 1, 0, 2]
    """
    size = segment_lengths(sample, count)
    first, length = segment_ptr(size)[:-1].index_select(0, chosen), size.index_select(0, chosen)
    copy = segment_index(length)
    position = ragged_ranges(first, length, total=len(copy))
    return sample.argsort(stable=True).index_select(0, position), copy


def copied_edges(
    ends: Tensor, edge_copy: Tensor, nodes: Tensor, node_copy: Tensor, num_nodes: int
) -> Tensor:
    """[2, L] edges between the nodes of copies, from their ends [2, L] in the batch."""
    keys, position = (node_copy * num_nodes + nodes).sort()
    return position[torch.searchsorted(keys, edge_copy * num_nodes + ends)]


def _owned(x: Tensor) -> Tensor:
    """A copy that is no view: compiled code would depend on its base."""
    return x.clone(memory_format=torch.contiguous_format)
