"""`geqlib sample`: molecules of a trained denoiser, resumable, with their scores."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geqlib.generation import Molecules
    from geqlib.train.tasks.diffusion import MoleculeDiffusion

DESCRIPTION = """Sample molecules from a checkpoint of MoleculeDiffusion, and print their scores.
Finished batches are kept beside the output until it is whole: the same command goes on where it was
stopped, with the same result. Molecules that end in NaN are left out of the file and counted."""


def main(args: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    options = _parser().parse_args(args)
    from geqlib.files.molecule_files import check_ending

    check_ending(options.out)
    folder = options.out.with_name(f"{options.out.name}.parts")
    if options.out.exists() and not options.overwrite and not folder.exists():
        raise ValueError(f"{options.out} exists: name another file, or --overwrite it.")
    molecules, task = _sampled(options, folder)
    write(options.out, molecules)
    from geqlib.train.samples import remove_samples

    remove_samples(folder)
    report(molecules, task)
    sys.stdout.write(f"wrote {options.out}: {len(molecules) - dropped(molecules)} molecules\n")
    return 0


def write(path: Path, molecules: Molecules) -> None:
    """Write all molecules but the dropped ones."""
    from geqlib.files.molecule_files import write_molecules

    whole = ~molecules.dropped
    atoms = whole[molecules.batch]
    names = whole.nonzero()[:, 0].tolist()
    lengths = molecules.lengths[whole]
    write_molecules(path, molecules.numbers[atoms], molecules.pos[atoms], lengths, names)


def report(molecules: Molecules, task: MoleculeDiffusion) -> None:
    """Print the scores with the name of their rules."""
    from geqlib.generation import EDM_RULES
    from geqlib.train.tasks.diffusion import scores_of

    chemistry = find_spec("rdkit") is not None
    sys.stdout.write(f"{scores_of(molecules, validity=chemistry)}\n")
    if not chemistry:
        sys.stdout.write('validity and uniqueness: pip install "geqlib[molecules]"\n')
    if lost := dropped(molecules):
        sys.stdout.write(f"dropped: {lost} of {len(molecules)} ended in NaN, not in the file\n")
    if task.rules != EDM_RULES.name:
        sys.stdout.write(
            f"the training was scored by the rules {task.rules}, these samples by "
            f"{EDM_RULES.name}\n"
        )


def dropped(molecules: Molecules) -> int:
    """How many ended in NaN."""
    return int(molecules.dropped.sum())


def histogram_line(histogram: Mapping[int, int]) -> str:
    """A histogram of atoms in a few words.

    Example:
        >>> histogram_line({3: 1, 19: 5, 29: 2})
        '3 to 29 atoms, most often 19, as in 8 training molecules'
    """
    if not histogram:
        return "unknown"
    mode = max(histogram, key=lambda n: histogram[n])
    few, most, total = min(histogram), max(histogram), sum(histogram.values())
    return f"{few} to {most} atoms, most often {mode}, as in {total} training molecules"


def _sampled(options: Any, folder: Path) -> tuple[Molecules, MoleculeDiffusion]:
    import torch
    from rich.console import Console
    from rich.progress import track

    from geqlib.train.samples import (
        SampleSettings,
        complete_samples,
        load_diffusion,
        remove_samples,
    )

    task = load_diffusion(options.checkpoint)
    task.to(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    changes = {"steps": options.steps, "sigma_max": options.sigma_max, "churn": options.churn}
    named = {name: value for name, value in changes.items() if value is not None}
    settings = SampleSettings(
        options.seed,
        options.batch_size,
        replace(task.sampler, **named),
        options.atoms,
        options.property,
        options.guidance,
    )
    sizes = histogram_line(task.histogram)
    if options.atoms is not None:
        sizes = f"{options.atoms} atoms each, in place of the checkpoint's ({sizes})"
    sys.stdout.write(f"species {', '.join(task.denoiser.species)}; {sizes}\n")
    sys.stdout.flush()
    if options.overwrite:
        remove_samples(folder)
    console = Console(stderr=True)
    molecules = complete_samples(
        task,
        options.checkpoint,
        folder,
        options.count,
        settings,
        progress=lambda batches: track(
            batches, "samples", console=console, disable=not console.is_terminal
        ),
    )
    return molecules, task


def _parser() -> ArgumentParser:
    parser = ArgumentParser("geqlib sample", description=DESCRIPTION)
    parser.add_argument("checkpoint", type=Path, help="of MoleculeDiffusion, or folder of its run")
    parser.add_argument("--count", type=int, default=10_000, help="of molecules, 10 000 by default")
    parser.add_argument("--out", type=Path, required=True, help=".xyz, .extxyz or .sdf to write")
    parser.add_argument("--seed", type=int, default=0, help="of all samples")
    parser.add_argument("--batch-size", type=int, default=100, help="molecules at once")
    parser.add_argument("--atoms", type=int, help="of each, in place of the training histogram")
    parser.add_argument("--steps", type=int, help="noise levels; by default as in training")
    parser.add_argument("--sigma-max", type=float, help="largest noise level; the same")
    parser.add_argument("--churn", type=float, help="noise added on the way; the same")
    parser.add_argument("--property", type=float, help="of conditional models, in the data's unit")
    parser.add_argument("--guidance", type=float, default=0.0, help="how far it is overdone")
    parser.add_argument("--device", help="cpu or cuda; a GPU by default where there is one")
    parser.add_argument("--overwrite", action="store_true", help="replace the file and its parts")
    return parser
