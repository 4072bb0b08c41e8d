"""Predictions and losses that are looked at before they count: none may be NaN or infinite."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import lightning as L
from torch import Tensor, nn
from torchmetrics import Metric

from geqlib.data.loaders import noun_of
from geqlib.data.shares import is_padding
from geqlib.train.steps.divergence import (
    SHOWN,
    WatchedStep,
    divergent_graphs,
    first_bad,
    first_divergent,
    graph_name,
    intact_checkpoints,
    likely_cause,
    on_device,
    shortened,
)

READ_EVERY = 20  # steps between two looks at numbers that were left on the device


class WatchedModule(L.LightningModule):
    """What a task does about numbers that are not finite.

    On an accelerator the host reads them some steps later, and does not wait.
    """

    model: nn.Module
    lr: float
    # what the model gave for the batch at hand, and losses of it
    _watched: dict[str, Tensor]
    _unread: list[WatchedStep]
    _divergent: list[str]

    def watch(self, tensors: Mapping[str, Tensor]) -> None:
        """Have predictions and losses of the batch at hand checked before they count."""
        if self._trainer is None:
            return  # nothing is trained or measured
        self._watched |= {name: x.detach() for name, x in tensors.items()}

    def refuse_divergence(self, stage: str, batch: Any, batch_idx: int) -> None:
        """Raise a ValueError if something that is watched is NaN or infinite."""
        watched, self._watched = self._watched, {}
        fitting = self._trainer is not None and self.trainer.state.fn == "fit"
        epoch = self.trainer.current_epoch if fitting else 0
        if self._reads_late() and watched:
            signs = on_device(watched, self.model.parameters())
            # the tensors of a replayed step are those of the next one, too
            copies = {name: x.clone() for name, x in watched.items()}
            step = WatchedStep(stage, epoch, batch_idx, batch, copies, *signs)
            self._unread.append(step)
            if len(self._unread) >= READ_EVERY:
                self.read_watched()
        elif first_divergent(watched) is not None:
            self._refuse(stage, epoch, batch_idx, batch, watched, self.model.parameters())

    def _reads_late(self) -> bool:
        """Whether numbers are left on the device for some steps, so that the host does not wait."""
        return self._trainer is not None and self.device.type != "cpu"

    def read_watched(self) -> None:
        """Raise a ValueError if a step since the last call had numbers that are not finite."""
        steps, self._unread = self._unread, []
        bad = first_bad(steps)
        if bad is not None:
            where = bad.stage, bad.epoch, bad.batch_idx, bad.batch
            self._refuse(*where, bad.tensors, [bad.largest])

    def _refuse(
        self,
        stage: str,
        epoch: int,
        batch_idx: int,
        batch: Any,
        watched: Mapping[str, Tensor],
        weights: Iterable[Tensor],
    ) -> None:
        self._reset_metrics()  # so that what comes after this batch does not count it
        name = first_divergent(watched)
        graphs = divergent_graphs(watched, batch)
        names = [graph_name(batch, k, self._noun()) for k in graphs]
        whole = len(graphs) == batch.num_graphs > SHOWN
        of = f" of {shortened(names)}" if names else ""
        if whole:
            of = f" of all {len(graphs)} {self._noun()}s"
        fitting = self._trainer is not None and self.trainer.state.fn == "fit"
        precision = "32-true" if self._trainer is None else str(self.trainer.precision)
        cause = likely_cause(list(weights), precision, self.lr if fitting else None)
        if fitting:
            when = f"in epoch {epoch}, batch {batch_idx} of {stage}"
            end = f"; {intact_checkpoints(self.trainer)}."
        else:
            when, end = f"in batch {batch_idx} of {stage}", "."
        raise ValueError(f"The {name}{of} is NaN or infinite {when}: {cause}{end}")

    def _noun(self) -> str:
        """What a graph is called in messages."""
        return noun_of(None if self._trainer is None else getattr(self.trainer, "datamodule", None))

    def _reset_metrics(self) -> None:
        for part in self.modules():
            if isinstance(part, Metric):
                part.reset()

    def on_validation_start(self) -> None:
        self.read_watched()

    def on_validation_epoch_end(self) -> None:
        self.read_watched()

    def on_test_epoch_end(self) -> None:
        self.read_watched()

    def on_predict_batch_end(
        self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        watched, self._watched = self._watched, {}
        if not is_padding(batch) and first_divergent(watched) is not None:
            names = [graph_name(batch, k, self._noun()) for k in divergent_graphs(watched, batch)]
            self._divergent += names or [f"batch {batch_idx}"]

    def on_predict_start(self) -> None:
        self._divergent = []

    def on_predict_end(self) -> None:
        if self._divergent:
            warnings.warn(
                f"{len(self._divergent)} predictions are NaN or infinite, and are written as that: "
                f"{shortened(self._divergent)}.",
                stacklevel=2,
            )
