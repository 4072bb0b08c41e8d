"""Graphs by PARD: training of its likelihood, and samples as a metric."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, ClassVar, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import Metric

from geqlib.data.graphs.sampled_files import as_networkx, write_graphs
from geqlib.data.packed import PackedGraphs
from geqlib.elements import atomic_numbers
from geqlib.generation import (
    EDM_RULES,
    GraphScores,
    MoleculeScores,
    bonded_scores,
    graph_scores,
)
from geqlib.generation.mmd import Convention
from geqlib.graph.segments import segment_lengths
from geqlib.motifs.graphs import Graphs, simple_graphs
from geqlib.pard.model import PARD, BlockLosses
from geqlib.pard.order import partial_order
from geqlib.pard.sampling import SampledGraphs, sample_graphs
from geqlib.pard.streams import Streams
from geqlib.train.steps.sampled import SampledModule
from geqlib.train.steps.schedule import Schedule
from geqlib.train.tasks.means import mean_over
from geqlib.train.tasks.task import Task
from geqlib.train.tasks.validation_noise import VALIDATION_SEED, validation_streams

KEY = "generation"  # of a checkpoint


class GraphDiffusion(SampledModule, Task):
    """Training of a `PARD`, from which graphs are then sampled.

    The loss of a graph is that of Zhao et al. (NeurIPS 2024),

        sum over blocks of KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) + 0.1 cross-entropy,

    at one random time t for a graph (for a block, if the model trains on prefixes), with -log f at
    t = 1, and -log p of all sizes and degrees beside it; both networks are trained at once, and
    share no weights. Metrics are `loss` and `bound`: T times the divergence and the sizes, a bound
    of -log p of a graph in nats but for its first size. Validation draws the same noise each time,
    for each graph by its `index`, so that the size of validation batches does not matter.

    Every `sample_every` epochs, and in tests, `samples` graphs are drawn with the weights that are
    validated, and compared with the validation (or test) graphs: `degree`, `clustering`, `orbits`
    and `spectrum` are the discrepancies of `geqlib.generation.graph_scores`, `follows` the share of
    samples whose own partial order is the one by which they were drawn, `dropped` the share that
    ended in NaN, `stopped` the share that had too many nodes for a further block. Without samples
    that have nodes there are no discrepancies. Where the kinds of nodes are elements (`species` of
    the data, as of QM9), checkpoints keep them, and `atom_stability`, `molecule_stability` and,
    with RDKit, `valid` of the samples take the place of the discrepancies.

    Args:
        model: a `geqlib.models.PARD`.
        cross_entropy: its weight.
        sample_every: epochs between two samplings; 0 for none, in tests neither.
        samples: graphs of each.
        convention: of the discrepancies, "TV" or "EMD".
        lr, warmup, weight_decay, schedule: see `Task`.

    Raises:
        ValueError: negative numbers, another convention, a model that is no `PARD`, graphs that are
            larger than it.

    Example:
        >>> net = PARD(20, 9, channels=16, pair_channels=8, layers=2, heads=2)
        >>> task = GraphDiffusion(net, sample_every=10, samples=20)
    """

    inputs: ClassVar = {"x": "scalar", "edge_index": "edge_index", "batch": "batch"}
    outputs: ClassVar = {"entropy": "graph:scalar", "sizes": "graph:scalar"}
    monitor = "val/loss"
    shown: ClassVar = ("bound",)
    units: ClassVar = {"bound": "nats"} | dict.fromkeys(
        ("atom_stability", "molecule_stability", "valid"), f"valences of {EDM_RULES.name}"
    )

    def __init__(
        self,
        model: nn.Module,
        *,
        cross_entropy: float = 0.1,
        sample_every: int = 100,
        samples: int = 40,
        convention: str = "TV",
        lr: float = 4e-4,
        warmup: float = 0.05,
        weight_decay: float = 0.01,
        schedule: Schedule = "cosine",
    ) -> None:
        super().__init__(
            model,
            lr=lr,
            warmup=warmup,
            weight_decay=weight_decay,
            schedule=schedule,
            rotate=False,
        )
        if cross_entropy < 0 or sample_every < 0 or samples < 1:
            raise ValueError(
                f"cross_entropy={cross_entropy}, sample_every={sample_every}, samples={samples}: "
                "they must be at least 0, 0 and 1."
            )
        if convention not in get_args(Convention):
            raise ValueError(f'convention must be "TV" or "EMD", got {convention!r}.')
        self.cross_entropy, self.convention = float(cross_entropy), convention
        self.sample_every, self.samples = int(sample_every), int(samples)
        self.species: tuple[str, ...] = ()  # that kinds of nodes stand for

    @property
    def network(self) -> PARD:
        if not isinstance(self.model, PARD):
            raise ValueError(
                f"{type(self).__name__} trains a geqlib.models.PARD, and the model is "
                f"{type(self.model).__name__}."
            )
        return self.model

    def setup(self, stage: str) -> None:
        super().setup(stage)
        network = self.network
        data: Any = getattr(self.trainer, "datamodule", None)
        train = getattr(data, "splits", {}).get("train")
        self.species = tuple(getattr(data, "species", self.species))
        if stage != "fit" or not isinstance(train, PackedGraphs):
            return
        batch: Any = train.__getitems__(range(len(train)))
        order = partial_order(
            batch.edge_index, int(batch.num_nodes), batch.batch, len(train), hops=network.hops
        )
        largest, highest = int(order.size.max()), int(order.degree.max())
        if largest > network.max_size or highest > network.max_degree:
            if hasattr(data, "limits"):  # validation and test graphs may need more
                largest, highest = data.limits(network.hops)
            needs = (max(network.max_size, largest), max(network.max_degree, highest))
            raise ValueError(
                f"The largest block of these graphs has {largest} nodes, and the highest degree of "
                f"one is {highest}, but the model has max_size={network.max_size} and "
                f"max_degree={network.max_degree}: set max_size={needs[0]} and "
                f"max_degree={needs[1]} of it."
            )
        network.observe(segment_lengths(batch.batch, len(train)), order)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint[KEY] = {"species": list(self.species)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.species = tuple(map(str, checkpoint.get(KEY, {}).get("species", ())))

    def check_batch(self, batch: Any) -> None:
        """The model checks its graphs itself."""

    # --- loss ------------------------------------------------------------------------------------

    def losses(self, batch: Any, generator: Streams = None, *, noise: bool = True) -> BlockLosses:
        """Parts of the loss of each graph."""
        return self.network(
            batch.x,
            batch.edge_index,
            getattr(batch, "edge_attr", None),
            batch.batch,
            batch.num_graphs,
            getattr(batch, "plan", None),
            noise=noise,
            generator=generator,
        )

    def predict_outputs(self, batch: Any) -> dict[str, Tensor]:
        """Of the graphs themselves, without noise: entropies of blocks and of sizes."""
        parts = self.losses(batch, noise=False)
        return {"entropy": parts.entropy, "sizes": parts.sizes}

    def loss(self, batch: Any) -> Tensor:
        return self._loss(self.losses(batch), batch)

    def metrics(self, batch: Any, stage: str) -> Mapping[str, Metric | Tensor]:
        parts = self.losses(batch, validation_streams(batch))
        bound = self.network.steps * parts.divergence + parts.sizes
        return {"loss": self._loss(parts, batch), "bound": mean_over("graph", bound, batch)}

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        return self.predict_outputs(batch)

    def _loss(self, parts: BlockLosses, batch: Any) -> Tensor:
        total = parts.divergence + self.cross_entropy * parts.entropy + parts.sizes
        return mean_over("graph", total, batch)

    # --- samples ---------------------------------------------------------------------------------

    def sample(
        self, numbers: range, *, seed: int = 0, max_nodes: int | None = None
    ) -> SampledGraphs:
        """Draw the samples of these numbers, side by side.

        Random numbers are a function of the seed and of which numbers these are: the same range
        gives the same graphs, on one machine.

        Args:
            numbers: which samples.
            seed: of all samples.
            max_nodes: see `geqlib.pard.sampling.sample_graphs`.
        """
        mixed = np.random.SeedSequence([seed, numbers.start, len(numbers)])
        state = int(mixed.generate_state(1, np.uint64)[0]) % 2**63
        generator = torch.Generator(self.device).manual_seed(state)
        training = self.network.training
        self.network.eval()
        graphs = sample_graphs(self.network, len(numbers), max_nodes=max_nodes, generator=generator)
        self.network.train(training)
        return graphs

    def log_samples(self, stage: str) -> None:
        """Of several processes, each draws all of them."""
        data = getattr(getattr(self.trainer, "datamodule", None), "splits", {}).get(stage)
        if not isinstance(data, PackedGraphs):
            return
        graphs = self.sample(range(self.samples), seed=VALIDATION_SEED)
        if path := self.samples_path("samples.json"):
            write_graphs(path, as_networkx([graphs], self.network.hops))
        metrics = {"follows": float(graphs.follows(self.network.hops).double().mean())}
        for name in ("dropped", "stopped"):
            metrics[name] = float(getattr(graphs, name).double().mean())
        if self.species:
            molecules = molecule_scores_of(graphs, self.species)
            metrics["atom_stability"] = molecules.atom_stability
            metrics["molecule_stability"] = molecules.molecule_stability
            metrics |= {} if molecules.validity is None else {"valid": molecules.validity}
        elif len(graphs.x):
            scores = scores_of(graphs, reference(data), self.convention)
            names = ("degree", "clustering", "orbits", "spectrum")
            metrics |= {name: getattr(scores, name) for name in names}
        for name, value in metrics.items():
            self.log(f"{stage}/{name}", value, batch_size=self.samples)


def scores_of(graphs: SampledGraphs, reference: Graphs, convention: Any = "TV") -> GraphScores:
    """Discrepancies of samples from graphs of the data, kinds of nodes and edges ignored."""
    samples = simple_graphs(
        graphs.edge_index.cpu(), len(graphs.x), graphs.batch.cpu(), graphs.num_graphs
    )
    return graph_scores(samples, reference, convention)


def molecule_scores_of(
    graphs: SampledGraphs,
    species: Sequence[str],
    *,
    training: Collection[str] | None = None,
) -> MoleculeScores:
    """Scores of samples whose kinds of nodes are elements, and kinds of edges orders of bonds.

    Args:
        graphs: samples.
        species: the element of each kind. Without RDKit there is no validity.
        training: of `geqlib.generation.bonded_scores`.
    """
    numbers = torch.tensor([atomic_numbers[symbol] for symbol in species])[graphs.x.cpu()]
    bonds = graphs.edge_index.cpu(), graphs.edge_attr.cpu()
    chemistry = find_spec("rdkit") is not None
    return bonded_scores(
        numbers,
        *bonds,
        graphs.batch.cpu(),
        graphs.num_graphs,
        validity=chemistry,
        training=training,
    )


def reference(graphs: PackedGraphs) -> Graphs:
    """All graphs of a split, as `graph_scores` takes them."""
    batch: Any = graphs.__getitems__(range(len(graphs)))
    return simple_graphs(
        batch.edge_index.cpu(), int(batch.num_nodes), batch.batch.cpu(), len(graphs)
    )
