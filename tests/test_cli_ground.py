"""`mttsg ground`."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Mttsg, Ran, start_mttsg
from tiny import CLIP_DIM, model_folder

from mttsg_cli.output import FORMATS, Row, write_rows
from mttsg_core.features import ELSEWHERE, write_features

COLUMNS = ["video", "query", "rank", "start", "end", "score"]
QUERY = "the red circle moves left"


@pytest.fixture
def ground(mttsg: Mttsg, trained: Path, cache: Path):  # type: ignore[no-untyped-def]
    """`ground(ARGUMENT, ...)` with the trained model and the cached features."""

    def run(*arguments: str | Path, stdin: bytes | None = None) -> Ran:
        more = ["--model", trained, "--cache", cache, "--workers", "1"]
        return mttsg("ground", *more, *arguments, stdin=stdin)

    return run


def tsv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter="\t"))


def check(rows: list[dict[str, object]], clip: Path) -> None:
    """One video's answers are what the contract says."""
    for row in rows:
        assert list(row) == COLUMNS
        assert row["video"] == str(clip)
        start, end, score = (float(str(row[name])) for name in ("start", "end", "score"))
        assert 0 <= start < end <= 60
        assert 0 <= score <= 1


class TestFormats:
    """Each is read back by other code than that which wrote it."""

    QUERIES = (QUERY, 'a "quoted", one\twith tab', "die Tür 开 <b> & --> x")

    def test_tsv_into_a_pipe_is_the_default(self, ground, clip: Path) -> None:  # type: ignore[no-untyped-def]
        ran = ground(clip, *self.QUERIES, "--top", "2")
        assert ran.code == 0
        rows = tsv(ran.out)
        check(rows, clip)  # type: ignore[arg-type]
        assert [row["query"] for row in rows if row["rank"] == "1"] == list(self.QUERIES)
        assert all(re.fullmatch(r"\d+\.\d{3}", row[name]) for row in rows for name in ("start", "end", "score"))
        for query in self.QUERIES:
            ranks = [int(row["rank"]) for row in rows if row["query"] == query]
            assert ranks == list(range(1, len(ranks) + 1))
            assert len(ranks) <= 2

    def test_all_formats_say_the_same(self, ground, clip: Path) -> None:  # type: ignore[no-untyped-def]
        def printed(form: str) -> str:
            ran = ground(clip, *self.QUERIES, "-k", "3", "--format", form)
            assert ran.code == 0
            return str(ran.out)

        rows = json.loads(printed("json"))
        check(rows, clip)
        assert len(rows) >= 3
        assert [json.loads(line) for line in printed("jsonl").splitlines()] == rows
        for form, delimiter in (("csv", ","), ("tsv", "\t")):
            table = list(csv.reader(io.StringIO(printed(form), newline=""), delimiter=delimiter))
            assert table[0] == COLUMNS
            for line, row in zip(table[1:], rows, strict=True):
                assert line[:3] == [row["video"], row["query"], str(row["rank"])]
                assert [float(value) for value in line[3:]] == [row["start"], row["end"], row["score"]]
        times = sorted((row["start"], row["end"]) for row in rows)
        for form, comma in (("srt", ","), ("vtt", ".")):
            assert sorted(_cues(printed(form), comma)) == times

    def test_an_unknown_format_names_the_nearest(self, ground, clip: Path) -> None:  # type: ignore[no-untyped-def]
        ran = ground(clip, QUERY, "--format", "jsn")
        assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
        assert "'json'" in ran.errors[0]


def _cues(text: str, comma: str) -> list[tuple[float, float]]:
    """Start and end of each cue of a subtitle file; fails where a player would."""
    if comma == ".":
        assert text.startswith("WEBVTT\n\n")
        text = text[len("WEBVTT\n\n") :]
    stamp = r"(\d\d):(\d\d):(\d\d)" + re.escape(comma) + r"(\d\d\d)"
    found = []
    for number, block in enumerate(text.strip().split("\n\n"), start=1):
        lines = block.split("\n")
        if comma == ",":
            assert lines.pop(0) == str(number)
        match = re.fullmatch(f"{stamp} --> {stamp}", lines[0])
        assert match is not None, lines[0]
        values = [int(value) for value in match.groups()]
        start, end = (h * 3600 + m * 60 + s + ms / 1000 for h, m, s, ms in (values[:4], values[4:]))
        assert start < end
        assert len(lines) == 2
        assert lines[1].strip()
        assert "-->" not in lines[1]
        if comma == ".":
            assert "<" not in lines[1]
        found.append((round(start, 3), round(end, 3)))
    return found


class TestWriter:
    """Rows to text, without a model."""

    ROWS = (
        Row("v.mp4", "late & <i>", 1, 3723.0004, 35999.9996, 0.12345),
        Row("v.mp4", "two\nlines --> here", 2, 0.0, 0.05, 1.0),
    )

    def write(self, form: str, *rows: Row) -> str:
        stream = io.StringIO()
        assert write_rows(iter(rows), form, stream) == len(rows)
        return stream.getvalue()

    def test_three_decimals(self) -> None:
        [first, _] = json.loads(self.write("json", *self.ROWS))
        assert (first["start"], first["end"], first["score"]) == (3723.0, 36000.0, 0.123)
        assert "3723.000,36000.000,0.123" in self.write("csv", *self.ROWS)

    def test_subtitles_are_in_order_of_time(self) -> None:
        assert _cues(self.write("srt", *self.ROWS), ",") == [(0.0, 0.05), (3723.0, 36000.0)]
        text = self.write("vtt", *self.ROWS)
        assert _cues(text, ".") == [(0.0, 0.05), (3723.0, 36000.0)]
        assert "late &amp; &lt;i>" in text
        assert "01:02:03.000 --> 10:00:00.000" in text

    def test_a_table_has_the_answers(self) -> None:
        text = self.write("table", *self.ROWS)
        assert "1:02:03.000" in text
        assert "two\\nlines" in text

    @pytest.mark.parametrize("form", list(FORMATS))
    def test_no_answer_is_a_valid_file(self, form: str) -> None:
        text = self.write(form)
        if form == "json":
            assert json.loads(text) == []
        elif form in ("csv", "tsv"):
            assert len(text.splitlines()) == 1
        elif form in ("jsonl", "srt"):
            assert text == ""

    @pytest.mark.parametrize("form", ["json", "jsonl"])
    def test_json_is_utf8_even_for_names_that_are_not(self, form: str) -> None:
        text = self.write(form, Row("\udcff.mp4", "x", 1, 0, 1, 1), Row("é.mp4", "x", 1, 0, 1, 1))
        text.encode("utf-8")
        rows = json.loads(text) if form == "json" else [json.loads(line) for line in text.splitlines()]
        assert [row["video"] for row in rows] == ["\udcff.mp4", "é.mp4"]


def test_options_before_and_after(ground, clip: Path) -> None:  # type: ignore[no-untyped-def]
    assert len(tsv(ground(clip, QUERY).out)) == 1  # one answer a sentence
    many = json.loads(ground(clip, QUERY, "--top", "5", "--format", "json").out)
    assert 2 <= len(many) <= 5
    scores = [row["score"] for row in many]
    assert scores[0] == max(scores)
    limit = sorted(scores)[-2]
    left = json.loads(ground(clip, QUERY, "--top", "5", "--format", "json", "--threshold", str(limit - 0.0006)).out)
    assert [row["score"] for row in left] == [score for score in scores if score >= limit]
    assert json.loads(ground(clip, QUERY, "--format", "json", "--threshold", "1").out) == []


def test_a_query_does_not_depend_on_the_others(ground, clip: Path) -> None:  # type: ignore[no-untyped-def]
    together = tsv(ground(clip, QUERY, "the blue star grows", "a").out)
    for row in together:
        [alone] = tsv(ground(clip, row["query"]).out)
        assert float(alone["start"]) == pytest.approx(float(row["start"]), abs=0.0015)
        assert float(alone["score"]) == pytest.approx(float(row["score"]), abs=0.0015)


class TestQueriesFile:
    """`--queries FILE`: lines, or jsonl that may name videos; `-` is standard input."""

    def test_lines(self, ground, clip: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        path = tmp_path / "q.txt"
        path.write_text("\ufeffone thing\n\n-dash thing\nünï\n", encoding="utf-8")
        assert [row["query"] for row in tsv(ground(clip, "--queries", path).out)] == ["one thing", "-dash thing", "ünï"]
        both = tsv(ground(clip, "first", "-Q", path).out)
        assert [row["query"] for row in both][:2] == ["first", "one thing"]

    def test_standard_input(self, ground, clip: Path) -> None:  # type: ignore[no-untyped-def]
        ran = ground(clip, "--queries", "-", stdin="one thing\nzwei Türen\n".encode())
        assert [row["query"] for row in tsv(ran.out)] == ["one thing", "zwei Türen"]
        ran = ground(clip, "--queries", "-", stdin=b'\xef\xbb\xbf{"query": "as json"}\n')
        assert [row["query"] for row in tsv(ran.out)] == ["as json"]
        ran = ground(clip, "--queries", "-", stdin=b"")
        assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)

    def test_jsonl_names_videos(self, ground, corpus: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        first, second, *_ = sorted((corpus / "videos").glob("*.mp4"))
        rows = [{"query": "a", "video": first.name}, {"query": "b", "video": second.stem}, {"query": "c"}]
        path = tmp_path / "q.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows[:2]) + "broken\n")
        ran = ground(corpus / "videos", "-Q", path)
        assert ran.code == 0
        assert [(row["video"], row["query"]) for row in tsv(ran.out)] == [(str(first), "a"), (str(second), "b")]
        assert f"{path}:3: " in ran.err
        path.write_text(json.dumps({"query": "x", "video": "absent"}) + "\n" + json.dumps(rows[0]) + "\n")
        ran = ground(corpus / "videos", "-Q", path)
        assert (ran.code, len(ran.errors), len(tsv(ran.out))) == (1, 1, 1)
        assert "absent" in ran.errors[0]

    @pytest.mark.parametrize("content", [b"", b"\n", b"{}\n", b"\xff\xfea\x00"])
    def test_a_file_without_a_sentence(self, ground, clip: Path, tmp_path: Path, content: bytes) -> None:  # type: ignore[no-untyped-def]
        path = tmp_path / "q.txt"
        path.write_bytes(content)
        ran = ground(clip, "--queries", path)
        assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
        assert str(path) in ran.errors[0]

    def test_a_missing_file(self, ground, clip: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        ran = ground(clip, "--queries", tmp_path / "absent.txt")
        assert (ran.code, ran.out) == (2, "")
        assert ran.errors == [f"error: {tmp_path / 'absent.txt'}: No such file or directory"]


@pytest.mark.parametrize("queries", [[], [""], ["fine", "  "]])
def test_no_sentence(ground, clip: Path, queries: list[str]) -> None:  # type: ignore[no-untyped-def]
    ran = ground(clip, *queries)
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)


def test_a_folder_with_one_broken_video_still_gives_the_others(  # type: ignore[no-untyped-def]
    ground, corpus: Path, tmp_path: Path
) -> None:
    names = [path.name for path in sorted((corpus / "videos").glob("*.mp4"))[:2]]
    for name in names:
        shutil.copy2(corpus / "videos" / name, tmp_path / name)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "empty.mkv").touch()
    ran = ground(tmp_path, QUERY)
    assert ran.code == 1
    assert [row["video"] for row in tsv(ran.out)] == [str(tmp_path / name) for name in names]
    assert sorted(line.split(": ")[1] for line in ran.errors) == [
        str(tmp_path / "broken.mp4"),
        str(tmp_path / "empty.mkv"),
    ]


def test_copies_of_one_video_each_have_their_rows(ground, clip: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for name in ("a.mp4", "b.mp4"):
        shutil.copy2(clip, tmp_path / name)
    rows = tsv(ground(tmp_path, QUERY).out)
    assert [row["video"] for row in rows] == [str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4")]
    assert rows[0]["start"] == rows[1]["start"]


@pytest.mark.parametrize("form", ["json", "tsv", "vtt"])
@pytest.mark.parametrize("kind", ["absent.mp4", "empty.mp4", "text.mp4", "folder"])
def test_a_video_that_cannot_be_used(ground, tmp_path: Path, kind: str, form: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    elif kind != "absent.mp4":
        path.write_text("" if kind == "empty.mp4" else "text")
    ran = ground(path, QUERY, "--format", form)
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
    assert str(path) in ran.errors[0]


def test_models_that_cannot_be_used(mttsg: Mttsg, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = model_folder(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(b"x")
    for wrong in (tmp_path / "absent", tmp_path, folder):
        ran = mttsg("ground", clip, QUERY, "--model", wrong)
        assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
        assert str(wrong) in ran.errors[0]
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "nobody"))
    ran = mttsg("ground", clip, QUERY)
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
    assert "mttsg train" in ran.errors[0]


def test_the_newest_finished_run_is_the_default_model(
    mttsg: Mttsg, trained: Path, cache: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("MTTSG_CACHE", str(cache))
    runs = tmp_path / "mttsg" / "runs"
    shutil.copytree(trained, runs / "0001")
    (runs / "0002").mkdir()  # not finished
    ran = mttsg("ground", clip, QUERY, "--workers", "1")
    assert ran.code == 0
    assert ran.out == mttsg("ground", clip, QUERY, "--model", trained, "--workers", "1").out


class TestOut:
    """`--out FILE`."""

    def test_the_file_has_what_would_be_printed(self, ground, clip: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        target = tmp_path / "deep" / "moments.csv"
        ran = ground(clip, QUERY, "--out", target, "--format", "csv")
        assert (ran.code, ran.out) == (0, "")
        assert target.read_text() == ground(clip, QUERY, "--format", "csv").out
        assert [path.name for path in target.parent.iterdir()] == ["moments.csv"]

    def test_it_is_not_overwritten_unless_asked(self, ground, clip: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        target = tmp_path / "moments.tsv"
        target.write_text("mine")
        ran = ground(clip, QUERY, "--out", target)
        assert (ran.code, ran.out, len(ran.errors), target.read_text()) == (2, "", 1, "mine")
        assert ground(clip, QUERY, "--out", target, "--overwrite").code == 0
        assert tsv(target.read_text())[0]["query"] == QUERY

    def test_a_failure_leaves_no_half_file(self, ground, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        target = tmp_path / "moments.json"
        (tmp_path / "v.mp4").write_text("text")
        ran = ground(tmp_path / "v.mp4", QUERY, "--out", target, "--format", "json")
        assert ran.code == 2
        assert not target.exists()

    @pytest.mark.parametrize("out", ["file/x.csv", "folder"])
    def test_a_place_that_cannot_be_written(self, ground, clip: Path, tmp_path: Path, out: str) -> None:  # type: ignore[no-untyped-def]
        (tmp_path / "file").touch()
        (tmp_path / "folder").mkdir()
        ran = ground(clip, QUERY, "--out", tmp_path / out, "--overwrite")
        assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)


class TestFeaturesMadeElsewhere:
    """`--features DIR`: the video itself need not be there."""

    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        made = {"encoder": ELSEWHERE, "clip_dim": CLIP_DIM, "regions": 0, "region_dim": 0}
        return model_folder(tmp_path / "m", regions=False, fingerprint=made)

    def test_with_the_video_for_its_duration(self, mttsg: Mttsg, model: Path, clip: Path, tmp_path: Path) -> None:
        np.save(tmp_path / f"{clip.stem}.npy", np.random.default_rng(0).normal(size=(20, CLIP_DIM)).astype(np.float32))
        ran = mttsg("ground", clip, QUERY, "--model", model, "--features", tmp_path, "--format", "json")
        assert ran.code == 0, ran.err
        check(json.loads(ran.out), clip)

    def test_what_is_missing_is_said(self, mttsg: Mttsg, model: Path, clip: Path, tmp_path: Path) -> None:
        for arguments, reason in (
            ([clip, "--features", tmp_path], "features"),
            ([tmp_path / "x.mp4", "--features", tmp_path], "features"),
            ([clip], "--features"),
        ):
            ran = mttsg("ground", *arguments, QUERY, "--model", model)
            assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
            assert reason in ran.errors[0]

    def test_features_of_another_encoder_are_refused_and_both_named(  # type: ignore[no-untyped-def]
        self, ground, clip: Path, tmp_path: Path
    ) -> None:
        from tiny import features

        write_features(tmp_path / f"{clip.stem}.safetensors", features())
        ran = ground(clip, QUERY, "--features", tmp_path)
        assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
        assert "'tiny'" in ran.errors[0]
        assert "'classic'" in ran.errors[0]


NAMES = ["with space.mp4", "-dash.mp4", "new\nline.mp4", 'tab\t"quote".mp4', "ünï 开.mp4", b"\xff\xfe.mp4"]


def test_names_and_sentences_that_are_hard_to_handle(  # one process for all: it loads torch
    clip: Path, trained: Path, cache: Path, tmp_path: Path
) -> None:
    for name in NAMES:
        shutil.copy2(clip, tmp_path / os.fsdecode(name))
    program = [sys.executable, "-m", "mttsg_cli", "ground", "--model", str(trained), "--cache", str(cache)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    queries = ["ünï 开", "-dash", b"\xff"]
    command = [*program, "--format", "json", "--", ".", *queries]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr
    rows = json.loads(ran.stdout.decode("utf-8"))
    assert {os.fsencode(row["video"]) for row in rows} == {os.fsencode(name) for name in NAMES}
    assert {os.fsencode(row["query"]) for row in rows} == {os.fsencode(query) for query in queries}
    command = [*program, "--", "-dash.mp4", "a b"]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr
    [row] = tsv(ran.stdout.decode())
    assert (row["video"], row["query"]) == ("-dash.mp4", "a b")


def test_a_reader_that_leaves_early_is_no_traceback(corpus: Path, trained: Path, cache: Path) -> None:
    process = start_mttsg(
        "ground", corpus / "videos", *(f"sentence {number}" for number in range(300)), "--top", "5",
        "--model", trained, "--cache", cache, "--workers", "1",
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith(b"video\tquery")
    process.stdout.close()
    errors = process.stderr.read()
    process.wait(timeout=60)
    process.stderr.close()
    assert b"Traceback" not in errors
    assert b"BrokenPipe" not in errors
    assert process.returncode in (0, 1)


def test_a_table_on_a_terminal(clip: Path, trained: Path, cache: Path) -> None:
    """And no escape sequences where standard error is no terminal."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    process = start_mttsg("ground", clip, QUERY, "--model", trained, "--cache", cache, stdout=theirs)
    os.close(theirs)
    printed = b""
    while True:
        try:
            block = os.read(ours, 4096)
        except OSError:  # the other side is closed
            break
        if not block:
            break
        printed += block
    os.close(ours)
    assert process.stderr is not None
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 0
    assert b"\t" not in printed
    assert re.search(rb"0:\d\d\.\d{3}", printed)
    assert b"\x1b" not in errors
    assert b"1 videos, 1 sentences" in errors
