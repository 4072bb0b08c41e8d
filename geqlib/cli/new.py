"""`geqlib new`: a first configuration for data of one's own."""

from __future__ import annotations

import sys
import warnings
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from geqlib.cli.bar import waiting

if TYPE_CHECKING:
    from geqlib.proposals import Proposal

KINDS = ("potential", "molecules", "graphs", "points")
IN_FOLDS = ("molecules", "graphs")  # whose tables are of cross-validations
DESCRIPTION = """Look at a file, write a configuration that trains on it into the current folder,
and say what was chosen and why. Without a file, write one to fill in.

  potential  structures with energies and forces: extended XYZ, and what ASE reads
  molecules  properties of molecules: a CSV file with SMILES, or an SDF file
  graphs     classes or numbers of graphs: files, a folder for each class, or an import path
  points     classes of point clouds: a folder for each class, or CLASS/train and CLASS/test"""


def main(args: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = ArgumentParser(
        "geqlib new",
        description=DESCRIPTION,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("kind", choices=KINDS, help="what is learnt")
    parser.add_argument("file", nargs="?", help="file or folder of the data")
    parser.add_argument("--minutes", type=float, default=5.0, help="of training, 5 by default")
    parser.add_argument(
        "--keys",
        nargs="+",
        default=[],
        metavar="LABEL=KEY",
        help="of a potential: energy=U0 forces=grad stress=s, where they are not found",
    )
    parser.add_argument("--out", type=Path, help="configuration to write, NAME.yaml by default")
    options = parser.parse_args(args)
    if not options.minutes > 0:
        raise ValueError(f"--minutes must be positive, got {options.minutes}.")

    from geqlib.proposals import propose

    proposal = propose(options.kind, options.file, _pairs(options.keys))
    out = options.out or Path(f"{proposal.name}.yaml")
    if out.exists():
        raise ValueError(f"{out} exists: remove it, or name another file (--out).")
    for reason in proposal.reasons:
        sys.stdout.write(f"- {reason}\n")
    text = configuration(proposal, options, str(out))

    from geqlib.files.atomic import replace_file

    replace_file(out, lambda part: part.write_text(text, encoding="utf-8"))
    run = f"runs/{proposal.name}"
    sys.stdout.write(f"wrote {out}. Next:\n\n")
    use = f"cv --config {out}" if options.kind in IN_FOLDS else f"predict {run} FILE"
    for command in (f"fit --config {out}", f"test {run}", use):
        sys.stdout.write(f"  geqlib {command}\n")
    return 0


def _pairs(words: Sequence[str]) -> dict[str, str]:
    for word in words:
        if not all(word.partition("=")):
            raise ValueError(f"--keys {word} is not LABEL=KEY, such as energy=U0.")
    return dict(word.split("=", 1) for word in words)


def in_minutes(seconds: float) -> str:
    """A time in words.

    Example:
        >>> in_minutes(59.9), in_minutes(6), in_minutes(130)
        ('1 minute', '0.1 minutes', '2.2 minutes')
    """
    number = f"{seconds / 60:.2g}"
    return f"{number} minute" if number == "1" else f"{number} minutes"


def configuration(proposal: Proposal, options: Namespace, out: str) -> str:
    """The configuration, with the number of epochs that the budget of minutes allows."""
    from geqlib.proposals.proposal import EPOCHS, MOST_EPOCHS

    if options.file is None:
        return proposal.text(EPOCHS, "`geqlib new` measures it where there is a file", out)
    import yaml

    from geqlib.proposals.pace import measure

    with waiting("a few steps, to measure the pace"), warnings.catch_warnings():
        # which the proposal says
        warnings.filterwarnings("ignore", message=r".*molecules are left out")
        pace = measure(yaml.safe_load(proposal.text(1, "a trial")))
    epochs = pace.epochs(options.minutes, MOST_EPOCHS)
    spent = in_minutes(epochs * pace.epoch)
    measured = f"{pace.step:.2g} s a step and {pace.epoch:.2g} s an epoch"
    sys.stdout.write(f"- max_epochs {epochs}: {spent} at {measured}, measured on {pace.device}\n")
    if pace.epoch > 60 * options.minutes:
        sys.stdout.write("  (one epoch takes longer than the budget: give it more --minutes)\n")
    return proposal.text(epochs, f"about {spent}: {measured}, measured", out)
