"""The throughput of every scenario as bars in one SVG: no library, no script, readable on light and dark pages."""

from collections.abc import Sequence
from html import escape

from bench.figures import Spread
from bench.outcome import OURS, Outcome

WIDTH, LABEL, BAR, GAP, HEAD = 760, 190, 20, 6, 34
OUR_COLOUR, PEER_COLOUR, TEXT_COLOUR = "#2e8b57", "#8a94a6", "#7a7f87"


def svg(outcomes: Sequence[Outcome]) -> str:
    """One group a scenario; within it the bars share a scale."""
    parts: list[str] = []
    top = 0
    for outcome in outcomes:
        if outcome.samples:
            parts += _group(outcome, top)
            top += HEAD + (BAR + GAP) * len(outcome.samples) + GAP
    style = f'font-family="system-ui, sans-serif" font-size="13" fill="{TEXT_COLOUR}"'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}" {style}>'
    )
    return "\n".join([head, "<title>Requests per second on one core</title>", *parts, "</svg>"]) + "\n"


def _group(outcome: Outcome, top: int) -> list[str]:
    rates = {name: Spread.of([sample.rate for sample in samples]).middle for name, samples in outcome.samples.items()}
    scale = (WIDTH - LABEL - 90) / max(rates.values())
    parts = [f'<text x="0" y="{top + 22}" font-weight="600">{escape(outcome.title)}, requests/s</text>']
    for place, (name, rate) in enumerate(rates.items()):
        y = top + HEAD + place * (BAR + GAP)
        colour = OUR_COLOUR if name == OURS else PEER_COLOUR
        length = rate * scale
        parts += [
            f'<text x="0" y="{y + 15}">{escape(name)}</text>',
            f'<rect x="{LABEL}" y="{y}" width="{length:.0f}" height="{BAR}" rx="3" fill="{colour}"/>',
            f'<text x="{LABEL + length + 8:.0f}" y="{y + 15}">{rate:,.0f}</text>',
        ]
    return parts
