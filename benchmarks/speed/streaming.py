"""Memory of training from a file that is read frame by frame, against the size of the file.

Protocol: files of ethanol molecules, shaken at random, with energies and forces;
`MoleculeData(stream=True)`, PONITA with 16 channels and 1 layer, {steps} training steps of batches
of 5 drawn from the whole file, one process per file; the peak of its resident memory beyond that
before the data module was made, and the seconds of finding and checking all frames, which is done
once per file.

    python benchmarks/speed/streaming.py [--frames 1000 10000 100000]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from ase.build import molecule

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.measure import in_own_process, peak_memory
from benchmarks.provenance import start
from benchmarks.rows import Column, Row, Table, measured
from benchmarks.tables import publish
from geqlib.data import MoleculeData
from geqlib.models import PONITA, Potential, energy_forces

STEPS = 20
COLUMNS = (
    Column("file_mib", "file", "MiB", ".0f"),
    Column("peak_mib", "peak memory", "MiB", ".0f"),
    Column("seconds", "first reading", "s", ".0f"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[1000, 10_000, 100_000])
    rows = []
    for frames in parser.parse_args().frames:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "ethanol.xyz"
            _write(path, frames)
            cells = in_own_process(__file__, "--child", str(path))
            size = path.stat().st_size / 2**20
            rows.append(Row((str(frames),), {"file_mib": size} | cells))
    publish(measured("speed/streaming", __doc__, [compared(rows)]))


def compared(rows: list[Row]) -> Table:
    return Table(("frames",), COLUMNS, tuple(rows), "peak_mib")


def child(path: str) -> None:
    """Train on the file, print the peak of memory."""
    torch.manual_seed(0)
    seconds = []

    def train() -> None:
        start = time.perf_counter()
        data = MoleculeData(path, 10, cutoff=5.0, stream=True, cache=str(Path(path).parent))
        data.setup("fit")
        seconds.append(time.perf_counter() - start)
        potential = Potential(PONITA(8, 0, 1, 0, channels=16, layers=1, cutoff=5.0))
        optimizer = torch.optim.Adam(potential.parameters())
        for batch in islice(data.train_dataloader(), STEPS):
            outputs = energy_forces(
                potential,
                batch.pos,
                batch.z,
                batch.edge_index,
                batch=batch.batch,
                num_graphs=batch.num_graphs,
                create_graph=True,
            )
            optimizer.zero_grad()
            (outputs["forces"] - batch.forces).square().mean().backward()
            optimizer.step()

    peak = peak_memory(train)
    sys.stdout.write(json.dumps({"peak_mib": peak, "seconds": seconds[0]}) + "\n")


def _write(path: Path, frames: int) -> None:
    ethanol, rng = molecule("CH3CH2OH"), np.random.default_rng(0)
    symbols = ethanol.get_chemical_symbols()
    head = 'Properties=species:S:1:pos:R:3:forces:R:3 pbc="F F F" energy='
    with path.open("w") as file:
        for _ in range(frames):
            shift = rng.normal(scale=0.05, size=(len(ethanol), 3))
            rows = np.concatenate([ethanol.positions + shift, -shift], 1).tolist()
            file.write(f"{len(ethanol)}\n{head}{0.5 * np.square(shift).sum():.8f}\n")
            for symbol, row in zip(symbols, rows, strict=True):
                file.write(f"{symbol} {' '.join(f'{x:.8f}' for x in row)}\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2])
    else:
        start(main)
