"""Graphs drawn by PARD: how far are they from the data, and does the order of blocks matter?

Protocol: each set in its published split; PARD of {channels} channels, {pair_channels} of pairs,
and {layers} layers, which is half of the authors' network for communities in each of the three, at
a learning rate of {rate} in batches of {graphs} graphs (small_grids 8, planar 4, grid 2); with 0, 1
and 3 hops of the order, trained in equal numbers of steps: those that the slowest of the three
makes in {minutes} minutes of processor time on one thread, where they were timed. Diffusion has
{steps} steps a block with one hop (planar 10), and as many in all with others: 0 hops are plain
diffusion of the whole graph. As many samples as there are test graphs, by the weights of the last
epoch, {seeds} seeds of sampling. Discrepancies are squared maximum mean discrepancies from the test
graphs, by one function and in one convention a set; those of the training graphs are the scale.
Right: the share of samples that are a grid of two dimensions (sets "grid" and "small_grids"), or
connected and planar (set "planar"). Follows: the share of samples whose own order is the one by
which they were drawn. Shares are of all samples, those among the failures that ended in NaN; these
have no discrepancy. Stopped: they had too many nodes for a further block. Published rows are those
of Jo et al. (GDSS, ICML 2022), table 1, quoted from memory: their kernels are those of "EMD", their
code is not.

The result file is written after every row, and rows that were measured before are kept; runs that
were stopped go on. A processor makes few steps on graphs of the size of "grid" in this time: that
set is for a GPU, and is left out unless it is named. `graph_molecules.py` is the same for QM9.

    GEQLIB_DATA=FOLDER OMP_NUM_THREADS=1 python benchmarks/accuracy/graph_generation.py
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import networkx as nx
from torch_geometric.data import Batch
from torch_geometric.utils import from_networkx

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import recorded, running, start
from benchmarks.rows import Cell, Column, Row, Table, joined, measured, over
from benchmarks.tables import drawn, markdown, publish
from benchmarks.training import QUIET, RUNS, fitted, measured_by, schedule, step_seconds
from geqlib.data import GraphGeneration
from geqlib.files.atomic import replace_file
from geqlib.generation import graph_scores
from geqlib.motifs.graphs import Graphs, simple_graphs
from geqlib.pard.order import partial_order
from geqlib.train.graph_samples import draw_graphs
from geqlib.train.tasks.graph_generation import reference

CONFIG = Path("configs/community_pard.yaml")
PREFIX = "model.init_args.model.init_args."
NAME = "accuracy/graph_generation"
SETS = {
    "community_small": "EMD",
    "ego_small": "EMD",
    "small_grids": "EMD",
    "planar": "TV",
    "grid": "EMD",
}
USUAL = list(SETS)[:-1]
HOPS = (0, 1, 3)
MINUTES, SEEDS = 6.0, 3
CHANNELS, PAIR_CHANNELS, LAYERS, RATE = 64, 16, 3, 1e-3
STEPS, FEWER_STEPS = 20, {"planar": 10}
GRAPHS, FEWER_GRAPHS = 32, {"grid": 2, "planar": 4, "small_grids": 8}  # of a batch
VALIDATIONS = 20  # of a run
NAMES = ("degree", "clustering", "orbits", "spectrum")
COLUMNS = (
    *(Column(name, f"MMD² of {name}", "", ".4f") for name in NAMES),
    Column("right", "grids or planar", "%", ".0f"),
    Column("follows", "follow their order", "%", ".0f"),
    Column("dropped", "NaN", "%", ".0f"),
    Column("stopped", "stopped", "%", ".0f"),
    Column("blocks", "blocks", "", ".1f"),
    Column("diffusion", "steps a block"),
    Column("convention", "convention"),
)
# degree, clustering, orbits
PUBLISHED: dict[str, dict[str, tuple[float, float, float]]] = {
    "community_small": {
        "GraphRNN": (0.080, 0.120, 0.040),
        "EDP-GNN": (0.053, 0.144, 0.026),
        "GDSS": (0.045, 0.086, 0.007),
    },
    "ego_small": {
        "GraphRNN": (0.090, 0.220, 0.003),
        "EDP-GNN": (0.052, 0.093, 0.007),
        "GDSS": (0.021, 0.024, 0.007),
    },
    "grid": {
        "GraphRNN": (0.064, 0.043, 0.021),
        "EDP-GNN": (0.455, 0.238, 0.328),
        "GDSS": (0.111, 0.005, 0.070),
    },
}
SOURCE = "Jo et al. 2022, table 1, quoted from memory"


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=USUAL)
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help="of the slowest run of a set"
    )
    options = parser.parse_args()
    rows: list[Row] = []
    for name in options.sets:
        for row in rows_of(name, options.minutes):
            rows.append(row)
            if options.minutes == MINUTES:
                table = replace(compared(rows), rows=ordered(rows))
                publish(measured("accuracy/graph_generation", __doc__, [table]))
    if options.minutes != MINUTES:
        sys.stdout.write(markdown(*drawn(compared(rows))))


def compared(rows: Sequence[Row]) -> Table:
    """Our rows, and the published ones."""
    published = [
        Row(
            (name, model),
            {**dict(zip(NAMES, values, strict=False)), "convention": SETS[name]},
            "published",
            source=SOURCE,
        )
        for name, models in PUBLISHED.items()
        for model, values in models.items()
    ]
    return Table(("set", "model"), COLUMNS, (*rows, *published), "degree")


def ordered(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Those of the result file and these, set by set."""
    table, place = joined(NAME, compared(rows)), list(SETS)
    return tuple(sorted(table.rows, key=lambda row: place.index(row.labels[0])))


def rows_of(name: str, minutes: float) -> Iterator[Row]:
    """The training graphs, and PARD by hops."""
    data = GraphGeneration(name)
    data.setup()
    test = reference(data.splits["test"])
    own = reference(data.splits["train"])
    scale: dict[str, Cell] = {**scored(own, test, SETS[name]), "convention": SETS[name]}
    yield Row((name, "training graphs"), scale, setup=f"{own.num_graphs} graphs")
    blocks = {hops: mean_blocks(data, hops) for hops in HOPS}
    runs = {hops: options_of(name, hops, data, blocks) for hops in HOPS}
    epochs = equal_epochs(name, runs, minutes)
    for hops in HOPS:
        folder = RUNS / f"pard-{name}-{hops}-{minutes:g}min"
        run = samples(folder, runs[hops] | epochs, data)
        cells: dict[str, Cell] = {"convention": SETS[name], "blocks": blocks[hops]}
        cells["diffusion"] = runs[hops][f"{PREFIX}steps"]
        several = [judged(name, graphs, test, run["count"]) for graphs in run["graphs"]]
        for key in [key for key in several[0] if all(key in one for one in several)]:
            cells[key] = over([one[key] for one in several])
        setup = f"{run['fit']['steps']} training steps"
        yield Row((name, f"PARD, K = {hops}"), cells, setup=setup, **measured_by([run]))


def mean_blocks(data: GraphGeneration, hops: int) -> float:
    """Blocks of a training graph, in the mean."""
    batch: Any = data.splits["train"].__getitems__(range(len(data.splits["train"])))
    order = partial_order(
        batch.edge_index, int(batch.num_nodes), batch.batch, batch.num_graphs, hops=hops
    )
    return len(order.size) / batch.num_graphs


def options_of(
    name: str, hops: int, data: GraphGeneration, blocks: Mapping[int, float]
) -> dict[str, Any]:
    """Changes to the configuration."""
    most, degree = data.limits(hops)
    return QUIET | {
        f"{PREFIX}max_size": most,
        f"{PREFIX}max_degree": degree,
        f"{PREFIX}hops": hops,
        f"{PREFIX}channels": CHANNELS,
        f"{PREFIX}pair_channels": PAIR_CHANNELS,
        f"{PREFIX}layers": LAYERS,
        f"{PREFIX}steps": max(round(FEWER_STEPS.get(name, STEPS) * blocks[1] / blocks[hops]), 2),
        "model.init_args.lr": RATE,
        "model.init_args.sample_every": 0,
        "data.init_args.name": name,
        "data.init_args.batch_size": FEWER_GRAPHS.get(name, GRAPHS),
    }


def equal_epochs(
    name: str, runs: Mapping[int, Mapping[str, Any]], minutes: float, config: Path = CONFIG
) -> dict[str, float]:
    """Trainer options of all runs of a set: the steps of the slowest of them in that time."""
    keys = {
        f"{name}, {changes[f'{PREFIX}channels']} channels, K = {hops}": (config, changes)
        for hops, changes in runs.items()
    }
    timed = step_seconds("graph_generation", keys)
    slowest = max((timed[key] for key in keys), key=lambda one: one["step"])
    options = schedule(60 * minutes / slowest["step"], slowest)
    epochs = int(options["trainer.max_epochs"])
    every = max(epochs // VALIDATIONS, 1)
    # the last epoch is validated, and so it is kept
    whole = {"trainer.max_epochs": epochs // every * every}
    return options | whole | {"trainer.check_val_every_n_epoch": every}


def samples(folder: Path, options: Mapping[str, Any], data: GraphGeneration) -> dict[str, Any]:
    """Graphs by seed of sampling, of a run that is trained or resumed; drawn once."""
    fitted(folder, CONFIG, options, 0)
    graphs, count = [], len(data.splits["test"])
    for seed in range(SEEDS):
        file = folder / f"drawn-{seed}.json"
        if not file.exists():
            last = folder / "checkpoints" / "last.ckpt"
            text = json.dumps([as_lists(g) for g in draw_graphs(last, count=count, seed=seed)])
            replace_file(file, lambda part, text=text: part.write_text(text))
        graphs.append([from_lists(graph) for graph in json.loads(file.read_text())])
    fit = json.loads((folder / "fit.json").read_text())
    return {
        "graphs": graphs,
        "count": count,
        "fit": fit,
        "provenance": recorded(folder, running()),
    }


def judged(name: str, graphs: Sequence[nx.Graph], test: Graphs, count: int) -> dict[str, float]:
    """Discrepancies of one seed, and shares in %.

    Args:
        name: of the set.
        graphs: those that did not end in NaN.
        test: the reference.
        count: of all samples. Without any that has nodes there are no discrepancies.
    """
    nodes = any(len(graph) for graph in graphs)
    cells = scored(as_batch(graphs), test, SETS[name]) if nodes else {}
    for key in ("follows", "stopped"):
        cells[key] = 100 * sum(graph.graph[key] for graph in graphs) / count
    cells["dropped"] = 100 * (count - len(graphs)) / count
    right = {"grid": is_grid, "small_grids": is_grid, "planar": is_planar}.get(name)
    if right is not None:
        cells["right"] = 100 * sum(right(graph) for graph in graphs) / count
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
    shares = {key: graph.graph[key] for key in ("follows", "stopped")}
    return {"nodes": len(graph), "edges": list(graph.edges()), **shares}


def from_lists(content: dict[str, Any]) -> nx.Graph:
    graph = nx.empty_graph(content["nodes"])
    graph.add_edges_from(content["edges"])
    graph.graph |= {key: content[key] for key in ("follows", "stopped")}
    return graph


if __name__ == "__main__":
    start(main)
