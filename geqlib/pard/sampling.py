"""Graphs drawn from PARD, block by block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from geqlib.graph.segments import segment_lengths
from geqlib.pard.blocks import BlockPlan, block_plan
from geqlib.pard.model import PARD, with_pairs
from geqlib.pard.order import partial_order


@dataclass(frozen=True)
class SampledGraphs:
    """Graphs that a model drew.

    Args:
        x: [N] kinds of nodes, graph by graph.
        edge_index: [2, E] both directions of every edge, graph by graph.
        edge_attr: [E] kinds of edges, from 1.
        batch: [N] graph of each node.
        block: [N] block by which each node came.
        stopped: [G] whether a graph had so many nodes that no further block was drawn.
        dropped: [G] whether its probabilities were NaN or infinite: it has no nodes here, and
            counts as a failure.

    Example:
        >>> none = torch.zeros(0, dtype=torch.long)
        >>> whole = torch.zeros(1, dtype=torch.bool)
        >>> SampledGraphs(none, none.view(2, 0), none, none, none, whole, whole).num_graphs
        1
    """

    x: Tensor
    edge_index: Tensor
    edge_attr: Tensor
    batch: Tensor
    block: Tensor
    stopped: Tensor
    dropped: Tensor

    @property
    def num_graphs(self) -> int:
        return len(self.stopped)

    @staticmethod
    def joined(parts: Sequence[SampledGraphs]) -> SampledGraphs:
        """All graphs of several sets."""
        nodes = graphs = 0
        shifted = []
        for part in parts:
            shifted.append((part.edge_index + nodes, part.batch + graphs))
            nodes, graphs = nodes + len(part.x), graphs + part.num_graphs
        edges, batches = zip(*shifted, strict=True)
        return SampledGraphs(
            torch.cat([part.x for part in parts]),
            torch.cat(edges, 1),
            torch.cat([part.edge_attr for part in parts]),
            torch.cat(batches),
            torch.cat([part.block for part in parts]),
            torch.cat([part.stopped for part in parts]),
            torch.cat([part.dropped for part in parts]),
        )

    def follows(self, hops: int) -> Tensor:
        """[G] whether a graph's own partial order is the one by which it was drawn."""
        order = partial_order(self.edge_index, len(self.x), self.batch, self.num_graphs, hops=hops)
        other = segment_lengths(self.batch[order.block != self.block], self.num_graphs)
        return (other == 0) & ~self.dropped


@dataclass
class _State:
    """Graphs so far; nodes in the order in which they came."""

    x: Tensor
    batch: Tensor
    block: Tensor
    degree: Tensor
    edge_index: Tensor
    edge_attr: Tensor
    bad: Tensor

    def add_nodes(self, x: Tensor, graph: Tensor, block: int, degree: Tensor) -> None:
        """Nodes of kinds, graphs and degrees [n], all of one block."""
        self.x = torch.cat([self.x, x])
        self.batch = torch.cat([self.batch, graph])
        self.block = torch.cat([self.block, torch.full_like(graph, block)])
        self.degree = torch.cat([self.degree, degree])

    def add_edges(self, row: Tensor, column: Tensor, kind: Tensor) -> None:
        """Edges between nodes [e], in both directions."""
        both = torch.stack([torch.cat([row, column]), torch.cat([column, row])])
        self.edge_index = torch.cat([self.edge_index, both], 1)
        self.edge_attr = torch.cat([self.edge_attr, kind.repeat(2)])

    def usable(self, logits: Tensor, graph: Tensor) -> Tensor:
        """Logits [n, C], zeros where they are not finite: their graphs [n] are bad."""
        strange = ~logits.isfinite().all(1)
        self.bad[graph[strange]] = True
        return torch.where(strange[:, None], 0.0, logits)


@torch.no_grad()
def sample_graphs(
    model: PARD,
    count: int,
    *,
    max_nodes: int | None = None,
    generator: torch.Generator | None = None,
    progress: Callable[[int], None] | None = None,
) -> SampledGraphs:
    """Draw graphs.

    Args:
        model: trained, or with sizes by `PARD.observe`; in evaluation mode.
        count: of graphs, drawn side by side.
        max_nodes: a graph to which the next block would bring more is stopped before it; twice the
            largest training graph by default.
        generator: of all random numbers, on the device of the model.
        progress: called after each block with the number of graphs that are complete.

    Returns:
        Graphs. One of which a probability was not finite is dropped, and not replaced.

    Raises:
        ValueError: a negative count, a model that has seen no graphs, or max_nodes below 1.

    Example:
        >>> net = PARD(3, 2, channels=8, pair_channels=4, layers=1, heads=2, steps=2).eval()
        >>> triangle = torch.tensor([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]])
        >>> net.observe(torch.tensor([3]), partial_order(triangle, 3))
        >>> sample_graphs(net, 2, max_nodes=6).num_graphs
        2
    """
    if count < 0:
        raise ValueError(f"count must be at least 0, got {count}.")
    if not int(model.first_size.sum()):
        raise ValueError(
            "The model has seen no graphs whose sizes it could draw: train it, or call observe."
        )
    max_nodes = 2 * int(model.largest) if max_nodes is None else max_nodes
    if max_nodes < 1:
        raise ValueError(f"max_nodes must be at least 1, got {max_nodes}.")
    device = model.first_size.device
    none = torch.zeros(0, dtype=torch.long, device=device)
    stopped, bad = (torch.zeros(count, dtype=torch.bool, device=device) for _ in range(2))
    state = _State(none, none, none, none, none.view(2, 0), none, bad)
    active = torch.arange(count, device=device)
    number = 0
    while len(active):
        size, degree = _next_blocks(model, state, active, generator)
        nodes = segment_lengths(state.batch, count)[active]
        over = nodes + size > max_nodes
        stopped[active[over & (size > 0)]] = True
        goes_on = (size > 0) & ~over & ~bad[active]
        active, size, degree = active[goes_on], size[goes_on], degree[goes_on]
        if len(active):
            _append(model, state, active, size, degree, number, generator)
        number += 1
        if progress is not None:
            progress(count - len(active))
    return _ordered(state, stopped)


def _next_blocks(
    model: PARD, state: _State, active: Tensor, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """[A] size and degree of the next block of each active graph; size 0 for none."""
    sizes = model.sizes
    if not len(state.x):
        share = model.first_size.double()
        size = torch.multinomial(share, len(active), replacement=True, generator=generator)
        return size, _drawn(state.usable(sizes.first_degree(size), active), generator)
    if model.hops == 0:  # a graph is one block
        return torch.zeros_like(active), torch.zeros_like(active)
    copies, degree, x, kinds = _copies(model, state, active, None)
    h = sizes.nodes(x, kinds, degree, copies)
    total = h.new_zeros(len(active), h.size(1)).index_add(0, copies.part, h)
    size = _drawn(state.usable(sizes.next_size(total), active), generator)
    return size, _drawn(state.usable(sizes.next_degree(total, size), active), generator)


def _append(
    model: PARD,
    state: _State,
    active: Tensor,
    size: Tensor,
    degree: Tensor,
    number: int,
    generator: torch.Generator | None,
) -> None:
    """Draw a block of that size and degree [A] for each active graph, and add it to the state."""
    old, device = len(state.x), size.device
    graph = torch.repeat_interleave(active, size)
    noise = model.node_diffusion.drawn(len(graph), device, generator)
    state.add_nodes(noise, graph, number, torch.repeat_interleave(degree, size))
    copies, degrees, x, kinds = _copies(model, state, active, number)
    unknown, of = copies.unknown, copies.pairs
    drawn = model.pair_diffusion.drawn(len(unknown), device, generator)
    new = copies.new.nonzero()[:, 0]
    for step in range(model.steps, 0, -1):
        t = torch.full((len(active),), step, device=device)
        kinds = with_pairs(kinds, copies, drawn)
        logits, pair_logits = model.denoiser(x, kinds, t, degrees, copies)
        logits = state.usable(logits[new], active[copies.part[new]])
        pair_logits = state.usable(pair_logits, active[of.graph[unknown]])
        nodes = model.node_diffusion.step(logits, x[new], t[copies.part[new]], generator)
        x = x.index_copy(0, new, nodes)
        drawn = model.pair_diffusion.step(pair_logits, drawn, t[of.graph[unknown]], generator)
    state.x[old:] = x[new]
    joined = drawn > 0
    row, column = (copies.node[end[unknown[joined]]] for end in (of.row, of.column))
    state.add_edges(row, column, drawn[joined])


def _copies(
    model: PARD, state: _State, active: Tensor, new: int | None
) -> tuple[BlockPlan, Tensor, Tensor, Tensor]:
    """The active graphs as parts, with block `new` as noise: plan, degrees and kinds."""
    part = torch.full((int(state.batch.max()) + 1,), -1, device=active.device)
    part[active] = torch.arange(len(active), device=active.device)
    part = part[state.batch]
    node = (part >= 0).nonzero()[:, 0]
    part, block = part[node], state.block[node]
    is_new = torch.zeros_like(part, dtype=torch.bool) if new is None else block == new
    copies = block_plan(node, part, len(active), block, is_new, causal=model.parallel)
    place = torch.full_like(state.batch, -1)
    place[node] = torch.arange(len(node), device=active.device)
    source, target = place[state.edge_index]
    inside = source >= 0
    kinds = torch.zeros_like(copies.pairs.row)
    kinds[copies.pairs.pair(source[inside], target[inside])] = state.edge_attr[inside]
    return copies, state.degree[node], state.x[node], kinds


def _drawn(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]


def _ordered(state: _State, stopped: Tensor) -> SampledGraphs:
    """Nodes and edges graph by graph, without those of bad graphs."""
    order = state.batch.argsort(stable=True)
    order = order[~state.bad[state.batch[order]]]
    place = torch.zeros_like(state.batch)
    place[order] = torch.arange(len(order), device=order.device)
    owner = state.batch[state.edge_index[0]]
    edges = owner.argsort(stable=True)
    edges = edges[~state.bad[owner[edges]]]
    return SampledGraphs(
        state.x[order],
        place[state.edge_index[:, edges]],
        state.edge_attr[edges],
        state.batch[order],
        state.block[order],
        stopped,
        state.bad,
    )
