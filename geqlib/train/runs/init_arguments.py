"""Options of a run that begins with another model: what of it they do not name is the model's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from geqlib.files.plain import plain
from geqlib.train.fine_tuning.initial import network_of, task_of
from geqlib.train.fine_tuning.origin import read_origin


def with_model_of_init(arguments: Sequence[str]) -> list[str]:
    """The arguments of a run, with the task or the network of `--init` where they name none.

    Args:
        arguments: as after `geqlib fit`, of which configurations may name `init`, too.

    Raises:
        ValueError: if the model is needed, and the file that `init` names does not describe it.
    """
    words = list(arguments)
    settings = list(_settings(words))
    named = [value for _, name, value in settings if name == "init" and value]
    if not named:
        return words
    task = [end for end, name, _ in settings if name in ("model", "model.class_path")]
    network = any(name in ("model.model", "model.model.class_path") for _, name, _ in settings)
    if task and network:
        return words
    origin = read_origin(str(named[-1]))
    if not task:  # before everything, so that settings of the task can follow
        return [f"--model={_json(task_of(origin))}", *words]
    end = max(task)
    description = network_of(origin)[0]
    return [*words[:end], f"--model.init_args.model={_json(description)}", *words[end:]]


def _json(description: Any) -> str:
    return json.dumps(plain(description, "the model"))


def _settings(words: Sequence[str]) -> Iterator[tuple[int, str, Any]]:
    """Settings in their order: number of words up to each, dotted name, value.

    Names are without `init_args`. What cannot be read is left to the parser to report.
    """
    k = 0
    while k < len(words):
        option, equals, value = words[k].partition("=")
        k += 1
        if not option.startswith("-"):
            continue
        if not equals and k < len(words) and not words[k].startswith("--"):
            value, k = words[k], k + 1
        name = option.lstrip("-")
        if name in ("config", "c"):
            yield from ((k, *setting) for setting in _flat(_read(value)))
        else:
            yield k, _plain_name(name), value
            if name == "model":
                yield from ((k, f"model.{key}", part) for key, part in _flat(_parsed(value)))


def _plain_name(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != "init_args")


def _read(config: str) -> Any:
    try:
        path = Path(config)
        return _parsed(path.read_text(encoding="utf-8") if path.is_file() else config)
    except (OSError, ValueError):
        return None


def _parsed(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of nested dictionaries."""
    if not isinstance(value, Mapping):
        return
    for key, part in value.items():
        name = prefix if key == "init_args" else f"{prefix}.{key}" if prefix else str(key)
        if isinstance(part, Mapping):
            yield from _flat(part, name)
        else:
            yield name, part
