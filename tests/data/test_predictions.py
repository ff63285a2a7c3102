"""Predictions files: reading, matching to pairs, and writing without loss."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mttsg_core.data.pairs import Pair
from mttsg_core.data.predictions import Predictions, read_predictions, write_predictions
from mttsg_core.errors import DataError
from mttsg_core.evaluation.metrics import compute_metrics
from mttsg_core.moments import Moment

PAIRS = [Pair("1", "a", "x", ((0.0, 2.0),)), Pair("2", "a", "y", ((2.0, 4.0),)), Pair("3", "b", "x", ((4.0, 6.0),))]


def read(tmp_path: Path, *rows: object) -> Predictions:
    path = tmp_path / "predictions.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return read_predictions(path)


def test_own_format_is_ranked_by_score(tmp_path: Path) -> None:
    predictions = read(
        tmp_path, {"id": "1", "moments": [[0, 1, 0.2], [1, 2, 0.7], [2, 3, 0.2]]}, {"id": 2, "moments": [[4, 5]]}
    )
    assert predictions.by_id == {"1": [(1, 2, 0.7), (0, 1, 0.2), (2, 3, 0.2)], "2": [(4, 5, 1.0)]}


def test_qvhighlights_format_keeps_its_order(tmp_path: Path) -> None:
    row = {"qid": 1, "query": "x", "vid": "a", "pred_relevant_windows": [[0, 1, 0.2], [1, 2, 0.7]], "other": 1}
    assert read(tmp_path, row).by_id == {"1": [(0, 1, 0.2), (1, 2, 0.7)]}


def test_matching(tmp_path: Path) -> None:
    predictions = read(
        tmp_path,
        {"video": "b.mp4", "query": "x", "moments": [[4, 6, 1]]},
        {"id": "2", "moments": [[2, 4, 1]]},
        {"id": "9", "moments": [[0, 1, 1]]},
    )
    matched = predictions.match(PAIRS, lambda name: name.removesuffix(".mp4"))
    assert [len(moments) for moments in matched.moments] == [0, 1, 1]
    assert (matched.missing, matched.unknown) == (1, 1)
    assert compute_metrics([pair.moments for pair in PAIRS], matched.moments)["R@1,IoU=0.7"] == pytest.approx(200 / 3)


def test_an_id_is_not_trusted_against_video_and_query(tmp_path: Path) -> None:
    rows = [{"id": "1", "video": "b", "query": "x", "moments": [[4, 6, 1]]},
            {"id": "3", "video": "c", "query": "z", "moments": [[0, 1, 1]]}]  # fmt: skip
    matched = read(tmp_path, *rows).match(PAIRS)
    assert matched.moments[1:] == [[], [(4, 6, 1)]]  # the pair with id 3 is matched by video and query
    assert matched.unknown == 1


def test_equal_queries_take_their_predictions_in_order(tmp_path: Path) -> None:
    rows = [{"video": "a", "query": "x", "moments": [[start, start + 1, 1]]} for start in (0, 5)]
    pairs = [Pair(str(number), "a", "x", ((0.0, 1.0),)) for number in range(3)]
    assert [moments[0].start for moments in read(tmp_path, *rows).match(pairs).moments] == [0, 5, 5]


def test_bad_moments_keep_their_rank(tmp_path: Path) -> None:
    windows = [[5, 1, 0.9], [0, float("nan"), 0.8], "x", [0, 1e300, 0.5], [0, 2, 0.3]]
    predictions = read(tmp_path, {"qid": 1, "pred_relevant_windows": windows})
    assert [problem.line for problem in predictions.problems] == [1, 1, 1, 1]
    assert predictions.problems[0].reason == "moment 1 is not [start, end, score] with start before end"
    scores = compute_metrics([((0.0, 2.0),)], predictions.match(PAIRS[:1]).moments)
    assert (scores["R@1,IoU=0.5"], scores["R@5,IoU=0.5"]) == (0, 100)


def test_bad_rows(tmp_path: Path) -> None:
    good = {"id": "1", "moments": []}
    predictions = read(tmp_path, good, good, {"id": "2"}, {"moments": []}, {"id": True, "moments": []}, "{", "3")
    assert [(problem.line, problem.reason.partition(":")[0]) for problem in predictions.problems] == [
        (2, "duplicate id '1', first used in line 1"),
        (3, "no list of moments"),
        (4, "neither an id nor video and query"),
        (5, "the id is neither a string nor an integer"),
        (6, "invalid JSON"),
        (7, "not a JSON object"),
    ]
    assert len(predictions.rows) == 1


def test_not_a_predictions_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a predictions file"):
        read(tmp_path, {"video": "a", "query": "x", "start": 1, "end": 2})
    with pytest.raises(DataError):
        read_predictions(tmp_path / "none.jsonl")


def test_written_predictions_are_read_back_unchanged(tmp_path: Path) -> None:
    moments = [[Moment(0.1234567, 1 / 3, 0.7), Moment(5, 6, 0.1)], [], [Moment(1, 2, 0.5)]]
    write_predictions(tmp_path / "out.jsonl", PAIRS, moments)
    predictions = read_predictions(tmp_path / "out.jsonl")
    assert not predictions.problems
    assert predictions.match(PAIRS).moments == moments
    with pytest.raises(DataError):
        write_predictions(tmp_path / "out.jsonl" / "below", PAIRS, moments)


def test_a_video_name_that_utf8_cannot_encode_survives(tmp_path: Path) -> None:
    pairs = [replace(PAIRS[0], video="caf\udce9/a")]
    write_predictions(tmp_path / "out.jsonl", pairs, [[Moment(1, 2, 0.5)]])
    assert read_predictions(tmp_path / "out.jsonl").rows[0].video == pairs[0].video


def test_video_and_query_take_precedence_over_a_contradicting_id(tmp_path: Path) -> None:
    rows = [{"id": "2", "video": "a", "query": "x", "moments": [[0, 2, 1]]},
            {"id": "1", "video": "a", "query": "y", "moments": [[2, 4, 1]]}]  # fmt: skip
    assert read(tmp_path, *rows).match(PAIRS[:2]).moments == [[(0, 2, 1)], [(2, 4, 1)]]
    [renamed] = read(tmp_path, {**rows[0], "id": "1", "query": "X."}).match(PAIRS[:1]).moments
    assert renamed == [(0, 2, 1)]  # only the wording differs, and no row has the pair's


def test_a_moment_with_extra_values_keeps_the_rank_of_its_score(tmp_path: Path) -> None:
    predictions = read(tmp_path, {"id": "1", "moments": [[5, 6, 0.2], [1, 2, 0.3, "label"]]})
    assert len(predictions.problems) == 1
    assert predictions.rows[0].moments == [(0, 0, 0.3), (5, 6, 0.2)]
