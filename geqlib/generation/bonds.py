"""Bond orders from distances, by a named set of rules.

Which atoms are bonded decides every score of generated molecules, and the sets of rules in use give
scores that differ by points up to tens of points for the same molecules. A score is a number of one
set of rules, whose name goes with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from geqlib.elements import atomic_numbers
from geqlib.graph.checks import as_index
from geqlib.graph.pool import graph_index
from geqlib.graph.segments import ragged_ranges, segment_lengths, segment_ptr

PICOMETRES = 100.0  # in one angstrom
Lengths = Mapping[tuple[str, str], float]


@dataclass(frozen=True)
class BondRules:
    """Lengths below which two atoms have a bond, and how many bonds an atom has.

    Two atoms a, b at the distance d have the bond order

        0 if not d < l1[a, b] + m1, else 1 if not d < l2[a, b] + m2,
        else 2 if not d < l3[a, b] + m3, else 3,

    where a pair that a table lacks is never below its length.

    Args:
        name: printed beside every score.
        lengths: l1, l2 and l3: of single, double and triple bonds, in pm, by two symbols in one of
            their orders.
        margins: m1, m2 and m3, in pm.
        valences: the sum of bond orders of a stable atom, by symbol; these are the elements that
            the rules know.

    Raises:
        ValueError: a pair with an element that has no valence, or in both orders.

    Example:
        >>> EDM_RULES.name
        'EDM'
        >>> rules = BondRules("hydrogen", ({("H", "H"): 74.0}, {}, {}), (10, 5, 3), {"H": 1})
        >>> rules.thresholds()[0, 0].tolist()
        [84.0, -inf, -inf]
    """

    name: str
    lengths: tuple[Lengths, Lengths, Lengths]
    margins: tuple[float, float, float]
    valences: Mapping[str, int]

    def __post_init__(self) -> None:
        for lengths in self.lengths:
            for a, b in lengths:
                if not {a, b} <= set(self.valences):
                    raise ValueError(
                        f"The rules {self.name!r} have a bond length of {a} and {b}, but no "
                        "valence of one of them: add it to `valences`."
                    )
                if a != b and (b, a) in lengths:
                    raise ValueError(
                        f"The rules {self.name!r} have a bond length of {a} and {b} and one of {b} "
                        f"and {a}: leave one of them out."
                    )

    def thresholds(self) -> Tensor:
        """[S + 1, S + 1, 3] in pm, elements in the order of `valences`; the last has no bonds."""
        place = {symbol: number for number, symbol in enumerate(self.valences)}
        table = torch.full((len(place) + 1, len(place) + 1, 3), -torch.inf, dtype=torch.float64)
        for order, (lengths, margin) in enumerate(zip(self.lengths, self.margins, strict=True)):
            for (a, b), length in lengths.items():
                table[place[a], place[b], order] = table[place[b], place[a], order] = (
                    length + margin
                )
        return table

    def element(self, numbers: Tensor) -> Tensor:
        """[N] place of each atom's element in `valences`, S for an element that is not there."""
        species = torch.tensor([atomic_numbers[s] for s in self.valences], device=numbers.device)
        same = numbers[:, None] == torch.cat([species, species.new_zeros(1)])
        same[:, -1] = ~same[:, :-1].any(1)
        return same.int().argmax(1)


# qm9/bond_analyze.py of the published code; its margins were tuned on QM9
EDM_RULES = BondRules(
    "EDM",
    (
        {
            ("H", "H"): 74, ("H", "C"): 109, ("H", "N"): 101, ("H", "O"): 96, ("H", "F"): 92,
            ("C", "C"): 154, ("C", "N"): 147, ("C", "O"): 143, ("C", "F"): 135,
            ("N", "N"): 145, ("N", "O"): 140, ("N", "F"): 136,
            ("O", "O"): 148, ("O", "F"): 142, ("F", "F"): 142,
        },
        {
            ("C", "C"): 134, ("C", "N"): 129, ("C", "O"): 120,
            ("N", "N"): 125, ("N", "O"): 121, ("O", "O"): 121,
        },
        {("C", "C"): 120, ("C", "N"): 116, ("C", "O"): 113, ("N", "N"): 110},
    ),
    (10, 5, 3),
    {"H": 1, "C": 4, "N": 3, "O": 2, "F": 1},
)  # fmt: skip


# forks of that code from before it had the triple bond of carbon monoxide
EDM_RULES_WITHOUT_CO = replace(
    EDM_RULES,
    name="EDM-without-CO",
    lengths=(
        *EDM_RULES.lengths[:2],
        {pair: length for pair, length in EDM_RULES.lengths[2].items() if pair != ("C", "O")},
    ),
)
RULES = {rules.name: rules for rules in (EDM_RULES, EDM_RULES_WITHOUT_CO)}


def bond_rules(name: str) -> BondRules:
    """The rules of this name.

    Raises:
        ValueError: naming those that there are.

    Example:
        >>> bond_rules("EDM") is EDM_RULES
        True
    """
    if name not in RULES:
        raise ValueError(f"There are no rules of bonds {name!r}: choose {' or '.join(RULES)}.")
    return RULES[name]


class Bonds(NamedTuple):
    """The bonds of a batch of molecules.

    Args:
        pair: [2, B] the two atoms of each bond, once, the later atom of the molecule first.
        order: [B] 1, 2 or 3.

    Example:
        >>> bond_orders(torch.tensor([1, 1]), torch.tensor([[0.0, 0, 0], [0.74, 0, 0]])).order
        tensor([1])
    """

    pair: Tensor
    order: Tensor


def bond_orders(
    numbers: Tensor,
    pos: Tensor,
    batch: Tensor | None = None,
    num_graphs: int | None = None,
    *,
    rules: BondRules = EDM_RULES,
) -> Bonds:
    """Bonds of molecules by the distances of their atoms.

    Invariant to rotations, reflections and translations of every molecule. The rules are those of
    Hoogeboom et al., "Equivariant diffusion for molecule generation in 3D" (ICML 2022), as their
    code has them; formula: `BondRules`. Distances are computed in float64. Atoms of elements that
    the rules do not know and atoms without a finite position have no bonds here;
    `molecule_defects` says which molecules have such atoms.

    Args:
        numbers: [N] atomic numbers.
        pos: [N, 3] positions, in angstrom.
        batch: [N] molecule of each atom, in any order.
        num_graphs: M, the number of molecules; needed with `batch`.
        rules: which distance is a bond.

    Returns:
        Bonds, those of one molecule after the other.

    Raises:
        ValueError: shapes that do not belong together, numbers that are no integers.

    Example:
        >>> numbers = torch.tensor([6, 8])  # carbon monoxide: below 113 + 3 pm
        >>> pos = torch.tensor([[0.0, 0, 0], [1.128, 0, 0]])
        >>> bond_orders(numbers, pos)
        Bonds(pair=tensor([[1],
                [0]]), order=tensor([3]))
    """
    numbers, batch, num_graphs = checked_atoms(numbers, pos, batch, num_graphs)
    first, second = _pairs(batch, num_graphs)
    pos = pos.double()
    distance = PICOMETRES * (pos[first] - pos[second]).square().sum(1).sqrt()
    element, limits = rules.element(numbers), rules.thresholds().to(pos.device)
    near = distance < limits.max()  # few pairs are
    first, second, distance = first[near], second[near], distance[near]
    below = distance[:, None] < limits[element[first], element[second]]
    order = below.long().cumprod(1).sum(1)
    bonded = order > 0
    return Bonds(torch.stack([first[bonded], second[bonded]]), order[bonded])


def checked_atoms(
    numbers: Tensor, pos: Tensor, batch: Tensor | None, num_graphs: int | None
) -> tuple[Tensor, Tensor, int]:
    """Atomic numbers, the molecule of each atom and how many molecules there are.

    Raises:
        ValueError: shapes that do not belong together, numbers that are no integers.
    """
    numbers = as_index(numbers, "numbers")
    if numbers.dim() != 1 or pos.shape != (len(numbers), 3):
        raise ValueError(
            f"numbers has shape {tuple(numbers.shape)} and pos {tuple(pos.shape)}: "
            "expected [N] and [N, 3]."
        )
    if not pos.is_floating_point():
        raise ValueError(f"pos has type {pos.dtype}: expected floating point numbers, in angstrom.")
    batch, num_graphs = graph_index(batch, num_graphs, len(numbers), numbers.device)
    if batch.shape != numbers.shape:
        raise ValueError(f"batch has shape {tuple(batch.shape)}: expected [{len(numbers)}].")
    if len(batch) and not 0 <= int(batch.min()) <= int(batch.max()) < num_graphs:
        raise ValueError(
            f"batch runs from {int(batch.min())} to {int(batch.max())}, and there are {num_graphs} "
            "molecules: number them from 0, or pass another num_graphs."
        )
    return numbers, batch, num_graphs


def _pairs(batch: Tensor, num_graphs: int) -> tuple[Tensor, Tensor]:
    """All pairs of atoms of each molecule, once: each atom with those before it."""
    order = batch.argsort(stable=True)
    begin = segment_ptr(segment_lengths(batch, num_graphs))[:-1]
    before = torch.arange(len(batch), device=batch.device) - begin[batch[order]]
    later = torch.arange(len(batch), device=batch.device).repeat_interleave(before)
    earlier = ragged_ranges(begin[batch[order]], before)
    return order[later], order[earlier]
