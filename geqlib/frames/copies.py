"""A batch with one copy of each sample for each of its frames, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from geqlib.frames.point_frames import Frames
from geqlib.sphere.irreps import wigner
from geqlib.symmetry.types import TensorType


@dataclass(frozen=True)
class FrameCopies:
    """Frames, and index tensors that arrange the copies: built once a batch.

    Args:
        matrix, sample, weight: of the frames (`geqlib.frames.point_frames.Frames`); copy f shows
            sample `sample[f]` from frame f.
        shift: [B, d] the origin of each sample; None for groups without translations.
        nodes: [M] node of each node of the copies, and node_copy: [M] its copy, ascending.
        edges: [L] edge of each edge of the copies, and edge_copy: [L] its copy, ascending.
        edge_index: [2, L] in the copies' own numbers.
        wigner: [F, 2l + 1, 2l + 1] for l = 0, 1, ..., of the proper parts of the matrices.
        parity: [F] their determinants.
        num_nodes, num_edges, num_graphs: of the batch.
        orbit: [M] class of each node of the copies; outputs are averaged over classes. None
            where each node is its own.
        shown: the copies that are computed, where others equal them; None if all are.
        same: for each kind of rows, which row of what is shown each row of the copies equals.
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
    parity: Tensor
    num_nodes: int
    num_edges: int
    num_graphs: int
    orbit: Tensor | None = None
    shown: FrameCopies | None = None
    same: dict[str, Tensor] | None = None

    def of(self, rows: str) -> tuple[Tensor, Tensor]:
        """The original row of each row of the copies, and its copy."""
        if rows == "node":
            return self.nodes, self.node_copy
        if rows == "edge":
            return self.edges, self.edge_copy
        return self.sample, torch.arange(self.sample.size(0), device=self.nodes.device)

    def show(self, x: Tensor, type_: TensorType) -> Tensor:
        """The rows of all copies, each from its frame: g^-1 x."""
        if type_.kind == "edge_index":
            return self.edge_index
        rows, copy = self.of(type_.level)
        seen = x.index_select(0, rows)
        if not type_.rotates:
            return seen
        if type_.kind == "point" and self.shift is not None:
            centre = self.shift[self.sample[copy]].to(x.dtype)
            seen = seen - _beside(centre, seen)
        return self._turn(seen, type_.kind, copy, back=False)

    def compute(self, x: Tensor, type_: TensorType) -> Tensor:
        """The rows of the copies that are computed: means over the copies that equal them.

        The values are those of each; the derivatives are then those of the mean, as for invariant
        outputs they must be.
        """
        if self.shown is None or self.same is None or not x.is_floating_point():
            return (self.shown or self).show(x, type_)
        seen, place = self.show(x, type_), self.same[type_.level]
        total = seen.new_zeros(self.shown.of(type_.level)[0].size(0), *seen.shape[1:])
        number = torch.bincount(place, minlength=total.size(0)).to(x.dtype)
        return total.index_add(0, place, seen) / number.view(-1, *[1] * (x.dim() - 1))

    def average(self, x: Tensor, type_: TensorType) -> Tensor:
        """The weighted mean of what the copies say of each row, turned back: g x."""
        rows, copy = self.of(type_.level)
        if self.same is not None:
            x = x.index_select(0, self.same[type_.level])
        if type_.rotates:
            x = self._turn(x, type_.kind, copy, back=True)
        if self.orbit is not None and type_.level == "node":
            x = _orbit_means(x, self.orbit)
        weight = self.weight[copy].to(x.dtype).view(-1, *[1] * (x.dim() - 1))
        mean = x.new_zeros(self._count(type_.level), *x.shape[1:]).index_add(0, rows, weight * x)
        if type_.kind == "point" and self.shift is not None:
            owner = self._owner(type_.level)
            mean = mean + _beside(self.shift[owner].to(x.dtype), mean)
        return mean

    def _count(self, rows: str) -> int:
        if rows == "node":
            return self.num_nodes
        return self.num_edges if rows == "edge" else self.num_graphs

    def _owner(self, rows: str) -> Tensor:
        """The sample of each original row."""
        number, copy = self.of(rows)
        owner = number.new_zeros(self._count(rows))
        return owner.index_put((number,), self.sample[copy])

    def _turn(self, x: Tensor, kind: str, copy: Tensor, *, back: bool) -> Tensor:
        """R x, or R^T x, on the last axis."""
        if kind in ("point", "vector"):
            return _apply(self.matrix, x, copy, back)
        from e3nn import o3

        irreps = o3.Irreps(kind)
        parts = []
        for part, (mul, ir) in zip(
            x.split([m * i.dim for m, i in irreps], -1), irreps, strict=True
        ):
            matrix = self.wigner[ir.l]
            if ir.p == -1:
                matrix = matrix * self.parity[:, None, None].to(matrix)
            turned = _apply(matrix, part.unflatten(-1, (mul, ir.dim)), copy, back)
            parts.append(turned.flatten(-2))
        return torch.cat(parts, -1)


torch.export.register_dataclass(FrameCopies)


def copies(
    frames: Frames,
    sample: Tensor,
    edge_index: Tensor | None,
    count: int,
    degree: int,
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
    nodes, node_copy = ragged(sample, frames.sample, count)
    if frames.nodes is not None:
        nodes = frames.nodes
    edges, edge_copy = ragged(sample[edge_index[0]], frames.sample, count)
    # where each node is in each copy
    keys, place = (node_copy * len(sample) + nodes).sort()
    ends = place[torch.searchsorted(keys, edge_copy * len(sample) + edge_index[:, edges])]
    parity = torch.linalg.det(frames.matrix.detach()).sign()
    return FrameCopies(
        matrix=_owned(frames.matrix),
        sample=_owned(frames.sample),
        weight=_owned(frames.weight),
        shift=frames.shift,
        nodes=nodes,
        node_copy=node_copy,
        edges=edges,
        edge_copy=edge_copy,
        edge_index=ends,
        wigner=_wigners(frames.matrix, parity, degree),
        parity=parity,
        num_nodes=len(sample),
        num_edges=edge_index.size(1),
        num_graphs=count,
    )


def dense_copies(frames: Frames, count: int, degree: int) -> FrameCopies:
    """The same of samples that are rows themselves, [B, points, ...]: nodes are whole samples."""
    copy = torch.arange(len(frames.sample), device=frames.sample.device)
    none, parity = copy[:0], torch.linalg.det(frames.matrix.detach()).sign()
    return FrameCopies(
        matrix=_owned(frames.matrix),
        sample=_owned(frames.sample),
        weight=_owned(frames.weight),
        shift=frames.shift,
        nodes=frames.sample,
        node_copy=copy,
        edges=none,
        edge_copy=none,
        edge_index=none.new_zeros(2, 0),
        wigner=_wigners(frames.matrix, parity, degree),
        parity=parity,
        num_nodes=count,
        num_edges=0,
        num_graphs=count,
    )


def _owned(x: Tensor) -> Tensor:
    """A copy that is no view: compiled code would depend on its base."""
    return x.clone(memory_format=torch.contiguous_format)


def ragged(sample: Tensor, chosen: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Rows of each chosen sample, one after the other, and which choice each serves.

    Example:
        >>> ragged(torch.tensor([1, 0, 1]), torch.tensor([1, 0, 1]), 2)[0].tolist()
        [0, 2, 1, 0, 2]
    """
    size = torch.bincount(sample, minlength=count)
    first, length = size.cumsum(0) - size, size[chosen]
    copy = torch.arange(len(chosen), device=sample.device).repeat_interleave(length)
    within = torch.arange(len(copy), device=sample.device) - (length.cumsum(0) - length)[copy]
    return sample.argsort(stable=True)[first[chosen[copy]] + within], copy


def _wigners(matrix: Tensor, parity: Tensor, degree: int) -> tuple[Tensor, ...]:
    proper = matrix * parity[:, None, None]
    return tuple(torch.vmap(partial(wigner, ell))(proper) for ell in range(degree + 1))


def _apply(matrix: Tensor, x: Tensor, copy: Tensor, back: bool) -> Tensor:
    """M x on the last axis of x [rows, ..., d], or M^T x; by sums, which autocast leaves alone."""
    each = _beside((matrix.mT if back else matrix).to(x.dtype)[copy], x[..., None, :])
    return sum((x[..., i, None] * each[..., i, :] for i in range(x.size(-1))), torch.zeros_like(x))


def _beside(part: Tensor, x: Tensor) -> Tensor:
    """[rows, a, ...] with axes of length 1 put in, to go with x [rows, ..., a, ...]."""
    return part.view(part.size(0), *[1] * (x.dim() - part.dim()), *part.shape[1:])


def _orbit_means(x: Tensor, orbit: Tensor) -> Tensor:
    total = torch.zeros_like(x).index_add(0, orbit, x)
    number = torch.bincount(orbit, minlength=x.size(0)).clamp(min=1)
    return (total / number.view(-1, *[1] * (x.dim() - 1)).to(x.dtype))[orbit]
