"""Encoders that are not named: those of the data folder, then a pretrained one, then the built-in one."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from mttsg_core import FeatureOptions, TrainOptions, extract, train
from mttsg_core.encoders import defaults
from mttsg_core.features.store import read_features
from tests.helpers.tiny_encoders import save_clip
from tests.helpers.video_files import write_video

TINY = {"width": 16, "region_width": 8, "region_heads": 1, "local_layers": 1, "head_width": 8, "proposal_width": 8}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "videos").mkdir(parents=True)
    write_video(folder / "videos" / "a.mp4", range(60))
    row = {"video": "a", "query": "the red circle moves left", "start": 0.2, "end": 1.1}
    (folder / "train.jsonl").write_text(json.dumps(row) + "\n")
    return folder


def trained(data: Path, out: Path, **features: object) -> dict[str, object]:
    train(
        data, out, config={"epochs": 1}, network=TINY,
        features=FeatureOptions(**features), options=TrainOptions(cache=out.parent / "cache", workers=1),  # type: ignore[arg-type]
    )  # fmt: skip
    described: dict[str, object] = json.loads((out / "config.json").read_text())
    return described


def about_encoders(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The beginnings of the warnings about encoders; there is another one about the single sentence."""
    messages = [record.getMessage().split(" (")[0] for record in caplog.records]
    return [message for message in messages if "encoder" in message]


def test_without_a_network_the_built_in_ones_are_used_and_it_is_said(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "mttsg"):
        described = trained(data, tmp_path / "model")
    assert described["text_encoder"] == "hashed"
    assert about_encoders(caplog) == ["encoder classic", "text encoder hashed"]


def test_the_defaults_of_the_folder_need_no_warning_and_are_overridden(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "_why_missing", pytest.fail)
    (data / "mttsg.toml").write_text('encoder = "classic"\ntext_encoder = "hashed"\nfps = 3\n[training]\nlr = 0.001\n')
    with caplog.at_level(logging.WARNING, "mttsg"):
        described = trained(data, tmp_path / "model")
        extract(data / "videos", tmp_path / "features")
    assert about_encoders(caplog) == []
    assert described["features"]["fps"] == 3  # type: ignore[index]
    assert described["training"]["lr"] == 0.001  # type: ignore[index]
    assert read_features(tmp_path / "features" / "a.safetensors").fingerprint["fps"] == 3
    other = trained(data, tmp_path / "other", fps=2.0)
    assert other["features"]["fps"] == 2  # type: ignore[index]


def test_a_pretrained_encoder_is_taken_if_it_can_be_had(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = save_clip(tmp_path / "clip")
    monkeypatch.setattr("mttsg_core.data.feature_lookup.default_video_encoder", lambda *, offline: str(clip))
    monkeypatch.setattr("mttsg_core.workflows.extract.default_video_encoder", lambda *, offline: str(clip))
    described = trained(data, tmp_path / "model")
    assert str(described["features"]["encoder"]).startswith("clip#")  # type: ignore[index]
    assert described["text_encoder"] == "clip"
    extract(data / "videos", tmp_path / "features")
    assert str(read_features(tmp_path / "features" / "a.safetensors").fingerprint["encoder"]).startswith("clip#")
