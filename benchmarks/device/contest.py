"""A contest: several steps on one workload, interleaved, each failing for itself alone."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from ase.io import write

from benchmarks.device import timing
from benchmarks.device.timing import Clock, OutOfTimeError, alive, interleaved, reason
from benchmarks.measure import peak_memory
from benchmarks.operations import Operations, in_one_piece
from benchmarks.peers import mace
from benchmarks.peers.fused_products import MissingPeerError
from benchmarks.rows import Cell, Column, Origin, Row
from benchmarks.structures import THREE_BPA, molecule

NOTE = "note"


class DeadDeviceError(RuntimeError):
    """The process can no longer compute on its device."""


@dataclass(frozen=True)
class Setting:
    """What all stages share.

    Args:
        device: that is measured.
        tiny: whether sizes are small, for tests and for machines without a GPU.
        clock: of the stage.
        seconds: that the interleaved timing of one workload takes, about.
    """

    device: torch.device
    tiny: bool
    clock: Clock
    seconds: float = 2.0

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"


@dataclass(frozen=True)
class Entry:
    """A contestant.

    Args:
        build: makes the step, in the process of the contest.
        origin: of geqlib, or of a peer.
        replay: whether a CUDA graph is tried.
    """

    build: Callable[[], Any]
    origin: Origin = "geqlib"
    replay: bool = True


@dataclass(frozen=True)
class Workload:
    """One line of the question: who is fastest here?

    Args:
        title: of the workload.
        entries: contestants by name.
    """

    title: str
    entries: Mapping[str, Entry] = field(default_factory=dict)


def columns(cuda: bool) -> tuple[Column, ...]:
    count = "launches" if cuda else "operations"
    return (
        Column("eager", "eager", "ms", ".2f", 1e3),
        Column("replayed", "replayed", "ms", ".2f", 1e3),
        Column("launches", count, "", ".0f"),
        Column("memory", "peak memory", "MiB", ".0f"),
        Column(NOTE, "note"),
    )


def contest(workload: Workload, setting: Setting) -> Iterator[Row]:
    """A row for each contestant, as soon as all of them are measured.

    Raises:
        OutOfTimeError: if nothing can be measured any more.
        DeadDeviceError: if an error has cost the process its device.
    """
    setting.clock.check(workload.title)
    steps, notes = _built(workload, setting)
    cells: dict[str, dict[str, Cell]] = {name: {} for name in workload.entries}
    near = {name: step for name, step in steps.items() if not isinstance(step, Remote)}
    far = {name: step for name, step in steps.items() if isinstance(step, Remote)}
    seconds = interleaved(near, setting.device, setting.seconds)
    for name, step in far.items():
        with _noted(notes, name):
            seconds[name] = step.seconds(setting.seconds)
    for name, value in seconds.items():
        cells[name]["eager"] = value
    for name, step in steps.items():
        with _noted(notes, name):
            cells[name] |= counts(step, setting)
    replays = _replays(workload, near, setting, notes)
    for name, value in interleaved(replays, setting.device, setting.seconds).items():
        cells[name]["replayed"] = value
    for name, entry in workload.entries.items():
        if name in notes:
            cells[name][NOTE] = "; ".join(notes[name])
        yield Row((workload.title, name), cells[name], entry.origin)
    del steps, near
    _check_device(setting)


def counts(step: Any, setting: Setting) -> dict[str, Cell]:
    """Kernels and peak memory on a CUDA device, operations and peak memory on a CPU."""
    if isinstance(step, Remote):
        return step.counts() if setting.cuda else {}
    if setting.cuda:
        memory = timing.peak_mebibytes(step, setting.device)
        return {"memory": memory, "launches": float(timing.launches(step, setting.device))}
    with in_one_piece(), Operations() as operations:
        step()
    found: dict[str, Cell] = {"launches": float(operations.total)}
    with suppress(OSError):  # where the system does not let a process measure itself
        found["memory"] = peak_memory(step)
    return found


def _built(workload: Workload, setting: Setting) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Steps that have run once, and why the others have not."""
    steps: dict[str, Any] = {}
    notes: dict[str, list[str]] = {}
    for name, entry in workload.entries.items():
        setting.clock.check(f"{workload.title}, {name}")
        with _noted(notes, name):
            step = entry.build()
            step()
            steps[name] = step
        if name in notes:
            _check_device(setting)
    return steps, notes


def _replays(
    workload: Workload, steps: Mapping[str, Any], setting: Setting, notes: dict[str, list[str]]
) -> dict[str, Any]:
    """Steps as CUDA graphs, those that can be."""
    replays: dict[str, Any] = {}
    if not setting.cuda:
        return replays
    for name, step in steps.items():
        if workload.entries[name].replay and setting.clock.left > 0:
            with _noted(notes, name, "no replay: "):
                replays[name] = timing.captured(step, setting.device)
            if name not in replays:
                _check_device(setting)
    return replays


@contextmanager
def _noted(notes: dict[str, list[str]], name: str, start: str = "") -> Iterator[None]:
    """Write an error down in the place of raising it; that time is over is no such error."""
    try:
        yield
    except (OutOfTimeError, DeadDeviceError):
        raise
    except MissingPeerError as error:
        notes.setdefault(name, []).append(str(error))
    except Exception as error:
        notes.setdefault(name, []).append(start + reason(error))


def _check_device(setting: Setting) -> None:
    if setting.cuda:
        if not alive(setting.device):
            raise DeadDeviceError("an error has cost the process its device")
        torch.cuda.empty_cache()


class Peer:
    """A process in the environment of a peer, which answers as benchmarks/peers/mace_step.py does.

    Args:
        command: that starts it.
    """

    def __init__(self, command: Sequence[str]) -> None:
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL, **pipes)

    def ask(self, line: str) -> dict[str, Any]:
        """The answer to a line.

        Raises:
            RuntimeError: if it is an error, or the process has ended.
        """
        with suppress(BrokenPipeError):
            self.process.stdin.write(line + "\n")  # type: ignore[union-attr]
            self.process.stdin.flush()  # type: ignore[union-attr]
        for text in self.process.stdout or ():
            with suppress(json.JSONDecodeError):  # what a library prints
                reply = json.loads(text)
                if "error" in reply:
                    raise RuntimeError(reply["error"])
                return reply
        raise RuntimeError("the process of the peer has ended")

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


class Remote:
    """A step of a peer in its own process.

    Args:
        peer: that makes it.
        prepare: the line that asks for it.
    """

    def __init__(self, peer: Peer, prepare: str) -> None:
        self.peer, self.prepare = peer, prepare
        peer.ask(prepare)

    def __call__(self) -> None:
        self.peer.ask("time")

    def seconds(self, seconds: float) -> float:
        """Median of about so many seconds of steps."""
        once = self.peer.ask("time")["seconds"]
        rounds = max(3, min(timing.ROUNDS, int(seconds / max(once, 1e-3))))
        return median(self.peer.ask("time")["seconds"] for _ in range(rounds))

    def counts(self) -> dict[str, Cell]:
        return {name: float(self.peer.ask(name)["value"]) for name in ("launches", "memory")}


@contextmanager
def mace_steps(setting: Setting, channels: int) -> Iterator[Callable[[int, str], Remote]]:
    """MACE's steps on so many molecules, "train" or "evaluate", while the context lasts.

    What it yields raises a `MissingPeerError` if MACE is not installed.
    """
    if not (mace.BIN / "python").exists():

        def missing(graphs: int, task: str) -> Remote:
            raise MissingPeerError("MACE is not installed: make peers")

        yield missing
        return
    script = Path(mace.__file__).with_name("mace_step.py")
    # -P: the script's folder has a mace.py of its own
    python = [str(mace.BIN / "python"), "-P", "-W", "ignore", str(script)]
    peer = Peer([*python, str(setting.device), str(channels)])

    def step(graphs: int, task: str) -> Remote:
        structures = Path(folder) / f"{graphs}.xyz"
        write(structures, [molecule(THREE_BPA)] * graphs, format="extxyz")
        return Remote(peer, f"prepare {structures} {task}")

    with TemporaryDirectory() as folder:
        try:
            yield step
        finally:
            peer.close()
