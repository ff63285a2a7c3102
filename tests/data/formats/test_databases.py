"""Databases of all splits of a data set: ActionFormer and SnAG."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mttsg_core.data.folder import DataFolder
from tests.data.reading import content_of, read_text, reasons, write_rows


def video(subset: str | None, *sentences: str, **more: object) -> dict[str, object]:
    annotations = [{"segment": [1, 2], "sentence": sentence, "label_id": 0} for sentence in sentences]
    return {**({} if subset is None else {"subset": subset}), "duration": 9.5, "annotations": annotations, **more}


def database(**videos: object) -> str:
    return json.dumps({"version": "1.0", "taxonomy": [], "database": videos})


def test_actionformer(tmp_path: Path) -> None:
    timed_by_frames = {"subset": "train", "fps": 10, "num_frames": 80, "annotations": video(None, "z")["annotations"]}
    split = read_text(
        tmp_path, "a.json", database(v=video("train", "x", "y"), w=3, u=timed_by_frames, t={"subset": "x"})
    )
    assert [content_of(pair) for pair in split.pairs] == [
        ("v", "x", ((1.0, 2.0),), 9.5),
        ("v", "y", ((1.0, 2.0),), 9.5),
        ("u", "z", ((1.0, 2.0),), 8.0),
    ]
    assert reasons(split) == [(3, "video 'w': not a JSON object")]


def test_snag(tmp_path: Path) -> None:
    named = {"segment": [4, 6], "sentence": "z", "sentence_id": "v_0001"}
    document = {"train": {"v": video(None, "x")}, "test": {"w": {"fps": 2, "num_frames": 20, "annotations": [named]}}}
    split = read_text(tmp_path, "ego4d.json", json.dumps(document))
    assert [(pair.id, *content_of(pair)) for pair in split.pairs] == [
        ("ego4d-1", "v", "x", ((1.0, 2.0),), 9.5),
        ("v_0001", "w", "z", ((4.0, 6.0),), 10.0),
    ]


@pytest.mark.parametrize("name", ["anet.json", "thumos.json"])
def test_a_database_has_several_splits(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(
        database(a=video("training", "x"), b=video("validation", "y"), c=video("testing", "z"))
    )
    folder = DataFolder.open(tmp_path)
    assert list(folder.splits) == ["train", "val", "test"]
    queries = {split: [pair.query for pair in folder.split(split).pairs] for split in folder.splits}
    assert queries == {"train": ["x"], "val": ["y"], "test": ["z"]}


def test_a_file_of_its_own_comes_before_a_part_of_a_database(tmp_path: Path) -> None:
    (tmp_path / "anet.json").write_text(database(a=video("train", "x"), b=video("val", "y")))
    write_rows(tmp_path / "val.jsonl", {"video": "c", "query": "z", "start": 1, "end": 2})
    folder = DataFolder.open(tmp_path)
    assert {name: path.name for name, path in folder.splits.items()} == {"train": "anet.json", "val": "val.jsonl"}


def test_a_database_with_the_name_of_a_split_holds_that_split(tmp_path: Path) -> None:
    content = database(a=video("train", "x"), b=video("test", "y"))
    (tmp_path / "train.json").write_text(content)
    (tmp_path / "val.json").write_text(database(a=video("validation", "x"), b=video("validation", "y")))
    folder = DataFolder.open(tmp_path)
    assert [pair.query for pair in folder.split("train").pairs] == ["x"]
    assert [pair.query for pair in folder.split("val").pairs] == ["x", "y"]


def test_rows_that_name_other_splits_are_one_file(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text(database(a=video("train", "x"), b=video("fold 3", "y")))
    assert len(DataFolder.open(tmp_path).split("train").pairs) == 2


def test_a_table_may_have_a_column_of_splits(tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text("video,query,start,end,split\na,x,1,2,train\nb,y,1,2,val\nc,z,1,2,train\n")
    folder = DataFolder.open(tmp_path)
    assert list(folder.splits) == ["train", "val"]
    assert [pair.query for pair in folder.split("train").pairs] == ["x", "z"]
