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

from mttsg_core.checkpoints.registry import remember_run
from mttsg_core.features.store import EXTERNAL, write_features
from tests.conftest import Mttsg, read_terminal, start_mttsg
from tests.helpers.tiny import CLIP_DIM, model_folder

COLUMNS = ["video", "query", "rank", "start", "end", "score"]
QUERY = "the red circle moves left"


def tsv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter="\t"))


def check(rows: list[dict[str, object]], clip: Path, *, calibrated: bool = True) -> None:
    """One video's answers are what the contract says."""
    for row in rows:
        assert list(row) == COLUMNS
        assert row["video"] == str(clip)
        assert 0 <= float(str(row["start"])) < float(str(row["end"])) <= 60
        if calibrated:
            assert 0 <= float(str(row["score"])) <= 1
        else:
            assert row["score"] is None


def test_options_before_and_after(ground: Mttsg, clip: Path) -> None:
    assert len(tsv(ground(clip, QUERY).out)) == 1  # one answer a sentence
    many = json.loads(ground(clip, QUERY, "--top", "5", "--format", "json").out)
    assert 2 <= len(many) <= 5
    scores = [row["score"] for row in many]
    assert scores[0] == max(scores)
    limit = sorted(scores)[-2]
    left = json.loads(ground(clip, QUERY, "--top", "5", "--format", "json", "--threshold", str(limit - 0.0006)).out)
    assert [row["score"] for row in left] == [score for score in scores if score >= limit]
    assert json.loads(ground(clip, QUERY, "--format", "json", "--threshold", "1").out) == []


def test_a_query_does_not_depend_on_the_others(ground: Mttsg, clip: Path) -> None:
    together = tsv(ground(clip, QUERY, "the blue star grows", "a").out)
    for row in together:
        [alone] = tsv(ground(clip, row["query"]).out)
        assert float(alone["start"]) == pytest.approx(float(row["start"]), abs=0.0015)
        assert float(alone["score"]) == pytest.approx(float(row["score"]), abs=0.0015)


class TestQueriesFile:
    """`--queries FILE`: lines, or jsonl that may name videos; `-` is standard input."""

    def test_lines(self, ground: Mttsg, clip: Path, tmp_path: Path) -> None:
        path = tmp_path / "q.txt"
        path.write_text("\ufeffone thing\n\n-dash thing\nünï\n", encoding="utf-8")
        assert [row["query"] for row in tsv(ground(clip, "--queries", path).out)] == ["one thing", "-dash thing", "ünï"]
        both = tsv(ground(clip, "first", "-Q", path).out)
        assert [row["query"] for row in both][:2] == ["first", "one thing"]

    def test_standard_input(self, ground: Mttsg, clip: Path) -> None:
        ran = ground(clip, "--queries", "-", stdin="one thing\nzwei Türen\n".encode())
        assert [row["query"] for row in tsv(ran.out)] == ["one thing", "zwei Türen"]
        ran = ground(clip, "--queries", "-", stdin=b'\xef\xbb\xbf{"query": "as json"}\n')
        assert [row["query"] for row in tsv(ran.out)] == ["as json"]
        ran = ground(clip, "--queries", "-", stdin=b"")
        assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)

    def test_jsonl_names_videos(self, ground: Mttsg, corpus: Path, tmp_path: Path) -> None:
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
    def test_a_file_without_a_sentence(self, ground: Mttsg, clip: Path, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "q.txt"
        path.write_bytes(content)
        ran = ground(clip, "--queries", path)
        assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
        assert str(path) in ran.errors[0]

    def test_a_missing_file(self, ground: Mttsg, clip: Path, tmp_path: Path) -> None:
        ran = ground(clip, "--queries", tmp_path / "absent.txt")
        assert (ran.code, ran.out) == (2, "")
        assert ran.errors == [f"error: {tmp_path / 'absent.txt'}: no such file (--queries)"]


@pytest.mark.parametrize("queries", [[], [""], ["fine", "  "]])
def test_no_sentence(ground: Mttsg, clip: Path, queries: list[str]) -> None:
    ran = ground(clip, *queries)
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)


def test_a_folder_with_one_broken_video_still_gives_the_others(ground: Mttsg, corpus: Path, tmp_path: Path) -> None:
    names = [path.name for path in sorted((corpus / "videos").glob("*.mp4"))[:2]]
    for name in names:
        shutil.copy2(corpus / "videos" / name, tmp_path / name)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "empty.mkv").touch()
    ran = ground(tmp_path, QUERY, "--all")
    assert ran.code == 1
    assert sorted(row["video"] for row in tsv(ran.out)) == [str(tmp_path / name) for name in names]
    assert sorted(line.split(": ")[1] for line in ran.errors) == [
        str(tmp_path / "broken.mp4"),
        str(tmp_path / "empty.mkv"),
    ]


def test_copies_of_one_video_each_have_their_rows(ground: Mttsg, clip: Path, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        shutil.copy2(clip, tmp_path / name)
    rows = tsv(ground(tmp_path, QUERY, "--all").out)
    assert [row["video"] for row in rows] == [str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4")]
    assert rows[0]["start"] == rows[1]["start"]


@pytest.mark.parametrize("form", ["json", "tsv", "vtt"])
@pytest.mark.parametrize("kind", ["absent.mp4", "empty.mp4", "text.mp4", "folder"])
def test_a_video_that_cannot_be_used(ground: Mttsg, tmp_path: Path, kind: str, form: str) -> None:
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    elif kind != "absent.mp4":
        path.write_text("" if kind == "empty.mp4" else "text")
    ran = ground(path, QUERY, "--format", form)
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
    assert str(path) in ran.errors[0]


def test_a_video_that_is_not_there_is_said_before_any_model_is_looked_for(mttsg: Mttsg, tmp_path: Path) -> None:
    ran = mttsg("ground", tmp_path / "absent.mp4", QUERY, "--model", tmp_path / "nobody")
    assert (ran.code, ran.out, ran.errors) == (2, "", [f"error: {tmp_path / 'absent.mp4'}: no such file"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("command", ["ground", "extract"])
def test_a_named_pipe_is_refused_and_not_waited_for(mttsg: Mttsg, trained: Path, tmp_path: Path, command: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    asked = [QUERY, "--model", trained] if command == "ground" else []
    ran = mttsg(command, tmp_path / "pipe", *asked)
    assert (ran.code, ran.out) == (2, "")
    assert ran.errors == [f"error: {tmp_path / 'pipe'}: not a regular file"]


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
    assert "mttsg train" in ran.err and "laion" in ran.errors[0]  # answers without training need a download


def test_the_newest_finished_run_is_the_default_model(
    mttsg: Mttsg, trained: Path, cache: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("MTTSG_CACHE", str(cache))
    runs = tmp_path / "mttsg" / "runs"
    shutil.copytree(trained, runs / "0001")
    remember_run(runs / "0001", [clip.parents[1]])
    (runs / "0002").mkdir()  # not finished
    ran = mttsg("ground", clip, QUERY, "--workers", "1")
    assert ran.code == 0
    assert ran.out == mttsg("ground", clip, QUERY, "--model", trained, "--workers", "1").out
    assert re.search(
        r"^model: run 1 \(data, 19 videos, 20\d\d-\d\d-\d\d, encoder classic, sentences hashed\)$", ran.err, re.M
    )
    for name in ("1", "0001", "last"):
        assert mttsg("ground", clip, QUERY, "--model", name, "--workers", "1").out == ran.out


class TestOut:
    """`--out FILE`."""

    def test_the_file_has_what_would_be_printed(self, ground: Mttsg, clip: Path, tmp_path: Path) -> None:
        target = tmp_path / "deep" / "moments.csv"
        ran = ground(clip, QUERY, "--out", target, "--format", "csv")
        assert (ran.code, ran.out) == (0, "")
        assert target.read_text() == ground(clip, QUERY, "--format", "csv").out
        assert [path.name for path in target.parent.iterdir()] == ["moments.csv"]

    @pytest.mark.parametrize(("name", "form"), [("m.CSV", "csv"), ("m.srt", "srt"), ("m.txt", "tsv"), ("m", "tsv")])
    def test_its_name_says_the_format(self, ground: Mttsg, clip: Path, tmp_path: Path, name: str, form: str) -> None:
        assert ground(clip, QUERY, "--out", tmp_path / name).code == 0
        assert (tmp_path / name).read_text() == ground(clip, QUERY, "--format", form).out

    def test_it_is_not_overwritten_unless_asked(self, ground: Mttsg, clip: Path, tmp_path: Path) -> None:
        target = tmp_path / "moments.tsv"
        target.write_text("mine")
        ran = ground(clip, QUERY, "--out", target)
        assert (ran.code, ran.out, target.read_text()) == (0, "", "mine")
        assert f"{target}: already exists, skipped" in ran.err
        assert ground(clip, QUERY, "--out", target, "--overwrite").code == 0
        assert tsv(target.read_text())[0]["query"] == QUERY

    def test_a_failure_leaves_no_half_file(self, ground: Mttsg, tmp_path: Path) -> None:
        target = tmp_path / "moments.json"
        (tmp_path / "v.mp4").write_text("text")
        ran = ground(tmp_path / "v.mp4", QUERY, "--out", target, "--format", "json")
        assert ran.code == 2
        assert not target.exists()

    @pytest.mark.parametrize("out", ["file/x.csv", "folder"])
    def test_a_place_that_cannot_be_written(self, ground: Mttsg, clip: Path, tmp_path: Path, out: str) -> None:
        (tmp_path / "file").touch()
        (tmp_path / "folder").mkdir()
        ran = ground(clip, QUERY, "--out", tmp_path / out, "--overwrite")
        assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)

    @pytest.mark.parametrize("option", ["--out", "--html"])
    def test_no_output_takes_the_place_of_a_video(self, ground: Mttsg, clip: Path, tmp_path: Path, option: str) -> None:
        video = tmp_path / "a.mp4"
        shutil.copy(clip, video)
        ran = ground(video, QUERY, option, video, "--format", "json", "--overwrite")
        assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
        assert video.read_bytes() == clip.read_bytes()


class TestFeaturesMadeElsewhere:
    """`--features DIR`: the video itself need not be there."""

    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        made = {"encoder": EXTERNAL, "clip_dim": CLIP_DIM, "regions": 0, "region_dim": 0}
        return model_folder(tmp_path / "m", regions=False, fingerprint=made)

    def test_with_the_video_for_its_duration(self, mttsg: Mttsg, model: Path, clip: Path, tmp_path: Path) -> None:
        np.save(tmp_path / f"{clip.stem}.npy", np.random.default_rng(0).normal(size=(20, CLIP_DIM)).astype(np.float32))
        ran = mttsg("ground", clip, QUERY, "--model", model, "--features", tmp_path, "--format", "json")
        assert ran.code == 0, ran.err
        check(json.loads(ran.out), clip, calibrated=False)

    def test_without_the_video_its_duration_is_given_or_found(self, mttsg: Mttsg, model: Path, tmp_path: Path) -> None:
        folder = tmp_path / "data" / "features"
        folder.mkdir(parents=True)
        values = np.random.default_rng(0).normal(size=(20, CLIP_DIM)).astype(np.float32)
        for name in ("x", "y", "z"):
            np.save(folder / f"{name}.npy", values)
        command = ("ground", "--features", folder, "--model", model, "--all", "--top", "9", "x", "y", "z", "--", QUERY)
        ran = mttsg(*command)
        assert (ran.code, ran.out, len(ran.errors)) == (2, "", 3)
        assert "--duration" in ran.errors[0]
        ran = mttsg(*command[:1], "--duration", "600", *command[1:])
        assert ran.code == 0, ran.err
        given = tsv(ran.out)
        assert {row["video"] for row in given} == {"x", "y", "z"}
        assert max(float(row["end"]) for row in given) > 60
        row = {"video": "videos/x.mp4", "query": "q", "start": 1, "end": 2, "duration": 600}
        (tmp_path / "data" / "train.jsonl").write_text(json.dumps(row) + "\n")
        (tmp_path / "data" / "durations.json").write_text('{"y": 600.0}')
        (folder / "lengths.csv").write_text("id,length\nz,600\n")
        ran = mttsg(*command)
        assert ran.code == 0, ran.err
        assert tsv(ran.out) == given

    def test_what_is_missing_is_said(self, mttsg: Mttsg, model: Path, clip: Path, tmp_path: Path) -> None:
        for arguments, reason in (
            ([clip, "--features", tmp_path], "features"),
            ([tmp_path / "x.mp4", "--features", tmp_path], "features"),
            ([clip], "--features"),
        ):
            ran = mttsg("ground", *arguments, QUERY, "--model", model)
            assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
            assert reason in ran.errors[0]

    def test_videos_of_one_name_have_features_of_their_own(
        self, mttsg: Mttsg, model: Path, clip: Path, tmp_path: Path
    ) -> None:
        for number, place in enumerate(("hall", "kitchen")):
            for folder in ("videos", "features"):
                (tmp_path / folder / place).mkdir(parents=True)
            shutil.copy(clip, tmp_path / "videos" / place / "a.mp4")
            values = np.random.default_rng(number).normal(size=(20, CLIP_DIM)).astype(np.float32)
            np.save(tmp_path / "features" / place / "a.npy", values)
        arguments = ("ground", tmp_path / "videos", QUERY, "--model", model, "--features", tmp_path / "features")
        ran = mttsg(*arguments, "--format", "jsonl", "--top", "9")
        assert ran.code == 0, ran.err
        found = {row["video"]: row for row in map(json.loads, ran.out.splitlines())}
        assert {Path(video).parent.name for video in found} == {"hall", "kitchen"}
        (tmp_path / "features" / "hall" / "a.npy").unlink()
        ran = mttsg(*arguments)
        assert (ran.code, len(ran.errors)) == (1, 1)  # and no answer from the features of the other
        assert "hall" in ran.errors[0]

    def test_features_of_another_encoder_are_refused_and_both_named(
        self, ground: Mttsg, clip: Path, tmp_path: Path
    ) -> None:
        from tests.helpers.tiny import features

        write_features(tmp_path / f"{clip.stem}.safetensors", features())
        ran = ground(clip, QUERY, "--features", tmp_path)
        assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
        assert "'tiny'" in ran.errors[0]
        assert "'classic'" in ran.errors[0]


NAMES: list[str | bytes] = [
    "with space.mp4",
    "-dash.mp4",
    "new\nline.mp4",
    'tab\t"quote".mp4',
    "ünï 开.mp4",
    b"\xff\xfe.mp4",
]


def test_names_and_sentences_that_are_hard_to_handle(  # one process for all: it loads torch
    clip: Path, trained: Path, cache: Path, tmp_path: Path
) -> None:
    for name in NAMES:
        shutil.copy2(clip, tmp_path / os.fsdecode(name))
    program = [sys.executable, "-m", "mttsg_cli", "ground", "--model", str(trained), "--cache", str(cache)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    queries: list[str | bytes] = ["ünï 开", "-dash", b"\xff"]
    command: list[str | bytes] = [*program, "--all", "--format", "json", "--", ".", *queries]
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
    """And no escape sequences where standard error is not a terminal."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    process = start_mttsg("ground", clip, QUERY, "--model", trained, "--cache", cache, stdout=theirs)
    os.close(theirs)
    printed = read_terminal(ours)
    assert process.stderr is not None
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 0
    assert b"\t" not in printed
    assert re.search(rb"0:\d\d\.\d{3}", printed)
    assert b"\x1b" not in errors
    assert b"1 video, 1 sentence, 1 moment, 0 failed" in errors


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"x" * ((64 << 20) + 1), "64 MB without a line end, so this is not a text file"),
        (b'["a dog runs",' + b"\n" * (64 << 20), "JSON of more than 64 MB; write one query per line instead"),
    ],
)
def test_queries_that_cannot_be_read_in_parts_have_a_limit(
    mttsg: Mttsg, clip: Path, tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "q.txt"
    path.write_bytes(content)
    for ran in (mttsg("ground", clip, "--queries", path), mttsg("ground", clip, "--queries", "-", stdin=content)):
        assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
        assert reason in ran.err
