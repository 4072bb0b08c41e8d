"""Learning properties of atoms and structures: scalars, vectors and tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

import lightning as L
import torch
from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric

from geqlib.atoms.properties import AtomProperties
from geqlib.graph import check_graph
from geqlib.graph.segments import segment_lengths
from geqlib.train.steps.schedule import Schedule
from geqlib.train.tasks.label_checks import check_any_label
from geqlib.train.tasks.means import labelled_means
from geqlib.train.tasks.outputs import STAGES
from geqlib.train.tasks.task import Task

MODEL = "geqlib.atoms.properties.AtomProperties"


class PropertyTask(Task):
    """Any properties of structures and their atoms, of any network, all at once.

    Each property is standardised by its training values: extensive ones of structures by those of
    an atom, tensors by one scale for all of their components. The loss is the mean over properties
    of the mean square, or absolute value, of the standardised errors of what is known; NaN in the
    data is unknown. Where the data reads a charge or a multiplicity, the network learns what they
    change, and refuses others than those of the training. Metrics, `mae_NAME` and `rmse_NAME`, are
    of components in the unit of the data; `loss` is measured, too.

    Args:
        model: a network on atoms: see `geqlib.atoms.properties.AtomProperties`.
        properties: name -> type, the same as of `PropertyData`.
        intensive: which of those of structures do not grow with their size: means over atoms, where
            others are sums.
        loss: "mse" or "mae".
        lr, warmup, weight_decay, schedule, cuda_graphs: see `Task`.
        rotate: random rotations of training structures, for models that are not exactly
            equivariant.

    Example:
        >>> from geqlib.models import PONITA
        >>> net = PONITA(8, 0, 1, 1, channels=8, layers=1, cutoff=5.0)
        >>> task = PropertyTask(net, {"mu": "graph:vector", "charges": "scalar"})
    """

    inputs: ClassVar = {
        "pos": "point",
        "z": "scalar",
        "edge_index": "edge_index",
        "cell": "graph:vector",
        "cell_shift": "edge_scalar",
        "charge": "graph:scalar",
        "multiplicity": "graph:scalar",
        "batch": "batch",
    }
    # in the tables of cross-validation: properties have units of their own
    monitor = "val/loss"
    shown: ClassVar = ("loss",)
    model: AtomProperties

    def __init__(
        self,
        model: nn.Module,
        properties: dict[str, str],
        *,
        intensive: list[str] | None = None,
        loss: Literal["mse", "mae"] = "mse",
        lr: float = 2e-3,
        warmup: float = 0.05,
        weight_decay: float = 0.0,
        schedule: Schedule = "cosine",
        rotate: bool | str = False,
        cuda_graphs: bool = False,
    ) -> None:
        named = (properties, list(intensive or []))
        whole = model if isinstance(model, AtomProperties) else AtomProperties(model, *named)
        super().__init__(
            whole,
            lr=lr,
            warmup=warmup,
            weight_decay=weight_decay,
            schedule=schedule,
            rotate=rotate,
            cuda_graphs=cuda_graphs,
        )
        if whole is not model:
            self._describe_properties(*named)
        if loss not in ("mse", "mae"):
            raise ValueError(f'loss must be "mse" or "mae", got {loss!r}.')
        self.properties, self.loss_name = dict(properties), loss
        # of this task, not of the class
        self.outputs = dict(properties)  # pyright: ignore[reportAttributeAccessIssue]
        self.labels = tuple(properties)  # pyright: ignore[reportAttributeAccessIssue]
        self.labels_may_miss = self.labels  # pyright: ignore[reportAttributeAccessIssue]
        self.errors = nn.ModuleDict(
            {
                stage: nn.ModuleDict(
                    {
                        f"{measure}_{name}": kind()
                        for name in properties
                        for measure, kind in (("mae", MeanAbsoluteError), ("rmse", _root_error))
                    }
                )
                for stage in STAGES
            }
        )

    def configure_callbacks(self) -> list[L.Callback]:
        data = getattr(self.trainer, "datamodule", None)
        theirs = getattr(data, "properties", self.properties)
        if theirs != self.properties:
            raise ValueError(
                f"The properties of the task are {self.properties}, but those of "
                f"{type(data).__name__} {theirs}: make them equal."
            )
        electrons = getattr(data, "electrons", None)
        if electrons is not None and electrons.keys and self.model.charges is None:
            self.model.take_charge()
            if isinstance(description := self.hparams.get("model"), dict):
                arguments = {**(description.get("init_args") or {}), "charge": True}
                description["init_args"] = arguments
        return super().configure_callbacks()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        before = (checkpoint.get("hyper_parameters") or {}).get("properties", self.properties)
        if list(before) != list(self.properties):
            raise ValueError(
                f"The properties are {', '.join(self.properties)}, but those of the checkpoint "
                f"{', '.join(before)}, in whose order they take channels of the network: name "
                "these, in this order."
            )

    def on_fit_start(self) -> None:
        super().on_fit_start()
        check_any_label(self.trainer, self.properties)
        for name in self.properties:  # each of which is to be learnt
            check_any_label(self.trainer, [name], ["train"])
        train: Any = getattr(getattr(self.trainer, "datamodule", None), "splits", {}).get("train")
        if self._resumed is not None or self.keeps_normalisation or not hasattr(train, "arrays"):
            return  # a checkpoint brings its own
        atoms = train.counts["node"]
        self._check_names(train.arrays)
        if self.model.charges is not None:
            self.model.charges.set_seen(*_electrons(train.arrays))
        for name, type_ in self.model.types.items():
            extensive = type_.level == "graph" and name not in self.model.intensive
            self.model.set_statistics(name, train.arrays[name], atoms if extensive else None)

    def check_batch(self, batch: Any) -> None:
        check_graph(batch)
        if self.model.charges is not None:
            self.model.charges.check(*_electrons(batch))
        if self._trainer is not None and self.trainer.predicting:
            return
        self._check_names(batch)

    def _check_names(self, holder: Any) -> None:
        lacking = [name for name in self.properties if name not in holder]
        if lacking:
            raise ValueError(
                f"The data has no {lacking[0]!r}: name it among the properties of PropertyData."
            )

    def predict_outputs(self, batch: Any) -> dict[str, Tensor]:
        return self(batch)

    def loss(self, batch: Any) -> Tensor:
        outputs = self.predict_outputs(batch)
        return torch.stack([self._penalty(name, y, batch) for name, y in outputs.items()]).mean()

    def graph_losses(self, batch: Any) -> Tensor:
        of_graphs, losses = torch.arange(batch.num_graphs, device=batch.batch.device), []
        for name, y in self.predict_outputs(batch).items():
            graph = of_graphs if self.model.types[name].level == "graph" else batch.batch
            penalties, labelled = self._penalties(name, y, batch), ~batch[name].isnan()
            losses.append(labelled_means(penalties, labelled, graph, batch.num_graphs))
        return torch.stack(losses).mean(0)

    def metrics(self, batch: Any, stage: str) -> Mapping[str, Metric | Tensor]:
        outputs = self.predict_outputs(batch)
        errors = cast(Mapping[str, Metric], self.errors[stage])
        for name, y in outputs.items():
            labelled = ~batch[name].isnan()
            for measure in ("mae", "rmse"):
                errors[f"{measure}_{name}"].update(y[labelled], batch[name][labelled])
        losses = [self._penalty(name, y, batch) for name, y in outputs.items()]
        return {**errors, "loss": torch.stack(losses).mean()}

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        outputs = self.predict_outputs(batch)
        true = {f"{name}_true": batch[name] for name in outputs if name in batch}
        return outputs | true | {"batch": batch.batch, "index": batch.index}

    def _describe_properties(self, properties: dict[str, str], intensive: list[str]) -> None:
        """Let checkpoints say how the model, not only its network, is built."""
        network = self.hparams.get("model")
        if network is not None:
            arguments = {"model": network, "properties": properties, "intensive": intensive}
            self.hparams["model"] = {"class_path": MODEL, "init_args": arguments}

    def _penalty(self, name: str, y: Tensor, batch: Any) -> Tensor:
        labelled = ~batch[name].isnan()
        return self._penalties(name, y, batch).sum() / labelled.sum().clamp(min=1)

    def _penalties(self, name: str, y: Tensor, batch: Any) -> Tensor:
        """Of each entry; 0 where nothing is known."""
        labelled = ~batch[name].isnan()
        error = torch.where(labelled, y - batch[name], 0.0) / getattr(self.model, f"scale_{name}")
        if self.model.types[name].level == "graph" and name not in self.model.intensive:
            error = error / segment_lengths(batch.batch, len(y)).clamp(min=1)[:, None]
        return error.abs() if self.loss_name == "mae" else error.square()


def _electrons(holder: Any) -> tuple[Tensor | None, Tensor | None]:
    """Charge and multiplicity [structures] of a batch, or None."""
    return holder.get("charge"), holder.get("multiplicity")


def _root_error() -> MeanSquaredError:
    return MeanSquaredError(squared=False)
