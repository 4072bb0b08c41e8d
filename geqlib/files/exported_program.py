"""Programs of `geqlib export`: a potential without its Python code, read and run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

import torch
from torch import Tensor

from geqlib.atoms.potential import Potential
from geqlib.atoms.statistics import check_elements
from geqlib.dpa3.angles import AnglePlan, angle_plan, short_edges
from geqlib.escaip.neighborhoods import NeighborhoodPlan, neighborhood_plan
from geqlib.gaunt.slots import NeighborSlots, neighbor_slots
from geqlib.graph.edges import EdgePlan, directed_plan, paired_plan
from geqlib.graph.plan import accepted

PlanKind = str  # "none", "directed", "paired", "slots", "angles", or NEIGHBORHOODS and k
NEIGHBORHOODS = "neighborhoods:"
NAMES = ("pos", "z", "edge_index", "cell", "cell_shift")  # and "plan"
NOTES = "geqlib.json"  # beside the program in its file
FORMAT = 1  # of the arguments of a program and of its notes; the first edition wrote no number
FACTS = {"cutoff", "elements", "plan", "dtype", "torch", "processor"}
DTYPES = {"float32": torch.float32, "float64": torch.float64}


class Program:
    """A potential from a file of `geqlib export --format torch` or `--format compiled`.

    Reading such a file can run any code that somebody has put into it: a compiled program is a
    shared library, and torch reads other programs with pickle.

    Args:
        path: of the file.
        trusted: whether you know where it comes from.
        device, dtype: None, or those of the program.

    Raises:
        ValueError: without `trusted`; if the file is damaged, not one of geqlib's, compiled for
            processors with other instructions, or for another device or dtype.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        trusted: bool = False,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if not trusted:
            raise ValueError(
                f"{path} is a program, which can run any code when it is read: pass trusted=True "
                "if you know where it comes from, or use the format geqlib, which runs none."
            )
        notes = read_notes(path)
        self.plan, self.cutoff = notes["plan"], notes["cutoff"]
        self.angle_cutoff: float | None = notes.get("angle_cutoff")
        self.dtype, self.device = DTYPES[notes["dtype"]], torch.device("cpu")
        self.seen = torch.zeros(119, dtype=torch.bool)
        self.seen[notes["elements"]] = True
        if dtype not in (None, self.dtype):
            raise ValueError(
                f"{path} computes in {self.dtype}, not in {dtype}: export it with --dtype."
            )
        if device is not None and torch.device(device) != self.device:
            raise ValueError(f"{path} runs on the CPU, not on {device}: use a checkpoint.")
        if notes["processor"] not in (None, _processor()):
            raise ValueError(
                f"{path} was compiled for processors with {notes['processor']}, this one has "
                f"{_processor()}: export it again here, or use the format torch."
            )
        try:
            self.run = _compiled(path) if notes["processor"] else _exported(path)
        except Exception as error:  # whatever torch makes of a program of another version
            raise ValueError(
                f"{path} was written with torch {notes['torch']}, and {torch.__version__} cannot "
                f"read it ({error}): export it again."
            ) from error

    def __call__(
        self,
        pos: Tensor,
        z: Tensor,
        edge_index: Tensor,
        *,
        reverse: Tensor,
        cell: Tensor | None = None,
        cell_shift: Tensor | None = None,
        stress: bool = False,
    ) -> dict[str, Tensor]:
        """Energy and derivatives of one structure, as `geqlib.models.energy_forces` gives them."""
        check_elements(z, self.seen)
        cell = pos.new_zeros(1, 3, 3) if cell is None else cell
        shift = edge_index.new_zeros(edge_index.size(1), 3) if cell_shift is None else cell_shift
        # compiled code reads memory in the order of what it was traced with
        tensors = (x.contiguous() for x in (pos, z, edge_index, cell, shift))
        near = None
        if self.angle_cutoff is not None:
            more = {"cell": cell, "cell_shift": shift}
            near = short_edges(pos, edge_index, self.angle_cutoff, **more)
        plan = plan_tensors(self.plan, edge_index, len(pos), reverse, near)
        plan = {name: x.contiguous() for name, x in plan.items()}
        outputs = self.run(**dict(zip(NAMES, tensors, strict=True)), plan=plan)
        if stress:
            return outputs
        return {key: outputs[key] for key in ("energy", "energies", "forces")}


def plan_kind(potential: Potential) -> PlanKind:
    """The kind of plan that a network makes of the edges, before it sees positions.

    Raises:
        ValueError: if programs cannot take such a plan.
    """
    network: Any = potential.model
    if not hasattr(network, "plan"):
        return "none"
    pair = torch.tensor([[0, 1], [1, 0]])
    tensors = {"edge_index": pair, "num_nodes": 2, "reverse": pair[1]}
    try:
        plan = network.plan(**accepted(network.plan, tensors))
    except TypeError:
        plan = None
    if isinstance(plan, NeighborhoodPlan):
        return f"{NEIGHBORHOODS}{network.envelope.k}"
    if isinstance(plan, AnglePlan):
        return "angles"
    if isinstance(plan, NeighborSlots):
        return "slots"
    if isinstance(plan, EdgePlan):
        return "paired" if plan.paired else "directed"
    raise ValueError(
        f"{type(network).__name__}.plan makes neither an EdgePlan nor NeighborSlots, an AnglePlan "
        "or a NeighborhoodPlan: programs know no other plans."
    )


def plan_tensors(
    kind: PlanKind,
    edge_index: Tensor,
    num_nodes: int,
    reverse: Tensor,
    near: Tensor | None = None,
) -> dict[str, Tensor]:
    """The index tensors of a plan by name.

    Args:
        kind: of `plan_kind`.
        edge_index, reverse: of `geqlib.graph.neighbor_list`.
        num_nodes: N.
        near: [E] which edges are in angles, if the plan has angles: those up to the `angle_cutoff`
            of the program's notes; all of them give the same results.
    """
    if kind == "none":
        return {}
    plan: Any
    if kind.startswith(NEIGHBORHOODS):
        plan = neighborhood_plan(edge_index, num_nodes, int(kind.removeprefix(NEIGHBORHOODS)))
    elif kind == "slots":
        plan = neighbor_slots(edge_index, num_nodes, reverse=reverse)
    elif kind == "angles":
        plan = angle_plan(edge_index, num_nodes, near)
    elif kind == "paired":
        plan = paired_plan(edge_index, num_nodes, reverse)
    else:
        plan = directed_plan(edge_index, num_nodes)
    values = {field.name: getattr(plan, field.name) for field in fields(plan)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def plan_from_tensors(kind: PlanKind, tensors: dict[str, Tensor], num_nodes: int) -> Any:
    """The plan whose `plan_tensors` these are; None for networks without one."""
    if kind == "none":
        return None
    if kind.startswith(NEIGHBORHOODS):
        return NeighborhoodPlan(**tensors)
    if kind == "slots":
        return NeighborSlots(**tensors)
    if kind == "angles":
        return AnglePlan(**tensors)
    # every edge has a reverse, so that each entry serves two edges or none does
    paired = tensors["edge"].size(0) if kind == "paired" else 0
    edge, source, target = (tensors[name] for name in ("edge", "source", "target"))
    return EdgePlan(edge, source, target, paired, num_nodes)


def is_program(path: str | Path) -> bool:
    """Whether a file is an archive of torch.export or AOTInductor; runs none of it."""
    if not (Path(path).is_file() and is_zipfile(path)):
        return False
    try:
        with ZipFile(path) as archive:
            return any(PurePosixPath(name).name == "archive_format" for name in archive.namelist())
    except BadZipFile:
        return False


def read_notes(path: str | Path) -> dict[str, Any]:
    """The description that `geqlib export` adds to a program, as JSON; the program is not read."""
    try:
        with ZipFile(path) as archive:
            names = [k for k in archive.namelist() if k.endswith(f"/extra/{NOTES}")]
            notes = json.loads(archive.read(names[0]))
            if archive.testzip() is not None:
                raise BadZipFile("a checksum disagrees")
            if missing := FACTS - set(notes):
                raise ValueError(f"{sorted(missing)[0]} is missing")
    except (IndexError, BadZipFile, OSError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged, or no program of `geqlib export` ({error}): export it again."
        ) from error
    if notes.get("format", FORMAT) != FORMAT:
        raise ValueError(
            f"{path} was written by geqlib {notes.get('version')} in the format "
            f"{notes['format']}, which this version does not know: install a newer geqlib, or "
            "export the program again with this one."
        )
    return notes


def notes_of(facts: dict[str, Any], *, compiled: bool) -> str:
    """The JSON text that goes with a program."""
    machine = {"torch": torch.__version__, "processor": _processor() if compiled else None}
    return json.dumps({"format": FORMAT} | facts | machine)


def _processor() -> str:
    """The vector instructions that torch compiles for."""
    return torch.backends.cpu.get_cpu_capability()


def _exported(path: str | Path) -> Callable[..., dict[str, Tensor]]:
    return torch.no_grad()(torch.export.load(path).module())


def _compiled(path: str | Path) -> Callable[..., dict[str, Tensor]]:
    return torch._inductor.aoti_load_package(str(path))
