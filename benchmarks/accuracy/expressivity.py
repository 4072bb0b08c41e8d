"""Which pairs of 1-WL-equivalent graphs does a model separate, with random weights?

Protocol: untrained networks in float64, six layers of width {width}, all weights drawn at random,
those of norms with standard deviation {gain}, and sines as activations of IGN and SPEN: these grow
small differences in every layer, where ReLU or tanh lets them fade below rounding errors. A pair
counts as separated if the outputs differ by more than {same} of their largest entry. Every graph is
compared with a random isomorphic copy of itself, too: if one of these is separated, the model's row
is void. Activation, gain, depth and threshold were chosen on the same pairs: a count is what the
architecture can separate, no score of a trained model, and BREC's own protocol (training on each
pair, with a test of reliability) is another. "SPEN" and "IGN" are geqlib's layers by these choices,
not the published configurations.

    python benchmarks/accuracy/expressivity.py [--sets graph8c CSL ...] [--models "SPEN k=1" ...]
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Row, Table, measured
from benchmarks.tables import drawn, markdown, publish
from geqlib.data.graphs.expressivity import GraphPairs, PlainGraph, graph_pairs
from geqlib.models import IGN, SPEN, MessagePassingNet

SETS = ("graph8c", "CSL", "SR", "EXP", "BREC")
SAME = 1e-7
NOTE = (
    "Untrained networks whose activation, gain, depth and threshold were chosen on these pairs; "
    "not BREC's protocol of training."
)
GAIN = 16.0
WIDTH = 8
BATCH = 16
SIZE: dict[str, Any] = {"channels": WIDTH, "layers": 6}


class Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sin()


# no running statistics of a training
MAPS: dict[str, Any] = SIZE | {"norm": "layer", "act": Sine(), "symmetric": True}
# ego nets that share nothing, marked centres
APART: dict[str, Any] = {"shared": False, "centre": True, "orders": (0, 1, 2)}
MODELS: dict[str, Callable[[int], nn.Module]] = {
    "GIN": lambda kinds: MessagePassingNet(kinds, WIDTH, **SIZE),
    "IGN": lambda kinds: IGN(kinds, WIDTH, **MAPS),
    "SPEN k=1": lambda kinds: SPEN(kinds, WIDTH, **MAPS),
    "SPEN k=2, centre": lambda kinds: SPEN(kinds, WIDTH, hops=2, centre=True, **MAPS),
    "SPEN k=1, centre, apart": lambda kinds: SPEN(kinds, WIDTH, **APART, **MAPS),
    "SPEN k=2, centre, apart": lambda kinds: SPEN(kinds, WIDTH, hops=2, **APART, **MAPS),
}


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    options = parser.parse_args()
    outcomes: dict[str, dict[str, Any]] = {model: {} for model in options.models}
    for name in options.sets:
        pairs = graph_pairs(name)
        for model, outcome in outcomes.items():
            outcome[name] = separated(MODELS[model], pairs)
    table = compared(outcomes)
    if tuple(options.sets) == SETS and options.models == list(MODELS):
        publish(measured("accuracy/expressivity", __doc__, [table]))
    else:
        sys.stdout.write(markdown(*drawn(table)))


def compared(outcomes: dict[str, dict[str, Any]]) -> Table:
    sizes = {name: of_set["pairs"] for name, of_set in next(iter(outcomes.values())).items()}
    columns = [Column(name, f"{name} (of {size})") for name, size in sizes.items()]
    columns.append(Column("copies", "copies separated"))
    rows = tuple(own_row(model, outcome) for model, outcome in outcomes.items())
    return Table(("pairs separated",), tuple(columns), rows, "BREC", NOTE)


def own_row(model: str, outcome: dict[str, Any]) -> Row:
    cells: dict[str, Cell] = {}
    for name, of_set in outcome.items():
        cells[name] = of_set["separated"]
        cells |= {f"{name}, {part}": count for part, count in of_set["parts"].items()}
        cells[f"{name}, copies separated"] = of_set["copies_separated"]
        for key in ("largest_difference_of_copies", "smallest_difference_separated"):
            if of_set[key] is not None:
                cells[f"{name}, {key.replace('_', ' ')}"] = of_set[key]
    cells["copies"] = sum(of_set["copies_separated"] for of_set in outcome.values())
    return Row((model,), cells, "peer" if model in ("GIN", "IGN") else "geqlib")


def separated(build: Callable[[int], nn.Module], pairs: GraphPairs) -> dict[str, Any]:
    """How many pairs of each part a model separates, and how many isomorphic copies."""
    kinds = 1 + max(int(graph.kind.max(initial=0)) for graph in pairs.graphs)
    torch.manual_seed(0)
    model = build(kinds).double().eval()
    for name, parameter in model.named_parameters():
        if "leave" in name or name.endswith("bias"):  # what starts at 0
            nn.init.normal_(parameter, std=0.1)
        elif "norm" in name:
            nn.init.normal_(parameter, std=GAIN)
    rng = np.random.default_rng(0)
    one = _outputs(model, pairs.graphs, kinds)
    copy = _outputs(model, [graph.relabelled(rng) for graph in pairs.graphs], kinds)
    scale = one.abs().max()
    first, second = torch.tensor(pairs.pairs).T
    apart = (one[first] - one[second]).abs().amax(1) / scale
    alike = (one - copy).abs().amax(1) / scale
    ends = [0, *accumulate(pairs.parts.values())]
    return {
        "pairs": len(pairs.pairs),
        "separated": int((apart > SAME).sum()),
        "parts": {
            part: int((apart[a:b] > SAME).sum())
            for part, a, b in zip(pairs.parts, ends, ends[1:], strict=False)
        },
        "copies_separated": int((alike > SAME).sum()),
        "largest_difference_of_copies": float(alike.max()),
        "smallest_difference_separated": _smallest(apart),
    }


def _smallest(apart: Tensor) -> float | None:
    separated = apart[apart > SAME]
    return float(separated.min()) if len(separated) else None


def _outputs(model: nn.Module, graphs: Sequence[PlainGraph], kinds: int) -> Tensor:
    """[graphs, WIDTH]; some at a time, so that these decide the memory."""
    outputs = []
    with torch.no_grad():
        for start in track(range(0, len(graphs), BATCH), "graphs"):
            batch = Batch.from_data_list(
                [
                    Data(torch.eye(kinds).double()[graph.kind], torch.from_numpy(graph.edge_index))
                    for graph in graphs[start : start + BATCH]
                ]
            )
            index, count = batch["batch"], batch.num_graphs
            outputs.append(model(batch["x"], batch["edge_index"], batch=index, num_graphs=count))
    return torch.cat(outputs)


if __name__ == "__main__":
    start(main)
