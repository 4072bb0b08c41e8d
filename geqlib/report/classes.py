"""Confusion matrices and receiver operating curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geqlib.report.predictions import Predictions
from geqlib.report.tables import Table, number

WORST = 6


@dataclass(frozen=True)
class Question:
    """Scores of one yes-or-no question.

    Args:
        name: of the class or target.
        scores: [M], higher for yes.
        true: [M] 0 or 1.
    """

    name: str
    scores: np.ndarray
    true: np.ndarray


def confusion(logits: np.ndarray, true: np.ndarray) -> np.ndarray:
    """[classes, classes] number of examples by true and by predicted class.

    Example:
        >>> confusion(np.array([[2.0, 1.0], [0.0, 1.0], [3.0, 1.0]]), np.array([0, 1, 1])).tolist()
        [[1, 0], [1, 1]]
    """
    counts = np.zeros((logits.shape[1], logits.shape[1]), dtype=int)
    np.add.at(counts, (true, logits.argmax(1)), 1)
    return counts


def roc(scores: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The receiver operating curve: false and true positive rates, for every threshold.

    Example:
        >>> roc(np.array([0.9, 0.4, 0.6]), np.array([1, 0, 1]))
        (array([0., 0., 0., 1.]), array([0. , 0.5, 1. , 1. ]))
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=np.nan))  # equal scores are one threshold
    right, wrong = (np.cumsum(true[order] == answer)[ends] for answer in (1, 0))
    start = [0.0]
    return np.r_[start, wrong / wrong[-1]], np.r_[start, right / right[-1]]


def area(scores: np.ndarray, true: np.ndarray) -> float:
    """The area under the receiver operating curve."""
    wrong, right = roc(scores, true)
    return float(np.trapezoid(right, wrong))


def labelled(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Logits and true classes of the examples with a class; -1 means that there is none."""
    logits, true = predictions.arrays["logits"], predictions.arrays["true"]
    return logits[true >= 0], true[true >= 0]


def questions(predictions: Predictions) -> list[Question]:
    """Each class against all others, or each target; only those with both answers."""
    if predictions.kind == "classes":
        logits, true = labelled(predictions)
        names = class_names(predictions)
        scores = _probabilities(logits).T
        asked = [
            Question(n, s, true == k) for k, (n, s) in enumerate(zip(names, scores, strict=True))
        ]
        asked = asked[1:] if len(asked) == 2 else asked
    else:
        logits, true = predictions.arrays["predicted"], predictions.arrays["true"]
        names = predictions.targets or [str(k) for k in range(true.shape[1])]
        answered = [~np.isnan(column) for column in true.T]
        asked = [
            Question(name, logits[rows, k], true[rows, k])
            for k, (name, rows) in enumerate(zip(names, answered, strict=True))
        ]
    return [Question(q.name, q.scores, q.true.astype(int)) for q in asked if len(set(q.true)) == 2]


def class_names(predictions: Predictions) -> tuple[str, ...]:
    """Those of the data, or numbers."""
    count = predictions.arrays["logits"].shape[1]
    named = len(predictions.classes) == count
    return predictions.classes if named else tuple(map(str, range(count)))


def recall_table(predictions: Predictions) -> Table:
    """A row for each class: how many there are, and how many of them, and of those predicted, are
    right.
    """
    counts = confusion(*labelled(predictions))
    rows = tuple(
        (
            name,
            str(counts[k].sum()),
            _share(counts[k, k], counts[k].sum()),
            _share(counts[k, k], counts[:, k].sum()),
        )
        for k, name in enumerate(class_names(predictions))
    )
    return Table(("class", "examples", "recall, %", "precision, %"), rows, ())


def answer_table(asked: Sequence[Question]) -> Table:
    """A row for each yes-or-no question: correct and wrong answers at probability 1/2."""
    rows = []
    for question in asked:
        yes, true = question.scores > 0, question.true == 1
        cells = (yes & true, ~yes & true, ~yes & ~true, yes & ~true)
        value = f"{area(question.scores, question.true):.3f}"
        rows.append((question.name, *(str(cell.sum()) for cell in cells), value))
    header = ("target", "yes, right", "yes, missed", "no, right", "no, wrong", "ROC area")
    return Table(header, tuple(rows), ())


def wrong_table(predictions: Predictions) -> Table | None:
    """The wrongly classified examples with the highest predicted probability."""
    logits, true = predictions.arrays["logits"], predictions.arrays["true"]
    probabilities, names = _probabilities(logits), class_names(predictions)
    taken = logits.argmax(1)
    wrong = np.flatnonzero((taken != true) & (true >= 0))
    order = sorted(wrong.tolist(), key=lambda k: -probabilities[k, taken[k]])[:WORST]
    rows = tuple(
        (
            predictions.names[k] if predictions.names else str(k),
            names[true[k]],
            names[taken[k]],
            number(100 * probabilities[k, taken[k]], 3),
        )
        for k in order
    )
    header = ("example", "true class", "predicted class", "probability, %")
    return Table(header, rows, ()) if rows else None


def _probabilities(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits.astype(float) - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def _share(part: int, whole: int) -> str:
    return number(100 * part / whole, 3) if whole else "-"
