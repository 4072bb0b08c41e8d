"""The stages of benchmarks/gpu.py, in the order of their value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from benchmarks.device import parity
from benchmarks.device.ceilings import machine, machine_columns
from benchmarks.device.contest import Setting, Workload, columns
from benchmarks.device.contestants import (
    compiled_workloads,
    contests,
    convolution_workloads,
    frames_workloads,
    monoid_workloads,
    ponita_workloads,
    potential_workloads,
    power_workloads,
    product_workloads,
    spen_workloads,
)
from benchmarks.device.dynamics import TEMPERATURE, dynamics, dynamics_columns
from benchmarks.device.precision import precision, precision_columns
from benchmarks.rows import Column, Row


@dataclass(frozen=True)
class Stage:
    """A part of the script with a result file of its own.

    Args:
        title: of the result.
        protocol: how it is measured.
        heads: of the labels.
        columns: of the cells, on a CUDA device or not.
        rows: measures them, one after the other.
        share: of all minutes, at most.
    """

    title: str
    protocol: str
    heads: tuple[str, ...]
    columns: Callable[[bool], tuple[Column, ...]]
    rows: Callable[[Setting], Iterator[Row]]
    share: float


def parity_rows(setting: Setting) -> Iterator[Row]:
    for verdict in parity.gate(setting.device, setting.clock):
        state = verdict.wrong or "right"
        yield Row((verdict.name,), {**verdict.errors, "verdict": state})


def parity_columns(cuda: bool) -> tuple[Column, ...]:
    errors = [
        Column(f"{dtype} {kind}", f"{dtype}, {kind}", "", ".0e")
        for dtype in ("float64", "float32")
        for kind in parity.KINDS
    ]
    return *errors, Column("verdict", "")


INTERLEAVED = (
    "forward and backward, or what the line says; medians of synchronised calls, all contestants "
    "of a line interleaved in one process (MACE in a process of its own, right after); launches by "
    "torch's profiler, on a CPU operations as in benchmarks/operations.py; peak memory beyond "
    'inputs and weights; "replayed" is the same step as a CUDA graph, whose loss is compared with '
    "the eager one"
)


def _contest(
    title: str, head: str, workloads: Callable[[Setting], Iterator[Workload]], share: float
) -> Stage:
    heads = (head, "")
    return Stage(title, INTERLEAVED, heads, columns, partial(contests, workloads), share)


STAGES = {
    "machine": Stage(
        "What the machine can do",
        "medians of synchronised calls; square matrices of 8192, copies of 1 GiB",
        ("ceiling",),
        machine_columns,
        machine,
        0.1,
    ),
    "parity": Stage(
        "Layers, models and potentials on the device against float64 on the CPU",
        "the cases of the contract suite; largest difference over the largest value; in float64 at "
        f"most {parity.EXACT:g}, in float32 at most {parity.ROUNDING:g} or {parity.WORSE:g} times "
        "the error of float32 on the CPU",
        ("case",),
        parity_columns,
        parity_rows,
        0.35,
    ),
    "ponita": _contest("PONITA", "step", ponita_workloads, 0.25),
    "potential": _contest("Potentials", "step", potential_workloads, 0.25),
    "convolution": _contest("Convolutions over edges", "size", convolution_workloads, 0.25),
    "product": _contest("Gaunt products", "size", product_workloads, 0.2),
    "monoid": _contest("Reductions of sets", "sets", monoid_workloads, 0.2),
    "spen": _contest("Ego nets", "step", spen_workloads, 0.15),
    "frames": _contest("Frames", "step", frames_workloads, 0.15),
    "power": _contest("Many-body powers", "size", power_workloads, 0.15),
    "dynamics": Stage(
        "Molecular dynamics of one aspirin",
        f"velocity Verlet of ASE with GeqCalculator, 0.5 fs, {TEMPERATURE:g} K, an untrained "
        "potential; the fastest of three runs after one that is not counted",
        ("model", "precision", ""),
        dynamics_columns,
        dynamics,
        0.15,
    ),
    "precision": Stage(
        "Precision of each family",
        "outputs on random inputs against float64 on the same device: norm of the difference over "
        "the norm; time of forward and backward",
        ("family", "precision"),
        precision_columns,
        precision,
        0.2,
    ),
    "compiled": _contest("torch.compile", "step", compiled_workloads, 0.6),
}
