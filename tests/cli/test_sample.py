"""`geqlib sample`: a trained denoiser, its samples as files, and what a stop leaves."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from ase.io import read

from geqlib.cli import main
from geqlib.cli.sample import report
from geqlib.data import PropertyData
from geqlib.files.checkpoint import read_checkpoint
from geqlib.files.molecule_files import write_samples
from geqlib.generation import EDM_RULES, HeunSampler, Molecules, molecule_smiles
from geqlib.train.novelty import training_graphs, training_smiles
from geqlib.train.run import fit
from geqlib.train.samples import SampleSettings, complete_samples, load_diffusion
from tests.data.molecules.raw_qm9 import arrays, write_npz

NETWORK = {"in_scalars": 6, "in_vectors": 1, "out_scalars": 5, "out_vectors": 1}
CONFIG: dict[str, Any] = {
    "ema": 0.5,
    "monitor": "val/loss",
    "model": {
        "class_path": "geqlib.train.MoleculeDiffusion",
        "init_args": {
            "lr": 0.01,
            "sample_every": 2,
            "samples": 5,
            "steps": 3,
            "sigma_max": 2.0,
            "model": {
                "class_path": "geqlib.generation.Denoiser",
                "init_args": {
                    "network": {
                        "class_path": "geqlib.models.PONITA",
                        "init_args": NETWORK | {"channels": 4, "basis": 4, "layers": 1},
                    }
                },
            },
        },
    },
    "data": {
        "class_path": "geqlib.data.QM9Generation",
        "init_args": {"train": 12, "val": 3, "batch_size": 6},
    },
    "trainer": {"max_epochs": 4, "enable_progress_bar": False, "accelerator": "cpu"},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four epochs, of which the second and the fourth are followed by samples."""
    folder = tmp_path_factory.mktemp("generation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEQLIB_DATA", str(folder))
        write_npz(folder)
        fit(CONFIG, {"trainer.default_root_dir": str(folder / "run")})
    return folder / "run"


def sample(run: Path, out: Path, *words: str) -> int:
    return main(["sample", str(run), "--out", str(out), "--device", "cpu", *words])


def test_samples_are_metrics(run: Path) -> None:
    with next(run.glob("metrics/version_*/metrics.csv")).open(newline="") as file:
        lines = list(csv.DictReader(file))
    stable = {
        int(line["epoch"]): float(line["val/atom_stability"])
        for line in lines
        if line["val/atom_stability"]
    }
    assert sorted(stable) == [1, 3] and all(0 <= value <= 1 for value in stable.values())
    assert len([line for line in lines if line["val/loss"]]) == 4


def test_checkpoints_hold_what_sampling_takes(run: Path) -> None:
    stored = read_checkpoint(run / "checkpoints" / "last.ckpt")["generation"]
    import numpy as np

    sizes = arrays()["n_atoms"][np.random.RandomState(0).permutation(20)[:12]].tolist()
    assert stored["atoms"] == {n: sizes.count(n) for n in sorted(set(sizes))}
    assert (stored["rules"], stored["species"]) == ("EDM", ["H", "C", "N", "O", "F"])
    task = load_diffusion(run)
    assert task.histogram == stored["atoms"] and task.sampler == HeunSampler(3, sigma_max=2.0)


def test_validated_samples_are_those_of_averaged_weights(run: Path) -> None:
    from geqlib.train.tasks.diffusion import scores_of

    task = load_diffusion(run / "checkpoints" / "last.ckpt")
    scores = scores_of(task.sample(range(5)), validity=False)
    with next(run.glob("metrics/version_*/metrics.csv")).open(newline="") as file:
        logged = [line["val/atom_stability"] for line in csv.DictReader(file)]
    last = [float(value) for value in logged if value][-1]
    assert scores.atom_stability == pytest.approx(last)


def test_an_interrupted_command_goes_on(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    words = ["--count", "7", "--batch-size", "3"]
    assert sample(run, tmp_path / "whole.xyz", *words) == 0
    out = capsys.readouterr().out
    assert "species H, C, N, O, F; " in out and "[EDM]" in out and "7 molecules" in out
    assert not (tmp_path / "whole.xyz.parts").exists()

    from geqlib.train.tasks.diffusion import MoleculeDiffusion

    drawn, numbers = MoleculeDiffusion.sample, []

    def stopped(task: Any, part: range, **options: Any) -> Molecules:
        if len(numbers) == 2:
            raise KeyboardInterrupt
        numbers.append(part)
        return drawn(task, part, **options)

    monkeypatch.setattr(MoleculeDiffusion, "sample", stopped)
    assert sample(run, tmp_path / "parts.xyz", *words) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert not (tmp_path / "parts.xyz").exists()
    assert sample(run, tmp_path / "parts.xyz", *words, "--seed", "1") == 2
    assert "holds samples of another seed" in capsys.readouterr().err
    monkeypatch.setattr(MoleculeDiffusion, "sample", drawn)
    assert sample(run, tmp_path / "parts.xyz", *words) == 0
    assert numbers == [range(3), range(3, 6)]
    assert (tmp_path / "parts.xyz").read_bytes() == (tmp_path / "whole.xyz").read_bytes()
    frames: Any = read(tmp_path / "whole.xyz", ":")
    assert [frame.info["sample"] for frame in frames] == list(range(7))
    capsys.readouterr()
    assert sample(run, tmp_path / "whole.xyz", *words) == 2
    assert "exists: name another file, or --overwrite it" in capsys.readouterr().err


def test_more_samples_begin_with_the_fewer(run: Path, tmp_path: Path) -> None:
    task, settings = load_diffusion(run), SampleSettings(at_once=2, sampler=HeunSampler(2))
    few = complete_samples(task, run, tmp_path / "a", 4, settings)
    more = complete_samples(task, run, tmp_path / "a", 5, settings)
    atoms = len(few.pos)
    assert torch.equal(few.pos, more.pos[:atoms]) and len(more) == 5


def test_what_is_overridden_is_said(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--count", "2", "--atoms", "6", "--steps", "2"]
    assert sample(run, tmp_path / "six.sdf", *words) == 0
    out = capsys.readouterr().out
    assert "6 atoms each, in place of the checkpoint's (" in out
    text = (tmp_path / "six.sdf").read_text()
    assert text.count("$$$$") == 2 and "  6" in text.splitlines()[3]
    assert sample(run, tmp_path / "six.pdb", *words) == 2
    assert "should end in .xyz, .extxyz or .sdf" in capsys.readouterr().err
    assert sample(run, tmp_path / "none.xyz", "--property", "3") == 2
    assert "knows no property" in capsys.readouterr().err


def test_other_rules_and_sizes_are_said(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = tmp_path / "sizes.json"
    sizes.write_text('{"3": 0, "7": 2}')
    words = ["--count", "2", "--steps", "2", "--histogram", str(sizes)]
    assert sample(run, tmp_path / "a.xyz", *words, "--rules", "EDM-without-CO") == 0
    out = capsys.readouterr().out
    assert "3 to 7 atoms, most often 7, as in 2 molecules, in place of the check" in out
    assert "[EDM-without-CO]" in out and "[EDM]" not in out
    assert "scored by the rules EDM, these samples by EDM-without-CO" in out
    assert [len(frame) for frame in read(tmp_path / "a.xyz", ":")] == [7, 7]
    for text in ("[]", '{"7": "x"}', '{"a": 1}', "{", "{}", '{"7": -1}', '{"0": 3}', '{"7": 0}'):
        sizes.write_text(text)
        assert sample(run, tmp_path / "b.xyz", *words) == 2
        assert "holds no numbers of molecules" in capsys.readouterr().err
    assert sample(run, tmp_path / "b.xyz", "--rules", "mine") == 2
    assert "no rules of bonds 'mine': choose EDM or EDM-without-CO" in capsys.readouterr().err


def test_samples_of_other_sizes_are_not_mixed(run: Path, tmp_path: Path) -> None:
    task = load_diffusion(run)
    few = {"at_once": 2, "sampler": HeunSampler(2)}
    settings = SampleSettings(**few, histogram={5: 1})
    one, two = (complete_samples(task, run, tmp_path / "a", 2, settings) for _ in range(2))
    assert one.lengths.tolist() == [5, 5] and torch.equal(one.pos, two.pos)
    with pytest.raises(ValueError, match="another histogram"):
        complete_samples(task, run, tmp_path / "a", 2, SampleSettings(**few))


def test_novelty_is_against_the_training_molecules(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    pytest.importorskip("rdkit")
    monkeypatch.setenv("GEQLIB_DATA", str(run.parent))
    train = training_graphs(run)
    texts, batch = training_smiles(train), train.__getitems__(range(len(train)))
    molecules = batch.z, batch.pos, batch.batch, len(train)
    assert len(train) == 12 and texts == {*molecule_smiles(*molecules)} - {None}
    words = ["--count", "2", "--steps", "2"]
    assert sample(run, tmp_path / "a.xyz", *words, "--novelty") == 0
    assert "\nnovelty " in capsys.readouterr().out
    assert sample(run, tmp_path / "b.xyz", *words) == 0
    assert "\nnovelty " not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--count", "0"], "nothing to sample: count is 0"),
        (["--batch-size", "0"], "and 0 at once"),
        (["--atoms", "0"], "--atoms is 0: a molecule has at least one"),
        (["--guidance", "1"], "--guidance overdoes a property: give its value by --property"),
        (["--steps", "1"], "steps must be at least 2"),
        (["--sigma-max", "0"], "below sigma_max"),
        (["--sigma-max", "1e200"], "below sigma_max"),
        (["--device", "mars"], "--device mars cannot be used"),
        (["--max-nodes", "3"], "--max-nodes is for graphs"),
    ],
)
def test_bad_settings_are_named(
    words: list[str], message: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample(run, tmp_path / "a.xyz", "--count", "2", *words) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "a.xyz").exists()


def test_samples_that_all_end_in_nan(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A noise level beyond the numbers of the network: an empty file, and a count."""
    words = ["--count", "2", "--steps", "2", "--sigma-max", "1e90"]
    assert sample(run, tmp_path / "a.xyz", *words) == 0
    out = capsys.readouterr().out
    assert "dropped: 2 of 2 ended in NaN" in out and "0 of 2 molecules" in out
    assert (tmp_path / "a.xyz").read_bytes() == b""


def test_dropped_molecules_are_counted(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    water = torch.tensor([[0.0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]])
    pos = torch.cat([torch.full((2, 3), torch.nan), water])
    molecules = Molecules(torch.tensor([1, 1, 8, 1, 1]), pos, torch.tensor([2, 3]))
    write_samples(tmp_path / "water.sdf", molecules)
    task = load_diffusion(run)
    task.rules = "theirs"
    report(molecules, task, EDM_RULES)
    out = capsys.readouterr().out
    assert "dropped: 1 of 2 ended in NaN" in out and "1 of 2 molecules" in out
    assert "scored by the rules theirs, these samples by EDM" in out
    atoms: Any = read(tmp_path / "water.sdf")
    assert str(atoms.symbols) == "OH2"
    lines = (tmp_path / "water.sdf").read_text().splitlines()
    assert lines[0] == "sample 1" and lines[3].startswith("  3  2")
    assert lines[7:9] == ["  1  2  1  0  0  0  0", "  1  3  1  0  0  0  0"]


def test_refused_words_bind_nobody(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, few = tmp_path / "a.xyz", ["--count", "2", "--steps", "2"]
    wrong = {
        "knows no property": ["--property", "3"],
        "0 at once": ["--batch-size", "0"],
        "seed is -1": ["--seed", "-1"],
        "below sigma_max, and this below": ["--sigma-max", "inf"],
        "--device gpu7 cannot be used here": ["--device", "gpu7"],
    }
    for message, words in wrong.items():
        assert sample(run, out, *few, *words) == 2
        assert message in capsys.readouterr().err
    assert sample(run, out, *few) == 0


def test_only_what_was_written_is_deleted(run: Path, tmp_path: Path) -> None:
    """A folder of the name of the parts may be somebody's."""
    own = tmp_path / "a.xyz.parts"
    own.mkdir()
    (own / "precious.txt").write_text("x")
    assert sample(run, tmp_path / "a.xyz", "--count", "2", "--steps", "2") == 0
    assert [path.name for path in own.iterdir()] == ["precious.txt"]
    before = (tmp_path / "a.xyz").read_bytes()
    assert sample(run, tmp_path / "a.xyz", "--count", "3", "--steps", "2") == 2
    assert (tmp_path / "a.xyz").read_bytes() == before


@pytest.mark.parametrize("text", ["[]", "{", "3"])
def test_damaged_settings_are_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    task, settings = load_diffusion(run), SampleSettings(at_once=2, sampler=HeunSampler(2))
    folder = tmp_path / "a.xyz.parts"
    complete_samples(task, run, folder, 2, settings)
    (folder / "settings.json").write_text(text)
    with pytest.raises(ValueError, match="does not say how its samples were drawn"):
        complete_samples(task, run, folder, 4, settings)


@pytest.mark.parametrize("place", [-10_000.0, 99_999.99996])
def test_columns_of_an_sdf_do_not_run_together(tmp_path: Path, place: float) -> None:
    pos = torch.tensor([[place, 0, 0]], dtype=torch.float64)
    far = Molecules(torch.tensor([6]), pos, torch.tensor([1]))
    with pytest.raises(ValueError, match=r"an SDF holds -9999.9999 to 99999.9999: write an .xyz"):
        write_samples(tmp_path / "a.sdf", far)
    write_samples(tmp_path / "a.xyz", far)
    frame: Any = read(tmp_path / "a.xyz")
    assert frame.positions[0, 0] == pytest.approx(place, abs=1e-7)


def test_other_checkpoints_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sample(tmp_path / "none.ckpt", tmp_path / "a.xyz") == 2
    assert "There is no checkpoint" in capsys.readouterr().err


@pytest.mark.slow
def test_commands_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """generation.md: trained with a small network, few samples."""
    from tests.cli.test_documented_commands import FEW, TOP, commands
    from tests.test_configs import on_small_data

    monkeypatch.chdir(tmp_path)
    fit_words, sample_words, *_ = commands(TOP / "docs" / "generation.md")
    small = on_small_data(TOP / fit_words[2], [], tmp_path, monkeypatch)
    net = [f"--model.model.network.{name}" for name in ("channels=4", "basis=4", "layers=1")]
    words = [*fit_words[:2], str(TOP / fit_words[2]), *small, "--data.batch_size=4", *net, *FEW]
    assert main(words) == 0
    assert main([word.replace("10000", "3") for word in sample_words]) == 0
    assert len(read("samples.xyz", ":")) == 3


@pytest.mark.slow
def test_own_molecules_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """generation.md: trained by the configuration there, with a small network, and reported."""
    import numpy as np
    from ase.build import molecule
    from ase.io import write

    from tests.cli.test_documented_commands import FEW, TOP, commands

    pytest.importorskip("rdkit", reason="novelty takes rdkit")
    monkeypatch.chdir(tmp_path)
    molecules = [molecule(["H2O", "CH4", "NH3", "CH3OH"][k % 4]) for k in range(20)]
    for k, atoms in enumerate(molecules):
        atoms.info["gap"] = k / 3
    write("mine.xyz", molecules)
    page = TOP / "docs" / "generation.md"
    text = page.read_text().partition("As `mine.yaml`")[2]
    Path("mine.yaml").write_text(re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S)[0])
    fit_words, sample_words, report_words = commands(page)[2:]
    net = [f"--model.model.network.{name}" for name in ("channels=4", "basis=4", "layers=1")]
    few = ["--model.sample_every=1", "--model.samples=3", "--model.steps=3"]
    assert main([*fit_words, *net, *FEW, *few]) == 0
    assert main(["3" if word == "100" else word for word in sample_words]) == 0
    frames: Any = read("more.xyz", ":")
    assert len(frames) == 3 and {n for atoms in frames for n in atoms.numbers} <= {1, 6, 7, 8}
    assert np.isfinite(frames[0].positions).all()
    assert main(report_words) == 0
    assert Path("report/sampled_molecules.png").exists()
    # with a property, as the page says
    properties: dict[str, Any] = {"properties": {"y": "graph:scalar"}, "keys": {"y": "gap"}}
    assert '`properties: {y: "graph:scalar"}` and `keys: {y: gap}`' in page.read_text()
    changes = [f"--data.{name}={json.dumps(value)}" for name, value in properties.items()]
    changes += ["--model.model.conditional=true", "--model.model.network.in_scalars=7"]
    folder = ["--trainer.default_root_dir=runs/gap"]
    assert main([*fit_words[:3], *folder, *net, *FEW, *few, *changes]) == 0
    data = PropertyData("mine.xyz", **properties)
    data.setup()
    y = data.splits["train"].y.double()
    scale = load_diffusion("runs/gap").property_scale
    assert scale == pytest.approx((float(y.mean()), float(y.std())))
    words = ["--count", "2", "--property", "3", "--out", "gap.xyz"]
    assert main(["sample", "runs/gap", *words]) == 0
