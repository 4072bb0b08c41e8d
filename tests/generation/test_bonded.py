"""Scores of molecules that are graphs, against those by positions and by the rules one by one."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor

from geqlib.generation import (
    bond_orders,
    bonded_scores,
    bonded_smiles,
    molecule_scores,
    molecule_smiles,
    stability,
)
from tests.generation.test_molecules import (
    CARBON_MONOXIDE,
    EMPTY,
    HYDROXYL,
    WATER,
    apart,
    batched,
    random_molecules,
)

rdkit = pytest.mark.skipif(find_spec("rdkit") is None, reason="rdkit is optional")


def bonded(numbers: Tensor, pos: Tensor, batch: Tensor, count: int) -> tuple[Any, ...]:
    """The same molecules by the bonds that their distances are, in a random order of edges."""
    bonds = bond_orders(numbers, pos, batch, count)
    both = torch.cat([bonds.pair, bonds.pair.flip(0)], 1)
    order = torch.randperm(both.size(1), generator=torch.Generator().manual_seed(0))
    return numbers, both[:, order], bonds.order.repeat(2)[order], batch, count


@pytest.mark.parametrize("density", [0.7, 1.5])
def test_scores_are_those_of_positions(density: float) -> None:
    molecules = [*random_molecules(40, density, 0), WATER, EMPTY, apart(WATER, HYDROXYL)]
    whole = batched(*molecules)
    chemistry = find_spec("rdkit") is not None
    scores = bonded_scores(*bonded(*whole), validity=chemistry)
    expected = molecule_scores(*whole, validity=chemistry)
    assert scores.rules == "valences of EDM"
    for name in ("atoms", "molecules", "stable_atoms", "stable_molecules", "valid", "unique"):
        assert getattr(scores, name) == getattr(expected, name), name
    assert scores.empty == 1 and scores.stable_molecules >= 1
    assert int(stability(*whole).molecule.sum()) == scores.stable_molecules


@rdkit
def test_smiles_are_those_of_positions() -> None:
    whole = batched(*random_molecules(40, 1.0, 1), WATER, CARBON_MONOXIDE, apart(HYDROXYL, WATER))
    texts = bonded_smiles(*bonded(*whole))
    assert texts == molecule_smiles(*whole)
    assert None in texts and "[H]O[H]" in texts
    novel = bonded_scores(*bonded(*whole), training=["[H]O[H]"]).novel
    assert novel == len({text for text in texts if text} - {"[H]O[H]"})


def test_elements_without_a_valence_are_failures() -> None:
    numbers, batch = torch.tensor([14, 1, 1, 1]), torch.tensor([0, 0, 1, 1])
    edges = torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]])
    one = torch.ones(4, dtype=torch.long)
    scores = bonded_scores(numbers, edges, one, batch, 2, validity=False)
    assert (scores.stable_atoms, scores.stable_molecules, scores.unknown_element) == (2, 1, 1)


@rdkit
def test_elements_without_a_valence_are_not_valid() -> None:
    """SiH4, which RDKit can sanitise: as by positions."""
    numbers, batch = torch.tensor([14, 1, 1, 1, 1]), torch.zeros(5, dtype=torch.long)
    out, back = torch.tensor([[0, 0, 0, 0], [1, 2, 3, 4]]), torch.tensor([[1, 2, 3, 4], [0] * 4])
    one = torch.ones(8, dtype=torch.long)
    molecules = numbers, torch.cat([out, back], 1), one, batch, 1
    scores = bonded_scores(*molecules)
    assert (scores.valid, scores.unique, scores.unknown_element) == (0, 0, 1)
    assert "1 with elements outside the rules [valences of EDM]" in str(scores)
    assert bonded_smiles(*molecules) == [None]


def test_what_is_refused() -> None:
    none = torch.zeros(0, dtype=torch.long)
    with pytest.raises(ValueError, match="no molecule to score"):
        bonded_scores(none, none.view(2, 0), none, none, 0)
    with pytest.raises(ValueError, match="leave out validity=False"):
        bonded_scores(none, none.view(2, 0), none, none, 1, validity=False, training=[])
