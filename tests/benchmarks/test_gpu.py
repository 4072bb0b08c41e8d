"""The measurement of a GPU, in its tiny version on a CPU."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks import gpu, provenance, rows
from benchmarks.device import contest as contests
from benchmarks.device import parity, runs, timing
from benchmarks.device.contest import (
    NOTE,
    DeadDeviceError,
    Entry,
    Setting,
    Workload,
    contest,
)
from benchmarks.device.remote import Peer, Remote
from benchmarks.device.stages import STAGES, Stage
from benchmarks.device.timing import Clock, OutOfTimeError
from benchmarks.peers import gaunt_cue, mace
from benchmarks.rows import Row, read_result
from benchmarks.tables import to_markdown
from benchmarks.workloads import CPU, Place, Step, ponita, power
from geqlib.kernels.sphere_power import Tables
from tests.contract import Case, Typed
from tests.gaunt import test_power
from tests.properties.cases import all_cases

FOREVER = Clock(math.inf)
DEVICE = torch.device("cuda")
HASHES = provenance.hashes
FAST = {"machine", "product", "power"}
CONTESTS = [name for name, stage in STAGES.items() if stage.columns == contests.columns]


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without peers in environments of their own, whose imports take long."""
    monkeypatch.setattr(mace, "BIN", tmp_path / "missing")
    monkeypatch.setattr(gaunt_cue, "FOLDER", tmp_path / "missing")
    monkeypatch.setattr(rows, "RESULTS", tmp_path / "results")
    present = {"stamp": "geqlib at abc", "hashes": {"code": "1"}}
    monkeypatch.setattr(gpu, "measured_with", lambda name: present)
    monkeypatch.setattr(provenance, "hashes", lambda name: present["hashes"])


def tiny(clock: Clock = FOREVER) -> Setting:
    return Setting(torch.device("cpu"), True, clock, 0.0)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in STAGES],
)
def test_every_stage_has_rows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # the contract suite compiles; here it would take minutes
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    actual = list(STAGES[name].rows(tiny()))
    labels = [row.labels for row in actual]
    assert labels and len(set(labels)) == len(labels)
    assert {len(label) for label in labels} == {len(STAGES[name].heads)}
    shown = {column.key for column in STAGES[name].columns(False)}
    for row in actual:
        assert row.cells and row.cells.keys() <= shown
        if name in CONTESTS and NOTE not in row.cells:
            assert row.number("eager") > 0
            assert "compile" in row.labels[1] or row.number("launches") > 0
    missing = [row for row in actual if NOTE in row.cells]
    assert all(row.origin == "peer" for row in missing), missing
    if name == "parity":
        assert [row.labels for row in actual if gpu.is_wrong(row)] == []
        assert len(actual) == len(all_cases())


def test_missing_peers_are_named() -> None:
    cells = {row.labels[1]: row.cells for row in STAGES["power"].rows(tiny())}
    assert cells["cuEquivariance SymmetricContraction"] == {
        NOTE: "cuEquivariance is not installed: make peers"
    }


# --- the gate ---------------------------------------------------------------------------------


class Layer(nn.Module):
    """x^3, and from the third call on (on the device) something with an error of one kind."""

    wrong = ""
    calls = 0

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        Layer.calls += 1
        if Layer.calls <= 2 or not Layer.wrong:
            return self.scale * x**3
        still = x.detach()
        wrong = {
            "values": 1.000001 * x**3,
            "first": still**3 + 3.00001 * still**2 * (x - still),
            "second": still**3 + 3 * still**2 * (x - still),
        }
        return self.scale * wrong[Layer.wrong]


def features(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    return {"x": (pos, "scalar")}


@pytest.mark.parametrize("wrong", ["", *parity.KINDS])
def test_the_gate_sees_errors_of_every_kind(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Layer, "wrong", wrong)
    monkeypatch.setattr(Layer, "calls", 0)
    verdict = parity.judge("cube", Case("cube", Layer, features, "scalar"), torch.device("cpu"))
    assert verdict.wrong.partition(" ")[0] == wrong
    if wrong == "second":
        assert verdict.errors["float64 values"] == verdict.errors["float64 first"] == 0


def test_the_gate_sees_a_wrong_layer_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = {case.name: case for case in test_power.TestContract.cases}
    assert [v.wrong for v in parity.gate(torch.device("cpu"), FOREVER, cases)] == [""]
    powers, calls = Tables.powers, []

    def wrong(self: Tables, x: Tensor) -> Tensor:
        calls.append(x)
        every = powers(self, x)
        factor = torch.ones_like(every[:, :1, :1, :1])
        factor[1:] = 1.0 if len(calls) <= 2 else 1.000001
        return every * factor

    monkeypatch.setattr(Tables, "powers", wrong)
    (verdict,) = parity.gate(torch.device("cpu"), FOREVER, cases)
    assert verdict.wrong.startswith("values in float64 differ")


def test_a_case_that_fails_is_wrong_and_costs_itself_alone() -> None:
    class Broken(Layer):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("no kernel")

    cases = {c.name: c for c in (Case("b", Broken, features, "scalar"),)}
    cases["cube"] = Case("cube", Layer, features, "scalar")
    verdicts = list(parity.gate(torch.device("cpu"), FOREVER, cases))
    assert [v.wrong for v in verdicts] == ["RuntimeError: no kernel", ""]
    assert not parity.passed(verdicts)


# --- contests ---------------------------------------------------------------------------------


def small() -> Step:
    return power(CPU, 1, nodes=4, channels=2)


def broken() -> Step:
    raise RuntimeError("out of registers")


WORKLOAD = Workload("w", {"ours": Entry(small), "theirs": Entry(broken, "peer")})


class Gpu(Setting):
    """A CPU that is treated as a CUDA device."""

    @property
    def cuda(self) -> bool:
        return True


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Setting:
    monkeypatch.setattr(timing, "launches", lambda run, device: 7)
    monkeypatch.setattr(timing, "peak_mebibytes", lambda run, device: 3.0)
    monkeypatch.setattr(timing, "captured", lambda run, device: lambda: None)
    return Gpu(torch.device("cpu"), True, FOREVER, 0.0)


def test_a_step_that_fails_costs_itself_alone() -> None:
    ours, theirs = contest(WORKLOAD, tiny())
    assert ours.number("eager") > 0 and NOTE not in ours.cells
    assert theirs.cells == {NOTE: "RuntimeError: out of registers"} and theirs.origin == "peer"


def test_an_update_leaves_the_weights_where_they_are() -> None:
    """Else a replayed loss could not be compared with an eager one."""
    step = ponita(CPU, 2, channels=4, basis=4, layers=1, update=True)
    before = [leaf.clone() for leaf in step.leaves]
    losses = [float(step()) for _ in range(3)]
    assert len(set(losses)) == 1 and losses[0] > 0
    for leaf, value in zip(step.leaves, before, strict=True):
        torch.testing.assert_close(leaf, value, rtol=0, atol=1e-12)


def test_replayed_launches_and_memory(device: Setting) -> None:
    ours, _ = contest(WORKLOAD, device)
    assert ours.cells.keys() == {"eager", "replayed", "launches", "memory"}
    assert (ours.number("launches"), ours.number("memory")) == (7, 3)
    still = Workload("w", {"ours": Entry(small, replay=False)})
    assert "replayed" not in next(contest(still, device)).cells


def test_a_step_that_cannot_be_replayed(device: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(run: Any, device: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(timing, "captured", refused)
    ours = next(contest(WORKLOAD, device))
    assert ours.cells[NOTE].startswith("no replay: RuntimeError: operation not")  # type: ignore
    assert ours.number("eager") > 0


def test_a_lost_device_ends_the_process(device: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a contestant fails, and when its replay does: then with what was measured before."""

    def refused(run: Any, device: Any) -> Any:
        raise RuntimeError("illegal memory access")

    monkeypatch.setattr(contests, "alive", lambda device: False)
    with pytest.raises(DeadDeviceError):
        list(contest(WORKLOAD, device))
    monkeypatch.setattr(timing, "captured", refused)
    measured = contest(Workload("w", {"ours": Entry(small)}), device)
    assert next(measured).number("eager") > 0
    with pytest.raises(DeadDeviceError):
        next(measured)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_step_on_a_device() -> None:
    step = power(Place(torch.device("cuda")), 1, nodes=64, channels=8)
    ours = next(
        contest(Workload("w", {"ours": Entry(lambda: step)}), replace(tiny(), device=DEVICE))
    )
    assert NOTE not in ours.cells, ours.cells
    assert ours.cells.keys() == {"eager", "replayed", "launches", "memory"}
    assert ours.number("launches") >= 10 and ours.number("memory") > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_steps_that_cannot_be_replayed_on_a_device() -> None:
    x = torch.ones(4, device=DEVICE)
    with pytest.raises(RuntimeError):
        timing.captured(lambda: x * x.sum().item(), DEVICE)
    assert timing.alive(DEVICE)
    calls = [0.0]

    def counting() -> Tensor:
        calls[0] += 1
        return x * calls[0]  # a number of the host, which a replay does not see change

    with pytest.raises(ValueError, match="another loss"):
        timing.captured(counting, DEVICE)


def test_interleaved_medians_repeat_short_steps() -> None:
    order: list[str] = []

    def step(name: str, seconds: float) -> Any:
        return lambda: (order.append(name), time.sleep(seconds))

    steps = {"a": step("a", 2e-4), "b": step("b", 3e-3)}
    actual = timing.interleaved(steps, torch.device("cpu"), 0.0)
    assert order[:4] == ["a", "a", "b", "b"]  # to see how long they take
    rounds = "".join(order[4:]).split("b")
    assert len(rounds) == 4 and rounds[-1] == "" and all(map(set, rounds[:-1]))
    assert actual["b"] >= 3e-3 and actual["a"] >= 2e-4


PEER = """
import json, sys
for line in sys.stdin:
    command = line.split()[0]
    print("a warning of a library", flush=True)
    reply = {"prepare": {"ready": True}, "time": {"seconds": 0.5}, "memory": {"error": "no memory"}}
    print(json.dumps(reply.get(command, {"value": 3})), flush=True)
"""


def test_a_peer_in_its_own_process() -> None:
    peer = Peer([sys.executable, "-c", PEER])
    step = Remote(peer, "prepare file train")
    assert step.seconds(1.0) == 0.5
    assert peer.ask("launches") == {"value": 3}
    with pytest.raises(RuntimeError, match="no memory"):
        step.counts()
    peer.process.kill()
    peer.process.wait()
    with pytest.raises(RuntimeError, match="the process of the peer has ended"):
        peer.ask("time")
    peer.close()


# --- the process that measures ----------------------------------------------------------------


def session(minutes: float = 1.0) -> gpu.Session:
    end = time.monotonic() + 60 * minutes
    return gpu.Session("now", torch.device("cpu"), True, end, minutes)


def stage(rows: Any) -> Stage:
    return replace(STAGES["machine"], rows=rows)


def one_row() -> Row:
    return Row(("copy",), {"rate": 1.0, "unit": "TB/s"})


def test_a_finished_stage_is_a_result() -> None:
    assert gpu.measure(session(), "machine", stage(lambda setting: iter([one_row()]))) == gpu.DONE
    result = read_result("gpu/machine")
    assert result.settings["state"] == gpu.DONE and result.settings["tiny"]
    assert result.environment["torch"].startswith(torch.__version__.partition("+")[0])
    (row,) = result.tables[0].rows
    assert row.stamp.startswith("geqlib at abc, ") and row.stamp.endswith("no GPU")
    assert "| copy | 1 | TB/s |" in to_markdown(result)
    assert "Parity gate: not run in this call." in to_markdown(result)


def test_a_stage_that_raises_keeps_its_rows_and_its_reason() -> None:
    def raises(setting: Setting) -> Iterator[Row]:
        yield one_row()
        raise RuntimeError("device-side assert")

    state = gpu.measure(session(), "machine", stage(raises))
    assert state == "RuntimeError: device-side assert"
    result = read_result("gpu/machine")
    assert result.settings["state"] == state and len(result.tables[0].rows) == 1
    assert "Not complete (RuntimeError: device-side assert)." in to_markdown(result)


def test_a_stage_is_cut_off_when_its_time_is_over() -> None:
    now = iter(range(100))

    def long(setting: Setting) -> Iterator[Row]:
        clock = Clock(2.5, lambda: next(now))
        for k in range(10):
            clock.check(f"row {k}")
            yield Row((f"copy {k}",), {"rate": 1.0})

    assert gpu.measure(session(), "machine", stage(long)).startswith("cut off before row 3")
    assert len(read_result("gpu/machine").tables[0].rows) == 3


def test_shares_of_the_minutes() -> None:
    whole = session(minutes=2.0)
    assert whole.clock(replace(STAGES["machine"], share=0.5)).left == pytest.approx(60, abs=1)
    late = replace(whole, end=time.monotonic() + 5)
    assert late.clock(STAGES["machine"]).left == pytest.approx(5, abs=1)
    with pytest.raises(OutOfTimeError, match="cut off before w"):
        list(contest(WORKLOAD, tiny(Clock(0.0, lambda: 1.0))))


def test_later_files_name_what_the_gate_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def gate(device: Any, clock: Any) -> Iterator[parity.Verdict]:
        yield parity.Verdict("a", {"float64 values": 0.0})
        yield parity.Verdict("b", {"float64 values": 1.0}, "values in float64 differ by 1e+00")

    monkeypatch.setattr(parity, "gate", gate)
    call = session()
    assert gpu.measure(call, "parity", STAGES["parity"]) == "wrong: b"
    gpu.measure(call, "machine", stage(lambda setting: iter([one_row()])))
    assert read_result("gpu/machine").tables[0].note == "Parity gate: wrong: b."


# --- the process that watches -----------------------------------------------------------------


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Processes that measure by another script, which sees the names of the stages."""

    def install(text: str) -> None:
        script = tmp_path / "worker.py"
        head = """
            import json, sys, time
            def say(stage, state):
                print("a library talks", flush=True)
                print(json.dumps({"stage": stage, "state": state}), flush=True)
            names = sys.argv[1:]
        """
        script.write_text(dedent(head) + dedent(text))
        command = lambda session, names: [sys.executable, str(script), *names]  # noqa: E731
        monkeypatch.setattr(gpu, "worker_command", command)

    return install


def test_a_process_that_ends_costs_its_stage_alone(worker: Any, capsys: Any) -> None:
    worker("""
        for name in names:
            say(name, "running")
            if name == "parity":
                raise SystemExit("illegal memory access")
            say(name, "done")
    """)
    outcomes = gpu.supervise(session(), ["machine", "parity", "ponita"])
    assert outcomes == {
        "machine": "done",
        "parity": "its process ended: illegal memory access",
        "ponita": "done",
    }
    assert "ponita: done" in capsys.readouterr().out


def test_a_stage_that_hangs_is_cut_off(worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    worker("""
        for name in names:
            say(name, "running")
            if name == "machine":
                time.sleep(60)
            say(name, "done")
    """)
    monkeypatch.setattr(gpu, "GRACE", 0.3)
    monkeypatch.setitem(STAGES, "machine", replace(STAGES["machine"], share=0.0))
    gpu.write(session(), "machine", STAGES["machine"], [one_row()], gpu.RUNNING, 0.0)
    outcomes = gpu.supervise(session(), ["machine", "ponita"])
    assert outcomes == {"machine": "cut off: it did not end in its time", "ponita": "done"}
    result = read_result("gpu/machine")
    assert result.settings["state"] == outcomes["machine"] and len(result.tables[0].rows) == 1
    assert result.tables[0].note == "Not complete (cut off: it did not end in its time)."


def test_stages_for_which_no_time_is_left(worker: Any) -> None:
    outcomes = gpu.supervise(session(minutes=-1.0), ["machine"])
    assert outcomes == {"machine": "not begun: the minutes were over"}


def test_a_process_that_says_nothing(worker: Any) -> None:
    worker("raise SystemExit('no torch')")
    assert gpu.supervise(session(), ["machine"]) == {
        "machine": "the process that measures did not start"
    }


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for words in ([], ["3bpa"], ["nbody", "--minutes", "1"]):
        monkeypatch.setattr(sys, "argv", ["gpu.py", *words])
        with pytest.raises(SystemExit, match=r"^This machine has no CUDA device that torch can"):
            gpu.main()


# what a machine may lack: all beside geqlib's own dependencies, and its installation
BARE = """
import importlib.metadata, sys
for name in {names}:
    sys.modules[name] = None
version = importlib.metadata.version
def installed(name):
    if name == "geqlib":
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)
importlib.metadata.version = installed
"""
LACKING = ["ase", "hypothesis", "jsonargparse", "lightning", "mace", "matplotlib", "pytest"]
LACKING += ["pytorch_lightning", "rich", "safetensors", "sklearn", "torchmetrics", "vesin", "yaml"]


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command in a process and a folder of its own, on a machine without packages."""

    def call(*words: str) -> Any:
        (tmp_path / "sitecustomize.py").write_text(BARE.format(names=LACKING))
        environment = {"PYTHONPATH": str(tmp_path), "GEQLIB_RESULTS": str(tmp_path / "results")}
        return subprocess.run(
            [sys.executable, str(Path(gpu.__file__).resolve()), *words],
            cwd=tmp_path,
            env=os.environ | environment,
            capture_output=True,
            text=True,
        )

    return call


def test_a_machine_without_packages(bare: Any) -> None:
    """What lacks a package is skipped by name; a gate that could not be asked is no success."""
    stages = ["parity", "machine", "dynamics", "power"]
    done = bare("--device", "cpu", "--minutes", "5", "--stages", *stages)
    assert done.stderr == "" and done.returncode == 1
    for line in (
        "parity: skipped: pytest is not installed",
        "machine: done",
        "dynamics: skipped: ase is not installed",
        "power: done",
    ):
        assert line in done.stdout.splitlines()
    assert "Parity gate: skipped: pytest is not installed." in done.stdout
    row = read_result("gpu/power").tables[0].rows[0]
    assert row.number("eager") > 0 and row.number("launches") > 0


def test_training_names_the_package_that_it_lacks(bare: Any) -> None:
    done = bare("nbody", "--device", "cpu")
    assert done.returncode == 1
    assert done.stderr == "Training needs a package: lightning is not installed.\n"


@pytest.mark.slow
def test_all_stages_on_a_machine_without_packages(bare: Any) -> None:
    """All but the gate, which needs pytest, and torch.compile, which takes minutes."""
    names = [name for name in STAGES if name not in ("parity", "compiled")]
    done = bare("--device", "cpu", "--minutes", "20", "--stages", *names)
    ends = {name: read_result(f"gpu/{name}").settings["state"] for name in names}
    assert ends.pop("dynamics") == "skipped: ase is not installed"
    assert set(ends.values()) == {gpu.DONE} and done.returncode == 0
    notes = [row.cells.get(NOTE) for row in read_result("gpu/potential").tables[0].rows]
    assert "MACE's step needs a package: ase is not installed" in notes


def test_the_contract_suite_needs_no_package_of_training(tmp_path: Path) -> None:
    """So that the parity gate sees every case on a machine that has pytest and hypothesis."""
    lacking = [name for name in LACKING if name not in ("pytest", "hypothesis")]
    (tmp_path / "sitecustomize.py").write_text(BARE.format(names=lacking))
    script = "from tests.properties.cases import all_cases; print(len(all_cases()))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{provenance.TOP}"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"{len(all_cases())}\n", done.stderr


def test_exit_codes() -> None:
    """The gate must have said that all is right; other stages must only not have failed."""
    late = "cut off before w: its time was over"
    for state in ("wrong: b", late, "skipped: pytest is not installed", "not begun: late", "Error"):
        assert gpu.failed({"machine": gpu.DONE, "parity": state})
    for state in (late, "skipped: ase is not installed", "not begun: the minutes were over"):
        assert not gpu.failed({"parity": gpu.DONE, "machine": state})
        assert not gpu.failed({"machine": state})
    assert gpu.failed({"machine": "RuntimeError: no kernel"})


def test_an_open_gate_is_the_exit_code(worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    worker("""
        for name in names:
            say(name, "wrong: b" if name == "parity" else "done")
    """)
    words = ["gpu.py", "--device", "cpu", "--stages", "parity", "machine"]
    monkeypatch.setattr(sys, "argv", words)
    assert gpu.main() == 1
    monkeypatch.setattr(sys, "argv", [*words[:-2], "machine"])
    assert gpu.main() == 0


@pytest.mark.slow
def test_provenance_of_every_file() -> None:
    assert all(HASHES(f"gpu/{name}")["code"] for name in (*STAGES, *runs.PROTOCOLS))
    used = provenance.used_by("gpu/nbody", provenance.checkout(provenance.TOP))
    assert {protocol.config.name for protocol in runs.PROTOCOLS.values()} <= {
        *used["configuration"]
    }
    assert "geqlib.ponita.network.PONITA" in used["code"]


@pytest.mark.slow
def test_the_whole_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("GEQLIB_RESULTS", str(tmp_path / "results"))
    words = ["--device", "cpu", "--minutes", "2", "--stages", "machine", "product"]
    monkeypatch.setattr(sys, "argv", ["gpu.py", *words])
    assert gpu.main() == 0
    assert "product: done" in capsys.readouterr().out
    results = [read_result(f"gpu/{name}") for name in words[-2:]]
    assert {result.settings["state"] for result in results} == {gpu.DONE}
    assert len({result.settings["session"] for result in results}) == 1
    assert ("L = 1, 20 x 4", "geqlib, grid") in {row.labels for row in results[1].tables[0].rows}


# --- training by published protocols ----------------------------------------------------------

SMALL = (
    "model.init_args.model.init_args.channels=4",
    "model.init_args.model.init_args.basis=4",
    "model.init_args.model.init_args.layers=1",
    "data.init_args.train=100",
    "data.init_args.val=8",
    "data.init_args.test=8",
    "data.init_args.input_frame=0",
    "data.init_args.target_frame=1",
    "trainer.max_epochs=3",
    "trainer.check_val_every_n_epoch=1",
)


def train(*words: str) -> None:
    assert runs.main(["nbody", "--device", "cpu", *words]) == 0


@pytest.mark.slow
def test_minutes_add_up_and_one_recipe_is_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "RUNS", tmp_path / "runs")
    with pytest.raises(SystemExit, match="No recipe has been validated"):
        runs.main(["nbody", "--device", "cpu", "--test"])
    train("--minutes", "0", "--change", *SMALL)
    (row,) = (r for r in read_result("gpu/nbody").tables[0].rows if r.origin == "geqlib")
    assert (row.number("epochs"), row.number("of")) == (1, 3)
    train("--minutes", "5", "--change", *SMALL)
    (row,) = (r for r in read_result("gpu/nbody").tables[0].rows if r.origin == "geqlib")
    assert row.number("epochs") == 3 and "test/mse" not in row.cells
    train("--test")
    train("--minutes", "5", "--change", *SMALL, "model.init_args.lr=1e-12")
    tested = (tmp_path / "runs" / "gpu-nbody" / "tested.json").read_text()
    train("--test")  # the first one, again
    actual = [r for r in read_result("gpu/nbody").tables[0].rows if r.origin == "geqlib"]
    assert ["test/mse" in r.cells for r in actual] == [True, False]
    assert (tmp_path / "runs" / "gpu-nbody" / "tested.json").read_text() == tested


def test_recipes_have_folders_of_their_own() -> None:
    folders = {
        runs.recipe_folder("3bpa", changes)
        for changes in ([], ["a.lr=1"], ["a.lr=2"], [f"a.x{k}=1" for k in range(40)])
    }
    assert len(folders) == 4 and max(len(folder.name) for folder in folders) <= 80
    with pytest.raises(ValueError, match="must be KEY=VALUE"):
        runs.parted("lr")
