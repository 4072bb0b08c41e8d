"""The `geqlib` command."""

from __future__ import annotations

import re
import sys
import warnings
from argparse import ArgumentError, ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TRAINING = ("fit", "validate", "test", "predict")
USAGE = """usage: geqlib COMMAND [options]

  fit       train: geqlib fit --config configs/nbody_ponita.yaml
  validate  measure on the validation split
  test      measure on the test split, write results.json
  predict   write predictions.safetensors
  cv        folds x seeds, both protocols: geqlib cv --config configs/tu_spen.yaml
  learning-curve
            errors at several sizes: geqlib learning-curve --config FILE --sizes 50 100 200
  check     print the symmetry errors of a model: geqlib check CHECKPOINT | --config FILE
  bench     run benchmarks of a clone by name: geqlib bench accuracy nbody
  report    table, pictures and page of runs: geqlib report RUN... --out DIR
            without runs, of all benchmarks
  export    one file to use elsewhere: geqlib export CHECKPOINT --out FILE.geqlib

`geqlib COMMAND --help` lists the options of a command.
"""


def main(args: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code. Errors of the user's are one sentence on stderr."""
    args = list(sys.argv[1:] if args is None else args)
    commands = dict.fromkeys(TRAINING, _train) | {"cv": _cv, "check": _check}
    commands |= {"report": _report, "learning-curve": _learning_curve, "export": _export}
    commands |= {"bench": _bench}
    if not args or args[0] in ("-h", "--help"):
        sys.stdout.write(USAGE)
        return 0 if args else 2
    if args[0] == "--version":
        from geqlib import __version__

        sys.stdout.write(f"geqlib {__version__}\n")
        return 0
    if args[0] not in commands:
        return _fail(f"there is no command {args[0]!r}: choose one of {', '.join(commands)}.")
    # torch_geometric, e3nn and torch itself still call it; nothing that a user could change
    warnings.filterwarnings("ignore", message=".*torch.jit.script")
    try:
        return commands[args[0]](args)
    except (ValueError, OSError, ArgumentError) as error:
        return _fail(_sentence(error))


def _train(args: list[str]) -> int:
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    from geqlib.train.cli import TrainCLI

    try:
        TrainCLI(args)
    except SIGTERMException:
        return _stopped("SIGTERM", 143)
    except SystemExit as stop:  # so Lightning ends after Ctrl-C, without a word
        if not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        return _stopped("SIGINT", 130)
    return 0


def _cv(args: list[str]) -> int:
    from geqlib.cli.cv import main

    return main(args[1:])


def _learning_curve(args: list[str]) -> int:
    from geqlib.cli.learning_curve import main

    return main(args[1:])


def _bench(args: list[str]) -> int:
    from geqlib.cli.bench import main

    return main(args[1:])


def _export(args: list[str]) -> int:
    from geqlib.files.export import main

    return main(args[1:])


def _check(args: list[str]) -> int:
    from geqlib.cli.check import check_model

    parser = ArgumentParser("geqlib check", description="Measure the symmetry errors of a model.")
    parser.add_argument("checkpoint", nargs="?", type=Path, help="checkpoint of `geqlib fit`")
    parser.add_argument("--config", type=Path, help="configuration, for an untrained model")
    parser.add_argument("--samples", type=int, default=8, help="random group elements each")
    given = parser.parse_args(args[1:])
    if (given.checkpoint is None) == (given.config is None):
        raise ValueError("geqlib check needs a checkpoint or --config FILE, one of the two.")
    check_model(given.checkpoint, given.config, given.samples)
    return 0


def _report(args: list[str]) -> int:
    from geqlib.cli.bench import sections
    from geqlib.report import write_board, write_report

    parser = ArgumentParser("geqlib report", description="Table, pictures and page of runs.")
    parser.add_argument("runs", nargs="*", type=Path, help="run folders; all benchmarks without")
    parser.add_argument("--board", action="store_true", help="draw the results of the benchmarks")
    parser.add_argument("--out", type=Path, default=Path("report"), help="folder to write")
    given = parser.parse_args(args[1:])
    if given.runs and given.board:
        raise ValueError("--board draws the benchmarks, not runs: name runs, or give --board.")
    page: Any = (
        write_report(given.runs, given.out) if given.runs else write_board(sections(), given.out)
    )
    sys.stdout.write(f"wrote {page} and {Path(page).with_suffix('.html')}\n")
    return 0


def _stopped(signal: str, code: int) -> int:
    sys.stderr.write(
        f"geqlib: stopped by {signal}; resume with --ckpt_path RUN/checkpoints/last.ckpt\n"
    )
    return code


def _sentence(error: Exception) -> str:
    """One line; of jsonargparse's reports, which list every type that was tried, the reason."""
    if isinstance(error, UnicodeDecodeError):
        return f"a file that the command names is not UTF-8 text ({error}): save it as such."
    tried = r"Does not validate against any of the Union subtypes\s+Subtypes: .*?\s+Errors:\s+- "
    text = re.sub(tried, "", str(error), flags=re.DOTALL)
    reason = " ".join(re.split(r"\s+- Expected a <class 'NoneType'>", text)[0].split())
    value = re.search(r"Given value: (?!Namespace|NestedArg)(.{1,60})\Z", text)
    return f"{reason}. Got value: {value[1]}" if value and "Got value" not in reason else reason


def _fail(sentence: str) -> int:
    sys.stderr.write(f"geqlib: error: {sentence}\n")
    return 2
