"""Submissions to QVHighlights: written by `evaluate` and `ground`, and read by the rules of its evaluator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mttsg_cli.table_formats import PREDICTION_FORMATS
from mttsg_core.data.prediction_writers import OWN_FORM, PREDICTION_FORMS
from tests.conftest import Mttsg
from tests.helpers.tiny import write_rows

ARGUMENTS = ("--workers", "1")


def test_the_command_knows_every_form_of_predictions() -> None:
    assert tuple(PREDICTION_FORMS) == PREDICTION_FORMATS
    assert PREDICTION_FORMATS[0] == OWN_FORM


def check(row: dict[str, Any], truth: dict[str, Any]) -> None:
    """Check a row by what the evaluator does with it."""
    assert list(row) == ["qid", "query", "vid", "pred_relevant_windows", "pred_saliency_scores"]
    assert (row["qid"], row["query"]) == (truth["qid"], truth["query"])
    assert row["pred_relevant_windows"]
    for window in row["pred_relevant_windows"]:
        assert [type(value) for value in window] == [float] * 3
        assert 0 <= window[0] < window[1]
    scores = [window[2] for window in row["pred_relevant_windows"]]
    assert scores == pytest.approx(sorted(scores, reverse=True))
    assert [type(score) for score in row["pred_saliency_scores"]] == [float] * int(truth["duration"] / 2)


@pytest.fixture
def rows(corpus: Path) -> list[dict[str, Any]]:
    """Four rows of the corpus in the form of QVHighlights, with ratings of the clips of the moment."""
    made = []
    for number, line in enumerate((corpus / "val.jsonl").read_text().splitlines()[::3][:4]):
        row = json.loads(line)
        window = [row["start"], row["end"]]
        duration = row.get("duration", window[1] + 2)
        clips = [clip for clip in range(int(duration / 2)) if window[0] <= 2 * clip + 1 <= window[1]] or [0]
        rated = {"relevant_clip_ids": clips, "saliency_scores": [[4, 2, 0]] * len(clips)}
        made.append({"qid": 70 + number, "query": row["query"], "duration": duration, "vid": row["video"], **rated})
        made[-1]["relevant_windows"] = [window]
    return made


@pytest.fixture
def data(corpus: Path, tmp_path: Path, rows: list[dict[str, Any]]) -> Path:
    """A data folder of these rows: `val`, and `test` without anything to score."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "videos").symlink_to(corpus / "videos")
    write_rows(folder / "highlight_val_release.jsonl", rows)
    public = [{name: row[name] for name in ("qid", "query", "duration", "vid")} for row in rows]
    write_rows(folder / "highlight_test_release.jsonl", public)
    return folder


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_of_rows_with_truth(
    data: Path, cache: Path, trained: Path, mttsg: Mttsg, tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    out = tmp_path / "submission.jsonl"
    words = ("evaluate", data, "--split", "val", "--json")
    ran = mttsg(*words, "--model", trained, "--cache", cache, *ARGUMENTS, "--out", out, "--format", "qvhighlights")
    assert ran.code == 0, ran.err
    for row, truth in zip(read(out), rows, strict=True):
        check(row, truth)
    found, again = json.loads(ran.out), json.loads(mttsg(*words, "--predictions", out).out)
    names = [name for name in found if name.startswith(("R@", "mAP", "HL-"))]
    assert len([name for name in names if name.startswith("HL-")]) == 6
    assert [again[name] for name in names] == pytest.approx([found[name] for name in names])
    assert "HL-HIT@1" in mttsg(*words[:-1], "--predictions", out).out


def test_of_rows_without_truth(
    data: Path, cache: Path, trained: Path, mttsg: Mttsg, tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    out = tmp_path / "submission.jsonl"
    words = ("evaluate", data, "--model", trained, "--cache", cache, *ARGUMENTS)
    ran = mttsg(*words, "--out", out, "--format", "qvhighlights")
    assert ran.code == 0, ran.err
    assert "No row has a true moment: there is nothing to score." in ran.out
    for row, truth in zip(read(out), rows, strict=True):
        check(row, truth)
    again = mttsg("evaluate", data, "--predictions", out, "--out", tmp_path / "own.jsonl", "--json")
    assert (again.code, json.loads(again.out)["missed"]) == (0, 0)
    assert [row["id"] for row in read(tmp_path / "own.jsonl")] == [str(row["qid"]) for row in rows]
    for options, said in (
        ([], "no row of test has a true moment to score; --out FILE writes the answers"),
        (["--out", tmp_path / "x", "--baselines", "--html", tmp_path / "y"], "--html and --baselines: no row of test"),
        (["--format", "qvhighlights"], "--format: is the form of the predictions; name their file with --out FILE"),
        (["--out", tmp_path / "x", "--format", "codalab"], "unknown format: 'codalab'; one of: jsonl, qvhighlights"),
    ):
        ran = mttsg(*words, *options)
        assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
        assert said in ran.errors[0]
        assert not (tmp_path / "x").exists()


def test_a_query_without_an_answer_is_left_out(data: Path, mttsg: Mttsg, tmp_path: Path) -> None:
    answers = [{"qid": qid, "pred_relevant_windows": [[0, 1, 0.5]]} for qid in (70, 71, 73)]
    write_rows(tmp_path / "theirs.jsonl", answers)
    words = ("evaluate", data, "--split", "val", "--predictions", tmp_path / "theirs.jsonl")
    ran = mttsg(*words, "--out", tmp_path / "out.jsonl", "--format", "qvhighlights")
    assert ran.code == 0
    assert "1 query without an answer left out, as the form qvhighlights has no misses" in ran.err
    assert [row["qid"] for row in read(tmp_path / "out.jsonl")] == [70, 71, 73]


def test_ground_writes_one_for_videos(
    data: Path, corpus: Path, ground: Mttsg, tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    queries = data / "highlight_test_release.jsonl"
    write_rows(queries, [*read(queries), {"qid": 99, "query": "x", "duration": 9, "vid": "absent"}])
    out, page = tmp_path / "out.jsonl", tmp_path / "page.html"
    ran = ground(corpus / "videos", "-Q", queries, "--format", "qvhighlights", "--out", out, "--html", page)
    assert ran.code == 1, ran.err
    assert ran.errors == [f"error: absent: no such video in {corpus / 'videos'}"]
    assert "1 of 5 queries without an answer left out" in ran.err
    written = read(out)
    for row, truth in zip(written, rows, strict=True):
        check(row, truth)
    assert [row["vid"] for row in written] == [row["vid"] for row in rows]
    assert max(len(row["pred_relevant_windows"]) for row in written) > 1
    text = page.read_text(encoding="utf-8")
    assert "Command: mttsg ground" in text and "CPU threads, mttsg" in text
    printed = ground(corpus / "videos", "-Q", queries, "--format", "qvhighlights").out
    assert [json.loads(line)["qid"] for line in printed.splitlines()] == [row["qid"] for row in rows]
    ran = ground(corpus / "videos", "a sentence", "--format", "qvhighlights")
    assert (ran.code, ran.out) == (2, "")
    assert "each sentence needs its video" in ran.errors[0]
