"""Molecules of a CSV or SDF file of one's own, with targets that may be missing."""

from __future__ import annotations

import gzip
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geqlib.data import MoleculeTableData
from geqlib.data.molecules.table import read_molecules
from geqlib.data.molecules.table_file import table_text

Chem = pytest.importorskip("rdkit.Chem", reason="molecules are read by rdkit, which is optional")
AllChem = pytest.importorskip("rdkit.Chem.AllChem")

SMILES = ["CCO", "CCN", "CC=O", "c1ccncc1", "C1CCCC1O", "ClCCl", "O=C=O", "C#CC", "CS", "N"]
HEADER = "name,structure,boiling,toxic\n"
ROWS = [f"m{k},{smiles},{10.5 * k},{k % 2}\n" for k, smiles in enumerate(SMILES)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEQLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GEQLIB_DATA", raising=False)


def written(folder: Path, text: str, name: str = "own.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def table(path: Path, **options: Any) -> MoleculeTableData:
    settings = {"targets": ["boiling", "toxic"], "smiles": "structure", "val": 0.2, "test": 0.2}
    data = MoleculeTableData(path, **(settings | options))
    data.setup()
    return data


def structures(path: Path, *, flat: int | None = None) -> Path:
    """An SDF file of all molecules, with hydrogens, three-dimensional but for one."""
    with Chem.SDWriter(str(path)) as writer:
        for k, smiles in enumerate(SMILES):
            molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
            AllChem.EmbedMolecule(molecule, randomSeed=7)
            if k == flat:
                AllChem.Compute2DCoords(molecule)
            molecule.SetProp("boiling", str(10.5 * k))
            if k % 3:
                molecule.SetProp("toxic", str(k % 2))
            writer.write(molecule)
    return path


def test_targets_and_missing_values(tmp_path: Path) -> None:
    rows = [*ROWS[:2], "m2,CC=O,,0\n", "m3,c1ccncc1,NaN,NA\n", *ROWS[4:]]
    arrays = read_molecules(
        written(tmp_path, HEADER + "".join(rows)), ["toxic", "boiling"], "structure"
    )
    nothing = np.nan
    assert arrays["y"].shape == (10, 2)
    np.testing.assert_equal(arrays["y"][:4], [[0, 0], [1, 10.5], [0, nothing], [nothing, nothing]])
    assert arrays["nodes"].tolist()[:4] == [3, 3, 3, 6]
    assert arrays["z"][:3].tolist() == [6, 6, 8]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_spreadsheets(tmp_path: Path, delimiter: str) -> None:
    """Byte order marks, other delimiters, blank lines, quotes and compression change nothing."""
    plain = table(written(tmp_path, HEADER + "".join(ROWS))).splits["train"]
    text = "\ufeff" + (HEADER + "".join(ROWS)).replace(",", delimiter) + "\n\n"
    text = text.replace("CCO", '"CCO"').replace("\n", "\r\n")
    path = tmp_path / "other.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    other = table(path).splits["train"]
    assert torch.equal(plain.y, other.y) and torch.equal(plain.x, other.x)
    assert torch.equal(plain.index, other.index)


def test_splits_and_files_of_their_own(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + "".join(ROWS))
    data = table(path)
    assert {k: len(v) for k, v in data.splits.items()} == {"train": 6, "val": 2, "test": 2}
    numbers = torch.cat([part.index for part in data.splits.values()])
    assert sorted(numbers.tolist()) == list(range(10))
    again = written(tmp_path, HEADER + "".join(ROWS[:3]), "test.csv")
    own = table(path, test=again)
    assert {k: len(v) for k, v in own.splits.items()} == {"train": 8, "val": 2, "test": 3}
    assert own.splits["test"].index.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="val or test name files of their own: leave them out"):
        table(path, test=again, fold=0)


def test_predictions_of_a_compressed_file_have_its_smiles(tmp_path: Path) -> None:
    data = table(written(tmp_path, HEADER + "".join(ROWS)))
    path = tmp_path / "other.csv.gz"
    path.write_bytes(gzip.compress((HEADER + "".join(ROWS[:3])).encode()))
    other = data.of_file(path)
    other.setup()
    assert other.names == SMILES[:3]


def test_identifiers_are_those_of_the_rows(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + "".join(ROWS))
    data = table(path)
    assert data.identifiers() == SMILES
    assert [data.identifiers()[k] for k in data.splits["test"].index.tolist()]
    other = written(tmp_path, HEADER + "".join(ROWS[:2]), "other.csv")
    assert table(path, test=other).identifiers() == SMILES[:2]
    assert table(structures(tmp_path / "own.sdf")).identifiers() == list(map(str, range(10)))


def test_classes_are_spread_and_scaffolds_stay_together(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + "".join(ROWS))
    for fold in range(5):
        data = table(path, targets="toxic", fold=fold, num_folds=5, val=0.25)
        assert sorted(data.splits["test"].y[:, 0].tolist()) == [0, 1]
    loaders = data.val_dataloader()
    assert [len(loader.dataset) for loader in loaders] == [2, 2]
    parts = table(path, split="scaffold", val=0.1, test=0.1).numbers
    acyclic = {0, 1, 2, 5, 6, 7, 8, 9}
    assert sum(bool(acyclic & set(part.tolist())) for part in parts.values()) == 1


def test_scale_is_that_of_what_is_known(tmp_path: Path) -> None:
    rows = ["m,CCO,,1\n", *ROWS[1:]]
    data = table(written(tmp_path, HEADER + "".join(rows)), val=0, test=0)
    mean, std = data.target_scale()
    values = 10.5 * np.arange(1, 10)
    assert float(mean[0]) == pytest.approx(values.mean())
    assert float(std[0]) == pytest.approx(values.std())
    single = table(written(tmp_path, HEADER + "".join(rows)), targets="boiling", val=0, test=0)
    assert single.target_scale()[0] == pytest.approx(values.mean())


def test_structures(tmp_path: Path) -> None:
    data = table(structures(tmp_path / "own.sdf"), val=0, test=0)
    graphs = data.splits["train"]
    assert graphs.pos.shape == (len(graphs.z), 3) and (graphs.z == 1).any()
    assert graphs.y[:, 1].isnan().nonzero()[:, 0].tolist() == [0, 3, 6, 9]
    near = table(tmp_path / "own.sdf", val=0, test=0, cutoff=3.0).splits["train"]
    for k in range(len(near)):
        one = near[k]
        distance = torch.cdist(one.pos, one.pos).fill_diagonal_(9.0)
        pairs = torch.zeros_like(distance).index_put_(tuple(one.edge_index), torch.tensor(1.0))
        assert torch.equal(pairs.bool(), distance <= 3.0)
    assert "edge_attr" not in near[0]


def test_structures_far_from_the_origin_keep_their_digits(tmp_path: Path) -> None:
    """Ligands cut out of a large file; an SDF file has four decimals and 10 columns."""
    near = table(structures(tmp_path / "own.sdf"), val=0, test=0).splits["train"]
    with Chem.SDWriter(str(tmp_path / "far.sdf")) as writer:
        for molecule in Chem.SDMolSupplier(str(tmp_path / "own.sdf"), removeHs=False):
            conformer = molecule.GetConformer()
            conformer.SetPositions(conformer.GetPositions() + 9000.0)
            writer.write(molecule)
    far = table(tmp_path / "far.sdf", val=0, test=0).splits["train"]
    for k in range(len(near)):
        one, other = near[k].pos, far[k].pos
        torch.testing.assert_close(one - one.mean(0), other - other.mean(0), atol=1e-5, rtol=0)


def test_formal_charges(tmp_path: Path) -> None:
    rows = ["a,CC(=O)[O-],1,0\n", "b,C[NH3+],2,1\n", *ROWS]
    path = written(tmp_path, HEADER + "".join(rows))
    charged = table(path, val=0, test=0, charges=True).splits["train"]
    assert charged[0].charge.tolist() == [-1] and charged[1].charge.tolist() == [1]
    assert not charged.charge[2:].any()
    assert "charge" not in table(path, val=0, test=0).splits["train"][0]
    near = table(structures(tmp_path / "own.sdf"), val=0, test=0, cutoff=3.0, charges=True)
    assert near.splits["train"].charge.tolist() == [0] * 10


def test_flat_structures_have_bonds_alone(tmp_path: Path) -> None:
    path = structures(tmp_path / "flat.sdf", flat=4)
    assert "pos" not in table(path, val=0, test=0).splits["train"][0]
    with pytest.raises(ValueError, match=r"not all molecules of .*flat.sdf are three-dim"):
        table(path, val=0, test=0, cutoff=3.0)


def test_bad_molecules(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + "".join(ROWS) + "bad,C1CC,3,1\n")
    with pytest.raises(ValueError, match=r"own.csv, row 11 after the header: rdkit cannot read"):
        table(path)
    with pytest.warns(UserWarning, match="1 of 11 molecules are left out. The first was .*row 11"):
        data = table(path, on_bad_molecule="skip", val=0, test=0)
    assert data.splits["train"].index.tolist() == list(range(10))
    broken = structures(tmp_path / "broken.sdf")
    broken.write_text(broken.read_text().replace(" V2000", " V9000", 1))
    with pytest.raises(ValueError, match=r"broken.sdf, molecule 1: rdkit cannot read it"):
        table(broken)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "own.csv is empty: expected a header"),
        (HEADER, {}, "own.csv has no molecules"),
        (HEADER + "".join(ROWS), {"smiles": "smiles"}, "no column 'smiles', only name, structure"),
        (HEADER + "".join(ROWS), {"targets": "logp"}, "no column 'logp'.*name the right one in `t"),
        (HEADER + "".join(ROWS), {"targets": []}, "name at least one column"),
        (HEADER + "".join(ROWS), {"split": "time"}, '"random" or "scaffold", got .time'),
        (HEADER + "m,CC,hot,1\n", {}, "row 1 after the header: 'boiling' is 'hot', which is no nu"),
        (HEADER + "m,CC,inf,1\n", {}, "row 1 after the header: 'boiling' is infinite"),
        (HEADER + "m,CC,1e39,1\n", {}, "row 1 after the header: 'boiling' is infinite"),
        (HEADER + "m,CC,1\n", {}, "row 1 after the header has 3 cells, but the header has 4"),
        (HEADER + "m,CC,,1\n" * 4, {}, "no molecule has a value of 'boiling': leave it out"),
        (HEADER + "".join(ROWS), {"cutoff": 3.0}, "not all molecules of .* are three-dimensional"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message), warnings.catch_warnings():
        table(written(tmp_path, text), **options)


def test_files_that_are_missing_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"There is no file .*nowhere.csv, here or in the folder"):
        table(tmp_path / "nowhere.csv")
    path = tmp_path / "latin.csv"
    path.write_bytes((HEADER + "m\xfcller,CC,1,1\n").encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin.csv is no table in UTF-8"):
        table(path)
    with pytest.raises(ValueError, match=r"is a folder: name a CSV or SDF file of molecules"):
        table_text(tmp_path)
