"""TensorBoard events, read back by TensorBoard itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mttsg_core.errors import ConfigError
from mttsg_core.training.events import EpochDone
from mttsg_core.training.tensorboard import TensorBoardLog


def _epoch(number: int) -> EpochDone:
    return EpochDone(
        epoch=number,
        losses={"proposal": 4.0 / number, "phi": 0.4, "dropped": 0.05},
        metrics={"R@1,IoU=0.5": 10.0 * number},
        best=True,
        lr=1e-3,
        gradient_norm=2.5,
        seconds=1.5,
    )


def test_every_value_of_every_epoch_is_read_back(tmp_path: Path) -> None:
    with TensorBoardLog(tmp_path) as log:
        for number in (1, 2, 3):
            log.write(_epoch(number))
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(point.step, point.value) for point in events.Scalars("training/proposal")] == [
        (1, 4.0),
        (2, 2.0),
        (3, pytest.approx(4 / 3)),
    ]
    assert [point.value for point in events.Scalars("validation/R@1,IoU=0.5")] == [10, 20, 30]
    names = {"proposal", "phi", "dropped", "lr", "gradient_norm", "seconds"}
    assert set(events.Tags()["scalars"]) == {f"training/{name}" for name in names} | {"validation/R@1,IoU=0.5"}


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match=r"mttsg\[tensorboard\]"):
        TensorBoardLog(tmp_path)
