"""The measured curve as a picture: CPU time for each server, over the number of servers, both in powers of ten."""

from __future__ import annotations

import math
from collections.abc import Mapping

WIDTH, HEIGHT = 860, 430
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 44, 52

COLORS = {
    "first plan": "#2f6fd6",
    "no-op plan": "#2f9e6e",
    "ps": "#8a63d2",
    "bare Paramiko": "#8a94a6",
    "pyinfra exec": "#e08a1e",
    "pyinfra facts": "#b8860b",
    "Ansible ping": "#d4473f",
}
"""The colour of each line, which shows on white and on black."""

STYLE = """\
text{fill:#2b3140;font:13px system-ui,sans-serif}.soft{fill:#5d667a;font-size:11.5px}.grid{stroke:#d6dbe4}
.bound{stroke:#5d667a;stroke-dasharray:4 4}path{fill:none;stroke-width:2.2}
@media (prefers-color-scheme:dark){text{fill:#e6e9ef}.soft{fill:#a9b1c0}.grid{stroke:#3b4252}.bound{stroke:#a9b1c0}}"""

Curves = Mapping[str, Mapping[int, float]]
"""By what was measured, milliseconds of CPU time for each server by the number of servers."""


def svg(curves: Curves, bound: float) -> str:
    """The picture. ``bound`` is the number of milliseconds to stay below."""
    sizes = sorted({size for curve in curves.values() for size in curve})
    values = [value for curve in curves.values() for value in curve.values()] + [bound]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    first, last = math.log10(sizes[0]), math.log10(sizes[-1])

    def x(size: float) -> float:
        return LEFT + (math.log10(size) - first) / ((last - first) or 1) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (high - math.log10(value)) / (high - low) * (HEIGHT - TOP - BOTTOM)

    said = "CPU time of dynoctl and others for each server, by the number of servers"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">',
        f"<style>{STYLE}</style>",
        f'<text x="14" y="22" font-weight="600">{said}</text>',
    ]
    for power in range(low, high + 1):
        level = y(10**power)
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{level:.1f}" y2="{level:.1f}"/>')
        name = f"{10**power:,} ms" if power < 3 else f"{10 ** (power - 3):,} s"
        lines.append(f'<text class="soft" x="{LEFT - 8}" y="{level + 4:.1f}" text-anchor="end">{name}</text>')
    for size in sizes:
        lines.append(f'<line class="grid" x1="{x(size):.1f}" x2="{x(size):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        lines.append(
            f'<text class="soft" x="{x(size):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{size:,}</text>'
        )
    lines.append(
        f'<text class="soft" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">servers</text>'
    )
    level = y(bound)
    lines.append(f'<line class="bound" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{level:.1f}" y2="{level:.1f}"/>')
    lines.append(f'<text class="soft" x="{LEFT + 6}" y="{level - 5:.1f}">{bound:g} ms</text>')
    for name, curve in curves.items():
        points = [(x(size), y(value)) for size, value in sorted(curve.items())]
        steps = "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
        lines.append(f'<path d="M{steps}" stroke="{COLORS[name]}"/>')
        lines += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{COLORS[name]}"/>' for a, b in points]
    for name, level in _apart({name: y(curve[max(curve)]) for name, curve in curves.items() if curve}).items():
        last_value = curves[name][max(curves[name])]
        text = f"{name}: {last_value:.0f} ms"
        lines.append(f'<text x="{WIDTH - RIGHT + 10}" y="{level + 4:.1f}" style="fill:{COLORS[name]}">{text}</text>')
    return "\n".join([*lines, "</svg>", ""])


def _apart(levels: Mapping[str, float], distance: float = 16) -> dict[str, float]:
    """The heights of labels, moved down where two would overlap."""
    found: dict[str, float] = {}
    lowest = -math.inf
    for name, level in sorted(levels.items(), key=lambda item: item[1]):
        lowest = found[name] = max(level, lowest + distance)
    return found
