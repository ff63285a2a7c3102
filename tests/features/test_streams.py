"""Several kinds of features of one video, read as streams."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mttsg_core.data.file_index import open_index
from mttsg_core.encoders.base import Settings
from mttsg_core.errors import ConfigError, FeatureError
from mttsg_core.features.store import FeatureStore, VideoFeatures, check_fingerprint, write_features
from mttsg_core.features.streams import StreamFile, StreamReader, parse_streams, read_streams


def save(folder: Path, name: str, array: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.npy"
    np.save(path, array.astype(np.float32))
    return path


def two(tmp_path: Path, first: np.ndarray, second: np.ndarray) -> list[StreamFile]:
    return [
        StreamFile("clip", save(tmp_path / "clip", "a", first), "a"),
        StreamFile("slow", save(tmp_path / "slow", "a", second), "a"),
    ]


def test_streams_stand_side_by_side_in_equal_bins(tmp_path: Path) -> None:
    files = two(tmp_path, np.array([[1.0], [3.0]]), np.arange(8).reshape(4, 2))
    joined = read_streams(files)
    assert joined.clips.tolist() == [[1, 0, 1], [1, 2, 3], [3, 4, 5], [3, 6, 7]]
    assert joined.fingerprint["streams"] == "clip 1 + slow 2"
    assert joined.fingerprint["clip_dim"] == 3


def test_a_bin_that_two_clips_share_is_their_mean(tmp_path: Path) -> None:
    files = two(tmp_path, np.array([[0.0], [4.0]]), np.ones((3, 2)))
    assert read_streams(files).clips[:, 0].tolist() == [0, 2, 4]


def test_durations_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    files = []
    for name, duration in (("clip", 8.0), ("slow", 20.0)):
        path = tmp_path / f"{name}.safetensors"
        write_features(path, VideoFeatures(np.ones((4, 2), np.float32), None, duration, {"encoder": name}))
        files.append(StreamFile(name, path, "a"))
    with pytest.raises(FeatureError, match=r"slow.safetensors: of 20 s, but .*clip.safetensors is of 8 s"):
        read_streams(files)


def test_an_outlier_is_found_in_the_stream_of_small_values(tmp_path: Path) -> None:
    files = {}
    for number in range(4):
        clip = save(tmp_path / "clip", f"{number}", np.full((2, 1), 90.0 if number == 3 else 0.01))
        slow = save(tmp_path / "slow", f"{number}", np.full((2, 1), 100.0))
        files[f"{number}"] = (StreamFile("clip", clip, ""), StreamFile("slow", slow, ""))
    paths = {video: streams[0].path for video, streams in files.items()}
    store = FeatureStore(paths, dict.fromkeys(files, 4.0), read=StreamReader(files))
    assert list(store.unusable(files)) == ["3"]


def test_a_video_needs_every_stream(tmp_path: Path) -> None:
    two(tmp_path, np.ones((2, 1)), np.ones((2, 2)))
    save(tmp_path / "clip", "b", np.ones((2, 1)))
    index = open_index(parse_streams([tmp_path / "clip", tmp_path / "slow"]))
    found, partial = index.find(["a"]), index.find(["b"])
    assert found is not None and [file.name for file in found.streams] == ["clip", "slow"]
    assert sorted(found.files("a")) == ["a", "a slow"]
    assert partial is not None and partial.path is None and partial.reason.startswith("no slow features of 'b'")
    assert index.find(["c"]) is None


@pytest.mark.parametrize("places", [["x/clip", "y/clip"], ["a b", "c"], ["=x", "y"], []])
def test_streams_need_names_of_their_own(places: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"--features|no folder"):
        parse_streams(places)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"streams": "slow 2 + clip 1", "clip_dim": 3}, "in this order: --features clip=DIR --features slow=DIR"),
        ({"clip_dim": 1}, r"no slow features, but clip \(1\) and slow \(2\) are expected"),
        ({"clip_dim": 7}, "no clip and no slow features"),
        ({"streams": "clip 1 + slow 4", "clip_dim": 5}, "streams clip 1 . slow 4"),
    ],
)
def test_other_streams_than_those_of_the_model_are_named(given: dict[str, str | int], message: str) -> None:
    expected: Settings = {"encoder": "external", "clip_dim": 3, "streams": "clip 1 + slow 2"}
    with pytest.raises(FeatureError, match=message):
        check_fingerprint({"encoder": "external", **given}, expected, "features")
