"""Counts of motifs as features of a whole data set, counted once and kept in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch_geometric.data import Batch, Data

from geqlib.data.packed import Arrays, Field, PackedGraphs, joined
from geqlib.files.atomic import cached_arrays
from geqlib.motifs.features import MotifFeatures
from geqlib.motifs.transforms import append_features

AT_ONCE = 256  # graphs whose motifs are counted together
# tensors that counts are put into, and what they belong to
FIELDS = {
    "x": Field("node"),
    "edge_attr": Field("edge"),
    "pair_index": Field("pair", "node", dim=1),
    "pair_attr": Field("pair"),
    "motifs": Field("graph"),
}


def with_motifs(
    graphs: PackedGraphs, features: MotifFeatures, cache: Path | None = None
) -> PackedGraphs:
    """The same graphs with counts of motifs beside `x` and `edge_attr`, or as tensors of their own.

    Args:
        graphs: simple and undirected, with numbers as features.
        features: what is counted.
        cache: folder for the counts; the user's cache folder by default.

    Raises:
        ValueError: features that are integers; by its number, a graph that is directed, has loops
            or parallel edges, or costs too much.

    Example:
        >>> edges = {"edges": [4], "edge_index": [[0, 1, 1, 2], [1, 0, 2, 1]]}
        >>> path = PackedGraphs({"nodes": [3], **edges, "x": [[1.0]] * 3}, {"x": "node"})
        >>> with_motifs(path, MotifFeatures(nodes=["P3"], graph="cliques"))[0].x.shape
        torch.Size([3, 3])
    """
    digest = sha256()
    for part in (graphs.counts["node"], graphs.counts["edge"], graphs.arrays["edge_index"]):
        digest.update(part.long().numpy().tobytes())
    parameters = {"features": features.settings, "graphs": digest.hexdigest(), "format": 1}
    counts = cached_arrays("motifs", parameters, lambda: _counted(graphs, features), cache)
    return _joined(graphs, counts)


def counted_together(graphs: Sequence[Data], features: MotifFeatures) -> list[Data]:
    """What `features` makes of each graph, counted in all of them at once, many times as fast.

    Args:
        graphs: with `x` and `edge_index`, and nothing else.
        features: what is counted.
    """
    parts = [{"x": g["x"].numpy(), "edge_index": g["edge_index"].numpy()} for g in graphs]
    packed = PackedGraphs(joined(parts, {"x": "node"}), {"x": "node"})
    whole = _joined(packed, _counted(packed, features))
    return [whole[k] for k in range(len(graphs))]


def _joined(graphs: PackedGraphs, counts: Arrays) -> PackedGraphs:
    """The graphs with the counts beside their features."""
    arrays: dict[str, Any] = {f"{k}s": v for k, v in graphs.counts.items() if k != "graph"}
    arrays |= graphs.arrays
    for name, value in counts.items():
        before = arrays.get(name) if name in graphs.fields else None
        arrays[name] = (
            value if before is None else append_features(name, before, torch.as_tensor(value))
        )
    fields = {name: field for name, field in FIELDS.items() if name in counts}
    return PackedGraphs(
        arrays,
        {**fields, **graphs.fields},
        transform=graphs.transform,
        constants=graphs.constants,
    )


def _counted(graphs: PackedGraphs, features: MotifFeatures) -> Arrays:
    starts = range(0, len(graphs), AT_ONCE)
    console = Console(stderr=True)
    steps = track(starts, "motifs", console=console, disable=not console.is_terminal)
    parts = [
        part
        for start in steps
        for part in _of_some(graphs, features, range(start, min(start + AT_ONCE, len(graphs))))
    ]
    return {
        name: np.concatenate([part[name] for part in parts], FIELDS[name].dim)
        if name in FIELDS
        else np.concatenate([part[name] for part in parts])
        for name in parts[0]
    }


def _of_some(graphs: PackedGraphs, features: MotifFeatures, numbers: Sequence[int]) -> list[Arrays]:
    """Counts of some of the graphs, in one part or, where there is an error, one by one."""
    whole = graphs.__getitems__(numbers)
    ends, ptr, of_node = whole["edge_index"], whole["ptr"], whole["batch"]
    bare: Any = Batch(edge_index=ends, batch=of_node, ptr=ptr, num_nodes=int(ptr[-1]))
    try:
        counted = type(features)(**features.settings)(bare)  # which keeps nothing of it
    except ValueError as error:
        if len(numbers) == 1:
            raise ValueError(f"Motifs of graph {numbers[0]} are not counted. {error}") from error
        return [part for k in numbers for part in _of_some(graphs, features, [k])]
    arrays = {name: counted[name].numpy() for name in FIELDS if name in counted}
    if "pair_index" in arrays:
        graph = of_node[counted["pair_index"][0]]
        arrays["pair_index"] = (counted["pair_index"] - ptr[graph]).numpy()
        arrays["pairs"] = torch.bincount(graph, minlength=len(numbers)).numpy()
    return [arrays]
