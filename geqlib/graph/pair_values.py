"""Features of some ordered pairs of nodes, zero at all others, such as counts of motifs."""

from __future__ import annotations

import torch
from torch import Tensor

from geqlib.graph.checks import as_index, values_readable


def values_at(
    pair_index: Tensor, pair_attr: Tensor, row: Tensor, column: Tensor, num_nodes: int
) -> Tensor:
    """The features of other ordered pairs: those of the same two nodes, zero where there are none.

    Args:
        pair_index: [2, Q] pairs of nodes, in any order.
        pair_attr: [Q, C] their features.
        row, column: [P] the pairs that are asked for.
        num_nodes: N.

    Returns:
        [P, C].

    Example:
        >>> pairs, values = torch.tensor([[2, 0], [1, 2]]), torch.tensor([[5.0], [7.0]])
        >>> values_at(pairs, values, torch.tensor([0, 1]), torch.tensor([2, 2]), 3).tolist()
        [[7.0], [0.0]]
    """
    if not pair_attr.size(0):
        return pair_attr.new_zeros(row.size(0), pair_attr.size(1))
    source, target = as_index(pair_index, "pair_index")
    key, order = (source * num_nodes + target).sort()
    wanted = row * num_nodes + column
    place = torch.searchsorted(key, wanted).clamp(max=key.size(0) - 1)
    present = (key.index_select(0, place) == wanted).to(pair_attr.dtype)
    return pair_attr.index_select(0, order.index_select(0, place)) * present[:, None]


def check_pairs(
    pair_index: Tensor | None, pair_attr: Tensor | None, channels: int, num_nodes: int
) -> None:
    """Refuse features of pairs that do not fit a network.

    Args:
        pair_index: [2, Q], or None.
        pair_attr: [Q, channels], or None.
        channels: that the network takes; 0 for none.
        num_nodes: N.

    Raises:
        ValueError: features that are missing, not expected or of another shape; pairs of nodes that
            do not exist, or that are named twice.

    Example:
        >>> check_pairs(None, None, 28, 3)
        Traceback (most recent call last):
        ...
        ValueError: pair_attr is missing, but pair_dim is 28: give the data features of pairs, or \
set pair_dim of the model to 0.
    """
    if pair_index is None or pair_attr is None:
        missing = "pair_attr" if pair_attr is None else "pair_index"
        if channels or pair_index is not pair_attr:
            raise ValueError(
                f"{missing} is missing, but pair_dim is {channels}: give the data features of "
                "pairs, or set pair_dim of the model to 0."
            )
        return
    shape = tuple(pair_attr.shape)
    if pair_index.dim() != 2 or pair_index.size(0) != 2:
        raise ValueError(f"pair_index has shape {tuple(pair_index.shape)}, expected [2, pairs].")
    if shape != (pair_index.size(1), channels):
        raise ValueError(
            f"pair_attr has shape {shape}, expected {(pair_index.size(1), channels)}: set pair_dim "
            f"of the model, which is {channels}, to the number of features of a pair."
        )
    if not values_readable() or not pair_index.numel():
        return
    source, target = as_index(pair_index, "pair_index")
    if int(pair_index.min()) < 0 or int(pair_index.max()) >= num_nodes:
        raise ValueError(
            f"pair_index names node {int(pair_index.max())} or a negative one, but there are only "
            f"nodes 0 to {num_nodes - 1}: count nodes from 0."
        )
    key = (source * num_nodes + target).sort().values
    twice = (key[1:] == key[:-1]).nonzero()
    if len(twice):
        pair = divmod(int(key[twice[0]]), num_nodes)
        raise ValueError(f"pair_index names the pair {pair} twice: add up its features.")
