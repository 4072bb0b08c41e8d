"""Sets of compounds keep to their split, and their subsets are those of the highest values."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geqlib.data import CompoundSubsetData
from geqlib.data.molecules.compound_subsets import highest
from tests.data.molecules import raw_molecules

rdkit = pytest.mark.skipif(
    find_spec("rdkit") is None, reason="molecules are read by rdkit, which is optional"
)


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    raw_molecules.write_compounds(tmp_path)
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    return tmp_path


def compounds(folder: Path, **options: Any) -> CompoundSubsetData:
    small: dict[str, Any] = {"size": 4, "chosen": 2, "train": 9, "val": 5, "test": 6, "bits": 64}
    small |= {"split": "random", "cache": str(folder / "cache")}
    data = CompoundSubsetData("lipo", 4, **(small | options))
    data.setup()
    return data


def table(folder: Path) -> list[tuple[str, float]]:
    path = folder / "MoleculeNet" / "lipo" / "raw" / "Lipophilicity.csv"
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    return [(smiles, float(value)) for _, value, smiles in rows]


@rdkit
@pytest.mark.parametrize("split", ["random", "scaffold"])
def test_subsets_are_the_highest_values_of_sets_of_one_split(mirror: Path, split: Any) -> None:
    data, values = compounds(mirror, split=split), [value for _, value in table(mirror)]
    molecules: dict[str, set[int]] = {}
    for name, count in {"train": 9, "val": 5, "test": 6}.items():
        batch: Any = data.splits[name].__getitems__(range(count))
        sets = batch.molecule.view(count, 4).tolist()
        for members, chosen in zip(sets, batch.y.view(count, 4).tolist(), strict=True):
            assert len({*members}) == 4
            top = sorted(members, key=lambda k: values[k])[-2:]
            assert {k for k, y in zip(members, chosen, strict=True) if y} == {*top}
        molecules[name] = {k for members in sets for k in members}
    assert not molecules["train"] & (molecules["val"] | molecules["test"])
    assert not molecules["val"] & molecules["test"]


@rdkit
def test_elements_have_the_fingerprints_of_their_molecules(mirror: Path) -> None:
    """Against rdkit's own counts by fragment, folded."""
    from rdkit.Chem import MolFromSmiles  # pyright: ignore[reportMissingImports]
    from rdkit.Chem.rdFingerprintGenerator import (  # pyright: ignore[reportMissingImports]
        GetMorganGenerator,
    )

    data, rows = compounds(mirror), table(mirror)
    batch: Any = data.splits["train"].__getitems__([0, 3])
    assert batch.x.shape == (8, 64) and batch.x.dtype == torch.get_default_dtype()
    for x, k in zip(batch.x, batch.molecule.tolist(), strict=True):
        counts: dict[int, int] = {}
        fragments = GetMorganGenerator(radius=2).GetSparseCountFingerprint(
            MolFromSmiles(rows[k][0])
        )
        for fragment, count in fragments.GetNonzeroElements().items():
            counts[fragment % 64] = counts.get(fragment % 64, 0) + count
        assert {i: int(n) for i, n in enumerate(x.tolist()) if n} == counts


@rdkit
def test_seeds_and_molecules_of_one_scaffold(mirror: Path) -> None:
    first, again, other = (compounds(mirror, data_seed=seed).splits["train"] for seed in (0, 0, 1))
    assert torch.equal(first.molecule, again.molecule)
    assert not torch.equal(first.molecule, other.molecule)
    data = compounds(mirror, split="scaffold")
    rings = {k for k, (smiles, _) in enumerate(table(mirror)) if "c1ccccc1" in smiles}
    held = [{*data.splits[name].molecule.tolist()} & rings for name in ("train", "val", "test")]
    assert sum(bool(part) for part in held) == 1


def test_sets_with_ties_are_drawn_again() -> None:
    values = np.array([1.0, 1.0, 2.0, 3.0])
    sets, y = highest(np.arange(4), values, 50, 3, 2, np.random.default_rng(0))
    assert not any({*row} == {0, 1, 2} for row in sets.tolist())
    assert (y.sum(1) == 2).all()
    assert ((sets == 3) <= (y > 0)).all()  # the highest of all is chosen where it is there
    with pytest.raises(ValueError, match="no unique 1 highest values"):
        highest(np.arange(4), np.ones(4), 3, 3, 1, np.random.default_rng(0))


ERRORS = {
    "name": ({"name": "bace"}, "choose one of esol, freesolv, lipo"),
    "split": ({"split": "time"}, '"scaffold" or "random"'),
    "all chosen": ({"size": 5, "chosen": 5}, "chosen is 5, and sets have 5 compounds"),
    "more chosen": ({"size": 5, "chosen": 6}, "fewer than there are"),
    "none": ({"chosen": 0}, "choose at least one"),
    "counts": ({"train": 0}, "must be positive"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case: str) -> None:
    options, message = ERRORS[case]
    with pytest.raises(ValueError, match=message):
        CompoundSubsetData(**options)


@rdkit
def test_errors_of_files(mirror: Path) -> None:
    with pytest.raises(ValueError, match="val split of lipo has 6 molecules, and sets have 7"):
        compounds(mirror, size=7)
    path = mirror / "MoleculeNet" / "lipo" / "raw" / "Lipophilicity.csv"
    path.write_text("CMPD_CHEMBLID,exp,smiles\nA,1.0,C1CC\n")
    with pytest.raises(ValueError, match="the molecule 'C1CC' cannot be read"):
        compounds(mirror)
