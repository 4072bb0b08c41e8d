"""BREC by its protocol, pair by pair, into a folder from which the same command goes on."""

from __future__ import annotations

import copy
import json
import shutil
import time
from argparse import ArgumentError
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import yaml
from jsonargparse import ActionConfigFile, ArgumentParser  # pyright: ignore[reportPrivateImportUsage]
from torch import nn
from torch_geometric import seed_everything
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from geqlib.data.graphs.expressivity import GraphPairs
from geqlib.data.graphs.motif_counts import counted_together
from geqlib.data.graphs.relabelled_pairs import relabelled_pair
from geqlib.files.atomic import reading, replace_file
from geqlib.motifs.brec import BRECRecipe, Comparison, compare, takes_batch
from geqlib.motifs.exact import check_name
from geqlib.motifs.features import MotifFeatures, check_taken
from geqlib.train.runs.configuration import one_sentence
from geqlib.train.runs.digests import code_digest
from geqlib.train.runs.recipe import FILE, Recipe, difference, flat, write_recipe
from geqlib.train.steps.peak_memory import PeakMemory


class BRECSetup:
    """What a configuration says: a model, a transform of every graph, the recipe of training, and
    the exact features that its pairs are compared with.

    Args:
        config: path of a YAML file with `model` and, if need be, `transform`, `recipe` and `exact`,
            one of `geqlib.motifs.exact.FEATURES`.
        overrides: changes to it as on the command line, such as `--recipe.epochs=5`.

    Raises:
        ValueError: if a key or value is wrong.

    Example:
        >>> setup = BRECSetup("configs/brec_ppgnpp.yaml", ["--recipe.epochs=5"])
        >>> setup.recipe.epochs, setup.model().out.out_features
        (5, 16)
    """

    def __init__(self, config: str | Path, overrides: Sequence[str] = ()) -> None:
        self.parser = ArgumentParser(prog="geqlib brec", exit_on_error=False, allow_abbrev=False)
        self.parser.add_argument("--config", action=ActionConfigFile)
        self.parser.add_subclass_arguments(nn.Module, "model", required=True)
        self.parser.add_argument("--transform", type=BaseTransform | None, default=None)
        self.parser.add_argument("--exact", type=str | None, default=None)
        self.parser.add_class_arguments(BRECRecipe, "recipe")
        if not Path(config).is_file():
            raise ValueError(f"There is no configuration {config}: name a YAML file with a model.")
        try:
            self.config = self.parser.parse_args([f"--config={config}", *overrides])
            objects = self.parser.instantiate(self.config)
        except (ArgumentError, ValueError, TypeError) as error:
            raise ValueError(one_sentence(error)) from error
        self.transform: BaseTransform | None = objects.get("transform")
        self.recipe: BRECRecipe = objects.recipe
        self.exact: str | None = objects.get("exact")
        if self.exact is not None:
            check_name(self.exact)
        if isinstance(self.transform, MotifFeatures) and not takes_batch(objects.model):
            check_taken(objects.model, self.transform.settings)
        self.parts = {type(part) for part in (*objects.model.modules(), self.transform)}

    def model(self) -> nn.Module:
        """A new one, with weights as drawn."""
        return self.parser.instantiate(self.config).model

    def record(self, pairs: GraphPairs) -> Recipe:
        """What the numbers depend on, as of `geqlib.train.runs.recipe`."""
        settings = yaml.safe_load(self.parser.dump(self.config, skip_unset=False))
        for key in ("config", "exact"):  # on which no measurement depends
            settings.pop(key, None)
        code = code_digest(self.parts - {type(None)})
        return {"configuration": flat(settings), "data": pairs.digest(), "code": code}


@dataclass(frozen=True)
class Measurement:
    """A pair by one seed.

    Args:
        comparison: what the protocol measures.
        seconds: of copies, features, training and tests.
        mebibytes: the most memory above what was in use before; None where nobody counts.
        device: of the computation.
    """

    comparison: Comparison
    seconds: float
    mebibytes: float | None
    device: str


def measure(
    setup: BRECSetup, pairs: GraphPairs, number: int, seed: int, device: str = "cpu"
) -> Measurement:
    """Train on one pair of graphs, and test. All that is random is a function of seed and pair."""
    memory, begin = PeakMemory(device), time.perf_counter()
    both, block = relabelled_pair(pairs, number)
    both, block = (_transformed(graphs, setup.transform) for graphs in (both, block))
    seed_everything(int(np.random.SeedSequence([seed, number]).generate_state(1)[0]))
    comparison = compare(setup.model(), both, block, setup.recipe, device)
    seconds = time.perf_counter() - begin
    return Measurement(comparison, seconds, memory.mebibytes(), str(device))


def complete(
    setup: BRECSetup,
    pairs: GraphPairs,
    out: Path,
    numbers: Sequence[int],
    seeds: Sequence[int],
    device: str = "cpu",
    announce: Callable[[int, int, Measurement], object] = lambda seed, number, measured: None,
    *,
    overwrite: bool = False,
) -> None:
    """Measure the pairs that the folder does not hold, each kept as soon as it is measured.

    Args:
        setup: what is measured.
        pairs: of BREC.
        out: the folder.
        numbers: of pairs.
        seeds: each of which trains on every pair.
        device: of the computation.
        announce: called with seed, number and measurement of every pair, new or not.
        overwrite: whether pairs that were measured otherwise are measured again.

    Raises:
        ValueError: pairs that do not exist, a folder of another configuration, a model that does
            not fit.
    """
    wrong = next((k for k in numbers if not 0 <= k < len(pairs.pairs)), None)
    if wrong is not None or not numbers:
        raise ValueError(
            f"There is no pair {wrong}: choose from 0 to {len(pairs.pairs) - 1}."
            if numbers
            else "No pairs are chosen: name a range that is not empty, such as 0:400."
        )
    _claim(out, setup.record(pairs), overwrite=overwrite)
    for seed in seeds:
        for number in numbers:
            path = _file(out, seed, number)
            if path.exists():
                measured = _read(path)
            else:
                measured = measure(setup, pairs, number, seed, device)
                text = json.dumps(asdict(measured), indent=1) + "\n"
                replace_file(path, lambda part, text=text: part.write_text(text))
            announce(seed, number, measured)


def read_measurements(
    out: Path, seeds: Sequence[int], numbers: Sequence[int]
) -> dict[int, dict[int, Measurement]]:
    """Of each seed the pairs by number.

    Raises:
        ValueError: if some are missing.
    """
    missing = [(s, k) for s in seeds for k in numbers if not _file(out, s, k).exists()]
    if missing:
        seed, number = missing[0]
        raise ValueError(
            f"{out} lacks {len(missing)} of {len(seeds) * len(numbers)} measurements, such as pair "
            f"{number} of seed {seed}: run geqlib brec with the same --out first."
        )
    return {seed: {k: _read(_file(out, seed, k)) for k in numbers} for seed in seeds}


def totals(
    measured: Mapping[int, Measurement], parts: Mapping[str, int]
) -> dict[str, dict[str, float | None]]:
    """Counts of one seed by category, and of all as "all".

    Args:
        measured: by the number of the pair.
        parts: name -> how many pairs, in order.

    Returns:
        of each category that was measured: "pairs", "separated" and "failures" in reliability by
        the published threshold, "real" (separated - failures), "separated_exactly" and
        "failures_exactly" by Hotelling's, mean "seconds" and most "mebibytes" of a pair, and the
        largest "spread" of copies.
    """
    bounds = np.cumsum([0, *parts.values()])
    groups = {
        name: [m for k, m in measured.items() if bounds[i] <= k < bounds[i + 1]]
        for i, name in enumerate(parts)
    } | {"all": list(measured.values())}
    return {name: _sums(group) for name, group in groups.items() if group}


def best_seed(by_seed: Mapping[int, Mapping[str, Mapping[str, float | None]]]) -> int:
    """The first seed with most "real" pairs, which the protocol reports."""
    return max(by_seed, key=lambda seed: by_seed[seed]["all"]["real"] or 0)


def _sums(group: Sequence[Measurement]) -> dict[str, float | None]:
    tests = [m.comparison for m in group]
    separated = sum(test.separated for test in tests)
    failures = sum(not test.reliable for test in tests)
    memory = [m.mebibytes for m in group if m.mebibytes is not None]
    return {
        "pairs": len(group),
        "separated": separated,
        "failures": failures,
        "real": separated - failures,
        "separated_exactly": sum(test.separated_exactly for test in tests),
        "failures_exactly": sum(not test.reliable_exactly for test in tests),
        "seconds": sum(m.seconds for m in group) / len(group),
        "mebibytes": max(memory, default=None),
        "spread": max(test.spread for test in tests),
    }


def _transformed(graphs: Sequence[Data], transform: BaseTransform | None) -> list[Data]:
    if transform is None:
        return list(graphs)
    if isinstance(transform, MotifFeatures):
        return counted_together(graphs, transform)
    own = copy.deepcopy(transform)  # which keeps the counts of all copies that it sees
    return [own(graph) for graph in graphs]


def _file(out: Path, seed: int, number: int) -> Path:
    return out / f"seed{seed}" / f"pair{number:03}.json"


def _read(path: Path) -> Measurement:
    with reading(path, "is no measurement of a pair", "remove it, and run the command again"):
        content = json.loads(path.read_text())
        return Measurement(Comparison(**content.pop("comparison")), **content)


def _claim(out: Path, recipe: Recipe, *, overwrite: bool) -> None:
    """Refuse a folder of another configuration, and keep this one in it."""
    before = [*out.glob("seed*/pair*.json")]
    change = difference(out, recipe) if before else None
    if change and not overwrite:
        raise ValueError(
            f"{out} holds pairs that were measured otherwise ({change}): name another folder "
            "(--out), or measure them again (--overwrite)."
        )
    if change:
        for folder in {path.parent for path in before}:
            shutil.rmtree(folder)
    if change or not (out / FILE).exists() or not before:
        write_recipe(out, recipe)
