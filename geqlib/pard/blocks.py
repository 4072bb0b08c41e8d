"""Which copies of nodes the networks of PARD work on, and which of them see each other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geqlib.graph.pairs import PairPlan, pair_plan
from geqlib.graph.plan import Plan
from geqlib.graph.segments import ragged_ranges, segment_lengths, segment_ptr
from geqlib.pard.order import BlockOrder


@dataclass(frozen=True)
class BlockPlan(Plan):
    """Copies of the nodes of a batch in parts, and their pairs.

    Args:
        pairs: all ordered pairs of copies of one part.
        node: [M] of which node each is a copy.
        part: [M] part of each.
        block: [M] block of its node.
        new: [M] whether it is of a block that is being generated; it stands for noise.
        sees: [P] whether what the pair's row is may depend on its column.
        unknown: [U] pairs that are being generated, each once: a new row with an old column, or one
            of the two orders of two new copies.
    """

    pairs: PairPlan
    node: Tensor
    part: Tensor
    block: Tensor
    new: Tensor
    sees: Tensor
    unknown: Tensor

    @property
    def related(self) -> Tensor:
        """[P] whether one of the two sees the other; nothing depends on other pairs."""
        return self.sees | self.sees[self.pairs.transpose]


def block_plan(
    node: Tensor, part: Tensor, num_parts: int, block: Tensor, new: Tensor, *, causal: bool
) -> BlockPlan:
    """The plan of copies [M]; if it is causal, with

        sees(i, j) = block_i = block_j and new_i = new_j, or block_i > block_j and j is old,

    and everything in a part sees everything else.
    """
    pairs = pair_plan(len(node), part, num_parts, device=node.device)
    i, j = pairs.row, pairs.column
    alike = (block[i] == block[j]) & (new[i] == new[j])
    sees = alike | ((block[i] > block[j]) & ~new[j])
    once = ~new[j] | (pairs.position[i] > pairs.position[j])
    unknown = (new[i] & sees & once & (i != j)).nonzero()[:, 0]
    sees = sees if causal else torch.ones_like(sees)
    return BlockPlan(pairs, node, part, block, new, sees, unknown)


def parallel_blocks(order: BlockOrder, batch: Tensor, num_graphs: int) -> BlockPlan:
    """Every node twice, as it is and as noise: one part a graph, in which all blocks are generated
    at once."""
    node = torch.arange(len(batch), device=batch.device).repeat(2)
    new = torch.arange(2, device=batch.device).repeat_interleave(len(batch)).bool()
    return block_plan(node, batch[node], num_graphs, order.block[node], new, causal=True)


def clean_blocks(order: BlockOrder, batch: Tensor, num_graphs: int) -> BlockPlan:
    """Every node once, as it is: one part a graph."""
    node = torch.arange(len(batch), device=batch.device)
    new = torch.zeros_like(node, dtype=torch.bool)
    return block_plan(node, batch, num_graphs, order.block, new, causal=True)


def prefix_blocks(order: BlockOrder, batch: Tensor, *, generated: bool) -> BlockPlan:
    """A part for each block of the batch, of the nodes of that block and of earlier ones, all of
    which see each other.

    Args:
        order: of the batch.
        batch: [N] graph of each node.
        generated: whether the last block of each part is noise.
    """
    parts = len(order.graph)
    blocks = segment_lengths(order.graph, int(batch.max()) + 1 if len(batch) else 0)
    first = segment_ptr(blocks)[:-1][batch] + order.block  # part that ends with the node's block
    count = blocks[batch] - order.block
    node = torch.repeat_interleave(count)
    part = ragged_ranges(first, count)
    new = (part == first[node]) & generated
    return block_plan(node, part, parts, order.block[node], new, causal=False)
