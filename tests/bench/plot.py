"""A small line plot as SVG: enough for three curves, and nothing to install."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT, MARGIN = 260, 190, 44


@dataclass(frozen=True)
class Curve:
    """Values over a quantity that grows by powers of ten."""

    title: str
    points: Sequence[tuple[float, float]]


def svg(curves: Sequence[Curve], *, unit: str) -> str:
    """The curves side by side on one scale that begins at zero."""
    top = 1.15 * max(value for curve in curves for _, value in curve.points)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH * len(curves)}"',
        f' height="{HEIGHT}" font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for number, curve in enumerate(curves):
        parts.append(f'<g transform="translate({number * WIDTH} 0)">{_panel(curve, top)}</g>')
    parts.append(f'<text x="6" y="14" fill="#555">{escape(unit)}</text></svg>')
    return "\n".join(parts) + "\n"


def _panel(curve: Curve, top: float) -> str:
    left, right, low, high = MARGIN, WIDTH - 14, HEIGHT - 36, 24
    steps = [math.log10(max(x, 1)) for x, _ in curve.points]
    first, span = steps[0], (steps[-1] - steps[0]) or 1.0

    def place(step: float, value: float) -> tuple[float, float]:
        return left + (step - first) / span * (right - left), low - value / top * (low - high)

    placed = [place(step, value) for step, (_, value) in zip(steps, curve.points, strict=True)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    parts = [
        f'<path d="M{left} {high}V{low}H{right}" fill="none" stroke="#999"/>',
        f'<polyline points="{line}" fill="none" stroke="#1f6f8b" stroke-width="2"/>',
        f'<text x="{(left + right) / 2}" y="{HEIGHT - 6}" text-anchor="middle">',
        f"{escape(curve.title)}</text>",
    ]
    for (x, y), (quantity, value) in zip(placed, curve.points, strict=True):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#1f6f8b"/>')
        parts.append(f'<text x="{x:.1f}" y="{y - 8:.1f}" text-anchor="middle">{value:.0f}</text>')
        parts.append(
            f'<text x="{x:.1f}" y="{low + 14}" text-anchor="middle">{quantity:,.0f}</text>'
        )
    return "".join(parts)
