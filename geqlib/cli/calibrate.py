"""`geqlib calibrate`: standard deviations of a trained potential's energies and forces."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

DESCRIPTION = """Write a checkpoint of a potential that also gives standard deviations of energies
and forces: from the covariance of its last layer over the training structures of its run, scaled by
the errors on the validation structures. With --ensemble, from an ensemble of last layers, which is
trained on the errors on the training structures. geqlib predict writes them as energy_std and
forces_std, GeqCalculator has them as properties."""


def main(args: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = ArgumentParser("geqlib calibrate", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("run", type=Path, help="folder or checkpoint of `geqlib fit`")
    parser.add_argument(
        "--out", type=Path, help="checkpoint to write; by default calibrated.ckpt beside the other"
    )
    parser.add_argument(
        "--last", nargs="+", metavar="NAME", help="parameters of the network's last layers"
    )
    parser.add_argument("--ridge", type=float, help="s^2; by default the likeliest in validation")
    parser.add_argument(
        "--ensemble", type=int, metavar="N", help="members; without, the covariance of the layer"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the ensemble")
    options = parser.parse_args(args)
    if options.ridge is not None and options.ridge < 0:
        raise ValueError(f"--ridge must not be negative, got {options.ridge}.")
    if options.ensemble is not None and options.ensemble < 2:
        raise ValueError(f"--ensemble must be at least 2 members, got {options.ensemble}.")
    from rich.console import Console
    from rich.table import Table

    from geqlib.files.checkpoint import model_file
    from geqlib.train.calibration import calibrate

    model = model_file(options.run)
    out = options.out or model.with_name("calibrated.ckpt")
    if out.resolve() == model.resolve():
        raise ValueError(f"{out} is the model itself: name another file, with --out.")
    done = calibrate(
        options.run,
        out,
        last=options.last,
        ridge=options.ridge,
        members=options.ensemble,
        seed=options.seed,
    )
    table = Table("", "energies", "forces")
    table.add_row("factor", *(f"{factor:.3g}" for factor in done.factors))
    table.add_row("miscalibration area", *(f"{area:.3f}" for area in done.areas))
    table.add_row("mean log-likelihood", *(f"{value:.3f}" for value in done.likelihoods))
    console = Console()
    console.print(table)
    console.print(
        f"{done.features} features of {done.structures} training structures, ridge "
        f"{done.ridge:.2g}; areas (0 is best) and likelihoods (the greater the better) are those "
        "of the validation structures"
    )
    sys.stdout.write(f"wrote {out}\n")
    return 0
