"""What an installation takes on disk beyond torch, torch_geometric and e3nn.

Protocol: sizes of the files that this environment has of each package, with all that it requires,
by the dependencies in pyproject.toml, less those of torch, torch_geometric and e3nn with all that
they require. Of layers alone the bar is {bar} MB.

    python benchmarks/speed/install_size.py      # exit code 1 above the bar
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import start
from benchmarks.rows import Column, Row, Table, measured
from benchmarks.tables import publish

TOP = Path(__file__).parents[2]
BASE = ("torch", "torch-geometric", "e3nn")
BAR = 60
EXTRAS = ("", "atoms", "train", "report", "all")
COLUMNS = (
    Column("megabytes", "beyond torch, torch_geometric and e3nn", "MB", ".1f"),
    Column("packages", "packages beside geqlib", "", ".0f"),
    Column("largest", "the largest"),
)


def main() -> None:
    rows = tuple(installation(extra) for extra in EXTRAS)
    publish(measured("speed/install_size", __doc__, [Table(("installation",), COLUMNS, rows)]))
    if rows[0].number("megabytes") > BAR:
        raise SystemExit(f"Layers alone take more than {BAR} MB beyond {', '.join(BASE)}.")


def installation(extra: str) -> Row:
    """Sizes of what an extra installs, and geqlib itself; of layers alone without one."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    names = packages(requirements(project, [extra] if extra else [])) - packages(BASE)
    sizes = {name: size(name) for name in names}
    largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
    own = sum(path.stat().st_size for path in sources()) / 1e6
    return Row(
        (f"with [{extra}]" if extra else "layers alone",),
        {
            "megabytes": sum(sizes.values()) + own,
            "packages": len(names),
            "largest": ", ".join(f"{name} {sizes[name]:.0f}" for name in largest) or "geqlib",
        },
        "geqlib",
    )


def requirements(project: dict, extras: Iterable[str]) -> list[str]:
    """Of the project, with some extras, which may name other extras."""
    listed = list(project["dependencies"])
    for extra in extras:
        for text in project["optional-dependencies"][extra]:
            requirement = Requirement(text)
            own = requirement.name == project["name"]
            listed += requirements(project, requirement.extras) if own else [text]
    return listed


def packages(texts: Iterable[str]) -> set[str]:
    """All packages that requirements install here, by their canonical names."""
    waiting, names = [r for text in texts if applies(r := Requirement(text), ())], set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in names:
            continue
        names.add(name)
        inner = distribution(name).requires or []
        waiting += [r for text in inner if applies(r := Requirement(text), requirement.extras)]
    return names


def applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    """Whether it is installed on this platform, with some extras of the package that names it."""
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def size(name: str) -> float:
    """Of the files of a package, in MB."""
    files = distribution(name).files or []
    paths = (Path(str(file.locate())) for file in files)
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def sources() -> list[Path]:
    """The files of geqlib that a wheel has."""
    files = (path for name in ("geqlib", "configs") for path in (TOP / name).rglob("*"))
    return [path for path in files if path.is_file() and "__pycache__" not in path.parts]


if __name__ == "__main__":
    start(main)
