"""Numbers in messages and tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# of generated samples, whose metrics no textbook names
MEANINGS = {
    "bound": "at most this is -log p of a graph",
    "degree, clustering, orbits, spectrum": "squared discrepancies from the true graphs",
    "follows": "share of samples whose own order of blocks is the one by which they were drawn",
    "stopped": "share that had too many nodes for a further block",
    "dropped": "share that ended in NaN",
    "atom_stability": "share of atoms whose bonds add up to a valence",
    "molecule_stability": "share of molecules without other atoms",
    "valid": "share of molecules that RDKit accepts",
}
SCORES = ("accuracy", "auroc", "average_precision", "jaccard")  # from 0 to 1


def counted(count: int, noun: str) -> str:
    """How many there are, in words.

    Example:
        >>> counted(1, "column"), counted(3, "column"), counted(2, "class")
        ('1 column', '3 columns', '2 classes')
    """
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun}{'es' if noun.endswith(('s', 'x')) else 's'}"


def shown_unit(metric: str, units: Mapping[str, str]) -> tuple[float, str]:
    """Factor and unit with which a metric is shown: scores from 0 to 1 are shown in %.

    Args:
        metric: its name, with or without a split.
        units: of metrics by their names without a split, which have precedence.

    Example:
        >>> shown_unit("test/accuracy", {}), shown_unit("mae", {"mae": "K"}), shown_unit("loss", {})
        ((100.0, '%'), (1.0, 'K'), (1.0, ''))
    """
    name = metric.rpartition("/")[2]
    if name in units:
        return 1.0, units[name]
    score = any(name == other or name.startswith(f"{other}_") for other in SCORES)
    return (100.0, "%") if score else (1.0, "")


def legend(metrics: Iterable[str]) -> str:
    """What metrics of generated samples are, in one line; empty if none of them is there.

    Args:
        metrics: their names, with or without a split.

    Example:
        >>> legend(["test/loss", "test/dropped", "test/atom_stability"])
        'dropped: share that ended in NaN; atom_stability: share of atoms whose bonds add up to a \
valence'
        >>> legend(["accuracy", "degree"])
        ''
    """
    names = {metric.rpartition("/")[2] for metric in metrics}
    if "dropped" not in names:  # which all samplings measure
        return ""
    own = {name: text for name, text in MEANINGS.items() if names & {*name.split(", ")}}
    return "; ".join(f"{name}: {text}" for name, text in own.items())
