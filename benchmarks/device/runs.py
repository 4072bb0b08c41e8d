"""Training on a GPU by published protocols, a number of minutes at a time.

    python benchmarks/gpu.py 3bpa --minutes 10              # train, or go on
    python benchmarks/gpu.py 3bpa --minutes 10 --change model.init_args.lr=5e-3
    python benchmarks/gpu.py 3bpa --test                    # the best recipe, once

A recipe is the protocol's configuration with changes, and has a folder of its own in runs/, in
which training goes on exactly where it stopped. Recipes are compared by validation alone. --test
measures the one of least validation error on the test frames, after which no other one is tested.
"""

from __future__ import annotations

import json
import re
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import lightning as L
import torch

from benchmarks import provenance
from benchmarks.rows import Cell, Column, Row, Table, joined, measured, write_result
from benchmarks.tables import to_markdown
from benchmarks.training import RUNS, least
from geqlib.files.atomic import replace_file
from geqlib.train.run import fit, test
from geqlib.train.runs.configuration import read_run

GAUNT = "model.init_args.model.init_args"


@dataclass(frozen=True)
class Protocol:
    """A published protocol.

    Args:
        about: title, and what is published.
        config: configuration.
        changes: to it, by dotted name.
        metric: of validation, which chooses epoch and recipe.
        tests: name -> changes for the test.
        columns: of the table, beside those of all.
        published: name -> cells and source.
    """

    about: str
    config: Path
    changes: Mapping[str, object]
    metric: str
    tests: Mapping[str, Mapping[str, object]]
    columns: tuple[Column, ...]
    published: Mapping[str, tuple[Mapping[str, float], str]] = field(default_factory=dict)


PROTOCOLS = {
    "3bpa": Protocol(
        "The published 3BPA protocol on one GPU.\n\nProtocol: 450 / 50 frames of train_300K, batch "
        "5, GauntNet with 128 channels, weights averaged with decay 0.99; recipes are compared by "
        "the force error on the validation frames, and one of them is tested, once. Minutes are "
        "those of training, validation included.",
        Path("configs/3bpa_gaunt.yaml"),
        {f"{GAUNT}.channels": 128, "trainer.max_epochs": 200},
        "val/forces_rmse",
        {"300 K": {}, "mixed": {"data.init_args.test": "3bpa/train_mixedT.xyz.xz"}},
        (
            Column("test/energy_rmse, 300 K", "energy RMSE at 300 K", "meV", ".1f"),
            Column("test/forces_rmse, 300 K", "force RMSE at 300 K", "meV/Å", ".1f"),
            Column("test/energy_rmse, mixed", "energy RMSE, mixed", "meV", ".1f"),
            Column("test/forces_rmse, mixed", "force RMSE, mixed", "meV/Å", ".1f"),
        ),
        {
            "MACE": (
                {"test/energy_rmse, 300 K": 3.0, "test/forces_rmse, 300 K": 8.8},
                "Batatia et al. 2022",
            ),
            "MACE-Gaunt": (
                {"test/energy_rmse, 300 K": 2.9, "test/forces_rmse, 300 K": 9.2},
                "Luo et al. 2024",
            ),
        },
    ),
    "nbody": Protocol(
        "The published n-body protocol of PONITA on one GPU.\n\nProtocol: "
        "configs/nbody_ponita_published.yaml, 10 000 epochs of 30 steps; recipes are compared by "
        "validation, and one of them is tested, once. Minutes are those of training, validation "
        "included.",
        Path("configs/nbody_ponita_published.yaml"),
        {},
        "val/mse",
        {"": {}},
        (Column("test/mse", "test MSE", "", "error"),),
        {
            "PONITA": ({"test/mse": 0.0043}, "Bekkers et al. 2024"),
            "Multivector Neurons": ({"test/mse": 0.0035}, "Liu, Ruhe and Forré 2024"),
        },
    ),
}
COLUMNS = (
    Column("validation", "least validation error", "", ".4g"),
    Column("epochs", "epochs"),
    Column("of", "of"),
    Column("minutes", "minutes", "", ".1f"),
    Column("rate", "steps per second", "", ".1f"),
)


class StopAfter(L.Callback):
    """Ends training after an epoch, when its minutes are over; it can be resumed.

    Args:
        seconds: from the start of training.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self.end, self.epoch = seconds, 0.0, 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.epoch = time.monotonic()
        self.end = self.epoch + self.seconds

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        now = time.monotonic()
        longest, self.epoch = now - self.epoch, now
        if now + longest > self.end:  # the next epoch would not end in time
            trainer.should_stop = True


def main(words: Sequence[str]) -> int:
    options = arguments(words)
    protocol = PROTOCOLS[options.protocol]
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            "This machine has no CUDA device that torch can use: start it where there is one, or "
            "with --device cpu, which takes days."
        )
    try:
        if options.test:
            row = tested(options.protocol, protocol, options.device)
        else:
            row = trained(options.protocol, protocol, options)
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from error
    publish(options.protocol, protocol, row)
    return 0


def arguments(words: Sequence[str]) -> Namespace:
    parser = ArgumentParser(
        description=(__doc__ or "").split("\n")[0],
        epilog="Recipes differ by --change, such as trainer.max_epochs=400.",
    )
    parser.add_argument("protocol", choices=PROTOCOLS)
    parser.add_argument("--minutes", type=float, default=10.0, help="of this call")
    parser.add_argument("--change", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--test", action="store_true", help="test the best recipe, once")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    return parser.parse_args(words)


def trained(name: str, protocol: Protocol, options: Namespace) -> Row:
    """Train a recipe for some minutes, from where it stopped."""
    changes = dict(protocol.changes) | dict(parted(change) for change in options.change)
    folder = recipe_folder(name, options.change)
    folder.mkdir(parents=True, exist_ok=True)
    note = {"label": label(options.change), "changes": changes}
    (folder / "recipe.json").write_text(json.dumps(note, indent=1))
    whole = overrides(folder, changes, options.device)
    last = folder / "checkpoints" / "last.ckpt"
    run = read_run(protocol.config, whole)
    if not finished(folder, run.trainer):
        run.callbacks = [*run.callbacks, StopAfter(60 * options.minutes)]
        resumed = last if last.exists() else None
        fit(run, ckpt_path=resumed, overwrite=resumed is None)
    return row_of(folder, protocol, run.trainer)


def tested(name: str, protocol: Protocol, device: str) -> Row:
    """Test the recipe of least validation error; read it if that was done before.

    Raises:
        ValueError: if nothing is trained.
    """
    choice = RUNS / f"gpu-{name}" / "tested.json"
    if choice.exists():
        folder = choice.parent / json.loads(choice.read_text())["folder"]
    else:
        folder = best_recipe(name, protocol)
        text = json.dumps({"folder": folder.name})
        replace_file(choice, lambda part: part.write_text(text))
    changes = json.loads((folder / "recipe.json").read_text())["changes"]
    metrics: dict[str, float] = {}
    for frames, extra in protocol.tests.items():
        place = folder / frames.replace(" ", "") if frames else folder
        results = place / "results.json"
        if not results.exists():
            whole = overrides(place, changes | dict(extra), device)
            test(protocol.config, folder / "checkpoints" / "best.ckpt", whole)
        of_part = json.loads(results.read_text())["metrics"]
        metrics |= {f"{key}, {frames}" if frames else key: x for key, x in of_part.items()}
    row = row_of(folder, protocol, read_run(protocol.config, overrides(folder, changes)).trainer)
    return Row(row.labels, dict(row.cells) | metrics, setup=row.setup)


def best_recipe(name: str, protocol: Protocol) -> Path:
    """The folder of least validation error."""
    folders = [path.parent for path in sorted((RUNS / f"gpu-{name}").glob("*/fit.json"))]
    errors: dict[Path, float] = {}
    for folder in folders:
        with suppress(ValueError):  # it stopped before its first validation
            errors[folder] = least(folder, protocol.metric)
    if not errors:
        raise ValueError(
            f"No recipe has been validated: start benchmarks/gpu.py {name} without --test."
        )
    return min(errors, key=lambda folder: errors[folder])


def row_of(folder: Path, protocol: Protocol, trainer: Mapping[str, Any]) -> Row:
    """What validation says of a recipe."""
    done = json.loads((folder / "fit.json").read_text())
    cells: dict[str, Cell] = {
        "epochs": done["epochs"],
        "of": int(trainer["max_epochs"]),
        "minutes": done["seconds"] / 60,
        "rate": done["steps"] / max(done["seconds"], 1e-9),
        "parameters": done["parameters"],
    }
    with suppress(ValueError):  # it stopped before its first validation
        cells["validation"] = least(folder, protocol.metric)
    name = json.loads((folder / "recipe.json").read_text())["label"]
    return Row((name,), cells, setup=device_words())


def publish(name: str, protocol: Protocol, row: Row) -> None:
    """Write benchmarks/results/gpu/NAME.json with this row in the place of its former one."""
    from rich.console import Console
    from rich.markdown import Markdown

    columns = (*COLUMNS, *protocol.columns)
    table = joined(f"gpu/{name}", Table(("recipe",), columns, (row,), "validation"))
    published = tuple(
        Row((paper,), cells, "published", source=source)
        for paper, (cells, source) in protocol.published.items()
    )
    table = Table(table.heads, columns, (*table.rows, *published), "validation")
    result = measured(f"gpu/{name}", protocol.about, [table])
    path = write_result(result)
    Console().print(Markdown(to_markdown(result)))
    Console().print(f"wrote {path}", highlight=False)


def overrides(folder: Path, changes: Mapping[str, object], device: str = "cpu") -> dict[str, Any]:
    own: dict[str, object] = {
        "trainer.default_root_dir": str(folder),
        "trainer.enable_progress_bar": False,
        "trainer.accelerator": "gpu" if device == "cuda" else "cpu",
        "trainer.devices": 1,
    }
    return dict(changes) | own


def finished(folder: Path, trainer: Mapping[str, Any]) -> bool:
    path = folder / "fit.json"
    return path.exists() and json.loads(path.read_text())["epochs"] >= int(trainer["max_epochs"])


def recipe_folder(name: str, changes: Sequence[str]) -> Path:
    words = re.sub(r"[^\w.=-]", "_", label(changes)).strip("_")
    if len(words) > 80:
        words = f"{words[:60]}-{sha256(label(changes).encode()).hexdigest()[:8]}"
    return RUNS / f"gpu-{name}" / words


def label(changes: Sequence[str]) -> str:
    """Names of the last parts of the keys are enough to tell recipes apart."""
    parts = (parted(change) for change in sorted(changes))
    return ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in parts) or "default"


def parted(change: str) -> tuple[str, str]:
    key, sign, value = change.partition("=")
    if not sign:
        raise ValueError(f"--change {change} must be KEY=VALUE, such as trainer.max_epochs=400.")
    return key, value


def device_words() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else provenance.machine()
