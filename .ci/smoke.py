"""Imports, one layer of each family, and a training run of two steps, in well under a minute."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch

from geqlib.cli import main
from geqlib.models import PONITA
from geqlib.nn import (
    FrameAveraging,
    GauntConvolution,
    GauntTensorProduct,
    MonoidAggregation,
    SubgraphConv,
)
from geqlib.spen.plan import ego_plan

TOP = Path(__file__).parents[1]


def layers() -> None:
    """One forward and backward pass of each family."""
    edge_index = torch.tensor([[0, 1, 2, 0], [1, 2, 0, 2]])
    pos, irreps = torch.randn(3, 3), "4x0e+4x1o"
    x = torch.randn(3, 16, requires_grad=True)
    net = PONITA(1, 0, 1, 0, channels=8)
    average = FrameAveraging(
        torch.nn.Identity(), "SE(3)", inputs={"input": "point"}, outputs="point"
    )
    outputs = {
        "ponita": net(pos, edge_index, x=torch.ones(3, 1))[0],
        "gaunt": GauntTensorProduct(irreps, irreps, irreps)(x, x),
        "gaunt convolution": GauntConvolution(irreps, irreps, degree=1)(
            x, torch.nn.functional.normalize(torch.randn(4, 3)), torch.ones(4, 2, 4), edge_index
        ),
        "monoid": MonoidAggregation(16)(x, torch.tensor([0, 0, 1])),
        "frames": average(input=pos.requires_grad_()),
        "spen": SubgraphConv(16, 4, orders=(1,))({1: x}, ego_plan(edge_index, 3))[1],
    }
    for name, out in outputs.items():
        out.square().sum().backward()
        if not torch.isfinite(out).all():
            raise SystemExit(f"{name} is not finite with torch {torch.__version__}")


def two_steps() -> None:
    """A training run of the demo's configuration, cut short."""
    with tempfile.TemporaryDirectory() as folder:
        small = ("train=8", "val=4", "test=4", "input_frame=0", "target_frame=1")
        code = main(
            [
                "fit",
                f"--config={TOP / 'configs' / 'nbody_ponita.yaml'}",
                f"--trainer.default_root_dir={folder}",
                "--trainer.max_epochs=1",
                "--trainer.limit_train_batches=2",
                "--trainer.enable_progress_bar=false",
                *(f"--data.init_args.{option}" for option in small),
            ]
        )
        if code or not (Path(folder) / "checkpoints" / "last.ckpt").exists():
            raise SystemExit(f"training failed with torch {torch.__version__}")


if __name__ == "__main__":
    layers()
    two_steps()
    sys.stdout.write(f"torch {torch.__version__}: layers and training work\n")
