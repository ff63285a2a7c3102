"""Which words of a command line are videos and which are sentences, and what is said about those that are neither."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mttsg_cli.inputs import SPLIT, find_named, mark_split, read_inputs, require_data
from mttsg_core.errors import ConfigError, DataError, VideoNotFoundError
from mttsg_core.utils.named_paths import expand_pattern, missing_reason
from tests.conftest import Mttsg, Ran

QUERY = "the red circle moves left"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with videos by name only."""
    (tmp_path / "more").mkdir()
    for name in ("a.mp4", "b.mp4", "c d.mkv", "more/e.mp4", "notes.txt", "still.gif"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


class TestWords:
    """`read_inputs`."""

    @pytest.mark.parametrize(
        ("words", "videos", "sentences"),
        [
            (["a.mp4", "a dog"], ["a.mp4"], ["a dog"]),
            (["a.mp4", "b.mp4", "a dog", "a cat"], ["a.mp4", "b.mp4"], ["a dog", "a cat"]),
            (["more", "a.mp4", "a dog"], ["more", "a.mp4"], ["a dog"]),
            (["*.mp4", "a dog"], ["a.mp4", "b.mp4"], ["a dog"]),
            (["*", "a dog"], ["a.mp4", "b.mp4", "c d.mkv", "more"], ["a dog"]),
            (["*.gif", "a dog"], ["still.gif"], ["a dog"]),
            (["**/*.mp4", "a dog"], ["a.mp4", "b.mp4", "more/e.mp4"], ["a dog"]),
            (["notes.txt", "a dog"], ["notes.txt"], ["a dog"]),
            (["a.mp4", "where is the dog?", "a [red] hat"], ["a.mp4"], ["where is the dog?", "a [red] hat"]),
            (["a.mp4", "open/close", "1.5 m"], ["a.mp4"], ["open/close", "1.5 m"]),
            (["a.mp4", SPLIT, "more", "b.mp4"], ["a.mp4"], ["more", "b.mp4"]),
            ([SPLIT, "a.mp4", "-dash"], ["a.mp4"], ["-dash"]),
            ([SPLIT, "a.mp4", "--", "more"], ["a.mp4"], ["more"]),
            (["a.mp4", "a dog", "b.mp4"], ["a.mp4", "b.mp4"], ["a dog"]),
            (["a.mp4"], ["a.mp4"], []),
        ],
    )
    @pytest.mark.usefixtures("place")
    def test_what_exists_is_a_video(self, words: list[str], videos: list[str], sentences: list[str]) -> None:
        found = read_inputs(words)
        assert [path.as_posix() for path in found.videos] == videos
        assert list(found.sentences) == sentences

    @pytest.mark.parametrize(
        ("words", "reason"),
        [
            (["absent.mp4", "a dog"], "absent.mp4: no such file"),
            (["b.mp5", "a dog"], "b.mp5: no such file; did you mean 'b.mp4'?"),
            (["x.mp4", "a dog"], "x.mp4: no such file"),
            (["nowhere/a.mp4", "a dog"], "nowhere/a.mp4: no such file: the folder 'nowhere' does not exist"),
            (["*.webm", "a dog"], "*.webm: no file matches"),
            (["a dog", "a.mp4"], "a dog: no such file (videos come before the sentences)"),
            (["https://youtu.be/abc", "a dog"], "a web address, not a file: download it first, e.g. with yt-dlp"),
            (["a.mp4", "https:/youtu.be/abc"], "https://youtu.be/abc: a web address"),
            (["a.mp4", "x.webm", "a dog"], "x.webm: no such file; if it is a sentence, put -- before it"),
            (["a.mp4", "more/x.avi", "a dog"], "more/x.avi: no such file; if it is a sentence"),
            (["a.mp4", "more/missing", "a dog"], "more/missing: no such file; if it is a sentence"),
            (["a.mp4", "a dog", SPLIT, "b"], "a dog: no such file (words before -- are videos)"),
            ([" ", "a dog"], "no video has this name"),
        ],
    )
    @pytest.mark.usefixtures("place")
    def test_a_wrong_path_says_what_to_do(self, words: list[str], reason: str) -> None:
        with pytest.raises(VideoNotFoundError) as caught:
            read_inputs(words)
        assert reason in str(caught.value)

    @pytest.mark.usefixtures("place")
    def test_external_features_need_no_video(self) -> None:
        found = read_inputs(["3MSZA", "x.mp4", "a dog"], must_exist=False)
        assert ([*map(str, found.videos)], found.sentences) == (["3MSZA", "x.mp4"], ("a dog",))
        with pytest.raises(VideoNotFoundError, match="web address"):
            read_inputs(["https://x.org/a.mp4", "a dog"], must_exist=False)

    @pytest.mark.usefixtures("place")
    def test_no_video_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="no video"):
            read_inputs([SPLIT, "--", "a dog"])

    @pytest.mark.usefixtures("place")
    def test_one_video_is_not_a_search(self) -> None:
        assert not read_inputs(["a.mp4", "x y"]).are_searched
        assert read_inputs(["more", "x y"]).are_searched
        assert read_inputs(["a.mp4", "b.mp4", "x y"]).are_searched

    @pytest.mark.parametrize(
        ("words", "hint"),
        [
            (["a.mp4", "the", "red", "dog"], '3 sentences of one word each; if they are one, quote it: "the red dog"'),
            (["a.mp4", "a dog", "b.mp4"], "b.mp4 exists, so it is searched"),
            (["a.mp4", "red", "dog"], ""),
            (["a.mp4", "the", "red dog", "runs"], ""),
            (["a.mp4", SPLIT, "the", "red", "dog"], ""),
        ],
    )
    @pytest.mark.usefixtures("place")
    def test_words_that_may_be_meant_otherwise(self, words: list[str], hint: str) -> None:
        hints = read_inputs(words).hints
        assert len(hints) == bool(hint)
        assert all(text.startswith(hint) for text in hints)

    def test_a_link_that_leads_nowhere_is_a_path(self, place: Path) -> None:
        (place / "gone").symlink_to("nowhere.mp4")
        assert [*map(str, read_inputs(["gone", "a dog"]).videos)] == ["gone"]

    def test_home(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(place))
        monkeypatch.setenv("USERPROFILE", str(place))
        assert read_inputs(["~/a.mp4", "a dog"]).videos == (place / "a.mp4",)

    @pytest.mark.usefixtures("place")
    def test_a_sentence_may_be_longer_than_a_name(self) -> None:
        sentence = "word " * 900
        assert read_inputs(["a.mp4", sentence]).sentences == (sentence,)
        assert read_inputs(["a.mp4", "a\0b"]).sentences == ("a\0b",)


def test_a_split_is_marked_once_and_never_in_place_of_a_value() -> None:
    assert mark_split(["a", "--", "b", "--", "c"]) == ["a", SPLIT, "--", "b", "--", "c"]
    assert mark_split(["a", "--out", "--", "b"], frozenset({"--out"})) == ["a", "--out", "--", "b"]
    assert mark_split(["a", "b"]) == ["a", "b"]


@pytest.mark.usefixtures("place")
def test_paths_of_a_command_without_sentences() -> None:
    assert [*map(str, find_named(["*.mp4", "absent"]))] == ["a.mp4", "b.mp4", "absent"]
    for words in (["absent"], ["https://x.org/a.mp4", "a.mp4"]):
        with pytest.raises(VideoNotFoundError):
            find_named(words)


@pytest.mark.usefixtures("place")
def test_data_folders(tmp_path: Path) -> None:
    require_data(tmp_path)
    require_data(tmp_path / "notes.txt", or_file=True)
    for path, reason in (
        ("notes.txt", "notes.txt: not a folder"),
        ("mere", "mere: no such folder; did you mean 'more'?"),
        ("https://x.org/data", "https://x.org/data: a web address, not a folder: download it first"),
    ):
        with pytest.raises(DataError) as caught:
            require_data(Path(path))
        assert str(caught.value) == reason
    with pytest.raises(ConfigError, match=r"absent: no such file \(--features\)"):
        require_data(tmp_path, features=Path("absent"))


def test_strange_texts_are_no_paths(tmp_path: Path) -> None:
    for text in ("[", "a[b", "*\0", "x" * 5000, "\udcff*"):
        assert expand_pattern(text) == []
        assert missing_reason(text)
    assert missing_reason(tmp_path / "x" / "y").startswith("no such file: the folder")


def rows(ran: Ran) -> list[dict[str, str]]:
    assert ran.code == 0, ran.err
    return list(csv.DictReader(io.StringIO(ran.out, newline=""), delimiter="\t"))


@pytest.fixture
def videos(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three videos in the working directory, one of them deeper."""
    names = ["a.mp4", "b.mp4", "deep/c.mp4"]
    (tmp_path / "deep").mkdir()
    for source, name in zip(sorted((corpus / "videos").glob("*.mp4")), names, strict=False):
        shutil.copy2(source, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return names


class TestGround:
    """The command, end to end."""

    def test_two_videos(self, ground: Mttsg, videos: list[str]) -> None:
        found = rows(ground(*videos[:2], QUERY, "--all"))
        assert {row["video"] for row in found} == {"a.mp4", "b.mp4"}
        assert {row["query"] for row in found} == {QUERY}

    def test_patterns_and_folders(self, ground: Mttsg, videos: list[str]) -> None:
        assert {row["video"] for row in rows(ground("*.mp4", "deep", QUERY, "--all"))} == set(videos)
        assert {row["video"] for row in rows(ground("**/?.mp4", "a.mp4", QUERY, "--all"))} == set(videos)

    def test_a_double_dash_divides(self, ground: Mttsg, videos: list[str]) -> None:
        found = rows(ground("--all", "a.mp4", "b.mp4", "--", "deep", "-1 on the display"))
        assert {(row["video"], row["query"]) for row in found} == {
            (video, query) for video in ("a.mp4", "b.mp4") for query in ("deep", "-1 on the display")
        }

    def test_all_words_exist(self, ground: Mttsg, videos: list[str]) -> None:
        ran = ground("a.mp4", "deep")
        assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
        assert "no sentence" in ran.err and "put -- before the sentences" in ran.err

    def test_words_without_quotes(self, ground: Mttsg, videos: list[str]) -> None:
        ran = ground("a.mp4", "the", "red", "circle")
        assert len(rows(ran)) == 3
        assert 'hint: 3 sentences of one word each; if they are one, quote it: "the red circle"' in ran.err
        assert "hint" not in ground("a.mp4", "the", "red", "circle", "-q").err

    def test_rows_that_name_their_videos(self, ground: Mttsg, videos: list[str], tmp_path: Path) -> None:
        asked = [("a", "x y"), ("deep/c.mp4", "x y"), ("b.mp4", QUERY)]
        lines = "".join(json.dumps({"video": video, "query": query}) + "\n" for video, query in asked)
        (tmp_path / "q.jsonl").write_text(lines)
        found = rows(ground("a.mp4", "b.mp4", "deep", "-Q", "q.jsonl"))
        assert [(row["video"], row["query"], row["rank"]) for row in found] == [
            ("a.mp4", "x y", "1"),
            ("b.mp4", QUERY, "1"),
            ("deep/c.mp4", "x y", "1"),
        ]
        top = rows(ground(".", "-Q", "q.jsonl", "--top", "3"))
        assert {(row["video"], row["rank"]) for row in top} >= {(video, "1") for video in videos}

    def test_annotations_and_predictions_agree(self, ground: Mttsg, mttsg: Mttsg, corpus: Path, tmp_path: Path) -> None:
        """What a search over the videos of a split writes is a file of predictions."""
        out = tmp_path / "p.jsonl"
        assert ground(corpus / "videos", "-Q", corpus / "test.jsonl", "--top", "5", "--out", out).code == 0
        scored = mttsg("evaluate", corpus, "--predictions", out, "--json")
        report = json.loads(scored.out)
        assert scored.code == 0 and report["queries"] > 0
        assert "without" not in scored.err


WRONG = [
    ["ground", "absent.mp4", "a dog"],
    ["ground", "https://youtu.be/abc", "a dog"],
    ["ground", "*.mkv", "a dog"],
    ["ground", ".", "--queries", "absent.txt"],
    ["ground", ".", "a dog", "--features", "absent"],
    ["train", "absent"],
    ["train", ".", "--features", "absent"],
    ["evaluate", "absent"],
    ["evaluate", ".", "--predictions", "absent.jsonl"],
    ["check", "absent"],
    ["extract", "absent.mp4"],
    ["extract", "https://youtu.be/abc"],
]


@pytest.mark.subprocess
def test_wrong_paths_are_said_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    program = """
import json, sys
from typer.testing import CliRunner
from mttsg_cli.app import app
for command in json.loads(sys.argv[1]):
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2 and result.stdout == "", (command, result.output)
    assert result.stderr.startswith("error: ") and result.stderr.count("\\n") == 1, (command, result.stderr)
print(*[name for name in ("torch", "transformers", "av", "numpy") if name in sys.modules])
"""
    command = [sys.executable, "-c", program, json.dumps(WRONG)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == []
