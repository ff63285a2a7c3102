"""Comparisons to make pages of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mttsg_core.data.folder import Pair
from mttsg_core.evaluation.evaluation_report import EvaluationReport, blind_baselines
from mttsg_core.evaluation.evaluator import score
from mttsg_core.evaluation.figures import MetricConfig
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
    "{{constructor}} ${7*7} %s %(x)s {0}",
    "javascript:document.title='run'",
]


def comparison(queries: int, *, baselines: bool = False, sentences: Sequence[str] | None = None) -> EvaluationReport:
    """Random answers to random queries of four to a video, every fifth of them none."""
    rng = np.random.default_rng(1)
    pairs, answers = [], []
    for number in range(queries):
        start = float(rng.uniform(0, 40))
        sentence = f"person does thing {number}" if sentences is None else sentences[number % len(sentences)]
        span = (start, start + float(rng.uniform(2, 15)))
        pairs.append(Pair(str(number), f"video{number // 4}", sentence, (span,), 60.0))
        moved = [
            Moment(max(0.0, start + shift), span[1] + shift, 1 / (2 + abs(shift))) for shift in rng.normal(0, 6, 4)
        ]
        answers.append([] if number % 5 == 4 else sorted(moved, key=lambda moment: -moment.score))
    main = score("val", pairs, answers, "independent", missed=queries // 5)
    main = replace(main, measures=MetricConfig(precision=True))
    durations = [60.0] * queries
    others = blind_baselines(main, durations, pairs, durations) if baselines else []
    return EvaluationReport(main, durations, others, "val" if baselines else None, frozenset({"person", "does"}))
