"""Graphs drawn by PARD: how far are they from the data, and does the order of blocks matter?

Protocol: each set in its published split; PARD of {channels} channels and {layers} layers,
T {steps}, {epochs} epochs of all training graphs, with 0, 1 and 3 hops of the order: equal numbers
of steps, and 0 hops is plain diffusion of the whole graph. As many samples as there are test
graphs, by the weights of the last epoch, {seeds} seeds of sampling. Discrepancies are squared
maximum mean discrepancies from the test graphs, by one function and in one convention a set; those
of the training graphs are the scale. Right: the share of samples that are a grid of two dimensions
(set "grid"), or connected and planar (set "planar"). Follows: the share of samples whose own order
is the one by which they were drawn.

    GEQLIB_DATA=FOLDER python benchmarks/accuracy/graph_generation.py [--sets grid] [--epochs 100]
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import networkx as nx
from torch_geometric.data import Batch
from torch_geometric.utils import from_networkx

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import recorded, running, start
from benchmarks.rows import Cell, Column, Row, Table, measured, over
from benchmarks.tables import drawn, markdown, publish
from benchmarks.training import QUIET, RUNS, fitted, measured_by
from geqlib.data import GraphGeneration
from geqlib.files.atomic import replace_file
from geqlib.generation import graph_scores
from geqlib.motifs.homomorphisms import Graphs, simple_graphs
from geqlib.train.graph_samples import draw_graphs
from geqlib.train.tasks.graph_generation import reference

CONFIG = Path("configs/community_pard.yaml")
SETS = {"community_small": "EMD", "ego_small": "EMD", "grid": "EMD", "planar": "TV"}
HOPS = (0, 1, 3)
EPOCHS, SEEDS = 1000, 3
CHANNELS, LAYERS, STEPS = 128, 6, 40
BATCH = {"grid": 2, "planar": 8}
NAMES = ("degree", "clustering", "orbits", "spectrum")
COLUMNS = (
    *(Column(name, f"MMD² of {name}", "", ".4f") for name in NAMES),
    Column("right", "grids or planar", "%", ".0f"),
    Column("follows", "follow their order", "%", ".0f"),
    Column("convention", "convention"),
)


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of every run")
    options = parser.parse_args()
    rows = [row for name in options.sets for row in rows_of(name, options.epochs)]
    table = Table(("set", "model"), COLUMNS, tuple(rows), "degree")
    if options.epochs == EPOCHS and options.sets == list(SETS):
        publish(measured("accuracy/graph_generation", __doc__, [table]))
    else:
        sys.stdout.write(markdown(*drawn(table)))


def rows_of(name: str, epochs: int) -> list[Row]:
    """The training graphs, and PARD by hops."""
    data = GraphGeneration(name)
    data.setup()
    test = reference(data.splits["test"])
    own = reference(data.splits["train"])
    scale: dict[str, Cell] = {**scored(own, test, SETS[name]), "convention": SETS[name]}
    rows = [Row((name, "training graphs"), scale, setup=f"{own.num_graphs} graphs")]
    for hops in HOPS:
        run = samples(name, hops, epochs, data)
        cells: dict[str, Cell] = {"convention": SETS[name]}
        several = [judged(name, graphs, test) for graphs in run["graphs"]]
        for key in several[0]:
            cells[key] = over([one[key] for one in several])
        rows.append(Row((name, f"PARD, K = {hops}"), cells, **measured_by([run])))
    return rows


def samples(name: str, hops: int, epochs: int, data: GraphGeneration) -> dict[str, Any]:
    """Graphs by seed of sampling, of a run that is trained or resumed; drawn once."""
    folder = RUNS / f"pard-{name}-{hops}-{epochs}"
    most, degree = data.limits(hops)
    prefix = "model.init_args.model.init_args."
    options: dict[str, object] = QUIET | {
        f"{prefix}max_size": most,
        f"{prefix}max_degree": degree,
        f"{prefix}hops": hops,
        f"{prefix}channels": CHANNELS,
        f"{prefix}layers": LAYERS,
        f"{prefix}steps": STEPS,
        "model.init_args.sample_every": 0,
        "data.init_args.name": name,
        "data.init_args.batch_size": BATCH.get(name, 64),
        "trainer.max_epochs": epochs,
    }
    fitted(folder, CONFIG, options, 0)
    graphs = []
    for seed in range(SEEDS):
        file = folder / f"samples-{seed}.json"
        if not file.exists():
            count = len(data.splits["test"])
            last = folder / "checkpoints" / "last.ckpt"
            text = json.dumps([as_lists(g) for g in draw_graphs(last, count=count, seed=seed)])
            replace_file(file, lambda part, text=text: part.write_text(text))
        graphs.append([from_lists(graph) for graph in json.loads(file.read_text())])
    return {"graphs": graphs, "provenance": recorded(folder, running())}


def judged(name: str, graphs: Sequence[nx.Graph], test: Graphs) -> dict[str, float]:
    """Discrepancies of one seed, and shares in %."""
    cells = scored(as_batch(graphs), test, SETS[name])
    cells["follows"] = 100 * sum(graph.graph["follows"] for graph in graphs) / len(graphs)
    right = {"grid": is_grid, "planar": is_planar}.get(name)
    if right is not None:
        cells["right"] = 100 * sum(right(graph) for graph in graphs) / len(graphs)
    return cells


def scored(graphs: Graphs, test: Graphs, convention: Any) -> dict[str, float]:
    scores = graph_scores(graphs, test, convention)
    return {name: getattr(scores, name) for name in NAMES}


def is_grid(graph: nx.Graph) -> bool:
    """Isomorphic to a grid of two dimensions with at least two nodes a side.

    Example:
        >>> is_grid(nx.grid_2d_graph(3, 4)), is_grid(nx.cycle_graph(6))
        (True, False)
    """
    nodes, edges = len(graph), graph.number_of_edges()
    total = 2 * nodes - edges  # a + b of a grid of a times b
    sides = [a for a in range(2, total - 1) if a * (total - a) == nodes and a <= total - a]
    return bool(sides) and nx.is_isomorphic(graph, nx.grid_2d_graph(sides[0], total - sides[0]))


def is_planar(graph: nx.Graph) -> bool:
    """Connected and planar, as Martinkus et al. (SPECTRE, ICML 2022) ask."""
    return len(graph) > 0 and nx.is_connected(graph) and nx.is_planar(graph)


def as_batch(graphs: Sequence[nx.Graph]) -> Graphs:
    plain = [nx.Graph(graph.edges()) for graph in graphs]
    for empty, graph in zip(plain, graphs, strict=True):
        empty.add_nodes_from(graph)
    batch: Any = Batch.from_data_list([from_networkx(graph) for graph in plain])
    return simple_graphs(batch.edge_index, batch.num_nodes, batch.batch, batch.num_graphs)


def as_lists(graph: nx.Graph) -> dict[str, Any]:
    return {"nodes": len(graph), "edges": list(graph.edges()), "follows": graph.graph["follows"]}


def from_lists(content: dict[str, Any]) -> nx.Graph:
    graph = nx.empty_graph(content["nodes"])
    graph.add_edges_from(content["edges"])
    graph.graph["follows"] = content["follows"]
    return graph


if __name__ == "__main__":
    start(main)
