"""Batches padded to a few sizes, so that what was recorded for one batch serves others.

Padding stands behind the real nodes, edges and graphs. Its nodes belong to graphs of their own, its
edges join its nodes only, and its labels count for nothing, so that a layer which works graph by
graph gives the real graphs what it would give them alone. What mixes all nodes of a batch, such as
batch norm, does not: see `mixing_layers`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from geqlib.graph.segments import segment_lengths, segment_ptr

Level = Literal["node", "edge", "graph", "pair"]
STEPS = 8  # sizes of buckets between a number and its double
LEVELS: dict[str, Level] = {
    **dict.fromkeys(
        ("pos", "x", "vec", "z", "ori", "batch", "forces", "normal", "y_node", "noise"), "node"
    ),
    **dict.fromkeys(("edge_index", "edge_attr", "edge_shift", "cell_shift", "reverse"), "edge"),
    **dict.fromkeys(("cell", "pbc", "energy", "stress", "charge", "multiplicity"), "graph"),
    **dict.fromkeys(("index", "level", "y_graph", "sigma", "conditioned"), "graph"),
    **dict.fromkeys(("edge_label", "edge_label_index"), "pair"),
}
OF_NODES = ("edge_index", "edge_label_index")  # [2, n] numbers of nodes


@dataclass(frozen=True)
class Sizes:
    """How many nodes, edges and graphs a batch has, and pairs of nodes that are asked for.

    Example:
        >>> Sizes(100, 400, 10).rounded()
        Sizes(nodes=104, edges=416, graphs=11, pairs=0)
    """

    nodes: int
    edges: int
    graphs: int
    pairs: int = 0

    def rounded(self) -> Sizes:
        """Those of the bucket: a function of these numbers alone, so that a resumed run pads alike.

        There is at least one graph of padding with two nodes, and its nodes have about the degree
        of the others. The number of edges of the padding is even: they come in pairs. No two levels
        have the same size, from which the level of an output follows.
        """
        graphs = rounded_up(self.graphs + 1)
        edges = rounded_up(self.edges)
        edges += (edges - self.edges) % 2
        degree = max(self.edges // max(self.nodes, 1), 1)
        padding = max(2 * (graphs - self.graphs), 2 * ceil((edges - self.edges) / (2 * degree)))
        nodes = rounded_up(self.nodes + padding)
        while nodes in (edges, graphs):
            nodes += 1
        return Sizes(nodes, edges, graphs, rounded_up(self.pairs) if self.pairs else 0)


def rounded_up(size: int) -> int:
    """The smallest size of a bucket that is not below: at most an eighth more.

    Example:
        >>> [rounded_up(n) for n in (3, 16, 17, 33, 1000)]
        [3, 16, 18, 36, 1024]
    """
    step = max(1 << max(int(size - 1).bit_length() - 1, 0), STEPS) // STEPS
    return step * ceil(size / step)


def sizes_of(tensors: Mapping[str, Any], num_graphs: int) -> Sizes:
    """The sizes of a batch, by its tensors."""
    edges, pairs = (tensors[k].size(1) if k in tensors else 0 for k in OF_NODES)
    return Sizes(len(tensors["batch"]), edges, num_graphs, pairs)


def level_of(name: str, value: Tensor, sizes: Sizes, declared: Mapping[str, Level]) -> Level:
    """Whose values a tensor of a batch holds: by its name, or else by its length.

    Raises:
        ValueError: if it is neither.
    """
    level = declared.get(name) or LEVELS.get(name)
    lengths: dict[Level, int] = {
        "node": sizes.nodes,
        "edge": sizes.edges,
        "graph": sizes.graphs,
        "pair": sizes.pairs,
    }
    length = value.size(1 if name in OF_NODES else 0) if value.dim() else -1
    if level is not None and lengths[level] == length:
        return level
    # pairs go by their names
    fitting: list[Level] = [k for k, size in lengths.items() if size == length and k != "pair"]
    if level is None and len(fitting) == 1:
        return fitting[0]
    raise ValueError(
        f"the tensor {name} of shape {tuple(value.shape)} belongs to none of the {sizes.nodes} "
        f"nodes, {sizes.edges} edges and {sizes.graphs} graphs of its batch, or to several"
    )


def padded(
    tensors: Mapping[str, Tensor],
    sizes: Sizes,
    wanted: Sizes,
    *,
    declared: Mapping[str, Level] | None = None,
    missing: Collection[str] = (),
) -> dict[str, Tensor]:
    """The tensors of a batch with padding behind them, without a wait of the host.

    Padding nodes stand on a helix; all other values of padding repeat those of the first node, edge
    or graph, which any model takes.

    Args:
        tensors: of a batch, by the names that `geqlib` gives them: at least `batch`.
        sizes: of the batch.
        wanted: `sizes.rounded()`, or larger.
        declared: to which level further names belong.
        missing: names of labels that may be missing: NaN in the padding.

    Returns:
        The same names; and `real_nodes` [N'], `real_graphs` [G'] and, if there are pairs,
        `real_pairs`, what is no padding.

    Raises:
        ValueError: if a tensor belongs to no level, or the batch has no node to repeat.

    Example:
        >>> batch = {"pos": torch.zeros(2, 3), "batch": torch.tensor([0, 0])}
        >>> more = padded(batch, Sizes(2, 0, 1), Sizes(4, 0, 2))
        >>> more["batch"].tolist(), more["real_graphs"].tolist()
        ([0, 0, 1, 1], [True, False])
    """
    if min(sizes.nodes, sizes.graphs) < 1:
        raise ValueError("the batch has no nodes")
    device = tensors["batch"].device
    extra = {
        "node": wanted.nodes - sizes.nodes,
        "edge": wanted.edges - sizes.edges,
        "graph": wanted.graphs - sizes.graphs,
        "pair": wanted.pairs - sizes.pairs,
    }
    own = {
        "batch": _graphs_of_padding(sizes.graphs, extra, device),
        "edge_index": _edges_of_padding(sizes.nodes, extra, device),
        "reverse": _reverse_of_padding(sizes.edges, extra, device),
        "edge_label_index": torch.full((2, extra["pair"]), sizes.nodes, device=device),
    }
    result = {}
    for name, value in tensors.items():
        if name == "ptr":
            continue  # of the padded `batch`, below
        level = level_of(name, value, sizes, declared or {})
        count = extra[level]
        if name in own:
            part = own[name].to(value.dtype)
        elif name in missing and value.is_floating_point():
            part = value.new_full((count, *value.shape[1:]), torch.nan)
        else:
            part = value[:1].expand(count, *value.shape[1:])
        if name == "pos":
            part = part + _helix(count, value)
        result[name] = torch.cat([value, part], 1 if name in OF_NODES else 0)
    for name, real, whole in (
        ("real_nodes", sizes.nodes, wanted.nodes),
        ("real_graphs", sizes.graphs, wanted.graphs),
        *([("real_pairs", sizes.pairs, wanted.pairs)] if wanted.pairs else []),
    ):
        result[name] = torch.arange(whole, device=device) < real
    if "ptr" in tensors:
        result["ptr"] = segment_ptr(segment_lengths(result["batch"], wanted.graphs))
    return result


def cut(output: Tensor, sizes: Sizes, wanted: Sizes) -> Tensor:
    """An output for a padded batch without what it says of padding.

    Raises:
        ValueError: if it has a length that is none of the batch's.
    """
    lengths = (
        (wanted.nodes, sizes.nodes),
        (wanted.graphs, sizes.graphs),
        (wanted.edges, sizes.edges),
    )
    for whole, real in lengths:
        if output.dim() and len(output) == whole:
            return output[:real]
    raise ValueError(
        f"an output of shape {tuple(output.shape)} is neither of nodes nor of graphs, so that "
        "padding cannot be cut off"
    )


def mixing_layers(model: nn.Module) -> list[str]:
    """Kinds of layers of a model whose result for one graph depends on all others of the batch."""
    names = ("BatchNorm", "GraphSizeNorm", "DiffGroupNorm", "MessageNorm", "PairNorm")
    parts = {type(part).__name__ for part in model.modules()}
    norms = {type(part).__name__ for part in model.modules() if isinstance(part, _BatchNorm)}
    return sorted(norms or parts & set(names))


def _graphs_of_padding(first: int, extra: Mapping[str, int], device: torch.device) -> Tensor:
    """[padding nodes] their graphs, ascending; pairs of nodes stay together."""
    pairs = max(extra["node"] // 2, 1)
    pair = (torch.arange(extra["node"], device=device) // 2).clamp(max=pairs - 1)
    return first + pair * extra["graph"] // pairs


def _edges_of_padding(first: int, extra: Mapping[str, int], device: torch.device) -> Tensor:
    """[2, padding edges] both directions of pairs of nodes, as even as possible."""
    edge = torch.arange(extra["edge"], device=device)
    pairs = max((extra["edge"] + 1) // 2, 1)
    node = first + 2 * (edge // 2 * (extra["node"] // 2) // pairs)
    return torch.stack([node + edge % 2, node + 1 - edge % 2])


def _reverse_of_padding(first: int, extra: Mapping[str, int], device: torch.device) -> Tensor:
    edge = torch.arange(extra["edge"], device=device)
    return first + edge + 1 - 2 * (edge % 2)


def _helix(count: int, like: Tensor) -> Tensor:
    """[count, d] points of which neighbours in this order are about 1 apart."""
    angle = torch.arange(count, device=like.device, dtype=like.dtype)[:, None]
    waves = [angle.cos(), angle.sin(), 0.3 * (2.4 * angle).cos()]
    return torch.cat([waves[k % 3] for k in range(like.size(1))], 1)
