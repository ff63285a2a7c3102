"""A comparison as text: Markdown and LaTeX for papers, csv for other programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from mttsg_core.evaluation.comparison import Difference, OverSeeds, System
from mttsg_core.evaluation.comparison_report import ComparisonReport
from mttsg_core.evaluation.metric_names import convention_sentences
from mttsg_core.report.text_tables import csv_table, latex_comment, latex_table, markdown_table
from mttsg_core.utils.text import count

DECIMALS = 2
MISSING = "–"  # in place of a figure that a system does not have
_CSV_COLUMNS = (
    *("system", "seeds", "missed", "metric", "mean", "spread", "low", "high"),
    *("difference", "difference_low", "difference_high", "p"),
)


def render_markdown(report: ComparisonReport, decimals: int = DECIMALS) -> str:
    """Return the table of figures, and that of differences to the first system if there are others."""
    parts = [markdown_table(*_figures(report, decimals))]
    if report.others:
        parts += [f"{difference_title(report)}:\n", markdown_table(*_differences(report, decimals))]
    return "\n".join([*parts, f"{scope(report)}. {notes(report)}\n"])


def render_latex(report: ComparisonReport, decimals: int = DECIMALS) -> str:
    """Return the same as `tabular`s with the rules of booktabs; what the figures mean is a comment."""
    parts = [latex_comment(f"{scope(report)}. {notes(report)}") + latex_table(*_figures(report, decimals))]
    if report.others:
        parts.append(latex_comment(difference_title(report)) + latex_table(*_differences(report, decimals)))
    return "\n".join(parts)


def render_csv(report: ComparisonReport) -> str:
    """Return a row for each system and metric, unrounded."""
    return csv_table(_CSV_COLUMNS, _csv_rows(report))


RENDERERS: Mapping[str, Callable[[ComparisonReport, int], str]] = {
    "md": render_markdown,
    "latex": render_latex,
    "csv": lambda report, _: render_csv(report),
}


def scope(report: ComparisonReport) -> str:
    """Return what was answered: the split, its queries and videos."""
    queries, videos = count(len(report.pairs), "query", "queries"), count(report.videos, "video")
    return f"{report.split}: {queries} of {videos}"


def notes(report: ComparisonReport) -> str:
    """Return what the figures are, in a few sentences."""
    parts = convention_sentences(report.conventions, report.metric_names)
    if any(run.mode == "joint" for system in report.systems for run in system.runs):
        parts.append("Models answer the sentences of a video jointly.")
    if any(len(system.runs) > 1 for system in report.systems):
        parts.append("± is the standard deviation over seeds.")
        parts += ["Intervals and p-values are over videos, not over seeds."] if report.others else []
    parts += [
        f"{system.name}: {shown_missed(system)} of {count(len(report.pairs), 'query', 'queries')} without an answer."
        for system in report.systems
        if any(system.missed)
    ]
    return " ".join(parts)


def difference_title(report: ComparisonReport) -> str:
    """Return what the table of differences holds."""
    several = any(len(system.runs) > 1 for system in report.systems)
    how = "paired bootstrap over videos" + (", each query averaged over seeds" if several else "")
    return f"Difference to {report.first.name} in points, its 95 % interval and p-value ({how})"


def shown_figure(value: OverSeeds, decimals: int) -> str:
    """Return mean and spread.

    >>> shown_figure(OverSeeds(50.64, 0.7), 1), shown_figure(OverSeeds(50.64, None), 2)
    ('50.6 ± 0.7', '50.64')
    """
    spread = "" if value.spread is None else f" ± {value.spread:.{decimals}f}"
    return f"{value.mean:.{decimals}f}{spread}"


def shown_difference(difference: Difference, decimals: int) -> tuple[str, str, str]:
    """Return the difference, its interval and its p-value.

    >>> shown_difference(Difference(-1.25, -3.0, 0.5, 0.002), 1)
    ('−1.2', '−3.0 to +0.5', 'p 0.002')
    """
    value, low, high = (f"{number:+.{decimals}f}".replace("-", "−") for number in difference[:3])
    return value, f"{low} to {high}", f"p {difference.p:.3f}"


def shown_missed(system: System) -> str:
    """Return how many queries have no prediction, for each run if they differ."""
    numbers = dict.fromkeys(system.missed)
    return ", ".join(map(str, system.missed if len(numbers) > 1 else numbers))


def _figures(report: ComparisonReport, decimals: int) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows of the figures; the numbers of seeds and of misses only where there are any."""
    seeds = any(len(system.runs) > 1 for system in report.systems)
    missed = any(any(system.missed) for system in report.systems)
    columns = ["", *(["seeds"] if seeds else []), *(["missed"] if missed else []), *report.metric_names]
    rows = []
    for system in report.systems:
        cells = [system.name, *([str(len(system.runs))] if seeds else []), *([shown_missed(system)] if missed else [])]
        figures = (system.metrics.get(name) for name in report.metric_names)
        rows.append([*cells, *(MISSING if value is None else shown_figure(value, decimals) for value in figures)])
    return columns, rows


def _differences(report: ComparisonReport, decimals: int) -> tuple[list[str], list[list[str]]]:
    rows = []
    for name, differences in report.differences.items():
        cells = []
        for metric in report.metric_names:
            if metric not in differences:
                cells.append(MISSING)
                continue
            value, interval, p = shown_difference(differences[metric], decimals)
            cells.append(f"{value} ({interval}; {p})")
        rows.append([name, *cells])
    return ["", *report.metric_names], rows


def _csv_rows(report: ComparisonReport) -> Iterator[Sequence[object]]:
    for system in report.systems:
        differences = report.differences.get(system.name, {})
        for metric, value in system.metrics.items():
            difference: Sequence[float | None] = differences.get(metric, (None,) * 4)
            own = [system.name, len(system.runs), shown_missed(system), metric, *value, *system.intervals[metric]]
            yield [*own, *difference]
