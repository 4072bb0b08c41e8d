"""Confusion matrices, receiver operating curves, and errors of numbers in a report."""

import json

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import save_file

from geqlib.report import write_report
from geqlib.report.classes import area, confusion, questions, recall_table, wrong_table
from geqlib.report.numbers import columns, target_table, worst_table
from geqlib.report.predictions import Predictions, read_predictions
from tests.report.test_report import PNG, write_run

NAME = "predictions.safetensors"


def pairs_in_order(scores, true):
    """The share of pairs (yes, no) whose scores are in that order; equal ones count half."""
    differences = [a - b for a in scores[true == 1] for b in scores[true == 0]]
    return np.mean([1.0 if d > 0 else 0.5 if d == 0 else 0.0 for d in differences])


@pytest.mark.parametrize("seed", range(4))
def test_the_area_is_the_share_of_pairs_in_order(seed):
    rng = np.random.default_rng(seed)
    true = rng.integers(2, size=40)
    true[:2] = 0, 1
    scores = np.round(rng.normal(size=40) + true, seed)  # with and without equal ones
    assert area(scores, true) == pytest.approx(pairs_in_order(scores, true), abs=1e-12)


def classes(count=3, examples=60, names=(), **more):
    rng = np.random.default_rng(count)
    true = rng.integers(count, size=examples)
    logits = rng.normal(size=(examples, count)).astype(np.float32)
    logits[np.arange(examples), true] += 1
    return Predictions("classes", {"logits": logits, "true": true} | more, classes=tuple(names))


def test_confusion_and_recall():
    logits = np.eye(3)[[0, 1, 1, 2, 0]]
    true = np.array([0, 1, 2, 2, -1])
    inputs = Predictions("classes", {"logits": logits, "true": true}, classes=("a", "b", "c"))
    assert confusion(logits[:4], true[:4]).tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    assert recall_table(inputs).rows[1:] == (("b", "1", "100", "50.0"), ("c", "2", "50.0", "100"))
    assert [row[:3] for row in wrong_table(inputs).rows] == [("2", "c", "b")]


def test_questions_of_classes_and_targets():
    assert [q.name for q in questions(classes(3, names="abc"))] == ["a", "b", "c"]
    assert [q.name for q in questions(classes(2, names=("no", "yes")))] == ["yes"]
    true = np.array([[0.0, 1.0, 1.0], [1.0, np.nan, 1.0], [np.nan, 0.0, 1.0]])
    inputs = Predictions(
        "answers", {"predicted": np.zeros((3, 3)), "true": true}, targets=("a", "b", "c")
    )
    assert [(q.name, len(q.true)) for q in questions(inputs)] == [("a", 2), ("b", 2)]


def test_errors_of_numbers():
    true = np.array([[0.0, 10.0], [1.0, np.nan], [2.0, 30.0]])
    predicted = true + np.array([[0.1, 0.0], [-0.2, 5.0], [0.0, 1.0]])
    arrays = {"predicted": predicted, "true": true, "index": np.array([7, 3, 5])}
    inputs = Predictions("numbers", arrays, targets=("a", "b"))
    a, b = target_table(columns(inputs)).rows
    assert a == ("a", "3", "0.1000", "0.1291", "0.975") and b[:3] == ("b", "2", "0.5000")
    assert worst_table(inputs).rows[0] == ("3", "a", "1.000", "0.8000", "-0.2000")
    assert len(worst_table(inputs).rows) == 5
    named = Predictions("numbers", arrays, names=("C", "CC", "CCC"))
    assert worst_table(named).rows[0][:2] == ("CC", "target 0")


def test_tensors_are_taken_together(tmp_path):
    arrays = {"mu": np.ones((4, 3)), "mu_true": np.zeros((4, 3)), "batch": np.zeros(4, int)}
    save_file(arrays, tmp_path / "predictions.safetensors")
    inputs = read_predictions(tmp_path)
    assert inputs.kind == "numbers" and [len(true) for _, _, true in columns(inputs)] == [12]
    assert worst_table(inputs) is None


CASES = {
    "classes": (classes().arrays, {"classes": ["x", "y", "z"]}, ["confusion", "roc"], "| y |"),
    "many": (classes(14, 300).arrays, {}, ["confusion", "roc"], "The first 12 of 14"),
    "links": (
        {"logits": np.array([0.5, -1.0, 0.2]), "true": np.array([1, 0, 0])},
        {},
        ["roc"],
        "1.000",
    ),
    "answers": (
        {"predicted": np.array([[2.0], [-1.0], [1.0]]), "true": np.array([[1.0], [0.0], [np.nan]])},
        {"targets": ["toxic"]},
        ["roc"],
        "| toxic | 1 | 0 | 1 | 0 |",
    ),
    "numbers": (
        {"predicted": np.array([[2.0], [-1.0]]), "true": np.array([[2.5], [-1.5]])},
        {"names": ["CCO", "CC"], "targets": ["y"]},
        ["parity"],
        "| CCO | y | 2.500",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_report_shows_them(tmp_path, name):
    arrays, names, pictures, text = CASES[name]
    folder = write_run(tmp_path, "run")
    header = {key: json.dumps(value) for key, value in names.items()}
    save_file(dict(arrays), folder / "predictions.safetensors", header)
    page = write_report([folder], tmp_path / "out", Console(quiet=True)).read_text()
    assert text in page
    for picture in pictures:
        assert (tmp_path / "out" / f"{picture}.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    "arrays",
    [
        {"logits": np.zeros((3, 2)), "true": np.zeros(2, int)},
        {"predicted": np.zeros((3, 2)), "true": np.zeros((3, 1))},
    ],
)
def test_arrays_that_do_not_belong_together(tmp_path, arrays):
    save_file(arrays, tmp_path / "predictions.safetensors")
    with pytest.raises(ValueError, match="do not belong together"):
        read_predictions(tmp_path)


@pytest.mark.parametrize("true", [[0, 2], [-2, 0]])
def test_classes_beyond_the_logits(tmp_path, true):
    save_file({"logits": np.zeros((2, 2)), "true": np.array(true)}, tmp_path / NAME)
    with pytest.raises(ValueError, match="true classes beyond its 2 logits: predict again"):
        read_predictions(tmp_path)


def test_names_of_graphs_are_not_those_of_nodes(tmp_path):
    header = {"names": '["CC", "CO"]'}
    for nodes in (2, 3):
        values = {name: np.zeros((nodes, 1)) + 0.5 for name in ("predicted", "true")}
        save_file(values, tmp_path / NAME, header)
        assert len(read_predictions(tmp_path).names) == (2 if nodes == 2 else 0)


def test_a_header_that_is_damaged(tmp_path):
    save_file({"a": np.zeros(1)}, tmp_path / "predictions.safetensors", {"names": "["})
    with pytest.raises(ValueError, match=r"predictions.safetensors is damaged"):
        read_predictions(tmp_path)
