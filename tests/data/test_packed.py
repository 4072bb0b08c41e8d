"""The container of graphs against torch_geometric's own collating."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, Data

from geqlib.data.packed import Field, PackedGraphs, joined
from geqlib.files.atomic import cached_arrays

FIELDS = {
    "x": "node",
    "weight": "edge",
    "reverse": Field("edge", index="edge"),
    "triangle": Field("triangle", index="node"),
    "matrix": Field("node", dim=1),
    "energy": Field("graph", dtype=torch.float64),
    "y": "graph",
}


class Graph(Data):
    """What batching does to `reverse`, `triangle` and `matrix`, in torch_geometric's terms."""

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        sizes = {"reverse": self.edge_index.size(1), "triangle": len(self.x)}  # pyright: ignore
        return sizes.get(key) or super().__inc__(key, value, *args, **kwargs)

    def __cat_dim__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        return 1 if key == "matrix" else super().__cat_dim__(key, value, *args, **kwargs)


def single(k: int) -> dict[str, np.ndarray]:
    """A graph of 1 to 6 nodes; the first one has no edges."""
    rng = np.random.default_rng(k)
    n = 1 + k % 6
    edges = 0 if k == 0 else int(rng.integers(0, 9))
    return {
        "x": rng.normal(size=(n, 2)).astype(np.float32),
        "edge_index": rng.integers(0, n, (2, edges)).astype(np.int16),
        "weight": rng.normal(size=edges).astype(np.float32),
        "reverse": rng.permutation(edges).astype(np.int32),
        "triangle": rng.integers(0, n, (k % 3, 3)).astype(np.uint8),
        "matrix": rng.normal(size=(2, n)).astype(np.float32),
        "energy": rng.normal(size=1) - 1e6,
        "y": np.array([k]),
    }


def packed(count: int = 12, **options: Any) -> PackedGraphs:
    return PackedGraphs(joined(map(single, range(count)), FIELDS), FIELDS, **options)


def data(k: int) -> Graph:
    tensors = {name: torch.as_tensor(value) for name, value in single(k).items()}
    whole = {n: v if v.is_floating_point() else v.long() for n, v in tensors.items()}
    return Graph(**whole)


@pytest.mark.parametrize("chosen", [[0], [3, 1, 8], [5, 5, 0, 11], [-1], list(range(12))], ids=str)
def test_batches_are_those_of_torch_geometric(chosen: list[int]) -> None:
    batch = packed().__getitems__(chosen)
    wanted = Batch.from_data_list([data(k % 12) for k in chosen])
    assert batch.num_graphs == len(chosen) and batch.num_nodes == wanted.num_nodes
    assert set(batch.keys()) == set(wanted.keys())
    for key in wanted.keys():  # noqa: SIM118
        assert batch[key].dtype == wanted[key].dtype, key
        assert torch.equal(batch[key], wanted[key]), key


def test_graphs_of_one_size() -> None:
    """Blocks of one size are indexed in another way."""
    equal = packed().subset([1, 7, 1])
    assert equal.equal_counts["node"] == 2 and equal.starts["node"].tolist() == [0, 2, 4]
    for chosen in ([2, 0], [1, -1], [0]):
        batch, wanted = (
            equal.__getitems__(chosen),
            packed().__getitems__([[1, 7, 1][k] for k in chosen]),
        )
        assert all(torch.equal(batch[key], wanted[key]) for key in wanted.keys())  # noqa: SIM118
    columns = np.asfortranarray(np.arange(8.0).reshape(2, 4))
    stored = PackedGraphs({"nodes": [2, 2], "x": columns.T}, {"x": "node"})
    assert stored[1].x.tolist() == columns.T[2:].tolist()


def test_items_are_data() -> None:
    graphs = packed()
    assert len(graphs) == 12 == len(list(graphs))
    for k, item in enumerate(graphs):
        assert type(item) is Data and set(item.keys()) == set(data(k).keys())
        assert all(torch.equal(item[key], data(k)[key]) for key in item.keys())  # noqa: SIM118
    parts = [Data(graphs[k].x, graphs[k].edge_index) for k in (4, 2)]
    again: Any = Batch.from_data_list(parts)  # pyright: ignore
    assert torch.equal(again.edge_index, graphs.__getitems__([4, 2]).edge_index)
    with pytest.raises(IndexError):
        graphs[12]


def test_an_item_is_no_view_of_the_set() -> None:
    graphs = packed()
    graphs[2].x.zero_()  # pyright: ignore
    assert torch.equal(graphs[2].x, data(2).x)


def test_parts_and_whole_arrays() -> None:
    graphs = packed()
    part = graphs.subset([7, 2, 7])
    assert len(part) == 3 and part.y.tolist() == [7, 2, 7] and part.energy.dtype == torch.float64
    assert part.ptr.tolist() == [0, 2, 5, 7] and part.batch.tolist() == [0, 0, 1, 1, 1, 2, 2]
    for numbers, same in (([2, 1], [7, 2]), ([0, 1, 2], [7, 2, 7])):
        one, other = part.__getitems__(numbers), graphs.__getitems__(same)
        assert all(torch.equal(one[key], other[key]) for key in other.keys())  # noqa: SIM118
    assert len(graphs.subset([])) == 0 and graphs.subset([]).__getitems__([]).num_graphs == 0
    with pytest.raises(AttributeError, match="has no array 'z'"):
        graphs.z  # noqa: B018


def test_degrees() -> None:
    graphs = packed()
    whole = graphs.__getitems__(range(12))
    degree = torch.bincount(whole.edge_index[1], minlength=whole.num_nodes)
    assert graphs.degrees() == torch.bincount(degree).tolist()


def test_files_hold_the_arrays(tmp_path: Path) -> None:
    graphs = packed()
    for _ in range(2):  # written, and read
        arrays = cached_arrays("graphs", {"seed": 0}, graphs.to_arrays, tmp_path)
        same = PackedGraphs(arrays, FIELDS)
        one, other = same.__getitems__([3, 0, 11]), graphs.__getitems__([3, 0, 11])
        assert all(torch.equal(one[key], other[key]) for key in other.keys())  # noqa: SIM118
        assert same.arrays["edge_index"].dtype == torch.int16


def count_nodes(graphs: Any) -> Any:
    graphs.count = torch.tensor([graphs.num_nodes])
    return graphs


def test_transforms_and_constants_go_to_workers() -> None:
    graphs = packed(transform=count_nodes, constants={"split": "train"})
    again: PackedGraphs = pickle.loads(pickle.dumps(graphs)).subset([1, 4])  # noqa: S301
    batch = again.__getitems__([0, 1])
    assert batch.count.tolist() == [7] and batch.split == "train" and again[1].count.item() == 5


def test_precision_is_the_default_of_torch() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        graphs = packed()
    finally:
        torch.set_default_dtype(torch.float32)
    assert graphs.subset([1])[0].x.dtype == torch.float64  # also in a worker with another default
    assert packed()[0].x.dtype == torch.float32 and packed()[0].energy.dtype == torch.float64


def test_sets_without_edges_or_node_arrays() -> None:
    sets = PackedGraphs({"nodes": [2, 0, 1], "x": np.uint8([7, 8, 9])}, {"x": "node"})
    batch = sets.__getitems__([1, 0])
    assert batch.x.tolist() == [7, 8] and batch.ptr.tolist() == [0, 0, 2] and batch.num_graphs == 2
    ring = {"nodes": [3], "edges": [1], "edge_index": [[0], [1]], "y": [0]}
    assert PackedGraphs(ring, {"y": "graph"})[0].num_nodes == 3


def test_graph_arrays_of_the_first_edition() -> None:
    from geqlib.data.graph_arrays import GraphArrays

    pair = np.array([[0, 1], [1, 0]])
    rows = {
        "node": {"x": np.arange(5.0)},
        "edge": {"w": np.arange(4)},
        "graph": {"y": np.arange(3)},
    }
    graphs = GraphArrays([2, 1, 2], [2, 0, 2], np.hstack([pair, pair]), rows, name="all")
    part = graphs.subset([2, 1])
    batch: Any = part.__getitems__([0, 1])
    assert batch.x.tolist() == [3, 4, 2] and batch.w.tolist() == [2, 3] and batch.name == "all"
    assert batch.edge_index.tolist() == pair.tolist() and batch.y.tolist() == [2, 1]
    empty: Any = graphs.__getitems__([1])
    assert empty.edge_index.shape == (2, 0) and empty.num_nodes == 1
    assert graphs.degrees() == [1, 4]


@pytest.mark.parametrize(
    ("arrays", "fields", "message"),
    [
        ({"x": [1]}, {"x": "node"}, "no array 'nodes': give all that `fields` names"),
        ({"nodes": [1]}, {"x": "node"}, "no array 'x'"),
        ({"nodes": [1], "t": []}, {"t": "triangle"}, "no array 'triangles'"),
        ({"nodes": [1], "edges": [0]}, {}, "no array 'edge_index'"),
        ({"nodes": [1, 2], "x": [0, 0]}, {"x": "node"}, "x has 2 entries along axis 0, but the gr"),
        ({"nodes": [1, 2], "y": [0]}, {"y": "graph"}, "the graphs have 2 graphs"),
        (
            {"nodes": [3, 2], "edges": [0, 2], "edge_index": [[0, 1], [1, 2]]},
            {},
            r"edge_index has \[1, 2\] in graph 1, which has 2 nodes: count them from 0",
        ),
    ],
)
def test_errors(arrays: Any, fields: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PackedGraphs(arrays, fields)
