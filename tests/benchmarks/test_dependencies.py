"""Definitions that a script leads to: those that may change a number, and not those beside them."""

from __future__ import annotations

import ast
from pathlib import Path
from textwrap import dedent

import pytest

from benchmarks.dependencies import Checkout, Definition
from benchmarks.provenance import TOP

TREE = {
    "benchmarks/accuracy/balls.py": """
        import sys
        from typing import TYPE_CHECKING
        from geqlib import walls
        from geqlib.models import Ball
        if TYPE_CHECKING:
            from geqlib.cubes import Typed
        PUBLISHED = {"paper": 0.1}
        PEER = "benchmarks.peers.nets.Net"
        WORKER = "worker.py"
        CONFIGS = "configs/balls.yaml"
        CLASS = f"geqlib.shapes.{sys.argv}"

        def main(table: "Typed"):
            return Ball(), getattr(walls, sys.argv[1])
    """,
    "benchmarks/peers/nets.py": "class Net: x = 1\nclass Other: y = 1\n",
    "benchmarks/peers/worker.py": "def work(): return 1\n",
    "configs/balls.yaml": "class_path: geqlib.models.Task\n",
    "geqlib/__init__.py": "",
    "geqlib/models/__init__.py": """
        from geqlib.balls import Ball
        from geqlib.cubes import Cube
        from geqlib.tasks import Task
    """,
    "geqlib/balls.py": """
        import math
        from dataclasses import dataclass
        from geqlib import units
        from geqlib.solids import Attribute, Base, Tested, Value, rounded
        DENSITY = 2
        RADIUS = 3

        def unrelated():
            return 1

        @rounded
        def mass(value: Value, radius=RADIUS):
            from geqlib.late import LATE
            if isinstance(value, Tested):
                return 1
            return math.pi * radius * DENSITY * LATE * units.METRE

        class Ball(Base):
            attribute: Attribute

            def weight(self):
                return mass(1)
    """,
    "geqlib/solids.py": """
        TABLE, COUNT = {}, [0]

        class Attribute: a = 1
        class Value: b = 1
        class Tested: c = 1
        class Base: d = 1

        def rounded(function):
            return function

        def register(name):
            return lambda function: TABLE.setdefault(name, function)

        @register("sphere")
        def sphere(): return 1

        for name in ("x", "y"):
            TABLE[name] = COUNT
    """,
    "geqlib/units.py": "METRE = 1\nYARD = 2\n",
    "geqlib/late.py": "LATE = 1\nLATER = 2\n",
    "geqlib/walls.py": "def brick(): return 1\n",
    "geqlib/shapes.py": "from geqlib.shapes_of_old import *\nclass Shape: s = 1\n",
    "geqlib/shapes_of_old.py": "class Older: o = 1\n",
    "geqlib/cubes.py": "class Cube: e = 1\nclass Typed: t = 1\n",
    "geqlib/tasks.py": """
        from importlib import import_module
        from geqlib.units import METRE as UNIT

        class Network: n = 1

        class Task:
            def __init__(self, network: Network):
                self.module = import_module("geqlib.loaded")

            def step(self, data: "Data"):
                return {"class_path": "geqlib.named.Named"}

        class Data: d = 1
    """,
    "geqlib/loaded.py": "LOADED = 1\n",
    "geqlib/named.py": "class Named: f = 1\nclass Unnamed: g = 1\n",
}


@pytest.fixture
def top(tmp_path: Path) -> Path:
    for name, text in TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(dedent(text))
    return tmp_path


def codes(top: Path) -> dict[Definition, str]:
    checkout = Checkout(top)
    definitions, _ = checkout.reached(("benchmarks.accuracy.balls",))
    return {definition: checkout.code(definition) for definition in definitions}


def after(top: Path, name: str, old: str, new: str) -> bool:
    """Whether a change of a file changes what the script uses."""
    before, path = codes(top), top / name
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))
    return codes(top) != before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("geqlib/balls.py", "math.pi * radius", "math.e * radius"),  # called by a method
        ("geqlib/balls.py", "import math", "import numpy as math"),
        ("geqlib/balls.py", "RADIUS = 3", "RADIUS = 4"),  # default argument
        ("geqlib/balls.py", "DENSITY = 2", "DENSITY = 3"),
        ("geqlib/balls.py", "return mass(1)", "return mass(2)"),
        ("geqlib/late.py", "LATE = 1", "LATE = 2"),  # imported in a function
        ("geqlib/units.py", "METRE = 1", "METRE = 2"),  # attribute of a module
        ("geqlib/solids.py", "d = 1", "d = 2"),  # base class
        ("geqlib/solids.py", "a = 1", "a = 2"),  # annotation of an attribute
        ("geqlib/solids.py", "return function", "return print"),  # decorator
        ("geqlib/solids.py", "sphere(): return 1", "sphere(): return 2"),  # registered
        ("geqlib/solids.py", '("x", "y")', '("x", "z")'),  # on import
        ("geqlib/solids.py", "[0]", "[1]"),  # of what acts on import
        ("geqlib/tasks.py", "n = 1", "n = 2"),  # annotation of a constructor
        ("geqlib/tasks.py", "def step", "def steps"),  # a class that a configuration names
        ("geqlib/loaded.py", "1", "2"),  # by import_module
        ("geqlib/named.py", "f = 1", "f = 2"),  # by a class_path
        ("benchmarks/peers/nets.py", "x = 1", "x = 2"),  # by a string
        ("benchmarks/peers/worker.py", "1", "2"),  # by the name of a file
        ("geqlib/walls.py", "1", "2"),  # a module as a value
        ("geqlib/shapes.py", "s = 1", "s = 2"),  # by a formatted string
        ("geqlib/shapes_of_old.py", "o = 1", "o = 2"),  # by import *
        ("benchmarks/accuracy/balls.py", "return Ball()", "return Ball(1)"),
    ],
)
def test_what_may_change_a_number(top, name, old, new):
    assert after(top, name, old, new)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("geqlib/balls.py", "return 1\n\n@", "return 2\n\n@"),  # in the same module
        ("geqlib/balls.py", "import math", "# of circles\nimport  math"),
        ("geqlib/balls.py", "return mass(1)", '"""In newtons."""\n        return mass(1)'),
        ("geqlib/units.py", "YARD = 2", "YARD = 3"),
        ("geqlib/late.py", "LATER = 2", "LATER = 3"),
        ("geqlib/solids.py", "b = 1", "b = 2"),  # annotation of a function
        ("geqlib/solids.py", "c = 1", "c = 2"),  # only tested for
        ("geqlib/tasks.py", "UNIT", "UNITS"),  # imported, not used
        ("geqlib/tasks.py", "d = 1", "d = 2"),  # annotation of a method
        ("geqlib/named.py", "g = 1", "g = 2"),
        ("geqlib/cubes.py", "e = 1", "e = 2"),  # passed on by the same package
        ("geqlib/cubes.py", "t = 1", "t = 2"),  # for types alone
        ("geqlib/models/__init__.py", "from geqlib.cubes import Cube\n", ""),
        ("benchmarks/peers/nets.py", "y = 1", "y = 2"),
        ("benchmarks/accuracy/balls.py", "0.1", "0.2"),  # shown
    ],
)
def test_what_changes_no_number(top, name, old, new):
    assert not after(top, name, old, new)


def test_a_name_that_is_imported_from_elsewhere(top):
    (top / "geqlib" / "yards.py").write_text("METRE = 1\n")
    assert after(
        top, "geqlib/balls.py", "from geqlib import units", "from geqlib import yards as units"
    )


def test_lazy_names_of_a_package(top):
    (top / "geqlib/__init__.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from geqlib.cubes import Cube\n"
        "def __getattr__(name): return print(name)\n"
    )
    script = top / "benchmarks/accuracy/balls.py"
    script.write_text("import geqlib\nprint(geqlib.Cube)\n")
    assert {Definition("geqlib.cubes", "Cube"), Definition("geqlib", "__getattr__")} < codes(
        top
    ).keys()


def test_what_acts_in_runs_that_begin_with_another_model(top):
    (top / "geqlib/train/fine_tuning").mkdir(parents=True)
    (top / "geqlib/train/fine_tuning/weights.py").write_text("TAKEN = 1\n")
    script = top / "benchmarks/accuracy/balls.py"
    uses = "from geqlib.train.fine_tuning.weights import TAKEN\nprint(TAKEN, {})\n"
    taken = Definition("geqlib.train.fine_tuning.weights", "TAKEN")
    for option, counts in (("'lr'", False), ("'init'", True), ("'--freeze'", True)):
        script.write_text(uses.format(option))
        assert (taken in codes(top)) == counts


@pytest.fixture(scope="module")
def nbody() -> set[str]:
    definitions, _ = Checkout(TOP).reached(("benchmarks.accuracy.nbody",))
    return {".".join(each) for each in definitions}


@pytest.mark.parametrize(
    "name",
    [
        "benchmarks.accuracy.nbody.METHODS",
        "benchmarks.peers.egnn.EGNN",
        "benchmarks.peers.ponita_direct.PublishedPONITA",
        "benchmarks.peers.segnn.SEGNN",
        "benchmarks.sampling.bootstrap",
        "benchmarks.training.fitted",
        "geqlib.cli.train.main",
        "geqlib.data.points.nbody.NBodyData",
        "geqlib.data.points.nbody_simulation.simulate",
        "geqlib.frames.message_network.FAGNN",
        "geqlib.kernels.edge_product_triton.partial_derivatives",
        "geqlib.ponita.conv.PositionOrientationConv",
        "geqlib.ponita.kernel.KernelBasis",
        "geqlib.train.run.fit",
        "geqlib.train.steps.averaging.AveragedWeights",
        "geqlib.train.steps.schedule.Schedule",
        "geqlib.train.tasks.points.DisplacementTask",
        "geqlib.train.tasks.task.Task",
    ],
)
def test_what_the_n_body_benchmark_uses(nbody, name):
    assert name in nbody


@pytest.mark.parametrize(
    "prefix",
    [
        "geqlib.spen.",
        "geqlib.report.",
        "geqlib.data.molecules.",
        "geqlib.gaunt.network.",
        "geqlib.train.tasks.energy.",
        "geqlib.train.runs.record.write_structures",
        "geqlib.train.runs.record._predicted",
        "geqlib.cli.report.",
        "benchmarks.rows.",
        "benchmarks.tables.",
        "geqlib.moved.",
    ],
)
def test_what_the_n_body_benchmark_does_not_use(nbody, prefix):
    assert not [name for name in nbody if name.startswith(prefix)]


def test_benchmarks_start_no_other_command():
    """`RUN_BY_COMMAND` counts for `python -m geqlib`; other commands would need other modules."""
    calls = [
        node.args[0]
        for node in ast.walk(ast.parse((TOP / "benchmarks" / "training.py").read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "_geqlib"
    ]
    assert {ast.literal_eval(name) for name in calls} == {"fit", "test"}
    starting = {
        path.name for path in (TOP / "benchmarks").rglob("*.py") if '"-m"' in path.read_text()
    }
    assert starting == {"training.py", "dependencies.py"}


def test_no_benchmark_reads_the_predictions_that_are_written_for_people():
    """What `WRITTEN` relies on."""
    scripts = [*(TOP / "benchmarks").rglob("*.py")]
    reading = {path.name for path in scripts if "predictions.xyz" in path.read_text()}
    naming = {path.name for path in scripts if "write_structures" in path.read_text()}
    assert (reading, naming) == (set(), {"dependencies.py"})


def test_configurations_name_classes_in_full():
    """A class without its module would be found among all that are imported, which is not seen."""

    def paths(value):
        if isinstance(value, dict):
            yield from ([value["class_path"]] if "class_path" in value else [])
            value = list(value.values())
        if isinstance(value, list):
            for part in value:
                yield from paths(part)

    checkout = Checkout(TOP)
    for config in (TOP / "configs").glob("*.yaml"):
        assert all("." in path for path in paths(checkout.settings(config))), config.name
