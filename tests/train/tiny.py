"""Training runs that take a second, with everything random switched on."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import yaml

from geqlib.cli import main

EPOCHS = 4


@functools.cache
def cache_folder() -> str:
    """One cache of generated simulations for all tests of a session."""
    folder = tempfile.mkdtemp(prefix="geqlib-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def config(epochs: int = EPOCHS) -> dict[str, Any]:
    """A small PONITA with dropout, augmentation and averaged weights, on short simulations."""
    net = {"in_scalars": 1, "in_vectors": 1, "out_scalars": 0, "out_vectors": 1}
    small = {"channels": 4, "layers": 1, "orientations": 4, "dropout": 0.2}
    model = {"class_path": "geqlib.models.PONITA", "init_args": net | small}
    recipe = {"lr": 3e-3, "loss": "rmse", "conjugate": True, "rotate": True}
    sizes = {"train": 100, "val": 9, "test": 7, "batch_size": 32}
    frames = {"input_frame": 3, "target_frame": 5, "cache": cache_folder()}
    return {
        "ema": 0.9,
        "model": {
            "class_path": "geqlib.train.DisplacementTask",
            "init_args": recipe | {"model": model},
        },
        "data": {"class_path": "geqlib.data.NBodyData", "init_args": sizes | frames},
        "trainer": {"max_epochs": epochs, "accelerator": "cpu", "enable_progress_bar": False},
    }


def command(name: str, run: Path, *options: object, epochs: int = EPOCHS) -> list[str]:
    """Arguments of `geqlib NAME` for a run in the folder `run`."""
    path = run.with_name(f"{run.name}.yaml")
    path.write_text(yaml.safe_dump(config(epochs)))
    place = ["--trainer.default_root_dir", str(run)]
    return [name, "--config", str(path), *place, *map(str, options)]


def geqlib(arguments: list[str]) -> int:
    """`geqlib ARGUMENTS` in this process; of the warnings only those that a user would see."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        return main(arguments)
