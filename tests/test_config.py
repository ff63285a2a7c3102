"""Settings: strict about names and types."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from mttsg_core.config import LossConfig, NetworkConfig, TrainingConfig, from_mapping, refuse_unknown, to_mapping
from mttsg_core.errors import ConfigError
from mttsg_core.modeling.calibration import Calibration


@pytest.mark.parametrize(
    "config",
    [
        NetworkConfig(clip_dim=4, word_dim=5, width=64, offsets=False),
        LossConfig(span=2),
        TrainingConfig(lr=1),
        Calibration(slope=0.5, shift=-1.5),
    ],
)
def test_to_mapping_and_back(config: Any) -> None:
    assert from_mapping(type(config), to_mapping(config)) == config


def test_settings_not_named_keep_their_defaults() -> None:
    assert from_mapping(TrainingConfig, {"epochs": 3}) == TrainingConfig(epochs=3)


@pytest.mark.parametrize(
    ("kind", "name", "near"),
    [(TrainingConfig, "epoch", "epochs"), (TrainingConfig, "LR", "lr"), (NetworkConfig, "widht", "width")],
)
def test_an_unknown_name_is_refused_with_the_nearest_right_one(kind: type, name: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}.*did you mean '{near}'"):
        from_mapping(kind, {name: 1})


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", "3"), ("epochs", 3.5), ("epochs", True), ("lr", "fast"), ("lr", False), ("seed", None)],
)
def test_a_value_of_another_type_is_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        from_mapping(TrainingConfig, {name: value})


def test_a_whole_number_will_do_for_a_real_one() -> None:
    assert from_mapping(TrainingConfig, {"lr": 1}).lr == 1.0
    assert isinstance(from_mapping(TrainingConfig, {"lr": 1}).lr, float)


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(ConfigError, match="word_dim"):
        from_mapping(NetworkConfig, {"clip_dim": 4})


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (TrainingConfig, "batch_videos", 0),
        (TrainingConfig, "lr", 0.0),
        (TrainingConfig, "queries_per_video", 0),
        (TrainingConfig, "epochs", -1),
        (TrainingConfig, "lr", -1.0),
        (TrainingConfig, "lr", float("nan")),
        (TrainingConfig, "warmup", 2.0),
        (TrainingConfig, "average", 1.5),
        (TrainingConfig, "seed", -1),
        (LossConfig, "span", -1.0),
        (LossConfig, "inside", float("inf")),
        (NetworkConfig, "width", 0),
        (NetworkConfig, "width", 7),
        (NetworkConfig, "dropout", 1.0),
        (TrainingConfig, "seed", 2**63),
        (NetworkConfig, "kernel", 2),
        (NetworkConfig, "region_heads", 0),
        (NetworkConfig, "max_clips", 0),
    ],
)
def test_a_value_that_cannot_work_is_refused(kind: type, name: str, value: float) -> None:
    needed = {"clip_dim": 4, "word_dim": 4} if kind is NetworkConfig else {}
    with pytest.raises(ConfigError, match=name):
        from_mapping(kind, {**needed, name: value})


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        TrainingConfig().epochs = 3  # type: ignore[misc]


def test_parts_are_switched_off_by_name() -> None:
    assert NetworkConfig.switched_off(["offsets", "offsets"]) == {"offsets": False}
    for name in NetworkConfig.SWITCHES:
        assert from_mapping(NetworkConfig, {"clip_dim": 1, "word_dim": 1, **NetworkConfig.switched_off([name])})
    with pytest.raises(ConfigError, match="did you mean 'offsets'"):
        NetworkConfig.switched_off(["offset"])


def test_the_first_unknown_name_is_the_one_reported() -> None:
    refuse_unknown(["a", "b"], ["a", "b", "c"], "thing")
    with pytest.raises(ConfigError, match="unknown thing: 'x'"):
        refuse_unknown(["a", "x", "y"], ["a"], "thing")
