"""Which code a benchmark uses: definitions at the top of modules, found without running any.

The names in a definition (function, class or assignment; a class is taken whole) lead on: to its
own module, through imports, packages that pass names on and attributes of modules, and, outside
geqlib, through strings that name a configuration, a module, a class or a script. With anything of a
module come its statements that act on import, such as registrations. Where the source alone does
not tell what is used (a module as a value, `import *`, a name that is formatted), all of the module
counts.

Not followed: annotations, but for those from which objects are built (see `Mentions`); what is
under `if TYPE_CHECKING`; what only draws, shows or writes for people (`DRAWING`, `SHOWN`,
`WRITTEN`); what acts in runs that begin with another model (`BEGINNINGS`), for scripts that do not
name the option (`BEGIN`); modules that are named in a file alone, such as the class of a
checkpoint, which has led there when the file was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.source import (
    ON_IMPORT,
    STAR,
    Import,
    Module,
    Part,
    is_plain_class,
    read_module,
    short,
)

PACKAGES = ("geqlib", "benchmarks", "tests")
# these draw what was measured, or serve import paths of old; a change of them changes no number
DRAWN_BY = ("rows", "tables", "pictures", "provenance", "source", "dependencies", "rehash", "board")
DRAWING = {f"benchmarks.{name}" for name in DRAWN_BY} | {"geqlib.moved"}
# predictions of structures in a file, for people: no benchmark reads it
WRITTEN = ("geqlib.train.runs.record", "write_structures")
SHOWN = {"PUBLISHED", "COLUMNS", "SOURCE", "SOURCES", "PROTOCOL", "NOTE"}  # of benchmarks
VERSION = "__version__"
BEGIN = {"init", "--init", "freeze", "--freeze"}
BEGINNINGS = {"geqlib.train.runs.init_arguments"} | {
    f"geqlib.train.fine_tuning.{name}"
    for name in ("force_units", "frozen", "initial", "origin", "weights")
}
# what benchmarks run as `python -m geqlib`: fit and test
COMMAND, RUN_BY_COMMAND = {"-m", "geqlib"}, "geqlib.cli.train"
CONFIG = re.compile(r"configs/[\w*]+\.yaml")
DOTTED = re.compile(rf"({'|'.join(PACKAGES)})(\.\w+)+")
PATTERN = re.compile(rf"((?:{'|'.join(PACKAGES)})(?:\.\w+)*)\.\w*\*[\w.*]*")
# what is taken from modules whose names are formatted; of others, all
TAKEN = {"tests.*.*": "TestContract"}  # by tests.properties.cases.all_cases
SCRIPT = re.compile(r"(\w+/)*\w+\.py")


class Definition(NamedTuple):
    """A name at the top of a module, or the statements that act when it is imported."""

    module: str
    name: str


class Checkout:
    """The source of the repository in some folder; each file is parsed once.

    Args:
        top: the folder.
    """

    def __init__(self, top: Path) -> None:
        self.top = top
        self._modules: dict[str, Module | None] = {}
        self._settings: dict[Path, Any] = {}
        self._references: dict[Definition, set[Definition | Path]] = {}
        self._codes: dict[Definition, str] = {}

    def reached(self, roots: Iterable[str]) -> tuple[set[Definition], set[Path]]:
        """Definitions and configurations that these lead to.

        Args:
            roots: names of modules, all of which counts, or paths of configurations.
        """
        definitions: set[Definition] = set()
        configs: set[Path] = set()
        waiting = list(self.named(roots))
        unused = set() if self._begin_with_a_model(roots) else BEGINNINGS
        while waiting:
            item = waiting.pop()
            if isinstance(item, Path):
                if item not in configs:
                    configs.add(item)
                    waiting += self.named(words(self.settings(item)))
            elif not (item in definitions or item.module in unused or _only_shows(item)):
                definitions.add(item)
                if item not in self._references:
                    self._references[item] = set(self.references(item))
                waiting += self._references[item]
        return definitions, configs

    def named(self, texts: Iterable[str]) -> Iterator[Definition | Path]:
        """What strings name: configurations, modules and names in them, scripts, programs."""
        for text in texts:
            if CONFIG.fullmatch(text):
                yield from self.top.glob(text)
            elif DOTTED.fullmatch(text):
                first, *rest = text.split(".")
                yield from self.at(first, rest)
            elif match := PATTERN.fullmatch(text):
                yield from self.whole(match[1])
                for name in self._files(f"{text.replace('.', '/')}.py"):
                    yield from self._taken(name, TAKEN.get(text))
            elif SCRIPT.fullmatch(text):
                for name in self._files(f"benchmarks/**/{text}"):
                    yield from self.whole(name)
            elif text.startswith("import "):
                for module in re.findall(r"[\w.]+", text):
                    yield from self.whole(module)

    def references(self, definition: Definition) -> Iterator[Definition | Path]:
        """What a definition refers to, and what its module does on import."""
        module, part = self._module_and_part(definition)
        if ON_IMPORT in module.parts:
            yield Definition(definition.module, ON_IMPORT)
        for name in part.names:
            yield from self._behind(name, definition)
        for name in part.tested:
            yield from (x for x in self._behind(name, definition) if not self._is_class(x))
        for name, (origin, _) in (*module.imports, *part.imports):
            if name == STAR:
                yield from self.whole(origin)
        in_geqlib = definition.module.partition(".")[0] == "geqlib"
        yield from self.named(part.modules if in_geqlib else part.strings)
        if not in_geqlib and part.strings >= COMMAND:
            yield from self.whole(RUN_BY_COMMAND)

    def at(self, name: str, attributes: Sequence[str]) -> Iterator[Definition]:
        """What attributes of a module are; all of the module without any, or if that is unclear."""
        module = self.module(name)
        if module is None:
            return
        if not attributes:
            yield from self.whole(name)
            return
        first, rest = attributes[0], attributes[1:]
        imports = dict(module.imports)
        typed = dict(module.typed) if "__getattr__" in module.parts else {}
        if first in module.parts:
            yield Definition(name, first)
        elif imports.get(first, (name, first)) != (name, first):
            yield from self._imported(imports[first], rest)
        elif self.module(f"{name}.{first}"):
            yield from self.at(f"{name}.{first}", rest)
        elif first in typed:
            yield Definition(name, "__getattr__")
            yield from self._imported(typed[first], rest)
        elif first not in ("__file__", "__name__", "__doc__"):
            yield from self.whole(name)

    def whole(self, name: str) -> Iterator[Definition]:
        """All of a module, and what a package passes on."""
        module = self.module(name) or Module()
        yield from (Definition(name, key) for key in module.parts)
        for key, (origin, attribute) in module.imports if module.package else ():
            if key == STAR:
                yield from self.whole(origin)
            elif (origin, attribute) != (name, key):
                yield from self._imported((origin, attribute), [])

    def code(self, definition: Definition) -> str:
        """A hash of what it says, and of where its names of other libraries come from."""
        if definition not in self._codes:
            module, part = self._module_and_part(definition)
            used = {first for first, *_ in part.names}
            others = sorted(x for x in module.imports if x[0] in used and not _is_own(x[1][0]))
            self._codes[definition] = short(f"{part.code} {others}")
        return self._codes[definition]

    def module(self, name: str) -> Module | None:
        """A module or folder of the repository; None for those of other libraries."""
        if name not in self._modules:
            path = self.path(name)
            folder = _is_own(name) and self.top.joinpath(*name.split(".")).is_dir()
            nothing = Module() if folder else None
            self._modules[name] = read_module(path, name) if path else nothing
        return self._modules[name]

    def path(self, name: str) -> Path | None:
        """The file of a module of the repository."""
        path = self.top.joinpath(*name.split("."))
        files = (path.with_suffix(".py"), path / "__init__.py")
        return next((file for file in files if _is_own(name) and file.is_file()), None)

    def settings(self, config: Path) -> Any:
        """The content of a configuration."""
        import yaml

        if config not in self._settings:
            self._settings[config] = yaml.safe_load(config.read_text())
        return self._settings[config]

    def _behind(self, name: Sequence[str], definition: Definition) -> Iterator[Definition]:
        """What a name in a definition stands for."""
        module, part = self._module_and_part(definition)
        first, *rest = name
        if first in module.parts:
            yield Definition(definition.module, first)
        for key, target in (*module.imports, *part.imports):
            if key == first:
                yield from self._imported(target, rest)

    def _begin_with_a_model(self, roots: Iterable[str]) -> bool:
        """Whether scripts name the option of runs that begin with another model."""
        parts = [part for root in roots for part in (self.module(root) or Module()).parts.values()]
        return any(part.strings & BEGIN for part in parts)

    def _is_class(self, definition: Definition) -> bool:
        """Whether it is a class, objects of which are made by what names it elsewhere."""
        return all(map(is_plain_class, self._module_and_part(definition)[1].nodes))

    def _imported(self, target: Import, attributes: Sequence[str]) -> Iterator[Definition]:
        module, name = target
        return self.at(module, [name, *attributes] if name else attributes)

    def _taken(self, name: str, part: str | None) -> Iterator[Definition]:
        return (each for each in self.whole(name) if part in (None, each.name))

    def _files(self, pattern: str) -> Iterator[str]:
        """The modules of matching files, but for packages."""
        for path in self.top.glob(pattern):
            if path.name != "__init__.py":
                yield ".".join(path.relative_to(self.top).with_suffix("").parts)

    def _module_and_part(self, definition: Definition) -> tuple[Module, Part]:
        module = self.module(definition.module) or Module()
        return module, module.parts[definition.name]


def words(settings: Any) -> Iterator[str]:
    """The strings of a configuration, keys and values."""
    if isinstance(settings, Mapping):
        settings = [*settings, *settings.values()]
    if isinstance(settings, list):
        for part in settings:
            yield from words(part)
    elif isinstance(settings, str):
        yield settings


def _only_shows(definition: Definition) -> bool:
    module, name = definition
    shown = SHOWN if module.startswith("benchmarks.") else {VERSION}
    return module in DRAWING or name in shown or definition == WRITTEN


def _is_own(module: str) -> bool:
    return module.partition(".")[0] in PACKAGES
