"""The stages of benchmarks/gpu.py, in the order of their value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet

from benchmarks.device import parity
from benchmarks.device.contest import (
    NOTE,
    DeadDeviceError,
    Entry,
    Setting,
    Workload,
    columns,
    contest,
    mace_steps,
)
from benchmarks.device.timing import OutOfTimeError, interleaved, reason, seconds_of
from benchmarks.peers.fused_products import (
    CUE,
    OEQ,
    FusedConvolution,
    symmetric_contraction,
)
from benchmarks.rows import Cell, Column, Row
from benchmarks.structures import ASPIRIN, molecule
from benchmarks.workloads import (
    CUTOFF,
    PRECISIONS,
    Place,
    Precision,
    Step,
    convolution,
    edge_inputs,
    ego_nets,
    eigenvectors,
    frames,
    gaunt_potential,
    monoid,
    ponita,
    ponita_potential,
    power,
    product,
)
from geqlib.atoms.potential import Potential
from geqlib.calculators import GeqCalculator
from geqlib.models import PONITA, GauntNet

TEMPERATURE = 10.0  # K: atoms of an untrained potential stay where they are
MOLECULE_STEPS = 100  # of dynamics in one measurement


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


# --- what the machine can do ------------------------------------------------------------------


def machine(setting: Setting) -> Iterator[Row]:
    """Copy bandwidth, and matrix products in each precision."""
    numbers = 2**16 if setting.tiny else 2**28
    rate = 8 * numbers / seconds_of_copy(setting, numbers) / 1e12
    yield Row(("copy, read and written",), {"rate": rate, "unit": "TB/s"})
    size = 128 if setting.tiny else 8192
    for name in PRECISIONS:
        setting.clock.check(f"matrix products in {name}")
        rate = 2 * size**3 / seconds_of_product(setting, size, name) / 1e12
        yield Row((f"matrix product, {name}",), {"rate": rate, "unit": "TFLOP/s"})


def seconds_of_copy(setting: Setting, numbers: int) -> float:
    long = torch.zeros(numbers, device=setting.device)
    other = torch.empty_like(long)
    return seconds_alone(lambda: other.copy_(long), setting)


def seconds_of_product(setting: Setting, size: int, precision: Precision) -> float:
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    square = torch.randn(size, size, device=setting.device).to(dtype)
    result = torch.empty_like(square)
    place = Place(setting.device, precision="TF32" if precision == "TF32" else "fp32")

    def multiply() -> None:
        with place.context():
            torch.mm(square, square, out=result)

    return seconds_alone(multiply, setting)


def seconds_alone(run: Callable[[], object], setting: Setting) -> float:
    return interleaved({"alone": run}, setting.device, min(setting.seconds, 0.5))["alone"]


def machine_columns(cuda: bool) -> tuple[Column, ...]:
    return Column("rate", "rate", "", ".3g"), Column("unit", "")


# --- the gate ---------------------------------------------------------------------------------


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


# --- contests ---------------------------------------------------------------------------------


def contests(workloads: Callable[[Setting], Iterator[Workload]], setting: Setting) -> Iterator[Row]:
    """Rows of one workload after the other; one that fails costs itself alone."""
    for workload in workloads(setting):
        try:
            yield from contest(workload, setting)
        except (OutOfTimeError, DeadDeviceError):
            raise
        except Exception as error:
            yield Row((workload.title, "all"), {NOTE: reason(error)})


def at(setting: Setting, precision: Any = "fp32") -> Place:
    return Place(setting.device, precision=precision)


def ponita_workloads(setting: Setting) -> Iterator[Workload]:
    sizes = {"channels": 8, "basis": 8, "layers": 2} if setting.tiny else {}
    steps: dict[str, Entry] = {}
    for precision in PRECISIONS:
        for name, direct in ((f"geqlib, {precision}", False), (f"published, {precision}", True)):
            build = partial(ponita, at(setting, precision), direct=direct, **sizes)
            steps[name] = Entry(build, "peer" if direct else "geqlib")
    graphs, few, many = (2, 2, 4) if setting.tiny else (100, 96, 1000)
    published = {
        name: replace(entry, build=partial(entry.build, graphs, update=True))
        for name, entry in steps.items()
    }
    # without a plan the host reads sizes: no replay
    unplanned = partial(ponita, at(setting), graphs, planned=False, update=True, **sizes)
    published["geqlib, fp32, plan in the step"] = Entry(unplanned, replay=False)
    yield Workload(f"published n-body step, {graphs} graphs of 5, with Adam", published)
    for count, nodes in ((few, 18), (many, 5)):
        entries = {
            name: replace(entry, build=partial(entry.build, count, nodes))
            for name, entry in steps.items()
        }
        yield Workload(f"{count} complete graphs of {nodes}", entries)


def potential_workloads(setting: Setting) -> Iterator[Workload]:
    place = at(setting)
    channels, layers = (4, 1) if setting.tiny else (128, 2)
    with mace_steps(setting, channels) as mace_step:
        for train in (True, False):
            for graphs in (1, 2) if setting.tiny else (5, 64):
                what = "training step" if train else "energies and forces"
                options: dict[str, Any] = {"channels": channels, "layers": layers, "train": train}
                remote = partial(mace_step, graphs, "train" if train else "evaluate")
                entries = {
                    "geqlib GauntNet": Entry(partial(gaunt_potential, place, graphs, **options)),
                    "MACE": Entry(remote, "peer"),
                }
                if graphs < 64:
                    sizes = {"channels": channels, "layers": 2 * layers, "train": train}
                    build = partial(ponita_potential, place, graphs, **sizes)
                    entries["geqlib PONITA, 16 orientations"] = Entry(build)
                yield Workload(f"3BPA, {what}, batch {graphs}", entries)


def convolution_workloads(setting: Setting) -> Iterator[Workload]:
    tiny = {"nodes": 20, "neighbors": 4, "channels": 4}
    sizes = tiny if setting.tiny else {"nodes": 2000, "neighbors": 20, "channels": 64}
    place = at(setting)
    for degree in (1, 2, 3):
        build = partial(convolution, place, degree, **sizes)
        entries = {
            "geqlib GauntConvolution": Entry(build),
            "e3nn uvu": Entry(partial(build, form="uvu"), "peer"),
            "SO(2)": Entry(partial(build, form="SO(2)"), "peer"),
        }
        for library in (CUE, OEQ):
            fused = partial(fused_convolution, place, degree, library=library, **sizes)
            entries[f"{library}, fused uvu"] = Entry(fused, "peer")
        edges = sizes["nodes"] * sizes["neighbors"]
        yield Workload(f"L = {degree}, {edges} edges, {sizes['channels']} channels", entries)


def fused_convolution(
    place: Place, degree: int, *, nodes: int, neighbors: int, channels: int, library: str
) -> Step:
    """The peers' form of `benchmarks.workloads.convolution`."""
    torch.manual_seed(0)
    layer = FusedConvolution(library, channels, degree, place.device)
    x, direction, edge_index = edge_inputs(place, degree, nodes, neighbors, channels)
    weight = place.put(torch.randn(nodes * neighbors, layer.weights)).requires_grad_()
    leaves = (x, direction, weight, *layer.parameters())
    return Step(lambda: layer(x, direction, weight, edge_index), leaves, place)


def product_workloads(setting: Setting) -> Iterator[Workload]:
    sizes = {"nodes": 20, "channels": 4} if setting.tiny else {"nodes": 4096, "channels": 64}
    place = at(setting)
    # building e3nn's takes minutes above
    degrees, methods, built = ((1, 2), 2, 1) if setting.tiny else ((2, 4, 1, 3, 6, 8), 4, 4)
    for degree in degrees:
        build = partial(product, place, degree, **sizes)
        entries = {"geqlib, grid": Entry(build)}
        if degree == methods:
            for method in ("separable", "fft", "sparse"):
                entries[f"geqlib, {method}"] = Entry(partial(build, method=method))
        if degree <= built:
            entries["e3nn uuu"] = Entry(partial(build, method="e3nn"), "peer")
        entries["read both, write one: a copy"] = Entry(
            partial(copied, place, degree, **sizes), "peer"
        )
        yield Workload(f"L = {degree}, {sizes['nodes']} x {sizes['channels']}", entries)


def copied(place: Place, degree: int, *, nodes: int, channels: int) -> Step:
    """The traffic of a product: forward only."""
    x, y = (place.put(torch.randn(nodes, channels * (degree + 1) ** 2)) for _ in range(2))
    return Step(lambda: x + y, (), place)


def power_workloads(setting: Setting) -> Iterator[Workload]:
    sizes = {"nodes": 20, "channels": 4} if setting.tiny else {"nodes": 2000, "channels": 128}
    place = at(setting)
    for degree in (1,) if setting.tiny else (1, 2, 3):
        contraction = partial(cue_power, place, degree, **sizes)
        entries = {
            "geqlib GauntPower": Entry(partial(power, place, degree, **sizes)),
            f"{CUE} SymmetricContraction": Entry(contraction, "peer"),
        }
        yield Workload(f"L = {degree}, {sizes['nodes']} x {sizes['channels']}", entries)


def cue_power(place: Place, degree: int, *, nodes: int, channels: int) -> Step:
    torch.manual_seed(0)
    layer = symmetric_contraction(channels, degree, 3, 4, place.device)
    x = place.put(torch.randn(nodes, channels * (degree + 1) ** 2)).requires_grad_()
    element = place.put((torch.arange(nodes) % 4).int())
    return Step(lambda: layer(x, element), (x, *layer.parameters()), place)


def monoid_workloads(setting: Setting) -> Iterator[Workload]:
    place = at(setting)
    many, few, size = (20, 2, 20) if setting.tiny else (10_000, 50, 200)
    long, others = (20, 10) if setting.tiny else (2000, 5000)
    sets = {
        f"{many} sets of 16": [16] * many,
        f"{many} sets of 1-8": [1 + k % 8 for k in range(many)],
        f"{few} sets of {size}": [size] * few,
        f"one set of {long} among {others}": [long] + [1 + k % 8 for k in range(others)],
    }
    names = {"geqlib, planned": "planned", "LCMAggregation": "LCM", "GRUAggregation": "GRU"}
    for title, sizes in sets.items():
        # without a plan the host reads sizes: no replay
        entries = {"geqlib": Entry(partial(monoid, place, sizes), replay=False)}
        for name, kind in names.items():
            if (title.startswith("one set"), kind) != (True, "LCM"):  # 5001 x 2000 padded
                origin = "geqlib" if kind == "planned" else "peer"
                entries[name] = Entry(partial(monoid, place, sizes, kind=kind), origin)  # type: ignore
        yield Workload(title, entries)


def spen_workloads(setting: Setting) -> Iterator[Workload]:
    graphs, nodes, channels = (3, 8, 8) if setting.tiny else (256, 39, 64)
    build = partial(ego_nets, at(setting), graphs, nodes, channels=channels)
    entries = {
        # without a plan the host reads sizes: no replay
        "geqlib SPEN, plan in the step": Entry(build, replay=False),
        "geqlib SPEN, planned": Entry(partial(build, kind="planned")),
        "GIN": Entry(partial(build, kind="GIN"), "peer"),
    }
    yield Workload(f"{graphs} graphs of {nodes}, width {channels}, with Adam", entries)


def frames_workloads(setting: Setting) -> Iterator[Workload]:
    place = at(setting)
    for graphs in (3,) if setting.tiny else (100, 1000):
        build = partial(frames, place, graphs)
        entries = {
            "geqlib FAGNN": Entry(build),
            "its backbone": Entry(partial(build, kind="backbone"), "peer"),
            "geqlib FrameAveraging around the backbone": Entry(
                partial(build, kind="FrameAveraging")
            ),
        }
        yield Workload(f"{graphs} graphs of 5", entries)
    count = 600 if setting.tiny else 100_000
    build = partial(eigenvectors, place, count)
    yield Workload(
        f"{count} matrices of 3 x 3 in float64, forward",
        {
            "geqlib symmetric_eigen": Entry(build),
            "torch.linalg.eigh": Entry(partial(build, kind="torch"), "peer"),
        },
    )


def compiled_workloads(setting: Setting) -> Iterator[Workload]:
    """torch.compile; its first calls, which compile, are not in the times."""
    place, graphs = at(setting), 2 if setting.tiny else 100
    sizes = {"channels": 8, "basis": 8, "layers": 1} if setting.tiny else {}
    yield Workload(
        "PONITA, published n-body step without Adam",
        {
            "geqlib": Entry(partial(ponita, place, graphs, **sizes), replay=False),
            "geqlib, torch.compile": Entry(
                partial(compiled_ponita, place, graphs, **sizes), replay=False
            ),
        },
    )
    channels, batch = (4, 1) if setting.tiny else (128, 5)
    options = {"channels": channels, "layers": 1 if setting.tiny else 2}
    yield Workload(
        f"3BPA, GauntNet, training step, batch {batch}",
        {
            "geqlib": Entry(partial(gaunt_potential, place, batch, **options), replay=False),
            "geqlib, compiled_energy_forces": Entry(
                partial(gaunt_potential, place, batch, compiled=True, **options), replay=False
            ),
        },
    )


def compiled_ponita(place: Place, graphs: int, **sizes: int) -> Step:
    step = ponita(place, graphs, **sizes)
    return replace(step, output=torch.compile(step.output))


# --- dynamics ---------------------------------------------------------------------------------


def dynamics(setting: Setting) -> Iterator[Row]:
    """Steps per second of velocity Verlet with `GeqCalculator` on one aspirin.

    A calculator that replays its steps belongs beside these, as a further entry.
    """
    channels = 4 if setting.tiny else 128
    steps = 2 if setting.tiny else MOLECULE_STEPS
    sizes: dict[str, Any] = {"channels": channels, "layers": 2, "cutoff": CUTOFF}
    torch.manual_seed(0)
    networks = {
        "geqlib GauntNet": GauntNet(["H", "C", "O"], degree=3, hidden_degree=1, order=3, **sizes),
        "geqlib PONITA": PONITA(16, 0, 1, 0, orientations=16, **sizes),
    }
    for name, network in networks.items():
        for dtype in (torch.float32, torch.float64):
            short = str(dtype).removeprefix("torch.")
            setting.clock.check(f"{name}, {short}")
            try:
                verlet = moving(network, setting.device, dtype)
                verlet.run(steps)
                seconds = min(
                    seconds_of(partial(verlet.run, steps), setting.device) for _ in range(3)
                )
                cells: dict[str, Cell] = {"rate": steps / seconds}
            except Exception as error:
                cells = {NOTE: reason(error)}
            yield Row((f"{name}, {channels} channels", short), cells)


def moving(network: torch.nn.Module, device: torch.device, dtype: torch.dtype) -> Any:
    potential = Potential(network)
    seen = torch.zeros(119, dtype=torch.bool)
    seen[[1, 6, 8]] = True
    # forces of an untrained network, small enough to leave the molecule together
    potential.statistics.set(torch.zeros(119), seen, 1e-3, 0.0)
    calculator = GeqCalculator(potential, device=device, dtype=dtype)
    start = molecule(ASPIRIN)
    atoms = Atoms(start.numbers, start.positions, calculator=calculator)
    thermalize_momenta(atoms, TEMPERATURE, rng=np.random.default_rng(0))
    return VelocityVerlet(atoms, 0.5 * units.fs)


def dynamics_columns(cuda: bool) -> tuple[Column, ...]:
    return Column("rate", "steps per second", "", ".0f"), Column(NOTE, "note")


# --- precision --------------------------------------------------------------------------------


def precision(setting: Setting) -> Iterator[Row]:
    """Time and error of each family in each precision, against float64 on the same device."""
    for family, build in families(setting).items():
        setting.clock.check(family)
        try:
            exact = build(Place(setting.device, torch.float64)).result()
        except Exception as error:
            yield Row((family, "float64"), {NOTE: reason(error)})
            continue
        for name in PRECISIONS:
            cells: dict[str, Cell] = {}
            try:
                step = build(at(setting, name))
                error = (step.result() - exact).norm() / exact.norm()
                cells = {"error": float(error)}
                cells["seconds"] = seconds_alone(step, setting)
            except Exception as error:
                cells[NOTE] = reason(error)
            yield Row((family, name), cells)


def families(setting: Setting) -> dict[str, Callable[[Place], Step]]:
    """One workload of each, built in any precision."""
    if not setting.tiny:
        return {
            "PONITA, 96 complete graphs of 18": lambda p: ponita(p, 96, 18),
            "GauntNet, energies and forces, batch 64": lambda p: gaunt_potential(p, 64),
            "PONITA, energies and forces, batch 5": lambda p: ponita_potential(p, 5),
            "GauntConvolution, L = 2": lambda p: convolution(p, 2),
            "GauntTensorProduct, L = 4": lambda p: product(p, 4),
            "GauntPower, L = 3": lambda p: power(p, 3),
            "MonoidAggregation gru, 10000 sets of 16": lambda p: monoid(
                p, [16] * 10_000, kind="planned"
            ),
            "SPEN, 256 graphs of 39": lambda p: ego_nets(p, kind="planned", update=False),
            "FAGNN, 1000 graphs": lambda p: frames(p, 1000),
        }
    narrow = {"nodes": 12, "channels": 4}
    return {
        "PONITA": lambda p: ponita(p, 2, channels=8, basis=8, layers=1),
        "GauntNet": lambda p: gaunt_potential(p, 1, channels=4, layers=1),
        "GauntConvolution": lambda p: convolution(p, 1, neighbors=3, **narrow),
        "GauntTensorProduct": lambda p: product(p, 2, **narrow),
        "GauntPower": lambda p: power(p, 1, **narrow),
        "MonoidAggregation": lambda p: monoid(p, [3] * 4, channels=8, kind="planned"),
        "SPEN": lambda p: ego_nets(p, 2, 6, channels=8, layers=1, kind="planned", update=False),
        "FAGNN": lambda p: frames(p, 2),
    }


def precision_columns(cuda: bool) -> tuple[Column, ...]:
    return (
        Column("seconds", "time", "ms", ".2f", 1e3),
        Column("error", "error of the output", "", ".0e"),
        Column(NOTE, "note"),
    )


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
        ("model", "precision"),
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
