"""What all training tasks share: steps, optimisation, and how a batch reaches a model."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import lightning as L
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torchmetrics import Metric

from geqlib.files.checkpoint import first_mismatch, format_record
from geqlib.graph import accepted, check_graph
from geqlib.monoid.aggregation import auxiliary_loss
from geqlib.symmetry.rotations import random_rotations
from geqlib.symmetry.types import parse_type, rotate
from geqlib.train.agreement import share_cutoff


class Task(L.LightningModule):
    """A model with a loss, metrics, and the optimisation of Bekkers et al. (ICLR 2024): Adam,
    linear warm-up and cosine decay per step, no weight decay on biases, norms and other vectors,
    training batches under random rotations.

    A task of your own defines three methods: `predict_outputs(batch)`, the outputs by name;
    `loss(batch)`, what a training step minimises; and `metrics(batch, stage)`, what is logged of a
    batch in the stage "val" or "test". All steps follow from these; any step can be overridden as
    in every `LightningModule`.

    The class attributes `inputs` and `outputs` declare how tensors of the batch and outputs
    transform (types as in `geqlib.testing`); augmentation and `geqlib check` go by them. The model
    receives those tensors of the batch that its `forward` names.

    Args:
        model: any module.
        lr: peak learning rate.
        warmup: fraction of all steps in which the learning rate rises.
        weight_decay: of matrices, decoupled from the gradient (AdamW).
        rotate: whether training batches are rotated, each graph by its own random rotation.

    Raises:
        ValueError: if the learning rate is not positive, or the warm-up not in [0, 1).

    Example:
        >>> class Norms(Task):
        ...     inputs, outputs = {"pos": "point"}, {"y": "scalar"}
        ...     def loss(self, batch):
        ...         return self(batch).square().mean()
        >>> Norms(nn.Linear(3, 1), lr=1e-3).hparams["lr"]
        0.001
    """

    inputs: ClassVar[dict[str, str]] = {}
    outputs: ClassVar[dict[str, str]] = {}
    # metrics that the progress bar shows
    shown: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        model: nn.Module,
        *,
        lr: float = 2e-3,
        warmup: float = 0.05,
        weight_decay: float = 0.0,
        rotate: bool = True,
    ) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Attribute 'model' is an instance")
            self.save_hyperparameters()
        # a pickled module in the checkpoint could not be loaded without running code
        if isinstance(self.hparams.get("model"), nn.Module):
            del self.hparams["model"]
        if lr <= 0:
            raise ValueError(f"lr must be positive, got {lr}.")
        if not 0 <= warmup < 1:
            raise ValueError(f"warmup is a share of all steps in [0, 1), got {warmup}.")
        self.model = model
        self.lr, self.warmup, self.weight_decay, self.rotate = lr, warmup, weight_decay, rotate
        self._unchecked = {"train", "val"}

    # --- what a task defines ---------------------------------------------------------------------

    def predict_outputs(self, batch: Any) -> dict[str, Tensor]:
        """The outputs that `outputs` gives types to, in the units of the batch."""
        raise NotImplementedError(f"{type(self).__name__} must define predict_outputs(batch).")

    def loss(self, batch: Any) -> Tensor:
        """What a training step minimises, of a batch after augmentation."""
        raise NotImplementedError(f"{type(self).__name__} must define loss(batch).")

    def metrics(self, batch: Any, stage: str) -> Mapping[str, Metric | Tensor]:
        """What is logged as STAGE/NAME: updated metrics, or means over the graphs of the batch."""
        return {}

    def augmented(self, batch: Any) -> Any:
        """A training batch under a random symmetry."""
        return self.rotated(batch)

    # --- steps -----------------------------------------------------------------------------------

    def forward(self, batch: Any) -> Any:
        return self.model(**accepted(self.model.forward, batch))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        batch = self.augmented(batch)
        loss = self.loss(batch)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=batch.num_graphs)
        return self.with_auxiliary(loss)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log_metrics(batch, "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log_metrics(batch, "test")

    def with_auxiliary(self, loss: Tensor) -> Tensor:
        """A training loss, with what the model's aggregations add to it."""
        return loss + auxiliary_loss(self.model)

    def log_metrics(self, batch: Any, stage: str) -> None:
        """Log `metrics` of a batch, under the same names for every data loader."""
        for name, value in self.metrics(batch, stage).items():
            self.log(
                f"{stage}/{name}",
                value,
                prog_bar=name in self.shown,
                batch_size=batch.num_graphs,
                add_dataloader_idx=False,
            )

    def log(self, name: str, value: Any, *args: Any, **options: Any) -> None:
        """Of several processes the mean: what one process with all of their graphs would log."""
        super().log(name, value, *args, **({"sync_dist": True} | options))

    def configure_callbacks(self) -> list[L.Callback]:
        # the first hook in which there is a data module, which has read nothing yet
        share_cutoff(self.model, getattr(self.trainer, "datamodule", None))
        return []

    # --- checks and checkpoints ------------------------------------------------------------------

    def check_batch(self, batch: Any) -> None:
        """Raise a ValueError that names what is wrong with a batch."""
        check_graph(batch)

    def on_fit_start(self) -> None:
        # each batch once: later epochs see the same graphs, and a check stalls an accelerator
        self._unchecked = {"train", "val"}

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if "train" in self._unchecked:
            self.check_batch(batch)

    def on_train_epoch_end(self) -> None:
        self._unchecked.discard("train")

    def on_validation_batch_start(
        self, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if "val" in self._unchecked:
            self.check_batch(batch)

    def on_validation_end(self) -> None:
        if not self.trainer.sanity_checking:
            self._unchecked.discard("val")

    def on_test_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.check_batch(batch)

    def on_predict_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.check_batch(batch)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["geqlib"] = format_record()

    def load_state_dict(self, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().load_state_dict(state_dict, *args, **kwargs)
        except RuntimeError as error:
            raise ValueError(
                f"The weights do not fit {type(self.model).__name__} ({first_mismatch(error)}): "
                "use the config.yaml of the run that wrote them."
            ) from error

    # --- optimisation ----------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        matrices = [p for p in self.parameters() if p.requires_grad and p.dim() > 1]
        vectors = [p for p in self.parameters() if p.requires_grad and p.dim() <= 1]
        groups = [
            {"params": matrices, "weight_decay": self.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.lr)
        steps = self.trainer.estimated_stepping_batches
        if math.isinf(steps):
            raise ValueError(
                "The learning rate falls until the end, and this run has none: set "
                "trainer.max_epochs or trainer.max_steps."
            )
        steps = max(int(steps), 1)
        rising = max(int(self.warmup * steps), 1)

        def factor(step: int) -> float:
            cosine = 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0)))
            return min((step + 1) / rising, 1.0) * cosine

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def rotated(self, batch: Any) -> Any:
        """A copy of the batch with every graph rotated by its own random rotation."""
        if not self.rotate:
            return batch
        types = {k: parse_type(k, t) for k, t in (self.inputs | self.outputs).items() if k in batch}
        rotating = [type_ for type_ in types.values() if type_.rotates]
        first = batch[next(type_.where for type_ in rotating if type_.cartesian)]
        rotation = random_rotations(
            batch.num_graphs, first.size(-1), dtype=first.dtype, device=first.device
        )
        turned = batch.clone()
        for type_ in rotating:
            x = batch[type_.where]
            own = rotation
            if type_.level != "graph":
                node = batch.edge_index[0] if type_.level == "edge" else slice(None)
                own = rotation.index_select(0, batch.batch[node])
            turned[type_.where] = rotate(x, type_, own)
        return turned


def with_positions(batch: Any, names: tuple[str, ...] | None = None) -> Data:
    """A batch (or those tensors of it that are named) at the origin, as `check_graph` asks for
    positions and some graphs have none."""
    tensors = batch.to_dict() if names is None else {k: batch[k] for k in names if k in batch}
    pos = torch.zeros(len(batch.x), 3, device=batch.x.device)
    return Data(**(tensors | {"pos": pos}))
