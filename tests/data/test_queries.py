"""Files of queries, and the videos that queries are about."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import pytest

from mttsg_core.data import queries as queries_module
from mttsg_core.data.name_index import NameIndex
from mttsg_core.data.queries import Query, parse_queries, stream_queries
from mttsg_core.data.query_parts import assign_queries
from mttsg_core.errors import DataError
from mttsg_core.video.discovery import VideoFile, find_videos

FILE = Path("q.txt")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_plain_lines(mark: bytes, newline: bytes) -> None:
    content = mark + newline.join([b" person opens door ", b"", "die Tür, \u5f00".encode(), b"-dash"])
    queries, problems = parse_queries(FILE, content)
    assert queries == [Query("person opens door"), Query("die Tür, 开"), Query("-dash")]
    assert problems == []


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf", b"\n  "])
def test_json_lines(mark: bytes) -> None:
    content = mark + b'{"query": " a b ", "video": "v.mp4", "id": 3}\n\n{"query": "c"}'
    assert parse_queries(FILE, content) == ([Query("a b", "v.mp4"), Query("c")], [])


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '"x"',
        '{"video": "a"}',
        '{"query": ""}',
        '{"query": "  "}',
        '{"query": 3}',
        '{"query": "a", "video": 3}',
        '{"query": "\\ud800"}',
    ],
)
def test_a_bad_line_is_a_problem_and_the_others_are_queries(line: str) -> None:
    content = f'{{"query": "good"}}\n{line}\n{{"query": "fine"}}\n'.encode()
    queries, problems = parse_queries(FILE, content)
    assert [query.text for query in queries] == ["good", "fine"]
    assert [str(problem).startswith("q.txt:2: ") for problem in problems] == [True]


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("a " * 1000 + "b", "the sentence has 1001 words, at most 1000 are possible"),
        ("x" * 10_001, "the sentence has 10001 characters, at most 10000 are possible"),
        ("x " * (1 << 20), "the line is too long"),
    ],
)
def test_a_sentence_that_is_too_long_is_a_problem(sentence: str, reason: str) -> None:
    longest = "a " * 999 + "x" * 8000
    for write in (str, lambda text: json.dumps({"query": text})):
        content = "\n".join(map(write, ["opens", sentence, "moves"])).encode()
        queries, [problem] = parse_queries(FILE, content)
        assert [query.text for query in queries] == ["opens", "moves"]
        assert problem.line == 2
        assert problem.reason.startswith(reason)
    assert parse_queries(FILE, longest.encode()) == ([Query(longest)], [])


@pytest.mark.parametrize("content", [b"", b"\n \n", b'{"query": ""}', b"{"])
def test_a_file_without_a_sentence_is_refused(content: bytes) -> None:
    with pytest.raises(DataError, match="no sentence"):
        parse_queries(FILE, content)


def test_a_line_in_another_encoding_is_a_problem() -> None:
    queries, problems = parse_queries(FILE, "opens door\nTür\n[a] closes it\n".encode("latin-1"))
    assert queries == [Query("opens door"), Query("[a] closes it")]
    assert [str(problem) for problem in problems] == [
        "q.txt:2: not UTF-8 at byte 2 of the line; save the file as UTF-8"
    ]


def test_a_json_list_holds_sentences_or_rows() -> None:
    content = b'[\n "opens door",\n {"query": "closes", "video": "a"},\n {"caption": "sits"},\n 3\n]\n'
    queries, problems = parse_queries(FILE, content)
    assert queries == [Query("opens door"), Query("closes", "a"), Query("sits")]
    assert [str(problem) for problem in problems] == ["q.txt:4: neither a sentence nor an object with one"]
    with pytest.raises(DataError, match="no sentence"):
        parse_queries(FILE, b"[1, 2]")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("highlight_test_release.jsonl", '{"qid": 1, "query": "sits", "duration": 38.72, "vid": "0004"}\n'
                                         '{"qid": 2, "query": "runs", "duration": 36.08, "vid": "0019"}'),
        ("charades_sta_test.txt", "0004 29.2 34.4##sits\n0019 1 2##runs"),
        ("test.csv", "video,query,start,end\n0004,sits,1,2\n0019,runs,3,4"),
        ("test.tsv", "video_id\tcaption\n0004\tsits\n0019\truns"),
        ("val_1.json", '{"0004": {"sentences": ["sits"], "timestamps": [[1, 2]]}, "0019": {"sentences": ["runs"]}}'),
        ("test.json", '[["0004", 38.72, [1, 2], "sits"], ["0019", 9, [1, 2], "runs"]]'),
        ("rows.json", '[{"vid": "0004", "query": "sits"}, {"vid": "0019", "query": "runs"}]'),
        ("anet.json", '{"database": {"0004": {"annotations": [{"segment": [1, 2], "sentence": "sits"}]}, '
                      '"0019": {"annotations": [{"segment": [1, 2], "sentence": "runs"}]}}}'),
        ("unitime.json", '[{"id": "0004", "annos": [{"query": "sits", "window": [[1, 2]]}]}, '
                         '{"id": "0019", "annos": [{"query": "runs", "window": [[1, 2]]}]}]'),
        ("found.csv", "video,query,rank,start,end,score\n0004,sits,1,1,2,0.5\n0019,runs,1,1,2,0.5"),
        ("-", "0004 29.2 34.4##sits\n0019 1 2##runs"),
    ],
)  # fmt: skip
def test_each_sentence_of_an_annotation_file_is_about_its_own_video(name: str, content: str) -> None:
    queries, problems = parse_queries(Path(name), content.encode())
    assert queries == [Query("sits", "0004"), Query("runs", "0019")]
    assert problems == []


@pytest.mark.parametrize("name", ["q.txt", "q.csv", "-"])
def test_sentences_are_not_taken_for_rows(name: str) -> None:
    sentences = [
        "a person opens the door",
        "person 1 ## of 2",
        "the video of 3 4 people",
        "[door] opens",
        "video query",
    ]
    assert parse_queries(Path(name), "\n".join(sentences).encode())[0] == [Query(text) for text in sentences]


def test_a_table_of_sentences_alone_is_about_every_video() -> None:
    content = b'id,query\n1,"sits, then runs"\n2,runs\n'
    assert parse_queries(Path("q.csv"), content)[0] == [Query("sits, then runs"), Query("runs")]
    assert parse_queries(Path("q.csv"), b"Query\nsits\n")[0] == [Query("sits")]
    with pytest.raises(DataError, match="no column query"):
        parse_queries(Path("q.csv"), b"0004,the square moves,29.2,34.4\n")


def test_a_blank_video_is_not_every_video() -> None:
    queries, problems = parse_queries(Path("q.csv"), b"video,query\n,sits\na,runs\n")
    assert queries == [Query("runs", "a")]
    assert [str(problem) for problem in problems] == ["q.csv:2: empty video"]


LONG = {
    "q.txt": "\ufeffsits {}\n[door] opens {}\n\n",
    "q.jsonl": '{{"query": "sits {}"}}\n{{"query": "runs {}", "video": "a"}}\nbroken\n',
    "-": '{{"query": "sits {}"}}\n{{"video": "a"}}\n{{"query": "runs {}", "video": "a"}}\n',
    "charades.txt": "0004 29.2 34.4##sits {}\n0019 1 2##runs {}\nbroken\n",
    "q.csv": 'a{},"sits\n{}"\na,"never closed\n,runs\n',
    "lines.txt": "sits {}\r\nruns {}\r",
}


@pytest.mark.parametrize("name", LONG)
def test_a_large_file_is_read_as_a_small_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    header = "video,query\n" if name == "q.csv" else ""
    content = (header + "".join(LONG[name].format(n, n) for n in range(300))).encode()
    expected = parse_queries(Path(name), content)
    monkeypatch.setattr(queries_module, "_WHOLE_BYTES", 3000)
    read = list(stream_queries(Path(name), BytesIO(content)))
    assert ([e for e in read if isinstance(e, Query)], [e for e in read if not isinstance(e, Query)]) == expected


def test_a_large_table_in_windows_1252_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries_module, "_WHOLE_BYTES", 1000)
    content = ("video,query\n" + "a,die Tür\n" * 300).encode("cp1252")
    assert set(stream_queries(Path("q.csv"), BytesIO(content))) == {Query("die Tür", "a")}


@pytest.mark.parametrize("cut", range(1000, 1004))
def test_a_large_table_whose_head_ends_within_a_letter_is_utf_8(cut: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries_module, "_WHOLE_BYTES", cut)
    content = ("video,query\n" + "a,die Tur\n" * 90 + "a,die " + "ü" * 200).encode()
    assert Query("die " + "ü" * 200, "a") in set(stream_queries(Path("q.csv"), BytesIO(content)))


def test_a_large_document_is_read_whole_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries_module, "_WHOLE_BYTES", 1000)
    content = json.dumps([f"the circle {number}" for number in range(300)]).encode()
    assert list(stream_queries(FILE, BytesIO(content))) == [Query(f"the circle {number}") for number in range(300)]
    monkeypatch.setattr(queries_module, "_MAX_DOCUMENT_BYTES", len(content) - 1)
    with pytest.raises(DataError, match=r"q\.txt: JSON of more than 0 MB; write one query per line instead"):
        list(stream_queries(FILE, BytesIO(content)))


def test_a_large_file_without_a_sentence_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries_module, "_WHOLE_BYTES", 10)
    with pytest.raises(DataError, match=r"no sentence \(q.txt:1: "):
        list(stream_queries(FILE, BytesIO(b'{"query": 3}\n' * 5)))
    with pytest.raises(DataError, match="UTF-16"):
        list(stream_queries(FILE, BytesIO("sits\n".encode("utf-16") * 5)))


def test_a_video_is_named_by_path_file_name_or_stem() -> None:
    videos = [VideoFile(Path("/v/x/a.mp4"), Path("x/a.mp4")), VideoFile(Path("/v/b.mp4"), Path("b.mp4"))]
    for name in ("/v/x/a.mp4", "v/x/a.mp4", "x/a.mp4", "./x/a.mp4", "x/a", "a.mp4", "a"):
        assigned, unmatched = assign_queries([Query("all"), Query("one", name)], videos)
        assert assigned == {videos[0]: ["all", "one"], videos[1]: ["all"]}
        assert unmatched == {}
    assigned, _ = assign_queries([Query("again"), Query("other"), Query("again", "b")], videos)
    assert assigned == {videos[0]: ["again", "other"], videos[1]: ["again", "other"]}
    assigned, unmatched = assign_queries([Query("1", "c"), Query("2", "b"), Query("3", "c")], videos)
    assert assigned == {videos[1]: ["2"]}
    assert unmatched == {"c": "no such video"}


@pytest.mark.parametrize("name", ["X\\a.mp4", "x/A", "videos/x/a.mp4", "a.avi", "A.MP4"])
def test_a_video_is_found_where_only_one_can_be_meant(name: str) -> None:
    videos = [VideoFile(Path("/v/x/a.mp4"), Path("x/a.mp4")), VideoFile(Path("/v/b.mp4"), Path("b.mp4"))]
    assert assign_queries([Query("one", name)], videos) == ({videos[0]: ["one"]}, {})


def test_a_name_of_several_videos_is_asked_of_none() -> None:
    videos = [VideoFile(Path(f"/v/{name}"), Path(name)) for name in ("x/a.mp4", "y/a.mp4", "c.mp4", "y/c.mp4")]
    assigned, unmatched = assign_queries([Query("one", "a"), Query("two", "y/a"), Query("three", "c")], videos)
    assert assigned == {videos[1]: ["two"], videos[2]: ["three"]}  # c is the path of one of them
    assert unmatched == {"a": "2 videos match: /v/x/a.mp4, /v/y/a.mp4"}


def test_a_picture_beside_a_video_is_not_meant() -> None:
    videos = [VideoFile(Path(f"/v/a.{suffix}"), Path(f"a.{suffix}")) for suffix in ("gif", "mp4")]
    assert assign_queries([Query("one", "a")], videos) == ({videos[1]: ["one"]}, {})


def test_many_queries_are_assigned_in_linear_time(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{number:04d}" for number in range(400)]
    lookups = 0
    find = NameIndex.find

    def counted(index: NameIndex[VideoFile], name: str) -> list[VideoFile]:
        nonlocal lookups
        lookups += 1
        return find(index, name)

    monkeypatch.setattr(NameIndex, "find", counted)
    assigned, _ = assign_queries(
        [Query(text, name) for name in names for text in ("x", "y")],
        [VideoFile(Path(f"/v/{name}.mp4"), Path(f"{name}.mp4")) for name in names],
    )
    assert len(assigned) == 400
    assert lookups <= 2 * 400


class TestFindVideos:
    """From what a user names to video files."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for name in ("b.mp4", "a.MKV", "deep/er/c.webm", ".hidden.mp4", ".cache/d.mp4", "notes.txt", "x.part"):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    def test_folders_are_searched_and_hidden_files_passed_over(self, folder: Path) -> None:
        found = find_videos([folder])
        assert sorted(video.name.as_posix() for video in found) == ["a.MKV", "b.mp4", "deep/er/c.webm"]
        assert all(video.path.is_file() for video in found)

    def test_a_file_named_is_taken_whatever_its_name(self, folder: Path) -> None:
        assert [video.path for video in find_videos([folder / "notes.txt", folder / ".hidden.mp4"])] == [
            folder / "notes.txt",
            folder / ".hidden.mp4",
        ]

    def test_a_file_named_twice_is_one(self, folder: Path) -> None:
        (folder / "link.mp4").symlink_to(folder / "b.mp4")
        names = [video.path.name for video in find_videos([folder / "b.mp4", folder, folder / "link.mp4"])]
        assert len(names) == len(set(names)) == 3
        assert names[0] == "b.mp4"

    def test_no_video_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no video files"):
            find_videos([tmp_path])

    def test_features_are_named_after_the_video(self, folder: Path) -> None:
        [found] = find_videos([folder / "deep"])
        assert found.output_path(Path("out"), ".npy") == Path("out/er/c.npy")
