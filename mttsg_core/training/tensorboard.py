"""The course of a training as TensorBoard events (optional extra `tensorboard`)."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from mttsg_core.errors import ConfigError
from mttsg_core.training.events import EpochDone

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def need_tensorboard() -> type[SummaryWriter]:
    """Return the class that writes events.

    Raises:
        ConfigError: if the package tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError("TensorBoard events need its package: pip install 'mttsg[tensorboard]'") from error
    return SummaryWriter


class TensorBoardLog:
    """Writes what every epoch reports below `folder`, beside earlier events. Use it as a context manager.

    Raises:
        ConfigError: if the package tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self._writer = need_tensorboard()(str(folder))

    def __enter__(self) -> TensorBoardLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.close()

    def write(self, event: EpochDone) -> None:
        """Add a point to every curve: loss terms and statistics, validation metrics, learning rate, gradient norm."""
        values = {
            **{f"training/{name}": value for name, value in event.losses.items()},
            **{f"validation/{name}": value for name, value in event.metrics.items()},
            "training/lr": event.lr,
            "training/gradient_norm": event.gradient_norm,
            "training/seconds": event.seconds,
        }
        for name, value in values.items():
            self._writer.add_scalar(name, value, event.epoch)
        self._writer.flush()
