"""Code of a user's own, in an empty folder: networks, tasks, data modules, data sets."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from ase.io import read

import geqlib
from geqlib.calculators import GeqCalculator
from geqlib.train import ClassificationTask, EnergyForces
from tests.cli.test_main import refused
from tests.train import tiny
from tests.train.every_task import parts
from tests.train.potential import config as potential
from tests.train.potential import write_frames

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
CODE = '''
import lightning as L
import torch
from torch_geometric.data import Data, InMemoryDataset
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GINConv, global_add_pool

from geqlib.train import Task


class Net(torch.nn.Module):
    """A network of graphs."""

    def __init__(self, channels: int = 4, classes: int = 2):
        super().__init__()
        self.conv = GINConv(torch.nn.Linear(1, channels))
        self.read = torch.nn.Linear(channels, classes)

    def forward(self, x, edge_index, batch, num_graphs):
        return self.read(global_add_pool(self.conv(x, edge_index).relu(), batch, num_graphs))


class Atoms(torch.nn.Module):
    """A network of atoms: a scalar for each, of its distances."""

    def __init__(self, cutoff: float = 3.0):
        super().__init__()
        self.cutoff = cutoff
        layers = torch.nn.Linear(1, 8), torch.nn.SiLU(), torch.nn.Linear(8, 1)
        self.net = torch.nn.Sequential(*layers)

    def forward(self, pos, edge_index, edge_shift=None):
        source, target = edge_index
        offset = pos[source] - pos[target]
        if edge_shift is not None:
            offset = offset + edge_shift
        distance = offset.norm(dim=1, keepdim=True)
        smooth = (1 - (distance / self.cutoff) ** 2).clamp(min=0) ** 3
        messages = self.net(distance) * smooth
        return pos.new_zeros(len(pos), 1).index_add(0, target, messages)


class Counting(Task):
    """How many nodes a graph has, learnt."""

    inputs = {"x": "scalar", "edge_index": "edge_index", "batch": "batch"}
    outputs = {"count": "graph:scalar"}

    def __init__(self, model: torch.nn.Module, scale: float = 1.0, lr: float = 1e-3):
        super().__init__(model, lr=lr, rotate=False)
        self.scale = scale

    def check_batch(self, batch):
        pass

    def predict_outputs(self, batch):
        return {"count": self.scale * self(batch)[:, :1]}

    def loss(self, batch):
        sizes = batch.ptr.diff()[:, None].float()
        return (self.predict_outputs(batch)["count"] - sizes).square().mean()

    def metrics(self, batch, stage):
        return {"loss": self.loss(batch)}

    def predict_step(self, batch, batch_idx):
        return {"predicted": self.predict_outputs(batch)["count"]}


def graphs(count, first=3):
    made = []
    for n in range(first, first + count):
        walk = torch.arange(n)
        edges = torch.stack([walk[:-1], walk[1:]])
        edges = torch.cat([edges, edges.flip(0)], 1)
        made.append(Data(x=torch.ones(n, 1), edge_index=edges, y=torch.tensor([n % 2])))
    return made


class Walks(InMemoryDataset):
    def __init__(self, count: int = 12):
        super().__init__(None)
        self.data, self.slices = self.collate(graphs(count))


class Plain(L.LightningDataModule):
    """A data module of Lightning's, with loaders of torch_geometric."""

    def __init__(self, count: int = 12):
        super().__init__()
        self.save_hyperparameters()
        self.count = count

    def _loader(self):
        return DataLoader(graphs(self.count), batch_size=4)

    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = _loader
'''
SHORT = {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with the module and the runs `classes`, `counts`, `walks` and `atoms`."""
    folder = tmp_path_factory.mktemp("own_code")
    path = list(sys.path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("my_code.py").write_text(CODE)
        classes = {
            "class_path": "GraphClassificationTask",
            "init_args": {"classes": 2, "model": {"class_path": "my_code.Net"}},
        }
        counting = {
            "class_path": "my_code.Counting",
            "init_args": {"scale": 2.0, "model": {"class_path": "my_code.Net"}},
        }
        plain = {"class_path": "my_code.Plain", "init_args": {"count": 8}}
        walks = {"class_path": "OwnGraphData", "init_args": {"source": "my_code.Walks", "val": 0.2}}
        write_frames(Path("frames.xyz"), 20)
        atoms = potential(Path("frames.xyz"), epochs=1)
        atoms["model"]["init_args"]["model"] = {"class_path": "my_code.Atoms"}
        configs = {
            "classes": {"monitor": "val/loss", "model": classes, "data": plain, "trainer": SHORT},
            "counts": {"monitor": "val/loss", "model": counting, "data": plain, "trainer": SHORT},
            "walks": {"monitor": "val/loss", "model": classes, "data": walks, "trainer": SHORT},
            "atoms": atoms,
        }
        for name, settings in configs.items():
            Path(f"{name}.yaml").write_text(yaml.safe_dump(settings))
            where = ["--trainer.default_root_dir", name]
            assert tiny.geqlib(["fit", "--config", f"{name}.yaml", *where]) == 0, name
        yield folder
    sys.path[:] = path
    sys.modules.pop("my_code", None)


@pytest.fixture
def user(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(here)
    return here


RUNS = ("classes", "counts", "walks", "atoms")


@pytest.mark.parametrize("run", RUNS)
def test_test_and_predict(run: str, user: Path) -> None:
    """The configuration of a run names its code, and running it is the user's decision."""
    assert tiny.geqlib(["test", run]) == 0
    assert json.loads(Path(run, "results.json").read_text())["metrics"]
    assert tiny.geqlib(["predict", run]) == 0
    assert Path(run, "predictions.safetensors").exists()


@pytest.mark.parametrize("run", RUNS)
def test_check(run: str, user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = f"{run}/checkpoints/best.ckpt"
    line = refused(["check", best], capsys)
    assert "which is not a class of geqlib" in line and "--trust my_code" in line
    assert tiny.geqlib(["check", best, "--trust", "my_code", "--samples", "1"]) == 0
    assert tiny.geqlib(["check", "--config", f"{run}.yaml", "--samples", "1"]) == 0


@pytest.mark.parametrize("run", RUNS)
def test_load_and_export(run: str, user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = f"{run}/checkpoints/best.ckpt"
    with pytest.raises(ValueError, match=r"geqlib\.trusting\('my_code'\) in Python"):
        geqlib.load(best)
    with geqlib.trusting("my_code"):
        model = geqlib.load(best)
    assert "--trust my_code" in refused(["export", best, "--out", f"{run}.geqlib"], capsys)
    words = ["export", best, "--out", f"{run}.geqlib", "--trust", "my_code"]
    assert tiny.geqlib(words) == 0
    with geqlib.trusting("my_code"):
        again = geqlib.load(f"{run}.geqlib")
    pairs = zip(model.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_predictor_has_the_task(user: Path) -> None:
    with geqlib.trusting("my_code"):
        predictor = geqlib.load_predictor("counts")
        predicted = predictor.predict()["predicted"]
        loss = predictor.test()["loss"]
    assert type(predictor.task).__name__ == "Counting" and predictor.task.scale == 2.0
    sizes = torch.arange(3.0, 11.0)[:, None]
    assert loss == pytest.approx(float((predicted - sizes).square().mean()), rel=1e-4)


def test_a_file_of_graphs(user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A data set of torch_geometric has features, which a graph of networkx needs by name."""
    Path("path.g6").write_text("Bg\n")
    assert "--trust my_code" in refused(["predict", "walks", "path.g6"], capsys)
    line = refused(["predict", "walks", "path.g6", "--trust", "my_code"], capsys)
    assert "trained on graphs with features of their nodes, and these have none" in line


def test_folds_and_reports(user: Path) -> None:
    words = ["cv", "--config", "walks.yaml", "--out", "folds", "--folds", "0", "1"]
    assert tiny.geqlib([*words, "--data.num_folds", "3"]) == 0
    assert json.loads(Path("folds", "folds.json").read_text())["folds"] == [0, 1]
    assert tiny.geqlib(["report", *RUNS, "folds", "--out", "page"]) == 0
    assert "my_code" not in Path("page", "report.md").read_text().partition("## Learning")[0]


def test_own_potentials_in_ase(user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="--trust my_code"):
        GeqCalculator("atoms")
    with geqlib.trusting("my_code"):
        calculator = GeqCalculator("atoms")
    words = ["predict", "atoms", "frames.xyz", "--trust=my_code", "--out", "predicted.xyz"]
    assert tiny.geqlib(words) == 0
    for atoms in read("predicted.xyz", ":3"):
        energy = atoms.get_potential_energy()
        atoms.calc = calculator
        assert atoms.get_potential_energy() == pytest.approx(energy, rel=1e-4)


def test_the_page(user: Path) -> None:
    """Its commands and its Python, with the potential as `runs/mine`."""
    page = (Path(__file__).parents[2] / "docs" / "own_data.md").read_text()
    section = page.partition("## Trained models of your own code")[2]
    Path("runs").mkdir(exist_ok=True)
    Path("runs", "mine").symlink_to(user / "atoms")
    Path("new.xyz").write_bytes(Path("frames.xyz").read_bytes())
    commands = re.findall(r"^geqlib (.*)$", section, re.MULTILINE)
    assert [tiny.geqlib(command.split()) for command in commands] == [0] * 4
    (block,) = re.findall(r"^```py\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    exec(compile(block, "own_data.md", "exec"), {})
    assert Path("mine.geqlib").exists() and Path("new_predictions.csv").exists()


def test_trust_by_name_alone(user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = "classes/checkpoints/best.ckpt"
    for other in ("my_cod", "my_code.Net", "torch"):
        assert "--trust my_code" in refused(["check", best, "--trust", other], capsys)
    assert "--trust needs the name" in refused(["check", best, "--trust"], capsys)
    stored = torch.load(best, weights_only=True)
    stored["hyper_parameters"]["model"] = {"class_path": "my_code.graphs", "init_args": {}}
    torch.save(stored, "evil.ckpt")
    with geqlib.trusting("my_code"), pytest.raises(ValueError, match="is not a Module"):
        geqlib.load("evil.ckpt")


def test_a_module_that_is_not_here(user: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_code")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if str(user) != p])
    with geqlib.trusting("my_code"), pytest.raises(ValueError, match="work in the folder of its"):
        geqlib.load(user / "classes" / "checkpoints" / "best.ckpt")


@pytest.mark.parametrize("name", ["regression", "energy", "graph_classification", "displacement"])
def test_validation_before_training(name: str, tmp_path: Path) -> None:
    """With a trainer of Lightning's own."""
    task, data, _ = parts(name, tmp_path / "data")
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    trainer = L.Trainer(**SHORT, **quiet)
    before = trainer.validate(task, datamodule=data, verbose=False)
    trainer.fit(task, datamodule=data)
    after = trainer.validate(task, datamodule=data, verbose=False)
    assert before[0].keys() == after[0].keys() and before != after
    assert trainer.test(task, datamodule=data, verbose=False)
    if isinstance(task, EnergyForces):
        assert task.model.statistics.fitted
    assert not isinstance(task, ClassificationTask) or "val/accuracy" in after[0]
