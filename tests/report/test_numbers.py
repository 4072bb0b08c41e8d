"""Tables of targets in reports."""

import numpy as np

from geqlib.report.numbers import target_table


def test_predictions_that_are_no_numbers_are_not_left_out() -> None:
    true = np.array([1.0, np.nan, 3.0])
    rows = target_table([("spoilt", np.array([1.0, 2.0, np.nan]), true)]).rows
    assert rows[0][1] == "2" and rows[0][2] == "nan"
