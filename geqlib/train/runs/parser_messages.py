"""What is wrong with a configuration, from the reports of its parser."""

from __future__ import annotations

import inspect
import re
from difflib import get_close_matches
from importlib import import_module

# whose classes a configuration can name without a module
NAMED = ("geqlib.models", "geqlib.nn", "geqlib.data", "geqlib.train")
KEY = r'Parser key "[\w.]+": '


def innermost(text: str) -> str:
    """The last of the reports that enclose each other, with a close name where one is misspelt.

    Example:
        >>> report = 'Parser key "model": Problem with given class_path \\'geqlib.train.Task\\': '
        >>> innermost(report + "Option 'ler' is not accepted")
        "'geqlib.train.Task': Option 'ler' is not accepted: did you mean lr?"
        >>> innermost(report + 'Parser key "model": Expected a dot import path string: PONITTA')
        "model: there is no class 'PONITTA': did you mean PONITA? Write the name of a class of \
geqlib, or an import path such as geqlib.models.PONITA."
        >>> innermost('Parser key "config": File does not exist: \\'a.yaml\\'')
        'the configuration a.yaml does not exist: correct the path, or write one by `geqlib new`.'
    """
    if absent := re.search(r"Parser key \"config\": File does not exist: '(.+?)'", text):
        return (
            f"the configuration {absent[1]} does not exist: correct the path, or write one by "
            "`geqlib new`."
        )
    text = re.sub(r"- Expected a path but \S+ either not accessible or invalid - (?=Exp)", "", text)
    problem = r"Problem with given class_path ('[\w.]+'): "
    *outer, last = re.split(rf"(?:{KEY})?{problem}", text)
    owner = outer[-1] if outer else ""
    if path := re.fullmatch(rf"(?:{KEY})?Expected a dot import path string: (\S+)", last):
        key = re.match(r'Parser key "([\w.]+)"', last) or re.match(r'Parser key "([\w.]+)"', text)
        return _unknown_class(path[1], key[1] if key else "class_path")
    if lacking := re.match(r"Requirement '([\w-]+)[^']*' not met", last):
        name = owner.strip("'").rpartition(".")[2]
        return f"{name} needs {lacking[1]}: install it by pip install {lacking[1]}."
    if option := re.fullmatch(r"Option '([\w.]+)' is not accepted", last):
        accepted = _arguments(owner.strip("'"))
        near = _close(option[1], accepted)
        listed = f": choose from {', '.join(accepted)}." if accepted else ""
        return f"{owner}: {last}{near or listed}"
    return f"{owner}: {last}" if owner else text


def _unknown_class(name: str, key: str) -> str:
    classes = [n for module in NAMED for n in import_module(module).__all__]
    near = _close(name, classes).removesuffix(".")
    return (
        f"{key}: there is no class {name!r}{near or '.'} Write the name of a class of geqlib, or "
        "an import path such as geqlib.models.PONITA."
    )


def _arguments(path: str) -> list[str]:
    module, _, name = path.rpartition(".")
    try:
        return list(inspect.signature(getattr(import_module(module), name)).parameters)
    except (ImportError, AttributeError, ValueError, TypeError):
        return []


def _close(word: str, words: list[str]) -> str:
    near = get_close_matches(word, words, n=1)
    return f": did you mean {near[0]}?" if near else ""
