"""Learning energies, forces and stress of atoms."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from geqlib.atoms.forces import compiled_energy_forces, energy_forces
from geqlib.atoms.potential import Potential
from geqlib.graph.checks import check_graph
from geqlib.symmetry.rotations import random_rotations
from geqlib.train.energy_errors import AtomicErrors, label_errors, masked_penalty
from geqlib.train.references import References, fit_statistics, summarise
from geqlib.train.task import Task

POTENTIAL = "geqlib.models.Potential"
CHUNK = 256  # frames of a stream that are read at once
SHOWN = ("energy_per_atom_mae", "forces_mae")
GEOMETRY = ("pos", "z", "edge_index", "batch", "cell", "cell_shift")


class EnergyForces(Task):
    """Total energies, and forces and stress as their derivatives.

    The loss is a sum of three means, each over what has a label (NaN is no label):

        energy_weight <((E - E') / N)^2> + forces_weight <(F - F')^2> + stress_weight <(S - S')^2>

    with energies in eV an atom, components of forces in eV/angstrom and of stress in eV/angstrom^3,
    or with Huber's function in place of the square. MACE's weights are 1 and 100, for small sets
    1 and 1000. Before the first step, the energies of atoms, their scale and shift are fitted to
    the training set (`geqlib.train.references`); they are part of the model and its checkpoints.

    Metrics are in meV: `energy_mae` and `energy_rmse` of the total energy, the same `_per_atom`,
    `forces_mae` and `forces_rmse` a component in meV/angstrom, `stress_rmse` in meV/angstrom^3 and
    `stress_rmse_gpa`.

    Args:
        model: a network with one scalar an atom or graph, or a `geqlib.models.Potential`.
        references: energies of atoms: see `geqlib.train.references.fit_statistics`.
        energy_weight, forces_weight, stress_weight: 0 leaves a label out.
        loss: "mse" or "huber".
        huber_delta: where Huber's function turns from a parabola to a line, in the units above.
        zbl: whether a network that is no `Potential` gets the repulsion of nuclei.
        compile: whether training compiles energies and forces (`compiled_energy_forces`).
        amsgrad: the variant of Adam.
        lr, warmup, weight_decay: see `Task`.
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
    }
    outputs: ClassVar = {"energy": "graph:scalar", "forces": "vector"}
    model: Potential

    def __init__(
        self,
        model: nn.Module,
        *,
        references: References = "least_squares",
        energy_weight: float = 1.0,
        forces_weight: float = 100.0,
        stress_weight: float = 0.0,
        loss: Literal["mse", "huber"] = "mse",
        huber_delta: float = 0.01,
        zbl: bool = False,
        compile: bool = False,
        amsgrad: bool = False,
        lr: float = 1e-3,
        warmup: float = 0.05,
        weight_decay: float = 0.0,
        rotate: bool = False,
    ) -> None:
        potential = model if isinstance(model, Potential) else Potential(model, zbl=zbl)
        super().__init__(potential, lr=lr, warmup=warmup, weight_decay=weight_decay, rotate=rotate)
        self._describe_potential(wrapped=potential is not model, zbl=zbl)
        if loss not in ("mse", "huber"):
            raise ValueError(f'loss must be "mse" or "huber", got {loss!r}.')
        self.weights = {"energy": energy_weight, "forces": forces_weight, "stress": stress_weight}
        if min(self.weights.values()) < 0 or max(self.weights.values()) == 0:
            raise ValueError(f"Weights must not be negative, nor all 0, got {self.weights}.")
        if huber_delta <= 0:
            raise ValueError(f"huber_delta must be positive, got {huber_delta}.")
        self.references: References = references
        self.loss: Literal["mse", "huber"] = loss
        self.huber_delta = huber_delta
        self.amsgrad, self.compile_forces = amsgrad, compile
        self._compiled: Callable[..., dict[str, Tensor]] | None = None
        self.errors = nn.ModuleDict({stage: AtomicErrors() for stage in ("val", "test")})

    def on_train_start(self) -> None:
        # a checkpoint brings its own
        if not self.model.statistics.fitted:
            self.fit_references()

    def fit_references(self) -> None:
        """Set the model's references, scale and shift by the trainer's training set."""
        data = getattr(self.trainer, "datamodule", None)
        found = fit_statistics(
            summarise(self._training_frames(data)),
            self.references,
            getattr(data, "reference_energies", None),
        )
        self.model.statistics.set(found.references, found.seen, found.scale, found.shift)

    def configure_optimizers(self) -> Any:
        found = super().configure_optimizers()
        for group in found["optimizer"].param_groups:
            group["amsgrad"] = self.amsgrad
        return found

    def check_batch(self, batch: Any) -> None:
        check_graph(batch)
        fields = batch.to_dict()
        self.model.check(batch.z, fields.get("cell"), fields.get("cell_shift"))
        missing = [name for name, weight in self.weights.items() if weight and name not in fields]
        if missing and self.trainer.training:
            raise ValueError(
                f"The data has no {missing[0]}, but {missing[0]}_weight is "
                f"{self.weights[missing[0]]}: name its key in the data, or set the weight to 0."
            )

    def predict_outputs(self, batch: Any) -> dict[str, Tensor]:
        return self._evaluate(batch, stress="stress" in batch)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        batch = self.rotated(batch)
        fields, stress = _fields(batch, "reverse"), self.weights["stress"] > 0
        if self.compile_forces:
            plan = self._plan(fields)
            found = self._compiled_function()(**fields, plan=plan, stress=stress)
        else:
            found = energy_forces(
                self.model, **fields, stress=stress, create_graph=True, check=False
            )
        loss = self._loss(label_errors(found, batch))
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=batch.num_graphs)
        return self.with_auxiliary(loss)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._measure(batch, "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._measure(batch, "test")

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        found = self._evaluate(batch, "reverse", stress="stress" in batch)
        names = [name for name in ("energy", "forces", "stress") if name in batch]
        true = {f"{name}_true": batch[name] for name in names}
        return found | true | {k: batch[k] for k in ("index", "batch") if k in batch}

    def rotated(self, batch: Any) -> Any:
        if not self.rotate:
            return batch
        pos, turned = batch.pos, batch.clone()
        turn = random_rotations(batch.num_graphs, 3, dtype=pos.dtype, device=pos.device)
        each = turn.index_select(0, batch.batch)
        for name in ("pos", "forces"):
            if name in batch:
                turned[name] = torch.einsum("nij,nj->ni", each, batch[name])
        if "cell" in batch:
            turned.cell = batch.cell @ turn.transpose(1, 2)
        if "stress" in batch:
            turned.stress = turn @ batch.stress @ turn.transpose(1, 2)
        return turned

    def _evaluate(self, batch: Any, *more: str, stress: bool = False) -> dict[str, Tensor]:
        """Predictions outside of training: Lightning allows no derivatives there."""
        with torch.inference_mode(False):
            fields: dict[str, Any] = {
                key: value.clone() if isinstance(value, Tensor) else value
                for key, value in _fields(batch, *more).items()
            }
            found = energy_forces(self.model, **fields, stress=stress, check=False)
        names = ("energy", "forces", "stress") if stress else ("energy", "forces")
        return {name: found[name] for name in names}

    def _compiled_function(self) -> Callable[..., dict[str, Tensor]]:
        if self._compiled is None:
            self._compiled = compiled_energy_forces(self.model)
        return self._compiled

    def _plan(self, fields: dict[str, Any]) -> object | None:
        """Index work of the network, which stays outside of the compiled function."""
        network: Any = self.model.model
        if not hasattr(network, "plan"):
            return None
        return network.plan(fields["edge_index"], len(fields["pos"]), reverse=fields.get("reverse"))

    def _loss(self, errors: dict[str, Tensor]) -> Tensor:
        parts = {"energy": "energy_per_atom", "forces": "forces", "stress": "stress"}
        penalties = [
            self.weights[name] * masked_penalty(errors[part], self.loss, self.huber_delta)
            for name, part in parts.items()
            if self.weights[name] and part in errors
        ]
        return torch.stack([part.float() for part in penalties]).sum()

    def _measure(self, batch: Any, stage: str) -> None:
        errors = label_errors(self._evaluate(batch, "reverse", stress="stress" in batch), batch)
        size = batch.num_graphs
        for name, metric in cast(AtomicErrors, self.errors[stage]).update(errors).items():
            self.log(f"{stage}/{name}", metric, prog_bar=name in SHOWN, batch_size=size)
        self.log(f"{stage}/loss", self._loss(errors), batch_size=size)

    def _training_frames(self, data: Any) -> Iterable[Any]:
        """All training frames, in pieces with `z`, `batch` and labels."""
        train: Any = getattr(data, "splits", {}).get("train")
        if hasattr(train, "structures"):
            whole = train.structures
            return [SimpleNamespace(z=whole.z, batch=whole.batch, **whole.labels)]
        if train is not None:
            pieces = torch.arange(len(train)).split(CHUNK)
            return (train.__getitems__(piece.tolist()) for piece in pieces)
        if self.trainer.world_size > 1:
            raise ValueError(
                "Statistics of one process's share are not those of the training set: give the "
                'data module `splits["train"]`, or pass a Potential whose statistics are set.'
            )
        return cast(Iterable[Any], self.trainer.train_dataloader)

    def _describe_potential(self, *, wrapped: bool, zbl: bool) -> None:
        """Let checkpoints say how the potential, not only its network, is built."""
        network = self.hparams.get("model")
        if wrapped and network is not None:
            arguments = {"model": network, "zbl": zbl}
            self.hparams["model"] = {"class_path": POTENTIAL, "init_args": arguments}


def _fields(batch: Any, *more: str) -> dict[str, Any]:
    """What a potential needs of a batch."""
    named = {key: batch[key] for key in (*GEOMETRY, *more) if key in batch}
    return named | {"num_graphs": batch.num_graphs}
