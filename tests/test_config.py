"""Settings: strict about names, types and ranges, and described where they are declared."""

from __future__ import annotations

import math
from dataclasses import MISSING, FrozenInstanceError, fields
from typing import Any

import pytest

from mttsg_core.config import (
    Form,
    LossConfig,
    NetworkConfig,
    OneOf,
    Range,
    TrainingConfig,
    from_mapping,
    refuse_unknown,
    to_mapping,
    upgrade_settings,
)
from mttsg_core.config.compat import RENAMED
from mttsg_core.errors import ConfigError
from mttsg_core.modeling.calibration import Calibration

KINDS = {"network": NetworkConfig, "loss": LossConfig, "training": TrainingConfig}
REQUIRED = {"clip_dim": 4, "word_dim": 4}


def needed_by(kind: type) -> dict[str, int]:
    return REQUIRED if kind is NetworkConfig else {}


@pytest.mark.parametrize(
    "config",
    [
        NetworkConfig(clip_dim=4, word_dim=5, width=64, offsets=False),
        LossConfig(proposal=2),
        TrainingConfig(lr=1),
        Calibration(slope=0.5, shift=-1.5),
    ],
)
def test_to_mapping_and_from_mapping_are_inverse(config: Any) -> None:
    assert from_mapping(type(config), to_mapping(config)) == config


def test_settings_that_are_not_named_keep_their_defaults() -> None:
    assert from_mapping(TrainingConfig, {"epochs": 3}) == TrainingConfig(epochs=3)


@pytest.mark.parametrize(
    ("kind", "name", "near"),
    [(TrainingConfig, "epoch", "epochs"), (TrainingConfig, "LR", "lr"), (NetworkConfig, "widht", "width")],
)
def test_an_unknown_name_is_refused_with_the_nearest_known_one(kind: type, name: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}.*did you mean '{near}'"):
        from_mapping(kind, {name: 1})


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", "3"), ("epochs", 3.5), ("epochs", True), ("lr", "fast"), ("lr", False), ("seed", None)],
)
def test_a_value_of_another_type_is_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{name} = {value!r}: must be a (whole )?number"):
        from_mapping(TrainingConfig, {name: value})


def test_a_switch_must_be_a_boolean() -> None:
    with pytest.raises(ConfigError, match="offsets = 1: must be true or false"):
        from_mapping(NetworkConfig, {**REQUIRED, "offsets": 1})


def test_a_whole_number_is_accepted_as_a_real_one() -> None:
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
        (TrainingConfig, "seed", 2**63),
        (TrainingConfig, "temporal_crop", 1.1),
        (TrainingConfig, "concat_max_share", 0.0),
        (TrainingConfig, "sorted_batches", 0),
        (LossConfig, "proposal", -1.0),
        (LossConfig, "foreground", float("inf")),
        (LossConfig, "boundary_spread", 0.0),
        (LossConfig, "phi_momentum", 1.0),
        (LossConfig, "clip_negatives", 0),
        (NetworkConfig, "width", 0),
        (NetworkConfig, "width", 7),
        (NetworkConfig, "head_width", 9),
        (NetworkConfig, "dropout", 1.0),
        (NetworkConfig, "kernel", 2),
        (NetworkConfig, "region_heads", 0),
        (NetworkConfig, "max_clips", 0),
        (NetworkConfig, "contrast_temperature", 0.0),
        (NetworkConfig, "prior_trust", float("nan")),
        (LossConfig, "phi_neutral_odds", 0.0),
        (LossConfig, "phi_same_odds", -1.0),
        (LossConfig, "memory_slots", 0),
        (LossConfig, "memory_momentum", 1.0),
        (NetworkConfig, "length_prior_power", float("nan")),
        (NetworkConfig, "phrase_words", 0),
        (NetworkConfig, "phrase_words", 101),
        (NetworkConfig, "local_layers", 101),
        (NetworkConfig, "max_clips", 100_001),
        (NetworkConfig, "considered_proposals", 1025),
    ],
)
def test_a_value_out_of_range_is_refused(kind: type, name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name} = {value!r}: must be "):
        from_mapping(kind, {**needed_by(kind), name: value})


@pytest.mark.parametrize("kind", KINDS.values())
def test_every_setting_has_a_meaning_and_a_range_that_holds_its_default(kind: type) -> None:
    for setting in fields(kind):
        meaning, limits = setting.metadata["meaning"], setting.metadata["limits"]
        assert meaning and "\n" not in meaning, setting.name
        assert isinstance(limits, OneOf | Form if setting.type == "str" else Range), setting.name
        assert str(limits), setting.name
        if setting.default is MISSING:
            assert setting.name in REQUIRED
        elif isinstance(limits, OneOf):
            assert setting.default in limits.names
        elif not isinstance(setting.default, bool):
            assert limits.violation(setting.default) is None, setting.name
    assert from_mapping(kind, to_mapping(kind(**needed_by(kind)))) == kind(**needed_by(kind))


@pytest.mark.parametrize("kind", KINDS.values())
def test_every_bound_of_every_setting_is_enforced(kind: type) -> None:
    """Just outside a bound is refused; a bound that is included is accepted."""
    for setting in fields(kind):
        limits: Range = setting.metadata["limits"]
        if setting.type in ("bool", "str"):
            continue
        step: float = 1 if setting.type == "int" else 1e-3
        outside = [
            *([] if limits.at_least is None else [limits.at_least - step]),
            *([] if limits.at_most is None else [limits.at_most + step]),
            *([] if limits.above is None else [limits.above]),
            *([] if limits.below is None else [limits.below]),
        ]
        for value in outside:
            number = int(value) if setting.type == "int" else float(value)
            with pytest.raises(ConfigError, match=f"^{setting.name} = "):
                from_mapping(kind, {**needed_by(kind), setting.name: number})
        for bound in (limits.at_least, limits.at_most):
            if bound is not None and limits.violation(bound) is None:
                number = int(bound) if setting.type == "int" else float(bound)
                assert getattr(from_mapping(kind, {**needed_by(kind), setting.name: number}), setting.name) == bound


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        (Range(), "any number"),
        (Range(at_least=0), ">= 0"),
        (Range(at_least=0, below=1), ">= 0, < 1"),
        (Range(above=0), "> 0"),
        (Range(at_least=-1, at_most=1), ">= -1, <= 1"),
        (Range(at_least=2, parity="even"), ">= 2, even"),
        (Range(at_least=0, at_most=2**63 - 1), ">= 0, <= 9223372036854775807"),
    ],
)
def test_a_range_as_text(limits: Range, text: str) -> None:
    assert str(limits) == text


@pytest.mark.parametrize(
    ("limits", "value", "violation"),
    [
        (Range(), math.nan, "a finite number"),
        (Range(), -math.inf, "a finite number"),
        (Range(), -1e9, None),
        (Range(), 10**400, "a finite number"),
        (Range(at_least=1), -(10**400), "a finite number"),
        (Range(at_least=0), -0.5, "at least 0"),
        (Range(above=0), 0, "more than 0"),
        (Range(at_most=1), 1.5, "at most 1"),
        (Range(below=1), 1, "less than 1"),
        (Range(parity="even"), 3, "even"),
        (Range(parity="odd"), 4, "odd"),
        (Range(parity="odd"), 3, None),
        (Range(at_least=0, at_most=2**63 - 1), 2**63, "at most 9223372036854775807"),
    ],
)
def test_a_violation_says_what_the_value_must_be(limits: Range, value: float, violation: str | None) -> None:
    assert limits.violation(value) == violation


@pytest.mark.parametrize("values", [[1], "clip_dim", 3, None])
def test_settings_that_are_not_a_mapping_are_refused(values: Any) -> None:
    with pytest.raises(ConfigError, match=r"the settings in \[network\] are not an object"):
        from_mapping(NetworkConfig, values)


@pytest.mark.parametrize(
    "values", [{"lr": 10**400}, {"epochs": 10**400}, {"lr": "x" * 10**6}, {"x" * 10**6: 1}, {"lr": [1] * 10**6}]
)
def test_a_message_on_a_huge_value_is_short(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping(TrainingConfig, values)
    assert len(str(caught.value)) < 200


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        TrainingConfig().epochs = 3  # type: ignore[misc]


def test_parts_are_switched_off_by_name() -> None:
    assert NetworkConfig.switched_off(["offsets", "offsets"]) == {"offsets": False}
    for name in NetworkConfig.SWITCHES:
        assert from_mapping(NetworkConfig, {"clip_dim": 1, "word_dim": 1, **NetworkConfig.switched_off([name])})
    with pytest.raises(ConfigError, match="did you mean 'offsets'"):
        NetworkConfig.switched_off(["offset"])
    switches = {setting.name for setting in fields(NetworkConfig) if setting.type == "bool"}
    assert set(NetworkConfig.SWITCHES) == switches - {"joint"}, "the features decide that one"
    with pytest.raises(ConfigError, match="unknown part: 'joint'"):
        NetworkConfig.switched_off(["joint"])


def test_the_first_unknown_name_is_reported() -> None:
    refuse_unknown(["a", "b"], ["a", "b", "c"], "thing")
    with pytest.raises(ConfigError, match="unknown thing: 'x'"):
        refuse_unknown(["a", "x", "y"], ["a"], "thing")
    with pytest.raises(ConfigError, match=r"^unknown thing: 'x'$"):
        refuse_unknown(["x"], [], "thing")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("learning_rate", "; did you mean 'lr'?"),
        ("batch-size", "; did you mean 'batch_videos'?"),
        ("k", "; did you mean 'top'?"),
        ("LR", "; did you mean 'lr'?"),
        ("topp", "; did you mean 'top'?"),
        ("xml", "; one of: lr, batch_videos, top"),
    ],
)
def test_only_what_is_near_or_means_the_same_is_suggested(name: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_unknown([name], ["lr", "batch_videos", "top"], "setting")
    assert str(caught.value) == f"unknown setting: {name!r}{hint}"
    with pytest.raises(ConfigError) as caught:
        refuse_unknown(["xml"], map(str, range(50)), "setting")
    assert str(caught.value) == "unknown setting: 'xml'"


RENAMES = [(table, old, new) for table, names in RENAMED.items() for old, new in names.items()]


def test_the_old_names_of_settings() -> None:
    assert RENAMES == [
        ("network", "span_width", "proposal_width"),
        ("loss", "span", "proposal"),
        ("loss", "inside", "foreground"),
        ("training", "cut", "temporal_crop"),
        ("training", "join", "temporal_concat"),
        ("training", "erase", "remove_moment"),
    ]


@pytest.mark.parametrize(("table", "old", "new"), RENAMES)
def test_an_old_name_is_read_with_a_note(table: str, old: str, new: str) -> None:
    kind = KINDS[table]
    assert new in {setting.name for setting in fields(kind)}
    with pytest.raises(ConfigError, match=rf"unknown setting in \[{table}\]: '{old}'; did you mean '{new}'"):
        from_mapping(kind, {**needed_by(kind), old: 1})
    values = {old: 1, **needed_by(kind)}
    upgraded, notes = upgrade_settings(table, values)
    assert upgraded == {new: 1, **needed_by(kind)}
    assert notes == [f"{old} is now {new}"]
    assert getattr(from_mapping(kind, upgraded), new) == 1
    assert old in values, "the settings given are not changed"


@pytest.mark.parametrize("order", [1, -1])
def test_of_an_old_and_a_present_name_the_present_one_counts(order: int) -> None:
    values = dict([("cut", 0.1), ("temporal_crop", 0.2)][::order])
    upgraded, notes = upgrade_settings("training", values)
    assert upgraded == {"temporal_crop": 0.2}
    assert notes == ["cut is now temporal_crop"]


@pytest.mark.parametrize("table", ["network", "loss", "training", "another"])
def test_present_names_are_left_as_they_are(table: str) -> None:
    assert upgrade_settings(table, {"lr": 1, "unknown": 2}) == ({"lr": 1, "unknown": 2}, [])


def test_names_of_settings_are_unique_or_mean_the_same_part() -> None:
    """Losses and switches of a module share its name; nothing else is set twice."""
    names = [setting.name for kind in KINDS.values() for setting in fields(kind)]
    twice = {name for name in names if names.count(name) > 1}
    assert twice == {"contrast", "mining", "objects", "activities", "presence"}


@pytest.mark.parametrize(("videos", "epochs"), [(12, 1120), (120, 112), (12 * 1120, 16)])
def test_the_epochs_by_default_make_a_number_of_steps(videos: int, epochs: int) -> None:
    assert TrainingConfig().epochs_for(videos) == epochs
    assert TrainingConfig(epochs=3).epochs_for(videos) == 3


def test_patience_is_a_share_of_the_epochs_but_at_least_four() -> None:
    assert [TrainingConfig(patience=0.4).patience_for(epochs) for epochs in (1, 10, 100)] == [4, 4, 40]
