"""Features made elsewhere, declared to be those of an encoder, and questions about videos without features."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mttsg_core import FeatureOptions, TrainOptions, evaluate, train
from mttsg_core.checkpoints.checkpoint import load_model
from mttsg_core.errors import ConfigError, FeatureError, ModelError, MttsgError
from mttsg_core.features.declared import DeclaredFeatures
from mttsg_core.features.extraction import ExtractionSettings, encode_video
from mttsg_core.features.store import VideoFeatures
from mttsg_core.inference.grounder import Grounder
from mttsg_core.video.discovery import VideoFile
from mttsg_core.workflows.ground import VideoGrounded, iter_ground
from mttsg_core.workflows.options import EvaluateOptions
from tests.helpers.tiny import SIZES, write_rows
from tests.helpers.tiny_encoders import DIM, save_clip
from tests.helpers.video_files import write_video

BINS = 8
CPU = TrainOptions(device="cpu", offline=True, workers=1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("encoder") / "clip")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "a.mp4", range(0, 100, 5))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, clip: Path, video: Path) -> Path:
    """Make features of eight bins, each frame's vector of length 1, as another program would have made them."""
    folder = tmp_path_factory.mktemp("data")
    settings = ExtractionSettings(str(clip))
    made = encode_video(video, settings.build_encoder(), settings)
    unit = made.clips / np.linalg.norm(made.clips, axis=1, keepdims=True)
    binned = replace(made, clips=unit, regions=None).resample(BINS).clips
    (folder / "features").mkdir()
    random = np.random.default_rng(0)
    for name in "abcd":
        noise = 0 if name == "a" else random.normal(scale=0.02, size=binned.shape)
        np.save(folder / "features" / f"{name}.npy", (binned + noise).astype(np.float32))
    rows = [
        {"video": name, "query": "the red circle moves", "start": 0, "end": 2, "duration": made.duration}
        for name in "abcd"
    ]
    write_rows(folder / "train.jsonl", rows)
    write_rows(folder / "test.jsonl", rows)
    return folder


def trained(data: Path, out: Path, **features: object) -> Path:
    train(data, out, config={"epochs": 1}, network=SIZES, features=FeatureOptions(**features), options=CPU)  # type: ignore[arg-type]
    return out


@pytest.fixture(scope="module")
def model(data: Path, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(data, tmp_path_factory.mktemp("model") / "m", features_of=str(clip), bins=BINS)


def test_the_model_records_the_encoder_the_bins_and_the_length(model: Path, data: Path, clip: Path) -> None:
    loaded = load_model(model)
    assert loaded.declared is not None
    assert loaded.declared.encoder.startswith("clip#")
    assert (loaded.declared.bins, loaded.declared.unit_length) == (BINS, True)
    assert loaded.text_encoder.id == "clip"  # the tower of the declared encoder
    assert "--bins 8" in json.loads((model / "run.json").read_text())["repeat"]
    assert "clip#" in (model / "README.md").read_text()
    assert evaluate(data, model, options=EvaluateOptions(device="cpu")).main.missed == 0


def test_a_video_gives_the_features_that_it_was_trained_on(
    model: Path, data: Path, video: Path, tmp_path: Path
) -> None:
    grounder = Grounder.load(model, device="cpu", cache=tmp_path, offline=True)
    features = grounder.features_of(video)
    assert features.clips == pytest.approx(
        np.load(data / "features" / "a.npy"), abs=0.01
    )  # its precision may be reduced
    sentence = "the red circle moves"
    [asked] = [
        event
        for event in iter_ground(grounder, {VideoFile(video, Path(video.name)): [sentence]}, workers=1)
        if isinstance(event, VideoGrounded)
    ]
    assert asked.moments[0][0] == grounder.ground(video, sentence, top=1)[0]
    assert asked.timeline.clips == BINS


def test_a_longer_video_gets_more_bins() -> None:
    declared = DeclaredFeatures("x", bins=4)
    long = VideoFeatures(np.ones((60, 2), np.float32), None, 30.0, {"encoder": "x"})
    assert len(declared.adapt(long, {"encoder": "external"}, 10.0).clips) == 12
    assert len(declared.adapt(long, {"encoder": "external"}, 60.0).clips) == 4
    assert len(DeclaredFeatures("x").adapt(long, {"encoder": "external"}, 10.0).clips) == 60


def test_without_bins_the_clips_are_at_their_rate(data: Path, clip: Path, tmp_path: Path) -> None:
    declared = load_model(trained(data, tmp_path / "m", features_of=str(clip), text_encoder="hashed")).declared
    assert declared is not None
    assert (declared.bins, declared.fps) == (0, pytest.approx(BINS / 4, abs=0.1))


def test_features_that_the_encoder_cannot_have_made(data: Path, clip: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--bins 9: a video has features of 8 clips"):
        trained(data, tmp_path / "m", features_of=str(clip), bins=9)
    with pytest.raises(ConfigError, match="features_of declares"):
        FeatureOptions(bins=9)
    with pytest.raises(ConfigError, match=rf"its vectors have \d+ numbers, but the features {DIM}"):
        trained(data, tmp_path / "m", features_of="classic", bins=BINS)
    plain = Grounder.load(trained(data, tmp_path / "plain", text_encoder="hashed"), device="cpu")
    with pytest.raises(FeatureError, match="give those of the video with --features"):
        plain.features_of(tmp_path / "a.mp4")


@pytest.mark.parametrize("declared", [3, {"encoder": "some/model", "bins": 8}, {"bins": 8}, {"encoder": "x", "fps": 0}])
def test_a_damaged_or_exchangeable_declaration_is_refused(model: Path, tmp_path: Path, declared: object) -> None:
    for path in model.iterdir():
        if path.name != "config.json":
            (tmp_path / path.name).symlink_to(path)
    described = json.loads((model / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**described, "declared": declared}))
    with pytest.raises(ModelError, match=r"declared|not fixed") as raised:
        load_model(tmp_path, offline=True)
    assert isinstance(raised.value, MttsgError)
