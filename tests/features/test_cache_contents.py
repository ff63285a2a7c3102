"""What is in the cache, what of it can go, and when nothing may be deleted."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mttsg_core.errors import BusyError
from mttsg_core.features.cache_contents import CacheContents, list_cache, prune_cache
from mttsg_core.features.extraction import ExtractionSettings, cached_features
from mttsg_core.features.store import FeatureCache
from mttsg_core.utils.locks import have_folder_alone, share_folder
from tests.conftest import ROOT
from tests.helpers.video_files import write_video


@pytest.fixture
def videos(tmp_path: Path) -> list[Path]:
    (tmp_path / "videos").mkdir()
    return [write_video(tmp_path / "videos" / f"{name}.mp4", range(25 + number)) for number, name in enumerate("abc")]


@pytest.fixture
def cache(tmp_path: Path, videos: list[Path]) -> FeatureCache:
    """Features of three videos, of one of them with two clip rates."""
    cache = FeatureCache(tmp_path / "cache")
    for video in videos:
        cached_features(video, cache, ExtractionSettings())
    cached_features(videos[0], cache, ExtractionSettings(fps=3.0))
    return cache


def entries(cache: FeatureCache) -> list[Path]:
    return sorted(cache.folder.rglob("*.safetensors"))


def test_an_empty_cache(tmp_path: Path) -> None:
    assert list_cache(FeatureCache(tmp_path / "none")) == CacheContents(tmp_path / "none", (), 0, 0)
    assert prune_cache(FeatureCache(tmp_path / "none")) == (0, 0)


def test_features_by_encoder_and_settings(cache: FeatureCache, videos: list[Path]) -> None:
    videos[1].unlink()
    contents = list_cache(cache)
    shown = sorted((group.encoder, group.fps, group.videos, group.stale) for group in contents.groups)
    assert shown == [("classic", 2.0, 3, 1), ("classic", 3.0, 1, 0)]
    assert contents.bytes == sum(path.stat().st_size for path in entries(cache))


def test_what_is_of_no_use_is_deleted(cache: FeatureCache, videos: list[Path]) -> None:
    videos[1].unlink()
    damaged = next(path for path in entries(cache) if path.parent.name == list_cache(cache).groups[0].name)
    (cache.folder / "partial" / "x-y").mkdir(parents=True)
    (cache.folder / "partial" / "x-y" / "0.safetensors").write_bytes(b"part")
    contents = list_cache(cache)
    assert (contents.unfinished, contents.unfinished_bytes) == (1, 4)
    deleted, freed = prune_cache(cache)
    assert deleted == 2
    assert freed > 4
    assert len(entries(cache)) == 3
    damaged.write_bytes(b"damaged")
    assert prune_cache(cache)[0] == 1
    assert not (cache.folder / "partial").exists()
    assert not list(cache.folder.glob(".*"))


def test_what_was_made_long_ago(cache: FeatureCache) -> None:
    old = entries(cache)[0]
    long_ago = time.time() - 10 * 24 * 3600
    os.utime(old, (long_ago, long_ago))
    assert prune_cache(cache, older_than=20) == (0, 0)
    assert prune_cache(cache, older_than=5)[0] == 1
    assert not old.exists()
    assert len(entries(cache)) == 3


def test_nothing_is_deleted_while_another_process_writes(cache: FeatureCache, videos: list[Path]) -> None:
    videos[1].unlink()
    program = f"""
import sys
from pathlib import Path
from mttsg_core.features.store import FeatureCache
with FeatureCache(Path({str(cache.folder)!r})).writing():
    print("writing", flush=True)
    sys.stdin.read()
"""
    writer = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None and writer.stdin is not None
    assert writer.stdout.readline() == "writing\n"
    try:
        with pytest.raises(BusyError, match=rf"another process is at work \(pid {writer.pid}\)"):
            prune_cache(cache)
        assert len(entries(cache)) == 4
    finally:
        writer.kill()
        writer.communicate()
    assert prune_cache(cache)[0] == 1  # a dead process does not count


def test_a_writer_waits_for_whoever_has_the_folder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mttsg_core.utils.locks._WAIT_SECONDS", 0.2)
    with have_folder_alone(tmp_path, "x: another process"):
        began = time.monotonic()
        with share_folder(tmp_path):
            assert time.monotonic() - began >= 0.2
    with share_folder(tmp_path), share_folder(tmp_path):
        assert len(list((tmp_path / ".writers").iterdir())) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_shared_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with share_folder(tmp_path / "file"):
        pass
