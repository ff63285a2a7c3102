"""`mttsg ground --queries` with many sentences, which are answered in parts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mttsg_cli import ground_session
from tests.cli.test_ground import tsv
from tests.conftest import Mttsg


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ground_session, "_PART_QUERIES", 3)


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    path = tmp_path / "q.txt"
    path.write_text("".join(f"the circle moves {number % 7} times\n" for number in range(10)))
    return path


@pytest.fixture
def folder(corpus: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for path in sorted((corpus / "videos").glob("*.mp4"))[:2]:
        shutil.copy2(path, folder)
    return folder


@pytest.mark.parametrize("form", ["tsv", "json", "jsonl", "srt"])
def test_the_rows_of_a_video_are_the_same(
    ground: Mttsg, clip: Path, queries: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_parts = ground(clip, "--queries", queries, "--format", form, "--top", 2)
    assert in_parts.code == 0
    assert "grounding more than 3 sentences; rows are written in parts\n" in in_parts.err
    assert "1 video, 7 sentences, 14 moments, 0 failed" in in_parts.err
    monkeypatch.setattr(ground_session, "_PART_QUERIES", 100)
    assert ground(clip, "--queries", queries, "--format", form, "--top", 2).out == in_parts.out


def test_the_best_of_a_folder_are_the_same(
    ground: Mttsg, folder: Path, queries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_parts = ground(folder, "--queries", queries, "--top", 2)
    monkeypatch.setattr(ground_session, "_PART_QUERIES", 100)
    assert ground(folder, "--queries", queries, "--top", 2).out == in_parts.out


def test_a_broken_video_fails_once_and_absent_names_too(ground: Mttsg, folder: Path, tmp_path: Path) -> None:
    (folder / "broken.mp4").write_bytes(b"no video")
    rows = [{"query": f"the circle moves {number}", "video": name} for number in range(5) for name in ("x", "0000")]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, [*rows, *({"query": str(n)} for n in range(9))])))
    ran = ground(folder, "--queries", tmp_path / "q.jsonl", "--all")
    assert ran.code == 1
    assert [line.split(": ")[1:] for line in ran.errors] == [
        ["x", f"no such video in {folder}"],
        [str(folder / "broken.mp4"), "a text file, not a video"],
    ]
    assert sorted((Path(row["video"]).name, row["query"]) for row in tsv(ran.out)) == sorted(
        [("0000.mp4", f"the circle moves {number}") for number in range(5)]
        + [(name, str(number)) for name in ("0000.mp4", "0001.mp4") for number in range(9)]
    )


def test_sentences_about_other_videos_come_first(ground: Mttsg, clip: Path, tmp_path: Path) -> None:
    rows = [{"query": f"{n}", "video": f"x{n}"} for n in range(7)] + [{"query": "it moves", "video": clip.stem}]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, rows)))
    ran = ground(clip, "--queries", tmp_path / "q.jsonl")
    assert (ran.code, [row["query"] for row in tsv(ran.out)]) == (0, ["it moves"])
    assert f"{clip}: sentences about 7 other videos are left out" in ran.err


def test_sentences_without_a_moment_are_named_once(ground: Mttsg, clip: Path, queries: Path) -> None:
    ran = ground(clip, "--queries", queries, "--threshold", "0.9999999", "--format", "tsv")
    assert [ran.err.count(f"not in {clip}: the circle moves {number} times\n") for number in range(7)] == [1] * 7


def test_an_output_of_all_moments_has_a_limit(
    ground: Mttsg, clip: Path, queries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ground(clip, "--queries", queries, "--html", tmp_path / "a.html").code == 0
    monkeypatch.setattr(ground_session, "_MAX_QUERIES", 9)
    ran = ground(clip, "--queries", queries, "--html", tmp_path / "b.html")
    assert (ran.code, ran.out) == (2, "")
    outputs = "--html, --clips, --join and timelines"
    assert ran.errors == [f"error: {outputs}: at most 9 sentences in one run; divide the file"]
