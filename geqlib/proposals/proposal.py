"""A proposal: a configuration that trains, and the reasons for its settings."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, Literal, get_args

Kind = Literal["potential", "molecules", "graphs", "points"]
EPOCHS = 100  # of a configuration whose pace was not measured
MOST_EPOCHS = 2000


@dataclass(frozen=True)
class Proposal:
    """A configuration and the reasons for its settings.

    Args:
        kind: of the data.
        name: of the run.
        settings: of the template.
        reasons: of each choice, in a sentence.
    """

    kind: Kind
    name: str
    settings: Mapping[str, Any]
    reasons: tuple[str, ...] = ()

    def text(self, epochs: int, pace: str, config: str = "NAME.yaml") -> str:
        """The configuration.

        Args:
            epochs: of the training.
            pace: how the number of epochs was chosen.
            config: path of the configuration.
        """
        template = (files("geqlib.proposals") / "templates" / f"{self.kind}.yaml").read_text()
        values = {
            "name": self.name,
            "config": Line(config),
            "epochs": epochs,
            "pace": Line(pace),
            **self.settings,
        }
        return Template(template).substitute({k: written(v) for k, v in values.items()})


def propose(kind: Kind, file: str | None, keys: Mapping[str, str] | None = None) -> Proposal:
    """Look at a file, or take the examples of the template without one.

    Args:
        kind: what is learnt.
        file: of the data; None to fill in later.
        keys: of the labels of a potential, where they are not guessed.

    Raises:
        ValueError: an unknown kind, or a file in which there is nothing to learn.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"there is no kind {kind!r}: choose one of {', '.join(get_args(Kind))}.")
    module = import_module(f"geqlib.proposals.{kind}")
    look: Callable[..., Proposal] = module.look
    if keys and (kind != "potential" or file is None):
        raise ValueError("--keys are those of the labels of a potential's file: leave them out.")
    if file is None:
        return module.EXAMPLE
    return look(file, keys) if keys else look(file)


def written(value: Any) -> str:
    """A value as YAML in one line.

    Example:
        >>> written(["Cu", "Au"]), written(None), written(0.1), written("a: b")
        ('[Cu, Au]', 'null', '0.1', "'a: b'")
    """
    if isinstance(value, Line):
        return str(value)
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, width=1000).strip()
    return text.removesuffix("...").strip()


class Line(str):
    """Lines of a configuration, or a comment: text that stands in it as it is."""


def run_name(file: str) -> str:
    """The name of a run on a file, from that of the file.

    Example:
        >>> run_name("data/my water.extxyz.gz")
        'my_water'
    """
    stem = Path(file).name.partition(".")[0] or "data"
    return re.sub(r"[^\w-]", "_", stem)
