"""Draws the picture of the architecture from the levels that tests/imports.py holds.

python -m docs.draw_architecture            # rewrites docs/images/architecture.svg
"""

from __future__ import annotations

from html import escape
from pathlib import Path

from tests.imports import LEVELS

PICTURE = Path(__file__).with_name("images") / "architecture.svg"
NOT_DRAWN = {"testing", "elements", "counted", "extras", "quiet"}  # a file each, or names of others
CAPTIONS = {
    "cli": "one file per command",
    "proposals": "first configurations for your data",
    "train": "tasks, steps, runs, exact resume",
    "report": "tables, pictures, page",
    "data": "molecules, graphs, points",
    "calculators": "ASE, torch-sim, LAMMPS, dynamics",
    "files": "checkpoints, exports",
    "nn": "public layers",
    "models": "public models",
    "atoms": "energies, forces, stress around any network",
    "generation": "scores of generated molecules and graphs",
    "symmetry": "how tensors transform",
    "sphere": "functions on S² and SO(3)",
    "radial": "of a distance",
    "graph": "edges, segments, plans",
    "kernels": "fused operators",
}
VIOLET, YELLOW, GREEN, BLUE = "#F3E8F8", "#FBF0DC", "#E3F2E3", "#E8F0F8"
COLOURS = (BLUE, BLUE, GREEN, GREEN, YELLOW, YELLOW, VIOLET, VIOLET, VIOLET)  # from the bottom
TENSORS = 4  # lowest levels, which know nothing of files
LEFT, RIGHT, WIDTH, MARGIN = 70, 876, 900, 14
HEIGHT, PITCH = 46, 60


def picture() -> str:
    """The SVG."""
    bottom = MARGIN + len(LEVELS) * PITCH
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 22}"'
        ' font-family="DejaVu Sans, Arial, sans-serif">',
        "<title>Parts of geqlib, one level above the other; a part imports only from its own level"
        " and from those below</title>",
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7"'
        ' markerHeight="7" orient="auto"><path d="M0 0L10 5L0 10z" fill="#555"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{bottom + 22}" fill="#fff"/>',
        f'<rect x="{LEFT - 12}" y="{bottom - TENSORS * PITCH - 7}" width="{RIGHT - LEFT + 20}"'
        f' height="{TENSORS * PITCH - 2}" rx="10" fill="none" stroke="#9bb8d3"'
        ' stroke-dasharray="5 4"/>',
    ]
    for number, parts in enumerate(LEVELS):
        names = [name for name in parts if name not in NOT_DRAWN]
        lines += row(names, bottom - (number + 1) * PITCH, COLOURS[number])
    middle = bottom // 2 - 10
    lines += [
        f'<line x1="32" y1="20" x2="32" y2="{bottom - 20}" stroke="#555" stroke-width="1.6"'
        ' marker-end="url(#tip)"/>',
        f'<text x="26" y="{middle}" font-size="12" fill="#555" text-anchor="middle"'
        f' transform="rotate(-90 26 {middle})">imports go down only</text>',
        f'<text x="{LEFT}" y="{bottom + 10}" font-size="12.5" fill="#555">Dashed: tensors in,'
        " tensors out; no files, no Lightning, no configuration. Families do not import each"
        " other.</text>",
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def row(names: list[str], y: int, colour: str) -> list[str]:
    """The boxes of one level, side by side."""
    gap = MARGIN if len(names) < 6 else 10
    width = (RIGHT - LEFT - gap * (len(names) - 1)) / len(names)
    size = 14.5 if len(names) < 6 else min(13.5, width / 6)
    lines = []
    for k, name in enumerate(names):
        x = LEFT + k * (width + gap)
        centre, caption = f'x="{x + width / 2:.0f}"', CAPTIONS.get(name)
        lines.append(
            f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{HEIGHT}" rx="7"'
            f' fill="{colour}" stroke="#777"/>'
        )
        lines.append(
            f'<text {centre} y="{y + (20 if caption else 28)}" font-size="{size:.3g}"'
            f' font-weight="bold" fill="#222" text-anchor="middle">{escape(name)}</text>'
        )
        if caption:
            lines.append(
                f'<text {centre} y="{y + 37}" font-size="11" fill="#444" text-anchor="middle">'
                f"{escape(caption)}</text>"
            )
    return lines


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
