"""Plots as inline SVG and HTML. Colours are classes of the page's style sheet, so that they follow light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt

import numpy as np

from mttsg_core.evaluation.breakdown import GroupFigures
from mttsg_core.evaluation.evaluation_report import EvaluationReport
from mttsg_core.evaluation.metrics import best_ious, recall_at
from mttsg_core.modeling.calibration import Bin
from mttsg_core.moments import FloatArray
from mttsg_core.report.escape import clean, percent
from mttsg_core.utils.text import count

_WIDTH, _HEIGHT = 360, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 10, 10, 34
_BINS = 20
_STEPS = 50
_SHARES = tuple((share, f"{share:g}") for share in (0, 0.1, 0.3, 0.5, 0.7, 0.9, 1))
_SERIES = 8  # classes s0 .. s7 of the style sheet


def iou_histogram(ious: FloatArray) -> str:
    """How many queries have which IoU with their first answer; `ious` (queries,) in 0..1."""
    counts, _ = np.histogram(ious, bins=_BINS, range=(0, 1))
    highest = _nice_ceiling(int(counts.max()))
    bars = []
    for number, queries in enumerate(counts.tolist()):
        left, right = _x(number / _BINS) + 0.75, _x((number + 1) / _BINS) - 0.75
        top = _y(queries / highest)
        low, high = number / _BINS, (number + 1) / _BINS
        bars.append(
            f'<rect class="bar" x="{left:.2f}" y="{top:.2f}" width="{right - left:.2f}" '
            f'height="{_y(0) - top:.2f}"><title>IoU {low:.2f} to {high:.2f}: '
            f"{count(queries, 'query', 'queries')}</title></rect>"
        )
    ticks = [(share, f"{highest * share:g}") for share in (0.0, 0.5, 1.0)]
    return _figure("Histogram of the IoU of each first answer", "IoU of the first answer", ticks, "".join(bars))


def recall_curves(comparison: EvaluationReport) -> str:
    """Recall over IoU, with its legend: R@n of the main evaluation for every n, R@1 of each baseline."""
    main = comparison.main
    truths = [pair.moments for pair in main.pairs]
    first = min(main.measures.ns)
    lines = [(f"R@{n} {main.name}", main.predictions, n, "") for n in main.measures.ns]
    lines += [(f"R@{first} {other.name}", other.predictions, first, " other") for other in comparison.baselines]
    thresholds = np.linspace(0.02, 1, _STEPS)
    drawn, legend = [], []
    for number, (label, predictions, n, kind) in enumerate(lines):
        ious = best_ious(truths, predictions, n)
        recalls = [recall_at(ious, n, float(level), strict=main.measures.strict) / 100 for level in thresholds]
        points = " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in zip(thresholds, recalls, strict=True))
        style = f"line s{number % _SERIES}{kind}"
        drawn.append(f'<polyline class="{style}" points="{points}"><title>{clean(label)}</title></polyline>')
        legend.append(_key(style, label))
    ticks = [(share, f"{share:.0%}") for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    plot = _figure("Recall over the IoU that counts as a hit", "IoU that counts as a hit", ticks, "".join(drawn))
    return f'{plot}<ul class="legend">{"".join(legend)}</ul>'


def breakdown_plot(groups: Sequence[GroupFigures], figure: str) -> str:
    """One row a group: its figure as a dot, its interval as a line, on a scale of 0 to 100 percent."""
    rows = []
    for group in groups:
        value, (low, high) = group.metrics[figure], group.intervals[figure]
        rows.append(
            f'<tr><th scope="row">{_unbroken(group.name)}</th><td class="n">{group.queries}</td>'
            f'<td class="track"><div class="rail"><span class="whisker" style="left:{low:.2f}%;'
            f'width:{high - low:.2f}%"></span><span class="dot" style="left:{value:.2f}%"></span></div></td>'
            f'<td class="n">{percent(value)} <span class="pm">{percent(low)}–{percent(high)}</span></td></tr>'
        )
    head = (
        f'<thead><tr><th scope="col">{clean(groups[0].kind)}</th><th scope="col" class="n">queries</th>'
        '<th scope="col" class="scale"><span>0</span><span>50</span><span>100</span></th>'
        f'<th scope="col" class="n">{clean(figure)}</th></tr></thead>'
    )
    return f'<table class="dots">{head}<tbody>{"".join(rows)}</tbody></table>'


def reliability_plot(bins: Sequence[Bin]) -> str:
    """The share of right answers over their score, with the diagonal where both are equal; a dot's area is a count."""
    largest = sqrt(max((one.answers for one in bins), default=1))
    dots = "".join(
        f'<circle class="bar" cx="{_x(one.score):.1f}" cy="{_y(one.right):.1f}" '
        f'r="{2 + 7 * sqrt(one.answers) / largest:.1f}">'
        f"<title>{count(one.answers, 'answer')} of score {one.score:.2f}: {one.right:.0%} right</title></circle>"
        for one in bins
    )
    diagonal = f'<path class="line s0 other" d="M{_x(0)} {_y(0)}L{_x(1)} {_y(1)}"/>'
    ticks = [(share, f"{share:.0%}") for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    return _figure("Share of right answers over their score", "score", ticks, diagonal + dots)


def epoch_curves(label: str, curves: Mapping[str, Sequence[float]], highest: float) -> str:
    """Values of every epoch, from 0 to `highest`, with a legend; a curve by its name."""
    epochs = max(len(values) for values in curves.values())
    drawn, legend = [], []
    for number, (name, values) in enumerate(curves.items()):
        style = f"line s{number % _SERIES}"
        places = [(_x(epoch / epochs), _y(min(value / highest, 1))) for epoch, value in enumerate(values, start=1)]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        drawn.append(f'<polyline class="{style}" points="{points}"><title>{clean(name)}</title></polyline>')
        legend.append(_key(style, name))
    ticks = [(share, f"{highest * share:g}") for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    across = [(share, f"{epochs * share:g}") for share in (0.0, 0.5, 1.0)]
    return _figure(label, "epoch", ticks, "".join(drawn), across) + f'<ul class="legend">{"".join(legend)}</ul>'


def _key(style: str, name: str) -> str:
    """A line of a legend."""
    return (
        f'<li><svg class="key" viewBox="0 0 24 8" aria-hidden="true"><path class="{style}" d="M0 4H24"/></svg>'
        f"{clean(name)}</li>"
    )


def _figure(
    label: str,
    below: str,
    ticks: Sequence[tuple[float, str]],
    inside: str,
    across: Sequence[tuple[float, str]] = _SHARES,
) -> str:
    """Axes around a plot whose x and y are 0..1, with the tick labels given."""
    grid = "".join(
        f'<path class="grid" d="M{_x(0)} {_y(y):.1f}H{_x(1)}"/>'
        f'<text x="{_LEFT - 5}" y="{_y(y) + 3.5:.1f}" text-anchor="end">{clean(text)}</text>'
        for y, text in ticks
    )
    axis = "".join(
        f'<text x="{_x(x):.1f}" y="{_HEIGHT - _BOTTOM + 14}" text-anchor="middle">{clean(text)}</text>'
        for x, text in across
    )
    name = f'<text class="axis" x="{_x(0.5):.1f}" y="{_HEIGHT - 4}" text-anchor="middle">{clean(below)}</text>'
    return (
        f'<svg class="plot" role="img" aria-label="{clean(label)}" viewBox="0 0 {_WIDTH} {_HEIGHT}">'
        f"{grid}{axis}{name}{inside}</svg>"
    )


def _unbroken(name: str) -> str:
    """A group's name; a number keeps its unit."""
    head, _, unit = name.rpartition(" ")
    return f"{clean(head)}&nbsp;{clean(unit)}" if head[-1:].isdigit() else clean(name)


def _x(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _y(share: float) -> float:
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _nice_ceiling(largest: int) -> int:
    """The smallest 2, 4, 6, 8, 10, 12, 16, 20, 40, 60, ... that is no less: half of it is a whole number."""
    scale = 1
    while True:
        for step in (2, 4, 6, 8, 10, 12, 16):
            if step * scale >= largest:
                return step * scale
        scale *= 10
