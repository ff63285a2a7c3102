"""Settings of a training: those that are given, over those of the stopped run that it resumes, over the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from mttsg_core.checkpoints.checkpoint import load_text_encoder, read_description
from mttsg_core.checkpoints.files import PROVENANCE, read_json_if_any
from mttsg_core.config import LossConfig, NetworkConfig, TrainingConfig, from_mapping, to_mapping, upgrade_settings
from mttsg_core.encoders import TextEncoder
from mttsg_core.encoders.base import Settings
from mttsg_core.errors import ConfigError
from mttsg_core.training.state_file import SavedState, read_state
from mttsg_core.training.trainer import RunSettings

Given: TypeAlias = TrainingConfig | LossConfig | NetworkConfig | Mapping[str, Any] | None


@dataclass(frozen=True)
class StoppedRun:
    """A run to resume: its folder, the description that it was started with, and its state."""

    folder: Path
    description: Mapping[str, Any]
    state: SavedState

    @classmethod
    def read(cls, folder: Path) -> StoppedRun:
        """Read the run in a folder.

        Raises:
            ModelError: if there is nothing to resume.
        """
        state = read_state(folder)
        return cls(folder, read_description(folder), state)

    @property
    def features(self) -> Settings:
        """The fingerprint of its features."""
        fingerprint: Settings = self.description["features"]
        return fingerprint

    def settings(self, table: str) -> dict[str, Any]:
        """Return its settings of one table: `training`, `loss` or `network`."""
        training = dict(self.description["training"])
        loss = training.pop("loss", {})
        values = {"training": training, "loss": loss, "network": self.description["network"]}[table]
        return {name: value for name, value in values.items() if name not in NetworkConfig.OF_FEATURES}

    def require_joint(self, joint: bool | None) -> None:
        """Raise ConfigError if --joint or --no-joint is given, and the run was started with the other one."""
        started = self.description["network"].get("joint") is True
        if joint not in (None, started):
            option, kind = ("--joint", "without") if joint else ("--no-joint", "with")
            raise ConfigError(f"{option}: the run was started {kind} a shared space")

    @property
    def repeat(self) -> str | None:
        """The command that trains it again, as far as that was recorded."""
        command = read_json_if_any(self.folder / PROVENANCE).get("repeat")
        return command if isinstance(command, str) else None

    def text_encoder(self, *, device: str, offline: bool) -> TextEncoder:
        """Load its text encoder. Raises ModelError as `checkpoint.load_text_encoder`."""
        return load_text_encoder(self.folder, self.description, device=device, offline=offline)


@dataclass(frozen=True)
class TrainingSettings(RunSettings):
    """Merged settings of a training.

    Attributes:
        notes: on settings that were given by the name of an earlier version.
    """

    notes: tuple[str, ...] = ()

    @classmethod
    def merge(
        cls,
        config: Given,
        network: Given,
        loss: Given,
        stopped: StoppedRun | None = None,
        defaults: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> TrainingSettings:
        """Merge given settings with those of a stopped run, or with the defaults of a data folder, by table.

        Raises:
            ConfigError: for an unknown name, or a value of another type or out of range.
        """
        tables: dict[str, dict[str, Any]] = {}
        notes: list[str] = []
        for table, given in (("training", config), ("network", network), ("loss", loss)):
            values, renamed = upgrade_settings(table, _as_mapping(given))
            below = stopped.settings(table) if stopped is not None else (defaults or {}).get(table, {})
            own, _ = upgrade_settings(table, below)
            tables[table] = {**own, **values}
            notes += renamed
        from_mapping(NetworkConfig, {**tables["network"], "clip_dim": 1, "word_dim": 1})
        return cls(
            from_mapping(TrainingConfig, tables["training"]),
            from_mapping(LossConfig, tables["loss"]),
            tables["network"],
            tuple(notes),
        )

    @property
    def max_clips(self) -> int:
        """The number of clips that longer videos are averaged into."""
        return int(self.network.get("max_clips", NetworkConfig.max_clips))


def _as_mapping(given: Given) -> dict[str, Any]:
    if given is None:
        return {}
    values = dict(given) if isinstance(given, Mapping) else to_mapping(given)
    return {name: value for name, value in values.items() if name not in NetworkConfig.OF_FEATURES}
