"""Learning without labels: views of one graph are closer to each other than to other graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torchmetrics import Metric

from geqlib.frames.ordering_loss import group_ordering_losses
from geqlib.graph import check_graph
from geqlib.train.steps.schedule import Schedule
from geqlib.train.tasks.means import mean_over
from geqlib.train.tasks.outputs import scalars_of
from geqlib.train.tasks.task import Task, with_positions
from geqlib.train.tasks.views import ViewChanges, view_of

VALIDATION_SEED = 0


class GroupOrderingTask(Task):
    """An embedding of each graph or point cloud, learnt from views of it, without labels.

    The loss of GroCo (Shvetsova et al., ICCV 2023, arXiv 2301.02009;
    `geqlib.frames.ordering_loss`): of each view of a graph, the cosine similarities to its other
    views should exceed the highest `negatives` similarities to the same view of other graphs of the
    batch. Gradients flow through the view that is compared alone, as in the published code.

    A view is a random rotation, if `rotate` says so, and what `ViewChanges` describes: nodes, edges
    and features that are left out, noise on positions. Choose what should make no difference.

    Metrics: `loss`; `ordered`, the share of views of which all similarities to the own graph exceed
    those to all others; and, where graphs have classes `y`, `nearest`: the share of graphs whose
    nearest other graph of the batch is of the same class. Validation draws the same views each
    time. A batch of one graph has nothing to compare with: its loss is 0, and it has no metrics.

    Args:
        model: returns an embedding of each graph, [graphs, channels], alone or as
            (scalars, vectors).
        views: of each graph in each step.
        negatives: of how many other graphs; of all, if the batch has fewer.
        steepness: of the swaps of the sorting network.
        drop_nodes, drop_edges, mask, noise: see `geqlib.train.tasks.views.ViewChanges`.
        lr, warmup, weight_decay, schedule, rotate: see `Task`.

    Raises:
        ValueError: fewer than two views, no negatives, probabilities out of range, views that are
            all alike, batches of one graph, embeddings of another shape.

    Example:
        >>> from geqlib.models import PointNet
        >>> task = GroupOrderingTask(PointNet(32, channels=16), rotate=True, noise=0.02)
    """

    inputs: ClassVar = {
        "pos": "point",
        "vec": "vector",
        "x": "scalar",
        "edge_index": "edge_index",
        "edge_attr": "edge_scalar",
        "batch": "batch",
    }
    outputs: ClassVar = {"embedding": "graph:scalar"}
    monitor = "val/loss"
    shown: ClassVar = ("ordered",)

    def __init__(
        self,
        model: nn.Module,
        *,
        views: int = 2,
        negatives: int = 10,
        steepness: float = 1.0,
        drop_nodes: float = 0.1,
        drop_edges: float = 0.0,
        mask: float = 0.0,
        noise: float = 0.0,
        lr: float = 1e-3,
        warmup: float = 0.05,
        weight_decay: float = 1e-6,
        schedule: Schedule = "cosine",
        rotate: bool | str = False,
    ) -> None:
        super().__init__(
            model,
            lr=lr,
            warmup=warmup,
            weight_decay=weight_decay,
            schedule=schedule,
            rotate=rotate,
        )
        if views < 2 or negatives < 1 or not 0 < steepness < float("inf"):
            raise ValueError(
                f"views={views}, negatives={negatives}, steepness={steepness}: they must be at "
                "least 2, at least 1, and positive."
            )
        self.views, self.negatives, self.steepness = int(views), int(negatives), float(steepness)
        self.changes = ViewChanges(float(drop_nodes), float(drop_edges), float(mask), float(noise))
        if not (self.changes.any or rotate):
            raise ValueError(
                "all views of a graph would be alike: set one of drop_nodes, drop_edges, mask, "
                "noise and rotate."
            )

    def setup(self, stage: str) -> None:
        super().setup(stage)
        size = getattr(getattr(self.trainer, "datamodule", None), "batch_size", 2)
        if stage == "fit" and size < 2:
            raise ValueError(
                "batch_size is 1, and the other graphs of a batch are what each is compared with: "
                "set it to 2 or more, commonly 64."
            )

    def check_batch(self, batch: Any) -> None:
        check_graph(batch if "pos" in batch else with_positions(batch))

    def augmented(self, batch: Any) -> Any:
        """The batch itself: each view has its own changes."""
        return batch

    def predict_outputs(self, batch: Any) -> dict[str, Tensor]:
        embedding, graphs = scalars_of(self(batch)), int(batch.num_graphs)
        if embedding.dim() != 2 or len(embedding) != graphs:
            raise ValueError(
                f"{type(self.model).__name__} returns {tuple(embedding.shape)} for {graphs} "
                "graphs: an embedding of each is needed, [graphs, channels]; set its level to "
                '"graph" if it has one.'
            )
        return {"embedding": embedding}

    def loss(self, batch: Any) -> Tensor:
        return self._losses_and_order(batch)[0]

    def metrics(self, batch: Any, stage: str) -> Mapping[str, Metric | Tensor]:
        if batch.num_graphs < 2:
            return {}
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(VALIDATION_SEED)
            loss, ordered = self._losses_and_order(batch)
        measures = {"loss": loss, "ordered": ordered}
        if "y" in batch and not batch.y.is_floating_point() and batch.y.numel() == batch.num_graphs:
            embedding = self.predict_outputs(batch)["embedding"]
            measures["nearest"] = nearest_of_class(embedding, batch.y.flatten())
        return measures

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        true = {"true": batch.y} if "y" in batch else {}
        return {**self.predict_outputs(batch), **true}

    def _losses_and_order(self, batch: Any) -> tuple[Tensor, Tensor]:
        """The mean loss, and the share of views that are in order."""
        views = [view_of(self.rotated(batch), self.inputs, self.changes) for _ in range(self.views)]
        embeddings = [normalize(self.predict_outputs(view)["embedding"], dim=1) for view in views]
        if batch.num_graphs < 2:
            return 0 * torch.stack(embeddings).sum(), embeddings[0].new_ones(())
        losses, orders = [], []
        for positive, negative in similarities(embeddings):
            highest = negative.topk(min(self.negatives, negative.size(1)), 1).values
            losses.append(group_ordering_losses(positive, highest, steepness=self.steepness))
            orders.append((positive.amin(1) > negative.amax(1)).to(positive.dtype))
        loss, ordered = (torch.stack(part, 1).mean(1) for part in (losses, orders))
        return mean_over("graph", loss, batch), mean_over("graph", ordered, batch)


def similarities(embeddings: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """For each view: [B, views - 1] to the other views of the graph, and [B, B - 1] to that view of
    the other graphs. Gradients are those of the first argument.

    Args:
        embeddings: [B, C] of each view, of length 1.
    """
    count = len(embeddings[0])
    others = ~torch.eye(count, dtype=torch.bool, device=embeddings[0].device)
    pairs = []
    for k, anchor in enumerate(embeddings):
        own = [(anchor * z.detach()).sum(1) for n, z in enumerate(embeddings) if n != k]
        every = anchor @ anchor.detach().mT
        pairs.append((torch.stack(own, 1), every[others].view(count, count - 1)))
    return pairs


def nearest_of_class(embedding: Tensor, classes: Tensor) -> Tensor:
    """Share of graphs whose nearest other one, by cosine similarity, is of the same class.

    Example:
        >>> embedding = torch.tensor([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0], [0.1, 3.0]])
        >>> float(nearest_of_class(embedding, torch.tensor([0, 0, 1, 0])))
        0.5
    """
    unit = normalize(embedding, dim=1)
    nearest = (unit @ unit.mT).fill_diagonal_(-torch.inf).argmax(1)
    return (classes[nearest] == classes).to(embedding.dtype).mean()
