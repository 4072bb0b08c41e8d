"""The pages on training, sweeps and loggers: their commands are run, their configurations read."""

from __future__ import annotations

import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from ase import Atoms
from ase.io import write

from geqlib.models import (
    DGCNN,
    DPA3,
    PONITA,
    SPEN,
    EScAIP,
    GauntNet,
    MessagePassingNet,
    MonoidGNN,
    PointNet,
    Potential,
)
from geqlib.train import Task
from geqlib.train.fine_tuning.frozen import freeze
from geqlib.train.runs.configuration import read_run
from tests.train import tiny
from tests.train.potential import config, write_frames

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("training.md", "sweeps.md", "loggers.md", "fine_tuning.md", "levels.md")
# loggers that need a package which tests do not install
OPTIONAL = {"WandbLogger": "wandb", "MLFlowLogger": "mlflow"}
SHORT = ["--trainer.limit_train_batches", "1", "--trainer.limit_val_batches", "1"]


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[list[str]]:
    """Words of every command, those of other programs among them."""
    lines = "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages")
    frames = write_frames(path / "metal.xyz", 20)
    settings = config(path / "metal.xyz", epochs=1)
    (path / "metal.yaml").write_text(yaml.safe_dump(settings))
    write_frames(path / "new.xyz", 12)
    for name, block in zip(("new", "gap"), blocks("fine_tuning.md", "yaml"), strict=True):
        (path / f"{name}.yaml").write_text(block)
    molecules = [Atoms(a.numbers, a.positions, info={"gap": 1.0, "width": 2.0}) for a in frames]
    write(path / "gaps.xyz", molecules, format="extxyz")
    levels = settings | yaml.safe_load(blocks("levels.md", "yaml")[0])
    (path / "levels.yaml").write_text(yaml.safe_dump(levels))
    return path


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This run was resumed with other settings")
@pytest.mark.parametrize("page", PAGES)
def test_commands(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for program, *words in commands(page):
        named = next((name for name in OPTIONAL if name in words), None)
        if program != "geqlib":
            assert [program, words[0]] in (["pip", "install"], ["tensorboard", "--logdir"])
            continue
        if page == "loggers.md" and words[0] == "fit" and named is None:
            words = [*words, "--overwrite"]  # which another page has trained
        short = SHORT if words[0] in ("fit", "sweep") else []
        missing = named is not None and find_spec(OPTIONAL[named]) is None
        assert tiny.geqlib([*words, *short]) == (2 if missing else 0), words
    assert page != "sweeps.md" or (folder / "report" / "report.html").exists()


@pytest.mark.parametrize("page", ["training.md", "loggers.md"])
def test_configurations(page: str, folder: Path) -> None:
    """Each block, on top of a configuration that has the rest."""
    whole = yaml.safe_load((folder / "metal.yaml").read_text())
    for block in blocks(page, "yaml"):
        own: Any = yaml.safe_load(block)
        merged = _merged(whole, own)
        for part in merged["trainer"].get("logger", []):
            name = part["class_path"]
            if name in OPTIONAL and find_spec(OPTIONAL[name]) is None:
                merged["trainer"]["logger"] = merged["trainer"]["logger"][:1]
        run = read_run(merged)
        assert run.monitor == "val/forces_rmse"


def _merged(one: Any, two: Any) -> Any:
    if not (isinstance(one, dict) and isinstance(two, dict)):
        return two
    names = {"class_path": one.get("class_path")} if "class_path" in one else {}
    return {**one, **{k: _merged(one.get(k), v) for k, v in two.items()}, **names}


def test_the_pages_have_commands() -> None:
    assert [len(commands(page)) for page in PAGES] == [8, 3, 6, 7, 4]


def test_parts_that_freeze_takes_are_those_of_the_networks() -> None:
    """Each name of the table, and no part with weights is missing."""
    networks = {
        "PONITA": Potential(PONITA(4, 0, 1, 1, channels=4, layers=2, cutoff=3.0)),
        "GauntNet": Potential(GauntNet(["H"], channels=2, order=2, layers=3)),
        "EScAIP": Potential(EScAIP(4)),
        "DPA3": Potential(DPA3(4, 4, 4, compressed=4, layers=3, readout=[4])),
        "MonoidGNN": MonoidGNN([3], "max", out_graph=1, out_node=1),
        "MessagePassingNet": MessagePassingNet(2, 1),
        "SPEN": SPEN(2, 1, layers=2),
        "PointNet": PointNet(3),
        "DGCNN": DGCNN(3),
    }
    text = (DOCS / "fine_tuning.md").read_text()
    table = dict(re.findall(r"^\| `(\w+)` \| (`.*) \|$", text, re.MULTILINE))
    assert table.keys() == networks.keys()
    for name, network in networks.items():
        task: Any = Task(network)
        named = re.findall(r"`([^`]+)`", table[name])
        further = [name.replace(".1", ".*") for name in named if name.endswith(".1")]
        freeze(task, [*named[:-1], *further])
        names = [n for n, p in task.named_parameters() if p.requires_grad]
        left = [n.removeprefix("model.").removeprefix("model.") for n in names]
        assert left and all(n.startswith(f"{named[-1]}.") for n in left), (name, left)
