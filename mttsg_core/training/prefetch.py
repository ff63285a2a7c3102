"""Batches that are ready when a GPU wants them: made by a thread ahead of time, in page-locked memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch

from mttsg_core.data.batch import Batch, Targets

_AHEAD = 2  # batches that are made before they are wanted


def prefetched(batches: Iterator[tuple[Batch, Targets]], device: torch.device) -> Iterator[tuple[Batch, Targets]]:
    """Yield batches in order, for CUDA from page-locked memory, from which they are uploaded while the CPU goes on.

    On other devices they are made when they are wanted, by the same thread: it would wait for them anyway.
    """
    if device.type != "cuda":
        yield from batches
        return

    def make() -> tuple[Batch, Targets] | None:
        batch = next(batches, None)
        with torch.cuda.device(device):  # the thread would otherwise open the first GPU
            return None if batch is None else (batch[0].pin_memory(), batch[1].pin_memory())

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as maker:
        ahead = deque(maker.submit(make) for _ in range(_AHEAD))
        try:
            while (batch := ahead.popleft().result()) is not None:
                ahead.append(maker.submit(make))
                yield batch
        finally:
            for future in ahead:
                future.cancel()
