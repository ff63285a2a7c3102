"""What `mttsg search` does while nobody waits for an answer: it reads the rest of the videos, then encodes them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from threading import Event, Thread
from typing import TYPE_CHECKING

from mttsg_core.errors import MttsgError

if TYPE_CHECKING:
    from mttsg_core.workflows.library import VideoLibrary

_PATIENCE = 5.0  # seconds that the end of the program waits for the reading to stop


class BackgroundReading:
    """Reads on in a thread of its own, without a word on the terminal. Use it as a context manager.

    Args:
        library: whose videos are read.
        events: the rest of its `iter_refresh`.
    """

    def __init__(self, library: VideoLibrary, events: Iterator[object]) -> None:
        self._library, self._events = library, events
        self._problems: list[str] = []
        self._closing = Event()
        self._thread = Thread(target=self._read, name="mttsg-reading", daemon=True)

    def __enter__(self) -> BackgroundReading:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.set()
        self._thread.join(_PATIENCE)

    def take_problems(self) -> list[str]:
        """Return lines about videos that could not be used, each once."""
        problems, self._problems = self._problems, []
        return problems

    def wait(self) -> None:
        """Wait until everything is read and encoded."""
        self._thread.join()

    def _read(self) -> None:
        from mttsg_core.workflows.events import describe_event

        try:
            for event in self._events:
                if self._closing.is_set():
                    return
                self._problems += [each.text for each in describe_event(event) if each.level >= logging.WARNING]
            for _ in self._library.iter_encode():
                if self._closing.is_set():
                    return
        except MttsgError as error:
            self._problems.append(str(error))
