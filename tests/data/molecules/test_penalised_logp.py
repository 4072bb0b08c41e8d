"""Penalised log P of molecules of CSV files: terms, graphs, and what is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from geqlib.data import PenalisedLogPData
from geqlib.motifs.network import PPGNPlan
from geqlib.spen.plan import EgoPlan

pytest.importorskip("rdkit", reason="molecules are read by rdkit, which is optional")
SMILES = [
    "CCO",
    "C1CCCCCCC1",
    "c1ccccc1",
    "CC(=O)[O-]",
    "C#N",
    "FC(F)F",
    "CCCC",
    "CCN",
    "COC",
    "CS",
]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GEQLIB_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "own.csv"
    left_out = ["OCC", "[NH4+]", "CC.O", "C[Si](C)C"]  # repeated, no bond, two parts, silicon
    path.write_text("id,smiles\n" + "".join(f"1,{text}\n" for text in [*SMILES, *left_out]))
    return path


def test_targets_are_sums_of_standardised_terms(file: Path) -> None:
    from rdkit.Chem import MolFromSmiles
    from rdkit.Chem.Crippen import MolLogP
    from rdkit.Contrib.SA_Score.sascorer import calculateScore

    data = PenalisedLogPData([str(file)], batch_size=10)
    data.prepare_data()
    data.setup()
    order = np.random.default_rng(0).permutation(10)
    molecules = [MolFromSmiles(SMILES[k]) for k in order]
    terms = np.array(
        [
            [MolLogP(m), -calculateScore(m), -max(m.GetNumAtoms() - 6, 0) * (m.GetNumAtoms() == 8)]
            for m in molecules
        ]
    )
    mean, std = terms[:8].mean(0), terms[:8].std(0, ddof=1)
    expected = ((terms - mean) / np.where(std > 0, std, 1)).sum(1)
    y = torch.cat([data.splits[name].y for name in ("train", "val", "test")])[:, 0]
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-5, atol=1e-5)
    sizes = [n for name in ("train", "val", "test") for n in data.splits[name].counts["node"]]
    assert sizes == [m.GetNumAtoms() for m in molecules]
    assert abs(data.target_scale()[0]) < 1e-5


def test_graphs_are_molecules(file: Path) -> None:
    data = PenalisedLogPData([str(file)])
    data.setup()
    (batch,) = data.train_dataloader()
    assert batch.x.shape[1] == 12 and (batch.x.sum(1) == 2).all()  # an element and a charge
    assert batch.edge_attr.shape[1] == 4 and (batch.edge_attr.sum(1) == 1).all()
    source, target = batch.edge_index
    forward = sorted(zip(source.tolist(), target.tolist(), batch.edge_attr.argmax(1), strict=True))
    back = sorted(zip(target.tolist(), source.tolist(), batch.edge_attr.argmax(1), strict=True))
    assert forward == back and sum(data.degrees()) == len(batch.x)


def test_degrees_are_the_bonds_of_training_atoms(file: Path) -> None:
    """As rdkit counts them, without hydrogens, in the training molecules alone."""
    from rdkit.Chem import MolFromSmiles

    data = PenalisedLogPData([str(file)])
    data.setup()
    order = np.random.default_rng(0).permutation(10)[:8]
    molecules = [MolFromSmiles(SMILES[k]) for k in order]
    expected = np.bincount([atom.GetDegree() for m in molecules for atom in m.GetAtoms()])
    assert data.degrees() == expected.tolist()


@pytest.mark.parametrize(("options", "plan"), [({"hops": 1}, EgoPlan), ({"degree": 6}, PPGNPlan)])
def test_plans_and_counts(file: Path, options: dict, plan: type) -> None:
    features = {"nodes": ["C6", "C8"]}
    data = PenalisedLogPData([str(file)], features=features, **options)
    data.prepare_data()
    data.setup()
    (batch,) = data.train_dataloader()
    assert isinstance(batch.plan, plan) and batch.x.shape[1] == 14
    rings = {n: int((batch.x[:, 12 + k] > 0).sum()) for k, n in enumerate((6, 8))}
    numbers = [SMILES[k] for k in np.random.default_rng(0).permutation(10)[:8]]
    assert rings == {6: 6 * ("c1ccccc1" in numbers), 8: 8 * ("C1CCCCCCC1" in numbers)}
    assert sum(data.degrees()) == len(batch.x) and data.target_scale()[1] > 0


def test_errors(file: Path) -> None:
    with pytest.raises(ValueError, match="batch_size must be positive"):
        PenalisedLogPData(batch_size=0)
    file.write_text("name\nCC\n")
    with pytest.raises(
        ValueError, match=r"own.csv is no table of molecules \(it has no column smi"
    ):
        PenalisedLogPData([str(file)]).setup()
    file.write_text("smiles\nCC\nC(C\n")
    with pytest.raises(ValueError, match=r"'C\(C' is no molecule: correct or drop that line"):
        PenalisedLogPData([str(file)]).setup()
    file.write_text("smiles\nCC\n")
    with pytest.raises(ValueError, match="1 molecules are too few"):
        PenalisedLogPData([str(file)]).setup()
    file.write_text("smiles\n[Si]\n")
    with pytest.raises(ValueError, match=r"No molecule of .* fits"):
        PenalisedLogPData([str(file)]).setup()
    with pytest.raises(ValueError, match="features has no key 'atoms'"):
        PenalisedLogPData(features={"atoms": ["C6"]})
