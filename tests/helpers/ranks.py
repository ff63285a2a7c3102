"""Several processes that train together, as `torchrun` would start them, for tests: with gloo, and a free port."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from mttsg_core.utils.distributed import SECONDS_VARIABLE, Ranks, join_ranks
from mttsg_core.utils.launch import find_launch

_PATIENCE = 120.0  # seconds that all processes together may take
_forkserver = multiprocessing.get_context("forkserver")
_forkserver.set_forkserver_preload(["mttsg_core.training.trainer", "tests.helpers.tiny"])


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        result: what its function returned; None if it raised.
        error: name and text of what it raised.
        exit_code: negative for a signal.
    """

    result: Any = None
    error: str = ""
    exit_code: int | None = None


def on_ranks(
    function: Callable[..., Any],
    world: int,
    *arguments: object,
    lost_after: float = 60.0,
    patience: float = _PATIENCE,
    **options: object,
) -> Sequence[Ended]:
    """Call a function of a module as `function(ranks, *arguments, **options)` in each of several processes.

    Once one of them has an error, the others have `patience` seconds to end, and then are killed.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    started = []
    for rank in range(world):
        receiver, sender = _forkserver.Pipe(duplex=False)
        environment = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": world,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": store.port,
            "TORCHELASTIC_USE_AGENT_STORE": True,  # the store is here, and not with rank 0
            SECONDS_VARIABLE: lost_after,
        }
        strings = {name: str(value) for name, value in environment.items()}
        process = _forkserver.Process(
            target=_work, args=(sender, strings, partial(function, **options), arguments), daemon=True
        )
        process.start()
        sender.close()
        started.append((process, receiver))
    ended: list[Ended] = []
    for process, receiver in started:
        result, error = None, ""
        with suppress(EOFError):
            if receiver.poll(patience if any(one.error for one in ended) else _PATIENCE):
                result, error = receiver.recv()
        process.join(1 if error or result is not None else 0.1)
        if process.is_alive():
            process.kill()
            process.join()
        ended.append(Ended(result, error, process.exitcode))
    return ended


def _work(sender: Any, environment: dict[str, str], function: Callable[..., Any], arguments: Sequence[object]) -> None:
    os.environ.update(environment)
    torch.set_num_threads(1)
    launch = find_launch()
    assert launch is not None
    try:
        with join_ranks(launch, torch.device("cpu")) as ranks:
            result = function(ranks, *arguments)
        sender.send((result, ""))
    except Exception as error:  # noqa: BLE001 -- whatever it is, the test gets it
        if not str(error):
            traceback.print_exc()
        sender.send((None, f"{type(error).__name__}: {error}"))


def results(ended: Sequence[Ended]) -> list[Any]:
    """Return what the function returned on each rank, where it must have returned."""
    assert not [one for one in ended if one.error or one.exit_code], ended
    return [one.result for one in ended]


__all__ = ["Ended", "Ranks", "on_ranks", "results"]
