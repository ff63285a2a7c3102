"""`mttsg search`: lines from a pipe, and the prompt in a pseudo-terminal."""

from __future__ import annotations

import csv
import io
import os
import re
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import av
import pytest

from mttsg_cli.search_commands import COMMANDS
from mttsg_core.utils.paths import search_history
from mttsg_core.video.excerpt_marks import MARK
from mttsg_core.video.probe import probe
from tests.cli.test_ground_cuts import fake_player
from tests.conftest import Mttsg, Ran
from tests.helpers.video_files import read_number, write_video

QUERY, OTHER = "the red circle moves left", "the blue star grows"


@pytest.fixture
def search(mttsg: Mttsg, trained: Path, cache: Path) -> Mttsg:
    return partial(mttsg, "search", "--model", trained, "--cache", cache, "--workers", "1")


@pytest.fixture
def videos(corpus: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for path in sorted((corpus / "videos").glob("*.mp4"))[:3]:
        os.link(path, folder / path.name)
    return folder


def rows(ran: Ran) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(ran.out, newline=""), delimiter="\t"))


class TestPipe:
    """Each line of a pipe is answered with rows."""

    def test_rows_are_those_of_ground(self, search: Mttsg, ground: Mttsg, videos: Path) -> None:
        ran = search(videos, "--top", "2", stdin=f"{QUERY}\n\n{OTHER}".encode())
        assert (ran.code, ran.errors) == (0, [])
        found = rows(ran)
        assert [(row["query"], row["rank"]) for row in found] == [(q, n) for q in (QUERY, OTHER) for n in "12"]
        absolute = [
            {**row, "video": str(Path(row["video"]).absolute())}
            for row in rows(ground(videos, QUERY, OTHER, "--top", "2"))
        ]
        assert found == absolute
        assert "search>" not in ran.out + ran.err
        assert "3 videos, " in ran.err

    def test_scores_of_an_uncalibrated_model_are_not_shown(
        self, mttsg: Mttsg, uncalibrated: Path, cache: Path, videos: Path
    ) -> None:
        ran = mttsg("search", videos, "--model", uncalibrated, "--cache", cache, stdin=QUERY.encode())
        assert {row["score"] for row in rows(ran)} == {""}
        assert "not calibrated" in ran.err

    def test_more_moments_go_on_counting(self, search: Mttsg, videos: Path) -> None:
        found = rows(search(videos, "--top", "2", stdin=f"{QUERY}\n:more\n:more 1\n".encode()))
        assert [row["rank"] for row in found] == [str(number) for number in range(1, len(found) + 1)]
        assert len(found) == 6
        assert len({(row["video"], row["start"], row["end"]) for row in found}) == 6
        assert {row["video"] for row in found[4:]} == {found[0]["video"]}
        scores = [float(row["score"]) for row in found[:4]]
        assert scores == sorted(scores, reverse=True)

    def test_a_cut_moment_has_its_frames(self, mttsg: Mttsg, trained: Path, tmp_path: Path) -> None:
        folder = tmp_path / "numbers"
        folder.mkdir()
        write_video(folder / "n.mp4", range(500))
        clips = folder / "cut"
        command = ("search", folder, "--model", trained, "--cache", tmp_path / "c", "--clips", clips, "--workers", "1")
        ran = mttsg(*command, stdin=f"{QUERY}\n:cut\n:cut 1\n".encode())
        assert ran.code == 0, ran.err
        best = rows(ran)[0]
        [excerpt] = clips.glob("*.mp4")
        assert excerpt.stem == f"n_{best['start']}-{best['end']}"
        assert f"{excerpt}: written" in ran.err and f"{excerpt}: already exists" in ran.err
        length = float(best["end"]) - float(best["start"])
        assert probe(excerpt).duration == pytest.approx(length, abs=0.002)
        assert first_number(excerpt) == pytest.approx(float(best["start"]) * 25, abs=1)
        assert excerpt.name in (clips / MARK).read_text()

    def test_lines_that_cannot_be_answered_cost_themselves(self, search: Mttsg, videos: Path) -> None:
        lines = [":play", ":plya 1", "word " * 1001, QUERY, ":cut 9", ":copy x", ":quit", OTHER]
        ran = search(videos, "--top", "1", stdin="\n".join(lines).encode())
        assert (ran.code, len(rows(ran))) == (1, 1)
        assert ran.errors == [
            "error: nothing was found yet; type a sentence first",
            "error: no command :plya; did you mean :play?",
            "error: the sentence has 1001 words, at most 1000 are possible",
            "error: 9: no such number; there are 1 to 1",
            "error: x: no such number; there are 1 to 1",
        ]

    def test_play_open_and_copy(
        self, search: Mttsg, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        played = fake_player(tmp_path / "bin", "mpv")
        opened = fake_player(tmp_path / "bin", "xdg-open")
        copied = tmp_path / "copied"
        (tmp_path / "bin" / "xclip").write_text(f'#!/bin/sh\n/bin/cat > "{copied}"\n')
        (tmp_path / "bin" / "xclip").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        monkeypatch.setattr("sys.platform", "linux")
        ran = search(videos, stdin=f"{QUERY}\n:play 2\n:open 1\n:copy 1 2\n".encode())
        assert ran.code == 0, ran.err
        first, second = rows(ran)[:2]
        assert played.read_text().splitlines()[0] == f"--start={second['start']}"
        assert played.read_text().splitlines()[-1] == second["video"]
        assert opened.read_text().splitlines() == [first["video"]]
        assert copied.read_text() == "\n".join(
            f"{Path(row['video']).as_uri()}#t={row['start']},{row['end']}" for row in (first, second)
        )

    def test_an_index_is_asked(self, mttsg: Mttsg, search: Mttsg, trained: Path, cache: Path, videos: Path) -> None:
        pytest.importorskip("lancedb", reason="LanceDB is not installed")
        index = videos.parent / "videos.index"
        common = ("--cache", cache, "--workers", "1")
        made = mttsg("index", videos, "--index", index, "--model", trained, *common)
        assert made.code == 0, made.err
        ran = mttsg("search", index, "--top", "2", *common, stdin=f"{QUERY}\n:more 1\n".encode())
        assert ran.code == 0, ran.err
        asked = search(videos, "--top", "2", stdin=f"{QUERY}\n:more 1\n".encode())
        assert [row["start"] for row in rows(ran)] == [row["start"] for row in rows(asked)]
        assert mttsg("search", index, "--zero-shot", *common, stdin=b"").errors == [
            "error: --zero-shot: an index answers by the model that it was made by"
        ]

    def test_help_names_every_command(self, search: Mttsg, videos: Path) -> None:
        ran = search(videos, stdin=b":help")
        assert (ran.code, rows(ran)) == (0, [])
        assert "\n  :play 1 " in ran.err
        assert all(command in ran.err for command in COMMANDS)

    def test_videos_that_fail_are_said(self, search: Mttsg, videos: Path) -> None:
        (videos / "broken.mp4").write_text("no video")
        ran = search(videos, stdin=QUERY.encode())
        assert (ran.code, len(ran.errors)) == (1, 1)
        assert rows(ran)

    def test_bytes_in_no_encoding(self, search: Mttsg, videos: Path) -> None:
        ran = search(videos, "--top", "1", stdin=b"\xef\xbb\xbfa d\xffg\n")
        assert [row["query"] for row in rows(ran)] == ["a d\ufffdg"]


def first_number(path: Path) -> int:
    with av.open(str(path)) as container:
        return read_number(next(container.decode(video=0)).to_ndarray(format="rgb24"))


@pytest.mark.subprocess
@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
class TestPrompt:
    """The prompt, driven as a person does."""

    pexpect: Any = pytest.importorskip("pexpect", reason="pexpect is not installed")

    @pytest.fixture
    def typed(self, videos: Path, trained: Path, cache: Path, tmp_path: Path) -> Iterator[Any]:
        pytest.importorskip("prompt_toolkit", reason="prompt_toolkit is not installed")
        self.played = fake_player(tmp_path / "bin", "mpv")
        environment = {
            **os.environ,
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "TERM": "xterm",
            "PROMPT_TOOLKIT_NO_CPR": "1",
            "XDG_DATA_HOME": str(tmp_path / "data"),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        arguments = ["-m", "mttsg_cli", "search", str(videos), "--model", str(trained), "--cache", str(cache)]
        child = self.pexpect.spawn(
            sys.executable,
            arguments,
            env=environment,
            cwd=str(tmp_path),
            dimensions=(30, 100),
            encoding="utf-8",
            timeout=60,
        )
        yield child
        if child.isalive():
            child.kill(signal.SIGKILL)
            child.wait()

    def test_a_session(self, typed: Any, tmp_path: Path) -> None:
        typed.expect_exact("3 videos")
        typed.expect_exact("search>")
        typed.send(f"{QUERY}\r")
        typed.expect_exact("rank")
        typed.expect("1 .*000..mp4")
        typed.expect_exact("search>")

        typed.send(":play 1\r")
        typed.expect_exact("mpv: ")
        typed.expect_exact("search>")
        start, *_, video = self.played.read_text().splitlines()
        assert start.startswith("--start=") and Path(video).is_file()

        typed.send("half a sentence")
        typed.sendcontrol("c")  # clears the line, and is not the end
        typed.expect_exact("search>")
        typed.send("\x1b[A\r")  # arrow up: the last line again
        typed.expect_exact("mpv: ")
        typed.expect_exact("search>")
        typed.send(":cut 1\r")
        typed.expect_exact(": written")
        assert len(list(tmp_path.glob("*.mp4"))) == 1
        typed.expect_exact("search>")
        typed.sendcontrol("d")
        typed.expect(self.pexpect.EOF)
        typed.close()
        assert (typed.exitstatus, typed.signalstatus) == (0, None)
        history = (tmp_path / "data" / "mttsg" / "search_history").read_text(encoding="utf-8")
        assert re.findall(r"^\+(.*)", history, re.MULTILINE) == [QUERY, ":play 1", ":cut 1"]


def test_without_a_home_there_is_no_history(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert search_history() is not None
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    assert search_history() is None
