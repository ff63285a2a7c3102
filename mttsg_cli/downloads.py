"""Downloads on standard error: what, how much and where to in a line, then one bar with size and rate on a terminal."""

from __future__ import annotations

import time
from contextlib import ExitStack

from mttsg_cli.console import DownloadBar, Reporter
from mttsg_core.utils.downloads import DownloadProgress
from mttsg_core.utils.paths import home_relative
from mttsg_core.utils.text import format_bytes

_MENTIONED = 1_000_000  # bytes: smaller downloads are not worth a line


class DownloadDisplay:
    """Shows the progress of downloads, one at a time.

    Args:
        reporter: writes the lines, and the bar if standard error is a terminal.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._stack = ExitStack()
        self._name: str | None = None
        self._bar: DownloadBar | None = None
        self._began = 0.0

    def show(self, progress: DownloadProgress) -> None:
        """Show how far a download is."""
        if progress.total < _MENTIONED:
            return
        if progress.name != self._name:
            self.close()
            self._start(progress)
        if self._bar is not None:
            self._bar.move_to(progress.done, progress.total)
        if progress.finished:
            seconds = time.monotonic() - self._began
            self.close()
            if progress.done >= progress.total:
                self._reporter.say(f"downloaded {format_bytes(progress.total)} in {seconds:.0f} s")

    def close(self) -> None:
        """End the bar, if there is one."""
        self._stack.close()
        self._name = None
        self._bar = None

    def _start(self, progress: DownloadProgress) -> None:
        self._name, self._began = progress.name, time.monotonic()
        folder = home_relative(progress.folder)
        self._reporter.say(f"downloading {progress.name} ({format_bytes(progress.total)}, once) to {folder}")
        self._bar = self._stack.enter_context(self._reporter.download_bar(progress.total))
