"""Molecules of QM9 as graphs, drawn by PARD: are they valid, and does the order of blocks matter?

Protocol: 100 000 training molecules in EDM's split; hydrogens are nodes, bonds go by distances and
the rules of EDM. PARD of {channels} channels and {layers} layers with 0, 1 and 3 hops of the order,
batches of {batch}, trained in equal numbers of steps: those that the slowest makes in {minutes}
minutes of processor time on one thread, where they were timed. Diffusion has {steps} steps a block
with 3 hops, and as many in all with others. {samples} samples, {seeds} seeds of sampling. Stable:
all atoms have as many bonds as their element should have. Valid: RDKit can sanitise the graph,
without formal charges, of which the data has none here: the test molecules are the scale. Novel:
distinct ones that are not among the training molecules. Published
rows are of 10 000 samples, and of bonds as RDKit reads them from the data, aromatic ones included,
which is why their own scale differs.

The result file is written after every row; runs that were stopped go on, batches of samples, too.

    GEQLIB_DATA=FOLDER OMP_NUM_THREADS=1 python benchmarks/accuracy/graph_molecules.py
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from rich.progress import track

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.accuracy.graph_generation import PREFIX, equal_epochs, mean_blocks
from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Row, Table, joined, measured, over
from benchmarks.tables import drawn, markdown, publish
from benchmarks.training import QUIET, RUNS, finished, fitted, measured_by
from geqlib.data import GraphGeneration
from geqlib.generation import MoleculeScores
from geqlib.pard.sampling import SampledGraphs
from geqlib.train.novelty import training_smiles
from geqlib.train.samples import GraphSettings, complete_graph_samples, load_generator
from geqlib.train.tasks.graph_generation import GraphDiffusion, molecule_scores_of

NAME = "accuracy/graph_molecules"
CONFIG = Path("configs/qm9_pard.yaml")
HOPS = (0, 1, 3)
MINUTES, SAMPLES, SEEDS = 45.0, 400, 3
CHANNELS, LAYERS, STEPS, BATCH = 128, 6, 20, 64
VAL = 10  # batches of a validation
COLUMNS = (
    Column("valid", "valid", "%", ".1f"),
    Column("unique", "unique", "%", ".1f"),
    Column("molecule", "molecule stability", "%", ".1f"),
    Column("atom", "atom stability", "%", ".2f"),
    Column("novel", "novel", "%", ".1f"),
    Column("follows", "follow their order", "%", ".0f"),
    Column("dropped", "NaN", "%", ".1f"),
    Column("stopped", "stopped", "%", ".1f"),
    Column("rules", "rules"),
    Column("blocks", "blocks", "", ".1f"),
    Column("diffusion", "steps a block"),
)
# valid, unique, molecule and atom stability, in %
PUBLISHED = {
    "data": ((97.8, 100.0, 87.0, 98.5), "Zhao et al. 2024"),
    "DiGress, uniform": ((89.8, 97.8, 70.5, 97.3), "Vignac et al. 2023, in Zhao et al. 2024"),
    "PARD, K = 0": ((93.8, 96.9, 76.4, 97.7), "Zhao et al. 2024, code"),
    "PARD, K = 1": ((97.1, 96.5, 86.1, 98.3), "Zhao et al. 2024, code"),
    "PARD, K = 3": ((97.0, 96.1, 86.3, 98.4), "Zhao et al. 2024, code"),
}


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of the slowest run")
    options = parser.parse_args()
    rows: list[Row] = []
    for row in rows_of(options.minutes):
        rows.append(row)
        if options.minutes == MINUTES:
            publish(measured("accuracy/graph_molecules", __doc__, [joined(NAME, compared(rows))]))
    if options.minutes != MINUTES:
        sys.stdout.write(markdown(*drawn(compared(rows))))


def compared(rows: Sequence[Row]) -> Table:
    keys = ("valid", "unique", "molecule", "atom")
    published = [
        Row(
            (name,),
            {**dict(zip(keys, values, strict=True)), "rules": "as reported"},
            "published",
            source=source,
        )
        for name, (values, source) in PUBLISHED.items()
    ]
    return Table(("",), COLUMNS, (*rows, *published), "molecule")


def rows_of(minutes: float) -> Iterator[Row]:
    data = GraphGeneration("qm9", BATCH)
    data.setup()
    yield Row(("test molecules",), dict(percentages(scores_of_data(data))))
    blocks = {hops: mean_blocks(data, hops) for hops in HOPS}
    runs = {hops: options_of(hops, data, blocks) for hops in HOPS}
    epochs = equal_epochs("qm9", runs, minutes, CONFIG)
    for hops in HOPS:
        folder = RUNS / f"pard-qm9-{hops}-{minutes:g}min"
        fitted(folder, CONFIG, runs[hops] | epochs, 0)
        fit = json.loads((folder / "fit.json").read_text())
        several = [
            finished(f"{folder.name}/samples-{SAMPLES}-{seed}", partial(sampled, folder, seed))
            for seed in range(SEEDS)
        ]
        cells: dict[str, Cell] = {
            column.key: over([one[column.key] for one in several]) for column in COLUMNS[:8]
        }
        cells |= {
            "rules": several[0]["rules"],
            "blocks": blocks[hops],
            "diffusion": runs[hops][f"{PREFIX}steps"],
        }
        setup = f"{fit['steps']} training steps"
        yield Row((f"geqlib PARD, K = {hops}",), cells, setup=setup, **measured_by(several))


def options_of(hops: int, data: GraphGeneration, blocks: dict[int, float]) -> dict[str, Any]:
    """Changes to the configuration."""
    most, degree = data.limits(hops)
    return QUIET | {
        f"{PREFIX}max_size": most,
        f"{PREFIX}max_degree": degree,
        f"{PREFIX}hops": hops,
        f"{PREFIX}channels": CHANNELS,
        f"{PREFIX}pair_channels": CHANNELS // 4,
        f"{PREFIX}layers": LAYERS,
        f"{PREFIX}steps": max(round(STEPS * blocks[3] / blocks[hops]), 2),
        "model.init_args.sample_every": 0,
        "data.init_args.batch_size": BATCH,
        "trainer.limit_val_batches": VAL,
    }


def sampled(folder: Path, seed: int) -> dict[str, Any]:
    """Scores of samples of the last weights."""
    last = folder / "checkpoints" / "last.ckpt"
    task: Any = load_generator(last)
    if not isinstance(task, GraphDiffusion):
        raise ValueError(f"{last} generates no graphs.")
    parts = folder / f"samples-{SAMPLES}-{seed}"
    progress = partial(track, description=parts.name)
    settings = GraphSettings(seed)
    graphs = complete_graph_samples(task, last, parts, SAMPLES, settings, progress=progress)
    whole = SampledGraphs.joined(graphs)
    shares = {"dropped": whole.dropped, "stopped": whole.stopped}
    shares["follows"] = whole.follows(task.network.hops)
    scores = percentages(molecule_scores_of(whole, task.species, training=training_texts()))
    return scores | {name: 100 * float(share.double().mean()) for name, share in shares.items()}


@cache
def training_texts() -> frozenset[str]:
    """SMILES of the training molecules."""
    data = GraphGeneration("qm9")
    data.setup()
    chunks = partial(track, description="SMILES of the training molecules")
    return training_smiles(data.splits["train"], species=data.species, progress=chunks)


def scores_of_data(data: GraphGeneration) -> MoleculeScores:
    """Those of the test molecules."""
    test = data.splits["test"]
    batch: Any = test.__getitems__(range(len(test)))
    none = batch.batch.new_zeros(len(test)).bool()
    tensors = batch.x, batch.edge_index, batch.edge_attr, batch.batch, batch.batch
    graphs = SampledGraphs(*tensors, none, none)
    return molecule_scores_of(graphs, data.species, training=training_texts())


def percentages(scores: MoleculeScores) -> dict[str, Any]:
    return {
        "rules": scores.rules,
        "novel": 100 * (scores.novelty or 0.0),
        "valid": 100 * (scores.validity or 0.0),
        "unique": 100 * (scores.uniqueness or 0.0),
        "molecule": 100 * scores.molecule_stability,
        "atom": 100 * scores.atom_stability,
    }


if __name__ == "__main__":
    start(main)
