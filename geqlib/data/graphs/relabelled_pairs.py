"""Pairs of graphs in many relabelled copies, as BREC's protocol compares them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch_geometric.data import Data

from geqlib.data.graphs.expressivity import GraphPairs, PlainGraph

SEED = 2022  # of the published code
MOST_REPEATS = 1000  # drawings in a row that bring no new copy


def relabelled_pair(
    pairs: GraphPairs, number: int, copies: int = 32
) -> tuple[list[Data], list[Data]]:
    """Copies of both graphs of a pair, and a block of copies of one of them.

    As in BREC (Wang and Zhang, ICML 2024): the first copy is the graph itself, the others are
    random and all different, and the graph of the block is drawn at random. Copies are a function
    of the number of the pair alone; they are not those of the published file, whose pairs share one
    sequence of random numbers.

    Args:
        pairs: of the set.
        number: of the pair.
        copies: number for each graph; the block has twice that number.

    Returns:
        G, H, G', H', ... in turn, and the block. Nodes have a one in `x`, or their kind one-hot
        where graphs of the set have several kinds.

    Raises:
        ValueError: no such pair, or a graph with too few different copies.

    Example:
        >>> from geqlib.data.graphs.expressivity import graph_pairs
        >>> graphs, block = relabelled_pair(graph_pairs("CSL"), 0)
        >>> len(graphs), len(block), graphs[0].x.shape
        (64, 64, torch.Size([41, 1]))
    """
    if not 0 <= number < len(pairs.pairs):
        raise ValueError(
            f"There is no pair {number}: the set has {len(pairs.pairs)} pairs, numbered from 0."
        )
    rng = np.random.default_rng([SEED, number])
    two = [pairs.graphs[k] for k in pairs.pairs[number]]
    one, other = (different_copies(graph, copies, rng) for graph in two)
    block = different_copies(two[rng.integers(2)], 2 * copies, rng)
    kinds = 1 + max(int(graph.kind.max(initial=0)) for graph in pairs.graphs)
    turns = [graph for both in zip(one, other, strict=True) for graph in both]
    return _data(turns, kinds), _data(block, kinds)


def different_copies(graph: PlainGraph, count: int, rng: np.random.Generator) -> list[PlainGraph]:
    """The graph and random relabellings of it, no two with the same edges and kinds.

    Raises:
        ValueError: if it has fewer of them.
    """
    copies, seen, repeats = [graph], {_key(graph)}, 0
    while len(copies) < count:
        copy = graph.relabelled(rng)
        key = _key(copy)
        repeats = repeats + 1 if key in seen else 0
        if repeats > MOST_REPEATS:
            raise ValueError(
                f"A graph of {len(graph.kind)} nodes has {len(seen)} different relabellings, and "
                f"{count} are needed: leave out so small or so symmetric a graph."
            )
        if not repeats:
            copies.append(copy)
            seen.add(key)
    return copies


def _key(graph: PlainGraph) -> bytes:
    edges = np.unique(graph.edge_index, axis=1)
    return edges.astype(np.int64).tobytes() + graph.kind.astype(np.int64).tobytes()


def _data(graphs: Sequence[PlainGraph], kinds: int) -> list[Data]:
    one_hot = torch.eye(kinds)
    return [Data(one_hot[graph.kind], torch.from_numpy(graph.edge_index)) for graph in graphs]
