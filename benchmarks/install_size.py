"""What an installation of layers alone takes on disk beyond torch, torch_geometric and e3nn.

Sizes are those of the files that this environment has of each package, with all that it requires,
by the dependencies in pyproject.toml. The bar is {bar} MB.

    python benchmarks/install_size.py            # exit code 1 above the bar
    python benchmarks/install_size.py train      # of an extra, without a bar
"""

from __future__ import annotations

import sys
import tomllib
from argparse import ArgumentParser
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TOP = Path(__file__).parents[1]
BASE = ("torch", "torch-geometric", "e3nn")
BAR = 60.0


def main(extras: list[str]) -> int:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    own = packages(requirements(project, extras))
    beyond = {name: size(name) for name in sorted(own - packages(BASE))}
    beyond["geqlib"] = sum(p.stat().st_size for p in sources()) / 1e6
    for name, megabytes in sorted(beyond.items(), key=lambda pair: -pair[1]):
        sys.stdout.write(f"{megabytes:8.1f} MB  {name}\n")
    total = sum(beyond.values())
    sys.stdout.write(f"{total:8.1f} MB  beyond {', '.join(BASE)}\n")
    return int(not extras and total > BAR)


def requirements(project: dict, extras: Iterable[str]) -> list[str]:
    """Of the project, with some extras, which may name other extras."""
    listed = list(project["dependencies"])
    waiting, seen = list(extras), set()
    while waiting:
        extra = waiting.pop()
        if extra in seen:
            continue
        seen.add(extra)
        for text in project["optional-dependencies"][extra]:
            requirement = Requirement(text)
            if requirement.name == project["name"]:
                waiting += requirement.extras
            else:
                listed.append(text)
    return listed


def packages(texts: Iterable[str]) -> set[str]:
    """All packages that requirements install here, by their canonical names."""
    waiting, names = [Requirement(text) for text in texts], set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        marked = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if name in names or not marked:
            continue
        try:
            inner = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # of another platform
        names.add(name)
        chosen = [Requirement(text) for text in inner]
        of_extras = ({"extra": e} for e in ("", *requirement.extras))
        contexts = list(of_extras)
        waiting += [
            r for r in chosen if r.marker is None or any(r.marker.evaluate(c) for c in contexts)
        ]
        for r in waiting:
            r.marker = None  # looked at
    return names


def size(name: str) -> float:
    """Of the files of a package, in MB."""
    files = distribution(name).files or []
    paths = (Path(str(file.locate())) for file in files)
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def sources() -> list[Path]:
    """The files of geqlib that a wheel has."""
    return [p for p in (TOP / "geqlib").rglob("*") if p.is_file() and "__pycache__" not in p.parts]


if __name__ == "__main__":
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("extras", nargs="*", help="of pyproject.toml; without any, the bar holds")
    raise SystemExit(main(parser.parse_args().extras))
