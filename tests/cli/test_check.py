"""`mttsg check`: every bad row by name, and what is in a data set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mttsg_core.video.probe import probe
from tests.conftest import SHARED, Mttsg
from tests.helpers.tiny import write_rows

GOOD = [
    {"video": "a", "query": "a person sits", "start": 0, "end": 2, "duration": 8},
    {"video": "b", "query": "A person sits", "start": 4, "end": 10, "duration": 8},
]


def test_a_good_folder(tmp_path: Path, mttsg: Mttsg) -> None:
    write_rows(tmp_path / "train.jsonl", GOOD)
    write_rows(tmp_path / "val.jsonl", [{**GOOD[0], "video": "c"}])
    ran = mttsg("check", tmp_path)
    assert (ran.code, ran.err) == (0, "")
    lines = {line[:22].strip(): line[22:].split() for line in ran.out.splitlines()}
    assert lines["rows"] == ["2", "1"]
    assert lines["pairs"] == ["2", "1"]
    assert lines["videos"] == ["2", "1"]
    assert lines["in several videos"] == ["100.0%", "0.0%"]
    assert lines["end past video"] == ["1", "0"]
    assert lines["seconds: median"] == ["4.0", "2.0"]
    assert all(len(line) <= 80 for line in ran.out.splitlines()[1:])


def test_videos_of_the_training_split_in_another_are_a_warning(tmp_path: Path, mttsg: Mttsg) -> None:
    rows = [{**GOOD[0], "video": name} for name in "abcdef"]
    write_rows(tmp_path / "train.jsonl", rows)
    write_rows(tmp_path / "val.jsonl", [{**GOOD[0], "video": name} for name in ("b.mp4", "x")])
    write_rows(tmp_path / "test.jsonl", [{**GOOD[0], "video": name} for name in "fedcbx"])
    ran = mttsg("check", tmp_path)
    assert ran.code == 0
    assert sorted(ran.err.splitlines()) == [
        "warning: test: 5 videos also in train: b, c, d, ...",
        "warning: val: 1 video also in train: b",
    ]
    found = json.loads(mttsg("check", tmp_path, "--json").out)
    assert found["seen_in_training"] == {"test": ["b", "c", "d", "e", "f"], "val": ["b"]}
    assert mttsg("check", tmp_path, "--quiet").err == ""
    (tmp_path / "train.jsonl").unlink()
    assert mttsg("check", tmp_path).err == ""


def test_bad_rows_are_named_and_counted(tmp_path: Path, mttsg: Mttsg) -> None:
    lines = [json.dumps(GOOD[0]), "{broken", '{"video": "a", "query": "", "start": 0, "end": 1}', "", '{"video": "a"}']
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    ran = mttsg("check", tmp_path, "--json", "--quiet")
    assert ran.code == 1
    file = tmp_path / "train.jsonl"
    assert [error.partition(": ")[2].rpartition(": ")[0][: len(f"{file}:2")] for error in ran.errors] == [
        f"{file}:{line}" for line in (2, 3, 5)
    ]
    assert ran.errors[1] == f"error: {file}:3: empty sentence"
    found = json.loads(ran.out)
    train = found["splits"]["train"]
    assert (train["rows"], train["pairs"], train["bad_rows"]) == (4, 1, 3)
    assert [problem["line"] for problem in found["problems"]] == [2, 3, 5]


def test_a_single_file(tmp_path: Path, mttsg: Mttsg) -> None:
    ran = mttsg("check", write_rows(tmp_path / "mine.jsonl", GOOD), "--json")
    assert ran.code == 0
    assert json.loads(ran.out)["splits"]["mine"]["pairs"] == 2
    empty = tmp_path / "bad.jsonl"
    empty.write_text('{"video": "a", "query": "x", "start": 2, "end": 1}\n')
    ran = mttsg("check", empty)
    assert ran.code == 1
    assert "–" in ran.out


def test_lengths_of_videos_at_hand(tmp_path: Path, clip: Path, mttsg: Mttsg) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / clip.name).symlink_to(clip)
    (tmp_path / "videos" / "one.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "videos" / clip.name).unlink()
    rows = [{"video": "one", "query": "x", "start": 0, "end": 1}, {"video": "gone", "query": "x", "start": 0, "end": 1}]
    write_rows(tmp_path / "train.jsonl", rows)
    ran = mttsg("check", tmp_path, "--json")
    assert ran.code == 1
    assert len(ran.errors) == 1
    assert "train.jsonl:2: unknown video 'gone'" in ran.errors[0]
    train = json.loads(ran.out)["splits"]["train"]
    assert train["timed_videos"] == 1
    assert 0 < train["hours"] < 0.1


def test_rows_outside_the_video_are_named_whatever_duration_they_state(
    tmp_path: Path, clip: Path, mttsg: Mttsg
) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "one.mp4").write_bytes(clip.read_bytes())
    seconds = probe(clip).duration
    late = {"video": "one", "query": "x", "start": seconds + 30, "end": seconds + 40, "duration": 150}
    write_rows(tmp_path / "train.jsonl", [late, {**late, "start": 0, "end": 1}])
    ran = mttsg("check", tmp_path)
    assert ran.code == 1
    assert [error.partition(": ")[2] for error in ran.errors] == [
        f"{tmp_path / 'train.jsonl'}:1: start {seconds + 30} is past the end of the video at {round(seconds, 3)}"
    ]
    assert f"'one' 150 s, the file lasts {seconds:.1f} s" in ran.err
    assert "warning: " not in mttsg("check", tmp_path, "--quiet").err


def test_lost_moments_unread_columns_and_bad_features(tmp_path: Path, mttsg: Mttsg) -> None:
    write_rows(
        tmp_path / "train.jsonl", [{**GOOD[0], "start": None, "end": None, "moments": [[1, 2], [3, 3]], "note": 1}]
    )
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "a.npy").write_bytes(b"x")
    ran = mttsg("check", tmp_path, "--json")
    assert ran.code == 1
    assert ran.errors[0] == f"error: {tmp_path / 'train.jsonl'}:1: moment 2: start 3 is not before end 3"
    assert ran.errors[1].startswith(f"error: {tmp_path / 'features' / 'a.npy'}: ")
    assert f"warning: {tmp_path / 'train.jsonl'}: not read: 'note'" in ran.err.splitlines()
    train = json.loads(ran.out)["splits"]["train"]
    assert (train["rows"], train["pairs"], train["bad_rows"], train["bad_moments"]) == (1, 1, 0, 1)


def test_a_batch_axis_left_in_features_is_a_warning(tmp_path: Path, mttsg: Mttsg) -> None:
    rows = [{**GOOD[0], "video": name} for name in ("vid0_0.0_150.0", "vid1_0.0_150.0")]
    write_rows(tmp_path / "train.jsonl", rows)
    (tmp_path / "features").mkdir()
    for row in rows:
        np.save(tmp_path / "features" / f"{row['video']}.npy", np.ones((1, 75, 16), np.float32))
    ran = mttsg("check", tmp_path)
    assert ran.code == 0
    [warning] = ran.err.splitlines()
    assert warning.startswith(f"warning: {tmp_path / 'features'}: ")
    assert "batch axis" in warning


def test_unusable_data(tmp_path: Path, mttsg: Mttsg) -> None:
    (tmp_path / "notes.txt").write_text("nothing here\n")
    for path in (tmp_path, tmp_path / "none", tmp_path / "notes.txt"):
        ran = mttsg("check", path)
        assert (ran.code, ran.out) == (2, ""), path
        assert len(ran.errors) == 1


@pytest.mark.skipif(not (SHARED / "annotations").is_dir(), reason="../shared/annotations is not at hand")
def test_a_published_data_set(mttsg: Mttsg) -> None:
    ran = mttsg("check", SHARED / "annotations" / "charades_sta", "--json")
    assert ran.code == 0
    assert json.loads(ran.out)["splits"]["train"]["pairs"] == 12408
