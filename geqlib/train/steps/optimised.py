"""The optimiser and the schedule of a task, and what a resumed run may change of them."""

from __future__ import annotations

import warnings
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import WeightAveraging
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from geqlib.files.checkpoint import first_mismatch
from geqlib.train.resume import LOADING, SCHEDULED, changed_settings
from geqlib.train.steps.optimisation import Chosen, check_same, configured, waits_for_validation
from geqlib.train.steps.schedule import Schedule, continue_schedule, time_limit

BEGUN = "begun_from"  # of what checkpoints keep of the model that a run began with


class OptimisedModule(L.LightningModule):
    """What a task does to train weights, its own or those of a checkpoint."""

    model: nn.Module
    lr: float
    weight_decay: float
    schedule: Schedule
    # what a run names in place of the task's own optimiser and schedule
    chosen: Chosen = Chosen()
    # path and digest of the model that the run began with
    begun_from: dict[str, str] | None
    _resumed: dict[str, Any] | None
    _resumed_data: dict[str, Any]

    def configure_optimizers(self) -> Any:
        return configured(self, "AdamW", **self.adam_options())

    def adam_options(self) -> dict[str, Any]:
        """Of the task's own optimiser, beside its learning rate and groups."""
        return {"fused": self._fused() or None}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        # Lightning's call comes after the checkpoint of an epoch, which would not have this step
        if not waits_for_validation(self, scheduler):
            super().lr_scheduler_step(scheduler, metric)

    def _fused(self) -> bool:
        """Whether one kernel updates all weights; Lightning clips no gradients of mixed precision
        for such an optimiser."""
        clipped = bool(self.trainer.gradient_clip_val)
        mixed = str(self.trainer.precision).endswith("-mixed")
        return self.device.type == "cuda" and not (clipped and mixed)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self._trainer is None or self.trainer.state.fn != "fit":
            return
        callbacks: Any = getattr(self.trainer, "callbacks", ())
        averaging = any(isinstance(c, WeightAveraging) for c in callbacks)
        if "current_model_state" in checkpoint and not averaging:
            raise ValueError(
                "The checkpoint has averaged weights beside those of its training, which would be "
                "lost: resume it with the `ema` of its run."
            )
        check_same(checkpoint, self)
        self.begun_from = checkpoint.get(BEGUN)
        self._resumed = dict(checkpoint.get("hyper_parameters") or {})
        self._resumed_data = dict(checkpoint.get("datamodule_hyper_parameters") or {})

    def on_train_start(self) -> None:
        resumed, self._resumed = self._resumed, None
        if resumed is None:
            return
        changes = changed_settings(resumed, self.hparams, free=SCHEDULED)
        data = getattr(self.trainer, "datamodule", None)
        changes += changed_settings(
            self._resumed_data, getattr(data, "hparams", {}), free=LOADING, of="the data"
        )
        schedule = self.lr_schedulers()
        if isinstance(schedule, LambdaLR) and time_limit(self.trainer) is None:
            changes.append(continue_schedule(schedule, self.lr, self.weight_decay))
        if sentence := "; ".join(filter(None, changes)):
            warnings.warn(f"This run was resumed with other settings: {sentence}.", stacklevel=2)

    def load_state_dict(self, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().load_state_dict(state_dict, *args, **kwargs)
        except RuntimeError as error:
            raise ValueError(
                f"The weights do not fit {type(self.model).__name__} ({first_mismatch(error)}): "
                "use the config.yaml of the run that wrote them."
            ) from error
