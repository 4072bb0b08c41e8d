"""`geqlib md`: molecular dynamics of one structure with a trained potential."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DESCRIPTION = """Molecular dynamics of the first structure of a file. The same command goes on from
the last frame of its trajectory, as if it had not been stopped; more --steps make a longer one."""


def main(args: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    options = _parser().parse_args(args)
    from functools import partial

    from rich.progress import track

    from geqlib.calculators.alarm import ExtrapolationAlarm
    from geqlib.calculators.dynamics import Dynamics, simulate

    settings = Dynamics(
        options.ensemble,
        temperature=options.temperature,
        pressure=options.pressure,
        timestep=options.timestep,
        every=options.every,
        thermostat=options.thermostat,
        barostat=options.barostat,
        seed=options.seed,
    )
    atoms = structures(options.file)[0]
    atoms.calc = calculator(options)
    alarm = None if options.limit is None else ExtrapolationAlarm(atoms, options.limit)
    bar = partial(track, description=f"{len(atoms)} atoms, {options.ensemble}")
    summary = simulate(
        atoms,
        options.out,
        settings,
        options.steps,
        made_with=made_with(options),
        progress=bar,
        after_frame=alarm,
    )
    _show(summary, settings)
    sys.stdout.write(f"wrote {options.out}\n")
    return 0


def calculator(options: Any) -> Any:
    """The calculator of a command, in float64 unless it says otherwise."""
    import torch

    from geqlib.calculators.ase import GeqCalculator
    from geqlib.files.exported_program import is_program

    if is_program(options.model):
        raise ValueError(
            f"{options.model} is a program, which can run any code when it is read: give the "
            "checkpoint, or a model of `geqlib export --format geqlib`, which runs none."
        )
    dtype = getattr(torch, options.dtype)
    return GeqCalculator(options.model, device=options.device, dtype=dtype, level=options.level)


def structures(path: Path) -> list[Any]:
    """All structures of a file, at least one."""
    from geqlib.cli.check import read_structures

    frames = read_structures(str(path))
    if not frames:
        raise ValueError(f"{path} holds no structures.")
    return frames


def made_with(options: Any) -> dict[str, str]:
    """What results depend on beside the settings."""
    from geqlib.calculators.made_with import file_digest
    from geqlib.files.checkpoint import model_file

    model = {"model": file_digest(model_file(options.model)), "dtype": options.dtype}
    return model if options.level is None else model | {"level": options.level}


def add_model(parser: ArgumentParser) -> None:
    """The arguments that name a model, a file and where to compute."""
    parser.add_argument("model", type=Path, help="folder of a run, checkpoint or .geqlib file")
    parser.add_argument("file", type=Path, help="structures, in any format of ASE")
    parser.add_argument("--device", help="such as cuda; that of the model by default")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float64")
    parser.add_argument("--level", metavar="NAME", help="of theory, of potentials with several")


def _parser() -> ArgumentParser:
    parser = ArgumentParser("geqlib md", description=DESCRIPTION, allow_abbrev=False)
    add_model(parser)
    parser.add_argument("--out", type=Path, required=True, help=".traj file to write or go on with")
    parser.add_argument("--steps", type=int, required=True, help="of the whole trajectory")
    parser.add_argument("--ensemble", choices=("nve", "nvt", "npt"), default="nve")
    parser.add_argument("--temperature", type=float, default=300.0, help="in kelvin")
    parser.add_argument("--pressure", type=float, default=0.0, help="in GPa, for npt")
    parser.add_argument("--timestep", type=float, default=0.5, help="in femtoseconds")
    parser.add_argument("--every", type=int, default=10, help="steps between frames")
    parser.add_argument("--thermostat", type=float, default=100.0, help="time constant in fs")
    parser.add_argument("--barostat", type=float, default=1000.0, help="time constant in fs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--limit",
        type=float,
        help="stop where a force is less certain, in eV/angstrom: needs `geqlib calibrate`",
    )
    return parser


def _show(summary: Any, settings: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", settings.ensemble)
    table.add_row("steps", str(summary.steps))
    table.add_row("picoseconds", f"{summary.steps * settings.timestep / 1000:.4g}")
    if summary.per_second:
        table.add_row("steps per second", f"{summary.per_second:.3g}")
    table.add_row("mean temperature, K", f"{summary.temperature:.1f}")
    if summary.volume is not None:
        table.add_row("mean volume, Å³", f"{summary.volume:.2f}")
    if settings.ensemble == "nve" and summary.steps > settings.every:  # two frames have no drift
        table.add_row("energy drift, meV/atom/ps", f"{summary.drift:.3g}")
        table.add_row("energy fluctuation, meV/atom", f"{summary.fluctuation:.3g}")
    Console().print(table)
