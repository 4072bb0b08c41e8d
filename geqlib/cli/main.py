"""The `geqlib` command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from geqlib.cli.renamed import with_todays_configuration
from geqlib.cli.shipped import with_shipped_configurations
from geqlib.extras import missing_package
from geqlib.quiet import quiet, seed_said_once

TRAINING = ("fit", "validate", "test", "predict")
USING = ("test", "predict")  # which take a trained model in place of a configuration, too
SWEEPS = ("cv", "learning-curve", "sweep", "price", "brec", "sample")
# which build what checkpoints name
TRUSTING = (
    *("fit", "test", "predict", "check", "export"),
    *("md", "relax", "calibrate", "select", "sample"),
)
# command -> module of this package, whose `main` takes the arguments after the command
MODULES = {
    "new": "new",
    "cv": "cv",
    "learning-curve": "learning_curve",
    "sweep": "sweep",
    "price": "price",
    "check": "check",
    "bench": "bench",
    "report": "report",
    "export": "export",
    "calibrate": "calibrate",
    "select": "select",
    "md": "md",
    "relax": "relax",
    "motifs": "motifs",
    "brec": "brec",
    "sample": "sample",
}
# extra that a command needs, where it is not "train"
NEEDS = {"report": "report", "export": "atoms"}
USAGE = """usage: geqlib COMMAND [options]

  new       a first configuration: geqlib new potential | molecules | graphs | points [FILE]
  fit       train: geqlib fit --config FILE
            begin with a trained model: geqlib fit --config FILE --init RUN
  validate  measure on the validation split
  test      measure a trained model: geqlib test MODEL [FILE]
            the test split of a run, in results.json: geqlib test --config FILE --ckpt_path FILE
  predict   a trained model on any file, with or without labels: geqlib predict MODEL FILE
  cv        folds x seeds, both protocols: geqlib cv --config FILE
  learning-curve
            errors at several sizes: geqlib learning-curve --config FILE --sizes 50 100 200
  sweep     several settings and seeds: geqlib sweep --config FILE --model.lr 1e-3 3e-3
  price     what symmetries cost: geqlib price --config FILE --groups "SO(2)" "SO(3)" --eps 0.1
  check     print the symmetry errors of a model: geqlib check CHECKPOINT | --config FILE
            energies and forces: geqlib check CHECKPOINT --structures FILE, or
            geqlib check --calculator MODULE:FUNCTION --structures FILE
  bench     run benchmarks of a clone by name: geqlib bench accuracy nbody
  report    table, pictures and page of runs: geqlib report RUN... --out DIR; of a sweep, all runs
            without runs, of all benchmarks
  md        molecular dynamics: geqlib md MODEL FILE --out water.traj --steps 10000
  relax     relaxed structures: geqlib relax MODEL FILE --out relaxed.xyz [--cell]
  calibrate standard deviations of a potential: geqlib calibrate MODEL
  select    structures to label next: geqlib select CALIBRATED FILE --count 20 --out FILE
  export    one file to use elsewhere: geqlib export CHECKPOINT --out FILE.geqlib
  motifs    which networks can count a motif: geqlib motifs C6 K4 --data MUTAG
  sample    molecules or graphs: geqlib sample CHECKPOINT --count 10000 --out samples.xyz
  brec      pairs of graphs that a network separates: geqlib brec --config FILE

Models with code of your own: --trust MODULE lets commands build it from checkpoints.
`geqlib COMMAND --help` lists the options of a command.
"""


def main(args: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code. A user's error is one sentence on stderr."""
    args = list(sys.argv[1:] if args is None else args)
    if not args or args[0] in ("-h", "--help"):
        sys.stdout.write(USAGE)
        return 0 if args else 2
    if args[0] == "--version":
        from geqlib import __version__

        sys.stdout.write(f"geqlib {__version__}\n")
        return 0
    commands = (*TRAINING, *MODULES)
    if args[0] not in commands:
        return _fail(f"there is no command {args[0]!r}: choose one of {', '.join(commands)}.")
    with quiet(), seed_said_once():
        try:
            return _run(args[0], args[1:])
        except UnicodeDecodeError as error:
            return _fail(
                f"a file that the command names is not UTF-8 text ({error}): save it as such."
            )
        except ImportError as error:
            needed = missing_package(error, [NEEDS.get(args[0], "train")])
            return _fail(needed or " ".join(str(error).split()))
        except (ValueError, OSError) as error:
            return _fail(" ".join(str(error).split()))
        except KeyboardInterrupt:
            return _stopped(args[0], "SIGINT", 130)
        except BaseException as error:
            # Lightning's own exception, whose import would take longer than some commands
            if type(error).__name__ != "SIGTERMException":
                raise
            return _stopped(args[0], "SIGTERM", 143)


def _run(command: str, args: list[str]) -> int:
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # so that configurations can name modules of the folder
    if command in TRUSTING and "--trust" in (word.partition("=")[0] for word in args):
        from geqlib.files.checkpoint import trusting

        modules, args = trusted_modules(args)
        with trusting(*modules):
            return _run(command, args)
    args = with_shipped_configurations(with_todays_configuration(args))
    if command in USING and args and not args[0].startswith("-"):
        return import_module("geqlib.cli.use").main(command, args)
    if command in TRAINING:
        return import_module("geqlib.cli.train").main(command, args)
    return import_module(f"geqlib.cli.{MODULES[command]}").main(args)


def trusted_modules(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """The modules named by `--trust MODULE`, and the other arguments.

    Raises:
        ValueError: if a module is missing.

    Example:
        >>> trusted_modules(["check", "a.ckpt", "--trust", "my_net", "--trust=other"])
        (['my_net', 'other'], ['check', 'a.ckpt'])
    """
    modules, rest, words = [], [], list(args)
    while words:
        option, equals, value = words.pop(0).partition("=")
        if option != "--trust":
            rest.append(f"{option}{equals}{value}")
            continue
        module = value if equals else words.pop(0) if words else ""
        if not module or module.startswith("-"):
            raise ValueError("--trust needs the name of a module, such as --trust my_project.")
        modules.append(module)
    return modules, rest


def _stopped(command: str, signal: str, code: int) -> int:
    resumed = {
        **dict.fromkeys(TRAINING, "; resume with --ckpt_path RUN/checkpoints/last.ckpt"),
        **dict.fromkeys(SWEEPS, "; the same command goes on"),
    }
    sys.stderr.write(f"geqlib: stopped by {signal}{resumed.get(command, '')}\n")
    return code


def _fail(sentence: str) -> int:
    sys.stderr.write(f"geqlib: error: {sentence}\n")
    return 2
