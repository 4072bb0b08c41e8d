"""The page "Bring your own data": its files, configurations and commands, in an empty folder."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from tests.data import raw_own
from tests.train import tiny

PAGE = (Path(__file__).parents[1] / "docs" / "own_data.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
SHORT = ["--trainer.max_epochs=1", "--trainer.accelerator=cpu"]


def tables(folder: Path) -> None:
    chem = pytest.importorskip("rdkit.Chem.AllChem", reason="molecules are read by rdkit")
    raw_own.write_molecules(folder / "molecules.csv")
    with chem.SDWriter(str(folder / "structures.sdf")) as writer:
        for k in range(12):
            molecule = chem.AddHs(chem.MolFromSmiles("C" * (k % 4 + 1) + "ON"[k % 2]))
            chem.EmbedMolecule(molecule, randomSeed=k)
            molecule.SetProp("logp", str(k / 2))
            writer.write(molecule)


def clouds(folder: Path) -> None:
    """PLY files, written by hand."""
    pytest.importorskip("plyfile", reason="PLY is read by plyfile, which is optional")
    draw = np.random.default_rng(0)
    for name, length in (("discs", 0.1), ("sticks", 9.0)):
        (folder / "clouds" / name).mkdir(parents=True)
        for k in range(12):
            points = draw.normal(size=(70, 3)) * [1, 1, length]
            names = "".join(f"property float {axis}\n" for axis in "xyz")
            head = f"ply\nformat ascii 1.0\nelement vertex 70\n{names}end_header\n"
            rows = "".join(" ".join(map(str, row)) + "\n" for row in points)
            (folder / "clouds" / name / f"{k}.ply").write_text(head + rows)


def arrays(folder: Path) -> None:
    draw = np.random.default_rng(0)
    pos = np.array([[0, 0, 0], [0, 0.8, 0.6], [0, -0.8, 0.6]]) + 0.05 * draw.normal(size=(20, 3, 3))
    np.savez(
        folder / "md.npz", z=[8, 1, 1], R=pos, E=draw.normal(size=20), F=draw.normal(size=pos.shape)
    )


def script(folder: Path) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", SECTIONS["Code of your own"], re.M | re.S)
    (folder / "shapes.py").write_text(block)


FILES: dict[str, Callable[[Path], object]] = {
    "Molecules in a table": tables,
    "Graphs in files": lambda folder: raw_own.write_graphs(folder / "graphs"),
    "Code of your own": script,
    "Nodes and links": lambda folder: nx.write_graphml(
        nx.karate_club_graph(), folder / "club.graphml"
    ),
    "Clouds of points": clouds,
    "Any properties of structures": lambda folder: raw_own.write_dipoles(folder / "dipoles.xyz"),
    "Arrays of structures": arrays,
}


def test_every_configuration_is_run() -> None:
    with_commands = {name for name, text in SECTIONS.items() if "```sh" in text}
    assert with_commands == set(FILES)
    rows = re.findall(r"^\| .*?\]\(#([\w-]+)\)", PAGE, re.MULTILINE)
    anchors = {name.lower().replace(" ", "-") for name in SECTIONS}
    assert rows and set(rows) <= anchors


@pytest.mark.slow
@pytest.mark.parametrize("section", FILES)
def test_commands_of_a_section(
    section: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEQLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GEQLIB_DATA", raising=False)
    FILES[section](tmp_path)
    text = SECTIONS[section]
    for name, block in re.findall(r"`(\w+\.yaml)`[^`]*?:\n\n```yaml\n(.*?)^```", text, re.M | re.S):
        Path(name).write_text(block)
    assert text.count("```yaml") == len(list(tmp_path.glob("*.yaml")))
    listed = "".join(re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S))
    commands = re.findall(r"^geqlib (.+)$", listed, re.MULTILINE)
    assert {Path(shlex.split(command)[2]).name for command in commands} == {
        path.name for path in tmp_path.glob("*.yaml")
    }
    for command in commands:
        words = shlex.split(command)
        short = ["--folds", "0", "1"] if words[0] == "cv" else []
        assert tiny.geqlib([*words, *short, *SHORT]) == 0, command


@pytest.mark.slow
def test_commands_on_files_without_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of runs in folders of the configurations' names, and new files of the same kinds."""
    monkeypatch.chdir(tmp_path)
    tables(tmp_path)
    clouds(tmp_path)
    raw_own.write_graphs(tmp_path / "graphs")
    for name in ("logp", "graphs", "clouds"):
        pattern = rf"`{name}\.yaml`[^`]*?:\n\n```yaml\n(.*?)^```"
        (text,) = re.findall(pattern, PAGE, re.MULTILINE | re.DOTALL)
        Path(f"{name}.yaml").write_text(text)
        folder = ["--trainer.default_root_dir", f"runs/{name}"]
        assert tiny.geqlib(["fit", "--config", f"{name}.yaml", *folder, *SHORT]) == 0
    lines = Path("molecules.csv").read_text().splitlines()
    Path("new_molecules.csv").write_text("\n".join(line.split(",")[0] for line in lines))
    Path("other_labelled.csv").write_text("\n".join(lines[:9]))
    shutil.copy("graphs/rings/all.g6", "new_graphs.g6")
    shutil.copytree("clouds/discs", "new_clouds")
    (block,) = re.findall(r"^```text\n(.*?)^```", SECTIONS["Files without labels"], re.M | re.S)
    commands = [shlex.split(line, comments=True) for line in block.splitlines()]
    for words in commands:
        assert words[0] == "geqlib" and tiny.geqlib(words[1:]) == 0, words
    assert len(commands) == 4
    for name, count in (("molecules.csv", 24), ("graphs.g6", 12), ("clouds", 12)):
        out = Path(f"new_{name}").with_suffix("").name + "_predictions.csv"
        assert len(Path(out).read_text().splitlines()) == count + 1
