"""How a run was made: configuration, data, code, first model, seed, kept with it and compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from geqlib.files.atomic import reading, replace_file
from geqlib.train.fine_tuning.origin import read_origin
from geqlib.train.runs.configuration import Config, Overrides, read_configuration
from geqlib.train.runs.digests import code_digest, data_digest
from geqlib.train.tasks.agreement import share_cutoff

FILE = "recipe.json"
# what does not change a result: where it is written, what is shown, and who makes batches; of the
# model that a run begins with, its content is compared
NOT_COMPARED = {
    "config",
    "seed_everything",
    "ckpt_path",
    "weights_only",
    "init",
    "trainer.default_root_dir",
    "trainer.enable_progress_bar",
    "trainer.enable_model_summary",
    "data.init_args.workers",
    "data.init_args.cache",
}
DIGESTS = {
    "data": "the data has changed",
    "code": "the code has changed",
    "init": "the model that init names has changed",
}
Recipe = dict[str, Any]


def read_recipe(config: Config, overrides: Overrides = (), data_of: Recipe | None = None) -> Recipe:
    """What all runs of a sweep share: settings, and digests of what these do not tell.

    Args:
        config, overrides: as of `geqlib.train.runs.configuration.read_run`.
        data_of: a recipe of the same data, which is then not read again.

    Returns:
        `{"configuration": {...}, "data": ..., "code": ...}`, and "init" of runs that begin with
        another model, whose file can change under the same name.
    """
    reader = read_configuration(config, overrides)
    settings = yaml.safe_load(reader.parser.dump(reader.config, skip_none=False))
    data, parts = reader.run.data, reader.run.task.modules()
    share_cutoff(reader.run.task.model, data)  # without which neighbours cannot be found
    recipe = {
        "configuration": {k: v for k, v in flat(settings).items() if k not in NOT_COMPARED},
        "data": data_digest(data) if data_of is None else data_of["data"],
        "code": code_digest({type(data), *map(type, parts)}),
    }
    init = reader.run.init
    return recipe if init is None else recipe | {"init": read_origin(init).sha256}


def write_recipe(folder: Path, recipe: Mapping[str, Any]) -> None:
    """Keep the recipe of a run in its folder."""
    text = json.dumps(dict(recipe), indent=1, default=str)
    replace_file(folder / FILE, lambda part: part.write_text(text + "\n"))


def difference(folder: Path, recipe: Mapping[str, Any]) -> str | None:
    """How a run that a folder holds was made otherwise; None if it was made alike.

    Returns:
        such as "model.init_args.lr was 0.002 and is 0.01".
    """
    path = folder / FILE
    if not path.exists():
        return "there is no record of how it was made"
    with reading(path, "is no record of a run", "make that run again (--overwrite)"):
        before = json.loads(path.read_text("utf-8-sig"))
        old = {**before.pop("configuration"), **before}
    now = json.loads(json.dumps(dict(recipe), default=str))
    new = {**now.pop("configuration"), **now}
    digests = [
        sentence for key, sentence in DIGESTS.items() if old.pop(key, None) != new.pop(key, None)
    ]
    sentences = [
        f"{key} was {old.get(key)!r} and is {new.get(key)!r}"
        for key in {**old, **new}
        if old.get(key) != new.get(key)
    ]
    return "; ".join([*sentences, *digests][:3]) or None


def flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names."""
    if not isinstance(settings, dict) or not settings:
        return {prefix: settings}
    parts = (flat(v, f"{prefix}.{k}" if prefix else str(k)) for k, v in settings.items())
    return {key: value for part in parts for key, value in part.items()}
