"""Annotation files, names and features as users have them, where ../shared has them; each with its right value."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mttsg_core.data.durations import with_file_durations
from mttsg_core.data.folder import DataFolder
from mttsg_core.data.queries import Query, parse_queries
from mttsg_core.data.query_parts import assign_queries
from mttsg_core.data.splits import read_pairs
from mttsg_core.encoders.word_vectors import split_words
from mttsg_core.evaluation.breakdown import words_of
from mttsg_core.video.discovery import find_videos
from tests.conftest import SHARED

CASES = SHARED / "cases"
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is not available"),
]
SQUARE = ("0004", "the purple square moves right", ((29.2, 34.4),))
TRIANGLE = ("0019", "the green triangle moves right", ((6.24, 13.36),))
BLINKS = ("0004", "the purple square blinks", ((10.0, 15.84),))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a_mixed_keys.jsonl", [SQUARE, TRIANGLE]),
        ("b_other_columns.csv", [SQUARE, TRIANGLE]),
        ("c_clock.csv", [SQUARE, TRIANGLE]),
        ("d_excel_de.csv", [SQUARE]),
        ("d2_excel_de.csv", [SQUARE]),
        ("e_cp1252.csv", [("0004", "un café rouge", ((29.2, 34.4),))]),
        ("f_id_is_video.csv", [SQUARE, BLINKS, ("0019", "the white triangle blinks", ((10.16, 13.76),))]),
        ("g_2dtan.json", [SQUARE, TRIANGLE]),
        ("h_actionformer.json", [SQUARE]),
        ("i_unitime.json", [SQUARE]),
        ("j_vid_jsonlist.json", [SQUARE]),
        ("l_caption.jsonl", [SQUARE]),
        ("m_anet_entity.json", [("v_0004", *SQUARE[1:]), ("v_0004", *BLINKS[1:])]),
        ("n_window_dup.jsonl", [(*SQUARE[:2], ((29.2, 34.4), (30.0, 32.0)))]),
    ],
)
def test_rows_of_many_hands(name: str, expected: list[tuple[object, ...]]) -> None:
    split = read_pairs(CASES / "rows" / name, require_moment=True)
    assert [(pair.video, pair.query, pair.moments) for pair in split.pairs] == expected
    assert split.bad_rows == 0


def test_rows_that_lose_a_moment_or_an_id_say_so() -> None:
    [problem] = read_pairs(CASES / "rows/n_window_dup.jsonl").problems
    assert problem.reason == "moment 4: start 34.4 is not before end 34.4"
    assert "numbered" in read_pairs(CASES / "rows/f_id_is_video.csv").notes[0]
    assert "Windows-1252" in read_pairs(CASES / "rows/e_cp1252.csv").notes[0]


def test_milliseconds_without_a_unit_are_named(tmp_path: Path) -> None:
    [note] = read_pairs(CASES / "rows/k_ms.jsonl").notes
    assert "k_ms.jsonl:1: start 29200 and end 34400 are read as seconds" in note
    shutil.copy(CASES / "rows/k_ms.jsonl", tmp_path / "train.jsonl")
    (tmp_path / "videos").mkdir()
    shutil.copy(CASES / "queries/videos/0004.mp4", tmp_path / "videos")
    folder = DataFolder.open(tmp_path)
    [problem] = with_file_durations(folder, folder.split("train")).problems
    assert problem.reason.startswith("start 29200.0 is past the end of the video at 38.72; name the columns start_ms")


@pytest.mark.parametrize("name", ["charades_sta_test.txt", "highlight_test_release.jsonl"])
def test_each_query_is_asked_of_its_own_video(name: str) -> None:
    path = CASES / "queries" / name
    queries, problems = parse_queries(path, path.read_bytes())
    expected = [Query(SQUARE[1], "0004"), Query(TRIANGLE[1], "0019")]
    assert (queries, problems) == (expected[: len(queries)], [])
    assigned, unmatched = assign_queries(queries, find_videos([CASES / "queries/videos"]))
    assert {video.name.stem: sentences for video, sentences in assigned.items()} == {
        query.video: [query.text] for query in queries
    }
    assert not unmatched


def test_names_where_only_one_video_can_be_meant() -> None:
    folder = DataFolder.open(CASES / "names")
    split = folder.split("train")
    assert (len(split.pairs), split.problems) == (7, [])
    found = [folder.find_video(pair.video) for pair in split.pairs]
    names = ["sub/win.mp4", "sub/win.mp4", "Clip One.MP4", "Clip One.MP4", "-abc123.mp4", "sub/win.mp4", "sub/win.mp4"]
    assert found == [CASES / "names/videos" / name for name in names]


def test_what_lies_beside_videos_is_passed_over() -> None:
    folder = DataFolder.open(CASES / "sidecar")
    assert not folder.split("train").problems
    assert [folder.find_video(name) for name in ("0004", "0019")] == [
        CASES / "sidecar/videos" / name for name in ("0004.mp4", "0019.mp4")
    ]


def test_rows_outside_the_file_are_named_with_its_own_duration() -> None:
    folder = DataFolder.open(CASES / "wrong_duration")
    split = with_file_durations(folder, folder.split("train"))
    assert [(problem.line, problem.reason) for problem in split.problems] == [
        (2, "start 60.0 is past the end of the video at 38.72")
    ]
    assert [pair.moments for pair in split.pairs][-1] == ((30.0, 90.0),)
    assert "0004' 150 s, the file lasts 38.7 s" in split.notes[-1]


def test_features_are_found_by_names_with_a_suffix_inside() -> None:
    folder = DataFolder.open(CASES / "features_batch_axis")
    for name in folder.splits:
        split = folder.split(name)
        assert not split.problems
        assert all(folder.find_features(pair.video) is not None for pair in split.pairs)


def test_vowel_signs_tell_words_apart() -> None:
    first, second = (CASES / "text/hindi.txt").read_text(encoding="utf-8").splitlines()
    for words in (split_words, words_of):
        assert set(words(first)) != set(words(second))
        assert len(words(first)) == len(words(second)) == 4
