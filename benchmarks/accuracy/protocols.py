"""Published protocols, each by one configuration: 3BPA, revised MD17 and QM9.

Protocol: 3bpa trains configs/3bpa_gaunt_published.yaml on 450 / 50 frames of train_300K, and again
of train_mixedT, and tests each on the frames at 300, 600 and 1200 K and along the dihedral angles,
as far as their files are at hand; rmd17 trains configs/rmd17_ponita_published.yaml on each of the
ten molecules, with 950 / 50 frames, tested on the other 99 000; qm9 trains
configs/qm9_ponita_published.yaml on each of the 12 targets, 110 000 / 10 000 molecules, tested on
the rest. The epoch is chosen in validation; seeds {seeds}. How the configurations differ from the
papers is said in each. Published rows: 3BPA is tested at the full sizes, 1669 / 2138 / 2139 / 7047
frames, mean of three runs; the published G of QM9, 0.00863, is taken for eV.

    GEQLIB_DATA=FOLDER python benchmarks/accuracy/protocols.py 3bpa [--seeds 0 1 2]
    GEQLIB_DATA=FOLDER python benchmarks/accuracy/protocols.py rmd17 [--only aspirin ethanol ...]
    GEQLIB_DATA=FOLDER python benchmarks/accuracy/protocols.py qm9 [--only alpha mu ...]

Each run has its folder in runs/protocols; a command that is stopped, or killed, goes on at the last
epoch, and its row is written when it has ended. What --only names can be trained on several
machines with one runs/ folder. With --trial each run makes two steps of two structures and is
tested on two, in a folder of its own, and nothing is written.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Row, Table, joined, measured
from benchmarks.tables import publish
from benchmarks.training import QUIET, RUNS, measured_by, metric, trained
from benchmarks.variants import options as changes_of
from geqlib.data.download import find_file
from geqlib.data.molecules.qm9 import UNITS, Target
from geqlib.train.runs.configuration import read_run

NAME = "accuracy/protocols"
SEEDS = (0,)
TRIAL = {
    "trainer.max_epochs": 1,
    "trainer.check_val_every_n_epoch": 1,
    "trainer.limit_train_batches": 2,
    "trainer.limit_val_batches": 1,
    "trainer.limit_test_batches": 1,
    "data.init_args.batch_size": 2,
    "data.init_args.eval_batch_size": 2,
}
MOLECULES = (
    *("aspirin", "azobenzene", "benzene", "ethanol", "malonaldehyde"),
    *("naphthalene", "paracetamol", "salicylic", "toluene", "uracil"),
)


@dataclass(frozen=True)
class Protocol:
    """A configuration, what is trained by it, and what was published.

    Args:
        config: configuration.
        model: title of its rows.
        runs: name -> changes to the configuration.
        tests: name -> candidates of the file, of which the first at hand is taken; None for the
            test of the data itself.
        labels: of the table: of the runs, and of the tests if there are several.
        columns: of the table, by the metrics of the test.
        published: (run, test, model, source) -> values by column, as in the papers.
    """

    config: Path
    model: str
    runs: Mapping[str, Mapping[str, object]]
    tests: Mapping[str, tuple[str, ...] | None]
    labels: tuple[str, ...]
    columns: tuple[Column, ...]
    published: Mapping[tuple[str, str, str, str], tuple[float, ...]]


ENERGIES = (
    Column("test/energy_rmse", "energy RMSE", "meV", ".1f"),
    Column("test/forces_rmse", "force RMSE", "meV/Å", ".1f"),
)
MEANS = (
    Column("test/energy_mae", "energy MAE", "meV", ".2f"),
    Column("test/forces_mae", "force MAE", "meV/Å", ".1f"),
)
LUO, BATATIA = "Luo et al. 2024", "Batatia et al. 2022"
BEKKERS, BATZNER = "Bekkers et al. 2024", "Batzner et al. 2022, in Bekkers et al. 2024"
# energy and force RMSE, of networks trained at 300 K
OF_3BPA = {
    ("MACE-Gaunt", LUO): ((2.9, 9.2), (10.6, 22.2), (30.4, 63.1), (9.9, 17.7)),
    ("MACE", BATATIA): ((3.0, 8.8), (9.7, 21.8), (29.8, 62.0), (7.8, 16.5)),
    ("BOTNet", BATATIA): ((3.1, 11.0), (11.5, 26.7), (39.1, 81.1), (16.3, 20.0)),
    ("NequIP", BATATIA): ((3.3, 10.8), (11.2, 26.4), (38.5, 76.2)),
}
TESTS_3BPA = {
    "300 K": ("3bpa/test_300K.xyz.xz", "3bpa/test_300K.xyz"),
    "600 K": ("3bpa/test_600K.xyz.xz", "3bpa/test_600K.xyz"),
    "1200 K": ("3bpa/test_1200K.xyz.xz", "3bpa/test_1200K.xyz"),
    "dihedral": ("3bpa/test_dih.xyz.xz", "3bpa/test_dih.xyz"),
}
# in the order of MOLECULES
OF_RMD17 = {
    ("PONITA", BEKKERS): (
        (1.7, 0.7, 0.17, 0.4, 0.6, 0.3, 1.1, 0.7, 0.3, 0.4),
        (5.8, 2.3, 0.3, 2.5, 4.0, 1.3, 4.3, 3.3, 1.3, 2.4),
    ),
    ("PONITA, positions alone", BEKKERS): (
        (4.7, 3.2, 0.2, 0.7, 0.9, 1.1, 2.8, 1.7, 0.6, 0.9),
        (16.3, 12.2, 0.4, 4.1, 5.1, 5.6, 11.4, 8.6, 3.4, 5.6),
    ),
    ("NequIP", BATZNER): (
        (2.3, 0.7, 0.04, 0.4, 0.8, 0.2, 1.4, 0.7, 0.3, 0.4),
        (8.2, 2.9, 0.3, 2.8, 5.1, 1.3, 5.9, 4.0, 1.6, 3.1),
    ),
}
TARGETS: tuple[str, ...] = get_args(Target)
# in the order of TARGETS: mu, alpha, homo, lumo, gap, r2, zpve, U0, U, H, G, Cv
OF_QM9 = {
    "PONITA": (0.0121, 0.0375, 16.0, 14.5, 30.4, 0.235, 1.29, 8.31, 8.67, 8.04, 8.63, 0.0242),
    "PONITA, positions alone": (
        *(0.0207, 0.0602, 26.1, 21.9, 43.4, 0.149, 1.53, 10.71, 10.63, 11.00, 11.2, 0.0307),
    ),
}


def of_targets() -> dict[tuple[str, str, str, str], tuple[float, ...]]:
    return {
        (unit_of(target), "", model, BEKKERS): (error,)
        for model, errors in OF_QM9.items()
        for target, error in zip(TARGETS, errors, strict=True)
    }


def unit_of(target: str) -> str:
    """A target with its unit, as it is called in the table."""
    return f"{target}, {UNITS.get(target, 'meV')}"


RMD17 = Path("configs/rmd17_ponita_published.yaml")
PROTOCOLS = {
    "3bpa": Protocol(
        Path("configs/3bpa_gaunt_published.yaml"),
        "geqlib GauntNet",
        {"300 K": {}, "mixed": {"data.init_args.train": "3bpa/train_mixedT.xyz.xz"}},
        TESTS_3BPA,
        ("trained at", "3BPA at", "model"),
        ENERGIES,
        {
            ("300 K", test, *model): errors
            for model, rows in OF_3BPA.items()
            for test, errors in zip(TESTS_3BPA, rows, strict=False)
        },
    ),
    "rmd17": Protocol(
        RMD17,
        "geqlib PONITA",
        {name: {} if name == "aspirin" else changes_of(RMD17, name) for name in MOLECULES},
        {"": None},
        ("revised MD17", "model"),
        MEANS,
        {
            (molecule, "", *model): errors
            for model, rows in OF_RMD17.items()
            for molecule, errors in zip(MOLECULES, zip(*rows, strict=True), strict=True)
        },
    ),
    "qm9": Protocol(
        Path("configs/qm9_ponita_published.yaml"),
        "geqlib PONITA",
        {unit_of(target): {"data.init_args.target": target} for target in TARGETS},
        {"": None},
        ("QM9", "model"),
        (Column("test/mae", "test MAE", "", ".3g"),),
        of_targets(),
    ),
}


def main() -> None:
    command = _arguments()
    names = [command.protocol] if command.protocol else list(PROTOCOLS)
    for name in names:
        for run in chosen(PROTOCOLS[name], command.only):
            if missing := missing_data(PROTOCOLS[name], run):
                sys.stdout.write(f"{name}, {run} is left out: {missing}\n")
                continue
            for row in measure(name, run, command.seeds, trial=command.trial):
                if command.trial:
                    sys.stdout.write(f"{name}: {row.labels} runs\n")
                else:
                    write_row(name, row)


def chosen(protocol: Protocol, only: list[str] | None) -> list[str]:
    """Runs of a protocol, all or some by the first word of their names.

    Raises:
        ValueError: for a name of none.
    """
    words = {run.split(",")[0]: run for run in protocol.runs}
    unknown = next((name for name in only or () if name not in words), None)
    if unknown is not None:
        raise ValueError(f"--only {unknown} is none of {', '.join(words)}: name some of these.")
    return list(words.values()) if only is None else [words[name] for name in only]


def missing_data(protocol: Protocol, run: str) -> str | None:
    """What is said of files that are not at hand; None if there are all."""
    try:
        read_run(protocol.config, dict(protocol.runs[run])).data.prepare_data()
        for value in protocol.runs[run].values():
            if str(value).startswith("3bpa/") and find_file(str(value)) is None:
                return f"there is no {value} in the folder GEQLIB_DATA"
    except ValueError as error:
        return str(error)
    return None


def measure(name: str, run: str, seeds: list[int], *, trial: bool = False) -> list[Row]:
    """The rows of a run, one for each test whose file is at hand; trains what is missing."""
    protocol = PROTOCOLS[name]
    word = run.split(",")[0].replace(" ", "")
    top = RUNS / ("protocols-trial" if trial else "protocols")
    options = QUIET | dict(protocol.runs[run]) | (TRIAL if trial else {})
    folders = [top / f"{name}-{word}-seed{seed}" for seed in seeds]
    rows = []
    for test, candidates in protocol.tests.items():
        changes = {} if candidates is None else _tested(candidates)
        if changes is None:
            sys.stdout.write(f"{name}: no frames at {test}, no {candidates[-1]}\n")  # type: ignore
            continue
        results = [
            trained(folder, protocol.config, options, seed, changes)
            for folder, seed in zip(folders, seeds, strict=True)
        ]
        # results of a test of its own do not hold how the run was trained
        fit = json.loads((folders[0] / "fit.json").read_text())
        rows.append(own_row(protocol, run, test, results, fit))
    return rows


def _tested(candidates: tuple[str, ...]) -> dict[str, str] | None:
    path = next((path for path in candidates if find_file(path) is not None), None)
    return None if path is None else {"data.init_args.test": path}


def own_row(
    protocol: Protocol, run: str, test: str, results: list[dict[str, Any]], fit: dict[str, Any]
) -> Row:
    cells: dict[str, Cell] = {
        column.key: metric(results, column.key) for column in protocol.columns
    }
    cells |= {"parameters": fit["parameters"], "epochs": fit["epochs"]}
    setup = f"{fit['epochs']} epochs, {len(results)} seed{'s' * (len(results) > 1)}"
    labels = (run, test, protocol.model) if test else (run, protocol.model)
    return replace(Row(labels, cells, "geqlib", setup), **measured_by(results))


def published_rows(protocol: Protocol) -> list[Row]:
    return [
        Row(
            (run, test, model) if test else (run, model),
            dict(zip((column.key for column in protocol.columns), values, strict=True)),
            "published",
            source=source,
        )
        for (run, test, model, source), values in protocol.published.items()
    ]


def table_of(name: str, row: Row | None = None) -> Table:
    """The rows that were measured, with one more, above the published ones of each run."""
    protocol = PROTOCOLS[name]
    empty = Table(protocol.labels, protocol.columns, () if row is None else (row,))
    own = list(joined(NAME, empty, list(PROTOCOLS).index(name)).rows)
    order: list[tuple[str, ...]] = [key[:2] if key[1] else key[:1] for key in protocol.published]
    order += [(run, test) if test else (run,) for run in protocol.runs for test in protocol.tests]
    rows = sorted([*own, *published_rows(protocol)], key=lambda r: order.index(r.labels[:-1]))
    return replace(empty, rows=tuple(rows))


def write_row(name: str, row: Row) -> None:
    """Add a row to the result file, or replace that of the same run and test."""
    tables = [table_of(other, row if other == name else None) for other in PROTOCOLS]
    publish(measured(NAME, __doc__, tables))


def _arguments() -> Namespace:
    parser = ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("protocol", nargs="?", choices=list(PROTOCOLS), help="all by default")
    parser.add_argument("--only", nargs="+", help="runs: molecules, targets, or training sets")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--trial", action="store_true", help="two steps of each run")
    command = parser.parse_args()
    if command.only is not None and command.protocol is None:
        parser.error("--only needs a protocol: 3bpa, rmd17 or qm9")
    return command


if __name__ == "__main__":
    start(main)
