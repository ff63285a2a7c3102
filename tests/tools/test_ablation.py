"""The ablation: no video is ever both trained on and tested."""

from __future__ import annotations

import json
from pathlib import Path

import ablation
import pytest

from mttsg_core.config import NetworkConfig
from mttsg_core.errors import ConfigError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """23 videos with one to three sentences each, and a folder of features."""
    folder = tmp_path / "data"
    (folder / "features").mkdir(parents=True)
    for split, first, last in (("train", 0, 20), ("val", 20, 23), ("test", 23, 25)):
        rows = [{"video": str(video), "query": f"q{i}"} for video in range(first, last) for i in range(1 + video % 3)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def rows(folder: Path, *splits: str) -> list[tuple[str, str]]:
    """Return video and sentence of every row, sorted."""
    return sorted((row["video"], row["query"]) for row in ablation.read_rows(folder, splits))


def videos(folder: Path, split: str) -> set[str]:
    """Return the videos of a split."""
    return {video for video, _ in rows(folder, split)}


def test_folds_share_no_video_and_each_video_is_left_out_once(data: Path, tmp_path: Path) -> None:
    left: list[str] = []
    for fold in range(4):
        folder = ablation.with_fold(data, tmp_path / str(fold), fold, 4)
        parts = [videos(folder, name) for name in ("train", "val", "left")]
        assert len(set.union(*parts)) == sum(map(len, parts)) == 23
        assert min(map(len, parts)) >= 5
        assert rows(folder, "train", "val", "left") == rows(data, "train", "val")
        assert rows(folder, "test") == rows(data, "test")
        assert (folder / "features").is_dir()
        left += parts[2]
    assert len(left) == len(set(left)) == 23


def test_the_other_training_videos_become_the_split_rest(data: Path, tmp_path: Path) -> None:
    folder = ablation.with_share(data, tmp_path / "few", 0.25)
    assert len(videos(folder, "train")) == 5
    assert not videos(folder, "train") & videos(folder, "rest")
    assert rows(folder, "train", "rest") == rows(data, "train")
    assert rows(folder, "val") == rows(data, "val")
    assert rows(data, "train") != rows(folder, "train")  # the original is unchanged


def test_the_plain_network_has_none_of_the_parts_but_the_offsets() -> None:
    variants = ablation.variants()
    assert variants[ablation.WHOLE] == ()
    assert set(variants[ablation.PLAIN]) == set(NetworkConfig.SWITCHES) - {"offsets"}
    assert len(variants) == len(NetworkConfig.SWITCHES) + 2


def test_runs_with_other_settings_are_refused(tmp_path: Path) -> None:
    ablation.require_same_settings(tmp_path, ["data", "0.25"])
    ablation.require_same_settings(tmp_path, ["data", "0.25"])
    with pytest.raises(ConfigError, match="other settings"):
        ablation.require_same_settings(tmp_path, ["data", "0.5"])


def test_one_run_has_no_spread() -> None:
    report = dict.fromkeys(ablation.FIGURES, 50.0)
    assert ablation.figures([report])["mIoU"] == "50.0"
    assert ablation.figures([report, report])["mIoU"] == "50.0 ± 0.0"


def test_a_setting_can_be_varied(tmp_path: Path) -> None:
    found = ablation.settings(["network.contrast_temperature=0.05,0.2", "training.temporal_crop=0"])
    assert [value for _, _, value in found.values()] == ["0.05", "0.2", "0"]
    [option, path] = ablation.config_options(tmp_path, *found["network.contrast_temperature=0.2"])
    assert option == "--config"
    assert Path(path).read_text(encoding="utf-8") == "[network]\ncontrast_temperature = 0.2\n"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("losses.contrast=1", "did you mean 'loss'"),
        ("loss.contrst=1", "did you mean 'contrast'"),
        ("loss.contrast=-1", "at least 0"),
        ("loss.contrast=much", "not a number"),
        ("loss.contrast", "not a number"),
    ],
)
def test_a_setting_that_cannot_be_varied_is_refused(given: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        ablation.settings([given])
