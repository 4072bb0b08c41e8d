"""Molecules as extended XYZ and as SDF."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from geqlib.elements import chemical_symbols
from geqlib.files.atomic import replace_file
from geqlib.generation.bonds import EDM_RULES, BondRules, bond_orders
from geqlib.generation.molecules import Molecules
from geqlib.graph.segments import segment_index

ENDINGS = (".xyz", ".extxyz", ".sdf")
LARGEST = 999  # atoms or bonds that the columns of a V2000 table hold
# angstrom, which are written as -9999.9999 and 99999.9999 in columns that nothing separates
FARTHEST = (-9999.9999, 99999.9999)


def check_ending(path: Path) -> None:
    """Refuse a path with another ending than these files have.

    Raises:
        ValueError: naming the endings.
    """
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(f"{path} should end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}.")


def write_molecules(
    path: str | Path,
    numbers: Tensor,
    pos: Tensor,
    lengths: Tensor,
    names: Sequence[int],
    *,
    rules: BondRules = EDM_RULES,
) -> None:
    """Write molecules into one file, whole or not at all.

    Extended XYZ has elements and positions, SDF (V2000) the bonds by the rules as well.

    Args:
        path: .xyz or .extxyz, or .sdf.
        numbers: [N] atomic numbers.
        pos: [N, 3] in angstrom.
        lengths: [M] atoms of each molecule.
        names: [M] numbers of the molecules, written as `sample`.
        rules: of the bonds of an SDF.

    Raises:
        ValueError: another ending; for SDF, a molecule with more than 999 atoms or bonds, or with
            atoms farther from the origin than its columns hold.
    """
    path = Path(path)
    check_ending(path)
    sizes = lengths.tolist()
    parts = zip(names, numbers.split(sizes), pos.split(sizes), strict=True)
    if path.suffix.lower() == ".sdf":
        texts = _sdf(parts, *_bonds(numbers, pos, lengths, rules))
    else:
        texts = (_frame(name, *atoms) for name, *atoms in parts)
    text = "".join(texts)
    replace_file(path, lambda part: part.write_text(text))


def write_samples(path: str | Path, molecules: Molecules, *, rules: BondRules = EDM_RULES) -> None:
    """Write samples by their numbers, but for those that ended in NaN; see `write_molecules`."""
    whole = ~molecules.dropped
    atoms = whole[molecules.batch]
    names = whole.nonzero()[:, 0].tolist()
    lengths = molecules.lengths[whole]
    write_molecules(
        path, molecules.numbers[atoms], molecules.pos[atoms], lengths, names, rules=rules
    )


def _frame(name: int, numbers: Tensor, pos: Tensor) -> str:
    lines = [str(len(numbers)), f'Properties=species:S:1:pos:R:3 sample={name} pbc="F F F"']
    for number, place in zip(numbers.tolist(), pos.tolist(), strict=True):
        lines.append(f"{chemical_symbols[number]:2}" + "".join(f" {x:14.8f}" for x in place))
    return "\n".join(lines) + "\n"


def _bonds(
    numbers: Tensor, pos: Tensor, lengths: Tensor, rules: BondRules
) -> tuple[Tensor, Tensor, list[int]]:
    """Bonds within each molecule, their orders, and how many each molecule has."""
    batch = segment_index(lengths)
    pair, order = bond_orders(numbers, pos, batch, len(lengths), rules=rules)
    molecule = batch[pair[0]]
    first = (lengths.cumsum(0) - lengths)[molecule]
    return pair - first, order, torch.bincount(molecule, minlength=len(lengths)).tolist()


def _sdf(
    parts: Iterator[tuple[int, Tensor, Tensor]], pair: Tensor, order: Tensor, counts: list[int]
) -> Iterator[str]:
    bonds = zip(pair.split(counts, 1), order.split(counts), strict=True)
    for (name, numbers, pos), (ends, orders) in zip(parts, bonds, strict=True):
        atoms, count = len(numbers), len(orders)
        if max(atoms, count) > LARGEST:
            raise ValueError(
                f"Sample {name} has {atoms} atoms and {count} bonds, of which an SDF holds "
                f"{LARGEST}: write an .xyz file."
            )
        rounded = pos.double().round(decimals=4)
        inside = (rounded >= FARTHEST[0]) & (rounded <= FARTHEST[1])
        if not bool(inside.all()):
            raise ValueError(
                f"Sample {name} has a coordinate of {float(pos[~inside][0]):g} angstrom, and an "
                f"SDF holds {FARTHEST[0]} to {FARTHEST[1]}: write an .xyz file."
            )
        lines = [f"sample {name}", "  geqlib", ""]
        lines.append(f"{atoms:3}{count:3}  0  0  0  0  0  0  0  0999 V2000")
        for number, (x, y, z) in zip(numbers.tolist(), pos.tolist(), strict=True):
            lines.append(f"{x:10.4f}{y:10.4f}{z:10.4f} {chemical_symbols[number]:3} 0" + "  0" * 11)
        for later, earlier, kind in zip(*ends.tolist(), orders.tolist(), strict=True):
            lines.append(f"{earlier + 1:3}{later + 1:3}{kind:3}  0  0  0  0")
        yield "\n".join([*lines, "M  END", "$$$$"]) + "\n"
