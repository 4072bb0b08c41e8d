"""Which of BREC's 400 pairs do trained networks separate, by BREC's own protocol?

Protocol: reliable paired comparison (Wang and Zhang, ICML 2024): a fresh network for every pair,
trained by the published base recipe (Adam, learning rate and weight decay 1e-4, at most 20 epochs,
batches of 16, cosine loss without margin, until it is below 0.2), 32 different relabellings of both
graphs and 64 of one of them, drawn here. Separated: s > 72.34, the published threshold; not
reliable: s of the copies of one graph above it; "by exact T²" counts 32 s > 72.34, Hotelling's
threshold of 5 %. The protocol's seeds are {seeds}; a row says how many of them, from the first on,
it has, and its best seed of fewer than ten is a lower bound. The row is the seed with most pairs
less those not reliable, as published: these are its counts; those not reliable are those of all
its seeds, of which a valid result has none, and the mean is over these seeds. Exact features are
those of brec_exact.py, compared without training: no PPGN++ with these features separates more, and
a SPEN, whose ego nets 1-WL does not see, may. Below, by category, the numbers
of the pairs that the best seed does not separate: those of "training" differ in these features,
those of "features" do not, and "beyond" are pairs that the network alone separates. Networks were
not tuned on these pairs, but on others (`geqlib brec --set tuning`).

Pairs that are measured are not measured again. Networks may be measured one by one; rows of other
seeds than the first of the protocol's are printed, and not published.

    python benchmarks/accuracy/brec.py [--models PPGN++ ...] [--seeds 100 200 ...] [--device cpu]
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.accuracy.brec_exact import PARTS
from benchmarks.provenance import changes, hashes, recorded, start
from benchmarks.rows import Cell, Column, Row, Table, joined, measured, over, read_result
from benchmarks.tables import drawn, markdown, publish
from benchmarks.training import RUNS
from geqlib.cli.brec import number_ranges
from geqlib.data.graphs.expressivity import graph_pairs
from geqlib.train.brec import BRECSetup, best_seed, complete, read_measurements, totals
from geqlib.train.exact_pairs import compared_with_exact, exactly_separated

NAME, EXACT = "accuracy/brec", "accuracy/brec_exact"
SEEDS = (100, 200, 300, 400, 500, 600, 700, 800, 900, 1000)
PPGN, SPEN = Path("configs/brec_ppgnpp.yaml"), Path("configs/brec_spen.yaml")
WITHOUT = ["--model.init_args.degree=4", "--model.init_args.graph_dim=0", "--transform=null"]
# model -> configuration, changes to it, and the row of exact features that it is compared with
MODELS: dict[str, tuple[Path, list[str], str]] = {
    "PPGN++": (PPGN, WITHOUT, "folklore 2-WL"),
    "PPGN++, Q5, cliques": (PPGN, [], "folklore 2-WL, Q5, cliques"),
    "SPEN, orbit adjacencies": (SPEN, [], "28 orbit adjacencies, 1-WL"),
}
COLUMNS = (
    *(Column(part, f"{part} (of {count})", "", ".0f") for part, count in PARTS.items()),
    Column("pairs", "all (of 400)", "", ".0f"),
    Column("unreliable", "not reliable, in all seeds", "", ".0f"),
    Column("mean", "mean of seeds", "", ".1f"),
    Column("exact", "by exact T²", "", ".0f"),
    Column("seconds", "time a pair", "s", ".1f"),
    Column("mebibytes", "most memory", "MiB", ".0f"),
)
# what `compared_with_exact` lists -> the likely cause
CAUSES = {"lost": "training", "unseen": "features", "won": "beyond"}
LISTS = tuple(Column(part, part) for part in PARTS)


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    rows: list[Row] = []
    lists: list[Row] = []
    for model in options.models:
        row, of_model = learned(model, options.seeds, options.device)
        rows += [row, exact(MODELS[model][2])]
        lists += of_model
    tables = [
        Table(("network",), COLUMNS, tuple(rows), "pairs"),
        Table(("network", "not separated: cause"), LISTS, tuple(lists)),
    ]
    if of_protocol(options.seeds):
        tables = [joined(NAME, table, k) for k, table in enumerate(tables)]
        publish(measured("accuracy/brec", __doc__, tables))
    else:
        sys.stdout.write("\n".join(markdown(*drawn(table)) for table in tables))


def of_protocol(seeds: Sequence[int]) -> bool:
    """Whether seeds are the first of the protocol's, so that nobody chose among them."""
    return len(seeds) > 0 and tuple(seeds) == SEEDS[: len(seeds)]


def learned(model: str, seeds: Sequence[int], device: str) -> tuple[Row, list[Row]]:
    """The row of a network, measured as far as that is missing, and its pairs by cause."""
    name = "-".join("".join(c if c.isalnum() else " " for c in model).lower().split())
    out = RUNS / "brec" / name
    facts = recorded(out, NAME)
    pairs = graph_pairs("BREC")
    numbers = range(len(pairs.pairs))

    def announce(seed: int, number: int, result: object) -> None:
        if number % 20 == 19:
            sys.stderr.write(f"{model}, seed {seed}: {number + 1} of {len(numbers)}\n")

    config, changes, features = MODELS[model]
    complete(BRECSetup(config, changes), pairs, out, numbers, seeds, device, announce)
    every = read_measurements(out, seeds, numbers)
    by_seed = {seed: totals(of_seed, PARTS) for seed, of_seed in every.items()}
    of_best = {k: m.comparison.separated for k, m in every[best_seed(by_seed)].items()}
    in_features = exactly_separated(pairs, numbers, features, out)
    lists = [
        Row((model, cause), cells, **facts) for cause, cells in causes(of_best, in_features).items()
    ]
    row = Row((model,), summed(by_seed), setup=f"{len(seeds)} seeds, {device}", **facts)
    return row, lists


def causes(separated: Mapping[int, bool], exact: Mapping[int, bool]) -> dict[str, dict[str, Cell]]:
    """Likely cause -> category -> numbers of the pairs, as text."""
    lists = compared_with_exact(separated, exact, PARTS)
    return {
        cause: {part: number_ranges(lists[kind].get(part, [])) or "none" for part in PARTS}
        for kind, cause in CAUSES.items()
    }


def summed(by_seed: Mapping[int, Mapping[str, Mapping[str, float | None]]]) -> dict[str, Cell]:
    """Cells of a network: of its best seed, and the mean over seeds."""
    best = by_seed[best_seed(by_seed)]
    cells: dict[str, Cell] = {part: best[part]["real"] or 0 for part in PARTS if part in best}
    every = best["all"]
    real = [float(of_seed["all"]["real"] or 0) for of_seed in by_seed.values()]
    cells |= {"pairs": every["real"] or 0, "mean": over(real)}
    cells["unreliable"] = sum(of_seed["all"]["failures"] or 0 for of_seed in by_seed.values())
    cells |= {"exact": every["separated_exactly"] or 0, "seconds": every["seconds"] or 0}
    if every["mebibytes"] is not None:
        cells["mebibytes"] = every["mebibytes"]
    return cells


def exact(name: str) -> Row:
    """The row of exact features, from the result of their own benchmark."""
    row = read_result(EXACT).tables[0].row(name)
    cells = {key: row.cells[key] for key in (*PARTS, "pairs")}
    fresh = not changes(row.hashes, hashes(EXACT))
    of_row = hashes(NAME) if fresh else row.hashes
    return Row((f"exact: {name}",), cells, stamp=row.stamp, hashes=of_row)


if __name__ == "__main__":
    start(main)
