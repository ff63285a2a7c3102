"""Both kinds of index hold, forget and rank alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mttsg_core.search.index import IndexedVideo, VideoIndex
from mttsg_core.search.lance_index import LanceIndex
from mttsg_core.search.memory_index import MemoryIndex, video_scores
from mttsg_core.search.spaces import ClipVectors

DIM, WIDTHS = 8, (1, 3, 5)


def vectors(seed: int, clips: int = 6) -> ClipVectors:
    values = np.random.default_rng(seed).normal(size=(clips, DIM)).astype(np.float16).astype(np.float32)
    edges = np.arange(clips + 1, dtype=np.float32)
    return ClipVectors(values, np.stack([edges[:-1], edges[1:]], axis=1))


def video(name: str, identity: str, clips: int = 6) -> IndexedVideo:
    return IndexedVideo(Path("/videos", name), name, identity, 10, 20, 3.0, clips, f"group/{identity}.safetensors")


def filled(index: VideoIndex) -> VideoIndex:
    index.add({f"{seed:02x}": vectors(seed, 3 + seed) for seed in range(5)})
    index.put([video(f"{seed}.mp4", f"{seed:02x}", 3 + seed) for seed in range(5)])
    return index


@pytest.fixture(params=["memory", "lance"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> VideoIndex:
    return MemoryIndex(WIDTHS) if request.param == "memory" else LanceIndex(tmp_path, "abc", DIM, WIDTHS)


def test_it_holds_what_was_put_into_it(index: VideoIndex) -> None:
    filled(index)
    assert [found.name for found in index.videos()] == ["0.mp4", "1.mp4", "2.mp4", "3.mp4", "4.mp4"]
    assert index.videos()[1] == video("1.mp4", "01", 4)
    assert index.identities() == {"00", "01", "02", "03", "04"}
    index.put([video("1.mp4", "02", 5), video("\udcff.mp4", "03", 6)])
    assert [found.identity for found in index.videos()] == ["00", "02", "02", "03", "04", "03"]


def test_vectors_go_when_no_video_needs_them(index: VideoIndex) -> None:
    filled(index)
    index.put([video("moved.mp4", "01", 4)])
    index.remove([Path("/videos/1.mp4"), Path("/videos/3.mp4"), Path("/videos/unknown.mp4")])
    index.tidy()
    assert index.identities() == {"00", "01", "02", "04"}
    assert [found.name for found in index.videos()] == ["0.mp4", "2.mp4", "4.mp4", "moved.mp4"]


def test_both_rank_by_the_clips_that_fit_best(index: VideoIndex) -> None:
    filled(index)
    sentences = np.random.default_rng(9).normal(size=(3, 2, DIM)).astype(np.float32)
    ranked = index.rank(sentences, 5)
    for parts, found in zip(sentences, ranked, strict=True):
        scores = []
        for seed in range(5):
            clips = vectors(seed, 3 + seed).vectors
            means = [
                max((clips @ part)[max(0, clip - side) : clip + side + 1].mean() for clip in range(len(clips)))
                for side in (0, 1, 2)
                for part in parts
            ]
            scores.append(sum(means))
        assert found == [f"{seed:02x}" for seed in np.argsort(-np.array(scores))]
    assert index.rank(sentences, 2) == [found[:2] for found in ranked]
    assert [set(found) for found in index.rank(sentences, 4, among={"01", "03", "ff"})] == [{"01", "03"}] * 3


def test_an_empty_index_ranks_nothing(index: VideoIndex) -> None:
    assert index.rank(np.zeros((2, 1, DIM), dtype=np.float32), 3) == [[], []]


def test_a_large_index_finds_nearly_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = LanceIndex(tmp_path, "abc", DIM, WIDTHS)
    index.add({f"{seed:04x}": vectors(seed, 8) for seed in range(400)})
    index.put([video(f"{seed}.mp4", f"{seed:04x}", 8) for seed in range(400)])
    sentence = vectors(7).vectors[:1]  # (1, C)
    exact = index.nearest(sentence[0], 50)["identity"].to_pylist()
    monkeypatch.setattr("mttsg_core.search.lance_index._MEMORY", 0)
    index.tidy()
    found = index.nearest(sentence[0], 50)["identity"].to_pylist()
    assert len(set(exact) & set(found)) >= 0.9 * len(set(exact))
    [ranked] = index.rank(sentence[None], 10)
    assert ranked == list(dict.fromkeys(found))[:10]
    [among] = index.rank(sentence[None], 3, among={"0001", "0002"})
    assert set(among) == {"0001", "0002"}


def test_a_second_model_has_tables_of_its_own(tmp_path: Path) -> None:
    filled(LanceIndex(tmp_path, "abc", DIM, WIDTHS))
    assert LanceIndex(tmp_path, "def", DIM + 1, WIDTHS).videos() == []
    assert len(LanceIndex(tmp_path, "abc", DIM, WIDTHS).videos()) == 5


def test_vectors_of_an_unfinished_run_are_known(tmp_path: Path) -> None:
    index = filled(LanceIndex(tmp_path, "abc", DIM, WIDTHS))
    index.add({"0f": vectors(15)})  # and stopped before the video was put
    again = LanceIndex(tmp_path, "abc", DIM, WIDTHS)
    assert "0f" in again.identities()
    again.tidy()
    assert "0f" not in again.identities()


def test_videos_count_by_their_own_clips_only() -> None:
    products = np.array([[9.0, 0.0, 1.0, 1.0, 1.0]], dtype=np.float32)
    assert video_scores(products, np.array([0, 1, 5]), WIDTHS).tolist() == [[27.0, 3.0]]
