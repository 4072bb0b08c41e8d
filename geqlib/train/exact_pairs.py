"""Which pairs a trained network loses against exact features, kept beside its measurements."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from geqlib.data.graphs.expressivity import GraphPairs
from geqlib.files.atomic import reading, replace_file
from geqlib.motifs.exact import FEATURES, ComparedGraphs, check_name, compared_graphs

FILE = "exact.json"


def pair_and_copies(pairs: GraphPairs, number: int, rng: np.random.Generator) -> ComparedGraphs:
    """The two graphs of a pair and a random copy of each, with the kinds of their nodes."""
    one, two = (pairs.graphs[k] for k in pairs.pairs[number])
    graphs = (one, two, one.relabelled(rng), two.relabelled(rng))
    kinds = [graph.kind for graph in graphs]
    return compared_graphs([graph.edge_index for graph in graphs], list(map(len, kinds)), kinds)


def exactly_separated(
    pairs: GraphPairs, numbers: Sequence[int], name: str, folder: Path | None = None
) -> dict[int, bool]:
    """Whether the graphs of pairs differ in exact features.

    Args:
        pairs: of a set.
        numbers: of the pairs.
        name: of the features, one of `geqlib.motifs.exact.FEATURES`.
        folder: where outcomes are cached, for the same features of the same pairs; None for none.

    Raises:
        ValueError: unknown features.

    Example:
        >>> from geqlib.data.graphs.expressivity import graph_pairs
        >>> exactly_separated(graph_pairs("CSL"), [0, 1], "folklore 2-WL")
        {0: True, 1: True}
    """
    check_name(name)
    path = None if folder is None else folder / FILE
    identity = {"features": name, "data": pairs.digest()}
    outcomes = _read(path, identity)
    missing = [number for number in numbers if number not in outcomes]
    for number in missing:
        batch = pair_and_copies(pairs, number, np.random.default_rng(number))
        outcomes[number] = FEATURES[name](batch) is True
    if missing and path is not None:
        text = json.dumps(identity | {"separated": outcomes}) + "\n"
        replace_file(path, lambda part: part.write_text(text))
    return {number: outcomes[number] for number in numbers}


def compared_with_exact(
    separated: Mapping[int, bool], exact: Mapping[int, bool], parts: Mapping[str, int]
) -> dict[str, dict[str, list[int]]]:
    """By category, the pairs that a network does not separate, with the likely cause, and others.

    "lost" are pairs that exact features separate and the network does not, so that training is the
    cause; "unseen" those that neither separates, so that the features are; "won" those that the
    network alone separates. Categories without any are left out.

    Args:
        separated, exact: by the number of the pair.
        parts: name -> how many pairs, in order.

    Example:
        >>> compared_with_exact({0: False, 1: True}, {0: True, 1: True}, {"basic": 1, "CFI": 1})
        {'lost': {'basic': [0]}, 'unseen': {}, 'won': {}}
    """
    bounds = np.cumsum([0, *parts.values()]).tolist()
    kinds = {(False, True): "lost", (False, False): "unseen", (True, False): "won"}
    lists: dict[str, dict[str, list[int]]] = {kind: {} for kind in kinds.values()}
    for i, part in enumerate(parts):
        for number in range(bounds[i], bounds[i + 1]):
            kind = kinds.get((separated[number], exact[number])) if number in separated else None
            if kind is not None:
                lists[kind].setdefault(part, []).append(number)
    return lists


def separated_by_part(exact: Mapping[int, bool], parts: Mapping[str, int]) -> dict[str, int]:
    """How many pairs of each category, and of "all", exact features separate; categories without
    pairs are left out.

    Args:
        exact: by the number of the pair.
        parts: name -> how many pairs, in order.

    Example:
        >>> separated_by_part({0: False, 2: True}, {"basic": 1, "regular": 1, "CFI": 1})
        {'basic': 0, 'CFI': 1, 'all': 1}
    """
    bounds = np.cumsum([0, *parts.values()]).tolist()
    counts = {
        part: [one for number, one in exact.items() if bounds[i] <= number < bounds[i + 1]]
        for i, part in enumerate(parts)
    }
    every = {part: sum(ones) for part, ones in counts.items() if ones}
    return every | {"all": sum(every.values())}


def _read(path: Path | None, identity: Mapping[str, str]) -> dict[int, bool]:
    """What a file holds of these features of these pairs."""
    if path is None or not path.exists():
        return {}
    with reading(path, "holds no exact features", "remove it, and run the command again"):
        content = json.loads(path.read_text())
        if any(content.get(key) != value for key, value in identity.items()):
            return {}
        return {int(number): bool(value) for number, value in content["separated"].items()}
