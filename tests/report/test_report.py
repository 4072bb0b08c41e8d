"""`geqlib report`: from synthetic run folders to a table and pictures."""

import base64
import io
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from rich.console import Console
from safetensors.numpy import save_file

from geqlib.report import write_report
from geqlib.report.predictions import read_predictions
from geqlib.report.runs import read_history, read_run
from geqlib.report.tables import build_tables, common_baselines, group_runs, training_table

PNG = b"\x89PNG\r\n\x1a\n"
BASELINES = {"copy": {"mse": 0.14, "median": 0.07}, "linear": {"mse": 0.074, "median": 0.03}}


def write_csv(folder, version, epochs, shift=0.0):
    lines = ["epoch,step,train/loss,val/median,val/mse"]
    for epoch in epochs:
        step = 10 * epoch + 9
        lines.append(f"{epoch},{step},,{0.1 / (epoch + 1) + shift},{0.2 / (epoch + 1) + shift}")
        lines.append(f"{epoch},{step},{0.3 / (epoch + 1) + shift},,")
    path = folder / "metrics" / f"version_{version}" / "metrics.csv"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines) + "\n")


def write_run(root, name, seed=0, mse=0.005, layers=3, test=True, baselines=BASELINES):
    folder = root / f"{name}-seed{seed}"
    folder.mkdir(parents=True)
    config = {
        "seed_everything": seed,
        "trainer": {"max_epochs": 20, "default_root_dir": str(folder)},
        "model": {"init_args": {"layers": layers}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    fit = {"seconds": 90.0, "epochs": 20, "steps": 200, "parameters": 129411}
    (folder / "fit.json").write_text(json.dumps(fit))
    write_csv(folder, 0, range(20))
    results = {
        "name": folder.name,
        "seed": seed,
        "task": "DisplacementTask",
        "model": "PONITA",
        "data": "NBodyData",
        "metrics": {"test/mse": mse, "test/median": mse / 3},
        "baselines": baselines,
        "fit": fit,
        "environment": {"python": "3.12", "commit": "abc123"},
    }
    if test:
        (folder / "results.json").write_text(json.dumps(results))
    return folder


def write_predictions(folder, simulations=12, balls=3, frames=5, dim=3, **changes):
    rng = np.random.default_rng(0)
    path = rng.normal(size=(simulations * balls, frames, dim)).cumsum(1).astype(np.float32)
    arrays = {
        "path": path,
        "pos": path[:, 0].copy(),
        "true": path[:, -1].copy(),
        "predicted": path[:, -1] + np.repeat(np.arange(simulations), balls)[:, None] * 0.1,
        "batch": np.repeat(np.arange(simulations), balls),
    }
    arrays = {k: v for k, v in (arrays | changes).items() if v is not None}
    save_file(arrays, folder / "predictions.safetensors")
    return arrays


class Page(HTMLParser):
    """The tags of a page and their attributes."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    runs = [write_run(root, "ponita", seed, 0.005 + 0.0001 * seed) for seed in (1, 0)]
    runs += [write_run(root, "a|b <[bold]$x$_>", 0, test=False, layers=5)]
    write_predictions(runs[0])
    console = Console(record=True, width=160, file=io.StringIO())
    path = write_report([*runs, runs[0]], root / "out", console)
    return path, console.export_text()


def cells(markdown, name):
    line = next(line for line in markdown.splitlines() if line.startswith(f"| {name}"))
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_markdown_table(report):
    text = report[0].read_text()
    assert report[0].name == "report.md"
    results, training = text.split("## Training")
    assert cells(results, "name") == ["name", "mse", "median"]
    assert cells(results, "ponita")[1:] == ["0.005050 ± 0.000071", "0.001683 ± 0.000024"]
    assert cells(results, r"a\|b")[1:] == ["not tested", "-"]
    assert cells(results, "*copy (b")[1:] == ["0.1400", "0.07000"]
    assert cells(training, "name")[1:4] == ["network", "runs (seeds)", "parameters"]
    assert cells(training, "ponita")[1:] == ["PONITA", "2 (0, 1)", "129,411", "1.50", "20"]
    assert "measured on the same test set" in text and "standard deviation" in text
    assert "commit abc123" in text and "geqlib fit --config" in text
    for picture in ("learning_curves.png", "trajectories.png"):
        assert f"]({picture})" in text
        assert (report[0].parent / picture).read_bytes().startswith(PNG)


def test_html_is_one_self_contained_page(report):
    text = (report[0].parent / "report.html").read_text()
    tags = Page(text).tags
    images = [attributes["src"] for tag, attributes in tags if tag == "img"]
    content = [base64.b64decode(s.removeprefix("data:image/png;base64,")) for s in images]
    names = ("learning_curves.png", "trajectories.png")
    assert content == [(report[0].parent / name).read_bytes() for name in names]
    assert not {"script", "link", "bold"} & {tag for tag, _ in tags}
    assert "http" not in text and "url(" not in text
    assert "prefers-color-scheme: dark" in text and "a|b &lt;[bold]$x$_&gt;" in text
    assert sum(attributes.get("class") == "baseline" for _, attributes in tags) == 2


def test_terminal_shows_the_same_numbers(report):
    texts = ("0.005050 ± 0.000071", "not tested", "linear (baseline)", "a|b <[bold]$x$_>")
    assert all(text in report[1] for text in texts)


def test_no_partial_files_remain(report):
    names = {path.name for path in report[0].parent.iterdir()}
    assert names == {"report.md", "report.html", "learning_curves.png", "trajectories.png"}


def test_resumed_run_is_one_curve(tmp_path):
    folder = tmp_path / "run"
    write_csv(folder, 2, range(4, 8), shift=1.0)
    write_csv(folder, 10, range(6, 9), shift=2.0)
    write_csv(folder, 0, range(6))
    x, y = read_history(folder)["train/loss"].T
    assert x.tolist() == list(range(1, 10))
    assert np.floor(y).tolist() == [0] * 4 + [1] * 2 + [2] * 3


def test_validation_and_test_logs_are_not_resumptions(tmp_path):
    write_csv(tmp_path, 0, range(5))
    before = read_history(tmp_path)
    log = tmp_path / "metrics" / "version_1" / "metrics.csv"
    log.parent.mkdir()
    log.write_text("epoch,step,test/mse,val/mse\n0,0,,9.0\n0,0,9.0,\n")
    after = read_history(tmp_path)
    assert before.keys() == after.keys() == {"train/loss", "val/mse", "val/median"}
    assert all(np.array_equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("text", ["", "epoch,step,train/loss\n", "epoch,step,tr\n0,\x00", "\n"])
def test_empty_metrics(tmp_path, text):
    folder = write_run(tmp_path, "run")
    (folder / "metrics" / "version_0" / "metrics.csv").write_text(text)
    report = write_report([folder], tmp_path / "out", Console(quiet=True)).read_text()
    assert "logged no values" in report and ".png" not in report
    assert cells(report, "run-seed0")[1] == "0.005000"


def test_runs_without_tests_or_fit(tmp_path):
    folder = write_run(tmp_path, "run", test=False)
    (folder / "fit.json").unlink()
    groups = group_runs([read_run(folder)])
    (table,) = build_tables(groups)
    assert table.rows == (("run-seed0", "not tested"),)
    assert training_table(groups).rows == (("run-seed0", "-", "1 (0)", "-", "-", "-"),)


def test_only_seeds_are_grouped(tmp_path):
    folders = [write_run(tmp_path / "a", "run", seed) for seed in range(3)]
    folders += [write_run(tmp_path / "b", "run", 0, layers=9), write_run(tmp_path, "run", 3, 1.0)]
    folders += [write_run(tmp_path, "run", 4, test=False)]
    groups = group_runs([read_run(folder) for folder in folders])
    assert [group.seeds for group in groups] == ["4 (0, 1, 2, 3)", "1 (0)", "1 (4)"]
    assert [group.name for group in groups] == ["run", "run-seed0", "run-seed4"]
    twice = group_runs([read_run(folders[0]), read_run(folders[3])])
    assert [g.name for g in twice] == [f"run-seed0 ({folder})" for folder in folders[:4:3]]


def rename(folder, name):
    """Another name of a run, in its files too."""
    new = folder.rename(folder.with_name(name))
    results = json.loads((new / "results.json").read_text())
    (new / "results.json").write_text(json.dumps(results | {"name": name}))
    return new


def test_seeds_are_recognised_by_their_configuration(tmp_path):
    """Whatever the folders are called; and not by the folders, whatever they are called."""
    folders = [rename(write_run(tmp_path, "run", k), f"try-{'abc'[k]}") for k in range(3)]
    (group,) = group_runs([read_run(folder) for folder in folders])
    assert group.seeds == "3 (0, 1, 2)" and group.name == "try-a and 2 more"
    alike = [write_run(tmp_path, "x", 0), write_run(tmp_path, "x", 1, layers=9)]
    assert len(group_runs([read_run(folder) for folder in alike])) == 2


def test_a_seed_twice_is_no_second_sample(tmp_path):
    folders = [write_run(tmp_path / name, "run", 0) for name in "ab"]
    folders.append(write_run(tmp_path, "run", 1))
    groups = group_runs([read_run(folder) for folder in folders])
    assert [group.seeds for group in groups] == ["2 (0, 1)", "1 (0)"]


def test_other_test_sets_are_other_rows(tmp_path):
    folders = [write_run(tmp_path, "run", seed) for seed in range(3)]
    for folder, digest in zip(folders, "aab", strict=True):
        results = json.loads((folder / "results.json").read_text())
        (folder / "results.json").write_text(json.dumps(results | {"test_set": digest}))
    groups = group_runs([read_run(folder) for folder in folders])
    assert [group.seeds for group in groups] == ["2 (0, 1)", "1 (2)"]


def test_a_test_of_some_batches_is_marked(tmp_path):
    folders = [write_run(tmp_path, "run", seed) for seed in range(2)]
    results = json.loads((folders[1] / "results.json").read_text())
    (folders[1] / "results.json").write_text(json.dumps(results | {"limit_test_batches": 2}))
    names = [group.name for group in group_runs([read_run(folder) for folder in folders])]
    assert names == ["run-seed0", "run-seed1, on a part of the test set"]


def test_the_recommended_command_has_a_folder_of_its_own(tmp_path, monkeypatch):
    folder = write_run(tmp_path, "run")
    page = write_report([folder], tmp_path / "out", Console(quiet=True)).read_text()
    assert f"{folder}/config.yaml --trainer.default_root_dir {folder}-again" in page
    monkeypatch.chdir(folder)
    page = write_report([Path()], tmp_path / "out", Console(quiet=True)).read_text()
    assert f"--trainer.default_root_dir {folder}-again" in page


def test_different_test_sets_keep_their_baselines(tmp_path):
    other = {"copy": {"mse": 0.5, "median": 0.4}}
    folders = [write_run(tmp_path, "a"), write_run(tmp_path, "b", baselines=other)]
    groups = group_runs([read_run(folder) for folder in folders])
    assert list(common_baselines(groups)) == ["copy, for a-seed0", "copy, for b-seed0", "linear"]


def test_diverged_run(tmp_path):
    folder = write_run(tmp_path, "run", mse=float("nan"))
    metrics = folder / "metrics" / "version_0" / "metrics.csv"
    metrics.write_text("epoch,step,train/loss,val/mse\n0,9,1,nan\n1,19,nan,inf\n2,29,inf,nan\n")
    write_predictions(folder, simulations=2, dim=2, predicted=np.full((6, 2), np.inf))
    report = write_report([folder], tmp_path / "out", Console(quiet=True)).read_text()
    assert cells(report, "run-seed0")[1] == "nan" and "trajectories.png" in report


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("results.json", '{"name": "ru', r"results.json is not valid JSON .* test the run again"),
        ("results.json", "[1]", "must hold a JSON object"),
        ("results.json", '{"metrics": {"test/mse": "low"}}', "test/mse .* must be a number"),
        ("results.json", '{"baselines": [1]}', "entry baselines .* must be an object"),
        ("fit.json", "", "fit.json is not valid JSON .* fit again"),
        ("config.yaml", "a: [", "config.yaml is not valid YAML"),
        ("config.yaml", "just text", "holds no configuration"),
        ("predictions.safetensors", "torn", "predictions.safetensors is damaged"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, sentence):
    folder = write_run(tmp_path, "run")
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=sentence):
        write_report([folder], tmp_path / "out", Console(quiet=True))
    assert not (tmp_path / "out").exists()


def test_wrong_predictions(tmp_path):
    write_predictions(tmp_path, true=None)
    with pytest.raises(ValueError, match="lacks true"):
        read_predictions(tmp_path)
    write_predictions(tmp_path, pos=np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"do not belong together .*pos \[4, 3\]"):
        read_predictions(tmp_path)
    write_predictions(tmp_path, path=None, true=None)
    assert read_predictions(tmp_path) is None


def test_missing_matplotlib_is_one_sentence(tmp_path, monkeypatch):
    for name in ("pictures", "prediction_pictures", "class_pictures", "structure_pictures"):
        monkeypatch.delitem(sys.modules, f"geqlib.report.{name}", raising=False)
        monkeypatch.delattr(f"geqlib.report.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ValueError, match=r"Pictures need matplotlib: pip install 'geqlib\[report"):
        write_report([write_run(tmp_path, "run")], tmp_path / "out")


def test_wrong_folders(tmp_path):
    with pytest.raises(ValueError, match=r"no run folder .*nowhere"):
        write_report([tmp_path / "nowhere"], tmp_path / "out")
    with pytest.raises(ValueError, match=r"neither config.yaml nor results.json: name a folder"):
        write_report([tmp_path], tmp_path / "out")
    with pytest.raises(ValueError, match="name at least one run folder"):
        write_report([], Path("out"))
    (tmp_path / "out").write_text("")
    with pytest.raises(ValueError, match="is a file: choose another"):
        write_report([write_run(tmp_path, "run")], tmp_path / "out")
