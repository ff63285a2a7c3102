"""Highlight scores against an independent, naive implementation and against published figures."""

from __future__ import annotations

import doctest
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mttsg_core.data import clip_ratings
from mttsg_core.data.clip_ratings import ClipRatings
from mttsg_core.data.pairs import Pair
from mttsg_core.data.predictions import read_predictions
from mttsg_core.data.splits import read_pairs
from mttsg_core.errors import DataError
from mttsg_core.evaluation import highlights
from mttsg_core.evaluation.baselines import WHOLE_VIDEO, evaluate_blind
from mttsg_core.evaluation.comparison import System
from mttsg_core.evaluation.comparison_report import ComparisonReport
from mttsg_core.evaluation.evaluator import Evaluation
from mttsg_core.evaluation.highlights import highlight_values
from mttsg_core.evaluation.metrics import MetricConfig
from mttsg_core.moments import Moment
from tests.conftest import SHARED

PUBLISHED = SHARED / "annotations" / "qvhighlights"
WITH_HIGHLIGHTS = MetricConfig((1,), (0.5,), highlights=True)


def naive_ap(labels: Sequence[bool], scores: Sequence[float]) -> float:
    """Return the AP of clips: the mean over levels of recall of the best precision at or beyond each."""
    if not any(labels):
        return 0.0
    points: list[tuple[float, float]] = []
    for threshold in sorted(set(scores), reverse=True):
        found = [label for label, score in zip(labels, scores, strict=True) if score >= threshold]
        points.append((sum(found) / sum(labels), sum(found) / len(found)))
    levels = {recall for recall, _ in points if recall > 0}
    return sum(max(precision for recall, precision in points if recall >= level) for level in levels) / len(levels)


def naive_scores(ratings: ClipRatings, scores: Sequence[float], clips: int, lowest: int) -> tuple[float, float]:
    """Return mAP and HIT@1 of one query."""
    by_clip = dict(zip(ratings.clips, ratings.ratings, strict=True))
    annotators = range(len(ratings.ratings[0]))
    padded = [*scores, *([0.0] * clips)][:clips]
    labels = [[by_clip.get(clip, (0,) * 9)[one] >= lowest for clip in range(clips)] for one in annotators]
    best = max(range(len(scores)), key=lambda clip: (scores[clip], -clip))
    hit = best < clips and any(own[best] for own in labels)
    return 100 * float(np.mean([naive_ap(own, padded) for own in labels])), 100 * float(hit)


@st.composite
def rated_queries(draw: st.DrawFn) -> tuple[ClipRatings, list[float], int]:
    clips = draw(st.integers(1, 9))
    rated = draw(st.lists(st.integers(0, clips - 1), min_size=1, max_size=clips, unique=True))
    annotators = draw(st.integers(1, 3))
    rating = st.tuples(*[st.integers(0, 4)] * annotators)
    scores = draw(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 0.5]), min_size=1, max_size=11))
    return ClipRatings(tuple(rated), tuple(draw(rating) for _ in rated)), scores, clips


@settings(max_examples=300)
@given(st.lists(rated_queries(), min_size=1, max_size=4))
def test_against_the_naive_implementation(queries: list[tuple[ClipRatings, list[float], int]]) -> None:
    ratings, scores, clips = zip(*queries, strict=True)
    found = highlight_values(ratings, scores, [2.0 * number + 1 for number in clips])
    assert list(found)[:3] == ["HL-mAP-Fair", "HL-HIT@1-Fair", "HL-mAP-Good"]
    for level, lowest in (("Fair", 2), ("Good", 3), ("VeryGood", 4)):
        naive = [naive_scores(*query, lowest) for query in queries]
        np.testing.assert_allclose(found[f"HL-mAP-{level}"], [one[0] for one in naive], atol=1e-9)
        assert found[f"HL-HIT@1-{level}"].tolist() == [one[1] for one in naive]


def test_queries_without_ratings_do_not_count_and_those_without_scores_are_missed() -> None:
    ratings = ClipRatings((0,), ((4, 4, 4),))
    found = highlight_values([ratings, ratings, None], [[0.9, 0.1], [], [0.9, 0.1]], [4.0, 4.0, 4.0])
    for column in found.values():
        np.testing.assert_array_equal(column, [100, 0, np.nan])
    assert highlight_values([None], [[0.5]], [4.0]) == {}
    assert highlight_values([ratings], [[]], [4.0]) == {}
    with pytest.raises(DataError, match="2 lists of clip scores"):
        highlight_values([ratings], [[], []], [4.0])


def test_a_video_of_unknown_length_has_as_many_clips_as_scores() -> None:
    ratings = ClipRatings((2,), ((4,),))
    assert highlight_values([ratings], [[0.1, 0.2, 0.9]], [None])["HL-mAP-Fair"].tolist() == [100]
    assert highlight_values([ratings], [[0.1, 0.2]], [None])["HL-mAP-Fair"].tolist() == [0]  # there is no third clip
    assert highlight_values([ratings], [[0.1, 0.2]], [6.0])["HL-mAP-Fair"].tolist() == pytest.approx([100 / 3])


def test_the_examples_of_the_docstrings() -> None:
    for module in (highlights, clip_ratings):
        failed, attempted = doctest.testmod(module)
        assert attempted and not failed


def evaluation(saliency: Sequence[Sequence[float]]) -> Evaluation:
    pair = Pair("1", "v", "x", ((0.0, 4.0),), 8.0, ratings=ClipRatings((0, 1), ((4, 3), (2, 2))))
    return Evaluation("test", "predictions", [pair], [[Moment(0, 4, 0.9)]], 0, WITH_HIGHLIGHTS, saliency=saliency)


def test_an_evaluation_has_them_only_with_scores_of_clips() -> None:
    scored, plain = evaluation([[0.9, 0.8, 0.1, 0.2]]), evaluation(())
    assert scored.metrics["HL-mAP-Good"] == pytest.approx(100)
    assert scored.metrics["HL-mAP-VeryGood"] == pytest.approx(50)  # one of two annotators found a highlight
    assert scored.intervals["HL-HIT@1-Fair"] == pytest.approx((100, 100))
    assert list(plain.metrics) == ["R@1,IoU=0.5", "mIoU"]
    assert "HL-mAP-Fair" not in evaluate_blind("whole video", WHOLE_VIDEO, scored, [8.0]).metrics


def test_a_comparison_has_them_for_the_systems_that_have_them() -> None:
    scored, plain = evaluation([[0.9, 0.8, 0.1, 0.2]]), evaluation(())
    report = ComparisonReport([System("plain", [plain]), System("scored", [scored])], [8.0])
    assert report.metric_names == [*plain.metrics, *list(scored.metrics)[2:]]
    assert list(report.differences["scored"]) == list(plain.metrics)
    assert "highlights" in report.conventions
    both = System("both", [plain, scored])
    assert list(both.metrics) == list(both.query_values) == list(plain.metrics)


@pytest.mark.data
@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="../shared/annotations is not at hand")
def test_the_published_figures_of_moment_detr() -> None:
    pairs = read_pairs(Path(PUBLISHED, "highlight_val_release.jsonl")).pairs
    matched = read_predictions(PUBLISHED / "moment_detr_val_predictions.jsonl").match(pairs)
    published = json.loads((PUBLISHED / "moment_detr_val_metrics.json").read_text())
    durations = [pair.duration for pair in pairs]
    found = highlight_values([pair.ratings for pair in pairs], matched.saliency, durations)
    for level in ("Fair", "Good", "VeryGood"):
        for ours, theirs in (("mAP", "HL-mAP"), ("HIT@1", "HL-Hit1")):
            assert round(found[f"HL-{ours}-{level}"].mean(), 2) == published[f"HL-min-{level}"][theirs]
