"""Learning energies, forces and stress of atoms: the task, its loss and its errors."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Literal, cast

import lightning as L
import torch
from torch import Tensor, nn
from torchmetrics import Metric

from geqlib.atoms.calibrated import CalibratedPotential
from geqlib.atoms.direct import NOT_CONSERVATIVE
from geqlib.atoms.electric import periodic
from geqlib.atoms.forces import (
    STATE,
    compiled_energy_forces,
    derivatives_only,
    energy_forces,
    potential_inputs,
)
from geqlib.atoms.halves import in_halves
from geqlib.atoms.potential import Potential
from geqlib.graph import accepted, check_graph
from geqlib.symmetry.rotations import random_rotations
from geqlib.train.fine_tuning.energy_refit import refit_statistics
from geqlib.train.steps.schedule import Schedule
from geqlib.train.tasks.agreement import share_charge, share_levels
from geqlib.train.tasks.atomic_errors import (
    LABELS,
    UNITS,
    AtomicErrors,
    LabelErrors,
    graph_penalties,
    label_errors,
    weighted_penalty,
)
from geqlib.train.tasks.augmentation import GraphElements
from geqlib.train.tasks.energy_statistics import (
    adapt_references,
    fit_references,
    training_sets,
)
from geqlib.train.tasks.label_checks import (
    check_frames,
    check_label_values,
    check_labelled,
    check_measured,
    check_outputs,
    check_volumes,
    check_weighted,
    unused_labels,
    volumes,
)
from geqlib.train.tasks.level_errors import LEVELS, ErrorsOfLevels, check_numbers
from geqlib.train.tasks.loss_stages import check_reached, loss_stages, weights_at
from geqlib.train.tasks.references import References
from geqlib.train.tasks.task import Task

POTENTIAL = "geqlib.models.Potential"


class EnergyForces(Task):
    """Total energies, and forces and stress as their derivatives.

    The loss is a sum of means, each over what has a label (NaN is no label):

        energy_weight <((E - E') / N)^2> + forces_weight <(F - F')^2> + stress_weight <(S - S')^2>

    and in the same way dipoles of potentials with charges (`long_range`) and polarisabilities, with
    energies in eV per atom, components of forces in eV/angstrom, of stress in eV/angstrom^3, of
    dipoles in e angstrom and of polarisabilities in angstrom^3, or with Huber's function in place
    of the square. MACE's weights are 1 and 100, for small sets 1 and 1000. Before the first step,
    the energies of atoms, their scale and shift are fitted to the training set
    (`geqlib.train.tasks.references`); they are part of the model and its checkpoints.

    Where the data reads a charge or a multiplicity, the potential learns what they change
    (`Potential.take_charge`), and what differs between the levels of theory of a `LevelsData`
    (`Potential.take_levels`), whose errors are metrics of their own, `LEVEL/forces_rmse`. A cutoff
    that the data does not name is the network's.

    Metrics are in meV: `energy_mae` and `energy_rmse` of the total energy, the same `_per_atom`,
    `forces_mae` and `forces_rmse` per component in meV/angstrom, `stress_rmse` in meV/angstrom^3,
    `stress_rmse_gpa`, `dipole_mae` and `dipole_rmse` in 10^-3 e angstrom, and those of
    `polarisability` in angstrom^3.

    Args:
        model: a network with one scalar per atom or graph, or a `geqlib.models.Potential`, or a
            `DirectPotential`, whose forces are not conservative.
        references: energies of atoms: see `geqlib.train.tasks.references.fit_statistics`. In a run
            that begins with another model they are corrected by what that model leaves
            (`geqlib.train.fine_tuning.energy_refit.adapt_statistics`); "keep" leaves them as they
            are.
        energy_weight, forces_weight, stress_weight, dipole_weight, polarisability_weight: 0 leaves
            a label out.
        stages: other weights from an epoch on, as
            `[{"after_epoch": 75, "energy_weight": 1000.0}]`: energies late, as the second stage of
            MACE has them. `val/loss` has the weights of the last stage throughout, so that epochs
            can be compared.
        loss: "mse" or "huber".
        huber_delta: where Huber's function turns from a parabola to a line, in the units above.
        refit: whether each validation begins with a closed-form fit of the energies of atoms to
            what the network leaves of the training energies, so that an offset which all have in
            common is gone before the learning rate falls
            (`geqlib.train.fine_tuning.energy_refit.refit_statistics`).
        zbl: whether a network that is no `Potential` gets the repulsion of nuclei.
        compile: whether training compiles energies and forces (`compiled_energy_forces`).
        amsgrad: the variant of Adam.
        lr, warmup, weight_decay, schedule, cuda_graphs: see `Task`.
        rotate: random rotations of training frames, for models that are not exactly equivariant.

    Example:
        >>> from geqlib.models import PONITA
        >>> task = EnergyForces(PONITA(16, 0, 1, 0, channels=16, cutoff=5.0), forces_weight=1000.0)
    """

    inputs: ClassVar = {
        "pos": "point",
        "z": "scalar",
        "edge_index": "edge_index",
        "cell": "graph:vector",
        "cell_shift": "edge_scalar",
        "batch": "batch",
        "charge": "graph:scalar",
        "multiplicity": "graph:scalar",
        "level": "graph:scalar",
    }
    outputs: ClassVar = {"energy": "graph:scalar", "forces": "vector"}
    units: ClassVar = UNITS
    monitor = "val/loss"
    shown: ClassVar = ("energy_per_atom_mae", "forces_mae")
    labels_may_miss: ClassVar = LABELS
    stretches: ClassVar = False  # energies of stretched structures are others
    model: Potential

    def __init__(
        self,
        model: nn.Module,
        *,
        references: References = "least_squares",
        energy_weight: float = 1.0,
        forces_weight: float = 100.0,
        stress_weight: float = 0.0,
        dipole_weight: float = 0.0,
        polarisability_weight: float = 0.0,
        stages: list[dict[str, float]] | None = None,
        loss: Literal["mse", "huber"] = "mse",
        huber_delta: float = 0.01,
        refit: bool = False,
        zbl: bool = False,
        compile: bool = False,
        amsgrad: bool = False,
        lr: float = 1e-3,
        warmup: float = 0.05,
        weight_decay: float = 0.0,
        schedule: Schedule = "cosine",
        rotate: bool | str = False,
        cuda_graphs: bool = False,
    ) -> None:
        potential = model if isinstance(model, Potential) else Potential(model, zbl=zbl)
        super().__init__(
            potential,
            lr=lr,
            warmup=warmup,
            weight_decay=weight_decay,
            schedule=schedule,
            rotate=rotate,
            cuda_graphs=cuda_graphs,
        )
        self._describe_potential(wrapped=potential is not model, zbl=zbl)
        if loss not in ("mse", "huber"):
            raise ValueError(f'loss must be "mse" or "huber", got {loss!r}.')
        self.weights = {"energy": energy_weight, "forces": forces_weight, "stress": stress_weight}
        self.weights |= {"dipole": dipole_weight, "polarisability": polarisability_weight}
        check_outputs(potential, self.weights)
        self.stages = loss_stages(self.weights, stages)
        if huber_delta <= 0:
            raise ValueError(f"huber_delta must be positive, got {huber_delta}.")
        self.references: References = references
        self.loss_name: Literal["mse", "huber"] = loss
        self.huber_delta, self.refit = huber_delta, refit
        if compile and cuda_graphs:
            raise ValueError("compile and cuda_graphs do not go together: leave one of them out.")
        if (compile or cuda_graphs) and potential.long_range is not None:
            raise ValueError(
                "A potential with long_range cannot be compiled or replayed: leave out compile and "
                "cuda_graphs."
            )
        if compile or cuda_graphs:
            derivatives_only(potential, "Compiled or recorded steps")
        self.amsgrad, self.compile_forces = amsgrad, compile
        self._compiled: Callable[..., dict[str, Tensor]] | None = None
        self.errors = nn.ModuleDict({stage: AtomicErrors() for stage in ("val", "test", "old")})
        self.of_levels: ErrorsOfLevels | None = None
        self._measure_levels()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        if self.model.levels is not None:
            checkpoint[LEVELS] = list(self.model.levels.names)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        check_numbers(checkpoint.get(LEVELS), self.model.levels)

    def configure_callbacks(self) -> list[L.Callback]:
        data = getattr(self.trainer, "datamodule", None)
        weights = self._largest_weights() if self.trainer.state.fn == "fit" else None
        for sentence in unused_labels(self.model, data, weights):
            warnings.warn(sentence, stacklevel=2)
        if not self.model.conservative:
            warnings.warn(f"Forces of this model are {NOT_CONSERVATIVE}.", stacklevel=2)
        if share_charge(self.model, data):
            self._describe(charge=True)
        if (names := share_levels(self.model, data)) is not None:
            self._describe(levels=list(names))
        self._measure_levels()
        return super().configure_callbacks()

    def on_train_start(self) -> None:
        if self._resumed is not None:
            self._refuse_changes(self._resumed)
        super().on_train_start()
        splits = getattr(getattr(self.trainer, "datamodule", None), "splits", {})
        check_labelled(splits, self._largest_weights())
        if not self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            check_reached(self.stages, self.trainer.max_epochs)
        # a checkpoint brings its own
        if not self.model.statistics.fitted:
            self.fit_references()

    def on_train_epoch_start(self) -> None:
        if len(self.stages) == 1:
            return
        weights = weights_at(self.stages, self.trainer.current_epoch)
        if weights != self.weights:
            self._replay = None  # recorded steps have the weights before
            self.weights = dict(weights)

    def _largest_weights(self) -> dict[str, float]:
        """Of all stages."""
        later = [stage.weights for stage in self.stages[1:]]
        return {k: max([w, *(stage[k] for stage in later)]) for k, w in self.weights.items()}

    def on_test_start(self) -> None:
        check_measured("test", self._structures("test"), LABELS)

    def on_validation_start(self) -> None:
        if self.trainer.validating:
            check_measured("val", self._structures("val"), LABELS)

    def _structures(self, split: str) -> Any:
        return getattr(getattr(self.trainer, "datamodule", None), "splits", {}).get(split)

    def fit_references(self) -> None:
        """Set the model's references, scale and shift by the trainer's training set."""
        fit_references(self.model, self.trainer, self.references)

    def adapt(self, elements: Tensor | None = None) -> None:
        data: Any = getattr(self.trainer, "datamodule", None)
        if not training_sets(data):
            return
        self.model.to(self.trainer.strategy.root_device)
        elements = self.model.statistics.elements.clone() if elements is None else elements
        training = self.training
        self.eval()
        adapt_references(self, data, self.references, elements)
        self.train(training)

    def adam_options(self) -> dict[str, Any]:
        return super().adam_options() | {"amsgrad": self.amsgrad}

    def check_batch(self, batch: Any) -> None:
        check_graph(batch)
        fields = batch.to_dict()
        named = self.model.levels is None or "level" in fields
        if self.model.statistics.fitted and self._trainer is not None and named:
            check_frames(self._split(), batch, self.model.statistics.seen)
        names = ("cell", "cell_shift", "batch", *STATE)
        self.model.check(batch.z, **{name: fields.get(name) for name in names})
        check_volumes(batch)
        check_label_values(LABELS, batch)
        if self.trainer.training:
            check_weighted(self._largest_weights(), batch)

    def on_validation_epoch_start(self) -> None:
        # averaged weights are in place here, and have energies of atoms of their own
        fitting = self.trainer.state.fn == "fit" and not self.trainer.sanity_checking
        if self.refit and fitting:
            sets = training_sets(getattr(self.trainer, "datamodule", None))
            refit_statistics(self.model, sets, elements=self.references == "least_squares")

    def _split(self) -> str:
        trainer: Any = self.trainer
        if trainer.training:
            return "train"
        return "val" if trainer.validating or trainer.sanity_checking else "test"

    def predict_outputs(self, batch: Any) -> dict[str, Tensor]:
        return self._evaluate(batch, stress=self._stress(batch)) | self._deviations(batch)

    def loss(self, batch: Any) -> Tensor:
        return self.weighted_loss(label_errors(self._training_outputs(batch), batch))

    def graph_losses(self, batch: Any) -> Tensor:
        predicted = self._evaluate(batch, "reverse", stress=self.weights["stress"] > 0)
        kind = self.loss_name, self.huber_delta
        return graph_penalties(label_errors(predicted, batch), self.weights, batch, *kind)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Gradients of the parameters alone: Lightning calls it.

        Positions are variables, too, because forces are derivatives by them. Their gradient, which
        nobody reads, would take the second derivatives of everything geometric.
        """
        weights = [p for p in self.parameters() if p.requires_grad]
        super().backward(loss, *args, inputs=weights, **kwargs)

    def metrics(self, batch: Any, stage: str) -> Mapping[str, Metric | Tensor]:
        errors = label_errors(self._evaluate(batch, "reverse", stress=self._stress(batch)), batch)
        metrics = cast(AtomicErrors, self.errors[stage]).update(errors)
        last = self.stages[-1].weights if len(self.stages) > 1 else self.weights
        if self.of_levels is not None:
            metrics |= self.of_levels.update(errors, batch, stage, self._structures(stage))
        return metrics | {"loss": self.weighted_loss(errors, last)}

    def _measure_levels(self) -> None:
        if self.model.levels is not None and self.of_levels is None:
            names = self.model.levels.names
            self.of_levels = ErrorsOfLevels(names)
            # of this task, not of the class
            own = {f"{level}/{name}": unit for level in names for name, unit in UNITS.items()}
            self.units = UNITS | own  # pyright: ignore[reportAttributeAccessIssue]

    def weighted_loss(
        self, errors: Mapping[str, LabelErrors], weights: Mapping[str, float] | None = None
    ) -> Tensor:
        """The sum of the penalties of what has a weight and labels, of `label_errors`."""
        weights = self.weights if weights is None else weights
        return weighted_penalty(errors, weights, self.loss_name, self.huber_delta)

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        stress = self._stress(batch) or self._largest_weights()["stress"] > 0
        predicted = self._evaluate(batch, "reverse", stress=stress)
        if stress:
            real = volumes(batch)[:, None, None]
            predicted["stress"] = torch.where(real, predicted["stress"], torch.nan)
        if "dipole" in predicted and "cell" in batch:
            repeats = periodic(batch.cell)[:, None]
            predicted["dipole"] = torch.where(repeats, torch.nan, predicted["dipole"])
        predicted |= self._deviations(batch, "reverse")
        true = {f"{name}_true": batch[name] for name in LABELS if name in batch}
        return predicted | true | {k: batch[k] for k in ("index", "batch", "level") if k in batch}

    def rotated(self, batch: Any) -> Any:
        if self.rotate is not True:
            return super().rotated(batch)
        pos = batch.pos
        rotation = random_rotations(batch.num_graphs, 3, dtype=pos.dtype, device=pos.device)
        return self.transformed(batch, GraphElements(rotation))

    def transformed(self, batch: Any, elements: GraphElements) -> Any:
        copy, matrix = super().transformed(batch, elements), elements.matrix
        if matrix is None:
            return copy
        for name in ("stress", "polarisability"):
            if name in batch:
                copy[name] = matrix @ batch[name] @ matrix.mT
        if "dipole" in batch:
            copy.dipole = (matrix @ batch.dipole[..., None]).squeeze(-1)
        return copy

    def _evaluate(self, batch: Any, *more: str, stress: bool = False) -> dict[str, Tensor]:
        """Predictions outside of training: Lightning allows no derivatives there."""

        def predict(batch: Any) -> dict[str, Tensor]:
            with torch.inference_mode(False):
                fields = _copied(potential_inputs(batch, *more))
                evaluate = partial(energy_forces, self.model, stress=stress, check=False)
                outputs = in_halves(evaluate, fields)
            return {name: outputs[name] for name in LABELS if name in outputs}

        predicted = self._outside_training(predict, batch, f"{more} {stress}")
        self.watch(predicted)
        return predicted

    def _stress(self, batch: Any) -> bool:
        """Whether a batch has labels of the stress, and the potential has one."""
        return self.model.conservative and "stress" in batch

    def _deviations(self, batch: Any, *more: str) -> dict[str, Tensor]:
        """Standard deviations of a calibrated potential; of others nothing."""
        if not isinstance(self.model, CalibratedPotential):
            return {}
        with torch.inference_mode(False):
            return in_halves(self.model.deviations, _copied(potential_inputs(batch, *more)))

    def _training_outputs(self, batch: Any) -> dict[str, Tensor]:
        """Predictions that can be differentiated again, compiled on request."""
        predicted = self._differentiable(batch)
        self.watch({name: predicted[name] for name in LABELS if name in predicted})
        return predicted

    def _differentiable(self, batch: Any) -> dict[str, Tensor]:
        fields, stress = potential_inputs(batch, "reverse"), self.weights["stress"] > 0
        if not self.compile_forces:
            return energy_forces(
                self.model, **fields, stress=stress, create_graph=True, check=False
            )
        if self._compiled is None:
            self._compiled = compiled_energy_forces(self.model)
        return self._compiled(**{"plan": self._plan(fields)} | fields, stress=stress)

    def _plan(self, fields: dict[str, Any]) -> object | None:
        """Index work of the network, which stays outside of the compiled function."""
        network: Any = self.model.model
        if not hasattr(network, "plan"):
            return None
        tensors = fields | {"num_nodes": len(fields["pos"])}
        return network.plan(**accepted(network.plan, tensors))

    def _refuse_changes(self, stored: Mapping[str, Any]) -> None:
        """Refuse settings that a resumed run would record and not use."""
        for name, value in (("references", self.references), ("amsgrad", self.amsgrad)):
            if name in stored and stored[name] != value:
                raise ValueError(
                    f"{name} is {value!r}, but the checkpoint was trained with {stored[name]!r}, "
                    "which cannot change within a run: leave it, or start a new run."
                )

    def _describe(self, **arguments: Any) -> None:
        """Let checkpoints say what the data has made of the potential."""
        description = self.hparams.get("model")
        if isinstance(description, dict):
            description["init_args"] = {**(description.get("init_args") or {}), **arguments}

    def _describe_potential(self, *, wrapped: bool, zbl: bool) -> None:
        """Let checkpoints say how the potential, not only its network, is built."""
        network = self.hparams.get("model")
        if wrapped and network is not None:
            arguments = {"model": network, "zbl": zbl}
            self.hparams["model"] = {"class_path": POTENTIAL, "init_args": arguments}


def _copied(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Copies of inference tensors, which take part in derivatives."""
    return {k: value.clone() if isinstance(value, Tensor) else value for k, value in fields.items()}
