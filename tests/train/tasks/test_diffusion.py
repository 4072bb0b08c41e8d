"""The loss of diffusion by its formula, and what the task refuses."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

from geqlib.data import QM9Generation
from geqlib.data.packed import PackedGraphs
from geqlib.generation import Denoiser, DenoisingGauntNet, HeunSampler, Molecules
from geqlib.generation.denoiser import Denoised
from geqlib.models import PONITA, PointNet
from geqlib.nn import FrameAveraging
from geqlib.train import MoleculeDiffusion
from geqlib.train.steps.replay import Replay
from geqlib.train.tasks.validation_noise import validation_streams
from tests.data.molecules.raw_qm9 import write_npz
from tests.train.ragged import double
from tests.train.tasks.test_padding import Fitting, gradients

SMALL: dict[str, Any] = {"channels": 4, "layers": 1, "basis": 4}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> QM9Generation:
    folder = tmp_path_factory.mktemp("qm9")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEQLIB_DATA", str(folder))
        write_npz(folder)
        data = QM9Generation(train=12, val=3, target="alpha", batch_size=4)
        data.setup()
    return data


def batch_of(data: QM9Generation, count: int = 4) -> Any:
    return data.splits["train"].__getitems__(range(count))


def task(conditional: bool = False, **options: Any) -> MoleculeDiffusion:
    torch.manual_seed(0)
    network = PONITA(8 if conditional else 6, 1, 5, 1, **SMALL)
    return MoleculeDiffusion(Denoiser(network, conditional=conditional), **options)


class Recorded(Denoiser):
    """Keeps what it was shown and gave."""

    def forward(self, pos: Tensor, x: Tensor, sigma: Tensor, *args: Any, **rest: Any) -> Denoised:
        result = super().forward(pos, x, sigma, *args, **rest)
        self.__dict__["seen"] = pos, x, sigma, rest.get("condition"), result
        return result


def test_loss_by_its_formula(data: QM9Generation) -> None:
    """Molecule by molecule and atom by atom, from what the denoiser was shown and gave."""
    module, batch = Recorded(PONITA(6, 1, 5, 1, **SMALL)), batch_of(data)
    torch.manual_seed(1)
    loss = MoleculeDiffusion(module).loss(batch)
    pos, _, sigma, _, result = module.__dict__["seen"]
    denoised = [part.detach() for part in result]
    species = [1, 6, 7, 8, 9]
    total, atoms = [0.0, 0.0], len(pos)
    for graph in range(4):
        own = (batch.batch == graph).nonzero()[:, 0].tolist()
        centre, s = batch.pos[own].mean(0), float(sigma[graph])
        weight = min((s * s + 1) / (s * s), 1000.0)
        for atom in own:
            clean = (batch.pos[atom] - centre).tolist()
            types = [0.25 if int(batch.z[atom]) == z else 0.0 for z in species]
            for k, wanted in enumerate((clean, types)):
                errors = zip(wanted, denoised[k][atom].tolist(), strict=True)
                total[k] += weight * sum((a - b) ** 2 for a, b in errors)
        noise = pos[own] - (batch.pos[own] - centre)
        assert float(noise.mean(0).abs().max()) < 1e-6 * max(1.0, s)
    expected = total[0] / (3 * atoms) + total[1] / (5 * atoms)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)
    assert len(set(sigma.tolist())) == 4  # one for each molecule


def test_noise_levels_of_neighbours_may_be_equal(data: QM9Generation) -> None:
    """A level belongs to a molecule by its number: two of one level stay two molecules."""
    module, batch = task().denoiser, batch_of(data, 2)
    pos, x = batch.pos, module.encode(batch.z)
    both = module(pos, x, torch.tensor([0.5, 0.5]), batch.edge_index, batch.batch, 2)
    for graph in range(2):
        own = batch.batch == graph
        assert float(both.pos[own].mean(0).detach().abs().max()) < 1e-6


def test_validation_draws_the_same_noise(data: QM9Generation) -> None:
    module, batch = task(), batch_of(data)
    state = torch.get_rng_state()
    losses = [validation_loss(module, [batch]) for _ in range(2)]
    assert losses[0] == losses[1] and torch.equal(state, torch.get_rng_state())
    assert float(module.loss(batch).detach()) != float(module.loss(batch).detach())


@pytest.mark.parametrize("conditional", [False, True])
def test_validation_loss_does_not_depend_on_the_batches(
    data: QM9Generation, conditional: bool
) -> None:
    """Of molecules of different sizes, in their order and out of it."""
    module, molecules = task(conditional).double(), data.splits["train"]
    whole = validation_loss(module, [double(molecules.__getitems__(range(7)))])
    assert len({*molecules.counts["node"][:7].tolist()}) > 1
    for parts in ([[k] for k in range(7)], [[0, 1, 2], [3, 4, 5], [6]], [[6, 2, 4, 1], [0, 3, 5]]):
        batches = [double(molecules.__getitems__(part)) for part in parts]
        assert validation_loss(module, batches) == pytest.approx(whole, rel=3e-6)  # float32
    streams = validation_streams(molecules.__getitems__(range(2)))
    noisy = [module.noised(double(molecules.__getitems__(range(2))), streams) for _ in range(2)]
    assert not torch.equal(noisy[0].noise, noisy[1].noise)  # streams go on


def validation_loss(module: MoleculeDiffusion, batches: list[Any]) -> float:
    metrics: list[Any] = [module.metrics(batch, "val")["loss"] for batch in batches]
    loss = float(metrics[0].compute())
    metrics[0].reset()
    return loss


def test_properties_are_standardised_and_sometimes_hidden(data: QM9Generation) -> None:
    module = Recorded(PONITA(8, 1, 5, 1, **SMALL), conditional=True)
    training, batch = MoleculeDiffusion(module, unconditional=0.5), batch_of(data, 12)
    training.property_scale = data.target_scale()
    mean, std = data.target_scale()
    shown = []
    torch.manual_seed(0)
    for _ in range(20):
        training.loss(batch)
        condition = module.__dict__["seen"][3]
        conditioned = condition[:, 1] == 1
        standardised = ((batch.y - mean) / std)[conditioned]
        torch.testing.assert_close(condition[conditioned, 0], standardised)
        assert not condition[~conditioned].any()
        shown.append(conditioned.double().mean())
    assert 0.3 < float(torch.stack(shown).mean()) < 0.7


def test_what_is_refused(data: QM9Generation) -> None:
    batch = batch_of(data)
    network = PONITA(6, 1, 5, 1, **SMALL)
    with pytest.raises(ValueError, match="the model is PONITA: put it into one, as its `network`"):
        MoleculeDiffusion(network).check_batch(batch)
    few = MoleculeDiffusion(Denoiser(PONITA(3, 1, 2, 1, **SMALL), ["H", "C"]))
    with pytest.raises(ValueError, match="is not one of the species of the denoiser"):
        few.check_batch(batch_of(data, 12))
    some = batch.clone()
    some.edge_index, some.reverse = batch.edge_index[:, :0], batch.reverse[:0]
    with pytest.raises(ValueError, match="set `cutoff` of the data to null"):
        task().check_batch(some)
    with pytest.raises(ValueError, match="no histogram of atoms: say how many"):
        task().sample(range(2))
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"unconditional": 1.0}, "unconditional is a share"),
        ({"rules": "mine"}, "no rules of bonds 'mine': choose EDM or EDM-without-CO"),
        ({"samples": 0}, "samples at least 1"),
        ({"steps": 1}, "steps must be at least 2"),
    ]
    for options, message in wrong:
        with pytest.raises(ValueError, match=message):
            task(**options)


def test_samples_take_the_histogram_or_a_size(data: QM9Generation) -> None:
    module = task().eval()
    module.histogram = {4: 1}
    sampler = HeunSampler(2)
    assert module.sample(range(3), sampler=sampler).lengths.tolist() == [4, 4, 4]
    assert module.sample(range(2), sampler=sampler, atoms=7).lengths.tolist() == [7, 7]
    with pytest.raises(ValueError, match="knows no property"):
        module.sample(range(2), sampler=sampler, value=3.0)


def test_splits_are_those_of_the_papers(data: QM9Generation) -> None:
    import numpy as np

    index = 2 * np.random.RandomState(0).permutation(20) + 1
    assert data.splits["train"].index.tolist() == index[:12].tolist()
    assert data.splits["test"].index.tolist() == index[15:].tolist()
    assert isinstance(data.splits["train"], PackedGraphs)
    batch = batch_of(data)
    size = torch.bincount(batch.batch)
    assert batch.edge_index.size(1) == int((size * (size - 1)).sum())
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"split": "mine"}, "split must be one of EDM, PONITA"),
        ({"target": "energy"}, "target must be null or one of mu"),
        ({"num_train": 0}, "num_train must be from 1"),
    ]
    for options, message in wrong:
        with pytest.raises(ValueError, match=message):
            QM9Generation(**options)


def test_training_may_be_on_small_molecules(
    data: QM9Generation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    write_npz(tmp_path)
    sizes = data.splits["train"].counts["node"]
    atoms = int(sizes.median())
    small = data.splits["train"].index[sizes <= atoms].tolist()
    assert 1 < len(small) < 12

    def read(**options: Any) -> QM9Generation:
        module = QM9Generation(train=12, val=3, max_atoms=atoms, **options)
        module.setup()
        return module

    assert read().splits["train"].index.tolist() == small
    first = read(num_train=len(small) - 1)
    assert first.splits["train"].index.tolist() == small[:-1]
    assert len(first.splits["val"]) == 3
    with pytest.raises(ValueError, match=f"{len(small)} training molecules have at most {atoms}"):
        read(num_train=12)


def on_frames() -> Denoiser:
    network = PointNet(5, 1, level="node", in_scalars=6, channels=4)
    inputs = {"pos": "point", "x": "scalar"}
    return Denoiser(FrameAveraging(network, "E(3)", inputs=inputs, outputs=("scalar", "vector")))


def gaunt() -> Denoiser:
    return Denoiser(DenoisingGauntNet(6, 5, channels=2, degree=1, order=2, count=3))


def ponita() -> Denoiser:
    return Denoiser(PONITA(8, 1, 5, 1, **SMALL), conditional=True)


@pytest.mark.filterwarnings("ignore:cuda_graphs. cpu")
@pytest.mark.parametrize(("name", "stable"), [("EDM", 0.0), ("EDM-without-CO", 0.5)])
def test_samples_are_scored_by_the_rules_of_the_task(
    name: str, stable: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Carbon monoxide, whose oxygen has two bonds where the triple bond is unknown."""
    pos = torch.tensor([[0.0, 0, 0], [1.128, 0, 0]])
    molecules = Molecules(torch.tensor([6, 8]), pos, torch.tensor([2]))
    logged: dict[str, float] = {}
    module = task(rules=name, samples=1)
    module.histogram = {2: 1}
    process = SimpleNamespace(global_rank=0, world_size=1)
    monkeypatch.setattr(MoleculeDiffusion, "trainer", process)
    monkeypatch.setattr(module, "sample", lambda *_, **__: molecules)
    monkeypatch.setattr(module, "samples_path", lambda name: None)
    monkeypatch.setattr(module, "log", lambda name, value, **_: logged.update({name: value}))
    module.log_samples("val")
    assert logged["val/atom_stability"] == stable
    assert module.units["molecule_stability"] == f"rules {name}"  # beside it in reports


@pytest.mark.parametrize("build", [ponita, gaunt])
def test_replayed_steps_are_plain_steps(data: QM9Generation, build: Any) -> None:
    """With the noise that was drawn before: losses and gradients, in buckets of two sizes."""
    torch.manual_seed(0)
    module = MoleculeDiffusion(build()).double()
    module._trainer = Fitting()  # type: ignore[assignment]
    replay = Replay(module)
    for part in (range(4), range(4, 12), range(4)):
        batch = module.noised(double(data.splits["train"].__getitems__(part)))
        loss, grads = gradients(module, batch)
        outputs = replay.step(batch, 1, first=True)
        assert outputs is not None and not replay.refused
        torch.testing.assert_close(outputs["total"], loss, rtol=1e-11, atol=0)
        own = {n: p.grad for n, p in module.named_parameters() if p.grad is not None}
        assert own.keys() == grads.keys()
        for key, grad in grads.items():
            torch.testing.assert_close(own[key], grad, rtol=1e-8, atol=1e-10)


@pytest.mark.filterwarnings("ignore:cuda_graphs. cpu")
def test_frames_are_not_replayed(data: QM9Generation) -> None:
    """One sentence says why."""
    module = MoleculeDiffusion(on_frames())
    module._trainer = Fitting()  # type: ignore[assignment]
    replay, batch = Replay(module), module.noised(batch_of(data))
    with pytest.warns(UserWarning, match="training of MoleculeDiffusion with .* is not replayed"):
        assert replay.step(batch, 1, first=True) is None


@pytest.mark.filterwarnings("ignore")
def test_a_run_with_replayed_steps(
    data: QM9Generation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU one sentence says that there are no CUDA graphs, and the weights are the same."""
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    write_npz(tmp_path)
    states = []
    for cuda_graphs in (False, True):
        torch.manual_seed(0)
        module = MoleculeDiffusion(gaunt(), sample_every=0, cuda_graphs=cuda_graphs)
        quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False}
        quiet |= {"enable_model_summary": False}
        trainer = L.Trainer(max_epochs=2, accelerator="cpu", enable_checkpointing=False, **quiet)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            torch.manual_seed(1)
            trainer.fit(module, data)
        told = [str(one.message) for one in said if "cuda_graphs" in str(one.message)]
        assert len(told) == int(cuda_graphs), told
        states.append({k: x.clone() for k, x in module.state_dict().items()})
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, rtol=1e-4, atol=1e-5)
