"""What all training tasks share: steps, optimisation, and how a batch reaches a model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch_geometric.data import Data
from torchmetrics import Metric

from geqlib.data.loaders import SplitLoaders
from geqlib.data.shares import is_padding
from geqlib.files.checkpoint import format_record
from geqlib.files.plain import PlainArguments
from geqlib.graph import accepted, check_graph
from geqlib.graph.checks import values_unread
from geqlib.monoid.aggregation import auxiliary_loss
from geqlib.symmetry.affine import SCALE
from geqlib.symmetry.groups import Group, parse_group
from geqlib.train.steps.divergence import finite_weights, intact_checkpoints
from geqlib.train.steps.memory import batch_sizes
from geqlib.train.steps.optimisation import KEY, observe
from geqlib.train.steps.optimised import BEGUN, OptimisedModule
from geqlib.train.steps.precision import cast_to, check_precision
from geqlib.train.steps.prepared import PlanInLoader
from geqlib.train.steps.processes import Uncounted
from geqlib.train.steps.replayed import ReplayedModule
from geqlib.train.steps.schedule import Schedule, schedule_settings
from geqlib.train.steps.watched import WatchedModule
from geqlib.train.tasks.agreement import check_features, share_cutoff
from geqlib.train.tasks.augmentation import (
    GraphElements,
    check_action,
    random_elements,
    rotated_graphs,
    transformed_graphs,
)
from geqlib.train.tasks.label_checks import check_labels, without_labels


class Task(ReplayedModule, PlainArguments, WatchedModule, OptimisedModule):
    """A model with a loss, metrics, and the optimisation of Bekkers et al. (ICLR 2024): Adam,
    linear warm-up and cosine decay per step, no weight decay on biases, norms and other vectors,
    training batches under random rotations. `geqlib fit --optimizer` and `--lr_scheduler` replace
    the optimiser and the schedule.

    A task of your own defines three methods: `predict_outputs(batch)`, the outputs by name;
    `loss(batch)`, what a training step minimises; and `metrics(batch, stage)`, what is logged of a
    batch in the stage "val", "test" or, in `geqlib cv`, "fold". All steps follow from these; any
    step can be overridden as in every `LightningModule`.

    The class attributes `inputs` and `outputs` declare how tensors of the batch and outputs
    transform (types as in `geqlib.testing`); augmentation and `geqlib check` go by them. The model
    receives those tensors of the batch that its `forward` names.

    Args:
        model: any module.
        lr: peak learning rate.
        warmup: fraction of all steps in which the learning rate rises.
        weight_decay: of matrices, decoupled from the gradient (AdamW).
        schedule: of the learning rate after the warm-up: "cosine", to 0 at the end; "constant";
            "step", times `factor` (0.1) at each share `at` ([0.5, 0.75]) of all steps; "plateau",
            times `factor` (0.5) when the monitored metric has not improved for more than `patience`
            (10) validations. Settings as `{"step": {"at": [0.6, 0.9]}}`.
        rotate: whether training batches are rotated, each graph by its own random rotation; or the
            name of a group, such as "O(3)", "GL+(2)" or "S_n x E(3)", of which each graph gets a
            random element.
        cuda_graphs: whether training steps and evaluations are recorded once per size of batch and
            replayed, for small batches on a GPU, whose time is that of launching kernels. Batches
            are padded to a few sizes, see `geqlib.graph.padding`; losses and weights are the same
            up to rounding, but for the draws of dropout. Where a model, a task or a device cannot,
            one sentence says so, and steps are as without it.

    Raises:
        ValueError: if the learning rate is not positive, the warm-up not in [0, 1), the schedule
            none of these, or an argument
            of a subclass neither a plain value nor a module: checkpoints hold the arguments.

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
    # tensors of the batch that all but predictions need
    labels: ClassVar[tuple[str, ...]] = ()
    # of metrics, for reports
    units: ClassVar[dict[str, str]] = {}
    # metrics that the progress bar shows
    monitor: str = "val/mse"  # chooses the best checkpoint; the less, the better
    shown: ClassVar[tuple[str, ...]] = ()
    # whether groups of stretches, such as GL+, act on inputs and labels as their types say
    stretches: ClassVar[bool] = True
    # labels of which NaN means that there is none
    labels_may_miss: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        model: nn.Module,
        *,
        lr: float = 2e-3,
        warmup: float = 0.05,
        weight_decay: float = 0.0,
        schedule: Schedule = "cosine",
        rotate: bool | str = True,
        cuda_graphs: bool = False,
    ) -> None:
        super().__init__()
        self.frozen: list[nn.Module] = []  # which stay in evaluation mode
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Attribute 'model' is an instance")
            self.save_hyperparameters()
        # which numpy's numbers would leave in the states of optimiser and schedule
        lr, warmup, weight_decay = float(lr), float(warmup), float(weight_decay)
        if lr <= 0:
            raise ValueError(f"lr must be positive, got {lr}.")
        if not 0 <= warmup < 1:
            raise ValueError(f"warmup is a share of all steps in [0, 1), got {warmup}.")
        schedule_settings(schedule)
        self.schedule = schedule
        self.model = model
        self.lr, self.warmup, self.weight_decay, self.rotate = lr, warmup, weight_decay, rotate
        self._augmenting = parse_group(rotate) if isinstance(rotate, str) else None
        # what callbacks add to the loss of a batch in each step
        self.penalties: list[Callable[[Any], Tensor]] = []
        self.cuda_graphs = cuda_graphs
        self._replay = None
        self._replayed = False
        self._unchecked = {"train", "val"}
        self._watched = {}
        # stage, number and sizes, for a device that is out of memory
        self.batch_at_hand: tuple[str, int, str] | None = None
        self._unread = []
        self._divergent = []
        self._resumed = None
        self._resumed_data = {}
        self._uncounted: Uncounted | None = None
        # path and digest of the model that the run began with; whether its normalisation stays
        self.begun_from = None
        self.keeps_normalisation = False
        self.logged: set[str] = set()  # names of metrics

    # --- what a task defines ---------------------------------------------------------------------

    def predict_outputs(self, batch: Any) -> dict[str, Tensor]:
        """The outputs that `outputs` gives types to, in the units of the batch."""
        raise NotImplementedError(f"{type(self).__name__} must define predict_outputs(batch).")

    def loss(self, batch: Any) -> Tensor:
        """What a training step minimises, of a batch after augmentation."""
        raise NotImplementedError(f"{type(self).__name__} must define loss(batch).")

    def graph_losses(self, batch: Any) -> Tensor | None:
        """The loss [graphs] of each graph of a batch, for what weighs graphs by their losses; None
        of a task that has only the loss of a whole batch."""
        return None

    def metrics(self, batch: Any, stage: str) -> Mapping[str, Metric | Tensor]:
        """What is logged as STAGE/NAME: updated metrics, or means over the graphs of the batch."""
        return {}

    def augmented(self, batch: Any) -> Any:
        """A training batch under a random symmetry."""
        return self.rotated(batch)

    # --- steps -----------------------------------------------------------------------------------

    def forward(self, batch: Any) -> Any:
        output = self._outside_training(self._run, batch)
        leaves = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        self.watch({f"prediction ({k + 1} of {len(leaves)})": x for k, x in enumerate(leaves)})
        return output

    def _run(self, batch: Any) -> Any:
        return self.model(**accepted(self.model.forward, batch))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        with self._checked_before("train"):
            batch = self.augmented(batch)
        outputs = self._replayed_step(batch, batch_idx)
        if outputs is None:
            with self._checked_before("train"):
                loss = self.loss(batch)
            total = self.with_auxiliary(loss)
            self.watch({"loss": loss})
            for penalty in self.penalties:
                total = total + penalty(batch)
        else:
            loss, total = outputs["loss"], outputs.pop("total")
            self.watch(outputs)
        self.refuse_divergence("training", batch, batch_idx)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=batch.num_graphs)
        return total

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Measure validation graphs, and what the data has beside them: the test fold, or graphs of
        an earlier training (`data.validated`).

        Tables of cross-validation may choose the epoch by the mean over all test folds.
        """
        data = None if self._trainer is None else getattr(self.trainer, "datamodule", None)
        stages = getattr(data, "validated", ("val", "fold"))
        self.log_metrics(batch, stages[dataloader_idx])

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log_metrics(batch, "test")

    def with_auxiliary(self, loss: Tensor) -> Tensor:
        """A training loss, with what the model's aggregations add to it."""
        return loss + auxiliary_loss(self.model)

    def log_metrics(self, batch: Any, stage: str) -> None:
        """Log `metrics` of a batch, under the same names for every data loader.

        Of the test fold, which is the stage "fold", `shown` is logged, as val/test_NAME; graphs of
        an earlier training, the stage "old", have val/old/NAME.
        """
        prefix = {"fold": "val/test_", "old": "val/old/"}.get(stage, f"{stage}/")
        metrics = self.metrics(batch, stage)
        self.watch({k: x for k, x in metrics.items() if isinstance(x, Tensor)})
        for name, value in metrics.items():
            if stage == "fold" and name not in self.shown:
                continue
            self.log(
                f"{prefix}{name}",
                value,
                prog_bar=name in self.shown and stage not in ("fold", "old"),
                batch_size=batch.num_graphs,
                add_dataloader_idx=False,
            )

    def log(self, name: str, value: Any, *args: Any, **options: Any) -> None:
        """Of several processes the mean: what one process with all of their graphs would log."""
        if self._trainer is not None and self.trainer.barebones:
            return  # which logs nothing
        self.logged.add(name)
        weight = options.get("batch_size") if self._uncounted is None else 0
        if weight is not None:
            # of an integer, the mean over processes would be rounded
            options["batch_size"] = float(weight)
        super().log(name, value, *args, **({"sync_dist": True} | options))

    def train(self, mode: bool = True) -> Any:
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    # --- precision -------------------------------------------------------------------------------

    def configure_callbacks(self) -> list[L.Callback]:
        # the first hook in which there is a data module, which has read nothing yet, and before a
        # callback copies the weights to average them
        data = getattr(self.trainer, "datamodule", None)
        share_cutoff(self.model, data)
        check_features(self.model, data)
        if str(self.trainer.precision) == "64-true":
            self.double()
        return []

    def setup(self, stage: str) -> None:
        check_precision(str(self.trainer.precision))
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, SplitLoaders):
            early = self.cuda_graphs or self._off_cpu()
            data.prepare = PlanInLoader(self.model, padded=self.cuda_graphs) if early else None

    def _off_cpu(self) -> bool:
        """Whether the trainer runs on an accelerator."""
        return self.trainer.strategy.root_device.type != "cpu"

    def _begin(self, batch: Any, stage: str, batch_idx: int) -> None:
        """Whatever comes before any step on a batch; in place."""
        self._watched = {}
        if not self.trainer.predicting:
            check_labels(self.labels, batch, type(self).__name__)
        self.batch_at_hand = stage, batch_idx, batch_sizes(batch, self._noun())
        cast_to(self.model, batch, self.inputs)

    def on_validation_batch_end(
        self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.refuse_divergence("validation", batch, batch_idx)
        self._count_again()

    def on_test_batch_end(
        self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.refuse_divergence("testing", batch, batch_idx)
        self._count_again()

    # --- checks and checkpoints ------------------------------------------------------------------

    def check_batch(self, batch: Any) -> None:
        """Raise a ValueError that names what is wrong with a batch."""
        check_graph(batch)

    def on_fit_start(self) -> None:
        # each batch once: later epochs see the same graphs, and a check stalls an accelerator
        self._unchecked = {"train", "val"}
        self._unread = []
        # sums of a validation before are tensors of inference mode, which cannot be added to here
        self._reset_metrics()

    def adapt(self, elements: Tensor | None = None) -> None:
        """Called when the weights of another model were loaded, with the data at hand: see
        `geqlib.train.fine_tuning.initial`.

        Args:
            elements: [119] elements that it was trained on, if it says so.
        """

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self._begin(batch, "training", batch_idx)
        if "train" in self._unchecked:
            self.check_batch(batch)

    def on_train_epoch_end(self) -> None:
        self.read_watched()
        self._unchecked.discard("train")

    def on_validation_batch_start(
        self, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._begin(batch, "validation", batch_idx)
        if "val" in self._unchecked:
            self.check_batch(batch)
        self._leave_out(batch)

    def on_validation_end(self) -> None:
        if not self.trainer.sanity_checking:
            self._unchecked.discard("val")
            observe(self)

    def on_test_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._begin(batch, "testing", batch_idx)
        self.check_batch(batch)
        self._leave_out(batch)

    def on_predict_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._begin(batch, "prediction", batch_idx)
        self.check_batch(without_labels(self.labels, batch))

    def _checked_before(self, split: str) -> AbstractContextManager[None]:
        """A context in which layers do not look at values, if all batches were seen before."""
        late = self._reads_late() and split not in self._unchecked
        return values_unread() if late else nullcontext()

    def _leave_out(self, batch: Any) -> None:
        """Measure a batch that is there for the sake of other processes without counting it."""
        self._uncounted = Uncounted(self) if is_padding(batch) else None

    def _count_again(self) -> None:
        if self._uncounted is not None:
            self._uncounted.restore()
        self._uncounted = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.read_watched()
        # with averaged weights there are two sets
        states = [checkpoint[k] for k in ("state_dict", "current_model_state") if k in checkpoint]
        if not all(finite_weights(self, state) for state in states):
            epoch = self.trainer.current_epoch
            raise ValueError(
                f"The weights are NaN or infinite at the end of epoch {epoch}, so they are not "
                f"saved: lower the learning rate, which is {self.lr:g}; "
                f"{intact_checkpoints(self.trainer)}."
            )
        checkpoint["geqlib"] = format_record()
        checkpoint[KEY] = self.chosen.record()
        networks: list[Any] = [m for m in self.modules() if hasattr(m, "element_axes")]
        tables = [list(network.elements) for network in networks]
        if tables:  # which a run that begins with this one has to match
            checkpoint["elements"] = tables[0]
        if self.begun_from is not None:
            checkpoint[BEGUN] = dict(self.begun_from)

    # --- symmetries ------------------------------------------------------------------------------

    def rotated(self, batch: Any) -> Any:
        """A copy of the batch with every graph under its own random element of what `rotate` says:
        a rotation, or an element of the group that it names."""
        if not self.rotate:
            return batch
        if self._augmenting is not None:
            return self.transformed(batch, self.random_elements(batch, self._augmenting))
        return rotated_graphs(batch, self.inputs, self.outputs, type(self).__name__)

    def check_group(self, batch: Any, group: Group) -> None:
        """Raise a ValueError if a group does not act on the inputs of a batch, or not on labels."""
        name = type(self).__name__
        if group.stretches and not self.stretches:
            raise ValueError(
                f"{group.label} does not act on the labels of {name}, which are of rotations and "
                "reflections only: take O, SO, E or SE."
            )
        check_action(group, batch, self.inputs, self.outputs, name)

    def random_elements(self, batch: Any, group: Group, *, scale: float = SCALE) -> GraphElements:
        """A random element of a group for each graph of a batch, see `check_group`."""
        self.check_group(batch, group)
        return random_elements(batch, group, self.inputs | self.outputs, scale=scale)

    def transformed(self, batch: Any, elements: GraphElements) -> Any:
        """A copy of the batch, labels included, with every graph under its own group element."""
        return transformed_graphs(batch, self.inputs | self.outputs, elements)


def with_positions(batch: Any, names: tuple[str, ...] | None = None) -> Data:
    """A batch (or those tensors of it that are named) at the origin, as `check_graph` asks for
    positions and some graphs have none."""
    tensors = batch.to_dict() if names is None else {k: batch[k] for k in names if k in batch}
    pos = torch.zeros(len(batch.x), 3, device=batch.x.device)
    return Data(**(tensors | {"pos": pos}))
