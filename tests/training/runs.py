"""Short trainings on small features, for the tests of training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from mttsg_core.config import LossConfig, TrainingConfig
from mttsg_core.data.dataset import Dataset
from mttsg_core.encoders import build_text_encoder
from mttsg_core.training.events import EpochDone, TrainingEvent
from mttsg_core.training.state_file import read_state
from mttsg_core.training.trainer import LOG, RunSettings, train
from tests.helpers.tiny import SIZES

CONFIG = TrainingConfig(epochs=4, batch_videos=3, lr=3e-3, average=0.5, patience=9.0, seed=7)
LOSS = LossConfig(mining=0.3)  # with the memory of moments
HASHED = build_text_encoder("hashed")


def fit(data: Dataset, folder: Path, validation: Dataset | None = None, **options: Any) -> list[TrainingEvent]:
    return list(train(data, validation, folder, HASHED, *arguments_of(options, folder), **options))


def arguments_of(options: dict[str, Any], folder: Path) -> list[RunSettings]:
    """Take the settings out of the options of a test, over the usual ones; `resume=True` is the state in the folder."""
    if options.get("resume"):
        options["resume"] = read_state(folder)
    settings = [options.pop(name, usual) for name, usual in (("config", CONFIG), ("loss", LOSS), ("network", SIZES))]
    return [RunSettings(*settings)]


def fit_until(
    data: Dataset, folder: Path, epoch: int, validation: Dataset | None = None, **options: Any
) -> list[TrainingEvent]:
    """Train and stop after an epoch; 0 stops before the first."""
    events: list[TrainingEvent] = []
    for event in train(data, validation, folder, HASHED, *arguments_of(options, folder), **options):
        events.append(event)
        if getattr(event, "epoch", None) == epoch:
            break
    return events


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def epochs_of(events: list[TrainingEvent]) -> list[EpochDone]:
    return [event for event in events if isinstance(event, EpochDone)]


def read_log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


def read_files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
