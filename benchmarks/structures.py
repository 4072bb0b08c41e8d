"""Two molecules for timing, so that it needs no files: first frames of published data sets.

Positions in angstrom. Aspirin is of rMD17 (Christensen and von Lilienfeld 2020), the flexible
drug-like molecule of 3BPA (Kovacs et al. 2021).
"""

from __future__ import annotations

from typing import NamedTuple

NUMBERS = {"H": 1, "C": 6, "N": 7, "O": 8}

THREE_BPA = """
C 2.227 -0.811 0.207
C 1.706 0.460 0.320
C 2.693 -1.401 1.390
H 2.336 -1.396 -0.694
C 1.831 1.180 1.534
O 1.075 1.149 -0.747
N 1.611 2.575 1.348
N 2.289 0.678 2.656
H 0.917 2.833 0.663
H 1.545 3.121 2.145
C 2.630 -0.679 2.582
H 2.792 -1.130 3.534
H 3.113 -2.415 1.443
C 0.350 0.342 -1.713
C -1.031 -0.117 -1.363
H 1.020 -0.521 -2.019
H 0.190 0.970 -2.571
C -1.466 -1.437 -1.238
C -1.981 0.940 -1.105
C -2.761 -1.725 -0.785
H -0.815 -2.260 -1.439
C -3.676 -0.677 -0.628
H -3.052 -2.760 -0.597
C -3.273 0.636 -0.814
H -4.695 -0.901 -0.308
H -4.027 1.395 -0.716
H -1.548 1.950 -1.082
"""
ASPIRIN = """
C 2.098 -1.190 -0.136
C 0.842 1.008 -1.468
C 2.689 -0.737 -1.302
C 2.011 0.339 -1.923
C -3.174 1.216 0.670
C 0.817 -0.694 0.292
C 0.295 0.438 -0.307
O -1.155 -1.215 1.734
O -2.279 0.512 -1.514
O 1.087 -1.594 2.465
C 0.088 -1.229 1.559
C -2.050 0.978 -0.379
O -0.781 1.092 0.194
H 0.772 -1.972 3.261
H 2.599 -1.959 0.504
H 0.415 1.718 -2.141
H 3.533 -1.188 -1.723
H 2.380 0.637 -2.870
H -4.263 1.036 0.356
H -2.984 0.595 1.564
H -2.943 2.207 1.166
"""


class Molecule(NamedTuple):
    """Atoms.

    Args:
        numbers: of the elements.
        positions: in angstrom.
    """

    numbers: list[int]
    positions: list[list[float]]


def molecule(text: str) -> Molecule:
    """A structure from lines of symbol and position.

    Example:
        >>> len(molecule(ASPIRIN).numbers), len(molecule(THREE_BPA).numbers)
        (21, 27)
    """
    lines = [line.split() for line in text.split("\n") if line]
    numbers = [NUMBERS[symbol] for symbol, *_ in lines]
    return Molecule(numbers, [[float(x) for x in point] for _, *point in lines])
