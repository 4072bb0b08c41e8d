"""Every workload on a GPU, ours and peers in the same run, after a check that results are right.

    python benchmarks/gpu.py [--minutes 5]           # on a CUDA device
    python benchmarks/gpu.py --device cpu            # tiny versions of all stages
    python benchmarks/gpu.py --stages parity ponita  # some of them
    python benchmarks/gpu.py 3bpa --minutes 10       # training by published protocols, which the
    python benchmarks/gpu.py nbody --minutes 10      # same command continues: see --help

Stages go in the order of their value, each for a share of the minutes at most, and write
benchmarks/results/gpu/STAGE.json line by line. They run in a process of their own; one that fails,
hangs or is cut off costs itself alone, and its file, if it has begun one, says why. Peers that are
not installed are skipped by name (`make peers`, and on a GPU `make gpu-peers`). The exit code is 1
if a stage has failed, or if the parity gate, where it is among the stages, did not say that all
cases are right.

It runs from the repository, installed or not, without a network: beside geqlib's own dependencies
(pyproject.toml) the parity gate needs pytest and hypothesis, molecular dynamics ASE, and training
by published protocols the extra "train". A stage whose package is missing is skipped by name.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import provenance
from benchmarks.device.contest import DeadDeviceError, Setting
from benchmarks.device.stages import STAGES, Stage
from benchmarks.device.timing import Clock, OutOfTimeError, missing_package, reason
from benchmarks.provenance import start
from benchmarks.rows import Result, Row, Table, read_result, write_result

MINUTES = 5.0
EVERY = 1.0  # seconds, at most, between two writings of a file
GRACE = 15.0  # seconds that a stage has beyond its time before its process is ended
DONE, RUNNING, CUT, NOT_BEGUN = "done", "running", "cut off", "not begun"
SKIPPED = "skipped"
NO_GPU = (
    "This machine has no CUDA device that torch can use: start benchmarks/gpu.py where there is "
    "one, or with --device cpu for tiny versions of every stage."
)


@dataclass(frozen=True)
class Session:
    """One call of the script.

    Args:
        name: that tells its files from those of earlier calls.
        device: that is measured.
        tiny: whether sizes are small.
        end: by the monotonic clock, which all processes of a machine share.
        minutes: in all.
    """

    name: str
    device: torch.device
    tiny: bool
    end: float
    minutes: float

    def clock(self, stage: Stage) -> Clock:
        now = time.monotonic()
        return Clock(min(now + 60 * self.minutes * stage.share, self.end))

    def setting(self, stage: Stage) -> Setting:
        # a contest times each of its two forms for a hundredth of all
        seconds = 0.0 if self.tiny else min(2.0, 0.6 * self.minutes)
        return Setting(self.device, self.tiny, self.clock(stage), seconds)


def main() -> int:
    if sys.argv[1:2] and sys.argv[1] in ("3bpa", "nbody"):
        try:
            from benchmarks.device.runs import main as train
        except ModuleNotFoundError as error:
            if not missing_package(error):
                raise
            raise SystemExit(f"Training needs a package: {reason(error)}.") from error
        return train(sys.argv[1:])
    options = arguments(sys.argv[1:])
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit(NO_GPU)
    tiny = options.tiny or device.type == "cpu"
    end = options.end or time.monotonic() + 60 * options.minutes
    name = options.session or time.strftime("%Y-%m-%d %H:%M:%S")
    session = Session(name, device, tiny, end, options.minutes)
    if options.worker:
        work(session, options.stages)
        return 0
    outcomes = supervise(session, options.stages)
    show(outcomes)
    return int(failed(outcomes))


def failed(outcomes: Mapping[str, str]) -> bool:
    """Whether a stage went wrong, or the parity gate is open.

    Args:
        outcomes: how each stage ended.
    """
    harmless = (DONE, CUT, NOT_BEGUN, SKIPPED)
    return outcomes.get("parity", DONE) != DONE or any(
        not over.startswith(harmless) for over in outcomes.values()
    )


def arguments(words: Sequence[str]) -> Namespace:
    parser = ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, ... or cpu")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of all stages together")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--tiny", action="store_true", help="tiny versions on a GPU, too")
    # of the process that the stages run in
    parser.add_argument("--worker", action="store_true", help="run the stages in this process")
    parser.add_argument("--session", default="", help="name of the call that a worker belongs to")
    parser.add_argument("--end", type=float, default=0.0, help="when it ends, monotonic seconds")
    return parser.parse_args(words)


# --- the process that measures ----------------------------------------------------------------


def work(session: Session, names: Sequence[str]) -> None:
    """Measure one stage after the other; say so in lines of JSON."""
    for name in names:
        if time.monotonic() >= session.end:
            return
        say(name, RUNNING)
        state = measure(session, name, STAGES[name])
        say(name, state)
        if state.startswith(DeadDeviceError.__name__):
            return  # a fresh process goes on


def measure(session: Session, name: str, stage: Stage) -> str:
    """Measure a stage and write its file, line by line; returns how it ended."""
    rows: list[Row] = []
    state, begun = DONE, time.perf_counter()
    write(session, name, stage, rows, RUNNING, 0.0)
    written = begun
    try:
        for row in stage.rows(session.setting(stage)):
            rows.append(row)
            if time.perf_counter() > written + EVERY:
                write(session, name, stage, rows, RUNNING, time.perf_counter() - begun)
                written = time.perf_counter()
    except OutOfTimeError as error:
        state = str(error)
    except Exception as error:
        skipped = f"{SKIPPED}: " if missing_package(error) else ""
        state = skipped + reason(error)
    if name == "parity" and (wrong := [row.labels[0] for row in rows if is_wrong(row)]):
        state = f"wrong: {'; '.join(wrong)}"
    write(session, name, stage, rows, state, time.perf_counter() - begun)
    return state


def is_wrong(row: Row) -> bool:
    return row.cells.get("verdict") != "right"


def write(
    session: Session, name: str, stage: Stage, rows: Sequence[Row], state: str, seconds: float
) -> None:
    """Write the file of a stage."""
    gate = state if name == "parity" else gate_state(session)
    settings = {
        "state": state,
        "session": session.name,
        "parity": gate,
        "device": device_name(session.device),
        "tiny": session.tiny,
        "minutes": session.minutes,
    }
    own = "" if state == DONE else f"Not complete ({state}). "
    note = own + ("" if gate == DONE else f"Parity gate: {gate}.")
    main = "eager" if any("eager" in row.cells for row in rows) else ""
    table = Table(stage.heads, stage.columns(session.device.type == "cuda"), (), main, note.strip())
    present = measured_with(name)
    stamp = f"{present['stamp']}, {settings['device']}"
    stamped = tuple(replace(row, stamp=stamp, hashes=present["hashes"]) for row in rows)
    table = replace(table, rows=stamped)
    write_result(
        Result(
            name=f"gpu/{name}",
            title=stage.title,
            protocol=f"Protocol: {stage.protocol}.",
            tables=(table,),
            settings=settings,
            environment=versions(session.device),
            options=tuple(word for word in sys.argv[1:] if not word.startswith("--end")),
            wall_seconds=round(seconds, 1),
        )
    )


@cache  # files are written for every row
def measured_with(name: str) -> dict[str, Any]:
    return provenance.present(f"gpu/{name}")


def gate_state(session: Session) -> str:
    """What the parity gate of this call says."""
    with suppress(ValueError):
        settings = read_result("gpu/parity").settings
        if settings.get("session") == session.name:
            return str(settings["state"])
    return "not run in this call"


def device_name(device: torch.device) -> str:
    if device.type != "cuda":
        return "no GPU"
    return torch.cuda.get_device_name(device)


@cache
def versions(device: torch.device) -> dict[str, str]:
    """Versions of everything that takes part, peers included."""
    from importlib.metadata import PackageNotFoundError, version

    from geqlib import __version__

    facts = {"python": platform.python_version(), "geqlib": __version__}
    names = ("torch", "torch-geometric", "e3nn", "triton", "ase", "cuequivariance-torch")
    kernels = ("cuequivariance-ops-torch-cu12", "cuequivariance-ops-torch-cu13")
    for name in (*names, *kernels, "openequivariance"):
        with suppress(PackageNotFoundError):
            facts[name] = version(name)
    facts["machine"] = f"{platform.machine()}, {os.cpu_count()} cores"
    facts["threads"] = str(torch.get_num_threads())
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        major, minor = torch.cuda.get_device_capability(device)
        facts["cuda"] = str(torch.version.cuda)
        facts["gpu"] = f"{device_name(device)}, {total / 2**30:.0f} GiB, compute {major}.{minor}"
        facts["gpu memory free"] = f"{free / 2**30:.0f} GiB"
    return facts


def say(stage: str, state: str) -> None:
    sys.stdout.write(json.dumps({"stage": stage, "state": state}) + "\n")
    sys.stdout.flush()


# --- the process that watches -----------------------------------------------------------------


def supervise(session: Session, names: Sequence[str]) -> dict[str, str]:
    """How each stage ended; processes that measure are started until all had their turn."""
    outcomes: dict[str, str] = {}
    while waiting := [name for name in names if name not in outcomes]:
        if time.monotonic() >= session.end:
            outcomes |= dict.fromkeys(waiting, f"{NOT_BEGUN}: the minutes were over")
            break
        before = len(outcomes)
        for name, state in watched(session, waiting):
            outcomes[name] = state
            sys.stdout.write(f"{name}: {state}\n")
            sys.stdout.flush()
        if len(outcomes) == before and time.monotonic() < session.end:
            outcomes[waiting[0]] = "the process that measures did not start"
    return outcomes


def watched(session: Session, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Stages that one process ended, and the one that ended it."""
    process = subprocess.Popen(
        worker_command(session, names),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
    )
    lines: Queue[str | None] = Queue()
    errors: list[str] = []
    threads = [
        threading.Thread(target=_listen, args=(process.stdout, lines), daemon=True),
        threading.Thread(target=_remember, args=(process.stderr, errors), daemon=True),
    ]
    for thread in threads:
        thread.start()
    stage, limit = "", session.end + GRACE
    try:
        while True:
            try:
                line = lines.get(timeout=max(limit - time.monotonic(), 0.01))
            except Empty:
                if stage:
                    yield stage, give_up(session, stage, f"{CUT}: it did not end in its time")
                return
            if line is None:
                break
            message = read_message(line)
            if message is None:
                continue
            stage, state = message
            if state == RUNNING:
                limit = session.clock(STAGES[stage]).end + GRACE
            else:
                yield stage, state
                stage = ""
    finally:
        process.kill()
        process.wait()
        for thread, stream in zip(threads, (process.stdout, process.stderr), strict=True):
            thread.join(5)
            stream.close()  # type: ignore[union-attr]
    if stage:
        last = next((line for line in reversed(errors) if line.strip()), "no message")
        yield stage, give_up(session, stage, f"its process ended: {last.strip()[:160]}")


def worker_command(session: Session, names: Sequence[str]) -> list[str]:
    command = [sys.executable, str(Path(__file__).resolve()), "--worker"]
    command += [f"--session={session.name}", f"--end={session.end}", f"--device={session.device}"]
    command += [f"--minutes={session.minutes}", *(["--tiny"] if session.tiny else [])]
    return [*command, "--stages", *names]


def give_up(session: Session, name: str, why: str) -> str:
    """Mark the file of a stage that could not write its end; its rows stay."""
    with suppress(ValueError):
        result = read_result(f"gpu/{name}")
        if result.settings.get("session") == session.name:
            table = replace(result.tables[0], note=f"Not complete ({why}).")
            settings = dict(result.settings) | {"state": why}
            write_result(replace(result, tables=(table,), settings=settings))
    return why


def read_message(line: str) -> tuple[str, str] | None:
    """Stage and state; None for what a library prints."""
    with suppress(json.JSONDecodeError, KeyError, TypeError):
        content = json.loads(line)
        return content["stage"], content["state"]
    return None


def _listen(stream: Any, lines: Queue[str | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _remember(stream: Any, errors: list[str]) -> None:
    for line in stream:
        errors.append(line)
        del errors[:-50]


def print_plain(text: object) -> None:
    sys.stdout.write(f"{text}\n")


def show(outcomes: dict[str, str]) -> None:
    """Tables of all stages that wrote a file, and how each ended."""
    from benchmarks.rows import RESULTS
    from benchmarks.tables import to_markdown

    try:
        from rich.console import Console
        from rich.markdown import Markdown
    except ModuleNotFoundError:
        write_lines: Callable[..., object] = print_plain
        shown: Callable[[str], object] = str
    else:
        write_lines, shown = Console().print, Markdown
    files = [name for name in outcomes if (RESULTS / "gpu" / f"{name}.json").exists()]
    for name, state in outcomes.items():
        write_lines(shown(f"# {name}: {state}"))
        if state.startswith(NOT_BEGUN) or name == "parity":
            continue
        with suppress(ValueError):
            write_lines(shown(to_markdown(read_result(f"gpu/{name}"))))
    sys.stdout.write(f"Files of {', '.join(files) or 'no stage'} are in {RESULTS / 'gpu'}.\n")


if __name__ == "__main__":
    start(main)
