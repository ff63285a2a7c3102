"""A guard against decoder calls that never return.

FFmpeg's frame threads can deadlock when a damaged HEVC frame refers to one that never arrives (seen with FFmpeg 8.1, by
mutating files). Such a call cannot be stopped, but the caller need not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import av
import av.error
from av.packet import Packet

Decode = Callable[["Packet[Any] | None"], "list[av.VideoFrame]"]

CALL_TIMEOUT = 30.0  # seconds for one call; the largest frames take a fraction of a second
_Result = list[av.VideoFrame] | av.error.FFmpegError


class StalledError(Exception):
    """A decoder call did not return in time; raised by `WatchedDecoder`.

    The call stays behind in its thread, with its memory, until the process ends.
    """


class WatchedDecoder:
    """A decoder whose calls run in a thread of their own. Close it after use.

    Args:
        decode: the decoder's method.
        timeout: seconds that a call may take; None takes `CALL_TIMEOUT`.
    """

    def __init__(self, decode: Decode, timeout: float | None = None) -> None:
        self._timeout = CALL_TIMEOUT if timeout is None else timeout
        self._calls: SimpleQueue[tuple[Packet[Any] | None] | None] = SimpleQueue()
        self._results: SimpleQueue[_Result] = SimpleQueue()
        # A daemon thread, so that a stalled call does not keep the program from exiting.
        Thread(target=_serve, args=(decode, self._calls, self._results), daemon=True).start()

    def __call__(self, packet: Packet[Any] | None) -> list[av.VideoFrame]:
        """Return `decode(packet)`.

        Raises:
            StalledError: if the call does not return in time; this object cannot be used any more.
            av.error.FFmpegError: if `decode` raises it.
        """
        self._calls.put((packet,))
        try:
            result = self._results.get(timeout=self._timeout)
        except Empty:
            raise StalledError from None
        if isinstance(result, av.error.FFmpegError):
            raise result
        return result

    def close(self) -> None:
        """End the thread as soon as its current call has returned."""
        self._calls.put(None)


def _serve(
    decode: Decode,
    calls: SimpleQueue[tuple[Packet[Any] | None] | None],
    results: SimpleQueue[_Result],
) -> None:
    while (call := calls.get()) is not None:
        try:
            results.put(decode(*call))
        except av.error.FFmpegError as error:
            results.put(error)
