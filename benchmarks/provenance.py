"""What a number was measured with: code, configurations and data, by hash, and from which tree.

The code of a benchmark is its script and every module of geqlib and benchmarks that it imports, or
that a configuration names, directly or through others; comments, docstrings and what is only shown
(`SHOWN`, `DRAWING`) do not count. Its configurations are the files in configs/ that its source
names, its data the published files (geqlib/data/published.json) that source or configurations name;
data that is generated is code. Where one of the three has changed, tables mark the row.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import yaml

TOP = Path(__file__).resolve().parents[1]
RESULTS = TOP / "benchmarks" / "results"
FIRST_EDITION = "first edition"
FORCED = "GEQLIB_DIRTY"  # environment variable that stands for --dirty in processes below
SOURCES = ("geqlib", "benchmarks", "configs", "pyproject.toml")
# these draw what was measured; a change of them changes no number
DRAWING = {f"benchmarks.{name}" for name in ("rows", "tables", "pictures", "provenance", "board")}
SHOWN = {"PUBLISHED", "COLUMNS", "SOURCE", "SOURCES", "PROTOCOL", "NOTE"}
# results that are no script's: modules and configurations
ROOTS = {"demo": ("geqlib.train.run", "configs/nbody_ponita.yaml")}
ROOTS["gpu/3bpa"] = ROOTS["gpu/nbody"] = ("benchmarks.device.runs",)
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
        SystemExit: with one sentence, if the tree has uncommitted changes; with the exit code of
            `main`, if it returns one.
    """
    if "--dirty" in sys.argv:
        sys.argv.remove("--dirty")
        os.environ[FORCED] = "1"
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
    from importlib.metadata import version

    commit = _git("rev-parse", "--short", "HEAD").strip() or "no commit"
    dirty = "-dirty" if uncommitted() else ""
    return f"geqlib {version('geqlib')} at {commit}{dirty}, {date.today()}, {machine()}"


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


def running() -> str:
    """The name of the benchmark that this process runs, such as "accuracy/nbody"."""
    path = Path(sys.argv[0]).resolve()
    folder = TOP / "benchmarks"
    return path.relative_to(folder).with_suffix("").as_posix() if folder in path.parents else ""


def marks(stamp: str, measured_with: Hashes, name: str) -> list[str]:
    """In which ways a row is no longer what its benchmark would measure; [] for a fresh one.

    Rows of the first edition have a sentence of their own below their tables.
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
    """Of the code, the configurations and the data of a benchmark; {} if there is none."""
    of_stage = "gpu" if name.startswith(GPU_STAGES) else name
    script = TOP / "benchmarks" / f"{of_stage}.py"
    if name not in ROOTS and not script.is_file():
        return {}
    roots = ROOTS.get(name) or (f"benchmarks.{of_stage.replace('/', '.')}",)
    modules, configs = reached(roots)
    code = "".join(f"{module} {_code(module)}\n" for module in sorted(modules))
    settings = "".join(f"{path.name} {_settings(path)}\n" for path in sorted(configs))
    return {
        "code": _short(code),
        "configuration": _short(settings),
        "data": _short("".join(published_data(modules, configs))),
    }


def reached(roots: Sequence[str]) -> tuple[set[str], set[Path]]:
    """Modules and configurations that these lead to; packages only pass names on."""
    modules: set[str] = set()
    configs: set[Path] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name.endswith(".yaml"):
            paths = set(TOP.glob(name)) - configs
            configs |= paths
            waiting += [name for path in paths for name in _named(_strings(_yaml(path)))]
        elif name not in modules | DRAWING and not _is_package(name):
            modules.add(name)
            waiting += _imported(name)
            if name.startswith("benchmarks."):
                waiting += _named(_patterns(name))
    return modules, configs


def published_data(modules: Iterable[str], configs: Iterable[Path]) -> Iterator[str]:
    """Name and SHA-256 of published files that benchmarks, readers or configurations name."""
    words = {_word(text) for path in configs for text in _strings(_yaml(path))}
    for module in modules:
        if module.startswith(("benchmarks.", "geqlib.data.")):
            words |= {_word(text) for text in _patterns(module)}
    for group in json.loads((TOP / "geqlib" / "data" / "published.json").read_text()):
        for path, (_, sha256) in sorted(group["files"].items()):
            part = next(part for part in Path(path).parts[1::-1] if part != "raw")
            if {_word(part), _word(part.partition(".")[0]), _word(path)} & words:
                yield f"{path} {sha256}\n"


@cache
def _imported(module: str) -> list[str]:
    """Modules of the repository that a module imports anywhere, where names are defined."""
    names: list[str] = []
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if _path(alias.name)]
        if isinstance(node, ast.ImportFrom) and node.module and _path(node.module):
            names += [_home(node.module, alias.name) for alias in node.names]
    return names


def _home(module: str, name: str) -> str:
    """The module in which `from module import name` is defined."""
    if _path(f"{module}.{name}"):
        return f"{module}.{name}"
    if _is_package(module):
        for node in ast.walk(_tree(module)):
            if not isinstance(node, ast.ImportFrom) or name not in {a.name for a in node.names}:
                continue
            if node.module and _path(node.module):
                return _home(node.module, name)
    return module


def _named(texts: Iterable[str]) -> Iterator[str]:
    """Configurations and import paths of classes among strings."""
    for text in texts:
        if re.fullmatch(r"configs/[\w*]+\.yaml", text):
            yield text
        elif re.fullmatch(r"(geqlib|benchmarks)(\.\w+)+", text):
            if _path(text):
                yield text
            elif _path(text.rpartition(".")[0]):
                yield _home(*text.rsplit(".", 1))


@cache
def _patterns(module: str) -> list[str]:
    """The strings of a module, with "*" for what is formatted into them."""
    texts: list[str] = []
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
        if isinstance(node, ast.JoinedStr):
            parts = (p.value if isinstance(p, ast.Constant) else "*" for p in node.values)
            texts.append("".join(map(str, parts)))
    return texts


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    if isinstance(value, list):
        for part in value:
            yield from _strings(part)
    elif isinstance(value, str):
        yield value


def _settings(path: Path) -> str:
    """A configuration without its comments, but for the variants that these list."""
    from benchmarks.variants import variants

    return json.dumps([_yaml(path), variants(path)], sort_keys=True)


@cache
def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@cache
def _path(module: str) -> Path | None:
    path = TOP.joinpath(*module.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def _is_package(module: str) -> bool:
    path = _path(module)
    return path is not None and path.name == "__init__.py"


@cache
def _tree(module: str) -> ast.Module:
    path = _path(module)
    return ast.parse(path.read_text()) if path else ast.Module([], [])


@cache
def _code(module: str) -> str:
    return _short(" ".join(_tokens(_tree(module))))


def _tokens(node: Any) -> Iterator[str]:
    """The same for all versions of Python: names and fields of the tree that hold something."""
    if isinstance(node, ast.AST):
        yield type(node).__name__
        for name, value in ast.iter_fields(node):
            if name == "body" and isinstance(value, list) and _documented(node):
                value = value[1:]
            if value is not None and value != []:
                yield name
                yield from _tokens(value)
    elif isinstance(node, list):
        for part in node:
            if not _shown(part):
                yield from _tokens(part)
    else:
        yield repr(node)


def _documented(node: ast.AST) -> bool:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None


def _shown(node: Any) -> bool:
    """Whether a statement only sets what is shown."""
    if isinstance(node, ast.AnnAssign):
        return isinstance(node.target, ast.Name) and node.target.id in SHOWN
    if isinstance(node, ast.Assign):
        return all(isinstance(t, ast.Name) and t.id in SHOWN for t in node.targets)
    return False


def _word(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=TOP, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout if done.returncode == 0 else ""
