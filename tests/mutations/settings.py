"""Configurations to be spoilt."""

from __future__ import annotations

from argparse import ArgumentError
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from numpy.random import Generator

from geqlib.train.runs.configuration import ConfigReader, one_sentence
from tests.mutations.mutators import TEXT, changed_leaf
from tests.mutations.reader import Reader
from tests.train import tiny


def write_config() -> None:
    Path("config.yaml").write_text(yaml.safe_dump(tiny.config()))


@cache
def parser() -> Any:
    """Of `geqlib fit`; making it takes longer than reading a configuration."""
    return ConfigReader(["--config", "config.yaml"]).parser


def configured() -> Any:
    """Model, data and task; what `geqlib` makes a sentence of is an error of its kind here."""
    try:
        settings = parser().parse_args(["--config", "config.yaml"])
        # a machine does as it is told: what is asked for may not fit into it
        return None if _huge(settings.as_dict()) else parser().instantiate_classes(settings)
    except (ArgumentError, UnicodeDecodeError) as error:
        raise ValueError(one_sentence(error)) from error


def _huge(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_huge, value.values()))
    return isinstance(value, (int, float)) and value > 10_000


TAGS = (
    "!!python/object/apply:os.system ['touch canary']",
    "!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [canary]]",
    "!!python/name:os.system",
    "!!python/module:antigravity",
)
CLASSES: tuple[Any, ...] = (
    {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "canary"]}},
    {"class_path": "os.system", "init_args": {"command": "touch canary"}},
    {"class_path": "builtins.exec", "init_args": {"source": "open('canary', 'w')"}},
)


def other_settings(raw: bytes, rng: Generator) -> bytes:
    return yaml.safe_dump(changed_leaf(yaml.safe_load(raw), rng)).encode()


def code_in_settings(raw: bytes, rng: Generator) -> bytes:
    """Tags of Python, and classes that are not what they are put for."""
    text = raw.decode()
    if rng.random() < 0.5:
        lines = text.splitlines()
        k = rng.integers(len(lines))
        lines[k] = f"{lines[k].split(':')[0]}: {TAGS[rng.integers(len(TAGS))]}"
        return "\n".join(lines).encode()
    content = yaml.safe_load(text)
    strange = CLASSES[rng.integers(len(CLASSES))]
    place = rng.integers(4)
    if place == 0:
        content["model"] = strange
    elif place == 1:
        content["data"] = strange
    elif place == 2:
        content["model"]["init_args"]["model"] = strange
    else:
        content["trainer"]["callbacks"] = [strange]
    return yaml.safe_dump(content).encode()


READERS = {
    # its errors name the option
    "configuration": Reader(write_config, configured, "config.yaml", TEXT, 60, says=""),
    "configuration, other settings": Reader(
        write_config, configured, "config.yaml", (other_settings,), 60, says=""
    ),
    "configuration, code": Reader(
        write_config, configured, "config.yaml", (code_in_settings,), 30, says=""
    ),
}
