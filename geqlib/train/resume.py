"""Resuming that equals an uninterrupted run, and checkpoints that survive a full disk."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO

from geqlib.files.atomic import replace_file
from geqlib.files.checkpoint import first_line, read_checkpoint
from geqlib.files.plain import plain

# arguments of tasks and data that a resumed run may change
SCHEDULED = ("model", "lr", "warmup", "weight_decay", "compile", "cuda_graphs")
LOADING = ("workers", "cache", "test")
# in which the strategies ddp_spawn and ddp_fork hand the weights back to the main process
HANDED_BACK = ".temp.ckpt"
_MIX = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


class ReseedBatches(L.Callback):
    """Draw the randomness of each training step from (seed, epoch, batch, rank) alone.

    Random states are not in a checkpoint, so a resumed run would draw other dropout masks and
    augmentations than the run it continues. With this callback, and a sampler that shuffles by
    seed and epoch (torch's `DistributedSampler` does), both give the same weights, bit for bit on
    one machine.

    Args:
        seed: of the run.

    Example:
        >>> trainer = L.Trainer(callbacks=[ReseedBatches(seed=1)], logger=False, accelerator="cpu")
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        step = (trainer.current_epoch, batch_idx, trainer.global_rank)
        mixed = sum(a * (b + 1) for a, b in zip(_MIX, step, strict=True))
        torch.manual_seed((self.seed + mixed) % 2**63)


class SafeCheckpointIO(TorchCheckpointIO):
    """Write checkpoints whole or not at all; write and read tensors and plain values only.

    Example:
        >>> trainer = L.Trainer(plugins=[SafeCheckpointIO()], logger=False, accelerator="cpu")
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        content = plain(checkpoint, "The checkpoint", tensors=True)
        try:
            replace_file(Path(path), lambda part: torch.save(content, part))
        except (OSError, RuntimeError) as error:
            reason = first_line(error.__cause__ or error)
            raise OSError(
                f"The checkpoint {path} could not be written ({reason}); the one before "
                "is untouched: make room on the disk and resume from it."
            ) from error

    def load_checkpoint(
        self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        if Path(path).name == HANDED_BACK:
            return torch.load(path, map_location=map_location, weights_only=True)
        checkpoint = read_checkpoint(path, map_location)
        if "pytorch-lightning_version" not in checkpoint:
            raise ValueError(
                f"{path} holds weights, but not the state of a training run: read it with "
                "geqlib.load(path, model=...)."
            )
        return checkpoint


def changed_settings(
    stored: Mapping[str, Any], current: Mapping[str, Any], *, free: Collection[str], of: str = ""
) -> list[str]:
    """What a resumed run is given otherwise than the run that it continues.

    Args:
        stored: the arguments in the checkpoint.
        current: those of today.
        free: names that may change.
        of: whose arguments they are, if not the task's.

    Example:
        >>> changed_settings({"seed": 0, "lr": 1.0}, {"seed": 7, "lr": 2.0}, free=("lr",))
        ['seed was 0 and is 7']
        >>> changed_settings({"levels": {"a": 1, "b": 2}}, {"levels": {"b": 2, "a": 1}}, free=())
        ['the order of levels was a, b and is b, a']
    """
    owner, changes = f" of {of}" if of else "", []
    for name in stored:
        if name not in current or name in free:
            continue
        before, now = stored[name], current[name]
        if before != now:
            changes.append(f"{name}{owner} was {before!r} and is {now!r}")
        elif isinstance(before, Mapping) and list(before) != list(now):
            # levels are numbered by it, properties take channels in it, and files are read in it
            orders = (", ".join(map(str, part)) for part in (before, now))
            changes.append("the order of {}{} was {} and is {}".format(name, owner, *orders))
    return changes
