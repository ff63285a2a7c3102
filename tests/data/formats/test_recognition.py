"""Recognition of a file's format by its content, and files that no format can read."""

from __future__ import annotations

from pathlib import Path

import pytest

from mttsg_core.data import formats
from mttsg_core.data.formats import json_lines
from mttsg_core.data.splits import read_pairs
from mttsg_core.errors import DataError
from tests.data.reading import read_text

SAMPLES = {
    "UniTime, CASTELLA or TimeLens-100K json": '[{"id": "a", "annos": [{"query": "b", "window": [[1, 2]]}]}]',
    "jsonl": '{"video": "a", "query": "b", "start": 1, "end": 2}',
    "json list": '[{"video": "a", "query": "b", "start": 1, "end": 2}]',
    "ActivityNet Captions, TACoS or TimeLens-Bench json": '{"a": {"timestamps": [[1, 2]], "sentences": ["b"]}}',
    "ActionFormer or SnAG json": '{"database": {"a": {"annotations": [{"segment": [1, 2], "sentence": "b"}]}}}',
    "2D-TAN json": '[["a", 9, [1, 2], "b"]]',
    "csv or tsv": "video,query,start,end\na,b,1,2",
    "Charades-STA txt": "a 1 2##b",
}
MORE_SAMPLES = {
    "UniTime, CASTELLA or TimeLens-100K json": [
        '[{"yid": "a", "moments": [{"local_caption": "b", "timestamps": [[1, 2]]}]}]',
        '{"video_path": "a", "events": [{"query": "b", "span": [[1, 2]]}]}',
    ],
    "jsonl": ['{"qid": 1, "vid": "a", "query": "b", "relevant_windows": [[1, 2]]}'],
    "json list": ['[{"qid": 1, "vid": "a", "query": "b", "relevant_windows": [[1, 2]]}]'],
    "ActivityNet Captions, TACoS or TimeLens-Bench json": ['{"a": {"spans": [[1, 2]], "queries": ["b"]}}'],
    "ActionFormer or SnAG json": [
        '{"train": {"a": {"annotations": [{"segment": [1, 2], "sentence": "b"}]}}}',
        '{"a": {"annotations": [{"segment": [1, 2], "sentence": "b"}]}}',
    ],
    "csv or tsv": ["sep=;\nVideo;Caption;Start (s);End (s)\na;b;1;2", "file\ttext\tbegin\tend\na\tb\t1\t2"],
}


def test_each_format_recognises_its_own_files_and_no_other(tmp_path: Path) -> None:
    assert [candidate.name for candidate in formats.FORMATS] == list(SAMPLES)
    samples = list(SAMPLES.items())
    samples += [(name, content) for name, contents in MORE_SAMPLES.items() for content in contents]
    for name, content in samples:
        assert [candidate.name for candidate in formats.FORMATS if candidate.recognise(content)] == [name]
        [pair] = read_text(tmp_path, "a.txt", content).pairs
        assert (pair.video, pair.query, pair.moments) == ("a", "b", ((1.0, 2.0),))


@pytest.mark.parametrize(
    "content",
    [
        '{"version": 1, "database": {"a": {"annotations": [{"segment": [1, 2], "label": "run"}]}}}',  # actions
        '{"a": 12.5, "b": 3}',  # durations
        '[["a", "b"], ["c", "d"]]',
        "[" * 60_000,
        '[["' * 20_000,
        '{"a": ' * 10_000,
        "a person opens the door\na dog, a cat",
        "id,subject,length\nA,2,30",
        "video,query,rank,start,end,score\na,b,1,1,2,0.5",
        '[{"video": "a", "query": "b", "rank": 1, "start": 1, "end": 2, "score": 0.5}]',
        '[{"vid": "a", "query": "b", "pred_relevant_windows": [[1, 2, 0.5]]}]',
    ],
)
def test_other_files_are_not_recognised(content: str) -> None:
    assert not [candidate.name for candidate in formats.FORMATS if candidate.recognise(content)]


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    assert read_text(tmp_path, "train.csv", "AO8RW 0.0 6.9##a person").pairs[0].video == "AO8RW"
    assert read_text(tmp_path, "data", '{"video": "a", "query": "b"}').pairs[0].video == "a"


def test_predictions_are_not_annotations() -> None:
    recognise = json_lines.ROWS.recognise
    empty = '{"video": "a", "query": "b", "moments": []}'
    scored = '{"video": "a", "query": "b", "moments": [[1, 2, 0.5]]}'
    assert recognise(empty)
    assert not recognise(scored)
    assert not recognise(f"{empty}\n{scored}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello", "not an annotation file of a known format"),
        (b"", "not an annotation file of a known format"),
        ('{"video": "a"}'.encode("utf-16"), "UTF-16"),
        (b'{"v": {"sentences": ["a"],\n "timestamps": [[1, 2]', ":2: invalid JSON"),
        (b'{"v": {"sentences": ["a\xff"]}}', ":1: not UTF-8"),
        (b'{"v": {"sentences": [' + b"[" * 200_000, "nested too deeply"),
        (b'{"v": {"sentences": ["a"], "fps": ' + b"9" * 20_000 + b"}}", ":1: invalid JSON"),
    ],
)
def test_unusable_files(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_text(tmp_path, "x.json", content)
    assert "\n" not in str(caught.value)


def test_missing_files(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path, tmp_path / ("x" * 5000)):
        with pytest.raises(DataError):
            read_pairs(path)
