"""Frames of S_n: exact averages of networks that depend on the order of nodes; and bad input."""

from __future__ import annotations

import re
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from geqlib.frames.averaging import FrameAveraging
from geqlib.frames.node_orders import tolerant_ranks
from geqlib.testing import degenerate_sets, equivariance_error

SETS = degenerate_sets()


class Ordered(nn.Module):
    """Sees the places of nodes in their graph and of edges in their list: no symmetry at all."""

    def __init__(self, dim: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.nodes = torch.randn(64, 1 + dim, 5, generator=generator).double()
        self.edges = torch.randn(64, 64, 2, 5, generator=generator).double()
        self.out = torch.randn(64, 5, 2 + dim, generator=generator).double()
        self.dim, self.rows = dim, 0

    def forward(
        self,
        x: Tensor,
        batch: Tensor,
        num_graphs: int,
        edge_index: Tensor | None = None,
        edge_attr: Tensor | None = None,
        pos: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        self.rows += num_graphs
        place = torch.arange(len(x)) - torch.searchsorted(batch, batch)
        seen = x if pos is None else torch.cat([x, pos], 1)
        total = x.new_zeros(num_graphs, 5).index_add(
            0, batch, torch.einsum("ni,nij->nj", seen, self.nodes[place])
        )
        if edge_index is not None:
            source, target = place[edge_index]
            edge = torch.stack([torch.ones(len(source)).double()] * 2, 1)
            if edge_attr is not None:
                edge[:, 1:] = edge_attr
            part = torch.einsum("ei,eij->ej", edge, self.edges[source, target])
            total = total.index_add(0, batch[edge_index[0]], part)
        h = torch.einsum("nj,njk->nk", torch.sin(total)[batch] + seen.sum(1, True), self.out[place])
        graph = torch.sin(total)
        return (graph, h[:, :2], h[:, 2:]) if self.dim else (graph, h)


def typed(graph: nx.Graph, attributes: bool = False) -> dict[str, tuple[Tensor, str]]:
    ends = np.array(graph.to_directed().edges(), dtype=np.int64).reshape(-1, 2).T
    n = len(graph)
    batch, edges = torch.zeros(n, dtype=torch.long), torch.from_numpy(ends.copy())
    actual = {
        "x": (torch.ones(n, 1).double(), "scalar"),
        "edge_index": (edges, "edge_index"),
        "batch": (batch, "batch"),
    }
    if attributes:
        actual["edge_attr"] = ((edges.sum(0) % 2)[:, None].double(), "edge_scalar")
    return actual


GRAPHS = {
    "path": nx.path_graph(5),
    "cycle": nx.cycle_graph(6),
    "star": nx.star_graph(5),
    "cube": nx.convert_node_labels_to_integers(nx.hypercube_graph(3)),
    "petersen": nx.petersen_graph(),
    "two triangles": nx.disjoint_union(nx.complete_graph(3), nx.complete_graph(3)),
    "isolated": nx.empty_graph(4),
    "random": nx.gnp_random_graph(9, 0.4, seed=1),
}


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("attributes", [False, True])
def test_relabelling_never_changes_an_exact_average(name: str, attributes: bool) -> None:
    inputs = typed(GRAPHS[name], attributes)
    types = {key: text for key, (_, text) in inputs.items() if key != "batch"}
    net = FrameAveraging(Ordered(), "S_n", inputs=types, outputs=("graph:scalar", "scalar"))
    fn = lambda **t: net(**t, num_graphs=1)  # noqa: E731
    outputs = ("graph:scalar", "scalar")
    plain = lambda **t: net.module(**t, num_graphs=1)  # noqa: E731
    assert equivariance_error(plain, inputs, outputs, "S_n") > 1e-2
    assert equivariance_error(fn, inputs, outputs, "S_n", samples=12) < 1e-12


def test_nodes_of_an_orbit_get_equal_outputs() -> None:
    inputs = {key: x for key, (x, _) in typed(GRAPHS["star"]).items()}
    types = {"x": "scalar", "edge_index": "edge_index"}
    net = FrameAveraging(Ordered(), "S_n", inputs=types, outputs=("graph:scalar", "scalar"))
    out = net(**inputs, num_graphs=1)[1]
    assert (out[1:] - out[1]).abs().max() < 1e-15 and (out[0] - out[1]).abs().max() > 1e-3


def test_isomorphic_copies_agree_and_other_graphs_do_not() -> None:
    types = {"x": "scalar", "edge_index": "edge_index"}
    net = FrameAveraging(Ordered(), "S_n", inputs=types, outputs=("graph:scalar", "scalar"))
    ring, pair = nx.cycle_graph(6), GRAPHS["two triangles"]  # equal by colour refinement
    one, two = (
        net(**{k: x for k, (x, _) in typed(g).items()}, num_graphs=1)[0] for g in (ring, pair)
    )
    assert (one - two).abs().max() > 1e-2


@pytest.mark.parametrize("mode", ["full", "minimal"])
def test_products_with_euclidean_groups(mode: Any) -> None:
    """A network without any symmetry becomes exactly symmetric, on every degenerate set."""
    types, outputs = {"x": "scalar", "pos": "point"}, ("graph:scalar", "scalar", "vector")
    net = FrameAveraging(Ordered(3), "S_n x E(3)", inputs=types, outputs=outputs, mode=mode)
    fn = lambda **t: net(**t, num_graphs=1)  # noqa: E731
    for name, pos in SETS.items():
        n = len(pos)
        inputs = {
            "x": (torch.ones(n, 1).double(), "scalar"),
            "pos": (pos, "point"),
            "batch": (torch.zeros(n, dtype=torch.long), "batch"),
        }
        wanted = 1e-9 if name == "far_away" else 1e-11
        assert equivariance_error(fn, inputs, outputs, "S_n x E(3)", 4) < wanted, name
    net.module.rows = 0
    fn(
        **{key: x for key, (x, _) in (inputs | {"pos": (SETS["prism"], "point")}).items()}
        | {"x": torch.ones(6, 1).double(), "batch": torch.zeros(6, dtype=torch.long)}
    )
    assert net.module.rows == (1 if mode == "minimal" else 12)


def test_edges_and_points_together() -> None:
    """A square with one side: the points alone would be symmetric."""
    types = {"x": "scalar", "pos": "point", "edge_index": "edge_index"}
    outputs = ("graph:scalar", "scalar", "vector")
    inputs = {
        "x": (torch.ones(4, 1).double(), "scalar"),
        "pos": (SETS["square"], "point"),
        "edge_index": (torch.tensor([[0, 1], [1, 0]]), "edge_index"),
        "batch": (torch.zeros(4, dtype=torch.long), "batch"),
    }
    for mode, group in (("full", "S_n x E(3)"), ("minimal", "S_n x SE(3)")):
        net = FrameAveraging(Ordered(3), group, inputs=types, outputs=outputs, mode=mode)
        fn = lambda **t: net(**t, num_graphs=1)  # noqa: B023, E731
        assert equivariance_error(fn, inputs, outputs, group) < 1e-12


def test_batches_equal_single_graphs() -> None:
    types = {"x": "scalar", "edge_index": "edge_index"}
    net = FrameAveraging(Ordered(), "S_n", inputs=types, outputs=("graph:scalar", "scalar"))
    graphs = [typed(g) for g in GRAPHS.values()]
    ends = np.cumsum([0, *(len(g["x"][0]) for g in graphs)])
    batch = {
        "x": torch.cat([g["x"][0] for g in graphs]),
        "edge_index": torch.cat(
            [g["edge_index"][0] + int(a) for g, a in zip(graphs, ends, strict=False)], 1
        ),
        "batch": torch.cat([g["batch"][0] + k for k, g in enumerate(graphs)]),
    }
    together = net(**batch, num_graphs=len(graphs))
    alone = [net(**{k: x for k, (x, _) in g.items()}, num_graphs=1) for g in graphs]
    for k in range(2):
        torch.testing.assert_close(together[k], torch.cat([a[k] for a in alone]))


def test_ranks_are_chained_within_a_group_only() -> None:
    x = torch.tensor([0.0, 1e-7, 2e-7, 0.0, 1.0]).double()
    group = torch.tensor([0, 0, 0, 1, 1])
    assert tolerant_ranks(x, group, torch.full((5,), 1.5e-7).double()).tolist() == [0, 0, 0, 1, 2]


class Wrong(nn.Module):
    def forward(self, pos: Tensor, batch: Tensor | None = None) -> Tensor:
        return pos[:, :2]


def message(fn: Any) -> str:
    with pytest.raises(ValueError) as actual:
        fn()
    text = str(actual.value)
    assert "\n" not in text and len(text) < 260
    return text


def wrap(module: nn.Module, group: Any, **options: Any) -> FrameAveraging:
    arguments: dict[str, Any] = {"inputs": {"pos": "point"}, "outputs": "point"} | options
    return FrameAveraging(module, group, **arguments)


def test_errors_are_one_clear_sentence() -> None:
    pos, batch = torch.randn(4, 3), torch.zeros(4, dtype=torch.long)
    net = wrap(Wrong(), "E(3)")
    cases: dict[str, Any] = {
        r"last axis must be 3": lambda: net(pos=pos, batch=batch),
        r"a last axis of 2": lambda: wrap(Wrong(), "E(2)")(pos=pos, batch=batch),
        r"sample 0 has NaN": lambda: net(pos=pos * torch.nan, batch=batch),
        r"'q' has no type": lambda: net(pos=pos, q=pos, batch=batch),
        r"there are 3 nodes": lambda: net(pos=pos, batch=batch[:3]),
        r"beyond num_graphs=1": lambda: net(pos=pos, batch=batch + 1, num_graphs=1),
        r"group 'E\(0\)' is unknown": lambda: wrap(Wrong(), "E(0)"),
        r"group 'E\(3\) x E\(3\)' is": lambda: wrap(Wrong(), "E(3) x E(3)"),
        r"mode must be one of": lambda: wrap(Wrong(), "E(3)", mode="some"),
        r"samples must be": lambda: wrap(Wrong(), "E(3)", samples=0),
        r"2 or 3 dimensions": lambda: wrap(Wrong(), "E(4)", mode="weighted"),
        r"is for rotations": lambda: wrap(Wrong(), "S_n", mode="learned"),
        r"not dense": lambda: wrap(Wrong(), "S_n", dense=True),
        r"is per edge": lambda: wrap(Wrong(), "S_n", outputs="edge:scalar"),
        r"unknown type 'pt'": lambda: wrap(Wrong(), "E(3)", outputs="pt"),
        r"needs an input of type 'point'": lambda: wrap(Wrong(), "E(3)", inputs={"pos": "vector"})(
            pos=pos, batch=batch
        ),
        r"nothing to frame": lambda: wrap(Wrong(), "O(3)", inputs={"pos": "scalar"})(
            pos=pos, batch=batch
        ),
        r"no tensor in the Tensor": lambda: wrap(Wrong(), "E(3)", outputs=("point", "point"))(
            pos=pos, batch=batch
        ),
        r"no inputs are given": lambda: net(batch=batch),
        r"return one entry for each": lambda: wrap(Wrong(), "E(3)", outputs="graph:scalar")(
            pos=pos, batch=batch
        ),
    }
    for expected, fn in cases.items():
        assert re.search(expected, message(fn)), expected


def test_repr() -> None:
    assert repr(wrap(Wrong(), "E(3)", mode="stochastic")) == (
        "FrameAveraging(Wrong, 'E(3)', inputs={'pos': 'point'}, outputs='point', mode='stochastic')"
    )
