"""Links of graphs, of which some are held back: for validation and testing, and to be asked for."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch_geometric.data import Data
from torch_geometric.transforms import RandomLinkSplit
from torch_geometric.utils import is_undirected

from geqlib.data.packed import Field, PackedGraphs
from geqlib.data.partition import Partition

SUPERVISED = 0.3  # share of the training links that are asked for, and not seen


def link_splits(whole: PackedGraphs, share: Partition) -> dict[str, PackedGraphs]:
    """Each graph once in every split that has links, with those links that are seen there.

    Args:
        whole: the graphs.
        share: of validation and testing, and the seed.

    Raises:
        ValueError: links that cannot be divided, with the number of the graph.
    """
    parts: dict[str, list[Data]] = {"train": [], "val": [], "test": []}
    with isolate_rng(include_cuda=False):
        # each of which torch_geometric draws from
        random.seed(share.seed)
        np.random.seed(share.seed)
        torch.manual_seed(share.seed)
        for k in range(len(whole)):
            for name, graph in zip(parts, _divided(whole[k], share, k), strict=True):
                parts[name].append(graph)
    return {
        name: _packed(graphs, whole)
        for name, graphs in parts.items()
        if sum(graph["edge_label"].numel() for graph in graphs)
    }


def _divided(graph: Data, share: Partition, number: int) -> Any:
    undirected = is_undirected(graph.edge_index, num_nodes=graph.num_nodes)  # type: ignore[arg-type]
    split = RandomLinkSplit(
        num_val=share.val,
        num_test=share.test,
        is_undirected=undirected,
        disjoint_train_ratio=SUPERVISED,
    )
    try:
        return split(graph)
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"The {graph.num_edges} links of graph {number} cannot be divided ({error}): leave "
            "graphs with few links out, or choose larger shares."
        ) from error


def _packed(graphs: Sequence[Data], whole: PackedGraphs) -> PackedGraphs:
    names = [name for name in whole.fields if name != "edge_index"]
    arrays = {
        "nodes": np.array([graph.num_nodes for graph in graphs]),
        "edges": np.array([graph.num_edges for graph in graphs]),
        "pairs": np.array([graph["edge_label"].numel() for graph in graphs]),
        "edge_index": torch.cat([graph["edge_index"] for graph in graphs], 1),
        "edge_label": torch.cat([graph["edge_label"] for graph in graphs]),
        "edge_label_index": torch.cat([graph["edge_label_index"] for graph in graphs], 1),
        **{name: torch.cat([graph[name] for graph in graphs]) for name in names},
    }
    pairs = {"edge_label": Field("pair"), "edge_label_index": Field("pair", "node", dim=1)}
    return PackedGraphs(arrays, whole.fields | pairs)
