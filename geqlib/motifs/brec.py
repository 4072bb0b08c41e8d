"""BREC's protocol: does a network, trained on one pair of graphs, separate them reliably?

Reliable paired comparison of Wang and Zhang, "An Empirical Study of Realized GNN Expressiveness"
(ICML 2024, arXiv 2304.07702): 32 relabelled copies of both graphs of a pair, a network that is
trained to separate their embeddings, and a paired test on the embeddings after training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from math import inf, isfinite, nan
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_embedding_loss
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch_geometric.data import Batch, Data

from geqlib.graph.plan import accepted

COPIES = 32  # of each graph
OUTPUTS = 16  # of the network
THRESHOLD = 72.34  # of the published code
SEEDS = tuple(range(100, 1001, 100))
RTOL, ATOL = 1e-5, 1e-6  # within which the two statistics count as the same


def paired_statistic(first: Tensor, second: Tensor, *, ridge: float = 0.0) -> Tensor:
    """s = m^T C^+ m of the mean m and the covariance C of paired differences.

    Hotelling's statistic of n pairs is T^2 = n s. The published code calls s itself T^2. C^+ is the
    pseudo-inverse, without what is below rounding of the type of the embeddings, and of differences
    that are all equal s is 0.

    Args:
        first, second: [n, q] embeddings, of which those with the same number are a pair.
        ridge: added to the diagonal of C, for networks whose copies agree exactly; the published
            code has 1e-7 for these.

    Returns:
        a scalar; not a number where embeddings are not finite.

    Example:
        >>> first = torch.tensor([[1.0], [2.0], [3.0]])
        >>> paired_statistic(first, torch.zeros(3, 1))
        tensor(4.)
    """
    difference = first - second
    if not bool(difference.isfinite().all()):
        return difference.new_full((), nan)
    mean = difference.mean(0)
    covariance = torch.cov(difference.T).reshape(len(mean), len(mean))
    covariance = covariance + ridge * torch.eye(len(mean)).to(covariance)
    return mean @ torch.linalg.pinv(covariance) @ mean


def hotelling_threshold(
    pairs: int = COPIES, outputs: int = OUTPUTS, *, level: float = 0.95
) -> float:
    """The value that T^2 = n s exceeds by chance in 1 - level of all cases.

    q (n - 1) / (n - q) F_{q, n-q}(level), for n normal differences of mean zero in q dimensions
    (Hotelling 1931). Covariances of lower rank have a lower threshold, so that this one is safe.

    Args:
        pairs: n.
        outputs: q, below n.
        level: of the test.

    Raises:
        ValueError: too few pairs.

    Example:
        >>> round(hotelling_threshold(), 2)
        72.34
    """
    from scipy.stats import f

    if pairs <= outputs:
        raise ValueError(
            f"{pairs} pairs are too few for {outputs} outputs: Hotelling's test needs more pairs "
            "than outputs."
        )
    factor = outputs * (pairs - 1) / (pairs - outputs)
    return float(factor * f.ppf(level, outputs, pairs - outputs))


@dataclass(frozen=True)
class BRECRecipe:
    """How a network is trained on a pair; by default as the published base recipe does.

    Args:
        lr, weight_decay: of Adam.
        epochs: at most.
        batch_size: graphs of a batch, an even number.
        margin: of the cosine loss, max(0, cos(f(G), f(H)) - margin).
        stop: mean loss of an epoch below which training ends.
        ridge: of `paired_statistic`.

    Raises:
        ValueError: options out of range.
    """

    lr: float = 1e-4
    weight_decay: float = 1e-4
    epochs: int = 20
    batch_size: int = 16
    margin: float = 0.0
    stop: float = 0.2
    ridge: float = 0.0

    def __post_init__(self) -> None:
        if self.batch_size < 2 or self.batch_size % 2:
            raise ValueError(
                f"batch_size must be an even number of graphs, got {self.batch_size}: both graphs "
                "of a pair are in one batch."
            )
        for name in ("lr", "weight_decay", "epochs", "ridge"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}.")


@dataclass(frozen=True)
class Comparison:
    """What the protocol measures of one pair.

    Args:
        statistic: s between the two graphs.
        reliability: s between 32 and 32 further copies of one of them.
        loss: mean of the last epoch.
        epochs: that were trained.
        spread: largest standard deviation of an output over 64 copies of one graph, over the
            largest output: zero up to rounding for networks that are invariant.
    """

    statistic: float
    reliability: float
    loss: float
    epochs: int
    spread: float

    @property
    def separated(self) -> bool:
        """Whether s is above the published threshold, and is not that of copies of one graph."""
        return self._above(THRESHOLD)

    @property
    def reliable(self) -> bool:
        """Whether s of the copies of one graph is below the published threshold."""
        return self.reliability < THRESHOLD

    @property
    def separated_exactly(self) -> bool:
        """The same by Hotelling's threshold, T^2 = 32 s > 72.34."""
        return self._above(hotelling_threshold() / COPIES)

    @property
    def reliable_exactly(self) -> bool:
        """The same by Hotelling's threshold, which one pair in twenty exceeds by chance."""
        return self.reliability < hotelling_threshold() / COPIES

    def _above(self, threshold: float) -> bool:
        same = abs(self.statistic - self.reliability) <= ATOL + RTOL * abs(self.reliability)
        return self.statistic > threshold and not same


class Inputs:
    """The arguments of a model for each batch of graphs, plans included, computed once.

    Args:
        model: whose `forward` names what it takes, such as x, edge_index and batch; or takes one
            batch of torch_geometric, called data.
        graphs: G, H, G', H', ... in turn.
        batch_size: graphs of a batch.
        device: where the model is.
    """

    def __init__(
        self, model: nn.Module, graphs: Sequence[Data], batch_size: int, device: Any = "cpu"
    ) -> None:
        self.batches: list[tuple[int, dict[str, Any]]] = []
        for start in range(0, len(graphs), batch_size):
            batch: Any = Batch.from_data_list(list(graphs[start : start + batch_size]))
            batch = batch.to(device)
            self.batches.append((batch.num_graphs, _arguments(model, batch)))

    def embeddings(self, model: nn.Module) -> Tensor:
        """[graphs, OUTPUTS]."""
        return torch.cat([_embedding(model, *batch) for batch in self.batches])


def compare(
    model: nn.Module,
    pairs: Sequence[Data],
    copies: Sequence[Data],
    recipe: BRECRecipe | None = None,
    device: Any = "cpu",
) -> Comparison:
    """Train a fresh network on a pair of graphs, and test whether it separates them.

    Args:
        model: with weights as drawn; it is trained in place.
        pairs: 64 graphs: copies of G and of H in turn.
        copies: 64 copies of one of the two.
        recipe: of the training; the published base recipe by default.
        device: of the computation.

    Raises:
        ValueError: other numbers of graphs, or a model whose output is not [graphs, 16].

    Example:
        >>> from geqlib.models import MessagePassingNet
        >>> edge, path = torch.tensor([[0, 1], [1, 0]]), torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> two, three = (Data(torch.ones(n, 1), e) for n, e in ((2, edge), (3, path)))
        >>> net = MessagePassingNet(1, 16, channels=8, layers=2)
        >>> compare(net, [two, three] * 32, [two] * 64, BRECRecipe(epochs=2, stop=0.0)).epochs
        2
    """
    recipe = recipe or BRECRecipe()
    for name, graphs in (("pairs", pairs), ("copies", copies)):
        if len(graphs) != 2 * COPIES:
            raise ValueError(f"{name} are {len(graphs)} graphs, expected {2 * COPIES}.")
    model = model.to(device)
    inputs = Inputs(model, pairs, recipe.batch_size, device)
    loss, epochs = _train(model, inputs, recipe)
    model.eval()
    with torch.no_grad():
        of_pairs = inputs.embeddings(model)
        of_copies = Inputs(model, copies, recipe.batch_size, device).embeddings(model)
    statistic, reliability = (
        float(paired_statistic(z[0::2], z[1::2], ridge=recipe.ridge)) for z in (of_pairs, of_copies)
    )
    return Comparison(statistic, reliability, loss, epochs, _spread(of_copies))


def _train(model: nn.Module, inputs: Inputs, recipe: BRECRecipe) -> tuple[float, int]:
    """Mean loss of the last epoch, and how many there were."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:  # nothing to train, as with exact features
        return nan, 0
    optimizer = torch.optim.Adam(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay)
    scheduler = ReduceLROnPlateau(optimizer)
    model.train()
    loss, epochs = nan, 0
    while epochs < recipe.epochs:
        loss, epochs = 0.0, epochs + 1
        for count, arguments in inputs.batches:
            optimizer.zero_grad()
            embedding = _embedding(model, count, arguments)
            first, second = embedding[0::2], embedding[1::2]
            different = -torch.ones(len(first)).to(embedding)
            value = cosine_embedding_loss(first, second, different, margin=recipe.margin)
            value.backward()
            optimizer.step()
            loss += count / 2 * value.item() / COPIES
        if loss < recipe.stop:
            break
        scheduler.step(loss)
    return loss, epochs


def takes_batch(model: nn.Module) -> bool:
    """Whether a model takes a whole batch of torch_geometric, as the one argument `data`.

    Example:
        >>> takes_batch(nn.Linear(1, 1))
        False
    """
    return list(signature(model.forward).parameters) == ["data"]


def _arguments(model: nn.Module, batch: Any) -> dict[str, Any]:
    if takes_batch(model):
        return {"data": batch}
    names = signature(model.forward).parameters
    arguments = accepted(model.forward, batch)
    if "plan" in names and "plan" not in arguments and hasattr(model, "plan"):
        plan: Any = model.plan
        arguments["plan"] = plan(**accepted(plan, batch))
    return arguments


def _embedding(model: nn.Module, count: int, arguments: dict[str, Any]) -> Tensor:
    output = model(**arguments)
    shape = tuple(output.shape) if isinstance(output, Tensor) else None
    if shape != (count, OUTPUTS):
        what = type(output).__name__ if shape is None else f"outputs of shape {shape}"
        raise ValueError(
            f"{type(model).__name__} gives {what} for {count} graphs, expected "
            f"({count}, {OUTPUTS}): BREC compares one embedding of {OUTPUTS} numbers a graph, so "
            "pool the outputs of nodes."
        )
    return output


def _spread(embedding: Tensor) -> float:
    largest = float(embedding.abs().max())
    if not isfinite(largest):
        return inf
    return float(embedding.std(0).max()) / largest if largest else 0.0
