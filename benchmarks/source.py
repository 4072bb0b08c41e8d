"""What stands at the top of a module, and what it mentions, read from its source alone."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

# names of statements that define none: those that act on import, and those of a script
ON_IMPORT, AS_SCRIPT = "(on import)", "(as a script)"
# decorators that change nothing but what they decorate: first or last part of their names
HARMLESS = {"cache", "contextmanager", "dataclass", "jit", "lru_cache", "no_grad", "overload"}
HARMLESS |= {"pytest"}
REGISTERS = re.compile(r"register|library")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
STAR = "*"
Dotted = tuple[str, ...]
Import = tuple[str, str]  # a module, and a name in it; "" for the module itself


@dataclass(frozen=True)
class Part:
    """Statements at the top of a module that define a name, or act on import.

    Args:
        package: of the module, which relative imports begin with.
        nodes: the statements.
    """

    package: str
    nodes: list[ast.stmt] = field(default_factory=list)

    @cached_property
    def names(self) -> set[Dotted]:
        """Names that are used, with attributes: `run.fit` is ("run", "fit")."""
        return self._mentions.names

    @cached_property
    def tested(self) -> set[Dotted]:
        """Those that are used only in `isinstance` and `issubclass`."""
        return self._mentions.tested - self._mentions.names

    @cached_property
    def modules(self) -> set[str]:
        """Names of what `import_module` or a `class_path` builds, "*" for what is formatted."""
        return self._mentions.modules

    @cached_property
    def strings(self) -> set[str]:
        """All strings, with "*" for what is formatted into them."""
        return set(strings(self.nodes))

    @cached_property
    def imports(self) -> list[tuple[str, Import]]:
        """Names that are bound by imports inside; `STAR` for all names of a module."""
        return list(imports(self.nodes, self.package))

    @cached_property
    def code(self) -> str:
        """The statements without comments, docstrings and layout."""
        return " ".join(tokens(self.nodes))

    @cached_property
    def _mentions(self) -> Mentions:
        mentions = Mentions()
        for node in self.nodes:
            mentions.visit(node)
        return mentions


@dataclass(frozen=True)
class Module:
    """A module.

    Args:
        package: whether it is an `__init__.py`, which passes names on.
        parts: by the name that they define, by `ON_IMPORT` or by `AS_SCRIPT`.
        imports: names that are bound at the top; `STAR` for all names of a module.
        typed: those under `if TYPE_CHECKING`, which a `__getattr__` may serve.
    """

    package: bool = False
    parts: dict[str, Part] = field(default_factory=dict)
    imports: list[tuple[str, Import]] = field(default_factory=list)
    typed: list[tuple[str, Import]] = field(default_factory=list)


def read_module(path: Path, name: str) -> Module:
    """What stands at the top of a file.

    Args:
        path: of the file.
        name: of the module, such as "geqlib.radial".
    """
    module = Module(path.name == "__init__.py")
    package = name if module.package else name.rpartition(".")[0]

    def add(key: str, *nodes: ast.stmt) -> None:
        if nodes:
            module.parts.setdefault(key, Part(package)).nodes.extend(nodes)

    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.If) and _typing(node):
            module.typed.extend(imports(node.body, package))
            module.imports.extend(imports(node.orelse, package))
            add(ON_IMPORT, *node.orelse)
        elif isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
            add(AS_SCRIPT, node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            module.imports.extend(imports([node], package))
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            for key in defined(node):
                add(key, node)
            if acts(node):
                add(ON_IMPORT, node)
                module.imports.extend(imports([node], package))
    return module


def defined(node: ast.stmt) -> list[str]:
    """The names that a statement defines; none if it does anything else."""
    if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
        return [node.name]
    if not isinstance(node, ast.Assign | ast.AnnAssign):
        return []
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    parts = [part for target in targets for part in getattr(target, "elts", [target])]
    names = [part.id for part in parts if isinstance(part, ast.Name)]
    return names if len(names) == len(parts) else []


def acts(node: ast.stmt) -> bool:
    """Whether a statement may do more than define names: register, call, assign elsewhere."""
    if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
        calls = [getattr(each, "func", each) for each in node.decorator_list]
        names = {_dotted(call) for call in calls}
        harmful = {name for name in names if not {*name[:1], *name[-1:]} & HARMLESS}
        return bool(harmful or getattr(node, "keywords", ()))
    calls = [ast.unparse(each.func) for each in ast.walk(node) if isinstance(each, ast.Call)]
    return not defined(node) or any(map(REGISTERS.search, calls))


def is_plain_class(node: ast.stmt) -> bool:
    """Whether it is a class that `isinstance` only finds among the bases of an object's class."""
    bases = getattr(node, "bases", ())
    protocol = any(_dotted(base)[-1:] == ("Protocol",) for base in bases)
    return isinstance(node, ast.ClassDef) and not acts(node) and not protocol


def imports(nodes: Iterable[ast.AST], package: str) -> Iterator[tuple[str, Import]]:
    """Names that are bound by imports anywhere in statements of a package's modules."""
    for node in (each for top in nodes for each in ast.walk(top)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                yield alias.asname or first, (alias.name if alias.asname else first, "")
        if isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            origin = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                yield alias.asname or alias.name, (origin, alias.name)


class Mentions(ast.NodeVisitor):
    """Names that code uses.

    Annotations do not count, but for those of attributes and constructors of classes: dataclasses
    and jsonargparse build objects from them.
    """

    def __init__(self) -> None:
        self.names: set[Dotted] = set()
        self.tested: set[Dotted] = set()
        self.modules: set[str] = set()

    def visit_Name(self, node: ast.Name) -> None:
        self.names.add((node.id,))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if name := _dotted(node):
            self.names.add(name)
        else:
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if _dotted(node.func) in (("isinstance",), ("issubclass",)):
            self.visit(node.args[0])
            inner = Mentions()
            inner.visit(node.args[1])
            self.tested |= inner.names
            return
        if _dotted(node.func)[-1:] in (("import_module",), ("__import__",)):
            self.modules |= set(strings([*node.args, *node.keywords]))
        self.generic_visit(node)

    def visit_Dict(self, node: ast.Dict) -> None:
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "class_path":
                self.modules |= set(strings([value]))
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        for part in node.orelse if _typing(node) else ast.iter_child_nodes(node):
            self.visit(part)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for part in ast.iter_child_nodes(node):
            if part is not node.returns:
                self.visit(part)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_arg(self, node: ast.arg) -> None:
        pass

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        for part in filter(None, (node.target, node.value)):
            self.visit(part)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.generic_visit(node)
        for part in node.body:
            arguments: list[Any] = [part] if isinstance(part, ast.AnnAssign) else []
            if isinstance(part, FUNCTIONS) and part.name in ("__init__", "__new__"):
                arguments = [each for each in ast.walk(part.args) if isinstance(each, ast.arg)]
            for each in arguments:
                if each.annotation:
                    self.visit(each.annotation)


def strings(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Strings anywhere in code, with "*" for what is formatted into them."""
    for node in (each for top in nodes for each in ast.walk(top)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        if isinstance(node, ast.JoinedStr):
            parts = (p.value if isinstance(p, ast.Constant) else STAR for p in node.values)
            yield "".join(map(str, parts))


def tokens(node: Any) -> Iterator[str]:
    """The same for all versions of Python: names and fields of the tree that hold something."""
    if isinstance(node, ast.AST):
        yield type(node).__name__
        for name, value in ast.iter_fields(node):
            if name == "body" and isinstance(value, list) and _documented(node):
                value = value[1:]
            if value is not None and value != []:
                yield name
                yield from tokens(value)
    elif isinstance(node, list):
        for part in node:
            yield from tokens(part)
    else:
        yield repr(node)


def short(text: str) -> str:
    """Twelve digits of its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _dotted(node: ast.expr) -> Dotted:
    """A name with attributes; empty for other expressions."""
    if isinstance(node, ast.Name):
        return (node.id,)
    before = _dotted(node.value) if isinstance(node, ast.Attribute) else ()
    return (*before, node.attr) if isinstance(node, ast.Attribute) and before else ()


def _typing(node: ast.If) -> bool:
    return _dotted(node.test)[-1:] == ("TYPE_CHECKING",)


def _documented(node: ast.AST) -> bool:
    return isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None
