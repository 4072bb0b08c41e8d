"""Write the files beside this script: what the first edition of geqlib wrote, and what it offers.

Run with the first edition (commit 12124fa) on the path, ahead of this repository:

    git worktree add ../first 12124fa
    PYTHONPATH=../first:. OMP_NUM_THREADS=1 python -P -m tests.first_edition.make

or with the names of some parts at the end: names, checkpoints, ... It refuses to run with another
edition: files that a later one writes prove nothing about the first.
"""

from __future__ import annotations

import json
import lzma
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

import geqlib
from geqlib.cli import main as command
from geqlib.train import Task
from tests.data import raw_graphs, raw_molecules, raw_qm9
from tests.first_edition import checkpoints, configs, describe, instances
from tests.test_public_api import PUBLIC
from tests.train.potential import write_frames

COMMIT = "12124fa"
FILES = Path(__file__).parent / "files"
WORK = Path("/tmp/geqlib-first-edition")


def main(chosen: list[str]) -> None:
    check_edition()
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir()
    os.environ |= {
        "GEQLIB_CACHE": str(WORK / "cache"),
        "GEQLIB_DATA": str(WORK / "data"),
        "GEQLIB_OFFLINE": "1",
        "GEQLIB_GAUNT_METHOD": "separable",  # what a machine may have measured
    }
    for name, make in PARTS.items():
        if not chosen or name in chosen:
            make()
    for path in FILES.rglob("*.safetensors"):
        path.chmod(0o644)


def check_edition() -> None:
    folder = Path(geqlib.__file__).parent
    difference = ["git", "-C", str(folder), "diff", "--quiet", COMMIT, "--", "."]
    if subprocess.run(difference, check=False).returncode:
        raise SystemExit(f"{folder} is not that of commit {COMMIT}: put that on PYTHONPATH.")


def names() -> None:
    """Import paths, and signatures of public names."""
    defined = {module: describe.defined_names(module) for module in describe.modules("geqlib")}
    write_json("import_paths", defined)
    write_json("signatures", describe.public_signatures(PUBLIC))


def trained() -> None:
    """For each model a checkpoint of `geqlib fit`, a batch, and what the model makes of it."""
    raw_data()
    folder = FILES / "checkpoints"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in configs.RUNS.items():
        config = WORK / f"{name}.yaml"
        config.write_text(yaml.safe_dump(content))
        given = [f"--config={config}", f"--trainer.default_root_dir={WORK / name}"]
        geqlib_command("fit", *given)
        best = WORK / name / "checkpoints" / "best.ckpt"
        batches: list[dict[str, Any]] = []
        with watched(batches):
            geqlib_command("test", *given, f"--ckpt_path={best}")
        inputs = {k: v for k, v in batches[0].items() if isinstance(v, (Tensor, int))}
        # cloned, because tensors of inference mode allow no derivatives
        inputs = {k: v.clone() if isinstance(v, Tensor) else v for k, v in inputs.items()}
        outputs = checkpoints.evaluate(checkpoints.loaded(name, best), inputs)
        tensors = {f"in.{k}": torch.as_tensor(v) for k, v in inputs.items()}
        tensors |= {f"out.{k}": v for k, v in outputs.items()}
        save_file({k: v.contiguous() for k, v in tensors.items()}, folder / f"{name}.safetensors")
        (folder / f"{name}.ckpt.xz").write_bytes(lzma.compress(best.read_bytes(), preset=9))


def states() -> None:
    """Keys and shapes of state dicts, what is stored in buffers, and what comes out."""
    described, tensors = {}, {}
    for name, instance in instances.INSTANCES.items():
        module = instance.build()
        state = instances.filled(module)
        learnt = {key for key, _ in module.named_parameters(remove_duplicate=False)}
        described[name] = {
            key: [*value.shape] if key in learnt else "stored" for key, value in state.items()
        }
        tensors |= {f"{name}/{k}": v.clone() for k, v in state.items() if k not in learnt}
        module.load_state_dict(state)
        outputs = instances.results(name, module)
        tensors |= {f"{name}/out.{k}": v.contiguous() for k, v in outputs.items()}
    write_json("states", described)
    save_file(tensors, FILES / "states.safetensors")


class watched:  # noqa: N801
    """Collect what tasks give to their models while testing."""

    def __init__(self, batches: list[dict[str, Any]]) -> None:
        self.batches = batches

    def __enter__(self) -> None:
        self.before, batches = Task.on_test_batch_start, self.batches

        def collect(task: Any, batch: Any, *place: int) -> None:
            named = {key: getattr(batch, key, None) for key in task._wanted}
            batches.append({key: value for key, value in named.items() if value is not None})

        Task.on_test_batch_start = collect  # type: ignore[method-assign]

    def __exit__(self, *error: object) -> None:
        Task.on_test_batch_start = self.before  # type: ignore[method-assign]


def raw_data() -> None:
    """Made-up molecules and graphs in the layouts of the published files."""
    data = WORK / "data"
    data.mkdir()
    raw_graphs.write(data, "TINY", kinds=3)
    raw_molecules.write(data)
    raw_qm9.write_npz(data)
    write_frames(FILES / "atoms.xyz", 16)
    shutil.copy(FILES / "atoms.xyz", data)


def geqlib_command(*arguments: str) -> None:
    if command(list(arguments)):
        raise SystemExit(f"geqlib {' '.join(arguments)} failed")


def write_json(name: str, content: Any) -> None:
    """One line for each entry."""
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in content.items()]
    (FILES / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


PARTS = {"names": names, "states": states, "checkpoints": trained}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1:])
