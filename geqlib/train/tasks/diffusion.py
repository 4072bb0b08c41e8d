"""Molecules by diffusion: training of a denoiser, and samples of it as a metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric

from geqlib.data.packed import PackedGraphs
from geqlib.files.molecule_files import write_samples
from geqlib.generation import (
    EDM_RULES,
    Denoiser,
    HeunSampler,
    Molecules,
    MoleculeScores,
    bond_rules,
    centred,
    drawn_sizes,
    loss_weight,
    molecule_scores,
    sample_molecules,
)
from geqlib.graph.recordings import CudaGraphs
from geqlib.graph.segments import segment_lengths
from geqlib.train.steps.sampled import SampledModule
from geqlib.train.steps.schedule import Schedule
from geqlib.train.tasks.means import mean_over
from geqlib.train.tasks.outputs import STAGES
from geqlib.train.tasks.task import Task
from geqlib.train.tasks.validation_noise import VALIDATION_SEED, validation_streams

KEY = "generation"  # of a checkpoint
AT_ONCE = 100  # molecules that are sampled together as a metric
LOG_SIGMA = (-1.2, 1.2)  # mean and standard deviation of ln sigma in training


class MoleculeDiffusion(SampledModule, Task):
    """Denoising of molecules at all levels of noise, from which molecules are then sampled.

    Source: Karras et al. (NeurIPS 2022), with the settings of Bekkers et al. (ICLR 2024) for QM9.
    Each molecule y = (centred positions, elements) has a noise level of its own,
    ln sigma ~ N(-1.2, 1.2^2), and the loss is

        w(sigma) |D(y + sigma n; sigma) - y|^2, w = min((sigma^2 + 1) / sigma^2, 1000),

    as the mean over positions plus that over elements; the noise n of positions is projected to
    zero mean, too. Validation draws the same noise each time, for each molecule by its `index`, and
    its loss is the mean over all atoms: the size of validation batches does not matter. Every
    `sample_every` epochs, and in tests, `samples` molecules are drawn with the weights that are
    validated, averaged ones under `ema`, always from the same random streams; their metrics are
    `atom_stability` and `molecule_stability` by `rules`, and `dropped`, the share that
    ended in NaN.

    The numbers of atoms are drawn from the histogram of the training molecules. Checkpoints keep
    it, with the species, the name of the rules and the scale of the property.

    Args:
        model: a `geqlib.generation.Denoiser`. One that is conditional learns the label `y`,
            standardised over the training molecules.
        unconditional: share of training molecules of which a conditional model does not see the
            property.
        sample_every: epochs between two samplings; 0 for none, in tests neither.
        samples: molecules of each.
        steps, sigma_max, churn: of `geqlib.generation.HeunSampler`.
        rules: name of the rules of bonds by which samples are scored, see
            `geqlib.generation.bond_rules`.
        lr, warmup, weight_decay, schedule, rotate, cuda_graphs: see `Task`. With a finite grid of
            orientations, equivariance is approximate, which rotations of the training molecules
            (`rotate`) amend. With `cuda_graphs`, training steps are replayed and, on a GPU, the
            steps of sampling; the validation loss is not.

    Raises:
        ValueError: a share outside [0, 1), negative numbers, or a sampler or rules that are none.

    Example:
        >>> from geqlib.models import PONITA
        >>> network = PONITA(6, 1, 5, 1, channels=16, layers=2)
        >>> task = MoleculeDiffusion(Denoiser(network), sample_every=10)
    """

    inputs: ClassVar = {
        "pos": "point",
        "z": "scalar",
        "edge_index": "edge_index",
        "batch": "batch",
    }
    outputs: ClassVar = {"denoised": "vector", "elements": "scalar"}
    monitor = "val/loss"
    shown: ClassVar = ("molecule_stability",)

    def __init__(
        self,
        model: nn.Module,
        *,
        unconditional: float = 0.1,
        sample_every: int = 20,
        samples: int = 1000,
        steps: int = 40,
        sigma_max: float = 1.0,
        churn: float = 10.0,
        rules: str = EDM_RULES.name,
        lr: float = 5e-4,
        warmup: float = 0.0,
        weight_decay: float = 1e-12,
        schedule: Schedule = "cosine",
        rotate: bool = True,
        cuda_graphs: bool = False,
    ) -> None:
        super().__init__(
            model,
            lr=lr,
            warmup=warmup,
            weight_decay=weight_decay,
            schedule=schedule,
            rotate=rotate,
            cuda_graphs=cuda_graphs,
        )
        if not 0 <= unconditional < 1:
            raise ValueError(f"unconditional is a share in [0, 1), got {unconditional}.")
        if sample_every < 0 or samples < 1:
            raise ValueError(
                "sample_every must be at least 0 and samples at least 1, got "
                f"{sample_every} and {samples}."
            )
        self.unconditional = float(unconditional)
        self.sample_every, self.samples = int(sample_every), int(samples)
        self.sampler = HeunSampler(int(steps), sigma_max=float(sigma_max), churn=float(churn))
        self.losses = nn.ModuleDict({s: MeanMetric(nan_strategy="disable") for s in STAGES})
        self.histogram: dict[int, int] = {}
        self.property_scale = (0.0, 1.0)
        self.rules = bond_rules(rules).name  # of a checkpoint that was read, its own
        scored = dict.fromkeys(("atom_stability", "molecule_stability"), f"rules {self.rules}")
        self.units = scored  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def denoiser(self) -> Denoiser:
        if not isinstance(self.model, Denoiser):
            raise ValueError(
                f"{type(self).__name__} trains a geqlib.generation.Denoiser, and the model is "
                f"{type(self.model).__name__}: put it into one, as its `network`."
            )
        return self.model

    # --- data and checkpoints --------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        super().setup(stage)
        data = getattr(self.trainer, "datamodule", None)
        train = getattr(data, "splits", {}).get("train")
        if self.histogram or not isinstance(train, PackedGraphs):
            return
        sizes, counts = train.counts["node"].unique(return_counts=True)
        self.histogram = dict(zip(sizes.tolist(), counts.tolist(), strict=True))
        if getattr(self.model, "conditional", False):
            self.property_scale = self._scale(train)

    def _scale(self, train: PackedGraphs) -> tuple[float, float]:
        if "y" not in train.arrays:
            raise ValueError(
                "The denoiser is conditional, and the data has no property y: set `target` of "
                "QM9Generation or `properties` of PropertyData, or conditional=false."
            )
        y = train.y.double()
        mean, std = float(y.mean()), float(y.std())
        return mean, std if std > 0 else 1.0

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint[KEY] = {
            "species": list(getattr(self.model, "species", ())),
            "rules": self.rules,
            "atoms": dict(self.histogram),
            "property_scale": list(self.property_scale),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        stored = checkpoint.get(KEY, {})
        self.histogram = {int(n): int(count) for n, count in stored.get("atoms", {}).items()}
        mean, std = stored.get("property_scale", self.property_scale)
        self.property_scale = float(mean), float(std)
        self.rules = str(stored.get("rules", self.rules))

    def check_batch(self, batch: Any) -> None:
        super().check_batch(batch)
        self.denoiser.encode(batch.z)
        size = segment_lengths(batch.batch, batch.num_graphs)
        if batch.edge_index.size(1) != int((size * (size - 1)).sum()):
            raise ValueError(
                "The edges are not all pairs of atoms, and those near each other in the clean "
                "molecule would tell its shape: set `cutoff` of the data to null."
            )

    # --- loss ------------------------------------------------------------------------------------

    def predict_outputs(self, batch: Any) -> dict[str, Tensor]:
        """What the batch is taken for at the noise level 1."""
        sigma = batch.pos.new_ones(batch.num_graphs)
        pos, x = self._denoised(batch, batch.pos, self._elements(batch), sigma, None)
        return {"denoised": pos, "elements": x}

    def augmented(self, batch: Any) -> Any:
        return self.noised(self.rotated(batch))

    def noised(self, batch: Any, streams: Sequence[torch.Generator] | None = None) -> Any:
        """A copy of the batch with what is drawn for its loss: `sigma` [G], `noise` [N, 3 +
        species], and `conditioned` [G], whether a conditional model sees the property.

        Args:
            batch: of molecules.
            streams: of the random numbers of each molecule, on the CPU; by default all are drawn
                from the random state of the process.
        """
        conditional = self.denoiser.conditional and "y" in batch
        if streams is None:
            normals = self._normals(batch, conditional)
        else:
            normals = self._normals_of_streams(batch, streams)
        level, noise, share = (x.to(self.device) for x in normals)
        mean, deviation = LOG_SIGMA
        noisy = copy(batch)
        noisy.sigma, noisy.noise = (mean + deviation * level).exp(), noise
        if conditional:
            noisy.conditioned = torch.special.ndtr(share) >= self.unconditional
        return noisy

    def _normals(self, batch: Any, conditional: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Normal numbers [G] and [N, 3 + species] of a batch, and [G] if it is conditional."""
        like: dict[str, Any] = {"device": self.device, "dtype": batch.pos.dtype}
        atoms, molecules = len(batch.pos), int(batch.num_graphs)
        level = torch.randn(molecules, **like)
        noise = [torch.randn(atoms, width, **like) for width in (3, len(self.denoiser.species))]
        share = torch.randn(molecules if conditional else 0, **like)
        return level, torch.cat(noise, 1), share

    def _normals_of_streams(
        self, batch: Any, streams: Sequence[torch.Generator]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Normal numbers [G], [N, 3 + species] and [G], those of a molecule from its own stream."""
        width, dtype = 3 + len(self.denoiser.species), batch.pos.dtype
        sizes = segment_lengths(batch.batch, len(streams)).tolist()
        levels, noises = [torch.zeros(0, 2, dtype=dtype)], [torch.zeros(0, width, dtype=dtype)]
        for size, stream in zip(sizes, streams, strict=True):
            levels.append(torch.randn(1, 2, dtype=dtype, generator=stream))
            noises.append(torch.randn(size, width, dtype=dtype, generator=stream))
        level, share = torch.cat(levels).unbind(1)
        return level, torch.cat(noises), share

    def loss(self, batch: Any) -> Tensor:
        return self.error(batch if "noise" in batch else self.noised(batch))

    def metrics(self, batch: Any, stage: str) -> Mapping[str, Metric | Tensor]:
        errors = self.atom_errors(self.noised(batch, validation_streams(batch)))
        self.watch({"loss": errors.mean()})
        mean = cast(Metric, self.losses[stage])
        mean.update(errors)
        return {"loss": mean}

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        return self.predict_outputs(batch) | {"batch": batch.batch}

    def error(self, batch: Any) -> Tensor:
        """The loss of a batch, with the noise that `noised` gave it."""
        return mean_over("node", self.atom_errors(batch), batch)

    def atom_errors(self, batch: Any) -> Tensor:
        """[N] the share of each atom in the loss, which is their mean."""
        pos, x = centred(batch.pos, batch.batch, batch.num_graphs), self._elements(batch)
        shift = centred(batch.noise[:, :3], batch.batch, batch.num_graphs)
        level = batch.sigma.index_select(0, batch.batch)[:, None]
        condition = None
        if "conditioned" in batch:
            condition = self.condition(batch.y) * batch.conditioned[:, None]
        noisy = pos + level * shift, x + level * batch.noise[:, 3:]
        estimate = self._denoised(batch, *noisy, batch.sigma, condition)
        weight = loss_weight(level)
        errors = [
            (weight * (a - b).square()).mean(1) for a, b in zip(estimate, (pos, x), strict=True)
        ]
        return errors[0] + errors[1]

    def _elements(self, batch: Any) -> Tensor:
        return self.denoiser.encode(batch.z).to(batch.pos.dtype)

    def _denoised(
        self, batch: Any, pos: Tensor, x: Tensor, sigma: Tensor, condition: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        structure = {"edge_index": batch.edge_index, "reverse": getattr(batch, "reverse", None)}
        structure |= {"batch": batch.batch, "num_graphs": batch.num_graphs}
        structure["plan"] = getattr(batch, "plan", None)
        return self.denoiser(pos, x, sigma, **structure, condition=condition)

    def condition(self, values: Tensor) -> Tensor:
        """[G, 2] of properties [G] in the unit of the data: standardised, and 1 for known."""
        mean, std = self.property_scale
        values = (values.reshape(-1) - mean) / std
        return torch.stack([values, torch.ones_like(values)], 1)

    # --- samples ---------------------------------------------------------------------------------

    def sample(
        self,
        numbers: range,
        *,
        seed: int = 0,
        atoms: int | None = None,
        histogram: Mapping[int, int] | None = None,
        sampler: HeunSampler | None = None,
        value: float | None = None,
        guidance: float = 0.0,
    ) -> Molecules:
        """Draw the samples of these numbers, all at once.

        Args:
            numbers: which samples; each has a random stream of its own.
            seed: of all samples.
            atoms: of each molecule, in place of the histogram.
            histogram: molecules by their number of atoms, in place of the checkpoint's.
            sampler: in place of the task's.
            value: of the property, in the unit of the data.
            guidance: see `geqlib.generation.sample_molecules`.

        Raises:
            ValueError: neither `atoms` nor a histogram, a property that the model does not know.
        """
        histogram = self.histogram if histogram is None else histogram
        if atoms is None and not histogram:
            raise ValueError(
                "The checkpoint has no histogram of atoms: say how many atoms molecules have."
            )
        sizes = {atoms: 1} if atoms is not None else histogram
        lengths = drawn_sizes(sizes, seed, numbers)
        condition = None if value is None else self.condition(torch.full((len(lengths),), value))
        return sample_molecules(
            self.denoiser,
            lengths,
            seed=seed,
            numbers=numbers,
            sampler=sampler or self.sampler,
            condition=condition,
            guidance=guidance,
            recorder=CudaGraphs() if self.cuda_graphs and self.device.type == "cuda" else None,
        )

    def log_samples(self, stage: str) -> None:
        """Each process draws its share."""
        rank, processes = self.trainer.global_rank, self.trainer.world_size
        own = range(rank, self.samples, processes)
        if not self.histogram:
            return
        metrics = {"atom_stability": (0, 0), "molecule_stability": (0, 0), "dropped": (0, 0)}
        if own:  # a process without a share logs, too: the others wait for it
            parts = [own[k : k + AT_ONCE] for k in range(0, len(own), AT_ONCE)]
            molecules = Molecules.joined([self.sample(p, seed=VALIDATION_SEED) for p in parts])
            rules = bond_rules(self.rules)
            scores = scores_of(molecules, validity=False, rules=rules)
            if path := self.samples_path("samples.xyz"):
                write_samples(path, molecules)
            metrics = {
                "atom_stability": (scores.stable_atoms, scores.atoms),
                "molecule_stability": (scores.stable_molecules, scores.molecules),
                "dropped": (int(molecules.dropped.sum()), len(molecules)),
            }
        for name, (count, total) in metrics.items():
            shown, value = name in self.shown, count / max(total, 1)
            self.log(f"{stage}/{name}", value, prog_bar=shown, batch_size=total)


def scores_of(molecules: Molecules, **options: Any) -> MoleculeScores:
    """Scores of all samples, those among the failures that were dropped.

    Args:
        molecules: samples.
        options: of `geqlib.generation.molecule_scores`.
    """
    return molecule_scores(
        molecules.numbers, molecules.pos, molecules.batch, len(molecules), **options
    )
