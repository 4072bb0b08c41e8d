"""A contest: several steps on one workload, interleaved, each failing for itself alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.device import timing
from benchmarks.device.remote import Remote
from benchmarks.device.timing import Clock, OutOfTimeError, alive, interleaved, reason
from benchmarks.operations import Operations, in_one_piece
from benchmarks.peers.fused_products import MissingPeerError
from benchmarks.rows import Cell, Column, Origin, Row

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
        counted: whether operations are counted on a CPU, as those of compiled code cannot be.
    """

    build: Callable[..., Any]
    origin: Origin = "geqlib"
    replay: bool = True
    counted: bool = True


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
        if setting.cuda or workload.entries[name].counted:
            with _noted(notes, name):
                cells[name] |= counts(step, setting)
    lost: DeadDeviceError | None = None
    try:
        replays = _replays(workload, near, setting, notes)
        for name, value in interleaved(replays, setting.device, setting.seconds).items():
            cells[name]["replayed"] = value
    except DeadDeviceError as error:
        lost = error  # what was measured before stays
    for name, entry in workload.entries.items():
        if name in notes:
            cells[name][NOTE] = "; ".join(notes[name])
        yield Row((workload.title, name), cells[name], entry.origin)
    if lost is not None:
        raise lost


def counts(step: Any, setting: Setting) -> dict[str, Cell]:
    """Kernels and peak memory on a CUDA device, operations and peak memory on a CPU."""
    if isinstance(step, Remote):
        return step.counts() if setting.cuda else {}
    if setting.cuda:
        memory = timing.peak_mebibytes(step, setting.device)
        return {"memory": memory, "launches": float(timing.launches(step, setting.device))}
    with in_one_piece(), Operations() as operations:
        step()
    cells: dict[str, Cell] = {"launches": float(operations.total)}
    # where the system does not let a process measure itself, and without rich
    with suppress(OSError, ModuleNotFoundError):
        from benchmarks.measure import peak_memory

        cells["memory"] = peak_memory(step)
    return cells


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
