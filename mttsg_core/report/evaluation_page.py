"""The page: its parts put together. Whatever comes from data passes through `text.clean`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from mttsg_core.evaluation.baselines import BLIND
from mttsg_core.evaluation.evaluation_report import EvaluationReport
from mttsg_core.moments import Moment
from mttsg_core.report.cases import Case
from mttsg_core.report.charts import breakdown_plot, iou_histogram, recall_curves
from mttsg_core.report.escape import clean, clock, percent
from mttsg_core.report.layout import frame, section
from mttsg_core.report.thumbnails import Thumbnail
from mttsg_core.utils.text import count


def render_evaluation_page(
    comparison: EvaluationReport, cases: Sequence[Case], pictures: Mapping[int, Sequence[Thumbnail]]
) -> str:
    """The whole report.

    Args:
        comparison: the figures.
        cases: the queries to show, see `pick_cases`.
        pictures: of the cases, by their number.
    """
    main = comparison.main
    title = f"{main.split}: {count(len(main.predictions), 'query', 'queries')} of {count(main.videos, 'video')}"
    worst, best = ([case for case in cases if case.worst is worst] for worst in (True, False))
    sections = [
        section("Figures", _figures(comparison)),
        section("Overlap", _overlap(comparison)),
        section(f"Where it is good, where not: {main.measures.headline}", _breakdown(comparison)),
        section(f"The {len(worst)} worst", _legend() + "".join(_case(case, pictures) for case in worst)),
    ]
    if best:
        sections.append(section(f"The {len(best)} best", _legend() + "".join(_case(case, pictures) for case in best)))
    mode = "" if main.mode == main.name else f", mode <strong>{clean(main.mode)}</strong>"
    missed = f"; {count(main.missed, 'query', 'queries')} without an answer" if main.missed else ""
    intro = f"<p>Answers: {clean(main.name)}{mode}{missed}.</p>"
    return frame(title, intro, "".join(sections), "This page loads nothing and runs no script.")


def _figures(comparison: EvaluationReport) -> str:
    """The tables of recall and of precision, one row an evaluation, and what their figures mean."""
    names = list(comparison.main.metrics)
    precision = [name for name in names if name.startswith("mAP")]
    recall = [name for name in names if name not in precision]
    tables = [_table(comparison, part, label) for part, label in ((recall, "Recall"), (precision, "mAP")) if part]
    said = comparison.conventions
    notes = [
        f"Percent, with 95 % intervals from a bootstrap by video. A hit is {said['hit']}, in seconds.",
        f"NMS: {said['nms']}. A query without an answer {said['no_prediction']}.",
        f"Of several true moments, {said['several_true_moments']}. mAP: {said['mAP']}.",
    ]
    return f'{"".join(tables)}<p class="note">{clean(" ".join([*notes, comparison.fit]))}</p>'


def _table(comparison: EvaluationReport, names: Sequence[str], label: str) -> str:
    head = "".join(f'<th scope="col">{_figure_name(name)}</th>' for name in names)
    rows = []
    for other in comparison.evaluations:
        cells = []
        for name in names:
            if name not in other.metrics:
                cells.append("<td>–</td>")
                continue
            low, high = other.intervals[name]
            cells.append(
                f'<td>{percent(other.metrics[name])}<span class="pm">{percent(low)}–{percent(high)}</span></td>'
            )
        kind = ' class="main"' if other is comparison.main else ""
        note = f'<span class="pm">{clean(other.mode)}</span>' if other.mode not in (BLIND, other.name) else ""
        rows.append(f'<tr{kind}><th scope="row">{clean(other.name)}{note}</th>{"".join(cells)}</tr>')
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{clean(label)}"><table class="figures">'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _figure_name(name: str) -> str:
    first, mark, rest = name.partition(",IoU=")
    if mark:
        return f"{clean(first)}<br>IoU {clean(rest)}"
    first, mark, rest = name.partition("@") if "@" in name else name.partition("-")
    return f"{clean(first)}<br>{'@' if mark == '@' else ''}{clean(rest)}" if mark else clean(first)


def _overlap(comparison: EvaluationReport) -> str:
    return (
        '<div class="pair"><figure><figcaption>IoU of each first answer</figcaption>'
        f"{iou_histogram(comparison.main.first_ious)}</figure>"
        f"<figure><figcaption>Recall over IoU</figcaption>{recall_curves(comparison)}</figure></div>"
    )


def _breakdown(comparison: EvaluationReport) -> str:
    figure = comparison.main.measures.headline
    kinds = groupby(comparison.breakdown, key=lambda group: group.kind)
    plots = "".join(breakdown_plot(list(groups), figure) for _, groups in kinds)
    note = "Dots are figures, lines their 95 % intervals. Lengths are parted into quarters of the queries."
    if comparison.seen_words is None:
        note += " There is no training split to say which words are new."
    return f'<div class="pair">{plots}</div><p class="note">{clean(note)}</p>'


def _legend() -> str:
    return (
        '<p class="note"><span class="swatch truth"></span> true moment <span class="swatch answer"></span> answers, '
        "the best first</p>"
    )


def _case(case: Case, pictures: Mapping[int, Sequence[Thumbnail]]) -> str:
    """A query: its sentence, its pictures, and its true moments and answers on a time line."""
    extent = case.extent
    lanes = [_lane("true", "truth", [Moment(*span) for span in case.pair.moments], extent)]
    lanes += [
        _lane(f"{rank}", f"answer rank{rank}", [answer], extent, f"score {answer.score:.2f}")
        for rank, answer in enumerate(case.answers, start=1)
    ]
    if not case.answers:
        lanes.append('<p class="note">No answer.</p>')
    shown = "".join(
        f'<figure><img src="data:image/jpeg;base64,{picture.jpeg}" width="{picture.width}" height="{picture.height}" '
        f'alt="{clean(picture.label)} at {clock(picture.time)}"><figcaption><span class="swatch '
        f'{"truth" if picture.label == "true" else "answer"}"></span> {clean(picture.label)}, '
        f"{clock(picture.time)}</figcaption></figure>"
        for picture in pictures.get(case.number, ())
    )
    shown = f'<div class="pictures">{shown}</div>' if shown else ""
    length = "" if case.duration is None else f" · {clock(case.duration)}"
    return (
        f'<article><div class="head"><h3><bdi dir="auto">{clean(case.pair.query)}</bdi></h3>'
        f'<p class="iou">IoU {case.iou:.2f}</p></div>'
        f'<p class="video"><bdi>{clean(case.pair.video)}</bdi>{length} · <bdi>{clean(case.pair.id)}</bdi></p>'
        f'{shown}<div class="lanes">{"".join(lanes)}</div></article>'
    )


def _lane(label: str, kind: str, moments: Sequence[Moment], extent: float, said: str = "") -> str:
    """Spans on a bar of `extent` seconds, with their times beside it."""
    scale = 100 / extent if extent > 0 else 0.0
    bars = []
    for start, end, _ in moments:
        left = min(max(start * scale, 0.0), 100.0)
        width = min(max((end - start) * scale, 0.0), 100.0 - left)
        bars.append(f'<span class="{kind}" style="left:{left:.3f}%;width:{width:.3f}%"></span>')
    first = moments[0]
    times = f"{clock(max(first.start, 0))} – {clock(max(first.end, 0))}"
    if len(moments) > 1:
        times += f" +{len(moments) - 1}"
    tip = f' title="{clean(said)}"' if said else ""
    return (
        f'<div class="lane"{tip}><span class="label">{clean(label)}</span><div class="rail">{"".join(bars)}</div>'
        f'<span class="times">{times}</span></div>'
    )
