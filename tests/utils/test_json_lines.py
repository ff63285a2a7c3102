"""Text files with one row per line, good and bad."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mttsg_core.errors import DataError
from mttsg_core.utils import json_lines
from mttsg_core.utils.json_lines import (
    MAX_LINE_BYTES,
    LineStream,
    Problem,
    read_bytes,
    read_json_lines,
    read_lines,
    to_json,
    write_json_lines,
)

FILE = Path("a.jsonl")


def test_lines_are_numbered_and_blank_ones_skipped() -> None:
    assert list(read_lines(FILE, b"a\r\n\n  \nb")) == [(1, "a"), (4, "b")]


def test_bad_lines_are_problems_and_the_others_are_read() -> None:
    content = b'{"a": 1}\n[1]\n{\n\xff\n' + b"x" * (MAX_LINE_BYTES + 1) + b'\n{"b": 2}'
    entries = list(read_json_lines(FILE, content))
    assert [entry for entry in entries if not isinstance(entry, Problem)] == [(1, {"a": 1}), (6, {"b": 2})]
    problems = [entry for entry in entries if isinstance(entry, Problem)]
    assert [problem.line for problem in problems] == [2, 3, 4, 5]
    assert str(problems[0]) == "a.jsonl:2: not a JSON object"
    assert problems[1].reason.startswith("invalid JSON: ")
    assert problems[2].reason == "not UTF-8 at byte 1 of the line; save the file as UTF-8"
    assert problems[3].reason.startswith("the line is too long")


def test_byte_order_marks(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("a".encode("utf-8-sig"))
    assert read_bytes(path) == b"a"
    path.write_bytes("a".encode("utf-16"))
    with pytest.raises(DataError, match="UTF-16"):
        read_bytes(path)


@pytest.mark.parametrize("name", ["none", "", "x" * 5000, "a\0b"])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError) as raised:
        read_bytes(tmp_path / name)
    assert "\n" not in str(raised.value)


def test_nothing_is_written_if_a_value_is_not_json(tmp_path: Path) -> None:
    write_json_lines(tmp_path / "a.jsonl", [{"a": "é"}, 3])
    assert (tmp_path / "a.jsonl").read_bytes() == '{"a": "é"}\n3\n'.encode()
    with pytest.raises(TypeError):
        write_json_lines(tmp_path / "a.jsonl", [1, object()])
    assert (tmp_path / "a.jsonl").read_bytes() == '{"a": "é"}\n3\n'.encode()
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


@given(st.text(st.characters(), max_size=8))
def test_any_text_becomes_json_that_utf8_can_encode(text: str) -> None:
    encoded = to_json({"video": text}).encode("utf-8")
    assert json.loads(encoded) == {"video": text}


@given(st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r", b"\r\n", b"\xc3\xbc"])).map(b"".join), st.integers(0, 9))
def test_a_stream_has_the_lines_of_the_whole(content: bytes, head: int) -> None:
    whole = list(read_lines(FILE, content))
    with pytest.MonkeyPatch.context() as patch:
        for size in (1, 2, 5):
            patch.setattr(json_lines, "_BLOCK_BYTES", size)
            stream = LineStream(FILE, content[:head], BytesIO(content[head:]))
            assert list(read_lines(FILE, stream)) == (whole if head else [])


def test_a_long_line_of_a_stream_is_a_problem_and_takes_no_memory() -> None:
    content = b"a\n" + b"x" * (3 * MAX_LINE_BYTES) + b"\nb"
    stream = LineStream(FILE, content[:1000], BytesIO(content[1000:]))
    assert MAX_LINE_BYTES < max(map(len, stream)) < 1.5 * MAX_LINE_BYTES
    first, problem, last = read_lines(FILE, LineStream(FILE, content[:1000], BytesIO(content[1000:])))
    assert (first, last) == ((1, "a"), (3, "b"))
    assert str(problem) == "a.jsonl:2: the line is too long (more than 1,048,576 bytes)"


def test_a_stream_without_line_ends_is_not_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "_MAX_BYTES_WITHOUT_END", 4 << 20)
    with pytest.raises(DataError, match=r"a\.jsonl: 4 MB without a line end, so this is not a text file"):
        list(LineStream(FILE, b"a\n", BytesIO(bytes(8 << 20))))
