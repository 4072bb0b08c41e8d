"""A miniature raw file of MNIST superpixels, in the layout of the published one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

NAME = "MNISTSuperpixels/raw/MNISTSuperpixels.pt"


def write(folder: Path, train: int = 20, test: int = 6) -> Path:
    """Write it below a folder, for GEQLIB_DATA."""
    path = folder / NAME
    path.parent.mkdir(parents=True)
    torch.save([[image(k) for k in range(train)], [image(-k) for k in range(1, test + 1)]], path)
    return path


def image(seed: int, patches: int = 9) -> dict[str, Any]:
    """Random patches with loops and with edges in no order."""
    generator = torch.Generator().manual_seed(seed % 1000)
    pairs = torch.randperm(patches**2, generator=generator)[: 4 * patches]
    return {
        "x": torch.rand(patches, 1, generator=generator),
        "edge_index": torch.stack([pairs // patches, pairs % patches]),
        "pos": 28 * torch.rand(patches, 2, generator=generator),
        "y": torch.tensor([seed % 10]),
    }
