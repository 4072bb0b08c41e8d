"""The rules of the published code, one pair and one molecule at a time, as an oracle."""

from __future__ import annotations

from math import dist

SINGLE = """
    HH 74 HC 109 HN 101 HO 96 HF 92 CC 154 CN 147 CO 143 CF 135 NN 145 NO 140 NF 136 OO 148 OF 142
    FF 142
"""
DOUBLE = "CC 134 CN 129 CO 120 NN 125 NO 121 OO 121"
TRIPLE = "CC 120 CN 116 CO 113 NN 110"
VALENCE = {"H": 1, "C": 4, "N": 3, "O": 2, "F": 1}
SYMBOL = {1: "H", 6: "C", 7: "N", 8: "O", 9: "F"}

Point = list[float]


def lengths(text: str) -> dict[str, int]:
    words = text.split()
    table = dict(zip(words[::2], map(int, words[1::2]), strict=True))
    return table | {pair[::-1]: length for pair, length in table.items()}


def bond_order(a: str, b: str, distance: float) -> int:
    """Of two symbols, the distance in angstrom."""
    pair, picometres = a + b, 100 * distance
    if not picometres < lengths(SINGLE)[pair] + 10:
        return 0
    if pair not in lengths(DOUBLE) or not picometres < lengths(DOUBLE)[pair] + 5:
        return 1
    if pair not in lengths(TRIPLE) or not picometres < lengths(TRIPLE)[pair] + 3:
        return 2
    return 3


def bond_matrix(numbers: list[int], points: list[Point]) -> list[list[int]]:
    size = len(numbers)
    matrix = [[0] * size for _ in range(size)]
    for i in range(size):
        for j in range(size):
            if i != j:
                a, b = SYMBOL[numbers[i]], SYMBOL[numbers[j]]
                matrix[i][j] = bond_order(a, b, dist(points[i], points[j]))
    return matrix


def stable_atoms(numbers: list[int], points: list[Point]) -> list[bool]:
    matrix = bond_matrix(numbers, points)
    return [sum(row) == VALENCE[SYMBOL[z]] for row, z in zip(matrix, numbers, strict=True)]


def smiles(numbers: list[int], points: list[Point]) -> str | None:
    """Of the largest fragment, which is sanitised once more."""
    from rdkit import Chem

    matrix = bond_matrix(numbers, points)
    types = [None, Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE]
    molecule = Chem.RWMol()
    for number in numbers:
        molecule.AddAtom(Chem.Atom(SYMBOL[number]))
    for i, row in enumerate(matrix):
        for j, order in enumerate(row[:i]):
            if order:
                molecule.AddBond(i, j, types[order])
    try:
        Chem.SanitizeMol(molecule)
        fragments = Chem.GetMolFrags(molecule, asMols=True)
        largest = max(fragments, default=molecule, key=lambda part: part.GetNumAtoms())
        Chem.SanitizeMol(largest)
    except ValueError:
        return None
    return Chem.MolToSmiles(largest)
