"""Who meets whom: the workloads of each stage that is a contest, ours and peers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from benchmarks.device.contest import (
    NOTE,
    DeadDeviceError,
    Entry,
    Setting,
    Workload,
    contest,
)
from benchmarks.device.remote import mace_steps
from benchmarks.device.timing import OutOfTimeError, reason
from benchmarks.peers.fused_products import (
    CUE,
    OEQ,
    FusedConvolution,
    symmetric_contraction,
)
from benchmarks.rows import Row
from benchmarks.workloads import (
    PRECISIONS,
    Place,
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
    with mace_steps(setting.device, channels) as mace_step:
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
            padded = title.startswith("one set")  # to 2000: a replay would not fit beside it
            if (padded, kind) != (True, "LCM"):
                origin = "geqlib" if kind == "planned" else "peer"
                build = partial(monoid, place, sizes, kind=kind)  # type: ignore[arg-type]
                entries[name] = Entry(build, origin, replay=kind == "planned" or not padded)
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
    backend = "aot_eager" if setting.tiny else "inductor"  # which takes minutes on a CPU
    by_torch = partial(Entry, replay=False, counted=False)
    yield Workload(
        "PONITA, published n-body step without Adam",
        {
            "geqlib": Entry(partial(ponita, place, graphs, **sizes), replay=False),
            "geqlib, torch.compile": by_torch(
                partial(compiled_ponita, place, graphs, backend, **sizes)
            ),
        },
    )
    channels, batch = (4, 1) if setting.tiny else (128, 5)
    options = {"channels": channels, "layers": 1 if setting.tiny else 2}
    yield Workload(
        f"3BPA, GauntNet, training step, batch {batch}",
        {
            "geqlib": Entry(partial(gaunt_potential, place, batch, **options), replay=False),
            "geqlib, compiled_energy_forces": by_torch(
                partial(gaunt_potential, place, batch, backend=backend, **options)
            ),
        },
    )


def compiled_ponita(place: Place, graphs: int, backend: str, **sizes: Any) -> Step:
    step = ponita(place, graphs, **sizes)
    return replace(step, output=torch.compile(step.output, backend=backend))
