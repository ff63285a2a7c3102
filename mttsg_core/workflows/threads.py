"""Fewer threads while a workflow runs, and as many as before after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mttsg_core.utils.devices import limit_threads


@contextmanager
def limited_threads(device: torch.device) -> Iterator[None]:
    """Limit the CPU threads of torch as `devices.limit_threads` does, and restore their number afterwards."""
    before = torch.get_num_threads()
    limit_threads(device)
    try:
        yield
    finally:
        torch.set_num_threads(before)
