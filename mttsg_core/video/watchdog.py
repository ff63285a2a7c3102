"""A guard against decoders that never come back.

FFmpeg's frame threads can wait for each other for ever when a damaged HEVC picture refers to one that never comes (seen
with FFmpeg 8.1, found by mutating files). Nothing can stop such a call, but the caller need not wait for it.
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

PATIENCE = 30.0  # seconds for one call; one picture of the largest kind takes a fraction of a second
_Answer = list[av.VideoFrame] | av.error.FFmpegError


class StalledError(Exception):
    """A decoder did not come back. It is left behind, with its memory, until the process ends."""


class WatchedDecoder:
    """Calls `decode` in a thread of its own. To be closed after use.

    Args:
        decode: the decoder's method.
        patience: seconds that a call may take.
    """

    def __init__(self, decode: Decode, patience: float | None = None) -> None:
        self._patience = PATIENCE if patience is None else patience
        self._calls: SimpleQueue[tuple[Packet[Any] | None] | None] = SimpleQueue()
        self._answers: SimpleQueue[_Answer] = SimpleQueue()
        # A daemon, so that a stalled call does not keep the program from ending.
        Thread(target=_serve, args=(decode, self._calls, self._answers), daemon=True).start()

    def __call__(self, packet: Packet[Any] | None) -> list[av.VideoFrame]:
        """What `decode(packet)` returns.

        Raises:
            StalledError: it did not return in time; this object is of no more use.
            av.error.FFmpegError: raised by `decode`.
        """
        self._calls.put((packet,))
        try:
            answer = self._answers.get(timeout=self._patience)
        except Empty:
            raise StalledError from None
        if isinstance(answer, av.error.FFmpegError):
            raise answer
        return answer

    def close(self) -> None:
        """End the thread, as soon as it has no call to finish."""
        self._calls.put(None)


def _serve(
    decode: Decode,
    calls: SimpleQueue[tuple[Packet[Any] | None] | None],
    answers: SimpleQueue[_Answer],
) -> None:
    while (call := calls.get()) is not None:
        try:
            answers.put(decode(*call))
        except av.error.FFmpegError as error:
            answers.put(error)
