"""`geqlib export`: a trained model as one file, or a potential as a program for torch alone."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

import torch
from safetensors.torch import save_file
from torch.export import ExportedProgram

from geqlib import __version__
from geqlib.atoms.potential import Potential, network_cutoff
from geqlib.files.cache import replace_file
from geqlib.files.checkpoint import data_cutoff, load, read_stored
from geqlib.files.model_file import model_header
from geqlib.files.program import DTYPES, NOTES, notes_of
from geqlib.files.tracing import forces_program, plan_kind

__all__ = ["export_model", "export_program"]
DESCRIPTION = """Write a trained model into one file. The format geqlib holds weights and how to
build the model, for geqlib.load and GeqCalculator. The others hold a potential as a program without
its Python code, for one structure of any size, with its forces and stress: torch is a program of
torch.export; compiled is machine code of AOTInductor, which needs a C++ compiler and runs on
processors like this one."""


def main(args: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = ArgumentParser("geqlib export", description=DESCRIPTION)
    parser.add_argument("checkpoint", type=Path, help="checkpoint of `geqlib fit`")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--format", choices=("geqlib", "torch", "compiled"), default="geqlib")
    parser.add_argument("--dtype", choices=DTYPES, help="of a program; the model's by default")
    given = parser.parse_args(args)
    if given.format == "geqlib" and given.dtype is not None:
        parser.error("--dtype is for programs: models can be cast after loading")
    if given.format == "geqlib":
        export_model(given.checkpoint, given.out)
    else:
        compiled = given.format == "compiled"
        dtype = None if given.dtype is None else DTYPES[given.dtype]
        export_program(given.checkpoint, given.out, compiled=compiled, dtype=dtype)
    sys.stdout.write(f"wrote {given.out}\n")
    return 0


def export_model(checkpoint: str | Path, out: str | Path) -> None:
    """A checkpoint's model without the rest: `geqlib.load` reads it as it reads checkpoints.

    Args:
        checkpoint: of `geqlib fit`.
        out: the file.

    Raises:
        ValueError: if the checkpoint is damaged, or does not say how its model was built.
        OSError: if the file cannot be written.

    Example:
        >>> export_model("runs/water/checkpoints/best.ckpt", "water.geqlib")  # doctest: +SKIP
    """
    model, stored = load(checkpoint), read_stored(checkpoint)
    # tensors that share memory are not allowed in such a file
    weights = {key: value.clone().contiguous() for key, value in model.state_dict().items()}
    description = stored["hyper_parameters"]["model"]
    header = model_header(description, weights, data_cutoff(stored))
    replace_file(Path(out), lambda part: save_file(weights, part, metadata=header))


def export_program(
    model: str | Path | Potential,
    out: str | Path,
    *,
    compiled: bool = False,
    dtype: torch.dtype | None = None,
) -> None:
    """A potential with its derivatives as a program that torch runs without geqlib.

    What it takes and gives is described at `geqlib.files.tracing.forces_program`; `GeqCalculator`
    reads it. With it goes `geqlib.json`: the cutoff, the elements, and which plan the edges need.

    Args:
        model: a checkpoint of `geqlib fit`, a file of `export_model`, or a potential in memory.
        out: the file; torch expects the ending .pt2.
        compiled: whether to compile it for this machine's processor, by AOTInductor.
        dtype: of all but sums of energies; that of the weights by default.

    Raises:
        ValueError: if the file is damaged, its model is no potential or cannot be traced, or there
            is no C++ compiler.
        OSError: if the file cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from geqlib.calculators import GeqCalculator
        >>> from geqlib.models import GauntNet
        >>> potential = Potential(GauntNet(["H"], channels=1, degree=0, order=1, layers=1))
        >>> with TemporaryDirectory() as folder:
        ...     export_program(potential, f"{folder}/hydrogen.pt2")
        ...     calculator = GeqCalculator(f"{folder}/hydrogen.pt2", trusted=True)
        >>> calculator.cutoff
        5.0
    """
    trained_at = None if isinstance(model, Potential) else data_cutoff(read_stored(model))
    found = model if isinstance(model, Potential) else load(model)
    if not isinstance(found, Potential):
        raise ValueError(
            f"{model} holds a {type(found).__name__}, which is no potential: only potentials are "
            "exported as programs."
        )
    potential = deepcopy(found).to(device="cpu", dtype=dtype)
    notes = notes_of(_facts(potential, trained_at), compiled=compiled)
    program = forces_program(potential)
    with TemporaryDirectory() as folder:
        made = Path(folder) / "program.pt2"
        if compiled:
            _compile(program, made, notes)
        else:
            torch.export.save(program, made, extra_files={NOTES: notes})
        replace_file(Path(out), lambda part: part.write_bytes(made.read_bytes()))


def _facts(potential: Potential, trained_at: float | None) -> dict[str, Any]:
    known = [c for c in (network_cutoff(potential.model), trained_at) if c is not None]
    dtype, names = next(potential.parameters()).dtype, {v: k for k, v in DTYPES.items()}
    if dtype not in names:
        raise ValueError(f"Programs compute in float32 or float64, not in {dtype}: pass dtype.")
    return {
        "version": __version__,
        "cutoff": min(known, default=None),
        "elements": potential.statistics.seen.nonzero()[:, 0].tolist(),
        "plan": plan_kind(potential),
        "dtype": names[dtype],
    }


def _compile(program: ExportedProgram, out: Path, notes: str) -> None:
    try:
        torch._inductor.aoti_compile_and_package(program, package_path=str(out))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise ValueError(
            f"torch cannot compile this program here ({reason}): install a C++ compiler, or use "
            "the format torch."
        ) from error
    with ZipFile(out, "a") as archive:
        top = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{top}/extra/{NOTES}", notes)
