"""Counts of nodes, edges, pairs and graphs at once, as one option of data sets and of BREC."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from inspect import signature
from typing import Any

from torch import nn
from torch_geometric.transforms import BaseTransform

from geqlib.motifs.transforms import OrbitCounts, Roots, SubgraphCounts

CLIQUES = ("K3", "K4", "K5", "K6")
ADVICE = "name smaller patterns, or leave out the densest graphs"
# the tensor that holds what is counted
TENSORS = {"nodes": "x", "edges": "edge_attr", "pairs": "pair_attr", "graph": "motifs"}
ROOTS: dict[str, Roots] = {"nodes": 1, "edges": 2, "pairs": 2, "graph": 0}
# options of networks by which they take these
OPTIONS = {"edges": "edge_dim", "pairs": "pair_dim", "graph": "graph_dim"}


class MotifFeatures(BaseTransform):
    """Counts of motifs as features, of whatever kinds a network takes.

    All are log(1 + count). Patterns are names such as "C6", or edges as text, see
    `geqlib.motifs.patterns.as_pattern`; their copies are subgraphs, induced or not.

    Args:
        nodes: patterns, appended to `x`, one channel for every orbit of their nodes; or "orbits",
            the 28 orbit adjacencies summed over rows, from which graphlet degrees are read.
        edges: patterns, or "orbits", appended to `edge_attr`.
        pairs: the same at all ordered pairs of nodes where one is not zero: `pair_index` [2, P] and
            `pair_attr` [P, channels].
        graph: patterns, or "cliques" of 3 to 6 nodes: `motifs` [1, channels].

    Attributes:
        channels: name of each tensor -> how many channels of it these are.

    Raises:
        ValueError: no patterns, or none that can be counted; graphs that are directed or have loops
            or parallel edges, or integers as features; costs that are too large.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> triangle = torch.tensor([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]])
        >>> features = MotifFeatures(nodes=["C3", "C4"], pairs="orbits", graph="cliques")
        >>> features.channels
        {'x': 2, 'pair_attr': 28, 'motifs': 4}
        >>> features(Data(edge_index=triangle, num_nodes=3)).motifs.shape
        torch.Size([1, 4])
    """

    def __init__(
        self,
        *,
        nodes: Sequence[str] | str | None = None,
        edges: Sequence[str] | str | None = None,
        pairs: Sequence[str] | str | None = None,
        graph: Sequence[str] | str | None = None,
    ) -> None:
        named = {"nodes": nodes, "edges": edges, "pairs": pairs, "graph": graph}
        self.settings = {key: value for key, value in named.items() if value is not None}
        if not self.settings:
            raise ValueError(f"There are no features: name some of {', '.join(named)}.")
        self.parts = {key: _transform(key, value) for key, value in self.settings.items()}
        self.channels = {TENSORS[key]: part.width for key, part in self.parts.items()}

    def forward(self, data: Any) -> Any:
        for part in self.parts.values():
            data = part(data)
        return data

    def __repr__(self) -> str:
        return f"MotifFeatures({', '.join(f'{k}={v!r}' for k, v in self.settings.items())})"


def motif_features(settings: Mapping[str, Any]) -> MotifFeatures:
    """`MotifFeatures` of a configuration.

    Raises:
        ValueError: keys that it does not have.

    Example:
        >>> motif_features({"nodes": ["C3"]})
        MotifFeatures(nodes=['C3'])
    """
    wrong = [key for key in settings if key not in TENSORS]
    if wrong:
        raise ValueError(f"features has no key {wrong[0]!r}: choose from {', '.join(TENSORS)}.")
    return MotifFeatures(**settings)


def check_taken(model: nn.Module, kinds: Iterable[str]) -> None:
    """Refuse a network that would leave features out without a word.

    Args:
        model: whose `forward` names what it takes.
        kinds: "nodes", "edges", "pairs", "graph".

    Raises:
        ValueError: if it has no argument for them, or was built without them.

    Example:
        >>> from geqlib.models import MessagePassingNet
        >>> check_taken(MessagePassingNet(1, 2), ["nodes", "pairs"])
        Traceback (most recent call last):
        ...
        ValueError: MessagePassingNet takes no pair_attr: leave `pairs` out of the features, or \
take a network that does, such as SPEN or PPGNpp.
    """
    name, arguments = type(model).__name__, signature(model.forward).parameters
    for kind in kinds:
        if TENSORS[kind] not in arguments:
            others = "SPEN or PPGNpp" if kind == "pairs" else "SPEN, PPGNpp or MonoidGNN"
            raise ValueError(
                f"{name} takes no {TENSORS[kind]}: leave `{kind}` out of the features, or take a "
                f"network that does, such as {others}."
            )
        option = OPTIONS.get(kind)
        if option and getattr(model, option, None) == 0:
            raise ValueError(
                f"{name} has {option}=0, so that it takes no {TENSORS[kind]}: set {option} to the "
                f"number of features, or leave `{kind}` out of them."
            )


class _SubgraphFeatures(SubgraphCounts):
    """Counts whose bound on the cost is no option of `MotifFeatures`."""

    advice = ADVICE


def _transform(kind: str, value: Sequence[str] | str) -> OrbitCounts | SubgraphCounts:
    """What counts for one key of the features."""
    roots = ROOTS[kind]
    pairs = "all" if kind == "pairs" else "edges"
    word = "cliques" if kind == "graph" else "orbits"
    if value == "orbits" and roots:
        return OrbitCounts(roots=roots, pairs=pairs)
    if value == "cliques" and not roots:
        return _SubgraphFeatures(CLIQUES, roots=0)
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(
            f"The features of {kind} are {value!r}: write a list of patterns, such as [C3, C4], or "
            f"{word!r}."
        )
    return _SubgraphFeatures(value, roots=roots, pairs=pairs)
