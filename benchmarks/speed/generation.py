"""Sampling of molecules: how long do 1000 of QM9's sizes take?

Protocol: PONITA in the size of configs/qm9_generation_ponita.yaml, untrained, float32; {steps}
levels of Heun's sampler with churn, which is {calls} calls of the network; sizes drawn from those
of the 100 000 training molecules of EDM's split, {at_once} molecules at once. On a GPU {gpu}
molecules, with plain steps and with replayed ones, recordings included, in wall time; on the
processor {cpu} molecules at once on one thread, in its own time, from which that of {gpu} is
reckoned. One run each, after one of {warm} molecules and two levels.

    OMP_NUM_THREADS=1 python benchmarks/speed/generation.py [--device cuda] [--count 1000]
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from pathlib import Path

import torch
import yaml

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Row, Table, joined, measured
from benchmarks.tables import drawn, markdown, publish
from geqlib.generation import Denoiser, HeunSampler, drawn_sizes, sample_molecules
from geqlib.graph.recordings import CudaGraphs
from geqlib.models import PONITA

CONFIG = Path(__file__).parents[2] / "configs" / "qm9_generation_ponita.yaml"
STEPS, CALLS, AT_ONCE, WARM = 40, 79, 250, 4
GPU, CPU = 1000, 16  # molecules
# molecules of EDM's training split by their number of atoms
SIZES = {
    3: 1, 4: 4, 5: 5, 6: 9, 7: 16, 8: 49, 9: 124, 10: 362, 11: 807, 12: 1689, 13: 3060, 14: 5136,
    15: 7796, 16: 10644, 17: 13025, 18: 13364, 19: 13832, 20: 9482, 21: 9970, 22: 3393, 23: 4848,
    24: 539, 25: 1506, 26: 48, 27: 266, 29: 25,
}  # fmt: skip
COLUMNS = (
    Column("whole", f"time of {GPU}", "s", ".1f"),
    Column("seconds", "time", "s", ".1f"),
    Column("molecules", "molecules"),
    Column("dropped", "NaN"),
)


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    usual = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=("cpu", "cuda"), default=usual)
    parser.add_argument("--count", type=int, help="molecules; 1000, and few on the processor")
    options = parser.parse_args()
    count = options.count or (GPU if options.device == "cuda" else CPU)
    ways = {"plain steps": False} | ({"replayed steps": True} if options.device == "cuda" else {})
    denoiser = published_denoiser().to(options.device)
    rows = [row(denoiser, name, count, replay) for name, replay in ways.items()]
    table = Table(("", "device"), COLUMNS, tuple(rows), "whole")
    if options.count is None:
        publish(measured("speed/generation", __doc__, [joined("speed/generation", table)]))
    else:
        sys.stdout.write(markdown(*drawn(table)))


def published_denoiser() -> Denoiser:
    """Untrained, in the size of the configuration."""
    model = yaml.safe_load(CONFIG.read_text())["model"]["init_args"]["model"]
    torch.manual_seed(0)
    return Denoiser(PONITA(**model["init_args"]["network"]["init_args"])).eval()


def row(denoiser: Denoiser, name: str, count: int, replay: bool) -> Row:
    sampled(denoiser, WARM, HeunSampler(2), replay)
    device = denoiser.numbers.device.type
    clock = time.perf_counter if device == "cuda" else time.process_time
    begin = clock()
    dropped = sampled(denoiser, count, HeunSampler(STEPS), replay)
    seconds = clock() - begin
    cells: dict[str, Cell] = {"whole": seconds * GPU / count, "seconds": seconds}
    cells |= {"molecules": count, "dropped": dropped}
    setup = "" if count == GPU else f"reckoned from {count} molecules"
    return Row((name, "GPU" if device == "cuda" else "CPU, one thread"), cells, setup=setup)


def sampled(denoiser: Denoiser, count: int, sampler: HeunSampler, replay: bool) -> int:
    """Draw that many molecules; how many ended in NaN. They are on the host: nothing is pending."""
    lost = 0
    for first in range(0, count, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, count))
        lengths = drawn_sizes(SIZES, 0, numbers)
        recorder = CudaGraphs() if replay else None
        molecules = sample_molecules(
            denoiser, lengths, numbers=numbers, sampler=sampler, recorder=recorder
        )
        lost += int(molecules.dropped.sum())
    return lost


if __name__ == "__main__":
    start(main)
