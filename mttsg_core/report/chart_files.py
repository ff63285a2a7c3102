"""Charts as files for papers (optional extra `charts`): SVG and PDF of the width of a column, and their points as csv.

They have no title, which belongs into the caption, and their text stays text: embedded TrueType fonts (Type 42) in PDF,
text elements in SVG.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mttsg_core._version import __version__
from mttsg_core.errors import ConfigError
from mttsg_core.report.palette import line_style
from mttsg_core.report.plots import Curve, Plot
from mttsg_core.report.text_tables import csv_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("svg", "pdf", "csv")
_COLUMN = 3.25  # inches, of a page with two columns
_HEIGHT, _LEGEND_LINE = 2.0, 0.14  # inches
_LEGEND_WIDTH = 46  # characters beside each other in two columns of a legend
_STEP, _GROUP_WIDTH = 0.15, 0.7  # of a group's room: between the points of two curves, and at most for all of them
_MARKERS = "osD^vPX*<>"


def need_matplotlib() -> None:
    """Raise ConfigError if the package matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ConfigError("charts as files need the package matplotlib: pip install 'mttsg[charts]'") from error


def render_chart(plot: Plot, form: str) -> bytes:
    """Return a chart as the content of a file.

    Args:
        plot: what it shows.
        form: one of `FORMATS`.

    Raises:
        ConfigError: if the package matplotlib is not installed, which csv does not need.
    """
    if form == "csv":
        return csv_table(("curve", plot.x_label, plot.y_label, "low", "high"), _points(plot)).encode()
    need_matplotlib()
    import matplotlib

    metadata = {"svg": {"Date": None, "Creator": f"mttsg {__version__}"}}
    metadata["pdf"] = {"CreationDate": None, "Creator": f"mttsg {__version__}"}
    target = io.BytesIO()
    style = matplotlib.rc_context(
        {
            "font.family": "DejaVu Sans",  # comes with matplotlib: the same file everywhere
            "font.size": 7,
            "text.parse_math": False,  # a dollar in a name is a dollar
            "axes.linewidth": 0.6,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "grid.linewidth": 0.4,
            "pdf.fonttype": 42,
            "svg.fonttype": "none",
            "svg.hashsalt": "mttsg",  # ids that do not change from run to run
        }
    )
    with style, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a script that the font lacks: boxes in the PDF
        _draw(plot).savefig(target, format=form, metadata=metadata[form])
    return target.getvalue()


def _points(plot: Plot) -> Iterator[Sequence[object]]:
    for curve in plot.curves:
        for index, (x, y) in enumerate(zip(curve.xs, curve.ys, strict=True)):
            ends = (curve.lows[index], curve.highs[index]) if curve.lows else (None, None)
            yield [curve.name, plot.x_names[index] if plot.x_names else x, y, *ends]


def _draw(plot: Plot) -> Figure:
    """Return the figure, without pyplot, which would keep it."""
    from matplotlib.figure import Figure

    several = len(plot.curves) > 1
    columns = 1 if max(len(curve.name) for curve in plot.curves) > _LEGEND_WIDTH // 2 else 2
    lines = -(-len(plot.curves) // columns) if several else 0
    figure = Figure(figsize=(_COLUMN, _HEIGHT + lines * _LEGEND_LINE), layout="constrained")
    axes = figure.add_subplot()
    for index, curve in enumerate(plot.curves):
        if plot.x_names:
            _add_points(axes, curve, index, len(plot.curves))
        else:
            _add_line(axes, curve, index)
    axes.set_xlabel(plot.x_label)
    axes.set_ylabel(plot.y_label)
    axes.set_ylim(0, plot.highest)
    axes.grid(axis="y")
    if plot.x_names:
        axes.set_xticks(range(len(plot.x_names)), ["\n".join(name.rsplit(" ", 1)) for name in plot.x_names])
        axes.set_xlim(-0.5, len(plot.x_names) - 0.5)
    else:
        axes.set_xticks(plot.x_ticks)
        axes.set_xlim(plot.x_ticks[0], plot.x_ticks[-1])
    if several:
        figure.legend(loc="outside upper center", ncols=columns, frameon=False, handlelength=2.6)
    return figure


def _add_line(axes: Axes, curve: Curve, index: int) -> None:
    style = line_style(index)
    axes.plot(
        curve.xs,
        curve.ys,
        label=_as_text(curve.name),
        color=style.colour,
        linestyle=(0, style.dash) if style.dash else "solid",
        linewidth=0.9 if curve.is_other else 1.3,
    )


def _add_points(axes: Axes, curve: Curve, index: int, curves: int) -> None:
    """Add points with their intervals, those of several curves beside each other."""
    shift = min(_STEP, _GROUP_WIDTH / curves) * (index - (curves - 1) / 2)
    ends = None
    if curve.lows:
        ends = [
            [max(0.0, y - low) for y, low in zip(curve.ys, curve.lows, strict=True)],
            [max(0.0, high - y) for y, high in zip(curve.ys, curve.highs, strict=True)],
        ]
    axes.errorbar(
        [x + shift for x in curve.xs],
        curve.ys,
        ends,
        label=_as_text(curve.name),
        color=line_style(index).colour,
        fmt=_MARKERS[index % len(_MARKERS)],
        markersize=3,
        elinewidth=0.9,
        capsize=1.5,
    )


def _as_text(name: str) -> str:
    """Return a name that matplotlib shows as it is: a leading underscore would hide it."""
    name = "".join(character if character.isprintable() else "?" for character in name)
    return f"\u200b{name}" if name.startswith("_") else name
