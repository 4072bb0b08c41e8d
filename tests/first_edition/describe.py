"""What a package offers, as plain values: names by module, parameters by callable."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from pkgutil import walk_packages
from typing import Any, Literal, get_args, get_origin, get_type_hints

from lightning import LightningDataModule
from torch import nn

PLAIN = (bool, int, float, str, type(None))


def modules(package: str) -> list[str]:
    """The package and all modules in it."""
    top = import_module(package)
    return [package, *(info.name for info in walk_packages(top.__path__, f"{package}."))]


def defined_names(module: str) -> dict[str, str]:
    """Public classes and functions that a module defines itself.

    Each is a "function", a "class", or a class that configurations name: a "network" (all modules
    of torch and Lightning) or "data" (Lightning's).
    """
    content = vars(import_module(module))
    own = {n: x for n, x in content.items() if getattr(x, "__module__", None) == module}
    named = {n: _kind(x) for n, x in own.items() if not n.startswith("_")}
    return {name: kind for name, kind in sorted(named.items()) if kind}


def parameters(function: Callable[..., Any]) -> dict[str, dict[str, Any]]:
    """Of each parameter: kind, default if there is one, and choices of a Literal."""
    choices = _choices(function)
    described = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "self":
            continue
        described[name] = {"kind": parameter.kind.name}
        if parameter.default is not parameter.empty:
            described[name]["default"] = plain(parameter.default)
        if name in choices:
            described[name]["choices"] = choices[name]
    return described


def methods(cls: type) -> dict[str, dict[str, dict[str, Any]]]:
    """Parameters of the public methods that geqlib itself defines for a class."""
    described = {}
    for base in reversed(cls.__mro__):
        if not base.__module__.startswith("geqlib"):
            continue
        for name, member in vars(base).items():
            function = getattr(member, "__func__", member)
            if not name.startswith("_") and inspect.isfunction(function):
                described[name] = parameters(function)
                if not isinstance(member, staticmethod):  # self, or the class
                    described[name].pop(next(iter(inspect.signature(function).parameters)), None)
    return described


def public_signatures(names: dict[str, str]) -> dict[str, Any]:
    """Of a table of packages and their public names: "package.name" or "package.name.method".

    Hooks that Lightning or torch call are left out: what they are called with is not geqlib's.
    """
    described: dict[str, Any] = {}
    for package, text in names.items():
        for name in text.split():
            thing = getattr(import_module(package), name)
            if inspect.isclass(thing):
                described[f"{package}.{name}"] = parameters(thing)
                hooks = _hooks(thing)
                for method, content in methods(thing).items():
                    if method not in hooks:
                        described[f"{package}.{name}.{method}"] = content
            elif inspect.isroutine(thing):
                described[f"{package}.{name}"] = parameters(thing)
    return described


def plain(value: object) -> object:
    """A default as JSON holds it."""
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, PLAIN) and value == value and abs(_size(value)) != float("inf"):
        return value
    return f"<{type(value).__name__}> {value!r}" if _stable(value) else f"<{type(value).__name__}>"


def _size(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


def _stable(value: object) -> bool:
    return " at 0x" not in repr(value)


def _kind(thing: object) -> str | None:
    if not inspect.isclass(thing):
        return "function" if inspect.isfunction(thing) else None
    if issubclass(thing, nn.Module):
        return "network"
    return "data" if issubclass(thing, LightningDataModule) else "class"


def _choices(function: Callable[..., Any]) -> dict[str, list[Any]]:
    source: Any = function.__init__ if inspect.isclass(function) else function
    try:
        hints = get_type_hints(source)
    except (NameError, TypeError, AttributeError):
        return {}
    return {name: actual for name, hint in hints.items() if (actual := _literals(hint))}


def _literals(hint: object) -> list[Any]:
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    return [value for part in get_args(hint) for value in _literals(part)]


def _hooks(cls: type) -> set[str]:
    """Methods that a base class outside of geqlib has, too, other than those users call."""
    foreign = [base for base in cls.__mro__ if not base.__module__.startswith("geqlib")]
    known = {name for base in foreign for name in dir(base)}
    return known - {"forward"} if issubclass(cls, nn.Module) else known
