"""Molecules of QM9 have the scores that were computed once, beside published ones."""

from __future__ import annotations

import pytest

from benchmarks.accuracy.generation_metrics import COLUMNS, PUBLISHED, compared, qm9_scores
from geqlib.data.download import find_file
from geqlib.data.molecules.qm9 import NPZ
from geqlib.generation import MoleculeScores


def test_every_row_names_the_rules() -> None:
    table = compared(MoleculeScores("EDM", 18, 2, 17, 1, valid=2, unique=1))
    assert [row.cells["rules"] for row in table.rows] == ["EDM"] + len(PUBLISHED) * [
        "EDM, as reported"
    ]
    row = table.row("QM9, by geqlib")
    assert [round(row.number(column.key), 2) for column in COLUMNS[:4]] == [94.44, 50, 100, 50]


@pytest.mark.slow
@pytest.mark.skipif(find_file(NPZ) is None, reason="QM9 is not in GEQLIB_DATA")
def test_the_first_molecules_of_qm9() -> None:
    pytest.importorskip("rdkit")
    scores = qm9_scores(2000)
    assert (scores.atoms, scores.stable_atoms, scores.stable_molecules) == (27804, 27592, 1924)
    assert scores.molecules == 2000
