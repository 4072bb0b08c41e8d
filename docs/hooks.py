"""The site shows the pictures that benchmarks have drawn, which lie outside of docs/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

RESULTS = "benchmarks/results"


def on_files(files: Files, config: Any) -> Files:
    """Add the pictures to the site."""
    top = Path(config.config_file_path).parent
    for path in sorted((top / RESULTS).rglob("*.png")):
        files.append(
            File.generated(config, path.relative_to(top).as_posix(), abs_src_path=str(path))
        )
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Documents name them as they lie in the repository."""
    return markdown.replace(f"../{RESULTS}/", f"{RESULTS}/")
