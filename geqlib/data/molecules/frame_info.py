"""What the files of a data set say of each frame beside its labels: `info` of ASE's structures."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.calculator import all_properties

from geqlib.data.molecules.ase_files import ase_structures, needs_ase
from geqlib.data.molecules.extxyz import frame_texts
from geqlib.data.molecules.frame_text import comment_info

Info = Mapping[str, Any]
# which ASE and this library take for labels or predictions
LABELS = {*all_properties, "energy_std", "forces_std", "polarisability"}


def read_infos(paths: Sequence[Path], labels: Collection[str] = ()) -> list[Info]:
    """What each frame is said to be, such as its `config_type`, counted over all files.

    Of extended XYZ files only the comment lines are read.

    Args:
        paths: of the files.
        labels: keys that are left out, as are ASE's names of results.
    """
    left_out = {*LABELS, *labels}
    return [
        {key: value for key, value in info.items() if key not in left_out}
        for path in paths
        for info in _infos(path)
    ]


def _infos(path: Path) -> Iterator[Info]:
    if needs_ase(path):
        for atoms in ase_structures(path):
            yield {str(key): value for key, value in atoms.info.items() if _is_plain(value)}
        return
    for _, text in frame_texts(path):
        comment = text.split(b"\n", 2)[1:2]  # of a frame that is cut off there is none
        yield comment_info(b"".join(comment))


def _is_plain(value: Any) -> bool:
    """Whether a comment line can hold a value."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biuf"
    return isinstance(value, (str, bool, int, float, np.generic)) and "\n" not in str(value)
