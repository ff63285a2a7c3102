"""Charts as coordinates, which `templates/charts.html.j2` draws as SVG.

Colours are classes of the style sheet (`palette`), so that a chart follows the light and the dark theme. In a chart x
and y are shares of its width and height, 0..1, until `_x` and `_y` turn them into SVG units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import ClassVar, NamedTuple

import numpy as np

from mttsg_core.encoders.base import Array
from mttsg_core.modeling.calibration import Bin
from mttsg_core.moments import FloatArray
from mttsg_core.report.palette import line_classes
from mttsg_core.report.plots import Plot
from mttsg_core.utils.text import count

_BINS = 20
_SALIENCY_POINTS = 240  # at most


class Tick(NamedTuple):
    """A label at a position along its axis."""

    position: float
    label: str


class Bar(NamedTuple):
    """A bar of a histogram, with its tooltip."""

    x: float
    y: float
    width: float
    height: float
    title: str


class Line(NamedTuple):
    """A line through "x,y x,y ..."; `style` is its classes in the style sheet."""

    name: str
    style: str
    points: str


class Dot(NamedTuple):
    """A circle, with its tooltip."""

    x: float
    y: float
    radius: float
    title: str


@dataclass(frozen=True)
class Chart:
    """A chart to draw, with all measures in SVG units.

    Attributes:
        width, height: of the chart, axes included; left, right, top, bottom: edges of the plot area.
        label: the description for screen readers.
        x_label: the title of the x axis.
        x_ticks, y_ticks: of the axes.
        bars, lines, dots: the data.
        legend: the lines that are named below the chart.
    """

    width: ClassVar[int] = 360
    height: ClassVar[int] = 220
    left: ClassVar[int] = 38
    right: ClassVar[int] = 350
    top: ClassVar[int] = 10
    bottom: ClassVar[int] = 186

    label: str
    x_label: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    bars: Sequence[Bar] = ()
    lines: Sequence[Line] = ()
    dots: Sequence[Dot] = ()
    legend: Sequence[Line] = ()


def iou_histogram(ious: FloatArray) -> Chart:
    """Return the histogram of the top predictions' IoU, (queries,) in 0..1."""
    counts, edges = np.histogram(ious, bins=_BINS, range=(0, 1))
    highest = _nice_ceiling(int(counts.max()))
    gap = 0.75  # on either side of a bar
    bars = [
        Bar(
            x=_x(low) + gap,
            y=_y(queries / highest),
            width=round(_x(high) - _x(low) - 2 * gap, 2),
            height=round(Chart.bottom - _y(queries / highest), 2),
            title=f"IoU {low:.2f} to {high:.2f}: {count(queries, 'query', 'queries')}",
        )
        for queries, low, high in zip(counts.tolist(), edges.tolist(), edges[1:].tolist(), strict=False)
    ]
    y_ticks = [Tick(_y(share), f"{highest * share:g}") for share in (0.0, 0.5, 1.0)]
    return Chart("Histogram of the IoU of the top predictions", "IoU of the top prediction", _x_ticks(), y_ticks, bars)


def draw(plot: Plot) -> Chart:
    """Return the curves of a plot over the positions 0 to the last tick of its x axis."""
    end = plot.x_ticks[-1]
    lines = [
        Line(
            curve.name,
            line_classes(index) + (" other" if curve.is_other else ""),
            _points([x / end for x in curve.xs], [y / plot.highest for y in curve.ys]),
        )
        for index, curve in enumerate(plot.curves)
    ]
    x_ticks = [Tick(_x(x / end), f"{x:g}") for x in plot.x_ticks]
    unit = "%" if plot.y_label.endswith("(%)") else ""
    y_ticks = [Tick(_y(share), f"{plot.highest * share:g}{unit}") for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    return Chart(plot.label, plot.x_label, x_ticks, y_ticks, lines=lines, legend=lines)


def reliability_plot(bins: Sequence[Bin]) -> Chart:
    """Return the share of correct predictions by score, with the diagonal where the two agree.

    The size of a dot shows the number of predictions.
    """
    largest = max((part.answers for part in bins), default=1)
    dots = [
        Dot(
            x=_x(part.score),
            y=_y(part.right),
            radius=round(2 + 7 * sqrt(part.answers / largest), 1),
            title=f"{count(part.answers, 'prediction')} with score {part.score:.2f}: {part.right:.0%} correct",
        )
        for part in bins
    ]
    diagonal = Line("perfect calibration", line_classes(1) + " other", _points([0, 1], [0, 1]))
    label = "Share of correct predictions by score"
    return Chart(label, "score", _x_ticks(), _percent_ticks(), lines=[diagonal], dots=dots)


def saliency_path(saliency: Array) -> str:
    """Return saliency (T,) in 0..1 as the outline of an area 1000 wide and 100 high, a point per run of clips.

    A point shows the highest value of its run, so that no peak of a long video is lost.
    """
    clips = len(saliency)
    edges = np.unique(np.linspace(0, clips, min(clips, _SALIENCY_POINTS) + 1).astype(int))
    peaks = np.clip(np.maximum.reduceat(saliency, edges[:-1]), 0, 1)
    points = "".join(
        f"L{(first + last) / 2 / clips * 1000:.0f} {100 - 100 * peak:.0f}"
        for first, last, peak in zip(edges, edges[1:], peaks.tolist(), strict=False)
    )
    return f"M0 100{points}L1000 100Z"


def bar_style(span: Sequence[float], duration: float, start: float = 0.0) -> str:
    """Return the CSS that puts a span (start, end, ...) on a bar covering `duration` from `start`, cut to the bar."""
    scale = 100 / duration if duration > 0 else 0.0
    left, right = (min(max((time - start) * scale, 0.0), 100.0) for time in span[:2])
    return f"left:{left:.3f}%;width:{max(right - left, 0.0):.3f}%"


def _x(share: float) -> float:
    return round(Chart.left + share * (Chart.right - Chart.left), 2)


def _y(share: float) -> float:
    return round(Chart.bottom - share * (Chart.bottom - Chart.top), 2)


def _points(xs: Sequence[float], ys: Sequence[float]) -> str:
    return " ".join(f"{_x(x)},{_y(y)}" for x, y in zip(xs, ys, strict=True))


def _x_ticks() -> list[Tick]:
    return [Tick(_x(share), f"{share:g}") for share in (0, 0.1, 0.3, 0.5, 0.7, 0.9, 1)]


def _percent_ticks() -> list[Tick]:
    return [Tick(_y(share), f"{share:.0%}") for share in (0.0, 0.25, 0.5, 0.75, 1.0)]


def _nice_ceiling(largest: int) -> int:
    """Return the first of 2, 4, 6, 8, 10, 12, 16, 20, 40, 60, ... that is not below `largest`; its half is whole."""
    scale = 1
    while True:
        for step in (2, 4, 6, 8, 10, 12, 16):
            if step * scale >= largest:
                return step * scale
        scale *= 10
