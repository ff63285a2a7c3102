"""Reports to render, hostile sentences to put into them, and a reader of the rendered pages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np

from mttsg_core.data.pairs import Pair
from mttsg_core.evaluation.evaluation_report import EvaluationReport, blind_baselines
from mttsg_core.evaluation.evaluator import score
from mttsg_core.evaluation.metrics import MetricConfig
from mttsg_core.moments import Moment

HOSTILE = [
    "</script><script>document.title='run'</script>",
    '"><img src=x onerror="document.title=\'run\'">',
    "</title></style></body><h1>gone</h1>",
    "<!-- <svg onload=document.title='run'>",
    "&lt;b&gt; &amp; &#60;i&#62;",
    "שלום עולם person opens مرحبا door",
    "\u202eright to left override",
    "a family 👩‍👩‍👧‍👦 and a flag 🏳️‍🌈",
    "nothing\x00 but \x1b[31m control\x07 characters",
    "w" * 400,
    "{{constructor}} ${7*7} {% raw %} %s %(x)s {0}",
    "javascript:document.title='run'",
]
UNENCODABLE = "half of a pair \ud83d and \x85\uffff"  # never in a data folder, but a file name may hold as much
_INVISIBLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")

Attributes = dict[str, str | None]


class PageReader(HTMLParser):
    """A page's elements with their attributes, and its text outside of style and script."""

    def __init__(self, content: str) -> None:
        super().__init__()
        assert not _INVISIBLE.findall(content)
        self.elements: list[tuple[str, Attributes]] = []
        self.text: list[str] = []
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] not in ("style", "script"):
            self.text.append(data)

    @property
    def tags(self) -> list[str]:
        return [tag for tag, _ in self.elements]

    @property
    def links(self) -> list[str]:
        names = ("src", "href", "srcset", "action", "data")
        return [attributes[name] or "" for _, attributes in self.elements for name in names if name in attributes]

    @property
    def handlers(self) -> list[str]:
        return [name for _, attributes in self.elements for name in attributes if name.startswith("on")]

    def all(self, tag: str) -> list[Attributes]:
        return [attributes for name, attributes in self.elements if name == tag]


def evaluation_report(
    queries: int, *, baselines: bool = False, sentences: Sequence[str] | None = None
) -> EvaluationReport:
    """Return random predictions for random queries, four per video; every fifth query has none."""
    rng = np.random.default_rng(1)
    pairs, predictions = [], []
    for number in range(queries):
        start = float(rng.uniform(0, 40))
        sentence = f"person does thing {number}" if sentences is None else sentences[number % len(sentences)]
        span = (start, start + float(rng.uniform(2, 15)))
        pairs.append(Pair(str(number), f"video{number // 4}", sentence, (span,), 60.0))
        shifted = [
            Moment(max(0.0, start + shift), span[1] + shift, 1 / (2 + abs(shift))) for shift in rng.normal(0, 6, 4)
        ]
        predictions.append([] if number % 5 == 4 else sorted(shifted, key=lambda moment: -moment.score))
    main = score("val", pairs, predictions, "independent", missed=queries // 5)
    main = replace(main, metric_config=MetricConfig(average_precision=True))
    durations = [60.0] * queries
    others = blind_baselines(main, durations, pairs, durations) if baselines else []
    return EvaluationReport(main, durations, others, "val" if baselines else None, frozenset({"person", "does"}))
