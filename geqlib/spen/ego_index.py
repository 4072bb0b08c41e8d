"""From lists of nodes to the index tensors of an `EgoPlan`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from geqlib.spen.incidence import Incidence, incidence


def ego_index(
    ptr: np.ndarray,
    node: np.ndarray,
    num_nodes: int,
    edges: np.ndarray,
    centre: np.ndarray | None = None,
    *,
    symmetric: bool = False,
    shared: bool = True,
) -> dict[str, Any]:
    """The fields of an `EgoPlan`.

    Args:
        ptr, node: ego net g holds the nodes node[ptr[g]:ptr[g + 1]], ascending.
        num_nodes: nodes in the batch, each in at least one ego net.
        edges: [2, E] source and target.
        centre: [G] node in the centre of each ego net, if they have one.
        symmetric: whether a pair and its transpose are one.
        shared: whether ego nets share their nodes and pairs; otherwise each has copies.
    """
    size = np.diff(ptr)
    ego = np.repeat(np.arange(len(size)), size)
    first, count = ptr[:-1][ego], size[ego]  # of each slot: first slot and size of its ego net
    begin = np.concatenate([[0], count.cumsum()])
    row = np.repeat(np.arange(len(node)), count)
    column = np.arange(len(row)) - begin[row] + first[row]
    name, names = (node, num_nodes) if shared else (np.arange(len(node)), len(node))
    pair, order, source, target = _pairs(name[row], name[column], names, symmetric)
    own = pair[begin[:-1] + np.arange(len(node)) - first]  # of each slot with itself
    mirror = pair[begin[column] + row - first[row]]
    diagonal = np.empty(names, np.int64)
    diagonal[name] = own
    origin = np.arange(num_nodes) if shared else node
    keys = _keys(origin[source], origin[target], num_nodes, symmetric)
    wanted = _keys(edges[0], edges[1], num_nodes, symmetric)
    plan: dict[str, Any] = {
        "node": torch.from_numpy(name),
        "ego": torch.from_numpy(ego),
        "source": torch.from_numpy(source),
        "target": torch.from_numpy(target),
        "diagonal": torch.from_numpy(diagonal),
        "count": torch.from_numpy(_holders(pair, row, column, len(source), symmetric)),
        "edges": _edges(keys, wanted),
        "members": _one_each(name, names),
        "places": _places(row, column, pair, mirror, begin, order, symmetric),
    }
    if not shared:
        plan["origin"] = torch.from_numpy(node)
    if not symmetric:
        transpose = np.empty_like(source)
        transpose[pair] = mirror
        plan["transpose"] = involution(torch.from_numpy(transpose))
    plan |= relations(plan["node"], plan["ego"], torch.from_numpy(ptr), plan["members"])
    if centre is not None:
        hub = np.flatnonzero(node == centre[ego])
        at = begin[hub[ego]] + np.arange(len(node)) - first
        spokes = pair[at] if symmetric else np.stack([pair[at], mirror[at]], 1).reshape(-1)
        plan |= {"centre": torch.from_numpy(hub), "spokes": _one_each(spokes, len(source))}
    return plan


def relations(node: Tensor, ego: Tensor, ptr: Tensor, members: Incidence) -> dict[str, Any]:
    """What follows from the slots: ego nets by nodes and sizes, slots by nodes and ego nets."""
    nodes, slots = len(members.start) - 1, len(node)
    parents = Incidence(
        torch.stack([node, ego + nodes], 1).flatten(),
        2 * members.ptr,
        torch.cat([members.back, members.ptr[:-1]]),
        torch.cat([members.start, ptr[1:] + slots]),
    )
    nets = Incidence(node, ptr, ego[members.back], members.start)
    sizes, kind = np.unique(np.diff(ptr.cpu().numpy()), return_inverse=True)
    alike = _one_each(kind, len(sizes)).to(ptr.device)
    sizes = torch.from_numpy(sizes).to(ptr.device)
    return {"nets": nets, "parents": parents, "sizes": sizes, "alike": alike}


def involution(order: Tensor) -> Incidence:
    """A permutation that is its own inverse."""
    ptr = torch.arange(len(order) + 1, device=order.device)
    return Incidence(order, ptr, order, ptr)


def _keys(a: np.ndarray, b: np.ndarray, count: int, symmetric: bool) -> np.ndarray:
    """One number for each pair of numbers below `count`."""
    return np.minimum(a, b) * count + np.maximum(a, b) if symmetric else a * count + b


def _pairs(
    a: np.ndarray, b: np.ndarray, count: int, symmetric: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Number the different pairs in ascending order: numbers, sorting order, sources, targets."""
    key = _keys(a, b, count, symmetric)
    order = np.argsort(key, kind="stable")
    found = key[order]
    new = np.ones(len(key), bool)
    new[1:] = found[1:] != found[:-1]
    number = np.empty_like(order)
    number[order] = new.cumsum() - 1
    known = found[new]
    return number, order, known // max(count, 1), known % max(count, 1)


def _holders(
    pair: np.ndarray, row: np.ndarray, column: np.ndarray, pairs: int, symmetric: bool
) -> np.ndarray:
    """[P] how many ego nets hold each pair."""
    return np.bincount(pair[row <= column] if symmetric else pair, minlength=pairs)


def _one_each(index: np.ndarray, columns: int) -> Incidence:
    return incidence(index, np.arange(len(index) + 1), columns)


def _edges(keys: np.ndarray, wanted: np.ndarray) -> Incidence:
    """[P x E] pairs by the edges with the same key."""
    order = np.argsort(wanted, kind="stable")
    known = wanted[order]
    start, end = (np.searchsorted(known, keys, side) for side in ("left", "right"))
    ptr = np.concatenate([[0], (end - start).cumsum()])
    index = np.arange(ptr[-1]) + np.repeat(start - ptr[:-1], end - start)
    return incidence(order[index], ptr, len(wanted))


def _places(
    row: np.ndarray,
    column: np.ndarray,
    pair: np.ndarray,
    mirror: np.ndarray,
    begin: np.ndarray,
    order: np.ndarray,
    symmetric: bool,
) -> Incidence:
    """[2S x P], or [S x P] of symmetric pairs; `order` sorts the places by pair."""
    count = np.diff(begin)
    held = np.bincount(pair).cumsum()
    if symmetric:
        index, ptr, back = pair, begin, row[order]
    else:
        ptr = np.concatenate([[0], np.repeat(count, 2).cumsum()])
        here = np.arange(len(pair)) + begin[row]  # every slot before has its places twice
        index = np.empty(2 * len(pair), np.int64)
        index[here], index[here + count[row]] = pair, mirror
        back = np.stack([2 * row, 2 * column + 1], 1)[order].reshape(-1)
        held = 2 * held
    start = np.concatenate([[0], held])
    return Incidence(*(torch.from_numpy(x) for x in (index, ptr, back, start)))
