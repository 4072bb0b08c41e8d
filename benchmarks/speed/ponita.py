"""A training step of PONITA at the published size, against the published algorithm.

Protocol: charged 5-body batches of 100 graphs, all 25 edges a graph (self-loops included), 16
orientations (8 axes and their opposites), 128 channels, basis 256, 5 layers, float32; forward and
backward of the mean squared output; same weights for both; medians of an interleaved run of
{rounds} rounds. Peak
memory is the rise of a fresh process's maximum resident size over one step, after a step on two
graphs that loads all code.

    python benchmarks/speed/ponita.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.peers.ponita_direct import DirectPONITA
from benchmarks.provenance import start
from benchmarks.rows import Table, measured
from benchmarks.step_comparison import measured_steps, printed_memory, step_table
from benchmarks.tables import publish
from geqlib.data import NBodyData
from geqlib.models import PONITA

ROUNDS = 9
SIZE = {"channels": 128, "basis": 256, "layers": 5, "orientations": 16}


def steps(graphs: int = 100) -> tuple[dict[str, Callable[[], torch.Tensor]], PONITA]:
    """One forward and backward of each implementation, returning the output."""
    torch.manual_seed(0)
    data = NBodyData(
        100, train=100, val=1, test=1, input_frame=0, target_frame=1, charge_products=True
    )
    data.prepare_data()
    data.setup()
    batch = data.splits["train"].__getitems__(range(graphs))
    model = PONITA(1, 1, 0, 1, edge_dim=1, **SIZE)
    direct = DirectPONITA(model)
    plan = model.kernel.plan(batch.edge_index, batch.num_nodes)
    inputs = (batch.pos, batch.edge_index, batch.x, batch.vec, batch.edge_attr)

    def step(run: Callable[[], torch.Tensor]) -> torch.Tensor:
        model.zero_grad(set_to_none=True)
        out = run()
        (out**2).mean().backward()
        return out.detach()

    return {
        "geqlib": lambda: step(lambda: model(*inputs, plan=plan)[1]),
        "published algorithm": lambda: step(lambda: direct(*inputs)),
    }, model


def difference() -> tuple[float, float]:
    """Largest difference of outputs and of parameter gradients, relative to the largest of each.

    Relative to each parameter's own gradient it would measure rounding: some are zero but for it.
    """
    runs, model = steps()
    outputs, gradients = [], []
    for run in runs.values():
        outputs.append(run())
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    output = (outputs[0] - outputs[1]).abs().max() / outputs[1].abs().max()
    largest = max(float(g.abs().max()) for g in gradients[1])
    pairs = zip(*gradients, strict=True)
    return float(output), max(float((a - b).abs().max()) for a, b in pairs) / largest


def main() -> None:
    if printed_memory(lambda: steps()[0], lambda: steps(graphs=2)[0]):
        return
    output, gradient = difference()
    settings = {"output difference": output, "gradient difference": gradient}
    table = compared(*measured_steps(__file__, steps()[0], ROUNDS))
    publish(measured("speed/ponita", __doc__, [table], settings))


def compared(seconds: dict[str, float], memory: dict[str, float]) -> Table:
    title = "a training step at the published size"
    return step_table(title, seconds, memory, "outputs and gradients")


if __name__ == "__main__":
    start(main)
