"""PARD: the likelihood of a graph, block by block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch_geometric.nn.inits import reset

from geqlib.graph.checks import values_readable
from geqlib.graph.pairs import PairPlan, pair_plan
from geqlib.graph.plan import Plan
from geqlib.graph.pool import graph_index
from geqlib.graph.segments import segment_lengths, segment_ptr
from geqlib.pard.blocks import BlockPlan, clean_blocks, parallel_blocks, prefix_blocks
from geqlib.pard.diffusion import DiscreteDiffusion
from geqlib.pard.network import BlockSizes, Denoiser
from geqlib.pard.order import BlockOrder, partial_order
from geqlib.pard.streams import Streams, integers


@dataclass(frozen=True)
class PARDPlan(Plan):
    """Blocks of a batch, and the copies of nodes that the networks take.

    Args:
        block: [N] block of each node.
        graph, size, degree: [B] of each block, see `BlockOrder`.
        pairs: all pairs of nodes of the same graph.
        drawn: copies of nodes for the diffusion of blocks, with noise in the block to generate.
        clean: copies of nodes without noise, for the network that predicts sizes of blocks.
        hops: K of the partial order.
    """

    block: Tensor
    graph: Tensor
    size: Tensor
    degree: Tensor
    pairs: PairPlan
    drawn: BlockPlan
    clean: BlockPlan
    hops: int

    @property
    def order(self) -> BlockOrder:
        return BlockOrder(self.block, self.graph, self.size, self.degree)


class BlockLosses(NamedTuple):
    """Parts of the loss of each graph, in nats.

    Args:
        divergence: [G] of one step of the diffusion, summed over blocks; times T, an unbiased
            estimate of a bound of -log p(blocks | sizes and degrees).
        entropy: [G] cross-entropy of the prediction of the same nodes and pairs.
        sizes: [G] -log p(sizes and degrees), but for the first size.
    """

    divergence: Tensor
    entropy: Tensor
    sizes: Tensor


class PARD(nn.Module):
    """Permutation-invariant autoregressive diffusion of graphs.

    A graph has one partial order of its nodes (`geqlib.pard.order`), whose blocks are generated one
    after the other, each by a diffusion of its nodes and of its pairs with itself and with earlier
    blocks:

        p(G) = prod over blocks i of p(size_i, degree_i | G_<i) p(block i | G_<i, size_i, degree_i).

    All blocks share one denoiser, and all are trained at once, in one of two ways. With "parallel"
    every node has a second copy, which carries noise and receives messages from its own block and
    from earlier blocks alone. With "prefixes" there is one graph for each block, which consists of
    this block with noise and of all earlier blocks, and in which all nodes exchange messages. This
    network is more expressive, but it processes one graph for each block. The networks see nothing
    but the structure, so that the likelihood is invariant to relabelling.

    Symmetry: invariant under relabelling, in distribution. Source: Zhao, Ding and Akoglu, "Pard:
    Permutation-invariant autoregressive diffusion for graph generation" (NeurIPS 2024). Where this
    differs from their code: LayerNorm throughout, no features of cycles, and the size 0, which ends
    a graph, has no degree.

    Args:
        max_size, max_degree: the largest size and degree of a block (`GraphGeneration.limits`).
        hops: K of the order; with 0 a graph is one block: diffusion without autoregression.
        steps: T, of the diffusion of a block.
        training: "parallel" or "prefixes", see above.
        node_classes, edge_classes: number of kinds of nodes, and of kinds of pairs; the kind 0 of
            a pair means that there is no edge.
        channels, pair_channels, layers, heads: sizes of both networks.

    Raises:
        ValueError: options out of range, graphs that are not simple and undirected, that have
            larger blocks or other kinds than the model has, or a plan for another number of hops.

    Example:
        >>> net = PARD(3, 2, channels=8, pair_channels=4, layers=1, heads=2, steps=5)
        >>> triangle = torch.tensor([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]])
        >>> net(torch.zeros(3).long(), triangle).divergence.shape
        torch.Size([1])
    """

    first_size: Tensor
    largest: Tensor

    def __init__(
        self,
        max_size: int,
        max_degree: int,
        *,
        hops: int = 1,
        steps: int = 50,
        training: str = "parallel",
        node_classes: int = 1,
        edge_classes: int = 2,
        channels: int = 256,
        pair_channels: int = 32,
        layers: int = 8,
        heads: int = 8,
    ) -> None:
        super().__init__()
        if training not in ("parallel", "prefixes"):
            raise ValueError(f'training must be "parallel" or "prefixes", got {training!r}.')
        if max_size < 1 or max_degree < 0 or hops < 0 or node_classes < 1 or edge_classes < 2:
            raise ValueError(
                f"max_size={max_size}, max_degree={max_degree}, hops={hops}, "
                f"node_classes={node_classes}, edge_classes={edge_classes}: they must be at least "
                "1, 0, 0, 1 and 2."
            )
        self.max_size, self.max_degree, self.hops = max_size, max_degree, hops
        self.parallel = training == "parallel"
        self.node_diffusion = DiscreteDiffusion(steps, node_classes)
        self.pair_diffusion = DiscreteDiffusion(steps, edge_classes)
        kinds = (node_classes, edge_classes, channels, pair_channels, layers, heads)
        self.denoiser = Denoiser(steps, max_degree, *kinds)
        self.sizes = BlockSizes(max_size, max_degree, *kinds)
        # of the training graphs: how many begin with a block of each size; the largest one
        self.register_buffer("first_size", torch.zeros(max_size + 1, dtype=torch.long))
        self.register_buffer("largest", torch.zeros((), dtype=torch.long))

    @property
    def steps(self) -> int:
        return self.node_diffusion.steps

    def reset_parameters(self) -> None:
        for part in self.children():
            reset(part)

    def plan(
        self,
        edge_index: Tensor,
        num_nodes: int,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
    ) -> PARDPlan:
        """The plan of a batch: its partial order, copies of nodes and pairs."""
        batch, num_graphs = graph_index(batch, num_graphs, num_nodes, edge_index.device)
        order = partial_order(edge_index, num_nodes, batch, num_graphs, hops=self.hops)
        if self.parallel:
            drawn = parallel_blocks(order, batch, num_graphs)
            clean = clean_blocks(order, batch, num_graphs)
        else:
            drawn = prefix_blocks(order, batch, generated=True)
            clean = prefix_blocks(order, batch, generated=False)
        pairs = pair_plan(num_nodes, batch, num_graphs, device=edge_index.device)
        return PARDPlan(*order, pairs=pairs, drawn=drawn, clean=clean, hops=self.hops)

    def observe(self, sizes: Tensor, blocks: BlockOrder) -> None:
        """Store what sampling needs of the training graphs: how often the first block has each
        size, and the number of nodes of the largest graph.

        Args:
            sizes: [G] number of nodes of each graph.
            blocks: the partial order of all graphs.

        Raises:
            ValueError: a block that is larger than `max_size`, or of a higher degree.
        """
        self._check_blocks(blocks.size, blocks.degree)
        begins = torch.ones_like(blocks.graph, dtype=torch.bool)
        begins[1:] = blocks.graph[1:] != blocks.graph[:-1]
        first = segment_lengths(blocks.size[begins], self.max_size + 1)
        self.first_size.copy_(first)
        self.largest.copy_(sizes.max() if len(sizes) else self.largest)

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        edge_attr: Tensor | None = None,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
        plan: PARDPlan | None = None,
        noise: bool = True,
        generator: Streams = None,
    ) -> BlockLosses:
        """Losses of a batch, at random times and with random noise.

        Args:
            x: [N] kinds of nodes, counted from 0.
            edge_index: [2, E] both directions of every edge.
            edge_attr: [E] kinds of edges, counted from 1; all 1 by default.
            batch: [N] graph of each node.
            num_graphs: number of graphs.
            plan: from `plan(...)`; computed here by default.
            noise: if False, the denoiser gets blocks without noise, at time 1; nothing is random.
            generator: of times and noise, on the device of the model; or one on the CPU for each
                graph, whose noise then does not depend on the other graphs of the batch.
        """
        batch, num_graphs = graph_index(batch, num_graphs, len(x), edge_index.device)
        x = x if x.is_floating_point() else x.long()
        plan = self.plan(edge_index, len(x), batch, num_graphs) if plan is None else plan
        if plan.hops != self.hops:
            raise ValueError(
                f"The plan was made for hops={plan.hops}, and the model has {self.hops}: make it "
                "by model.plan(...)."
            )
        self._check_blocks(plan.size, plan.degree)
        kinds = self._pair_kinds(x, edge_index, edge_attr, plan.pairs)
        degree = self.degree_of_nodes(plan, batch)
        clean, clean_pairs = copied(x, kinds, plan.pairs, plan.drawn)
        noisy = (clean, clean_pairs, clean.new_ones(plan.drawn.pairs.num_graphs))
        if noise:
            noisy = self._noised(clean, clean_pairs, plan.drawn, batch, generator)
        logits = self.denoiser(*noisy, degree[plan.drawn.node], plan.drawn)
        divergence, entropy = (
            term.new_zeros(num_graphs).index_add(0, batch[node], term)
            for node, term in self._terms(logits, noisy, (clean, clean_pairs), plan.drawn)
        )
        sizes = self._size_losses(x, kinds, degree, num_graphs, plan)
        return BlockLosses(divergence, entropy, sizes)

    def degree_of_nodes(self, plan: PARDPlan, batch: Tensor) -> Tensor:
        """[N] degree of the block of each node."""
        blocks = segment_lengths(plan.graph, int(batch.max()) + 1 if len(batch) else 0)
        return plan.degree[segment_ptr(blocks)[:-1][batch] + plan.block]

    def _noised(
        self, x: Tensor, kinds: Tensor, copies: BlockPlan, batch: Tensor, generator: Streams
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Noise in the copies to generate and in their pairs, after a random time for each part.

        Returns:
            kinds of the copies, kinds of their pairs, and the time of each part.
        """
        graph = batch[copies.node]
        of_part = batch.new_zeros(copies.pairs.num_graphs).index_copy(0, copies.part, graph)
        t = 1 + integers(self.steps, of_part, generator)
        nodes = self.node_diffusion.noised(x, t[copies.part], generator, graph)
        part = copies.pairs.graph[copies.unknown]
        pairs = self.pair_diffusion.noised(kinds[copies.unknown], t[part], generator, of_part[part])
        return torch.where(copies.new, nodes, x), with_pairs(kinds, copies, pairs), t

    def _terms(
        self,
        logits: tuple[Tensor, Tensor],
        noisy: tuple[Tensor, Tensor, Tensor],
        clean: tuple[Tensor, Tensor],
        copies: BlockPlan,
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The divergence, and the cross-entropy, of every node and pair that is generated, each
        with the node to whose graph it belongs."""
        new, unknown, t = copies.new.nonzero()[:, 0], copies.unknown, noisy[2]
        row = copies.pairs.row[unknown]
        of_nodes = self.node_diffusion.losses(
            logits[0][new], noisy[0][new], clean[0][new], t[copies.part[new]]
        )
        of_pairs = self.pair_diffusion.losses(
            logits[1], noisy[1][unknown], clean[1][unknown], t[copies.part[row]]
        )
        node = torch.cat([copies.node[new], copies.node[row]])
        divergence, entropy = (torch.cat(both) for both in zip(of_nodes, of_pairs, strict=True))
        return (node, divergence), (node, entropy)

    def _size_losses(
        self, x: Tensor, kinds: Tensor, degree: Tensor, num_graphs: int, plan: PARDPlan
    ) -> Tensor:
        """[G] -log p of the degree of a graph's first block, of the size of the block that follows
        each block (0 after the last one), and of that block's degree."""
        total = self.totals(x, kinds, degree, plan)
        # blocks come graph by graph: block b + 1 follows block b unless it begins a graph
        changes = plan.graph[1:] != plan.graph[:-1]
        followed = (~changes).nonzero()[:, 0]
        first = torch.cat([changes.new_ones(min(len(plan.graph), 1)), changes]).nonzero()[:, 0]
        size = torch.zeros_like(plan.size).index_copy(0, followed, plan.size[followed + 1])
        degrees = self.sizes.next_degree(total[followed], size[followed])
        parts = (
            (plan.graph, self.sizes.next_size(total), size),
            (plan.graph[followed], degrees, plan.degree[followed + 1]),
            (plan.graph[first], self.sizes.first_degree(plan.size[first]), plan.degree[first]),
        )
        graph = torch.cat([owner for owner, _, _ in parts])
        each = torch.cat([cross_entropy(logits, y, reduction="none") for _, logits, y in parts])
        return each.new_zeros(num_graphs).index_add(0, graph, each)

    def totals(self, x: Tensor, kinds: Tensor, degree: Tensor, plan: PARDPlan) -> Tensor:
        """[B, channels] sum over the nodes of each block and of the earlier blocks of its graph."""
        copies = plan.clean
        nodes, pairs = copied(x, kinds, plan.pairs, copies)
        h = self.sizes.nodes(nodes, pairs, degree[copies.node], copies)
        if not self.parallel:
            return h.new_zeros(len(plan.graph), h.size(1)).index_add(0, copies.part, h)
        blocks = segment_lengths(plan.graph, copies.pairs.num_graphs)
        width = int(blocks.max()) if len(blocks) else 0
        cell = copies.part * width + plan.block
        table = h.new_zeros(len(blocks) * width, h.size(1)).index_add(0, cell, h)
        running = table.view(len(blocks), width, h.size(1)).cumsum(1).flatten(0, 1)
        order = torch.arange(len(plan.graph), device=x.device)
        return running[plan.graph * width + order - segment_ptr(blocks)[:-1][plan.graph]]

    def _pair_kinds(
        self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None, pairs: PairPlan
    ) -> Tensor:
        """[P] kind of each pair of nodes, 0 where there is no edge."""
        classes = self.node_diffusion.classes, self.pair_diffusion.classes
        kinds = torch.ones_like(edge_index[0]) if edge_attr is None else edge_attr
        if x.dim() != 1 or x.is_floating_point() or kinds.shape != edge_index.shape[1:]:
            raise ValueError(
                f"x has shape {tuple(x.shape)} and dtype {x.dtype}, edge_attr "
                f"{tuple(kinds.shape)}: give the kind of each node and of each edge, as integers "
                "[N] and [E]."
            )
        if values_readable():
            _check_kinds("x", x, 0, classes[0])
            _check_kinds("edge_attr", kinds, 1, classes[1])
        place = pairs.pair(*edge_index.long())
        full = kinds.new_zeros(len(pairs.row), dtype=torch.long)
        full = full.index_copy(0, place, kinds.long())
        if values_readable() and not torch.equal(full, full[pairs.transpose]):
            raise ValueError("An edge has another kind in its other direction: give both the same.")
        return full

    def _check_blocks(self, size: Tensor, degree: Tensor) -> None:
        if not len(size) or not values_readable():
            return
        largest, highest = int(size.max()), int(degree.max())
        if largest > self.max_size or highest > self.max_degree:
            raise ValueError(
                f"A block has {largest} nodes, and one has degree {highest}, but the model has "
                f"max_size={self.max_size} and max_degree={self.max_degree}: raise them."
            )


def _check_kinds(name: str, values: Tensor, low: int, high: int) -> None:
    if len(values) and not low <= int(values.min()) <= int(values.max()) < high:
        raise ValueError(
            f"{name} goes from {int(values.min())} to {int(values.max())}, and the model has kinds "
            f"{low} to {high - 1}: set node_classes and edge_classes to those of the data."
        )


def copied(x: Tensor, kinds: Tensor, pairs: PairPlan, copies: BlockPlan) -> tuple[Tensor, Tensor]:
    """[M] kinds of copies of nodes x [N], and [P'] of their pairs, of kinds [P]."""
    of = copies.pairs
    return x[copies.node], kinds[pairs.pair(copies.node[of.row], copies.node[of.column])]


def with_pairs(kinds: Tensor, copies: BlockPlan, drawn: Tensor) -> Tensor:
    """[P] kinds with others at the unknown pairs [U], in both orders."""
    unknown = copies.unknown
    return kinds.index_copy(0, unknown, drawn).index_copy(0, copies.pairs.transpose[unknown], drawn)
