"""What a number was measured with: code, configurations and data, by hash, and from which tree.

The code of a benchmark is its script and every definition of geqlib and benchmarks that the script
leads to (`benchmarks/dependencies.py`); comments, docstrings and what is only shown do not count.
Its configurations are the files in configs/ that this code names, its data the published files
(geqlib/data/published.json) that the code or the configurations name; data that is generated is
code. Where one of the three has changed, tables mark the row: `python benchmarks/rehash.py --why
NAME` lists what it was.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.dependencies import Checkout, words
from benchmarks.source import short
from benchmarks.usage import answer

TOP = Path(__file__).resolve().parents[1]
RESULTS = TOP / "benchmarks" / "results"
FIRST_EDITION = "first edition"
FORCED = "GEQLIB_DIRTY"  # environment variable that stands for --dirty in processes below
SOURCES = ("geqlib", "benchmarks", "configs", "pyproject.toml")
# results that are no script's: modules and configurations
ROOTS: dict[str, tuple[str, ...]] = {
    "demo": ("geqlib.train.run", "configs/nbody_ponita.yaml"),
    "gpu/3bpa": ("benchmarks.device.runs",),
    "gpu/nbody": ("benchmarks.device.runs",),
}
GPU_STAGES = "gpu/"  # all others of that folder are stages of one script
CHANGES = {
    "code": "older code",
    "configuration": "an older configuration",
    "data": "other data",
}
UNCOMMITTED = "uncommitted changes"
Hashes = Mapping[str, str]
UNRECORDED: dict[str, Any] = {"stamp": "a run without a record", "hashes": {}}


def start(main: Callable[[], object]) -> None:
    """Call the `main` of a benchmark if its result may be written, with or without `--dirty`.

    Raises:
        SystemExit: after its usage, if --help asks for it; with one sentence, if there are
            arguments that it does not take, or the tree has uncommitted changes; with the exit code
            of `main`, if it returns one.
    """
    if "--dirty" in sys.argv:
        sys.argv.remove("--dirty")
        os.environ[FORCED] = "1"
    answer(main, sys.argv[1:])
    try:
        refuse_dirty(Path(os.environ.get("GEQLIB_RESULTS", RESULTS)))
    except ValueError as error:
        raise SystemExit(str(error)) from error
    if code := main():
        raise SystemExit(code)


def refuse_dirty(folder: Path) -> None:
    """Results of the repository come from committed code; a folder of your own may hold any.

    Args:
        folder: of the results.

    Raises:
        ValueError: if there are uncommitted changes, without `--dirty`.
    """
    if folder.resolve() != RESULTS.resolve() or FORCED in os.environ:
        return
    if changed := uncommitted():
        raise ValueError(
            f"{changed[0]} has uncommitted changes, so that nobody could repeat the measurement: "
            "commit them, give --dirty, which marks the rows, or name another folder for results "
            "in GEQLIB_RESULTS."
        )


def uncommitted() -> list[str]:
    """Changed or untracked files that a number may depend on; none outside a repository."""
    written = (f":(exclude)benchmarks/{folder}" for folder in ("results", "budgets"))
    lines = _git("status", "--porcelain", "--", *SOURCES, *written).splitlines()
    return [line.split(maxsplit=1)[1] for line in lines]


def stamp() -> str:
    """Version, commit, date and machine, with "-dirty" after the commit if it is not all."""
    from geqlib import __version__

    commit = _git("rev-parse", "--short", "HEAD").strip() or "no commit"
    dirty = "-dirty" if uncommitted() else ""
    return f"geqlib {__version__} at {commit}{dirty}, {date.today()}, {machine()}"


def machine() -> str:
    """Processor, by its model where the system says it, and number of cores."""
    info = Path("/proc/cpuinfo")
    models = re.findall(r"model name\s*: (.+)", info.read_text()) if info.exists() else []
    return f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores"


def present(name: str) -> dict[str, Any]:
    """Arguments `stamp` and `hashes` of a row that the benchmark of this name measures now."""
    return {"stamp": stamp(), "hashes": hashes(name)}


def recorded(folder: Path, name: str) -> dict[str, Any]:
    """`present` when a run began, from the file beside its folder, written the first time."""
    from geqlib.files.atomic import replace_file

    path = folder.with_name(f"{folder.name}.provenance.json")
    if path.exists():
        return json.loads(path.read_text())
    if folder.exists():
        return UNRECORDED
    content = present(name)
    text = json.dumps(content, indent=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda part: part.write_text(text))
    return content


def oldest(runs: Iterable[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """The provenance of the runs behind a row: that of one made with other code, if there is one.

    Args:
        runs: results with the key "provenance", as `trained` and `finished` return them.
        name: of the benchmark.
    """
    every = [run["provenance"] for run in runs]
    changed = [one for one in every if changes(one["hashes"], hashes(name))]
    return (changed or every)[0]


def of_measurement(run: Mapping[str, Any], trainer: str, name: str) -> dict[str, Any]:
    """The provenance of a row about a model that another benchmark has trained.

    It is `present`, with when the training began after the stamp, as long as the training is what
    it would be today; else the stamp is that of the training, and what has changed marks the row.

    Args:
        run: results with the key "provenance".
        trainer: name of the benchmark that trains the model.
        name: of the benchmark that measures it now.
    """
    begun, now = run["provenance"], present(name)
    # the one that measures trains what is missing
    if all(marks(begun["stamp"], begun["hashes"], script) for script in (trainer, name)):
        trained = hashes(trainer)
        older = {kind: h for kind, h in begun["hashes"].items() if h != trained.get(kind)}
        mixed = now["hashes"] | older if begun["hashes"] else {}
        return {"stamp": begun["stamp"], "hashes": mixed}
    return now | {"stamp": f"{now['stamp']}; trained by {begun['stamp']}"}


def running() -> str:
    """The name of the benchmark that this process runs, such as "accuracy/nbody"."""
    path = Path(sys.argv[0]).resolve()
    folder = TOP / "benchmarks"
    return path.relative_to(folder).with_suffix("").as_posix() if folder in path.parents else ""


def marks(stamp: str, measured_with: Hashes, name: str) -> list[str]:
    """In which ways a row is no longer what its benchmark would measure; [] for a fresh one.

    Rows of the first edition, whose files had no hashes, have a mark of their own in tables.
    """
    if not stamp or FIRST_EDITION in stamp:
        return []
    dirty = [UNCOMMITTED] if "-dirty" in stamp else []
    return changes(measured_with, hashes(name)) + dirty


def changes(before: Hashes, now: Hashes) -> list[str]:
    """Words for the parts that differ; a row that has no hashes counts as older code."""
    if not before:
        return [CHANGES["code"]]
    return [word for key, word in CHANGES.items() if before.get(key) != now.get(key)]


@cache
def hashes(name: str) -> dict[str, str]:
    """Of the code, the configurations and the data of a benchmark; {} if there is none.

    It is {} also where PyYAML, by which configurations are read, is not installed.
    """
    if find_spec("yaml") is None:
        return {}
    return summary(used_by(name, checkout(TOP)))


@cache
def checkout(top: Path) -> Checkout:
    """The source in a folder, read once by this process."""
    return Checkout(top)


def summary(parts: Mapping[str, Hashes]) -> dict[str, str]:
    """A hash of each kind of what `used_by` lists."""
    return {
        kind: short("".join(f"{key} {value}\n" for key, value in each.items()))
        for kind, each in parts.items()
    }


def used_by(name: str, source: Checkout) -> dict[str, dict[str, str]]:
    """Definitions, configurations and published files that a benchmark uses, and what they are.

    Args:
        name: of the benchmark.
        source: of the repository.

    Returns:
        By kind, as in `CHANGES`, and name; {} if there is no such benchmark.
    """
    of_stage = "gpu" if name.startswith(GPU_STAGES) else name
    module = f"benchmarks.{of_stage.replace('/', '.')}"
    if name not in ROOTS and not source.path(module):
        return {}
    definitions, configs = source.reached(ROOTS.get(name, (module,)))
    modules = {definition.module for definition in definitions}
    return {
        "code": {".".join(each): source.code(each) for each in sorted(definitions)},
        "configuration": {path.name: _settings(path, source) for path in sorted(configs)},
        "data": dict(published_data(source, modules, configs)),
    }


def published_data(
    source: Checkout, modules: Iterable[str], configs: Iterable[Path]
) -> Iterator[tuple[str, str]]:
    """Name and SHA-256 of published files that benchmarks, readers or configurations name."""
    texts = {text for path in configs for text in words(source.settings(path))}
    for name in modules:
        module = source.module(name)
        if module and name.startswith(("benchmarks.", "geqlib.data.")):
            texts |= {text for part in module.parts.values() for text in part.strings}
    named = {_word(text) for text in texts}
    published = source.top / "geqlib" / "data" / "published.json"
    for group in json.loads(published.read_text()) if published.exists() else []:
        for path, (_, sha256) in sorted(group["files"].items()):
            part = next(part for part in Path(path).parts[1::-1] if part != "raw")
            if {_word(part), _word(part.partition(".")[0]), _word(path)} & named:
                yield path, sha256


def _settings(path: Path, source: Checkout) -> str:
    """A configuration without its comments, but for the variants that these list."""
    from benchmarks.variants import variants

    return json.dumps([source.settings(path), variants(path)], sort_keys=True)


@cache
def _word(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=TOP, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout if done.returncode == 0 else ""
