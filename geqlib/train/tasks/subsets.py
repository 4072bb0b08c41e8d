"""Which elements of a set are to be chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torchmetrics import Metric

from geqlib.graph import check_graph
from geqlib.graph.segments import segment_lengths
from geqlib.subsets.model import EquiVSet
from geqlib.subsets.selection import jaccard, top_subsets
from geqlib.train.steps.schedule import Schedule
from geqlib.train.tasks.means import mean_over
from geqlib.train.tasks.task import Task, with_positions


class SubsetTask(Task):
    """The subset S* of each set, by cross-entropy of its elements and random others.

    The loss of Ou et al. (NeurIPS 2022): of each set the mean of -log q_i over S* and of
    -log(1 - q_i) over |S*| random others, or all if they are fewer. An `EquiVSet` with
    a recognition network adds the loss of that network; as neither loss moves the parameters of the
    other, both are minimised in one step, where the paper takes two.

    Metrics: `jaccard` is the mean over sets of |S & S*| / |S or S*| for the S of the |S*| highest
    marginals, where the true size is an input; `jaccard_half` for the S of the marginals above 1/2;
    `loss`, over all elements. On test sets of several sizes (`SubsetData`) each has the size in its
    name, as `test/jaccard_100`.

    Args:
        model: returns a logit for each element, [N].
        negatives: "equal" takes |S*| other elements into the loss, as published; "all" takes all of
            them, which makes q a probability at their true ratio: for a threshold of 1/2.
        lr, warmup, weight_decay, schedule: see `Task`.

    Raises:
        ValueError: negatives of another name; labels other than 0 and 1, sets that are empty or of
            which nothing is to be chosen, outputs of another shape.

    Example:
        >>> from geqlib.models import EquiVSet
        >>> task = SubsetTask(EquiVSet(2, 16, hidden=16, background="complement"), lr=1e-3)
    """

    inputs: ClassVar = {"x": "scalar", "batch": "batch"}
    outputs: ClassVar = {"logits": "scalar"}
    labels: ClassVar = ("y",)
    monitor = "val/loss"
    shown: ClassVar = ("jaccard",)

    def __init__(
        self,
        model: nn.Module,
        *,
        negatives: Literal["equal", "all"] = "equal",
        lr: float = 1e-4,
        warmup: float = 0.0,
        weight_decay: float = 1e-5,
        schedule: Schedule = "constant",
    ) -> None:
        super().__init__(
            model,
            lr=lr,
            warmup=warmup,
            weight_decay=weight_decay,
            schedule=schedule,
            rotate=False,
        )
        if negatives not in ("equal", "all"):
            raise ValueError(f'negatives must be "equal" or "all", got {negatives!r}.')
        self.negatives = negatives

    def check_batch(self, batch: Any) -> None:
        check_graph(with_positions(batch))
        sizes = segment_lengths(batch.batch, batch.num_graphs)
        _refuse(sizes == 0, "has no elements: leave it out, as there is nothing to choose from.")
        if "y" not in batch:
            return
        y = batch.y
        if y.shape != (len(batch.x),) or bool(((y != 0) & (y != 1)).any()):
            raise ValueError(
                f"y has shape {tuple(y.shape)} and goes from {y.min().item():g} to "
                f"{y.max().item():g}: expected 1 for elements to be chosen and 0 for the others, "
                f"[{len(batch.x)}]."
            )
        _refuse(_chosen(batch) == 0, "has no element that is to be chosen: leave it out.")

    def predict_outputs(self, batch: Any) -> dict[str, Tensor]:
        logits = self(batch)
        if logits.shape != (len(batch.x),):
            raise ValueError(
                f"{type(self.model).__name__} returns {tuple(logits.shape)}, expected "
                f"({len(batch.x)},): a logit for each element."
            )
        return {"logits": logits}

    def loss(self, batch: Any) -> Tensor:
        logits = self.predict_outputs(batch)["logits"]
        loss = mean_over("graph", self._errors(logits, batch), batch)
        if not isinstance(self.model, EquiVSet):
            return loss
        bound = self.model.recognition_loss(batch.x, batch.batch, batch.num_graphs)
        return loss if bound is None else loss + mean_over("graph", bound, batch)

    def _errors(self, logits: Tensor, batch: Any) -> Tensor:
        sets = batch.batch, batch.num_graphs
        return cross_entropies(logits, batch.y, *sets, equal=self.negatives == "equal")

    def metrics(self, batch: Any, stage: str) -> Mapping[str, Metric | Tensor]:
        logits, true = self.predict_outputs(batch)["logits"], batch.y > 0
        sets = batch.batch, batch.num_graphs
        self._refuse_divergent_logits(batch)
        top = top_subsets(logits, _chosen(batch), *sets)
        measures = {
            "jaccard": jaccard(top, true, *sets).mean(),
            "jaccard_half": jaccard(logits > 0, true, *sets).mean(),
            "loss": cross_entropies(logits, batch.y, *sets, equal=False).mean(),
        }
        if stage != "test" or not self._sizes_apart():
            return measures
        size = len(batch.x) // batch.num_graphs
        return {f"{k}_{size}": v for k, v in measures.items()}

    def _refuse_divergent_logits(self, batch: Any) -> None:
        """Stop a run by the sentence of all tasks before anything is ranked."""
        if self.batch_at_hand is not None:
            stage, number, _ = self.batch_at_hand
            self.refuse_divergence(stage, batch, number)
            self.read_watched()  # ranking reads the logits on accelerators as well

    def _sizes_apart(self) -> bool:
        """Whether test sets of each size are measured apart, as data with loaders for each are."""
        data = None if self._trainer is None else getattr(self.trainer, "datamodule", None)
        return getattr(data, "sizes_apart", True)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log_metrics(batch, "test")

    def predict_step(
        self, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> dict[str, Tensor]:
        """Marginals and the subset of those above 1/2; with labels, the |S*| highest, too."""
        logits = self.predict_outputs(batch)["logits"]
        out = {"marginal": logits.sigmoid(), "chosen": logits > 0, "batch": batch.batch}
        if "y" in batch:
            # predictions that are NaN are written, and counted in a warning: they rank last
            ranked = logits.where(~logits.isnan(), -torch.inf)
            top = top_subsets(ranked, _chosen(batch), batch.batch, batch.num_graphs)
            out |= {"top": top, "true": batch.y}
        return out


def cross_entropies(
    logits: Tensor, y: Tensor, batch: Tensor, num_graphs: int, *, equal: bool
) -> Tensor:
    """[num_graphs] mean cross-entropy of each set's elements.

    Args:
        logits: [N].
        y: [N] 1 or 0.
        batch: [N] set of each element.
        num_graphs: how many sets there are.
        equal: whether of the elements with y = 0 a random part counts, equal in number to those
            with y = 1.
    """
    true = y > 0
    weight = torch.ones_like(logits)
    if equal:
        sizes, chosen = (segment_lengths(batch, num_graphs), _sums(true.long(), batch, num_graphs))
        drawn = torch.rand(len(y), device=y.device) - 2 * true.to(torch.get_default_dtype())
        few = top_subsets(drawn, torch.minimum(chosen, sizes - chosen), batch, num_graphs)
        weight = (true | few).to(logits.dtype)
    errors = binary_cross_entropy_with_logits(logits, true.to(logits.dtype), reduction="none")
    count = _sums(weight, batch, num_graphs).clamp(min=1)
    return _sums(errors * weight, batch, num_graphs) / count


def _sums(values: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
    return values.new_zeros(num_graphs).index_add(0, batch, values)


def _chosen(batch: Any) -> Tensor:
    """[sets] |S*|."""
    return _sums((batch.y > 0).long(), batch.batch, batch.num_graphs)


def _refuse(wrong: Tensor, sentence: str) -> None:
    if bool(wrong.any()):
        raise ValueError(f"Set {int(wrong.nonzero()[0])} of the batch {sentence}")
