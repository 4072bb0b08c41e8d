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
import tarfile
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
import yaml
from geqlib.train.record import RunRecord
from safetensors.torch import save_file
from torch import Tensor

import geqlib
from geqlib.cli import main as command
from geqlib.train import Task
from tests.first_edition import checkpoints, commands, configs, describe, instances
from tests.test_public_api import PUBLIC

COMMIT = "12124fa"
FILES = Path(__file__).resolve().parent / "files"
WORK = Path(tempfile.gettempdir()) / "geqlib-first-edition"


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
    os.chdir(WORK)  # so that files name no other folder than it
    raw_data()
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
    folder = emptied("checkpoints")
    for name, content in configs.CHECKPOINTS.items():
        config = WORK / f"{name}.yaml"
        config.write_text(yaml.safe_dump(content))
        supplied = [f"--config={config}", f"--trainer.default_root_dir={name}"]
        geqlib_command("fit", *supplied)
        best = WORK / name / "checkpoints" / "best.ckpt"
        batches: list[dict[str, Any]] = []
        with watched(batches):
            geqlib_command("test", *supplied, f"--ckpt_path={best}")
        inputs = {k: v for k, v in batches[0].items() if isinstance(v, (Tensor, int))}
        # cloned, because tensors of inference mode allow no derivatives
        inputs = {k: v.clone() if isinstance(v, Tensor) else v for k, v in inputs.items()}
        outputs = checkpoints.evaluate(checkpoints.loaded(name, best), inputs)
        tensors = {f"in.{k}": torch.as_tensor(v) for k, v in inputs.items()}
        tensors |= {f"out.{k}": v for k, v in outputs.items()}
        save_file({k: v.contiguous() for k, v in tensors.items()}, folder / f"{name}.safetensors")
        compress(best, folder / f"{name}.ckpt.xz")


def run_folders() -> None:
    """What fit, test and predict leave, and the last checkpoint as it was half way.

    Left out: tensorboard/, whose files name the machine.
    """
    for name, content in configs.FOLDERS.items():
        run, place = WORK / "runs" / name, emptied(f"folders/{name}")
        config = WORK / f"{name}.yaml"
        config.write_text(yaml.safe_dump(content))
        supplied = [f"--config={config}", f"--trainer.default_root_dir=runs/{name}"]
        last, best = (run / "checkpoints" / f"{which}.ckpt" for which in ("last", "best"))
        with copied_half_way(last):
            geqlib_command("fit", *supplied)
        for stage in ("test", "predict"):
            geqlib_command(stage, *supplied, f"--ckpt_path={best}")
        check_resuming(run, supplied[0])
        for path in run.rglob("*"):
            if path.is_file() and "tensorboard" not in path.parts:
                target = place / path.relative_to(run)
                target.parent.mkdir(parents=True, exist_ok=True)
                if path.suffix == ".ckpt":
                    compress(path, target.with_name(f"{target.name}.xz"))
                else:
                    shutil.copy(path, target)


class copied_half_way:  # noqa: N801
    """Keep what last.ckpt is when the third of four epochs begins, as stopped.ckpt."""

    def __init__(self, last: Path) -> None:
        self.last = last

    def __enter__(self) -> None:
        last = self.last

        def copy(callback: Any, trainer: Any, *module: Any) -> None:
            if trainer.current_epoch == 2:
                shutil.copy(last, last.with_name("stopped.ckpt"))

        RunRecord.on_train_epoch_start = copy  # type: ignore[method-assign]

    def __exit__(self, *error: object) -> None:
        del RunRecord.on_train_epoch_start


def check_resuming(run: Path, config: str) -> None:
    """The first edition itself continues to the very same weights."""
    other = WORK / f"resumed-{run.name}"
    stopped = run / "checkpoints" / "stopped.ckpt"
    folder = f"--trainer.default_root_dir={other}"
    geqlib_command("fit", config, folder, f"--ckpt_path={stopped}")
    states = [
        torch.load(place / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for place in (run, other)
    ]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def exports() -> None:
    """Exported potentials, and what the calculator says of two structures."""
    folder, tensors = emptied("exports"), {}
    for name in ("ponita_potential", "gaunt_potential"):
        checkpoint, out = WORK / f"{name}.ckpt", folder / f"{name}.geqlib"
        packed = FILES / "checkpoints" / f"{name}.ckpt.xz"
        checkpoint.write_bytes(lzma.decompress(packed.read_bytes()))
        geqlib_command("export", str(checkpoint), f"--out={out}")
        for number, values in checkpoints.computed(out, FILES / "atoms.xyz").items():
            tensors |= {f"{name}.{number}.{key}": value for key, value in values.items()}
    save_file(tensors, folder / "computed.safetensors")


def caches() -> None:
    """Generated and converted data as they lie in the cache folder."""
    folder = emptied("cache")
    for name in ("nbody", "surfaces", "tu"):
        checkpoints.first_batch(configs.CACHED[name])
        shutil.copytree(WORK / "cache" / name, folder / name)


def helps() -> None:
    """What `--help` says; of training, whose texts are mostly Lightning's, the options alone."""
    folder = emptied("help")
    for arguments in commands.COMMANDS:
        text = commands.help_text(*arguments)
        if arguments and arguments[0] in commands.TRAINING:
            text = "".join(f"{name}\n" for name in commands.options(text))
        (folder / f"{' '.join(arguments) or 'geqlib'}.txt").write_text(text)


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


def emptied(name: str) -> Path:
    folder = FILES / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def compress(path: Path, target: Path) -> None:
    target.write_bytes(lzma.compress(path.read_bytes(), preset=9))


def raw_data() -> None:
    """Made-up molecules and graphs in the layouts of the published files."""
    # of the first edition's tests
    from tests.data import raw_graphs, raw_molecules, raw_qm9
    from tests.train.potential import write_frames

    data = WORK / "data"
    data.mkdir()
    raw_graphs.write(data, "TINY", kinds=3)
    with tarfile.open(FILES / "graphs.tar.xz", "w:xz") as archive:
        for path in sorted(path.relative_to(data) for path in data.rglob("*.txt")):
            about = tarfile.TarInfo(str(path))
            about.size = (data / path).stat().st_size
            with (data / path).open("rb") as file:
                archive.addfile(about, file)
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


PARTS = {
    "names": names,
    "help": helps,
    "states": states,
    "checkpoints": trained,
    "runs": run_folders,
    "exports": exports,
    "cache": caches,
}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1:])
