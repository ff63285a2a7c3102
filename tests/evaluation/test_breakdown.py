"""Groups of queries, and their metrics."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mttsg_core.data.pairs import Pair
from mttsg_core.evaluation.breakdown import UNKNOWN, break_down, group_queries, vocabulary, words_of
from mttsg_core.evaluation.evaluation_report import EvaluationReport
from mttsg_core.evaluation.evaluator import score
from mttsg_core.moments import Moment

PAIRS = [
    Pair("1", "a", "a person sits", ((0.0, 2.0),), 30.0),
    Pair("2", "a", "A person's dog sits down", ((12.0, 16.0),), 30.0),
    Pair("3", "b", "person juggles", ((1.0, 2.0), (20.0, 28.0)), 30.0),
    Pair("4", "c", "sits", ((5.0, 6.0),)),
]
DURATIONS = [30.0, 30.0, 30.0, None]


def queries_by_name(kind: str) -> dict[str, list[int]]:
    seen_words = vocabulary(["A person sits.", "person’s dog, down!", "person's"])
    groups = group_queries(PAIRS, DURATIONS, seen_words)
    return {group.name: group.queries.tolist() for group in groups if group.kind == kind}


def test_groups() -> None:
    assert queries_by_name("moment length") == {"1.0 s": [3], "2.0 s": [0], "4.0 s": [1], "8.0 s": [2]}
    assert queries_by_name("moment position") == {
        "first third": [0],
        "middle third": [1],
        "last third": [2],
        UNKNOWN: [3],
    }
    assert queries_by_name("video length") == {"30.0 s": [0, 1, 2], UNKNOWN: [3]}
    assert queries_by_name("sentence length") == {"1 word": [3], "2 words": [2], "3 words": [0], "5 words": [1]}
    assert queries_by_name("words") == {"seen in training": [0, 1, 3], "some not seen": [2]}


def test_words() -> None:
    assert words_of("Person's cup_ (2nd), Straße: 猫!") == ["person's", "cup", "2nd", "strasse", "猫"]
    assert words_of("वह पानी पीती है, Tu\u0308r") == ["वह", "पानी", "पीती", "है", "t\u00fcr"]
    assert not any(group.kind == "words" for group in group_queries(PAIRS, DURATIONS))


def test_every_query_is_in_one_group_of_each_kind() -> None:
    rng = np.random.default_rng(0)
    pairs = [
        Pair(str(n), f"v{n // 3}", "w " * int(rng.integers(1, 12)), ((start := float(rng.uniform(0, 9)), start + 1.5),))
        for n in range(50)
    ]
    durations = [float(rng.uniform(5, 60)) if rng.random() > 0.2 else None for _ in pairs]
    groups = group_queries(pairs, durations, frozenset())
    for kind in {group.kind for group in groups}:
        queries = np.concatenate([group.queries for group in groups if group.kind == kind])
        assert sorted(queries.tolist()) == list(range(50))


def test_groups_that_are_displayed_alike_are_merged() -> None:
    pairs = [Pair(str(n), "a", "sits", ((0.0, 1.01 + 0.01 * n),)) for n in range(6)]
    groups = [group for group in group_queries(pairs, [9.0] * 6) if group.kind == "moment length"]
    assert len({group.name for group in groups}) == len(groups) < 4
    assert sorted(np.concatenate([group.queries for group in groups]).tolist()) == list(range(6))


def test_metrics_of_groups() -> None:
    predictions = [[Moment(0, 2)], [Moment(12, 14)], [], [Moment(8, 9)]]
    main = score("val", PAIRS, predictions, "predictions", missed=1)
    report = EvaluationReport(main, DURATIONS)
    by_name = {(group.kind, group.name): group for group in report.breakdown}
    video = by_name["video length", "30.0 s"]
    assert (video.queries, video.videos) == (3, 2)
    assert video.metrics["R@1,IoU=0.5"] == pytest.approx(200 / 3)
    assert video.metrics["mIoU"] == pytest.approx(50)
    assert video.intervals["mIoU"] == pytest.approx((0, 75))
    assert break_down(main.query_values, main.video_index, []) == []
    plain = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert plain["breakdown"]["moment position"][0]["group"] == "first third"
    assert plain["convention"]["hit"] == "IoU >= m"
    assert "baselines" not in plain
    low, high = plain["intervals"]["R@1,IoU=0.5"]
    assert low <= plain["R@1,IoU=0.5"] <= high
