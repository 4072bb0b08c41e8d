"""The page "From a file to a model": its commands are run, on less data, one after the other."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import networkx as nx
import pytest
from ase.io import read, write

from tests.cli.test_use import TETRAHEDRON
from tests.train import tiny

TOP = Path(__file__).parents[2]
PAGE = (TOP / "docs" / "first_steps.md").read_text()
README = (TOP / "README.md").read_text()
SHORT = [
    "--trainer.max_epochs=1",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
]


def blocks(section: str) -> list[tuple[str, str]]:
    """(language, content) of the blocks of a section."""
    text = next(part for part in PAGE.split("\n## ") if part.startswith(section))
    return re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def run(section: str) -> None:
    """All blocks of a section, with fewer structures, points and epochs."""
    for language, content in blocks(section):
        if language == "py":
            exec(compile(content.replace("range(300)", "range(12)"), section, "exec"), {})
            continue
        for line in content.splitlines():
            program, command, *words = shlex.split(line, comments=True)
            words = ["0.01" if word == "3" else word for word in words]
            more = [*SHORT] if command in ("fit", "cv") else []
            more += ["--data.points=8"] if "my_meshes.yaml" in words else []
            assert program == "geqlib" and tiny.geqlib([command, *words, *more]) == 0, line


@pytest.mark.slow
def test_from_structures_to_dynamics(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("A potential from structures")
    assert Path("report", "parity.png").exists() and Path("report", "report.html").exists()
    assert Path("runs", "metal", "results.json").exists() and len(read("metal.traj", ":")) == 6
    frames = read("metal.xyz", ":2")
    write("new_labelled.xyz", frames)
    for atoms in frames:
        atoms.calc = None
    write("new.xyz", frames)
    write("new.cif", frames[0])
    run("Use a model on any file")
    assert len(read("new_predictions.xyz", ":")) == 2 and Path("energies.csv").exists()


@pytest.mark.slow
def test_commands_of_the_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ((_, content),) = [b for b in blocks("A potential from structures")[:1] if b[0] == "py"]
    exec(compile(content.replace("range(300)", "range(12)"), "README", "exec"), {})
    (block,) = re.findall(r"^```\n(geqlib new .*?)^```", README, re.MULTILINE | re.DOTALL)
    for line in block.splitlines():
        _, command, *words = shlex.split(line, comments=True)
        more = {"new": ["--minutes", "0.01"], "fit": SHORT, "check": ["--samples", "1"]}
        assert tiny.geqlib([command, *words, *more.get(command, [])]) == 0, line
    assert "### By element" in Path("report", "report.md").read_text()


@pytest.mark.slow
def test_from_meshes_to_classes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, height in (("low", 0.3), ("high", 3.0)):
        for split in ("train", "test"):
            Path("my_meshes", name, split).mkdir(parents=True)
            Path("my_meshes", name, split, "a.off").write_text(TETRAHEDRON.format(height))
    Path("NEW.off").write_text(TETRAHEDRON.format(2.0))
    run("Classes of point clouds")
    assert "p(high)" in Path("NEW_predictions.csv").read_text()


@pytest.mark.slow
def test_from_a_table_to_folds(tmp_path, monkeypatch):
    pytest.importorskip("rdkit")
    monkeypatch.chdir(tmp_path)
    rows = [f"{'C' * a}O{'C' * b},{a - b}" for a in range(1, 6) for b in range(1, 5)]
    Path("solubility.csv").write_text("\n".join(["smiles,solubility", *rows]) + "\n")
    run("Properties of molecules")
    assert Path("runs/cv-solubility/folds.json").exists()


@pytest.mark.slow
def test_from_graphs_to_folds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, make in (("rings", nx.cycle_graph), ("trees", nx.path_graph)):
        Path("my_graphs", name).mkdir(parents=True)
        lines = [nx.to_graph6_bytes(make(n), header=False) for n in range(3, 23)]
        Path("my_graphs", name, "all.g6").write_bytes(b"".join(lines))
    run("Classes of graphs")
    assert Path("runs/cv-my_graphs/folds.json").exists()


def test_four_commands_lead_from_a_file_to_dynamics():
    """And nothing has to be written between them."""
    (commands,) = [x for language, x in blocks("A potential from structures") if language == "sh"]
    lines = commands.splitlines()
    assert [line.split()[1] for line in lines] == ["new", "fit", "report", "md"]


def test_the_page_has_commands():
    sections = ("A potential", "Properties", "Classes of graphs", "Classes of point clouds", "Use")
    assert [len(blocks(section)) for section in sections] == [3, 1, 1, 1, 2]
