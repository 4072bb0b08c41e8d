"""Training of PARD in the trainer, its samples as a metric, and samples of a checkpoint."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import networkx as nx
import pytest
import torch
import yaml

from geqlib.cli import main
from geqlib.data import GraphGeneration
from geqlib.models import PARD, PPGNpp
from geqlib.train import GraphDiffusion
from geqlib.train.graph_samples import draw_graphs
from geqlib.train.run import Run, fit
from geqlib.train.tasks.validation_noise import validation_streams
from tests.data.graphs.raw_graphs import write_generated
from tests.data.molecules.raw_qm9 import write_npz

RINGS = [nx.cycle_graph(n) for n in range(3, 7)] * 5
SMALL: dict[str, Any] = {"channels": 8, "pair_channels": 4, "layers": 1, "heads": 2, "steps": 3}


def task(**options: Any) -> GraphDiffusion:
    torch.manual_seed(0)
    return GraphDiffusion(PARD(6, 2, **SMALL), lr=1e-2, samples=4, **options)


def trainer(epochs: int = 1, **options: Any) -> L.Trainer:
    quiet: dict[str, Any] = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    quiet |= {"enable_checkpointing": False, "accelerator": "cpu", "num_sanity_val_steps": 0}
    return L.Trainer(max_epochs=epochs, **quiet | options)


@pytest.mark.filterwarnings("ignore")
def test_training_samples_every_so_many_epochs() -> None:
    model, data = task(sample_every=2), GraphGeneration.from_networkx(RINGS, 8)
    logged: list[dict[str, float]] = []

    class Seen(L.Callback):
        def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            logged.append({k: float(x) for k, x in trainer.callback_metrics.items()})

    training = trainer(2, callbacks=[Seen()])
    training.fit(model, data)
    assert "val/degree" not in logged[0]
    assert {"val/degree", "val/follows", "val/dropped", "val/stopped"} <= logged[1].keys()
    train = data.splits["train"].counts["node"]
    assert int(model.network.first_size.sum()) == len(train)
    assert int(model.network.largest) == int(train.max())
    # the same noise each time
    batch = next(iter(data.val_dataloader()))
    one, two = (model.metrics(batch, "val") for _ in range(2))
    assert float(one["bound"]) == float(two["bound"])  # type: ignore[arg-type]
    steps, parts = model.network.steps, model.losses(batch, validation_streams(batch))
    expected = (steps * parts.divergence + parts.sizes).mean()
    torch.testing.assert_close(one["bound"], expected)
    loss = (parts.divergence + 0.1 * parts.entropy + parts.sizes).mean()
    torch.testing.assert_close(one["loss"], loss)
    results = training.test(model, data, verbose=False)[0]
    assert {"test/bound", "test/orbits", "test/spectrum", "test/clustering"} <= results.keys()


@pytest.mark.parametrize("training", ["parallel", "prefixes"])
def test_validation_loss_does_not_depend_on_the_batches(training: str) -> None:
    """Of graphs of different sizes, in their order and out of it."""
    torch.manual_seed(0)
    model = GraphDiffusion(PARD(6, 2, training=training, **SMALL)).double()
    data = GraphGeneration.from_networkx(RINGS)
    data.setup()
    graphs = data.splits["train"]
    whole = validation_metrics(model, graphs, [[*range(7)]])
    for parts in ([[k] for k in range(7)], [[0, 1, 2], [3, 4, 5], [6]], [[6, 2, 4, 1], [0, 3, 5]]):
        assert validation_metrics(model, graphs, parts) == pytest.approx(whole, rel=1e-10)


def validation_metrics(model: GraphDiffusion, graphs: Any, parts: list[list[int]]) -> list[float]:
    """The means over graphs that are logged."""
    count, sums = sum(map(len, parts)), {"loss": 0.0, "bound": 0.0}
    for part in parts:
        metrics: Any = model.metrics(graphs.__getitems__(part), "val")
        for name in sums:
            sums[name] += len(part) / count * float(metrics[name].detach())
    return [*sums.values()]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_run_is_checked_and_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`geqlib fit` and `geqlib check`, and graphs of the checkpoint."""
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    write_generated(tmp_path, "community_small", RINGS)
    run = tmp_path / "run"
    sizes = {"max_size": 6, "max_degree": 2} | SMALL
    model = {"class_path": "geqlib.models.PARD", "init_args": sizes}
    config = {
        "model": {
            "class_path": "geqlib.train.GraphDiffusion",
            "init_args": {"sample_every": 0, "model": model},
        },
        "data": {"class_path": "geqlib.data.GraphGeneration", "init_args": {"batch_size": 8}},
        "trainer": {
            "max_epochs": 1,
            "default_root_dir": str(run),
            "enable_progress_bar": False,
            "accelerator": "cpu",
        },
    }
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "--config", str(tmp_path / "a.yaml")]) == 0
    capsys.readouterr()
    assert main(["check", str(run / "checkpoints" / "last.ckpt"), "--samples", "1"]) == 0
    assert "relabelling" in capsys.readouterr().out
    out = tmp_path / "samples.g6"
    graphs, again = (draw_graphs(run, out, count=5, at_once=3, seed=1) for _ in range(2))
    assert len(graphs) == 5 and len(out.read_bytes().split()) == 5
    assert all(map(nx.utils.graphs_equal, graphs, again))
    assert all("follows" in graph.graph for graph in graphs)
    with pytest.raises(ValueError, match="nothing to draw: count is 0"):
        draw_graphs(run, count=0)
    words = ["sample", str(run), "--count", "5", "--batch-size", "3", "--seed", "1"]
    assert main([*words, "--out", str(tmp_path / "command.g6")]) == 0
    assert (tmp_path / "command.g6").read_bytes() == out.read_bytes()
    assert "wrote" in capsys.readouterr().out
    assert main([*words, "--out", str(tmp_path / "other.g6"), "--steps", "3"]) == 2
    assert "--steps is for molecules" in capsys.readouterr().err
    assert main([*words, "--out", str(tmp_path / "other.xyz")]) == 2
    assert "must end in .g6 or .json" in capsys.readouterr().err


def test_samples_depend_on_seed_and_numbers() -> None:
    model, data = task(), GraphGeneration.from_networkx(RINGS)
    data.setup()
    batch: Any = data.splits["train"].__getitems__(range(4))
    sizes = torch.bincount(batch.batch)
    plan = model.network.plan(batch.edge_index, len(batch.x), batch.batch, 4)
    model.network.observe(sizes, plan.order)
    one, two, other = (model.sample(range(4), seed=seed, max_nodes=12) for seed in (0, 0, 1))
    assert torch.equal(one.edge_index, two.edge_index)
    assert one.edge_index.shape != other.edge_index.shape or not torch.equal(
        one.edge_index, other.edge_index
    )
    assert model.network.training  # as before


def with_nan() -> GraphDiffusion:
    """A task all of whose samples end in NaN."""
    model, edges = task(), torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    model.network.observe(torch.tensor([3]), model.network.plan(edges, 3).order)
    for parameter in model.network.parameters():
        parameter.data.fill_(torch.nan)
    return model


def test_graphs_that_end_in_nan_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geqlib.train.graph_samples.load_generator", lambda path: with_nan())
    with pytest.warns(UserWarning, match="3 of 3 graphs ended in NaN and are left out"):
        assert draw_graphs("run", count=3) == []


def test_without_samples_there_are_no_discrepancies(monkeypatch: pytest.MonkeyPatch) -> None:
    """And training goes on."""
    model, data, logged = with_nan(), GraphGeneration.from_networkx(RINGS), {}
    data.setup()
    monkeypatch.setattr(GraphDiffusion, "trainer", SimpleNamespace(datamodule=data))
    monkeypatch.setattr(model, "samples_path", lambda name: None)
    monkeypatch.setattr(model, "log", lambda name, value, **_: logged.update({name: value}))
    model.log_samples("val")
    assert logged == {"val/follows": 0.0, "val/dropped": 1.0, "val/stopped": 0.0}


ERRORS = {
    "negative": ({"sample_every": -1}, "sample_every=-1"),
    "convention": ({"convention": "MMD"}, '"TV" or "EMD"'),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    options, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        task(**options)


@pytest.mark.filterwarnings("ignore")
def test_other_models_and_larger_graphs_are_refused() -> None:
    data = GraphGeneration.from_networkx(RINGS, 8)
    with pytest.raises(ValueError, match=r"trains a geqlib\.models\.PARD"):
        trainer().fit(GraphDiffusion(PPGNpp(1, 1)), data)
    with pytest.raises(ValueError, match=r"max_degree=9: set max_size=\d+ and max_degree=9 of it"):
        trainer().fit(GraphDiffusion(PARD(5, 9, **SMALL)), data)


@pytest.mark.slow
def test_commands_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pard.md: trained with a small network, few samples."""
    from tests.cli.test_documented_commands import FEW, TOP, commands
    from tests.test_configs import on_small_data

    monkeypatch.chdir(tmp_path)
    fit_words, sample_words, *_ = commands(TOP / "docs" / "pard.md")
    small = on_small_data(TOP / fit_words[2], [], tmp_path, monkeypatch)
    net = [f"--model.model.{name}={size}" for name, size in SMALL.items()]
    words = [*fit_words[:2], str(TOP / fit_words[2]), *small, "--data.batch_size=4", *net]
    words += [*fit_words[3:], *FEW]
    assert main(words) == 0
    assert main(["3" if word == "40" else word for word in sample_words]) == 0
    assert len((tmp_path / "samples.g6").read_text().split()) == 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_own_graphs_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """pard.md: trained by the configuration there, with a small network, sampled and reported."""
    from tests.cli.test_documented_commands import FEW, TOP, commands

    monkeypatch.chdir(tmp_path)
    lines = [nx.to_graph6_bytes(graph, header=False) for graph in RINGS]
    Path("mine.g6").write_bytes(b"".join(lines))
    page = TOP / "docs" / "pard.md"
    text = page.read_text().partition("As `mine.yaml`")[2]
    Path("mine.yaml").write_text(re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S)[0])
    fit_words, sample_words, report_words = commands(page)[2:]
    net = [f"--model.model.{name}={size}" for name, size in SMALL.items()]
    few = [*FEW, *net, "--model.samples=3"]  # and no samples in so short a training
    assert main([*fit_words, *few, "--model.model.max_size=2"]) == 2
    message = "has 6 nodes, and the highest degree of one is 2, but the model has max_size=2"
    assert message in capsys.readouterr().err
    assert main([*fit_words, *few]) == 0
    assert main(["3" if word == "40" else word for word in sample_words]) == 0
    assert len(Path("more.g6").read_text().split()) == 3
    assert main(report_words) == 0
    assert Path("report/sampled_graphs.png").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_runs_of_built_objects_have_samples(tmp_path: Path) -> None:
    """For their report, and from the trained task."""
    options = {"default_root_dir": str(tmp_path / "run"), "max_epochs": 1, "accelerator": "cpu"}
    data = GraphGeneration.from_networkx(RINGS, 8)
    run = fit(Run(task(sample_every=1), data, options | {"enable_progress_bar": False}))
    assert len(json.loads((run.folder / "samples.json").read_text())) == 4
    assert isinstance(run.task, GraphDiffusion)
    assert len(draw_graphs(run.task, tmp_path / "a.g6", count=3)) == 3
    with pytest.raises(ValueError, match=r"trained on a module of Python.*may be a dictionary"):
        draw_graphs(run.folder)


MOLECULES: dict[str, Any] = {
    "max_size": 6,
    "max_degree": 4,
    "node_classes": 5,
    "edge_classes": 4,
} | SMALL


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_molecules_of_qm9_are_scored_as_molecules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While training, by `geqlib sample`, and in the report of the run."""
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    write_npz(tmp_path)
    run = tmp_path / "run"
    options: dict[str, Any] = {"sample_every": 1, "samples": 4}
    options["model"] = {"class_path": "geqlib.models.PARD", "init_args": MOLECULES}
    quiet = {"enable_progress_bar": False, "accelerator": "cpu", "max_epochs": 1}
    config = {
        "model": {"class_path": "geqlib.train.GraphDiffusion", "init_args": options},
        "data": {"class_path": "geqlib.data.GraphGeneration", "init_args": {"name": "qm9"}},
        "trainer": quiet | {"default_root_dir": str(run)},
    }
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "--config", str(tmp_path / "a.yaml")]) == 0
    header = next(run.glob("metrics/version_*/metrics.csv")).read_text().splitlines()[0]
    assert "val/molecule_stability" in header and "val/degree" not in header
    assert (run / "samples.json").exists()
    capsys.readouterr()
    words = ["sample", str(run), "--count", "5", "--out"]
    assert main([*words, str(tmp_path / "a.json")]) == 0
    out = capsys.readouterr().out
    assert "kinds of nodes: 0 H, 1 C, 2 N, 3 O, 4 F; of edges: orders of bonds" in out
    assert "[valences of EDM]" in out and "5 molecules" in out
    # before anything is sampled
    assert main([*words, str(tmp_path / "a.g6")]) == 2
    assert "5 kinds of nodes and 3 of edges: write .json" in capsys.readouterr().err
    assert not (tmp_path / "a.g6.parts").exists()
    assert main(["report", str(run), "--out", str(tmp_path / "report")]) == 0
    assert (tmp_path / "report" / "sampled_graphs.png").exists()


@pytest.mark.filterwarnings("ignore")
def test_kinds_that_the_model_has_not_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    write_npz(tmp_path)
    with pytest.raises(ValueError, match="set node_classes and edge_classes to those of the data"):
        trainer().fit(GraphDiffusion(PARD(6, 4, **SMALL)), GraphGeneration("qm9"))


@pytest.mark.parametrize(("species", "count"), [((), 40), (("H", "C"), 10_000)])
def test_how_many_samples_by_default(
    species: tuple[str, ...], count: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """40 graphs, and as many molecules as published scores are of."""
    model, asked = task(), []
    model.species = species

    def drawn(
        task: Any, checkpoint: Any, folder: Path, number: int, *rest: Any, **more: Any
    ) -> Any:
        asked.append(number)
        raise KeyboardInterrupt

    monkeypatch.setattr("geqlib.train.samples.load_generator", lambda path: model)
    monkeypatch.setattr("geqlib.train.samples.complete_graph_samples", drawn)
    assert main(["sample", "run", "--out", str(tmp_path / "a.json"), "--device", "cpu"]) == 130
    assert asked == [count]
