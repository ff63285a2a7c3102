"""Annotation files in every published format, made here, and those of ../shared where it is at hand."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from mttsg_core.data.folder import DataFolder, Pair, Split, read_pairs, write_jsonl
from mttsg_core.errors import DataError

ANNOTATIONS = Path(__file__).parents[3] / "shared" / "annotations"
published = pytest.mark.skipif(not ANNOTATIONS.is_dir(), reason="../shared/annotations is not at hand")


def read(tmp_path: Path, name: str, content: str | bytes, **options: bool) -> Split:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_pairs(path, **options)


def brief(pair: Pair) -> tuple[object, ...]:
    return pair.video, pair.query, pair.moments, pair.duration


def reasons(split: Split) -> list[tuple[int, str]]:
    return [(problem.line, problem.reason) for problem in split.problems]


def test_own_jsonl(tmp_path: Path) -> None:
    rows = [
        {"video": "videos/a.mp4", "query": " person opens door ", "start": 3.2, "end": 8.9, "id": "x", "duration": 30},
        {"video": "b", "query": "two moments", "moments": [[1, 2], [4, 5.5]], "id": 7},
        {"video": "b", "query": "no moment"},
    ]
    found = read(tmp_path, "train.jsonl", "\n".join(map(json.dumps, rows)))
    assert not found.problems
    assert [pair.id for pair in found.pairs] == ["x", "7", "train-3"]
    assert brief(found.pairs[0]) == ("videos/a.mp4", "person opens door", ((3.2, 8.9),), 30.0)
    assert found.pairs[1].moments == ((1.0, 2.0), (4.0, 5.5))
    assert found.pairs[2].moments == ()
    assert read_pairs(tmp_path / "train.jsonl", require_moment=True).problems[0].reason == "no moment"


def test_windows_jsonl(tmp_path: Path) -> None:
    row = {
        "qid": 12,
        "query": "A girl cooks",
        "vid": "x_0.0_150.0",
        "duration": 150,
        "relevant_windows": [[2, 4], [8, 150]],
    }
    test_row = {"qid": 13, "query": "A girl cooks", "vid": "x_0.0_150.0", "duration": 150}
    found = read(tmp_path, "highlight.jsonl", f"{json.dumps(row)}\n{json.dumps(test_row)}\n")
    assert [pair.id for pair in found.pairs] == ["12", "13"]
    assert brief(found.pairs[0]) == ("x_0.0_150.0", "A girl cooks", ((2.0, 4.0), (8.0, 150.0)), 150.0)
    assert found.pairs[1].moments == ()


def test_document_in_seconds(tmp_path: Path) -> None:
    document = {
        "v_1": {"duration": 82.73, "timestamps": [[0.83, 19.86], [5, 5]], "sentences": ["A woman.", " She sits. "]},
        "v_2": {"duration": 10, "timestamps": [[1, 2]], "sentences": ["One.", "One too many."]},
        "v_3": 4,
        "v_4": {"sentences": ["Nobody knows when."]},
    }
    for indent in (None, 2):
        found = read(tmp_path, "val_1.json", json.dumps(document, indent=indent))
        assert [brief(pair) for pair in found.pairs] == [
            ("v_1", "A woman.", ((0.83, 19.86),), 82.73),
            ("v_2", "One.", ((1.0, 2.0),), 10.0),
            ("v_4", "Nobody knows when.", (), None),
        ]
        assert reasons(found) == [
            (2, "video 'v_1', sentence 2: start 5 is not before end 5"),
            (4, "video 'v_2', sentence 2: it has no timestamps [start, end]"),
            (5, "video 'v_3', sentence 1: the video is not an object with lists of sentences and timestamps"),
        ]


def test_a_video_that_comes_twice_in_a_document_loses_no_row(tmp_path: Path) -> None:
    video = '"v": {"duration": 9, "timestamps": [[1, 2]], "sentences": ["%s"]}'
    found = read(tmp_path, "a.json", "{" + video % "one" + "," + video % "two" + "}")
    assert [pair.query for pair in found.pairs] == ["one", "two"]


def test_document_in_frames(tmp_path: Path) -> None:
    video = {
        "timestamps": [[141, 354], [True, 3], [9, 1e400]],
        "sentences": ["a", "b", "c"],
        "fps": 29.4,
        "num_frames": 7303,
    }
    broken = {"timestamps": [[1, 2]], "sentences": ["d"], "fps": 0, "num_frames": 9}
    found = read(tmp_path, "test.json", json.dumps({"s1.avi": video, "s2.avi": broken}))
    assert brief(found.pairs[0]) == ("s1.avi", "a", ((141 / 29.4, 354 / 29.4),), 7303 / 29.4)
    assert reasons(found) == [
        (2, "video 's1.avi', sentence 2: start is not a number: True"),
        (3, "video 's1.avi', sentence 3: end is too large: inf"),
        (4, "video 's2.avi', sentence 1: the video's fps is not a positive number"),
    ]


def test_hash_text_with_durations_beside(tmp_path: Path) -> None:
    (tmp_path / "durations.json").write_text('{"AO8RW": 33.67}')
    (tmp_path / "Charades_v1_test.csv").write_text('id,script,length\nB1111,"a, b",20.5\n')
    lines = [
        "AO8RW 0.0 6.9##a person, ## reads.",
        "B1111 2 30##ends late",
        "AO8RW 34 35##late",
        "no hashes",
        "C 1##x",
        "C 1 2## ",
    ]
    found = read(tmp_path, "charades_sta_train.txt", "\r\n".join(lines))
    assert [brief(pair) for pair in found.pairs] == [
        ("AO8RW", "a person, ## reads.", ((0.0, 6.9),), 33.67),
        ("B1111", "ends late", ((2.0, 30.0),), 20.5),
    ]
    assert reasons(found) == [
        (3, "start 34.0 is past the end of the video at 33.67"),
        (4, "not VIDEO START END##SENTENCE"),
        (5, "not VIDEO START END##SENTENCE"),
        (6, "empty sentence"),
    ]


def test_unusable_durations_are_named(tmp_path: Path) -> None:
    (tmp_path / "durations.json").write_text("[1]")
    with pytest.raises(DataError, match=r"durations\.json: not an object"):
        read(tmp_path, "train.txt", "A 1 2##b")


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_columns(tmp_path: Path, delimiter: str) -> None:
    rows = [
        ["Query", "video", "start", "end", "duration", "note"],
        ['"a, b; c"', "v", "1", "2.5", "", ""],
        ['"says ""hi""\nand leaves"', "v", "", "", "", ""],
        ["runs", "v", "nan", "2", "", ""],
        ["runs", "v", "1_0", "2", "", ""],
        ["short", "v"],
        ['"never closed', "v", "1", "2", "", ""],
        ["last", "v", "1", "2", "9", ""],
    ]
    found = read(tmp_path, "pairs.csv", "\ufeff" + "\n".join(delimiter.join(row) for row in rows))
    assert [brief(pair) for pair in found.pairs] == [
        ("v", "a, b; c", ((1.0, 2.5),), None),
        ("v", 'says "hi"\nand leaves', (), None),
        ("v", "last", ((1.0, 2.0),), 9.0),
    ]
    assert reasons(found) == [
        (5, "start is not a number: 'nan'"),
        (6, "start is not a number: '1_0'"),
        (7, "2 cells where the header has 6"),
        (8, "a quote is never closed"),
    ]


def test_json_list(tmp_path: Path) -> None:
    found = read(tmp_path, "x.json", json.dumps([{"video": "a", "query": "b", "start": 1, "end": 2}, 3]))
    assert [brief(pair) for pair in found.pairs] == [("a", "b", ((1.0, 2.0),), None)]
    assert reasons(found) == [(2, "not a JSON object")]


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    assert read(tmp_path, "train.csv", "AO8RW 0.0 6.9##a person").pairs[0].video == "AO8RW"
    assert read(tmp_path, "data", '{"video": "a", "query": "b"}').pairs[0].video == "a"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello", "not an annotation file of a known format"),
        (b"", "not an annotation file of a known format"),
        ('{"video": "a"}'.encode("utf-16"), "UTF-16"),
        (b'{"v": {"sentences": ["a"],\n "timestamps": [[1, 2]', ":2: broken json"),
        (b'{"v": {"sentences": ["a\xff"]}}', ":1: not UTF-8"),
        (b'{"v": {"sentences": [' + b"[" * 200_000, "nested too deeply"),
        (b'{"v": {"sentences": ["a"], "fps": ' + b"9" * 20_000 + b"}}", ":1: broken json"),
    ],
)
def test_unusable_files(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, "x.json", content)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path, tmp_path / ("x" * 5000)):
        with pytest.raises(DataError):
            read_pairs(path)


def test_conversion_to_jsonl_keeps_everything(tmp_path: Path) -> None:
    pairs = [
        Pair("1", "a", "né", ((1.0, 2.25),), 9.5),
        Pair("2", "a", "line\nbreak \u2028 x", ((1.0, 2.0), (3.0, 4.0))),
        Pair("3", "b", "x"),
    ]
    write_jsonl(pairs, tmp_path / "out.jsonl")
    found = read_pairs(tmp_path / "out.jsonl")
    assert [(pair.id, *brief(pair)) for pair in found.pairs] == [(pair.id, *brief(pair)) for pair in pairs]
    with pytest.raises(DataError):
        write_jsonl(pairs, tmp_path / "out.jsonl" / "below a file.jsonl")


@published
@pytest.mark.parametrize(
    ("name", "rows", "bad_lines"),
    [
        ("activitynet_captions/train.json", 37_421, [6676, 23234, 28611, 28720]),
        ("activitynet_captions/val_1.json", 17_505, []),
        ("activitynet_captions/val_2.json", 17_031, []),
        ("tacos/train.json", 9_790, []),
        ("tacos/val.json", 4_436, []),
        ("tacos/test.json", 4_001, []),
        ("charades_sta/charades_sta_train.txt", 12_408, []),
        ("qvhighlights/highlight_val_release.jsonl", 1_550, []),
    ],
)
def test_published_files(name: str, rows: int, bad_lines: list[int], tmp_path: Path) -> None:
    started = time.perf_counter()
    found = read_pairs(ANNOTATIONS / name, require_moment=True)
    assert time.perf_counter() - started < 2
    assert found.rows == rows
    assert [problem.line for problem in found.problems] == bad_lines
    assert all(pair.duration is not None for pair in found.pairs)
    write_jsonl(found.pairs, tmp_path / "own.jsonl")
    own = read_pairs(tmp_path / "own.jsonl", require_moment=True, strict=True)
    assert [(pair.id, *brief(pair)) for pair in own.pairs] == [(pair.id, *brief(pair)) for pair in found.pairs]


@published
def test_published_folders() -> None:
    names = {folder.name: list(DataFolder.open(folder).splits) for folder in ANNOTATIONS.iterdir()}
    assert names == {
        "activitynet_captions": ["train", "val", "test"],
        "tacos": ["train", "val", "test"],
        "charades_sta": ["train"],
        "qvhighlights": ["val"],
    }
    assert DataFolder.open(ANNOTATIONS / "activitynet_captions").split("val_2").file.name == "val_2.json"
