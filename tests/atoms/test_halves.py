"""Batches that do not fit into memory: results of their halves are those of the whole."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from ase.io import read

from geqlib.atoms.halves import halves, in_halves
from geqlib.models import energy_forces
from geqlib.train.tasks import energy
from tests.atoms.atoms import batch, pairs
from tests.train import tiny
from tests.train.potential import config, write_frames

SIZES, PERIODIC = (4, 1, 3, 5, 2), (True, False, True, False, False)


OF_A_GPU = torch.OutOfMemoryError("CUDA out of memory")


def limited(most: int, graphs: list[int], error: Exception = OF_A_GPU) -> Any:
    """`energy_forces` on a device that holds so many atoms."""
    potential = pairs()

    def evaluate(pos: torch.Tensor, **fields: Any) -> dict[str, torch.Tensor]:
        if len(pos) > most:
            raise error
        graphs.append(fields["num_graphs"])
        return energy_forces(potential, pos, **fields, stress=True)

    return evaluate


def of_a_cpu() -> Exception:
    """What torch raises for more memory than there is."""
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60, dtype=torch.uint8)
    return raised.value


@pytest.mark.parametrize("error", [OF_A_GPU, of_a_cpu()], ids=["gpu", "cpu"])
def test_halves_give_the_results_of_the_whole(error: Exception) -> None:
    tensors = batch(SIZES, PERIODIC)
    expected = energy_forces(pairs(), **tensors, stress=True)
    graphs: list[int] = []
    with pytest.warns(UserWarning, match="do not fit into the memory of the device and are split"):
        results = in_halves(limited(6, graphs, error), tensors)
    assert sum(graphs) == len(SIZES) and len(graphs) > 2
    assert results.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(results[name], value, rtol=1e-12, atol=1e-12)


def test_edges_in_any_order() -> None:
    tensors = batch(SIZES, PERIODIC)
    order = torch.randperm(
        tensors["edge_index"].size(1), generator=torch.Generator().manual_seed(0)
    )
    new = torch.empty_like(order)
    new[order] = torch.arange(len(order))
    mixed = tensors | {"edge_index": tensors["edge_index"][:, order]}
    mixed |= {"cell_shift": tensors["cell_shift"][order], "reverse": new[tensors["reverse"][order]]}
    for half in halves(mixed):
        ends, back = half["edge_index"], half["reverse"]
        assert torch.equal(ends[:, back], ends.flip(0))
        assert torch.equal(half["cell_shift"][back], -half["cell_shift"])
        assert len(half["cell"]) == half["num_graphs"] == int(half["batch"].max()) + 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = in_halves(limited(9, []), mixed)
    expected = energy_forces(pairs(), **tensors)
    torch.testing.assert_close(results["forces"], expected["forces"], rtol=1e-12, atol=1e-12)


def test_a_structure_that_does_not_fit_alone() -> None:
    tensors = batch(SIZES, PERIODIC)
    with warnings.catch_warnings(), pytest.raises(torch.OutOfMemoryError):
        warnings.simplefilter("ignore")
        in_halves(limited(4, []), tensors)


def test_other_errors_are_not_caught() -> None:
    error = RuntimeError("shapes do not match")
    with warnings.catch_warnings(), pytest.raises(RuntimeError, match="shapes do not match"):
        warnings.simplefilter("error")
        in_halves(limited(4, [], error), batch(SIZES, PERIODIC))


@pytest.mark.slow
def test_predictions_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with little memory, and one sentence."""
    write_frames(tmp_path / "train.xyz", 18)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config(tmp_path / "train.xyz", epochs=1)))
    run = tmp_path / "run"
    words = ["--config", str(tmp_path / "run.yaml"), "--trainer.default_root_dir", str(run)]
    assert tiny.geqlib(["fit", *words]) == 0
    whole = energy.energy_forces

    def little(potential: Any, pos: torch.Tensor, **fields: Any) -> dict[str, torch.Tensor]:
        if len(pos) > 10:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(potential, pos, **fields)

    def written(name: str) -> Any:
        file, out = str(tmp_path / "train.xyz"), tmp_path / name
        assert tiny.geqlib(["predict", str(run), file, "--out", str(out)]) == 0
        return read(out, ":")

    expected = written("a.xyz")
    monkeypatch.setattr(energy, "energy_forces", little)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("default")
        split = written("b.xyz")
    assert len([entry for entry in record if "are split" in str(entry.message)]) == 1
    for one, other in zip(expected, split, strict=True):
        assert other.get_potential_energy() == pytest.approx(one.get_potential_energy(), abs=1e-4)
