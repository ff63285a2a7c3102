"""The published annotation files, if they are at hand in ../shared."""

from __future__ import annotations

from pathlib import Path

import pytest

from mttsg_core.data.folder import DataFolder
from mttsg_core.data.splits import read_pairs, write_pairs
from tests.data.reading import content_of

ANNOTATIONS = Path(__file__).parents[3] / "shared" / "annotations"
pytestmark = pytest.mark.skipif(not ANNOTATIONS.is_dir(), reason="../shared/annotations is not available")


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
def test_every_row_is_read_and_survives_conversion(name: str, rows: int, bad_lines: list[int], tmp_path: Path) -> None:
    split = read_pairs(ANNOTATIONS / name, require_moment=True)
    assert split.rows == rows
    assert [problem.line for problem in split.problems] == bad_lines
    assert all(pair.duration is not None for pair in split.pairs)
    write_pairs(split.pairs, tmp_path / "own.jsonl")
    own = read_pairs(tmp_path / "own.jsonl", require_moment=True, strict=True)
    assert [(pair.id, *content_of(pair)) for pair in own.pairs] == [(p.id, *content_of(p)) for p in split.pairs]


def test_published_names_are_split_names() -> None:
    names = {folder.name: list(DataFolder.open(folder).splits) for folder in ANNOTATIONS.iterdir()}
    assert names == {
        "activitynet_captions": ["train", "val", "test"],
        "tacos": ["train", "val", "test"],
        "charades_sta": ["train"],
        "qvhighlights": ["val"],
    }
    assert DataFolder.open(ANNOTATIONS / "activitynet_captions").split("val_2").file.name == "val_2.json"
