"""BREC pair by pair: a folder that is resumed, refused and summed up."""

from __future__ import annotations

import gc
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import GIN, global_add_pool

from geqlib.data.graphs.expressivity import BREC_PARTS, GraphPairs, graph_pairs, plain
from geqlib.motifs.brec import OUTPUTS, Comparison
from geqlib.motifs.exact import FEATURES
from geqlib.motifs.features import MotifFeatures
from geqlib.train.brec import (
    BRECSetup,
    Measurement,
    best_seed,
    complete,
    measure,
    read_measurements,
    totals,
)
from geqlib.train.exact_pairs import exactly_separated
from geqlib.train.steps.peak_memory import PeakMemory
from tests.data.graphs import raw_brec

TOP = Path(__file__).parents[2]
PAIRS = GraphPairs(
    tuple(map(plain, (raw_brec.RING, raw_brec.RINGS))), ((0, 1), (0, 0), (1, 0)), {"all": 3}
)
TEXT = """
model:
  class_path: geqlib.models.PPGNpp
  init_args: {in_channels: 1, out_channels: 16, channels: 4, layers: 2, degree: 4}
recipe: {epochs: 1, batch_size: 32}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "net.yaml"
    path.write_text(TEXT)
    return path


def comparisons(out: Path, seeds: list[int], numbers: list[int]) -> list[Comparison]:
    measured = read_measurements(out, seeds, numbers)
    return [measured[seed][k].comparison for seed in seeds for k in numbers]


class StoppedError(Exception):
    pass


def test_resumed_is_uninterrupted(config: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    setup = BRECSetup(config)
    complete(setup, PAIRS, whole, [0, 1, 2], [1, 2])

    def stop(seed: int, number: int, measured: Measurement) -> None:
        if (seed, number) == (1, 1):
            raise StoppedError

    with pytest.raises(StoppedError):
        complete(setup, PAIRS, parts, [0, 1, 2], [1, 2], announce=stop)
    remaining = {path: path.read_text() for path in parts.glob("seed*/*.json")}
    assert len(remaining) == 2 and not list(parts.glob("seed*/.*"))
    with pytest.raises(ValueError, match=r"lacks 4 of 6 measurements, such as pair 2 of seed 1"):
        read_measurements(parts, [1, 2], [0, 1, 2])
    complete(BRECSetup(config), PAIRS, parts, [2, 1, 0], [2, 1])  # in another order
    assert comparisons(whole, [1, 2], [0, 1, 2]) == comparisons(parts, [1, 2], [0, 1, 2])
    assert all(path.read_text() == text for path, text in remaining.items())
    # equal graphs are never separated, and copies of one never differ, whatever was trained
    equal = comparisons(whole, [1, 2], [1])
    assert not any(test.separated or test.separated_exactly for test in equal)
    every = comparisons(whole, [1, 2], [0, 1, 2])
    assert all(test.reliable and test.spread < 1e-5 and test.epochs == 1 for test in every)


def test_other_configurations_are_refused(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    complete(BRECSetup(config), PAIRS, out, [0], [1])
    before = comparisons(out, [1], [0])
    other = BRECSetup(config, ["--recipe.epochs=2"])
    with pytest.raises(ValueError, match=r"measured otherwise \(recipe.epochs was 1 and is 2\)"):
        complete(other, PAIRS, out, [0, 1], [1])
    assert comparisons(out, [1], [0]) == before
    fewer = replace(PAIRS, graphs=PAIRS.graphs[::-1])
    with pytest.raises(ValueError, match=r"measured otherwise \(the data has changed\)"):
        complete(BRECSetup(config), fewer, out, [0], [1])
    complete(other, PAIRS, out, [0], [1], overwrite=True)
    assert comparisons(out, [1], [0])[0].epochs == 2
    (out / "recipe.json").unlink()
    with pytest.raises(ValueError, match="no record of how it was made"):
        complete(other, PAIRS, out, [0], [1])


def test_damaged_files_are_named(config: Path, tmp_path: Path) -> None:
    complete(BRECSetup(config), PAIRS, tmp_path, [0], [1])
    (tmp_path / "seed1" / "pair000.json").write_text('{"comparison": {}}')
    with pytest.raises(ValueError, match=r"pair000.json is no measurement of a pair"):
        read_measurements(tmp_path, [1], [0])


def test_another_network_for_every_seed_and_pair(config: Path, tmp_path: Path) -> None:
    """The weights that a network begins with are a function of seed and pair, and of no other."""
    weights = {}
    setup = BRECSetup(config)
    build = setup.model

    def model() -> Any:
        net = build()
        weights[len(weights)] = net.out.weight.detach().clone()
        return net

    setup.model = model  # type: ignore[method-assign]
    for seed, number in ((1, 0), (1, 2), (2, 0), (1, 0)):
        measure(setup, PAIRS, number, seed)
    assert torch.equal(weights[0], weights[3])
    assert not any(torch.equal(weights[0], weights[k]) for k in (1, 2))


@pytest.mark.parametrize("name", ["ppgnpp", "spen"])
def test_configurations_of_the_repository(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps on a pair of equal graphs, which the protocol must not separate."""
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    raw_brec.write(tmp_path)
    small = ["--recipe.epochs=1", "--recipe.batch_size=32"]
    setup = BRECSetup(TOP / "configs" / f"brec_{name}.yaml", small)
    complete(setup, graph_pairs("BREC"), tmp_path / "out", [1], [100])
    (result,) = comparisons(tmp_path / "out", [100], [1])
    assert result.epochs == 1 and not result.separated and result.reliable
    assert setup.exact in FEATURES


def test_counts_of_copies_are_not_kept(config: Path) -> None:
    """32 copies of 400 pairs would fill the memory."""
    config.write_text(TEXT + TRANSFORM.format(kinds="graph: cliques"))
    setup = BRECSetup(config, ["--model.init_args.graph_dim=4"])
    measure(setup, PAIRS, 0, 1)
    assert isinstance(setup.transform, MotifFeatures)
    assert not any(part.cache for part in setup.transform.parts.values())


class WholeBatch(nn.Module):
    """A user's network of torch_geometric, which takes batches as one argument."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = GIN(width, 32, 2, OUTPUTS, act="tanh")

    def forward(self, data: Any) -> Tensor:
        features = torch.cat([data.x, data.motifs[data.batch]], 1)
        return global_add_pool(self.net(features, data.edge_index), data.batch, data.num_graphs)


def test_networks_that_take_whole_batches(tmp_path: Path) -> None:
    """With counts of nodes and graphs, which `forward` does not name."""
    model = f"model: {{class_path: {__name__}.WholeBatch, init_args: {{width: 6}}}}\n"
    kinds = TRANSFORM.format(kinds="nodes: [C3], graph: cliques")
    (tmp_path / "net.yaml").write_text(model + "recipe: {epochs: 1, ridge: 1.0e-7}" + kinds)
    complete(BRECSetup(tmp_path / "net.yaml"), PAIRS, tmp_path / "out", [0, 1], [1])
    ring_and_rings, ring_and_itself = comparisons(tmp_path / "out", [1], [0, 1])
    assert ring_and_rings.statistic > ring_and_itself.statistic == 0


TRANSFORM = """
transform: {{class_path: geqlib.motifs.features.MotifFeatures, init_args: {{{kinds}}}}}
"""
ERRORS = {
    "exact": (TEXT + "exact: 3-WL", [], "no exact features '3-WL': choose from 1-WL; graphlet"),
    "features": (TEXT + TRANSFORM.format(kinds="pairs: orbits"), [], "PPGNpp has pair_dim=0"),
    "model": ("transform: null", [], "model"),
    "class": ("model: {class_path: geqlib.models.None}", [], "geqlib.models.None"),
    "key": (TEXT, ["--recipe.epoch=2"], "epoch"),
    "value": (TEXT, ["--recipe.batch_size=3"], "batch_size must be an even number"),
    "shape": (TEXT, ["--model.init_args.out_channels=3"], r"\(32, 3\) for 32 graphs, expected"),
    "argument": (TEXT, ["--model.init_args.layers=0"], "layers must be at least 1"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str, tmp_path: Path) -> None:
    text, overrides, message = ERRORS[name]
    (tmp_path / "net.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        complete(BRECSetup(tmp_path / "net.yaml", overrides), PAIRS, tmp_path / "out", [0], [1])
    assert not list(tmp_path.glob("out/seed*/*.json"))


def test_pairs_that_do_not_exist(config: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no pair 3: choose from 0 to 2"):
        complete(BRECSetup(config), PAIRS, tmp_path / "out", [0, 3], [1])
    with pytest.raises(ValueError, match="There is no configuration"):
        BRECSetup(tmp_path / "none.yaml")


def measurement(statistic: float, reliability: float) -> Measurement:
    return Measurement(Comparison(statistic, reliability, 0.1, 20, 1e-7), 2.0, 30.0, "cpu")


def test_exact_features_of_other_pairs_are_computed_anew(tmp_path: Path) -> None:
    """In a folder that is measured again with another set."""
    ring, rings = PAIRS.graphs
    for graphs, differ in (((ring, rings), True), ((ring, ring), False)):
        pairs = GraphPairs(graphs, ((0, 1),), {"all": 1})
        for _ in range(2):
            assert exactly_separated(pairs, [0], "folklore 2-WL", tmp_path) == {0: differ}


def test_totals() -> None:
    numbers = [0, 59, 60, 359, 399]
    values = [(1e3, 1.0), (1e3, 1e2), (10.0, 3.0), (0.0, 0.5), (1e5, 1.0)]
    measured = {k: measurement(*v) for k, v in zip(numbers, values, strict=True)}
    result = totals(measured, BREC_PARTS)
    assert list(result) == ["basic", "regular", "CFI", "distance regular", "all"]
    assert [result["basic"][key] for key in ("pairs", "separated", "failures", "real")] == [
        2, 2, 1, 1,
    ]  # fmt: skip
    assert result["regular"]["separated"] == 0 and result["regular"]["separated_exactly"] == 1
    assert result["all"]["real"] == 2 and result["all"]["failures_exactly"] == 2
    assert result["all"]["seconds"] == 2.0 and result["all"]["mebibytes"] == 30.0
    fewer = totals({0: measured[0]}, BREC_PARTS)
    assert best_seed({100: fewer, 200: result, 300: result}) == 200


def test_peak_memory_sees_a_tensor_that_is_gone() -> None:
    gc.collect()  # what it would give back in between hides the tensor
    memory = PeakMemory()
    if memory.mebibytes() is None:
        pytest.skip("this system does not count")
    torch.ones(2**25)  # 128 MiB
    assert 100 < (memory.mebibytes() or 0) < 200


def test_records_are_json(config: Path, tmp_path: Path) -> None:
    complete(BRECSetup(config), PAIRS, tmp_path, [0], [1])
    content = json.loads((tmp_path / "seed1" / "pair000.json").read_text())
    assert content["device"] == "cpu" and content["seconds"] > 0
