"""What public functions and classes took in the first edition, they still take."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from geqlib.nn import MonoidAggregation
from tests.first_edition import describe

Parameters = dict[str, dict[str, Any]]
SIGNATURES: dict[str, Parameters] = json.loads(
    (Path(__file__).parent / "files" / "signatures.json").read_text()
)


class Removed(NamedTuple):
    """A parameter, choice or method that is gone on purpose.

    Args:
        sentence: part of what a user is told; without a call, the reason.
        call: does what a user of the first edition did; None for what only this library called.
    """

    sentence: str
    call: Callable[[], Any] | None = None


# ("package.name" or "package.name.method", parameter, "parameter=choice" or "" for a whole method)
OWN = Removed("plans are made by functions, and their fields are for layers alone")
REMOVED: dict[tuple[str, str], Removed] = {
    ("geqlib.graph.EgoPlan", ""): OWN,
    ("geqlib.graph.EgoPlan.grid", ""): OWN,
    ("geqlib.graph.Incidence.mean_and_rows", ""): OWN,
    ("geqlib.graph.TreePlan", ""): OWN,
    ("geqlib.graph.random_groups", ""): Removed(
        "regroup is no longer supported", lambda: MonoidAggregation(4, regroup=True)
    ),
    ("geqlib.graph.reduce_tree", ""): Removed("the states of elements are x, as everywhere"),
    ("geqlib.nn.Basis", ""): Removed("KernelBasis makes it, and its plan reads it"),
    ("geqlib.nn.GauntPower.rows", ""): Removed("GauntPower.on_components has this layout"),
    ("geqlib.nn.SubgraphConv.forward", "seen"): Removed("what a network shares is its own"),
}
# where a default has another value but the same meaning, or a better one: with the reason
DEFAULTS: dict[tuple[str, str], str] = {}


def resolved(path: str) -> Any:
    """A function, class or method from "package.name" or "package.name.method"."""
    parts = path.split(".")
    package = next(n for n in (2, 1) if _is_package(".".join(parts[:n])))
    thing: Any = import_module(".".join(parts[:package]))
    for name in parts[package:]:
        thing = getattr(thing, name)
    return thing


def _is_package(path: str) -> bool:
    try:
        import_module(path)
    except ImportError:
        return False
    return True


def current(path: str) -> Parameters:
    """Parameters of today's; without the class or instance for methods."""
    *owner, name = path.split(".")
    holder = resolved(".".join(owner)) if len(owner) > 1 else None
    if inspect.isclass(holder):
        actual = describe.methods(holder)
        return actual[name] if name in actual else describe.parameters(getattr(holder, name))
    return describe.parameters(resolved(path))


@pytest.mark.parametrize("path", SIGNATURES)
def test_parameters(path: str) -> None:
    if (path, "") in REMOVED:
        return
    old, new = SIGNATURES[path], current(path)
    remaining = {name: about for name, about in old.items() if (path, name) not in REMOVED}
    wrong = [f"{name} is gone" for name in remaining if name not in new]
    for name in remaining.keys() & new.keys():
        wrong += _differences(path, name, remaining[name], new[name])
    added = [n for n in new if n not in old and _needed(new[n])]
    wrong += [f"{name} is new and has no default" for name in added]
    positional = [n for n in remaining if remaining[n]["kind"].startswith("POSITIONAL")]
    order = [n for n in new if n in positional]
    if order != [n for n in positional if n in new]:
        wrong.append(f"the order {positional} became {order}")
    assert not wrong, f"{path}: {'; '.join(wrong)}"


def _differences(path: str, name: str, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    actual = []
    if old["kind"] != new["kind"] and old["kind"] != "KEYWORD_ONLY":
        actual.append(f"{name} was {old['kind']} and is {new['kind']}")
    if (path, name) not in DEFAULTS and "default" in old:
        if "default" not in new:
            actual.append(f"{name} has no default any more")
        elif old["default"] != new["default"]:
            actual.append(f"the default of {name} was {old['default']} and is {new['default']}")
    if "choices" in new:
        lost = [c for c in old.get("choices", []) if c not in new["choices"]]
        lost = [c for c in lost if (path, f"{name}={c}") not in REMOVED]
        actual += [f"{name}={choice!r} is no choice any more" for choice in lost]
    return actual


def _needed(about: dict[str, Any]) -> bool:
    return "default" not in about and not about["kind"].startswith("VAR")


@pytest.mark.parametrize("entry", REMOVED, ids=str)
def test_what_was_removed_is_refused_in_a_sentence(entry: tuple[str, str]) -> None:
    removed = REMOVED[entry]
    if removed.call is None:
        return
    with pytest.raises((ValueError, TypeError)) as raised:
        removed.call()
    assert removed.sentence in str(raised.value)


def test_what_is_listed_was_there() -> None:
    for path, name in (*REMOVED, *DEFAULTS):
        parameter, _, choice = name.partition("=")
        assert path in SIGNATURES and (not parameter or parameter in SIGNATURES[path])
        assert not choice or choice in SIGNATURES[path][parameter]["choices"]
