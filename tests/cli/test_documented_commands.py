"""Every command of `geqlib` in a block of the documents is run by a test, on little data.

Pages of their own tests are in TESTED; this file runs the commands of the others. What no test
can run is in NOT_RUN, with the reason.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

from geqlib.cli import main
from tests.cli.test_use import TETRAHEDRON
from tests.data.graphs import raw_brec, raw_graphs
from tests.test_configs import on_small_data, settings
from tests.train import tiny

TOP = Path(__file__).parents[2]
PAGES = [TOP / "README.md", TOP / "CONTRIBUTING.md", *sorted((TOP / "docs").glob("*.md"))]
# page -> the test that runs all of its commands
TESTED = {
    "README.md": "tests/cli/test_first_steps.py",
    "fine_tuning.md": "tests/cli/test_training_pages.py",
    "first_steps.md": "tests/cli/test_first_steps.py",
    "generation.md": "tests/cli/test_sample.py",
    "levels.md": "tests/cli/test_training_pages.py",
    "loggers.md": "tests/cli/test_training_pages.py",
    "new_model.md": "tests/test_new_model.py",
    "own_data.md": "tests/test_own_data.py",
    "pard.md": "tests/train/tasks/test_graph_generation.py",
    "simulation.md": "tests/train/test_calibration.py",
    "sweeps.md": "tests/cli/test_training_pages.py",
    "training.md": "tests/cli/test_training_pages.py",
    "uncertainty.md": "tests/train/test_calibration.py",
}
NOT_RUN = {
    "--trainer.accelerator=gpu": "needs a GPU",
    "--trainer.devices=4": "needs four processes; tests/train/test_two_processes.py runs two",
    "--model.cuda_graphs=true": "needs a GPU; tests/train/steps/test_replay.py runs the steps",
    "demo/nbody": "reads what `make demo` has trained in minutes",
    "bench": "runs the benchmarks of a clone; tests/cli/test_bench.py runs one like them",
}
FEW = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1"]
FEW += ["--trainer.check_val_every_n_epoch=1", "--trainer.enable_progress_bar=false"]


def commands(page: Path) -> list[list[str]]:
    """Words after `geqlib` of the commands in the page's blocks for a terminal."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    text = "".join(content for language, content in fences if language in ("sh", ""))
    lines = text.replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("geqlib ")]


def outputs(words: list[str]) -> list[str]:
    """What the documents show below a command."""
    pattern = re.compile(r"^```sh\n(geqlib [^\n]*)\n```\n\n```text\n(.*?)^```", re.M | re.S)
    blocks = [block for page in PAGES for block in pattern.findall(page.read_text())]
    return [text for line, text in blocks if shlex.split(line, comments=True)[1:] == words]


def without_numbers(text: str) -> list[str]:
    """The words of an output, of which numbers are those of the machine and the data."""
    return re.sub(r"\d\.\de[+-]\d\d", "0", text).split()


def test_an_output_of_check_is_shown() -> None:
    """Which its command below compares."""
    shown = [text for param in CONFIGURED for text in outputs(param.values[0])]
    assert any("Equivariance error of PointNet" in text for text in shown)


def reason(words: list[str]) -> str | None:
    return next((why for part, why in NOT_RUN.items() if part in " ".join(words)), None)


CONFIGURED = [
    pytest.param(words, id=f"{page.stem}: {words[0]} {Path(words[2]).stem}")
    for page in PAGES
    if page.name not in TESTED
    for words in commands(page)
    if words[1:2] == ["--config"] and words[2].startswith("configs/") and reason(words) is None
]


def test_every_page_has_its_test() -> None:
    here = {"molecules.md", "motifs.md", "point_clouds.md", "subsets.md"} | {
        page.name for page in PAGES if page.name not in TESTED and not _others(page)
    }
    for page in PAGES:
        assert page.name in here or page.name in TESTED, f"no test runs the commands of {page.name}"
    for page, test in TESTED.items():
        text = (TOP / test).read_text()
        named = page in text or (page == "README.md" and "README" in text)
        assert named, f"{test} does not read {page}"
    texts = [" ".join(words) for page in PAGES for words in commands(page)]
    assert all(any(part in text for text in texts) for part in NOT_RUN), "NOT_RUN has too much"


def _others(page: Path) -> list[list[str]]:
    """Commands that neither have a configuration of the repository nor a reason not to run."""
    ready = [words for words in commands(page) if words[1:2] == ["--config"]]
    ready = [words for words in ready if words[2].startswith("configs/")]
    return [words for words in commands(page) if words not in ready and reason(words) is None]


@pytest.mark.slow
@pytest.mark.parametrize("words", CONFIGURED)
def test_commands_with_configurations(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    command, option, config, *rest = words
    small = [*on_small_data(TOP / config, [], tmp_path, monkeypatch), "--data.batch_size=4"]
    if command == "brec":
        monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
        raw_brec.write(tmp_path)
        few = ["--pairs=0:1", "--seeds", "100", "--recipe.epochs=1"]
        assert main([command, option, str(TOP / config), *rest, *few]) == 0
        return
    if command == "check":  # which takes no changes
        Path("small.yaml").write_text(yaml.safe_dump(settings(TOP / config, small)))
        capsys.readouterr()
        assert main([command, option, "small.yaml", *rest, "--samples", "1"]) == 0
        shown = capsys.readouterr().out
        assert all(without_numbers(text) == without_numbers(shown) for text in outputs(words))
        return
    # one after another: tests/cli/test_cv.py runs several at a time
    folds = ["--folds", "0", "--jobs", "1"] if command == "cv" else []
    assert main([command, option, str(TOP / config), *rest, *folds, *small, *FEW]) == 0


@pytest.mark.slow
def test_motifs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps each of SPEN, GIN, PNA and MonoidGNN with counts, by the page's configurations."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    monkeypatch.setenv("GEQLIB_CACHE", str(tmp_path / "cache"))
    raw_graphs.write(tmp_path, "MUTAG", kinds=7)
    page = TOP / "docs" / "motifs.md"
    configs = re.findall(r"^```yaml\n# (\w+\.yaml)\n(.*?)^```", page.read_text(), re.M | re.S)
    for name, text in configs:
        Path(name).write_text(text)
    fitted = []
    for words in _others(page):
        few = [*FEW, "--trainer.default_root_dir=run"] if words[0] == "fit" else []
        assert tiny.geqlib([*words, *few]) == 0, shlex.join(words)
        if few:
            run = yaml.safe_load(Path("run/config.yaml").read_text())
            network = run["model"]["init_args"]["model"]
            kinds = set(run["data"]["init_args"]["features"])
            fitted.append((network["class_path"].split(".")[-1], kinds))
            shutil.rmtree("run")
    counts = {"nodes", "edges", "graph"}
    others = ["MessagePassingNet", "MessagePassingNet", "MonoidGNN"]
    assert fitted == [("SPEN", counts | {"pairs"}), *((name, counts) for name in others)]


@pytest.mark.slow
def test_normals_of_meshes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, height in (("low", 0.3), ("high", 3.0)):
        for split in ("train", "test"):
            Path("my_meshes", name, split).mkdir(parents=True)
            Path("my_meshes", name, split, "a.off").write_text(TETRAHEDRON.format(height))
    Path("NEW.off").write_text(TETRAHEDRON.format(2.0))
    page = TOP / "docs" / "point_clouds.md"
    text = page.read_text().partition("as `normals.yaml`")[2]
    (config,) = re.findall(r"\A.*?^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    Path("normals.yaml").write_text(config)
    sizes = ["--data.points=16", "--data.train=16", "--data.val=4", "--data.test=4"]
    assert [words[0] for words in _others(page)] == ["fit", "test", "predict"]
    for words in _others(page):
        words = [*words, *sizes, *FEW] if words[0] == "fit" else words
        assert tiny.geqlib(words) == 0, shlex.join(words)
    assert len(Path("NEW_predictions.csv").read_text().splitlines()) == 17


@pytest.mark.slow
def test_molecules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the page, after the training of what `geqlib new` wrote."""
    monkeypatch.chdir(tmp_path)
    frames = [bulk("Cu", cubic=True) for _ in range(16)]
    for k, atoms in enumerate(frames):
        atoms.rattle(0.1, seed=k)
        atoms.calc = EMT()
        atoms.get_forces(), atoms.get_stress()
    write("copper.xyz", frames)
    write("new.xyz", frames[:2])
    sizes = {"channels": 4, "degree": 1, "layers": 1}  # of what `geqlib check` traces
    few = [*FEW, *(f"--model.model.{key}={size}" for key, size in sizes.items())]
    for words in _others(TOP / "docs" / "molecules.md"):
        if words[0] == "learning-curve":
            start = words.index("--sizes")
            words = [*words[:start], "--sizes", "4", "8", "--seeds", "0", *few]
        words = [*words, "--minutes", "0.01"] if words[0] == "new" else words
        if words[0] == "check":
            words = [word.replace("@:3", "@:1") for word in words]
            # compiling takes minutes
            words += [] if "--calculator" in words else ["--backend", "eager"]
        assert tiny.geqlib(words) == 0, shlex.join(words)
        if words[0] == "new":
            assert tiny.geqlib(["fit", "--config", "copper.yaml", *few]) == 0


@pytest.mark.slow
def test_sets_of_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    sizes = draw.integers(2, 6, 15)
    lines = [
        f"{k},{draw.normal():.3f},{draw.normal():.3f},{int(n == 0)}"
        for k, size in enumerate(sizes)
        for n in range(size)
    ]
    Path("baskets.csv").write_text("set,price,weight,chosen\n" + "\n".join(lines))
    Path("new_baskets.csv").write_text("set,price,weight\nx,1,2\nx,0,1\ny,3,3\n")
    page = TOP / "docs" / "subsets.md"
    text = page.read_text().partition("and `baskets.yaml`")[2]
    config = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[0]
    Path("baskets.yaml").write_text(config)
    assert [words[0] for words in _others(page)] == ["cv", "fit", "test", "predict"]
    for words in _others(page):
        few = [*FEW, "--trainer.accelerator=cpu"] if "--config" in words else []
        none = ["--model.model.background", "none"] if words[0] == "fit" else []
        assert tiny.geqlib([*words, *few, *none]) == 0, shlex.join(words)
    description = yaml.safe_load(Path("runs/baskets/config.yaml").read_text())
    network = description["model"]["init_args"]["model"]["init_args"]
    assert network["background"] in (None, "none")
    metrics = json.loads(Path("runs/baskets/results.json").read_text())["metrics"]
    assert {"test/jaccard", "test/loss"} <= set(metrics)  # without the size of sets
    header, *rows = Path("new_baskets_predictions.csv").read_text().split()
    assert header == "node,graph,marginal,chosen"
    assert [row.split(",")[1] for row in rows] == ["0", "0", "1"]
    assert {row.split(",")[3] for row in rows} <= {"0", "1"}
