"""Answering a question about each set in bits."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from geqlib.train.task import Task


class BitsTask(Task):
    """Bits of each set's answer, by cross-entropy; an answer is right if all of its bits are.

    The accuracy is that of the whole answers. The test split's is measured size by size, as
    `test/accuracy_SIZE`.

    Args:
        model: returns logits [sets, bits].
        lr, warmup, weight_decay: see `Task`.

    Example:
        >>> from geqlib.models import SetNetwork
        >>> task = BitsTask(SetNetwork(16, "max"), lr=1e-3)
    """

    inputs: ClassVar = {"x": "index", "batch": "batch"}
    outputs: ClassVar = {"logits": "graph:scalar"}

    def __init__(
        self,
        model: nn.Module,
        *,
        lr: float = 2e-3,
        warmup: float = 0.05,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(model, lr=lr, warmup=warmup, weight_decay=weight_decay, rotate=False)

    def check_batch(self, batch: Any) -> None:
        """The model sees to its numbers itself."""

    def predict_outputs(self, batch: Any) -> dict[str, Tensor]:
        return {"logits": self(batch)}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = binary_cross_entropy_with_logits(self(batch), batch.y)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=batch.num_graphs)
        return self.with_auxiliary(loss)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._measure(batch, "val/accuracy")
        loss = binary_cross_entropy_with_logits(self(batch), batch.y)
        self.log("val/loss", loss, batch_size=batch.num_graphs, sync_dist=True)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._measure(batch, f"test/accuracy_{len(batch.x) // batch.num_graphs}")

    def predict_step(
        self, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> dict[str, Tensor]:
        return {"logits": self(batch), "true": batch.y}

    def _measure(self, batch: Any, name: str) -> None:
        right = right_answers(self(batch), batch.y)
        self.log(
            name,
            right.to(batch.y.dtype).mean(),
            prog_bar=name.startswith("val"),
            batch_size=batch.num_graphs,
            add_dataloader_idx=False,
            sync_dist=True,
        )


def right_answers(logits: Tensor, y: Tensor) -> Tensor:
    """[sets] whether every bit is right."""
    return ((logits > 0) == (y > 0.5)).all(-1)
