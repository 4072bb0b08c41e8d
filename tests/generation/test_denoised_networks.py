"""The contract of denoisers around networks other than PONITA: GauntNet, and averages on frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from geqlib.generation import Denoiser, DenoisingGauntNet, centred, loss_weight
from geqlib.graph.complete import complete_graphs
from geqlib.models import PONITA, PointNet
from geqlib.nn import FrameAveraging
from tests.contract import Case, Contract, all_edges
from tests.generation.test_denoiser import SMALL, fixed, noisy, rotation_error

FRAMES = "the number of frames depends on the points: see tests/frames"
GAUNT: dict[str, Any] = {"channels": 2, "width": 2, "degree": 1, "order": 2, "count": 3}
ON_FRAMES = {"pos": "point", "x": "scalar"}
PAIRS = ON_FRAMES | {"vec": "vector", "edge_index": "edge_index"}


class DrawnGauntNet(DenoisingGauntNet):
    """One whose outputs are not 0 before it is trained."""

    def zero_readout(self) -> None:
        pass


class DrawnPONITA(PONITA):
    """The same, of a grid of orientations that is not symmetric under all rotations."""

    def zero_readout(self) -> None:
        pass


class AllPairs(nn.Module):
    """What a user would write: messages from all other atoms along edges, not equivariant."""

    def __init__(self) -> None:
        super().__init__()
        self.message = nn.Sequential(nn.Linear(12, 4), nn.Tanh())
        self.read = nn.Linear(4, 5)

    def reset_parameters(self) -> None:
        self.message[0].reset_parameters()  # type: ignore[operator]
        self.read.reset_parameters()

    def forward(
        self, pos: Tensor, x: Tensor, edge_index: Tensor, batch: Tensor
    ) -> tuple[Tensor, Tensor]:
        features = torch.cat([pos, x], 1)
        source, target = edge_index
        message = self.message(torch.cat([features[source], features[target]], 1))
        h = message.new_zeros(len(pos), 4).index_add(0, target, message)
        scalars, vectors = self.read(h).split([2, 3], 1)
        return scalars, vectors[:, None]


def on_frames(network: nn.Module, inputs: dict[str, str], **options: Any) -> Denoiser:
    outputs = ("scalar", "vector")
    return Denoiser(FrameAveraging(network, "E(3)", inputs=inputs, outputs=outputs, **options),
                    ["H", "C"])  # fmt: skip


def point_net() -> PointNet:
    return PointNet(2, 1, level="node", in_scalars=3, channels=3)


BUILDS = {
    "GauntNet": lambda: Denoiser(DrawnGauntNet(3, 2, **GAUNT), ["H", "C"]),
    "PointNet on frames": lambda: on_frames(point_net(), ON_FRAMES),
    "PointNet on weighted frames": lambda: on_frames(point_net(), ON_FRAMES, mode="weighted"),
    "pairs on frames": lambda: on_frames(AllPairs(), ON_FRAMES | {"edge_index": "edge_index"}),
}
HIDDEN = {"compile": FRAMES, "export": FRAMES, "vmap": FRAMES}
# "T(3)" and "O(3)": positions are without their mean, so that translations change nothing
GROUPS = ("T(3)", "O(3)")


class TestContract(Contract):
    cases = (
        Case(
            "GauntNet",
            BUILDS["GauntNet"],
            noisy,
            ("vector", "scalar"),
            groups=GROUPS,
            extra=fixed,
            backend="eager",
        ),
        Case(
            "PointNet on frames",
            BUILDS["PointNet on frames"],
            noisy,
            ("vector", "scalar"),
            groups=GROUPS,
            extra=fixed,
            exceptions=HIDDEN,
        ),
    )


@pytest.mark.parametrize("name", BUILDS)
def test_all_rotations(name: str) -> None:
    """And reflections and translations, of drawn molecules, to rounding."""
    torch.manual_seed(0)
    assert rotation_error(BUILDS[name]().double()) < 1e-10


def test_a_frame_makes_a_grid_of_orientations_exact() -> None:
    torch.manual_seed(0)
    network = DrawnPONITA(3, 1, 2, 1, **SMALL, orientations=12)
    assert rotation_error(Denoiser(network, ["H", "C"]).double()) > 1e-3
    assert rotation_error(on_frames(network, PAIRS).double()) < 1e-10


def test_gaunt_net_begins_with_zero_outputs_and_learns() -> None:
    """D = y (1 + sigma) / (1 + sigma^2), and a step moves it."""
    torch.manual_seed(0)
    module = Denoiser(DenoisingGauntNet(3, 2, **GAUNT), ["H", "C"]).double()
    pos, x = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 2, dtype=torch.float64)
    sigma = torch.tensor([3.0], dtype=torch.float64)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(2):
        result = module(pos, x, sigma, all_edges(4))
        torch.testing.assert_close(result.x, x * 4 / 10)
        torch.testing.assert_close(result.pos, (pos - pos.mean(0)) * 4 / 10)
        module.reset_parameters()
    loss = module(pos, x, sigma, all_edges(4)).x.square().sum()
    loss.backward()
    optimizer.step()
    moved = module(pos, x, sigma, all_edges(4)).x.square().sum()
    assert float(moved.detach()) < float(loss.detach())


CONFIG = Path(__file__).parents[2] / "configs" / "qm9_generation_gaunt.yaml"
LEVELS = (0.1, 0.3, 0.3, 0.5, 1.0, 1.0, 3.0, 3.0)


def noisy_crystals(levels: Sequence[float], seed: int) -> dict[str, Any]:
    """18 atoms, 1.4 angstrom apart, once for each noise level."""
    torch.manual_seed(seed)
    cell = 1.4 * torch.cartesian_prod(torch.arange(3.0), torch.arange(3.0), torch.arange(2.0))
    count = len(levels)
    batch = torch.arange(count).repeat_interleave(18)
    clean = centred(cell.repeat(count, 1), batch, count)
    near = complete_graphs(18 * torch.arange(count + 1))
    return {
        "pos": clean,
        "x": one_hot(torch.arange(18) % 5, 5).repeat(count, 1) / 4,
        "noise": torch.randn(len(batch), 8),
        "sigma": torch.tensor(levels),
        "edges": {"edge_index": near.edge_index, "reverse": near.reverse},
        "graphs": {"batch": batch, "num_graphs": count},
    }


def denoising_loss(module: Denoiser, data: dict[str, Any]) -> Tensor:
    level = data["sigma"].repeat_interleave(18)[:, None]
    shift = centred(data["noise"][:, :3], *data["graphs"].values())
    noisy = data["pos"] + level * shift, data["x"] + level * data["noise"][:, 3:]
    estimate = module(*noisy, data["sigma"], **data["edges"], **data["graphs"])
    errors = [(loss_weight(level) * (a - data[k]).square()).mean()
              for a, k in zip(estimate, ("pos", "x"), strict=True)]  # fmt: skip
    return errors[0] + errors[1]


def published_gaunt_net() -> tuple[Denoiser, float, float]:
    """The configuration's, with fewer channels; its rate and its largest norm of gradients."""
    import yaml

    config = yaml.safe_load(CONFIG.read_text())
    options = config["model"]["init_args"]
    network = options["model"]["init_args"]["network"]["init_args"] | {"channels": 16}
    return (
        Denoiser(DenoisingGauntNet(**network)),
        options["lr"],
        config["trainer"]["gradient_clip_val"],
    )


def test_features_of_gaunt_net_have_one_scale_at_all_noise_levels() -> None:
    """Without normalised densities they are hundreds of times larger where atoms are crowded."""
    sizes: dict[str, list[float]] = {}
    torch.manual_seed(1)
    module = published_gaunt_net()[0]
    for name, layer in module.network.network.layers.named_children():  # type: ignore[union-attr]
        layer.register_forward_hook(
            lambda _, args, out, name=name: sizes.setdefault(name, []).append(
                float(out.detach().square().mean((0, 2)).sqrt().max())
            )
        )
    for level in (0.1, 3.0):
        denoising_loss(module, noisy_crystals([level], 1))
    assert len(sizes) == 2
    assert all(crowded < 10 * usual for usual, crowded in sizes.values()), sizes


def test_steps_of_the_configuration_lower_the_loss_of_gaunt_net() -> None:
    torch.manual_seed(1)
    module, rate, most = published_gaunt_net()
    optimizer = torch.optim.AdamW(module.parameters(), lr=rate)
    losses = []
    for step in range(8):
        loss = denoising_loss(module, noisy_crystals(LEVELS, step))
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), most)
        optimizer.step()
    assert max(losses) < 2 * losses[0] and sum(losses[-3:]) / 3 < losses[0], losses


def test_positions_reach_the_vectors_of_gaunt_net() -> None:
    torch.manual_seed(0)
    net = DenoisingGauntNet(3, 2, 2, **GAUNT).double()
    pos, x = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    one, two = (net(pos, x, vec, all_edges(4)) for vec in (pos[:, None], 3 * pos[:, None]))
    weight = net.own.weight.view(1, 2, 1)
    torch.testing.assert_close(two[1] - one[1], 2 * weight * pos[:, None])
    torch.testing.assert_close(two[0], one[0])


def test_gaunt_net_sees_elements_of_neighbours() -> None:
    """Of another atom alone, by messages."""
    torch.manual_seed(0)
    module = BUILDS["GauntNet"]().double()
    pos, x = torch.randn(3, 3, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)
    sigma = torch.ones(1, dtype=torch.float64)
    other = x.clone()
    other[2] += 1
    one, two = (module(pos, y, sigma, all_edges(3)).x[0] for y in (x, other))
    assert not torch.allclose(one, two)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="out_vectors=1, layers=1: they must be at least 1, 1, 1"):
        DenoisingGauntNet(3, 2, layers=1)
    with pytest.raises(ValueError, match=r"x has shape \(2, 2\), expected \[atoms, 3\]"):
        DenoisingGauntNet(3, 2, **GAUNT)(
            torch.zeros(2, 3), torch.zeros(2, 2), torch.zeros(2, 1, 3), all_edges(2)
        )
    with pytest.raises(ValueError, match=r"vec has shape \(2, 3\), expected \[atoms, 1, 3\]"):
        DenoisingGauntNet(3, 2, **GAUNT)(
            torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 3), all_edges(2)
        )
    with pytest.raises(
        ValueError, match="takes 'feat', and a denoiser has pos, x, vec, edge_index"
    ):
        on_frames(point_net(), ON_FRAMES | {"feat": "scalar"})
    with pytest.raises(ValueError, match="PointNet returns no vectors, along which"):
        on_frames(PointNet(2, level="node", in_scalars=3), ON_FRAMES)
    with pytest.raises(ValueError, match="PointNet has in_scalars=2, and a denoiser of H, C takes"):
        on_frames(PointNet(2, 1, level="node", in_scalars=2), ON_FRAMES)
    with pytest.raises(ValueError, match='build it with level="node"'):
        on_frames(PointNet(2, 1, in_scalars=3), ON_FRAMES)
