"""Charades-STA's text files."""

from __future__ import annotations

from pathlib import Path

from tests.data.reading import content_of, read_text, reasons


def test_rows_with_durations_from_files_beside_them(tmp_path: Path) -> None:
    (tmp_path / "durations.json").write_text('{"AO8RW": 33.67}')
    (tmp_path / "Charades_v1_test.csv").write_text('id,script,length\nB1111,"a, b",20.5\n')
    lines = [
        "AO8RW 0.0 6.9##a person, ## reads.",
        "B1111 2 30##ends late",
        "AO8RW 35 36##late",
        "no hashes",
        "C 1##x",
        "C 1 2## ",
    ]
    split = read_text(tmp_path, "charades_sta_train.txt", "\r\n".join(lines))
    assert [content_of(pair) for pair in split.pairs] == [
        ("AO8RW", "a person, ## reads.", ((0.0, 6.9),), 33.67),
        ("B1111", "ends late", ((2.0, 30.0),), 20.5),
    ]
    assert reasons(split) == [
        (3, "start 35.0 is past the end of the video at 33.67"),
        (4, "not VIDEO START END##SENTENCE"),
        (5, "not VIDEO START END##SENTENCE"),
        (6, "empty sentence"),
    ]


def test_other_forms_of_times_and_names(tmp_path: Path) -> None:
    split = read_text(tmp_path, "test.txt", "my clip 1 0:24.3 0:30.4##person turns a light on\nA 1h 2##b\n")
    assert [content_of(pair) for pair in split.pairs] == [
        ("my clip 1", "person turns a light on", ((24.3, 30.4),), None)
    ]
    assert reasons(split) == [(2, "start is not a time: '1h'")]
