"""What a benchmark script answers to --help, and to arguments that it does not take."""

from __future__ import annotations

import inspect
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path

# in scripts that read their arguments without a parser; the second does so in another module
READS = ("sys.argv", "printed_memory")


def answer(main: Callable[[], object], arguments: Sequence[str]) -> None:
    """Return if a script may begin to measure with these arguments.

    A script that has a parser of its own answers itself. One that reads `sys.argv`, such as those
    that measure memory in processes of their own, judges its arguments itself, but for --help. All
    others take no arguments.

    Args:
        main: of the script; its module is what is looked at.
        arguments: of the command line.

    Raises:
        SystemExit: with 0 after the usage that the docstring states, where --help asks for it; with
            2 after one sentence, where there are arguments of a script that takes none.
    """
    module = sys.modules[main.__module__]
    source = inspect.getsource(module)
    if "ArgumentParser" in source:
        if {"-h", "--help"} & {*arguments}:
            main()
        return
    parser = usage_parser(Path(str(module.__file__)).name, module.__doc__ or "")
    if any(word in source for word in READS):
        parser.parse_known_args(arguments)
    else:
        parser.parse_args(arguments)


def usage_parser(script: str, about: str) -> ArgumentParser:
    """A parser of --help alone, with the title of a docstring and the commands that it shows.

    Example:
        >>> about = "Speed of sums.\\n\\n    python benchmarks/speed/sums.py [rounds]"
        >>> usage_parser("sums.py", about).format_usage()
        'usage: python benchmarks/speed/sums.py [rounds]\\n'
    """
    commands = [line.strip() for line in about.splitlines() if "python benchmarks/" in line]
    usage = "\n       ".join(commands).replace("%", "%%") or None
    return ArgumentParser(script, usage=usage, description=about.split("\n")[0])
