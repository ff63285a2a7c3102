"""Lookup of the features of a data folder's videos, and the choice of those to train on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mttsg_core.data.feature_lookup import (
    choose_fingerprint,
    default_text_encoder,
    extraction_settings_for,
    find_fingerprint,
    resolve_splits,
)
from mttsg_core.data.folder import DataFolder
from mttsg_core.errors import DataError, FeatureError
from mttsg_core.features.extraction import ExtractionSettings, extract
from mttsg_core.features.store import EXTERNAL, FeatureCache
from tests.helpers.tiny import write_rows
from tests.helpers.video_files import write_video

ANY = {"encoder": EXTERNAL}
SETTINGS = ExtractionSettings()


def row(video: str, **more: object) -> dict[str, object]:
    return {"video": video, "query": "person opens door", "start": 0.5, "end": 1.0, **more}


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A data folder with two videos, one of them under two names, and good and bad rows."""
    for name in ("a", "b"):
        (tmp_path / "videos").mkdir(exist_ok=True)
        write_video(tmp_path / "videos" / f"{name}.mp4", range(50 if name == "a" else 60))
    rows = [row("a"), row("videos/a.mp4", id="x"), row("b.mp4"), row("absent"), row("a", start=3, end=2)]
    write_rows(tmp_path / "train.jsonl", rows)
    write_rows(tmp_path / "val.jsonl", [row("b")])
    return tmp_path


def test_videos_go_through_the_cache(videos: Path, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "cache")
    resolved = resolve_splits(DataFolder.open(videos), ["train", "val"], cache, SETTINGS.fingerprint())
    assert [pair.video for pair in resolved.splits["train"]] == ["a", "a", "b"]
    assert [pair.video for pair in resolved.splits["val"]] == ["b"]
    assert len(resolved.problems) == 2
    assert sorted(job.video.name for job in resolved.jobs) == ["a.mp4", "b.mp4"]
    assert resolved.dataset("train", 8).by_video() == {}
    list(extract(resolved.jobs[:1], SETTINGS))
    data = resolved.dataset("train", 8)
    assert len(data.pairs) == 3  # a pair without features is still a pair
    assert data.by_video() == {"a": [0, 1]}
    assert data.fingerprint == SETTINGS.fingerprint()


def test_features_in_the_folder_are_used_if_their_fingerprint_matches(videos: Path, tmp_path: Path) -> None:
    folder = DataFolder.open(videos)
    assert find_fingerprint(folder, ["train"]) is None
    target = videos / "features" / "a.safetensors"
    [job] = [job for job in _jobs(folder, tmp_path) if job.video.name == "a.mp4"]
    list(extract([type(job)(job.video, target)], SETTINGS))
    folder = DataFolder.open(videos)
    assert find_fingerprint(folder, ["train"]) == SETTINGS.fingerprint()
    same = resolve_splits(folder, ["train"], FeatureCache(tmp_path / "c"), SETTINGS.fingerprint())
    assert same.files["a"] == target
    assert [job.video.name for job in same.jobs] == ["b.mp4"]
    other = resolve_splits(folder, ["train"], FeatureCache(tmp_path / "c"), ExtractionSettings(fps=3).fingerprint())
    assert sorted(job.video.name for job in other.jobs) == ["a.mp4", "b.mp4"]


def _jobs(folder: DataFolder, tmp_path: Path) -> list:  # type: ignore[type-arg]
    return resolve_splits(folder, ["train"], FeatureCache(tmp_path / "c"), SETTINGS.fingerprint()).jobs


def test_external_features_take_durations_from_rows_or_videos(videos: Path, tmp_path: Path) -> None:
    external = tmp_path / "external"
    external.mkdir()
    for name in ("a", "b", "c"):
        np.save(external / f"{name}.npy", np.ones((4, 3), dtype=np.float32))
    write_rows(videos / "train.jsonl", [row("a"), row("b", duration=77.0), row("c", duration=9.0)])
    folder = DataFolder.open(videos, external)
    fingerprint = find_fingerprint(folder, ["train"])
    assert fingerprint is not None
    assert fingerprint["encoder"] == EXTERNAL
    assert extraction_settings_for(fingerprint) is None
    resolved = resolve_splits(folder, ["train"], FeatureCache(tmp_path / "c"), fingerprint)
    assert resolved.jobs == []
    store = resolved.dataset("train", 8).store
    assert store.load("a").duration == pytest.approx(2.0)  # of the video
    assert store.load("b").duration == pytest.approx(77.0)
    assert store.load("c").duration == pytest.approx(9.0)


def test_notes_on_annotation_files_are_logged(videos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_rows(videos / "train.jsonl", [row("a", note="x")])
    resolve_splits(DataFolder.open(videos), ["train"], FeatureCache(tmp_path / "c"), ANY)
    assert caplog.messages == [f"{videos / 'train.jsonl'}: not read: 'note'"]


def test_moments_past_the_stated_end_are_kept_for_evaluation(videos: Path, tmp_path: Path) -> None:
    write_rows(videos / "train.jsonl", [row("a", duration=2), row("a", start=8, end=9, duration=2)])
    cache = FeatureCache(tmp_path / "c")
    for keep, pairs in ((False, 1), (True, 2)):
        resolved = resolve_splits(DataFolder.open(videos), ["train"], cache, ANY, keep_without_video=keep)
        assert len(resolved.splits["train"]) == pairs
        assert len(resolved.problems) == 2 - pairs


def test_rows_of_missing_videos_are_kept_on_request(videos: Path, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "c")
    without, with_missing = (
        resolve_splits(DataFolder.open(videos), ["train"], cache, ANY, keep_without_video=keep)
        for keep in (False, True)
    )
    assert without.problems == with_missing.problems
    assert [pair.video for pair in without.splits["train"]] == ["a", "a", "b"]
    assert [pair.video for pair in with_missing.splits["train"]] == ["a", "a", "b", "absent"]


def test_training_uses_features_in_the_folder_unless_told_how_to_make_others(videos: Path) -> None:
    folder = DataFolder.open(videos)
    assert choose_fingerprint(folder, ["train"]) == SETTINGS.fingerprint()
    with pytest.raises(DataError, match="no features of any video"):
        choose_fingerprint(folder, ["train"], from_folder=True)
    (videos / "features").mkdir()
    np.save(videos / "features" / "a.npy", np.zeros((4, 8), np.float32))
    folder = DataFolder.open(videos)
    fingerprint = choose_fingerprint(folder, ["train"])
    assert fingerprint["encoder"] == EXTERNAL
    assert choose_fingerprint(folder, ["train"], fps=3) == ExtractionSettings(fps=3).fingerprint()
    assert choose_fingerprint(folder, ["train"], from_folder=True, fps=3) == fingerprint
    with pytest.raises(FeatureError, match="classic"):
        choose_fingerprint(folder, ["train"], from_folder=True, encoder="classic")


def test_the_default_text_encoder_depends_on_the_features_and_the_data(tmp_path: Path) -> None:
    assert default_text_encoder(tmp_path, SETTINGS.fingerprint()) == "hashed"
    assert default_text_encoder(tmp_path, {"encoder": "clip:some", "fps": 2.0}) == "clip"
    assert default_text_encoder(tmp_path, {"encoder": "clip:some"}) == "hashed"  # an unknown program made them
    (tmp_path / "glove.txt").touch()
    for features in (ANY, SETTINGS.fingerprint()):
        assert default_text_encoder(tmp_path, features) == f"glove:{tmp_path / 'glove.txt'}"
    (tmp_path / "glove.more.txt").touch()
    assert default_text_encoder(tmp_path, ANY) == "hashed"


def test_extraction_settings_follow_from_a_fingerprint() -> None:
    assert extraction_settings_for(SETTINGS.fingerprint()) == SETTINGS
    assert extraction_settings_for(ANY) is None


def test_a_split_without_a_good_row_or_that_does_not_exist(videos: Path, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "c")
    with pytest.raises(DataError, match="no split 'test'"):
        resolve_splits(DataFolder.open(videos), ["test"], cache, ANY)
    with pytest.raises(DataError, match=r"train\.jsonl:[45]: "):
        resolve_splits(DataFolder.open(videos), ["train"], cache, ANY, strict=True)
    write_rows(videos / "train.jsonl", [row("absent")])
    with pytest.raises(DataError, match="no usable row"):
        resolve_splits(DataFolder.open(videos), ["train"], cache, ANY)
