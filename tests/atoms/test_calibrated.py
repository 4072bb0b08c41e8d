"""Standard deviations of a potential's last layer, against its definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from geqlib.atoms.calibrated import CalibratedPotential
from geqlib.graph import neighbor_list
from geqlib.models import DPA3, PONITA, EScAIP, GauntNet
from geqlib.testing import equivariance_error

NETWORKS = {
    "PONITA": lambda: PONITA(4, 0, 1, 0, channels=4, layers=2, orientations=8, cutoff=4.0),
    "GauntNet": lambda: GauntNet(["H", "C", "O"], channels=2, degree=2, cutoff=4.0),
    "EScAIP": lambda: EScAIP(4, channels=8, heads=1, layers=2, cutoff=4.0, k=5),
    "DPA3": lambda: DPA3(4, 4, 4, compressed=2, layers=2, readout=[6], cutoff=4.0, switch=3.0),
}


def potential(name: str) -> CalibratedPotential:
    torch.manual_seed(0)
    network: Any = NETWORKS[name]().double()
    weights = dict(network.named_parameters())
    size = sum(weights[key].numel() for key in network.last_weights)
    calibrated = CalibratedPotential(network, last=network.last_weights, features=size).double()
    calibrated.statistics.set(torch.arange(119.0).double(), torch.ones(119).bool(), 1.7, 0.3)
    return calibrated


def batch(seed: int = 0) -> dict[str, Any]:
    """Two molecules, a single atom and an empty graph."""
    generator = torch.Generator().manual_seed(seed)
    pos = 1.3 * torch.randn(10, 3, generator=generator, dtype=torch.float64)
    z = torch.tensor([1, 6, 8, 1, 6, 8, 1, 6, 8, 1])
    graph = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 1, 2])
    near = neighbor_list(pos, 4.0, batch=graph)
    return {"pos": pos, "z": z, "edge_index": near.edge_index, "batch": graph, "num_graphs": 4}


def with_weights(model: CalibratedPotential, weights: Tensor, fields: dict[str, Any]) -> Tensor:
    """Energies at other last weights, given one after another."""
    own = dict(model.named_parameters())
    names = [f"model.{name}" for name in model.last]
    pieces = weights.split([own[name].numel() for name in names])
    named = {name: w.view_as(own[name]) for name, w in zip(names, pieces, strict=True)}
    return functional_call(model, named, (), fields).interaction


@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_differences_of_energies(name: str) -> None:
    model, fields = potential(name), batch()
    features = model.features(**fields)
    zero = torch.zeros(features.size(1), dtype=torch.float64)
    for k in range(len(zero)):
        step = zero.clone()
        step[k] = 1.0
        with torch.no_grad():
            slope = with_weights(model, step, fields) - with_weights(model, zero, fields)
        assert torch.allclose(features[:, k], slope, rtol=0, atol=1e-12)
    assert not features[3].any()  # of no atoms


@pytest.mark.parametrize("name", NETWORKS)
def test_deviations_are_those_of_the_definition(name: str) -> None:
    model, fields = potential(name), batch()
    size = len(model.covariance.whitening)
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(size + 3, size, generator=generator, dtype=torch.float64)
    covariance = torch.linalg.inv(rows.T @ rows + 0.1 * torch.eye(size))
    model.covariance.set(torch.linalg.cholesky(covariance), 2.0, 3.0)
    result = model.deviations(**fields)

    features = model.features(**fields)
    energy = 2.0 * torch.einsum("gi,ij,gj->g", features, covariance, features).sqrt()
    assert torch.allclose(result["energy_std"], energy, rtol=1e-10, atol=1e-12)

    def energies_by_weight(pos: Tensor) -> Tensor:
        steps = torch.eye(size, dtype=torch.float64)
        return torch.stack([with_weights(model, e, {**fields, "pos": pos}).sum() for e in steps])

    slopes = torch.autograd.functional.jacobian(energies_by_weight, fields["pos"])  # [n, N, 3]
    at_zero = torch.autograd.functional.jacobian(
        lambda pos: with_weights(model, torch.zeros(size).double(), {**fields, "pos": pos}).sum(),
        fields["pos"],
    )
    slopes = slopes - at_zero
    squares = torch.einsum("inx,ij,jnx->n", slopes, covariance, slopes) / 3
    forces = 3.0 * squares.clamp(min=0).sqrt()
    assert torch.allclose(result["forces_std"], forces, rtol=1e-8, atol=1e-10)
    assert model.deviations(**fields, forces=False).keys() == {"energy_std"}


@pytest.mark.parametrize("name", NETWORKS)
def test_members_are_potentials_with_other_last_layers(name: str) -> None:
    """Energies and forces less those of the mean, times the factors; deviations over members."""
    model, fields = potential(name), batch()
    size, count = len(model.covariance.whitening), 5
    ensemble = CalibratedPotential(model.model, last=model.last, features=size, members=count)
    ensemble.share(model).double()
    generator = torch.Generator().manual_seed(1)
    layers = torch.randn(size, count, generator=generator, dtype=torch.float64)
    layers = layers - layers.mean(1, keepdim=True)
    ensemble.covariance.set(layers / 2, 2.0, 3.0)  # sqrt(count - 1)
    added = ensemble.of_members(**fields)

    own = dict(model.model.named_parameters())
    mean = torch.cat([own[key].detach().flatten() for key in model.last])
    pos = fields["pos"].requires_grad_()
    plain = with_weights(model, mean, {**fields, "pos": pos})
    forces = torch.autograd.grad(-plain.sum(), pos)[0]
    for k in range(count):
        energies = with_weights(model, mean + layers[:, k], {**fields, "pos": pos})
        other = torch.autograd.grad(-energies.sum(), pos)[0]
        difference = 2.0 * (energies - plain).detach()
        assert torch.allclose(added["energy"][:, k], difference, rtol=1e-9, atol=1e-10)
        difference = 3.0 * (other - forces)
        assert torch.allclose(added["forces"][..., k], difference, rtol=1e-8, atol=1e-9)

    result = ensemble.deviations(**fields)
    assert torch.allclose(result["energy_std"], added["energy"].std(1), rtol=1e-10, atol=1e-12)
    each = added["forces"].var(2).mean(1).sqrt()
    assert torch.allclose(result["forces_std"], each, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NETWORKS)
def test_deviations_are_invariant(name: str) -> None:
    model, fields = potential(name), batch()
    size = len(model.covariance.whitening)
    model.covariance.set(torch.eye(size), 1.0, 1.0)

    def deviations(pos: Tensor) -> tuple[Tensor, Tensor]:
        result = model.deviations(**{**fields, "pos": pos})
        return result["energy_std"], result["forces_std"]

    group = "E(3)" if name == "GauntNet" else "T(3)"
    error = equivariance_error(
        deviations, {"pos": (fields["pos"], "point")}, ("graph:scalar", "scalar"), group
    )
    assert error < 1e-11


def test_the_energy_must_be_linear_in_the_weights() -> None:
    model, fields = potential("PONITA"), batch()
    model.check_linear(**fields)
    names = dict(model.model.named_parameters())
    other = next(name for name in names if name.endswith("weight") and name not in model.last)
    for last in ((other,), (other, *model.last)):
        size = sum(names[name].numel() for name in last)
        wrong = CalibratedPotential(model.model, last=last, features=size).double()
        with pytest.raises(ValueError, match="The energy is not linear in"):
            wrong.check_linear(**fields)


def test_what_cannot_be_used_is_refused() -> None:
    model = potential("PONITA")
    with pytest.raises(ValueError, match="has no covariance: run `geqlib calibrate`"):
        model.deviations(**batch())
    with pytest.raises(ValueError, match="must be positive"):
        model.covariance.set(torch.eye(8), 0.0, 1.0)
    with pytest.raises(ValueError, match=r"has no parameter scalars\.weight"):
        CalibratedPotential(model.model, last=["scalars.weight"], features=8)
    with pytest.raises(ValueError, match=r"features is 7, but .* have 8 elements"):
        CalibratedPotential(model.model, last=model.last, features=7)
    with pytest.raises(ValueError, match="does not say in which parameters"):
        CalibratedPotential(nn.Linear(2, 1), last=(), features=1)
    with pytest.raises(ValueError, match="members must be at least 2, got 1"):
        CalibratedPotential(model.model, last=model.last, features=8, members=1)
    with pytest.raises(ValueError, match="is no ensemble: run `geqlib calibrate --ensemble"):
        model.of_members(**batch())


def test_casts_keep_the_covariance_exact() -> None:
    model = potential("GauntNet")
    size = len(model.covariance.whitening)
    model.covariance.set(torch.full((size, size), 1 / 3, dtype=torch.float64), 1 / 3, 1 / 7)
    cast = model.float()
    assert cast.covariance.whitening.dtype == torch.float64
    fields = batch()
    fields["pos"] = fields["pos"].float()
    assert cast.deviations(**fields)["forces_std"].dtype == torch.float64
