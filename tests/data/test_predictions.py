"""Predictions files: reading, matching to pairs, and writing without loss."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mttsg_core.data.pairs import Pair
from mttsg_core.data.prediction_writers import PREDICTION_FORMS, write_predictions
from mttsg_core.data.predictions import Predictions, read_predictions
from mttsg_core.errors import ConfigError, DataError
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


def test_moments_without_a_score_keep_the_order_of_the_file(tmp_path: Path) -> None:
    rows = [
        {"id": "1", "moments": [[0, 1, None], [1, 2, None], [2, 3, None]]},
        {"id": "2", "moments": [[0, 1, 0.2], [1, 2, None], [2, 3, 0.9]]},
    ]
    predictions = read(tmp_path, *rows)
    assert not predictions.problems
    assert [moment[:2] for moment in predictions.by_id["1"]] == [(0, 1), (1, 2), (2, 3)]
    assert [moment[:2] for moment in predictions.by_id["2"]] == [(0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize("form", ["json", "csv", "tsv"])
def test_rows_without_scores_are_ordered_by_rank(tmp_path: Path, form: str) -> None:
    ranks = {2: (5.0, 6.0), 1: (1.0, 2.0), 3: (3.0, 4.0)}
    path = tmp_path / f"rows.{form}"
    if form == "json":
        names = ("video", "query", "rank", "start", "end", "score")
        path.write_text(json.dumps([dict(zip(names, ("a", "x", n, *s, None), strict=True)) for n, s in ranks.items()]))
    else:
        mark = "," if form == "csv" else "\t"
        lines = [("video", "query", "rank", "start", "end", "score")]
        lines += [("a", "x", str(n), str(start), str(end), "") for n, (start, end) in ranks.items()]
        path.write_text("".join(mark.join(line) + "\n" for line in lines))
    predictions = read_predictions(path)
    assert not predictions.problems
    [row] = predictions.rows
    assert [moment[:2] for moment in row.moments] == [ranks[1], ranks[2], ranks[3]]


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


def read_file(tmp_path: Path, name: str, content: str) -> Predictions:
    path = tmp_path / name
    path.write_text(content)
    return read_predictions(path)


ROWS = [
    {"video": "data/videos/a.mp4", "query": "x", "rank": 2, "start": 5.0, "end": 6.0, "score": 0.9},
    {"video": "data/videos/a.mp4", "query": "x", "rank": 1, "start": 0.0, "end": 2.0, "score": 0.4},
    {"video": "data/videos/a.mp4", "query": "y, z", "rank": 1, "start": 2.5, "end": 4.0, "score": 0.3},
    {"video": "data/videos/b.mp4", "query": "x", "rank": 1, "start": 4.0, "end": 6.0, "score": 0.2},
]


def table(delimiter: str) -> str:
    lines = [list(ROWS[0]), *([str(value) for value in row.values()] for row in ROWS)]
    return "\n".join(delimiter.join(f'"{cell}"' if delimiter in cell else cell for cell in line) for line in lines)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("out.jsonl", "\n".join(map(json.dumps, ROWS))),
        ("out.json", json.dumps(ROWS, indent=2)),
        ("out.csv", table(",")),
        ("out.tsv", table("\t")),
        ("out.txt", table(";").replace("0.", "0,").replace("5.", "5,")),
    ],
)
def test_moments_written_by_ground_are_predictions(tmp_path: Path, name: str, content: str) -> None:
    predictions = read_file(tmp_path, name, content)
    assert not predictions.problems
    pairs = [Pair("1", "a", "x"), Pair("2", "a", "y, z"), Pair("3", "b", "x"), Pair("4", "b", "y, z")]
    matched = predictions.match(pairs)
    assert matched.moments == [[(0, 2, 0.4), (5, 6, 0.9)], [(2.5, 4, 0.3)], [(4, 6, 0.2)], []]
    assert (matched.missing, matched.unknown) == (1, 0)


def test_rows_without_ranks_are_ordered_by_score(tmp_path: Path) -> None:
    rows = [{"vid": "a", "caption": "x", "t_start": "0:01", "t_end": "2", "score": score} for score in (0.1, 0.7, None)]
    [moments] = read(tmp_path, *rows).match([Pair("1", "a", "x")]).moments
    assert [moment.score for moment in moments] == [1.0, 0.7, 0.1]


def test_bad_rows_with_a_moment_keep_their_rank(tmp_path: Path) -> None:
    bad = ROWS[1] | {"end": "x"}
    predictions = read(tmp_path, ROWS[0], bad, {"video": "a", "rank": 1, "start": 1, "end": 2})
    assert [(problem.line, problem.reason) for problem in predictions.problems] == [
        (2, "the moment has no start before its end"),
        (3, "no video and query"),
    ]
    assert predictions.match([Pair("1", "a", "x")]).moments == [[(0, 0, 0.4), (5, 6, 0.9)]]


@pytest.mark.parametrize("video", ["/home/me/films/a.mp4", "C:\\films\\A.mp4", "a", "k/a.avi", "videos/k/a"])
def test_a_predicted_video_is_found_by_the_last_parts_of_its_path(tmp_path: Path, video: str) -> None:
    predictions = read(tmp_path, ROWS[0] | {"video": video})
    assert predictions.match([Pair("1", "k/a", "x"), Pair("2", "k/b", "x")]).missing == 1


def test_a_predicted_video_that_may_be_several_is_none_of_them(tmp_path: Path) -> None:
    predictions = read(tmp_path, ROWS[0] | {"video": "/films/a.mp4"}, ROWS[0] | {"video": "/films/k/a.mp4"})
    matched = predictions.match([Pair("1", "k/a", "x"), Pair("2", "l/a", "x")])
    assert [len(moments) for moments in matched.moments] == [1, 0]
    assert matched.unknown == 1


def test_json_lists_of_the_other_forms(tmp_path: Path) -> None:
    own = {"id": "1", "moments": [[0, 1, 0.2], [1, 2, 0.7]]}
    published = {"qid": 2, "pred_relevant_windows": [[0, 1, 0.2], [1, 2, 0.7]]}
    predictions = read_file(tmp_path, "out.json", json.dumps([own, published, 3]))
    assert predictions.by_id == {"1": [(1, 2, 0.7), (0, 1, 0.2)], "2": [(0, 1, 0.2), (1, 2, 0.7)]}
    assert [str(problem) for problem in predictions.problems] == [f"{tmp_path / 'out.json'}:3: not a JSON object"]


@pytest.mark.parametrize(
    ("name", "content"), [("a.csv", "video,query,start,end\na,x,1,2"), ("a.json", "[1]"), ("b.json", "[")]
)
def test_annotations_and_other_files_are_not_predictions(tmp_path: Path, name: str, content: str) -> None:
    with pytest.raises(DataError):
        read_file(tmp_path, name, content)


def test_sentences_are_compared_in_composed_form(tmp_path: Path) -> None:
    predictions = read(tmp_path, ROWS[0] | {"query": "Tu\u0308r"})
    assert predictions.match([Pair("1", "a", "T\u00fcr")]).missing == 0


@pytest.mark.parametrize("form", PREDICTION_FORMS)
def test_scores_of_clips_are_read_back_from_every_form(tmp_path: Path, form: str) -> None:
    moments = [[Moment(0.5, 1.5, 1 / 3), Moment(1, 6, 0.25)], [Moment(1, 2, 0.5)], []]
    saliency = [[0.1, -1 / 3, 7.0], [], [0.25]]
    write_predictions(tmp_path / "out.jsonl", PAIRS, moments, saliency, form)
    matched = (read := read_predictions(tmp_path / "out.jsonl")).match(PAIRS)
    assert not read.problems
    assert matched.moments == moments
    assert [list(scores) for scores in matched.saliency[:2]] == saliency[:2]


def test_a_submission_is_what_the_evaluator_of_qvhighlights_takes(tmp_path: Path) -> None:
    pairs = [replace(PAIRS[0], id="2579"), replace(PAIRS[1], id="007"), PAIRS[2]]
    moments = [[Moment(149.99999999999997, 150.00000000000003, 1 / 3)], [Moment(1, 2, 0.5)], []]
    write_predictions(tmp_path / "out.jsonl", pairs, moments, [[0.5], [0.25], [0.5]], "qvhighlights")
    first, second = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())  # no row without a moment
    assert first == {
        "qid": 2579,
        "query": "x",
        "vid": "a",
        "pred_relevant_windows": [[150.0, 150.0, 1 / 3]],
        "pred_saliency_scores": [0.5],
    }
    assert second["qid"] == "007"  # not a number as the published files have them
    with pytest.raises(ConfigError, match="'qvhighlights'"):
        write_predictions(tmp_path / "out.jsonl", pairs, moments, form="qvhighlight")


@pytest.mark.parametrize("scores", [3, ["a"], [None], [float("nan")], [[1.0]]])
def test_scores_of_clips_that_are_not_numbers_cost_the_row_nothing_else(tmp_path: Path, scores: object) -> None:
    row = {"qid": 1, "pred_relevant_windows": [[0, 1, 0.2]], "pred_saliency_scores": scores}
    predictions = read(tmp_path, row)
    assert [problem.reason for problem in predictions.problems] == [
        "pred_saliency_scores is not a list of numbers, and is left out"
    ]
    assert predictions.by_id == {"1": [(0, 1, 0.2)]}
    assert predictions.rows[0].saliency == ()
