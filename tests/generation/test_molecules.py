"""Scores of molecules against the rules one pair at a time, and the cases that scores differ by."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.util import find_spec
from itertools import combinations_with_replacement
from math import inf, nan

import numpy as np
import pytest
import torch
from torch import Tensor

from geqlib.generation import (
    EDM_RULES,
    BondRules,
    bond_orders,
    molecule_defects,
    molecule_scores,
    molecule_smiles,
    stability,
)
from tests.generation import published_rules as published

rdkit = pytest.mark.skipif(
    find_spec("rdkit") is None, reason="molecules are built by rdkit, which is optional"
)
Molecule = tuple[list[int], list[list[float]]]

WATER: Molecule = ([8, 1, 1], [[0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]])
CARBON_MONOXIDE: Molecule = ([6, 8], [[0, 0, 0], [1.128, 0, 0]])
HYDROXYL: Molecule = ([8, 1], [[0, 0, 0], [0.97, 0, 0]])
EMPTY: Molecule = ([], [])
SILICON: Molecule = ([14, 1], [[0, 0, 0], [1.48, 0, 0]])
NOT_FINITE: Molecule = ([8, 1, 1], [[0, 0, 0.12], [0, nan, -0.48], [0, -0.76, -0.48]])
NO_TRIPLE_CO = replace(
    EDM_RULES,
    name="EDM without CO 113",
    lengths=(
        *EDM_RULES.lengths[:2],
        {pair: length for pair, length in EDM_RULES.lengths[2].items() if pair != ("C", "O")},
    ),
)


def batched(*molecules: Molecule) -> tuple[Tensor, Tensor, Tensor, int]:
    numbers = torch.tensor([z for of_one, _ in molecules for z in of_one], dtype=torch.long)
    points = [point for _, of_one in molecules for point in of_one]
    pos = torch.tensor(points, dtype=torch.float64).view(-1, 3)
    lengths = torch.tensor([len(of_one) for of_one, _ in molecules])
    batch = torch.arange(len(molecules)).repeat_interleave(lengths)
    return numbers, pos, batch, len(molecules)


def apart(*molecules: Molecule) -> Molecule:
    """One molecule of several fragments."""
    shifted = [
        [[x + 10 * k, y, z] for x, y, z in points] for k, (_, points) in enumerate(molecules)
    ]
    numbers = [number for of_one, _ in molecules for number in of_one]
    return numbers, [point for points in shifted for point in points]


def random_molecules(count: int, density: float, seed: int) -> list[Molecule]:
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, 9, count)
    return [
        (
            generator.choice([1, 6, 7, 8, 9], size).tolist(),
            generator.normal(scale=density, size=(size, 3)).tolist(),
        )
        for size in sizes
    ]


PAIRS = list(combinations_with_replacement([1, 6, 7, 8, 9], 2))


@pytest.mark.parametrize("pair", PAIRS)
def test_orders_change_at_the_published_lengths(pair: tuple[int, int]) -> None:
    a, b = (published.SYMBOL[z] for z in pair)
    tables = [published.lengths(t) for t in (published.SINGLE, published.DOUBLE, published.TRIPLE)]
    margins = (10, 5, 3)
    limits = [t[a + b] + m for t, m in zip(tables, margins, strict=True) if a + b in t]
    steps = [x for limit in limits for x in (limit - 1e-6, limit, limit + 1e-6)]
    distances = [step / 100 for step in [*steps, 20, 300]]
    for numbers in (pair, pair[::-1]):
        batch = batched(*[(list(numbers), [[0, 0, 0], [d, 0, 0]]) for d in distances])
        bonds = bond_orders(*batch)
        orders = torch.zeros(len(distances), dtype=torch.long)
        orders[batch[2][bonds.pair[0]]] = bonds.order
        assert orders.tolist() == [published.bond_order(a, b, d) for d in distances]
        assert {*range(len(limits) + 1)} == set(orders.tolist())


@pytest.mark.parametrize("density", [0.4, 0.8, 1.5])
def test_bonds_and_stable_atoms_are_those_of_the_oracle(density: float) -> None:
    molecules = random_molecules(60, density, seed=0)
    numbers, pos, batch, count = batched(*molecules)
    bonds = bond_orders(numbers, pos, batch, count)
    matrix = torch.zeros(len(numbers), len(numbers), dtype=torch.long)
    matrix[bonds.pair[0], bonds.pair[1]] = matrix[bonds.pair[1], bonds.pair[0]] = bonds.order
    blocks = [torch.tensor(published.bond_matrix(*molecule)) for molecule in molecules]
    assert torch.equal(matrix, torch.block_diag(*blocks))
    atoms = [published.stable_atoms(*molecule) for molecule in molecules]
    stable = stability(numbers, pos, batch, count)
    assert stable.atom.tolist() == [atom for of_one in atoms for atom in of_one]
    assert stable.molecule.tolist() == [all(of_one) for of_one in atoms]


@rdkit
@pytest.mark.parametrize("density", [0.7, 1.0, 1.5])
def test_smiles_are_those_of_the_oracle(density: float) -> None:
    molecules = random_molecules(60, density, seed=1)
    texts = molecule_smiles(*batched(*molecules))
    assert texts == [published.smiles(*molecule) for molecule in molecules]
    assert None in texts and len(set(texts)) > 5


def test_order_of_atoms_and_poses_change_nothing() -> None:
    molecules = random_molecules(30, 0.8, seed=2)
    numbers, pos, batch, count = batched(*molecules)
    order = torch.randperm(len(numbers), generator=torch.Generator().manual_seed(0))
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    moved = pos[order] @ turn + torch.randn(count, 3)[batch[order]]
    one = stability(numbers, pos, batch, count)
    other = stability(numbers[order], moved, batch[order], count)
    assert torch.equal(other.atom, one.atom[order])
    assert torch.equal(other.molecule, one.molecule)


def test_carbon_monoxide_has_a_triple_bond() -> None:
    assert bond_orders(*batched(CARBON_MONOXIDE)).order.tolist() == [3]
    # carbon has three of four bonds, oxygen three of two
    assert stability(*batched(CARBON_MONOXIDE)).atom.tolist() == [False, False]


def test_rules_without_the_triple_bond_of_carbon_monoxide_give_another_score() -> None:
    bonds = bond_orders(*batched(CARBON_MONOXIDE), rules=NO_TRIPLE_CO)
    assert bonds.order.tolist() == [2]
    one = molecule_scores(*batched(CARBON_MONOXIDE, WATER), validity=False)
    other = molecule_scores(*batched(CARBON_MONOXIDE, WATER), rules=NO_TRIPLE_CO, validity=False)
    assert (one.stable_atoms, other.stable_atoms) == (3, 4)
    assert all("[EDM]" in line for line in str(one).splitlines()[1:])
    assert all("[EDM without CO 113]" in line for line in str(other).splitlines()[1:])


@rdkit
def test_the_triple_bond_of_carbon_monoxide_is_invalid() -> None:
    assert molecule_smiles(*batched(CARBON_MONOXIDE)) == [None]
    assert molecule_smiles(*batched(CARBON_MONOXIDE), rules=NO_TRIPLE_CO) == ["C=O"]


@rdkit
def test_a_molecule_that_lacks_a_hydrogen_is_valid_and_not_stable() -> None:
    scores = molecule_scores(*batched(WATER, HYDROXYL))
    assert (scores.molecule_stability, scores.validity, scores.uniqueness) == (0.5, 1.0, 1.0)
    assert molecule_smiles(*batched(WATER, HYDROXYL)) == ["[H]O[H]", "[H]O"]


@rdkit
def test_of_fragments_the_largest_counts_if_all_are_valid() -> None:
    several = batched(
        apart(HYDROXYL, WATER),
        apart(WATER, CARBON_MONOXIDE),
        apart(HYDROXYL, ([9, 1], [[0, 0, 0], [0.92, 0, 0]])),
    )
    assert molecule_smiles(*several) == ["[H]O[H]", None, "[H]O"]


@rdkit
def test_uniqueness_and_novelty_are_of_distinct_smiles() -> None:
    batch = batched(WATER, WATER, HYDROXYL, CARBON_MONOXIDE)
    scores = molecule_scores(*batch, training=molecule_smiles(*batched(WATER, CARBON_MONOXIDE)))
    assert (scores.valid, scores.unique, scores.novel) == (3, 2, 1)
    assert (scores.validity, scores.uniqueness, scores.novelty) == (3 / 4, 2 / 3, 1 / 2)
    # the SMILES of a file writes hydrogens otherwise
    assert molecule_scores(*batch, training=["O"]).novelty == 1


@rdkit
def test_without_valid_molecules_shares_of_them_are_zero() -> None:
    scores = molecule_scores(*batched(CARBON_MONOXIDE), training=[])
    assert (scores.validity, scores.uniqueness, scores.novelty) == (0, 0, 0)


@pytest.mark.parametrize(
    ("molecule", "defect"),
    [(EMPTY, "empty"), (SILICON, "unknown_element"), (NOT_FINITE, "not_finite")],
)
@pytest.mark.parametrize("validity", [False, pytest.param(True, marks=rdkit)])
def test_what_cannot_be_judged_is_a_failure_that_is_counted(
    molecule: Molecule, defect: str, validity: bool
) -> None:
    scores = molecule_scores(*batched(WATER, molecule, WATER, EMPTY), validity=validity)
    counts = {"empty": 1, "unknown_element": 0, "not_finite": 0}
    counts[defect] += 1
    assert {name: getattr(scores, name) for name in counts} == counts
    assert (scores.molecules, scores.stable_molecules) == (4, 2)
    assert (scores.atoms, scores.stable_atoms) == (6 + len(molecule[0]), 6)
    assert scores.valid == (2 if validity else None)
    assert str(scores).count("counted as failures: ") == len([c for c in counts.values() if c])


def test_infinite_positions_are_a_defect() -> None:
    molecule = (WATER[0], [[inf, 0, 0], *WATER[1][1:]])
    assert molecule_defects(*batched(molecule)).not_finite.tolist() == [True]


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = batched(*random_molecules(20, 1.0, seed=3), EMPTY, WATER)
    whole = molecule_scores(*batch, validity=False)
    monkeypatch.setattr("geqlib.generation.scores.CHUNK", 3)
    starts = []
    scores = molecule_scores(
        *batch, validity=False, progress=lambda chunks: starts.extend(chunks) or chunks
    )
    assert scores == whole and starts == list(range(0, 22, 3))


WRONG = {
    "numbers has dtype": (torch.ones(3), torch.zeros(3, 3), None, None),
    "expected \\[N\\] and \\[N, 3\\]": (torch.ones(3).long(), torch.zeros(3, 2), None, None),
    "pos has type": (torch.ones(3).long(), torch.zeros(3, 3).long(), None, None),
    "batch has shape": (torch.ones(3).long(), torch.zeros(3, 3), torch.zeros(2).long(), 1),
    "batch runs from 0 to 1": (
        torch.ones(2).long(), torch.zeros(2, 3), torch.tensor([0, 1]), 1,
    ),
    "no molecule to score": (
        torch.ones(0).long(), torch.zeros(0, 3), torch.zeros(0).long(), 0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_wrong_input_is_named(message: str) -> None:
    with pytest.raises(ValueError, match=message):
        molecule_scores(*WRONG[message], validity=False)


def test_novelty_needs_validity() -> None:
    with pytest.raises(ValueError, match="leave out validity=False"):
        molecule_scores(*batched(WATER), validity=False, training=[])


def test_rules_that_contradict_themselves_are_named() -> None:
    with pytest.raises(ValueError, match="no valence of one of them"):
        BondRules("x", ({("H", "C"): 109}, {}, {}), (10, 5, 3), {"H": 1})
    with pytest.raises(ValueError, match="leave one of them out"):
        BondRules("x", ({("H", "C"): 109, ("C", "H"): 109}, {}, {}), (10, 5, 3), {"H": 1, "C": 4})


def test_rdkit_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(ValueError, match=r'pip install "geqlib\[molecules\]"'):
        molecule_scores(*batched(WATER))
    assert molecule_scores(*batched(WATER), validity=False).molecule_stability == 1
