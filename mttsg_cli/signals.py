"""Signals that end the program: SIGTERM and SIGHUP are Ctrl-C with another exit code, and once is enough."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

_PATIENCE = 2.0  # seconds of cleaning up after which a further signal ends the program at once
_WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}


class Stopped(KeyboardInterrupt):
    """Raised in the main thread by the first signal that ends the program.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """The exit code by the convention of shells."""
        return 128 + self.number

    def __str__(self) -> str:
        return _WORDS[signal.Signals(self.number).name]


class StopSignals:
    """Handlers of the signals that end the program.

    The first one raises `Stopped`. Further ones are ignored while the program cleans up, unless that takes long: then
    one more ends it at once. Worker processes end by themselves, and what they leave the next run removes.

    Attributes:
        stopped: the first signal as an exception; None before it.
    """

    def __init__(self) -> None:
        self.stopped: Stopped | None = None
        self._since = 0.0

    def install(self) -> None:
        """Handle the signals from now on, except those that the parent process wants ignored, as `nohup` does."""
        for number in self._signals():
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._handle)

    def ignore(self) -> None:
        """Ignore the signals from now on, if one has come: the program is about to end."""
        if self.stopped is not None:
            for number in self._signals():
                signal.signal(number, signal.SIG_IGN)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.stopped is None:
            self.stopped = Stopped(number)
            self._since = time.monotonic()
            raise self.stopped
        if time.monotonic() - self._since > _PATIENCE:
            os._exit(self.stopped.exit_code)

    @staticmethod
    def _signals() -> list[signal.Signals]:
        return [signal.Signals[name] for name in _WORDS if hasattr(signal, name)]
