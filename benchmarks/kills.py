"""Jobs that are killed at random moments, and end as those that were not.

Training (fit, test, predict), the generation of data, a cross-validation and a report are run once
undisturbed. Then each is started anew in an empty folder, killed (SIGKILL) after a random share of
the time from its first checkpoint, array or page to its end, and started again in the same way.
Both must leave the same: weights, states of optimiser and schedule, metrics, predictions, arrays
and pages bit for bit. Of learning curves a kill between a checkpoint and its row of metrics may
lose that one row. A job that ended before the signal came does not count.

python benchmarks/kills.py [--kills 5] [--seed 0]
python benchmarks/kills.py --kills 1 --check    # write no result
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.progress import track
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import provenance
from benchmarks.rows import Column, Row, Table, measured, write_result
from geqlib.cli import main as geqlib
from geqlib.data import MultitaskData, NBodyData, PointCloudData
from geqlib.files.atomic import file_hash
from geqlib.files.checkpoint import read_checkpoint
from geqlib.report.runs import read_history
from geqlib.train.runs.sweep import SweepRun, complete
from tests.data.graphs import raw_graphs
from tests.train import tiny

STATE = ("epoch", "global_step", "state_dict", "current_model_state")
STATE += ("optimizer_states", "lr_schedulers")
COLUMNS = (
    Column("after", "killed after, share of its time", "", ".2f"),
    Column("files", "files by then"),
    Column("wrong", "differences of the result"),
)
EPOCHS = 12
TRIES = 20
# what jobs import while they run; some versions of Python do not import the script's own modules
PRELOADED = ["benchmarks.kills", "geqlib.cli.train", "geqlib.cli.cv", "geqlib.report.page"]
Outcome = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """Something that writes into a folder, goes on where it was stopped, and ends.

    Args:
        run: it, in a process of its own: (folder) -> exit code.
        outcome: (folder) -> what must be the same.
        sign: pattern of the files from the first of which on it is killed.
        prepare: writes what it works on into a folder, in advance.
    """

    run: Callable[[Path], int]
    outcome: Callable[[Path], Outcome]
    sign: str
    prepare: Callable[[Path], object] = lambda folder: None


def train(folder: Path) -> int:
    complete(SweepRun(folder / "run", folder / "tiny.yaml", predict=True))
    return 0


def write_training(folder: Path) -> None:
    settings = tiny.config(EPOCHS)
    del settings["data"]["init_args"]["cache"]
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings))


def trained(folder: Path) -> Outcome:
    return run_outcome(folder / "run")


def generate(folder: Path) -> int:
    for seed in range(3):
        sizes = {"train": 100, "val": 9, "test": 7, "data_seed": seed}
        NBodyData(**sizes, input_frame=3, target_frame=5).prepare_data()
        MultitaskData(train=10, val=5, test=5, starts=(15,), data_seed=seed).prepare_data()
        PointCloudData(train=256, val=16, test=16, points=256, data_seed=seed).prepare_data()
    return 0


def generated(folder: Path) -> Outcome:
    """What has its name; parts that a kill left are not data, and have none."""
    files = [path for path in (folder / "cache").rglob("[!.]*") if path.is_file()]
    return {str(path.relative_to(folder)): file_hash(path) for path in files}


def validate(folder: Path) -> int:
    paths = ["--config", str(folder / "tiny.yaml"), "--out", str(folder / "cv")]
    return geqlib(["cv", *paths, "--folds", "0", "1"])


def write_validation(folder: Path) -> None:
    raw_graphs.write(folder, "TINY", kinds=3, graphs=20)
    net = {"in_channels": 3, "out_channels": 2, "channels": 4, "layers": 1}
    model = {"class_path": "geqlib.models.SPEN", "init_args": net}
    task = {"classes": 2, "model": model}
    data = {"name": "TINY", "hops": 1}
    settings = {
        "monitor": "val/loss",
        "model": {"class_path": "geqlib.train.GraphClassificationTask", "init_args": task},
        "data": {"class_path": "geqlib.data.GraphData", "init_args": data},
        "trainer": {"max_epochs": 4, "accelerator": "cpu"},
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings))


def validated(folder: Path) -> Outcome:
    folds = json.loads((folder / "cv" / "folds.json").read_text())
    shared = {key: folds[key] for key in ("published", "selected", "epochs", "confusion")}
    runs = {run: run_outcome(folder / "cv" / run) for run in ("fold0-seed0", "fold1-seed0")}
    return shared | {f"{run}/{key}": x for run, part in runs.items() for key, x in part.items()}


def report(folder: Path) -> int:
    os.chdir(folder)  # pages name the folder of the run
    return geqlib(["report", "run", "--out", "report"])


def write_reported(folder: Path) -> None:
    write_training(folder)
    finish("training", folder)


def reported(folder: Path) -> Outcome:
    return {path.name: file_hash(path) for path in (folder / "report").glob("[!.]*")}


JOBS = {
    "training": Job(train, trained, "run/checkpoints/*", write_training),
    "data": Job(generate, generated, "said"),  # from the beginning: making them is the work
    "cross-validation": Job(validate, validated, "cv/*/checkpoints/*", write_validation),
    "report": Job(report, reported, "report/*", write_reported),
}


def run_outcome(run: Path) -> Outcome:
    """Checkpoints, curves, metrics and predictions of a training run."""
    outcome: Outcome = {}
    for name in ("last", "best"):
        state = read_checkpoint(run / "checkpoints" / f"{name}.ckpt")
        outcome |= {f"{name}.{key}": digest(state.get(key)) for key in STATE}
    outcome["metrics"] = json.loads((run / "results.json").read_text())["metrics"]
    outcome["predictions"] = file_hash(run / "predictions.safetensors")
    outcome["curves"] = {key: curve.tolist() for key, curve in read_history(run).items()}
    return outcome


def digest(value: Any) -> str:
    """Of nested dictionaries and lists, tensors to their last bit."""
    if isinstance(value, dict):
        value = sorted((str(key), digest(part)) for key, part in value.items())
    elif isinstance(value, (list, tuple)):
        value = [digest(part) for part in value]
    elif isinstance(value, Tensor):
        value = (value.dtype, value.shape, value.contiguous().view(-1).numpy().tobytes())
    return sha256(repr(value).encode()).hexdigest()


def differences(outcome: Outcome, expected: Outcome, kills: int = 1) -> list[str]:
    """What is not the same; of curves one point may be missing for each kill."""
    curves = {key for key in expected if key.rpartition("/")[2] == "curves"}
    others = (expected.keys() | outcome.keys()) - curves
    wrong = [key for key in others if outcome.get(key) != expected.get(key)]
    for key in curves:
        for name, curve in expected[key].items():
            points = outcome.get(key, {}).get(name, [])
            if len(points) < len(curve) - kills or any(point not in curve for point in points):
                wrong.append(f"{key}: {name}")
    return sorted(wrong)


def start(name: str, folder: Path) -> Any:
    """A job in a process that has imported all it needs before."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=work, args=(name, str(folder)))
    process.start()
    return process


def work(name: str, folder: str) -> None:
    os.environ |= {"GEQLIB_DATA": folder, "GEQLIB_CACHE": f"{folder}/cache"}
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    with Path(folder, "said").open("a") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    raise SystemExit(JOBS[name].run(Path(folder)))


def begun(name: str, folder: Path) -> Any:
    """A job that has written its first file."""
    process = start(name, folder)
    while process.is_alive() and not any(folder.glob(JOBS[name].sign)):
        time.sleep(0.002)
    return process


def finish(name: str, folder: Path) -> float:
    """Run a job to its end; how long that took from its first file on."""
    process = begun(name, folder)
    before = time.perf_counter()
    process.join()
    if process.exitcode:
        raise ValueError(f"{name} failed: {(folder / 'said').read_text()[-500:]}")
    return time.perf_counter() - before


def kill(name: str, folder: Path, after: float) -> bool:
    """Start a job and kill it; whether it was still running."""
    process = begun(name, folder)
    process.join(after)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def kill_and_resume(name: str, kills: int, seed: int, place: Path) -> list[dict[str, Any]]:
    """Kill a job that many times, each in a folder of its own below `place`."""
    rng, job = random.Random(f"{name} {seed}"), JOBS[name]
    prepared = place / "prepared"
    prepared.mkdir()
    job.prepare(prepared)
    sound = shutil.copytree(prepared, place / "sound")
    seconds = finish(name, sound)
    expected, killed = job.outcome(sound), []
    if not expected:
        raise ValueError(f"{name} has left nothing that could be compared.")
    for _ in range(kills * TRIES):
        if len(killed) == kills:
            break
        folder = place / f"kill{len(killed)}"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(prepared, folder)
        after = rng.uniform(0, seconds)
        if not kill(name, folder, after):
            continue
        files = sum(path.is_file() for path in folder.rglob("*"))
        finish(name, folder)
        wrong = differences(job.outcome(folder), expected)
        killed.append({"after": after / seconds, "files": files, "wrong": wrong})
    return killed


def table(jobs: dict[str, list[dict[str, Any]]]) -> Table:
    """A row for each kill."""
    rows = [
        Row((name, str(number + 1)), kill | {"wrong": ", ".join(kill["wrong"])})
        for name, kills in jobs.items()
        for number, kill in enumerate(kills)
    ]
    return Table(("job", "kill"), COLUMNS, tuple(rows))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=5, help="of each job")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--check", action="store_true", help="write no result")
    command = parser.parse_args()
    jobs = {}
    for name in track(JOBS, "killing"):
        with tempfile.TemporaryDirectory() as place:
            jobs[name] = kill_and_resume(name, command.kills, command.seed, Path(place))
    if not command.check:
        write_result(measured("kills", __doc__, [table(jobs)]))
    whole = True
    for name, each in jobs.items():
        differ = [kill["wrong"] for kill in each if kill["wrong"]]
        whole = whole and len(each) == command.kills and not differ
        sys.stdout.write(f"{name}: {len(each)} kills, {len(differ)} with another result {differ}\n")
    return 0 if whole else 1


if __name__ == "__main__":
    provenance.start(main)
