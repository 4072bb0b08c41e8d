"""What kind of structure each frame of a data set is, where its file says so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from geqlib.data.molecules.ase_files import ase_structures, needs_ase
from geqlib.data.molecules.extxyz import frame_texts

TYPE = re.compile(rb'(?:^|\s)config_type=("[^"]*"|\S+)')


def read_config_types(paths: Sequence[Path]) -> list[str | None]:
    """The `config_type` of each frame, counted over all files; None where there is none.

    Of extended XYZ files only the comment lines are read.
    """
    return [name for path in paths for name in _types(path)]


def _types(path: Path) -> Iterator[str | None]:
    if needs_ase(path):
        for atoms in ase_structures(path):
            name = atoms.info.get("config_type")
            yield None if name is None else str(name)
        return
    for _, text in frame_texts(path):
        comment = text.split(b"\n", 2)[1:2]  # of a frame that is cut off there is none
        match = TYPE.search(b"".join(comment))
        yield match[1].strip(b'"').decode(errors="replace") if match else None
