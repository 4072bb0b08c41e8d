"""PONITA: a ConvNeXt-like network in position-orientation space."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch_geometric.nn.aggr import Aggregation
from torch_geometric.nn.inits import reset

from geqlib.graph.edges import EdgePlan
from geqlib.graph.pool import sum_pool
from geqlib.kernels.safe_length import safe_length
from geqlib.ponita.conv import (
    ConvNeXtBlock,
    LayerKernels,
    PositionOrientationConv,
    layer_kernels,
)
from geqlib.ponita.invariants import DIMENSION, FIBER, Space, check_space
from geqlib.ponita.kernel import Basis, KernelBasis
from geqlib.radial import LogGaussianBasis
from geqlib.sphere.grids import circle_grid, rotation_grid, sphere_grid


class PONITA(nn.Module):
    """Scalars and vectors on points, to scalars and vectors on points or graphs.

    Symmetry: relabelling of nodes and translations exactly; rotations and reflections exactly for
    those that map the orientation grid to itself (all of them for R^n), and up to the grid's
    resolution for the others. SE(3) and R^2 x S^1 kernels distinguish mirror images.

    Source: Bekkers et al., "Fast, expressive SE(n) equivariant networks through weight-sharing in
    position-orientation space" (ICLR 2024, arXiv 2310.02970). Scalars are lifted to
    x[i, o] = s_i, vectors to x[i, o] = v_i . o; each layer adds to x a position-orientation
    convolution, LayerNorm, and a two-layer network on channels; read-out is the mean over
    orientations for scalars and 1/O sum_o x[i, o] o for vectors.

    Args:
        in_scalars, in_vectors: input channels of each kind.
        out_scalars, out_vectors: output channels of each kind.
        channels: C, width of the network.
        layers: number of ConvNeXt blocks.
        basis: B, number of kernel basis functions; `channels`, but at most 64, by default.
        space: "R3" (positions alone), "R3xS2", "SE3", "R2" or "R2xS1". Without orientations,
            input vectors enter by their lengths, and output vectors are learnt combinations of
            the input vectors and the offsets to the neighbours.
        orientations: size of the grid (12 on S^2 is closed under the icosahedral group), or None
            for one orientation per node, given to `forward` as `ori`: exact for all rotations.
        level: "node", or "graph" for sums over the nodes of each graph.
        edge_dim: invariant features of an edge, such as products of charges.
        degree, radial, cutoff, separable, factored, smooth, fourth, chiral: see
            `geqlib.nn.KernelBasis`.
        widen: hidden width of a block, in units of `channels`.
        readouts: "all" averages a read-out of every layer, "last" uses the last one.
        layer_scale: initial scale of each block's residual branch; None for no such scale.
        dropout: in the blocks.
        aggr: how messages are collected: "sum", or any aggregation of torch_geometric.

    Example:
        >>> net = PONITA(1, 1, 0, 1, channels=16, layers=2)
        >>> pos, edge_index = torch.randn(3, 3), torch.tensor([[0, 1, 2], [1, 2, 0]])
        >>> scalars, vectors = net(pos, edge_index, x=torch.ones(3, 1), vec=torch.randn(3, 1, 3))
        >>> vectors.shape
        torch.Size([3, 1, 3])
    """

    def __init__(
        self,
        in_scalars: int,
        in_vectors: int,
        out_scalars: int,
        out_vectors: int,
        *,
        channels: int = 128,
        layers: int = 4,
        basis: int | None = None,
        space: Space = "R3xS2",
        orientations: int | None = 12,
        level: Literal["node", "graph"] = "node",
        edge_dim: int = 0,
        degree: int = 3,
        radial: LogGaussianBasis | None = None,
        cutoff: float | None = None,
        separable: bool = True,
        factored: bool = False,
        smooth: bool = False,
        fourth: bool = False,
        chiral: bool = False,
        widen: int = 4,
        readouts: Literal["all", "last"] = "all",
        layer_scale: float | None = None,
        dropout: float = 0.0,
        aggr: str | Aggregation = "sum",
    ) -> None:
        super().__init__()
        check_space(space)
        self._check(channels, layers, level, readouts)
        self.space: Space = space
        self.level, self.readouts = level, readouts
        self.in_scalars, self.in_vectors, self.edge_dim = in_scalars, in_vectors, edge_dim
        self.channels = channels
        self.out_scalars, self.out_vectors = out_scalars, out_vectors
        basis = min(channels, 64) if basis is None else basis
        self.kernel = KernelBasis(
            space,
            basis,
            grid=None if orientations is None else _grid(space, orientations),
            hidden=channels,
            degree=degree,
            radial=radial,
            edge_dim=edge_dim,
            cutoff=cutoff,
            separable=separable,
            factored=factored,
            smooth=smooth,
            fourth=fourth,
            chiral=chiral,
        )
        self.oriented = FIBER[space] > 0
        views = DIMENSION[space] if space == "SE3" else 1
        self.embed_scalars = nn.Linear(in_scalars, channels, bias=False) if in_scalars else None
        self.embed_vectors = (
            nn.Linear(in_vectors * views, channels, bias=False) if in_vectors else None
        )
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(
                PositionOrientationConv(
                    channels,
                    basis,
                    harmonics=self.kernel.harmonics,
                    separable=self.kernel.separable,
                    aggr=deepcopy(aggr),
                ),
                widen=widen,
                layer_scale=layer_scale,
                dropout=dropout,
            )
            for _ in range(layers)
        )
        count = layers if readouts == "all" else 1
        self.scalars = nn.ModuleList(
            nn.Linear(channels, out_scalars) for _ in range(count if out_scalars else 0)
        )
        self.vectors = nn.ModuleList(
            nn.Linear(channels, out_vectors * views, bias=False)
            if self.oriented
            else OffsetReadout(channels, basis, in_vectors, out_vectors)
            for _ in range(count if out_vectors else 0)
        )

    def reset_parameters(self) -> None:
        for part in self.children():
            reset(part)

    def zero_readout(self) -> None:
        """Let all outputs be 0 until the read-out is trained, as denoisers want it."""
        for part in (*self.scalars, *self.vectors):
            layers = (part.weight, part.mix) if isinstance(part, OffsetReadout) else (part,)
            for parameter in (p for layer in layers if layer for p in layer.parameters()):
                nn.init.zeros_(parameter)

    @property
    def last_weights(self) -> tuple[str, ...]:
        """Names of the parameters in which the scalar outputs are linear, all together."""
        return tuple(f"scalars.{k}.weight" for k in range(len(self.scalars)))

    @property
    def layer_inputs(self) -> tuple[tuple[nn.Module, int], ...]:
        """Layers that read features of neighbours first, and in which dimension atoms are.

        The first reads what atoms start with, which their elements say.
        """
        return tuple((block, 0) for block in self.blocks[1:])

    def plan(
        self,
        edge_index: Tensor,
        num_nodes: int,
        edge_attr: Tensor | None = None,
        reverse: Tensor | None = None,
    ) -> EdgePlan:
        """The edges on which kernels are evaluated: see `geqlib.nn.KernelBasis.plan`."""
        return self.kernel.plan(edge_index, num_nodes, edge_attr, reverse)

    def forward(
        self,
        pos: Tensor,
        edge_index: Tensor,
        x: Tensor | None = None,
        vec: Tensor | None = None,
        edge_attr: Tensor | None = None,
        edge_shift: Tensor | None = None,
        reverse: Tensor | None = None,
        ori: Tensor | None = None,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
        plan: EdgePlan | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run the network.

        Args:
            pos: [N, d] positions.
            edge_index: [2, E], source and target, without self-loops: every node is its own
                neighbour anyway.
            x: [N, in_scalars].
            vec: [N, in_vectors, d].
            edge_attr: [E, edge_dim].
            edge_shift: [E, d] added to pos[source] - pos[target], for periodic images.
            reverse: [E] index of each edge's reverse, where it is known: saves a search.
            ori: [N, d] unit vectors (SE3: [N, 3, 3] rotations) if `orientations` is None.
            batch: [N] graph of each node, and num_graphs: how many there are; for graph outputs.
            plan: made before, by `plan(...)`: needed for compile and export.

        Returns:
            Scalars [N or graphs, out_scalars] and vectors [N or graphs, out_vectors, d].
        """
        self._check_inputs(pos, x, vec)
        if plan is None and reverse is not None:
            plan = self.plan(edge_index, pos.size(0), edge_attr, reverse)
        basis = self.kernel(pos, edge_index, edge_attr, ori, plan, edge_shift)
        axes = self._axes(basis, ori)
        h = self._lift(pos, x, vec, axes)
        states = []
        for block, kernels in zip(self.blocks, self._kernels(basis), strict=True):
            h = block(h, basis, kernels)
            states.append(h)
        read = torch.cat(states, -1) if self.readouts == "all" else h
        s = self._read_scalars(read)
        v = self._read_vectors(read, axes, basis, vec)
        if self.level == "node":
            return s, v
        return sum_pool(s, batch, num_graphs), sum_pool(v, batch, num_graphs)

    def _kernels(self, basis: Basis) -> Sequence[LayerKernels | None]:
        """Those of all layers, if a backward pass keeps them anyway; else each makes its own."""
        if not torch.is_grad_enabled():
            return [None] * len(self.blocks)
        blocks: Any = self.blocks
        return layer_kernels([block.conv for block in blocks], basis)

    def _axes(self, basis: Basis, ori: Tensor | None) -> Tensor | None:
        if not self.oriented:
            return None
        if ori is not None:
            return orientation_axes(ori, single=True)
        return None if basis.grid is None else orientation_axes(basis.grid, single=False)

    def _lift(
        self, pos: Tensor, x: Tensor | None, vec: Tensor | None, axes: Tensor | None
    ) -> Tensor:
        """Features [N, O, C]."""
        parts = []
        if x is not None and self.embed_scalars is not None:
            parts.append(self.embed_scalars(x)[:, None])
        if vec is not None and self.embed_vectors is not None:
            seen = lengths(vec)[:, None] if axes is None else lift_vectors(vec, axes)
            parts.append(self.embed_vectors(seen))
        shape = pos.size(0), 1 if axes is None else axes.size(1), self.channels
        if not parts:
            return pos.new_zeros(shape)
        # the sum over layers keeps its precision inside autocast
        return sum(parts[1:], parts[0]).expand(shape).to(pos.dtype)

    def _read_scalars(self, states: Tensor) -> Tensor:
        if not self.out_scalars:
            return states.new_empty(states.size(0), 0)
        weight, bias = _mean_map(self.scalars)
        return linear(states.mean(1), weight, bias)

    def _read_vectors(self, states: Tensor, axes: Tensor | None, basis: Basis, vec: Any) -> Tensor:
        if not self.out_vectors:
            return states.new_empty(states.size(0), 0, basis.offset.size(1))
        if axes is not None:
            maps = [layer.weight for layer in self.vectors if isinstance(layer, nn.Linear)]
            return read_vectors(linear(states, torch.cat(maps, 1)), axes, parts=len(maps))
        pairs = zip(self.vectors, states.split(self.channels, -1), strict=True)
        return torch.stack([read(h, basis, vec) for read, h in pairs]).mean(0)

    def _check(self, channels: int, layers: int, level: str, readouts: str) -> None:
        if channels < 1 or layers < 1:
            raise ValueError(f"channels and layers must be positive, got {channels} and {layers}.")
        if level not in ("node", "graph"):
            raise ValueError(f'level must be "node" or "graph", got {level!r}.')
        if readouts not in ("all", "last"):
            raise ValueError(f'readouts must be "all" or "last", got {readouts!r}.')

    def _check_inputs(self, pos: Tensor, x: Tensor | None, vec: Tensor | None) -> None:
        for name, tensor, expected in (
            ("x", x, (self.in_scalars,)),
            ("vec", vec, (self.in_vectors, pos.size(-1))),
        ):
            if tensor is None and expected[0]:
                raise ValueError(f"{name} is missing: the model was built for {expected[0]} of it.")
            if tensor is not None and tensor.shape != (pos.size(0), *expected):
                wanted = ", ".join(map(str, ("nodes", *expected)))
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected [{wanted}].")


class OffsetReadout(nn.Module):
    """Vectors from positions alone: sum_j k(|r_ij|) . h_j r_ij + sum_m c_m(h_i) v_im.

    Exactly equivariant under O(d). Here r_ij = p_j - p_i, k is a linear map of the kernel basis,
    and v_im are the input vectors.
    """

    def __init__(self, channels: int, basis: int, in_vectors: int, out_vectors: int) -> None:
        super().__init__()
        self.in_vectors, self.out_vectors = in_vectors, out_vectors
        self.kernel = nn.Linear(basis, channels, bias=False)
        self.weight = nn.Linear(channels, out_vectors, bias=False)
        self.mix = nn.Linear(channels, out_vectors * in_vectors) if in_vectors else None

    def reset_parameters(self) -> None:
        for part in self.children():
            reset(part)

    def forward(self, h: Tensor, basis: Basis, vec: Tensor | None) -> Tensor:
        """Vectors [N, out_vectors, d] from features h [N, 1, C] and input vectors vec [N, M, d]."""
        plan, kernel, h = basis.plan, self.kernel(basis.edge)[:, 0], h[:, 0]
        offset = basis.offset[:, None]
        out = h.new_zeros(h.size(0), self.out_vectors, offset.size(2))
        here = self.weight(kernel * h.index_select(0, plan.source))[..., None] * offset
        out = out.index_add(0, plan.target, here)
        back = slice(0, plan.paired)
        there = kernel[back] * h.index_select(0, plan.target[back])
        there = self.weight(there)[..., None] * -offset[back]
        out = out.index_add(0, plan.source[back], there)
        if vec is None or self.mix is None:
            return out
        return out + self.mix(h).view(-1, self.out_vectors, self.in_vectors) @ vec

    def __repr__(self) -> str:
        width = self.kernel.out_features
        return f"{type(self).__name__}({width}, {self.in_vectors}, {self.out_vectors})"


def orientation_axes(directions: Tensor, single: bool) -> Tensor:
    """[1 or N, O, A, d] axes of a grid, or of one orientation per node.

    A unit vector has itself for its axis (A = 1), a rotation its columns (A = 3).

    Args:
        directions: unit vectors [K, d] or rotations [K, 3, 3].
        single: whether there is one per node (O = 1), not one grid for all nodes.
    """
    axes = directions[:, None] if directions.dim() == 2 else directions.transpose(-1, -2)
    return axes[:, None] if single else axes[None]


def lift_vectors(vec: Tensor, axes: Tensor) -> Tensor:
    """Components of vectors along the axes: x[n, o, (a, v)] = vec[n, v] . axes[o, a].

    Args:
        vec: [N, V, d].
        axes: [1 or N, O, A, d].

    Returns:
        [N, O, A * V].
    """
    _, orientations, per, _ = axes.shape
    seen = axes.flatten(1, 2) @ vec.transpose(1, 2)
    return seen.reshape(vec.size(0), orientations, per * vec.size(1))


def read_vectors(f: Tensor, axes: Tensor, *, parts: int = 1) -> Tensor:
    """Vectors of a signal: vec[n, v] = 1/O sum_(o, a) f[n, o, (a, v)] axes[o, a].

    Reading lifted vectors gives v / d from unit vectors (where the grid has sum o o^T = O/d),
    and v from rotations.

    Args:
        f: [N, O, A * V].
        axes: [1 or N, O, A, d].
        parts: how many signals f is the sum of, whose mean is read.

    Returns:
        [N, V, d].

    Example:
        >>> import torch
        >>> from geqlib.sphere.grids import sphere_grid
        >>> axes = orientation_axes(sphere_grid(12), single=False)
        >>> v = torch.randn(5, 2, 3, dtype=torch.float64)
        >>> torch.allclose(3 * read_vectors(lift_vectors(v, axes), axes), v)
        True
    """
    nodes, orientations, width = f.shape
    per = axes.size(2)
    signal = f.reshape(nodes, orientations * per, width // per)
    return signal.transpose(1, 2) @ (axes.flatten(1, 2) / (orientations * parts))


def _mean_map(maps: Iterable[nn.Module]) -> tuple[Tensor, Tensor]:
    """The mean of linear maps, as one map of their inputs side by side: weight and bias."""
    layers = [layer for layer in maps if isinstance(layer, nn.Linear)]
    weight = torch.cat([layer.weight for layer in layers], 1) / len(layers)
    return weight, torch.stack([layer.bias for layer in layers]).mean(0)


def lengths(vec: Tensor) -> Tensor:
    """|v| of vectors [N, V, d], with derivative 0 where v = 0."""
    return safe_length(vec).squeeze(-1)


def _grid(space: Space, orientations: int) -> Tensor | None:
    if FIBER[space] == 0:
        return None
    if space == "R2xS1":
        return circle_grid(orientations)
    return rotation_grid(orientations) if space == "SE3" else sphere_grid(orientations)
