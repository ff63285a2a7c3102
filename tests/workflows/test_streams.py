"""Training, evaluation and answers with several streams of features."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mttsg_core import FeatureOptions, TrainOptions, check, evaluate, train
from mttsg_core.checkpoints.checkpoint import load_model
from mttsg_core.config import NetworkConfig
from mttsg_core.errors import ConfigError, DataError, FeatureError
from mttsg_core.modeling.backbone import StreamProjection
from mttsg_core.video.discovery import VideoFile
from mttsg_core.workflows.ground import VideoGrounded, iter_ground
from mttsg_core.workflows.loading import load_trained
from mttsg_core.workflows.options import EvaluateOptions
from tests.helpers.tiny import SIZES, write_rows

CPU = TrainOptions(device="cpu", offline=True)
CLIP, SLOW = 4, 3


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a data folder with two kinds of features, of different rates."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for name, clips, width in (("clip", 12, CLIP), ("slow", 11, SLOW)):
        (folder / "features" / name).mkdir(parents=True)
        for video in "abcd":
            vectors = random.normal(size=(clips, width)).astype(np.float16)
            np.save(folder / "features" / name / f"{video}.npy", vectors)
    rows = [{"video": video, "query": "a person sits", "start": 2, "end": 9, "duration": 24} for video in "abcd"]
    write_rows(folder / "train.jsonl", rows)
    write_rows(folder / "test.jsonl", rows)
    return folder


@pytest.fixture(scope="module")
def streams(data: Path) -> list[str]:
    return [f"{name}={data / 'features' / name}" for name in ("clip", "slow")]


@pytest.fixture(scope="module")
def model(data: Path, streams: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    chosen = FeatureOptions(text_encoder="hashed", features=streams)
    folder = tmp_path_factory.mktemp("model") / "m"
    train(data, folder, config={"epochs": 1}, network=SIZES, features=chosen, options=CPU)
    return folder


def answers(data: Path, model: Path, features: object) -> float:
    chosen = FeatureOptions(features=features)  # type: ignore[arg-type]
    return evaluate(data, model, features=chosen, options=EvaluateOptions(device="cpu")).main.missed


def test_the_model_records_its_streams_and_reads_them_again(data: Path, streams: list[str], model: Path) -> None:
    config = load_model(model).network.config
    assert (config.clip_dim, config.stream_widths) == (CLIP + SLOW, (CLIP, SLOW))
    described = json.loads((model / "config.json").read_text())
    assert described["features"]["streams"] == f"clip {CLIP} + slow {SLOW}"
    assert answers(data, model, streams) == 0
    record = json.loads((model / "run.json").read_text())
    assert record["features"]["bytes"] > sum(path.stat().st_size for path in (data / "features" / "clip").iterdir())
    assert record["repeat"].count("--features") == 2


def test_the_order_of_the_streams_and_each_of_them_count(data: Path, streams: list[str], model: Path) -> None:
    with pytest.raises(FeatureError, match=r"are expected, in this order: --features clip=DIR --features slow=DIR"):
        answers(data, model, streams[::-1])
    with pytest.raises(FeatureError, match=r"no slow features, but clip \(4\) and slow \(3\) are expected"):
        answers(data, model, data / "features" / "clip")


def test_a_data_folder_may_name_its_streams(data: Path, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for path in data.iterdir():
        (folder / path.name).symlink_to(path)
    with pytest.raises((DataError, FeatureError), match=r"clip|features"):
        answers(folder, model, None)
    (folder / "mttsg.toml").write_text('features = ["clip=features/clip", "slow=features/slow"]\n')
    assert answers(folder, model, None) == 0
    assert not check(folder).unusable_features
    (folder / "mttsg.toml").write_text('features = ["clip=../clip", "slow=features/slow"]\n')
    with pytest.raises(ConfigError, match=r"features 'clip=../clip'"):
        check(folder)


def test_a_video_without_one_stream_is_a_bad_row(data: Path, streams: list[str], tmp_path: Path) -> None:
    (tmp_path / "slow").mkdir()
    statistics = check(data, features=[streams[0], tmp_path / "slow"])
    assert {problem.reason.split(":")[0] for problem in statistics.problems} == {
        f"no slow features of '{video}'" for video in "abcd"
    }


def test_questions_about_a_video(data: Path, streams: list[str], model: Path) -> None:
    chosen = FeatureOptions(features=streams)
    grounder = load_trained(model, chosen, CPU)
    video = VideoFile(Path("a.mp4"), Path("a.mp4"))
    [answer] = [
        event
        for event in iter_ground(grounder, {video: ["a person sits"]}, features=streams)
        if isinstance(event, VideoGrounded)
    ]
    assert answer.timeline.duration == 24


def test_each_stream_is_projected_by_itself() -> None:
    projection = StreamProjection((2, 3), 8)
    x = torch.randn(1, 4, 10)
    louder = x.clone()
    louder[..., [2, 3, 4, 7, 8, 9]] *= 100  # the second stream, and its deviations
    first = projection.norms[0](projection.layers[0](x[..., [0, 1, 5, 6]]))
    rest = projection(x) - first
    assert torch.allclose(rest.std(dim=-1), (projection(louder) - first).std(dim=-1), atol=0.2)
    with pytest.raises(ConfigError, match=r"streams = '2.4': must be widths whose sum is 5"):
        NetworkConfig(clip_dim=5, word_dim=4, streams="2+4")
