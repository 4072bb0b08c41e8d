"""Folds of graph classification sets: the usual index files, or stratified ones."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from geqlib.data.download import find_file
from geqlib.data.graphs.tu import dgcnn_arrays, index_folder, match_graphs
from geqlib.data.packed import Arrays
from geqlib.extras import extra_module
from geqlib.files.atomic import reading

Fold = tuple[np.ndarray, np.ndarray]  # training and test graphs
# a stratified part needs every class in training and in the part
LEAST = 2


def read_folds(name: str, arrays: Arrays) -> list[Fold]:
    """The ten folds of the index files that most published tables use.

    They are looked for below the folder that GEQLIB_DATA names, as
    TU_10fold/NAME/10fold_idx/test_idx-1.txt and so on, and downloaded where they are not there.
    They number the graphs of TU_10fold/NAME/NAME.txt, which for MUTAG have another order than in
    the TU files. Line i of TU_10fold/NAME/to_TU_index.txt is the TU number of graph i; where there
    is no such file, graphs are matched.

    Args:
        name: of the set.
        arrays: the set.

    Raises:
        ValueError: if files are missing, or see `check_folds`.
    """
    folder, graphs = index_folder(name), len(arrays["y"])
    numbers = _tu_numbers(name, arrays)
    folds = []
    for k in range(1, 11):
        parts = []
        for part in ("train", "test"):
            name_of_file = f"{folder}/10fold_idx/{part}_idx-{k}.txt"
            path = find_file(name_of_file)
            if path is None:
                raise ValueError(
                    f"There is no {name_of_file}: put the index files there, below the folder that "
                    'GEQLIB_DATA names, or take folds="stratified".'
                )
            parts.append(_numbers(path))
            outside = parts[-1][(parts[-1] < 0) | (parts[-1] >= len(numbers))]
            if len(outside):
                raise ValueError(f"{path} names graph {outside[0]}, of {len(numbers)}.")
        folds.append((numbers[parts[0]], numbers[parts[1]]))
    check_folds(folds, graphs)
    return folds


def stratified_folds(labels: np.ndarray, count: int, seed: int = 0) -> list[Fold]:
    """Folds with the same share of each class, drawn by scikit-learn."""
    largest = np.bincount(labels).max() if len(labels) else 0
    if not 2 <= count <= largest:
        raise ValueError(
            f"num_folds is {count}: choose between 2 and {largest}, the graphs of the largest "
            "class."
        )
    selection = extra_module("sklearn.model_selection", "folds")
    draw = selection.StratifiedKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        return list(draw.split(np.zeros(len(labels)), labels))


def check_folds(folds: Sequence[Fold], graphs: int) -> None:
    """Raise a ValueError for folds that cannot be right; warn about graphs that none of them tests.

    Example:
        >>> check_folds([([0, 1], [2]), ([1, 2], [0, 1])], 3)
        Traceback (most recent call last):
        ...
        ValueError: Fold 1 both trains on and tests graph 1.
    """
    tested: dict[int, int] = {}
    for k, (train, test) in enumerate(folds):
        named = [*map(int, train), *map(int, test)]
        outside = next((i for i in named if not 0 <= i < graphs), None)
        if outside is not None:
            raise ValueError(f"Fold {k} names graph {outside}, of {graphs}: count them from 0.")
        if shared := set(map(int, train)) & set(map(int, test)):
            raise ValueError(f"Fold {k} both trains on and tests graph {min(shared)}.")
        if len(set(named)) < len(named):
            raise ValueError(f"Fold {k} names a graph twice.")
        for i in map(int, test):
            if i in tested:
                raise ValueError(f"Folds {tested[i]} and {k} both test graph {i}.")
            tested[i] = k
    if missed := graphs - len(tested):
        warnings.warn(f"{missed} of {graphs} graphs are in no test fold.", stacklevel=2)


def split_validation(
    train: np.ndarray, labels: np.ndarray, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Training and validation graphs out of a training part, by class where there are enough."""
    count = np.bincount(labels[train])
    size = round(share * len(train))
    stratify = None
    if min(count[count > 0], default=0) >= LEAST and size >= (count > 0).sum():
        stratify = labels[train]
    if not 0 < size < len(train):
        raise ValueError(
            f"validation {share} of {len(train)} training graphs is {size} graphs: choose a share "
            "that leaves some for both."
        )
    split = extra_module("sklearn.model_selection", "folds").train_test_split
    rest, val = split(train, test_size=size, stratify=stratify, random_state=seed)
    return np.sort(rest), np.sort(val)


def _tu_numbers(name: str, arrays: Arrays) -> np.ndarray:
    """The TU number of each graph that the index files count."""
    path = find_file(f"{index_folder(name)}/to_TU_index.txt")
    if path is not None:
        return _numbers(path)
    theirs = dgcnn_arrays(name)
    if theirs is None or np.array_equal(theirs["nodes"], arrays["nodes"]):
        return np.arange(len(arrays["y"]))
    with reading(f"{index_folder(name)}'s text", f"has other graphs than the TU set {name}"):
        return match_graphs(theirs, arrays)


def _numbers(path: Path) -> np.ndarray:
    with reading(path, "does not hold numbers of graphs"):
        return np.loadtxt(path, dtype=np.int64, ndmin=1, encoding="utf-8-sig")
