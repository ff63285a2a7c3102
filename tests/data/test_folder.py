"""Bad rows by kind, and the data folder: its splits, videos and features."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mttsg_core.data.folder import DataFolder, read_pairs
from mttsg_core.errors import DataError, FeatureError

GOOD = {"video": "a", "query": "b", "start": 1, "end": 2}


def write_rows(path: Path, *rows: dict[str, object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (GOOD | {"start": 2}, "start 2 is not before end 2"),
        (GOOD | {"start": 3.5}, "start 3.5 is not before end 2"),
        (GOOD | {"start": -0.1}, "start is negative: -0.1"),
        (GOOD | {"end": float("nan")}, "end is not a number: nan"),
        (GOOD | {"end": float("inf")}, "end is too large: inf"),
        (GOOD | {"end": 1e308}, "end is too large: 1e+308"),
        (GOOD | {"end": 10**400}, "end is too large: 1000"),
        (GOOD | {"start": True}, "start is not a number: True"),
        (GOOD | {"start": "1"}, "start is not a number: '1'"),
        (GOOD | {"start": None}, "start is missing"),
        (GOOD | {"start": [1]}, "start is not a number: a list"),
        (GOOD | {"query": " \t"}, "empty sentence"),
        (GOOD | {"query": 3}, "the sentence is not a string: 3"),
        (GOOD | {"query": "\ud800"}, "the sentence holds half of a surrogate pair"),
        ({"video": "a", "start": 1, "end": 2}, "no sentence"),
        (GOOD | {"video": ""}, "empty video"),
        (GOOD | {"video": None}, "no video"),
        (GOOD | {"moments": [[1, 2]]}, "both moments and start or end"),
        ({"video": "a", "query": "b", "moments": [[1, 2], [4, 3]]}, "moment 2: start 4 is not before end 3"),
        ({"video": "a", "query": "b", "moments": [[1]]}, "moment 1 is not [start, end]"),
        ({"video": "a", "query": "b", "moments": "12"}, "moments is not a list: '12'"),
        (GOOD | {"duration": 0}, "the duration is 0"),
        (GOOD | {"duration": "9"}, "duration is not a number: '9'"),
        (GOOD | {"duration": 1}, "start 1.0 is past the end of the video at 1.0"),
        (GOOD | {"id": 1.5}, "the id is neither a string nor an integer: 1.5"),
        (GOOD | {"id": "first"}, "the id 'first' is used before, at 1"),
        ("[1]", "not a JSON object"),
        ("{", "broken json: "),
        ('{"a": ' + "[" * 100_000, "broken json: nested too deeply"),
        ("9" * 5000, "broken json: Exceeds" if sys.version_info >= (3, 11) else ""),
        (b'{"video": "\xff"}', "not UTF-8 at byte 12 of the line"),
        (json.dumps(GOOD | {"query": "x" * 2_000_000}), "the line is too long"),
    ],
)
def test_bad_rows(tmp_path: Path, line: object, reason: str) -> None:
    raw = line if isinstance(line, bytes) else (json.dumps(line) if isinstance(line, dict) else str(line)).encode()
    path = tmp_path / "train.jsonl"
    good = json.dumps(GOOD | {"id": "first"}).encode()
    path.write_bytes(b"\xef\xbb\xbf" + good + b"\r\n\r\n" + raw + b"\r\n" + json.dumps(GOOD).encode())
    found = read_pairs(path)
    assert [pair.line for pair in found.pairs] == [1, 4]
    assert found.rows == 3
    (problem,) = found.problems
    assert problem.reason.startswith(reason)
    assert str(problem) == f"{path}:3: {problem.reason}"
    assert len(problem.reason) < 200
    with pytest.raises(DataError) as caught:
        read_pairs(path, strict=True)
    assert str(caught.value) == str(problem)


def test_an_end_past_the_video_is_kept(tmp_path: Path) -> None:
    found = read_pairs(write_rows(tmp_path / "a.jsonl", GOOD | {"duration": 1.5, "end": 9}))
    assert found.pairs[0].moments == ((1.0, 9.0),)


def test_every_bad_line_is_named_where_no_line_is_good(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text('nonsense\n{"video": 3}\n')
    assert [problem.line for problem in read_pairs(path).problems] == [1, 2]


def test_splits(tmp_path: Path) -> None:
    for name in ("train.jsonl", "unseen.jsonl", "my_val.jsonl", "test_a.jsonl", "test_b.jsonl"):
        write_rows(tmp_path / name, GOOD)
    touch(tmp_path, "notes.txt", "config.json")
    write_rows(tmp_path / "predictions.jsonl", {"video": "a", "query": "b", "moments": [[1, 2, 0.5]]})
    answers = [{"video": "a", "query": "b", "moments": moments} for moments in ([], [[1, 2, 0.5]])]
    write_rows(tmp_path / "test_predictions.jsonl", *answers)
    write_rows(tmp_path / "test_found.jsonl", {"video": "a", "query": "b", "rank": 1, "start": 1, "end": 2, "score": 1})
    write_rows(tmp_path / "others.jsonl", {"qid": 1, "vid": "a", "query": "b", "pred_relevant_windows": [[1, 2, 0.5]]})
    folder = DataFolder.open(tmp_path)
    assert {name: path.name for name, path in folder.splits.items()} == {
        "train": "train.jsonl",
        "val": "my_val.jsonl",
        "test_a": "test_a.jsonl",
        "test_b": "test_b.jsonl",
        "unseen": "unseen.jsonl",
    }
    assert folder.split("my_val").name == "val"
    with pytest.raises(DataError, match="no split 'test'; there is test_a, test_b, train, unseen, val"):
        folder.split("test")


def test_published_names(tmp_path: Path) -> None:
    touch(tmp_path, "charades/durations_train.json")
    for name in ("charades_sta_train.txt", "charades_sta_test.txt"):
        (tmp_path / "charades" / name).write_text("A 1 2##b")
    folder = DataFolder.open(tmp_path / "charades")
    assert {name: path.stem for name, path in folder.splits.items()} == {
        "train": "charades_sta_train",
        "test": "charades_sta_test",
    }
    document = json.dumps({"v": {"duration": 9, "timestamps": [[1, 2]], "sentences": ["a"]}})
    for name in ("train", "val_1", "val_2"):
        touch(tmp_path, f"anet/{name}.json")
        (tmp_path / "anet" / f"{name}.json").write_text(document)
    splits = DataFolder.open(tmp_path / "anet").splits
    assert {name: path.stem for name, path in splits.items()} == {"train": "train", "val": "val_1", "test": "val_2"}
    write_rows(tmp_path / "anet" / "test.jsonl", GOOD)
    write_rows(tmp_path / "anet" / "train.jsonl", GOOD)
    splits = DataFolder.open(tmp_path / "anet").splits
    assert {name: path.name for name, path in splits.items()} == {
        "train": "train.jsonl",
        "val": "val_1.json",
        "test": "test.jsonl",
        "val_2": "val_2.json",
    }


def test_no_data_folder(tmp_path: Path) -> None:
    touch(tmp_path, "file")
    for path, message in (("none", "no such folder"), ("file", "not a folder"), (".", "no annotation file")):
        with pytest.raises(DataError, match=message):
            DataFolder.open(tmp_path / path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    write_rows(data / "train.jsonl", GOOD)
    touch(data, "videos/kitchen/a.mp4", "videos/kitchen/a.srt", "videos/x_1.0_2.5.mp4", "videos/.hidden.mp4", "top.mkv")
    return data


@pytest.mark.parametrize(
    "name", ["a", "a.mp4", "kitchen/a", "kitchen/a.mp4", "videos/kitchen/a.mp4", "./videos//kitchen/a.mp4", "a.avi"]
)
def test_names_of_one_video(folder: Path, name: str) -> None:
    data = DataFolder.open(folder)
    assert data.find_video(name) == folder / "videos/kitchen/a.mp4"
    assert data.video_key(name) == "kitchen/a"


def test_other_names(folder: Path) -> None:
    data = DataFolder.open(folder)
    assert data.find_video("x_1.0_2.5") == folder / "videos/x_1.0_2.5.mp4"
    assert data.find_video("top") == data.find_video("top.mkv") == folder / "top.mkv"
    for name in ("b", ".hidden", "bath/a", "x_1.0", "x" * 5000, "videos", "."):
        assert data.find_video(name) is None
    assert data.video_key("b.mp4") == data.video_key("videos/b.mp4") == "b"


def test_two_videos_of_one_name(folder: Path) -> None:
    touch(folder, "videos/bath/a.mp4", "videos/kitchen/b.mp4", "videos/kitchen/b.webm")
    write_rows(folder / "train.jsonl", GOOD, GOOD | {"video": "kitchen/a"}, GOOD | {"video": "b"})
    data = DataFolder.open(folder)
    found = data.split("train")
    assert [pair.video for pair in found.pairs] == ["kitchen/a"]
    assert [str(problem) for problem in found.problems] == [
        f"{folder / 'train.jsonl'}:1: 2 videos are called 'a': videos/bath/a.mp4, videos/kitchen/a.mp4",
        f"{folder / 'train.jsonl'}:3: 2 videos are called 'b': videos/kitchen/b.mp4, videos/kitchen/b.webm",
    ]
    assert data.video_key("kitchen/b.mp4") != data.video_key("kitchen/b.webm")


@pytest.mark.parametrize(
    "name", ["../secret.mp4", "/etc/passwd", "videos/../../secret.mp4", "C:\\a.mp4", "..\\a", "a\0b"]
)
def test_paths_that_leave_the_folder(folder: Path, name: str) -> None:
    touch(folder.parent, "secret.mp4")
    write_rows(folder / "train.jsonl", GOOD, GOOD | {"video": name})
    data = DataFolder.open(folder)
    assert data.find_video(name) is None
    assert data.find_features(name) is None
    for check_videos in (True, False):
        found = data.split("train", check_videos=check_videos)
        assert [problem.line for problem in found.problems] == [2]
        assert "leaves the data folder" in found.problems[0].reason or "null character" in found.problems[0].reason


def test_links_that_leave_the_folder(folder: Path) -> None:
    touch(folder.parent, "secret.mp4", "secret.npy")
    (folder / "features").mkdir()
    try:
        (folder / "videos" / "link.mp4").symlink_to(folder.parent / "secret.mp4")
        (folder / "videos" / "inner.mp4").symlink_to(folder / "top.mkv")
        (folder / "features" / "feat.npy").symlink_to(folder.parent / "secret.npy")
    except OSError:
        pytest.skip("links cannot be made here")
    write_rows(folder / "train.jsonl", *(GOOD | {"video": name} for name in ("inner", "link", "feat")))
    data = DataFolder.open(folder)
    assert data.find_video("link.mp4") is None
    assert data.find_features("feat") is None
    found = data.split("train")
    assert [problem.line for problem in found.problems] == [2, 3]
    assert "link that leaves the data folder" in found.problems[0].reason


def test_the_folder_of_videos_may_be_a_link(tmp_path: Path) -> None:
    touch(tmp_path, "disk/a.mp4")
    write_rows(tmp_path / "data" / "train.jsonl", GOOD)
    try:
        (tmp_path / "data" / "videos").symlink_to(tmp_path / "disk", target_is_directory=True)
    except OSError:
        pytest.skip("links cannot be made here")
    assert not DataFolder.open(tmp_path / "data").split("train").problems


def test_unknown_videos(folder: Path) -> None:
    write_rows(folder / "train.jsonl", GOOD, GOOD | {"video": "b"}, GOOD | {"video": "c"})
    touch(folder, "features/c.npy")
    data = DataFolder.open(folder)
    found = data.split("train")
    assert [pair.video for pair in found.pairs] == ["a", "c"]
    assert found.problems[0].reason == "unknown video 'b': neither a video nor features"
    assert not data.split("train", check_videos=False).problems
    with pytest.raises(DataError, match=r"train\.jsonl:2: unknown video"):
        data.split("train", strict=True)


def test_annotations_alone_are_not_checked_for_videos(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", GOOD)
    data = DataFolder.open(tmp_path)
    assert not data.has_media
    assert not data.split("train").problems


def test_features(folder: Path) -> None:
    touch(folder, "features/kitchen/a.npy", "features/b.npz", "features/b.safetensors", "features/x_1.0_2.5.npy")
    touch(folder.parent, "made/elsewhere/z.npy", "made/a.npz")
    data = DataFolder.open(folder)
    for name in ("a", "videos/kitchen/a.mp4", "kitchen/a"):
        assert data.find_features(name) == folder / "features/kitchen/a.npy"
    assert data.find_features("b.mp4") == folder / "features/b.safetensors"
    assert data.find_features("x_1.0_2.5") == folder / "features/x_1.0_2.5.npy"
    assert data.find_features("z") is None
    assert data.find_features("z", folder.parent / "made") == folder.parent / "made/elsewhere/z.npy"
    assert data.video_key("b.mp4") == data.video_key("videos/b.mp4") == "b"
    elsewhere = DataFolder.open(folder, features=folder.parent / "made")
    assert elsewhere.find_features("videos/kitchen/a.mp4") == folder.parent / "made/a.npz"


def test_features_of_one_stem_are_not_mixed_up(folder: Path) -> None:
    touch(folder, "videos/bath/a.mp4", "features/a.npy")
    data = DataFolder.open(folder)
    assert data.find_features("bath/a.mp4") is None
    assert data.find_features("kitchen/a.mp4") is None


def test_hdf5_features(folder: Path) -> None:
    h5py = pytest.importorskip("h5py")
    (folder / "features").mkdir()
    with h5py.File(folder / "features" / "all.h5", "w") as file:
        file["a"] = [[1.0]]
        file["q"] = [[1.0]]
    data = DataFolder.open(folder)
    assert data.find_features("videos/kitchen/a.mp4") == folder / "features/all.h5"
    assert data.video_key("videos/kitchen/a.mp4") == "a"
    assert data.find_features("q.mp4", folder / "features/all.h5") == folder / "features/all.h5"
    assert data.find_features("none") is None
    touch(folder, "features/broken.h5")
    with pytest.raises(FeatureError, match="broken"):
        DataFolder.open(folder).find_features("q")


def test_no_heavy_imports() -> None:
    code = (
        "import sys, mttsg_core.data.statistics, mttsg_core.evaluation.metrics, mttsg_core.data.predictions;"
        "print([name for name in ('torch', 'typer', 'rich', 'av', 'h5py') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          cwd=Path(__file__).parents[2])  # fmt: skip
    assert done.stdout.strip() == "[]"
