"""What `import geqlib` adds to importing torch and torch_geometric.

Protocol: fresh interpreters, all three statements once a round, medians of 7 rounds.

    python benchmarks/speed/import_time.py
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.markdown import markdown
from benchmarks.measure import interleaved, write_result
from benchmarks.training import show

STATEMENTS = {
    "torch, torch_geometric": "import torch, torch_geometric",
    "and geqlib": "import torch, torch_geometric, geqlib",
    "torch_geometric.nn": "import torch, torch_geometric.nn",
    "and geqlib's layers and models": "import torch, torch_geometric.nn, geqlib.nn, geqlib.models",
}


def main() -> None:
    seconds = interleaved({name: _import(code) for name, code in STATEMENTS.items()}, 7)
    plain, package, layers, models = seconds.values()
    content = {
        "protocol": " ".join((__doc__ or "").split("\n\n")[1].split()),
        "seconds": seconds,
        "package_ratio": package / plain,
        "models_ratio": models / layers,
    }
    show("Import", ("", "seconds"), list(seconds.items()))
    sys.stdout.write(
        f"geqlib adds {100 * (package / plain - 1):.0f} %, its layers and models "
        f"{100 * (models / layers - 1):.0f} %\nwrote {write_result('speed/import_time', content)}\n"
    )


def table(found: dict[str, Any]) -> str:
    rows = [(name, f"{seconds:.2f}") for name, seconds in found["seconds"].items()]
    return markdown(("import of", "seconds"), rows)


def _import(code: str) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, "-c", code], check=True)


if __name__ == "__main__":
    main()
