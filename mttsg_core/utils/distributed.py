"""Several processes that train one network: what they tell each other, and what ends them when one is lost.

`Ranks` is a process alone, whose methods do next to nothing; `join_ranks` makes those of `torchrun` one. Steps wait for
each other in collectives of `torch.distributed`, which are lost after `lost_after` seconds. Before and after work that
takes longer on one rank than on another (reading videos, validating, writing) ranks `meet`: they wait as long as all of
them are alive, which each shows by a heartbeat.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mttsg_core.errors import ConfigError, LostRankError, ToldError, is_out_of_memory
from mttsg_core.utils.launch import Launch

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

SECONDS_VARIABLE = "MTTSG_LOST_AFTER"  # in the environment, of every rank alike
_LOST_AFTER = 45.0
_BEATS = 8  # heartbeats within that time
_POLL_SECONDS = (0.005, 0.5)  # between two looks at who has come
_joined = count()  # a process may join more than once; each time the store has keys of its own


class Ranks:
    """A process that trains alone.

    Attributes:
        rank: number of this process.
        world: number of processes.
    """

    rank = 0
    world = 1

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and decides."""
        return self.rank == 0

    @property
    def turn(self) -> int:
        """When this process does what one must do before the others, of `TURNS`; see `take_turns`."""
        return 0

    def gather(self, values: Tensor) -> Tensor:
        """Return the values (...) of all ranks, which have one shape: (R, ...)."""
        return values[None]

    def add_up(self, values: Tensor) -> Tensor:
        """Replace values, contiguous in memory, by their sum over all ranks; also return them."""
        return values

    def add_up_own(self, values: Tensor) -> Tensor:
        """Return the sum (...) of what all ranks have for this one, given values (R, ...) for each of them."""
        return values[0]

    def text_of_first(self, text: str) -> str:
        """Return the text that rank 0 gave; what the others give does not count."""
        return text

    def meet(self) -> None:
        """Wait for all ranks, as long as they are alive."""

    def take_turns(self) -> Iterator[bool]:
        """Yield True once, when it is the turn of this process, and False else; all ranks meet after each turn.

        First comes rank 0, then one process of every other machine, then the rest: what one of them leaves on the disk
        the next ones find.
        """
        for turn in range(1 if self.world == 1 else 3):
            yield turn == self.turn
            self.meet()

    def agree(self, text: str) -> bool:
        """Return whether all ranks give the same text."""
        digest = torch.tensor(list(hashlib.sha256(text.encode()).digest()), dtype=torch.uint8)
        return bool((self.gather(digest) == digest).all())


ALONE = Ranks()


@contextmanager
def join_ranks(launch: Launch, device: torch.device) -> Iterator[Ranks]:
    """Join the processes of one training while the block runs.

    An error ends all of them: each learns that another has ended, at once or when it next waits for it. The first one
    to have an error raises it, the others `ToldError`, so that a user reads one line.

    Args:
        launch: the place of this process.
        device: that it computes on; GPUs are joined by NCCL, everything else by gloo.

    Raises:
        ConfigError: if the processes cannot find each other.
        LostRankError: from any method, if another process has ended or does not answer in time.
    """
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    lost_after = _lost_after()
    try:
        everyone, _, _ = next(rendezvous("env://", timeout=timedelta(seconds=lost_after)))
        store = PrefixStore(f"mttsg{next(_joined)}", everyone)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
            store=PrefixStore("group", store),
            rank=launch.rank,
            world_size=launch.world,
            timeout=timedelta(seconds=lost_after),
        )
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"process {launch.rank} of {launch.world} cannot reach the others ({error})") from error
    ranks = _JoinedRanks(launch, store, lost_after)
    try:
        ranks.meet()
        yield ranks
    except BaseException as error:
        if not ranks.speaks_first():
            raise ToldError("another process of this training failed, and says why") from error
        raise
    finally:
        ranks.leave()


def _lost_after() -> float:
    """Return the seconds after which a rank that does not answer is lost. Raises ConfigError."""
    text = os.environ.get(SECONDS_VARIABLE)
    try:
        seconds = _LOST_AFTER if text is None else float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 86_400:
        raise ConfigError(f"{SECONDS_VARIABLE}={text}: a number of seconds is needed")
    return seconds


class _JoinedRanks(Ranks):
    """One of several processes."""

    def __init__(self, launch: Launch, store: Store, lost_after: float) -> None:
        self.rank, self.world = launch.rank, launch.world
        self._launch = launch
        self._store = store
        self._lost_after = lost_after
        self._meetings = 0
        self._left = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._heart.start()

    @property
    def turn(self) -> int:
        """When this process does what one must do before the others."""
        return 0 if self.is_first else 1 if self._launch.local_rank == 0 else 2

    def gather(self, values: Tensor) -> Tensor:
        """Return the values (...) of all ranks: (R, ...)."""
        import torch.distributed as dist

        gathered = values.new_empty(self.world, *values.shape)
        with self._noticing():
            dist.all_gather(list(gathered.unbind()), values.contiguous())
        return gathered

    def add_up(self, values: Tensor) -> Tensor:
        """Replace values by their sum over all ranks."""
        import torch.distributed as dist

        with self._noticing():
            dist.all_reduce(values)
        return values

    def add_up_own(self, values: Tensor) -> Tensor:
        """Return the sum (...) of what all ranks have for this one."""
        import torch.distributed as dist

        of_each = torch.empty_like(values, memory_format=torch.contiguous_format)  # (R, ...)
        with self._noticing():
            dist.all_to_all_single(of_each, values.contiguous())
        return of_each.sum(0)

    def text_of_first(self, text: str) -> str:
        """Return the text that rank 0 gave."""
        import torch.distributed as dist

        content = text.encode() if self.is_first else b""
        size = torch.tensor(len(content))
        with self._noticing():
            dist.broadcast(size, 0)
            values = torch.zeros(int(size), dtype=torch.uint8)
            if self.is_first:
                values.copy_(torch.tensor(list(content), dtype=torch.uint8))
            dist.broadcast(values, 0)
        return bytes(values.tolist()).decode()

    def meet(self) -> None:
        """Wait for all ranks, as long as they are alive."""
        self._meetings += 1
        seen = {rank: (-1, time.monotonic()) for rank in range(self.world) if rank != self.rank}
        pause, longest = _POLL_SECONDS
        with self._noticing():
            come = self._store.add(f"meeting{self._meetings}", 1)
            while come < self.world:
                time.sleep(pause)
                pause = min(2 * pause, longest)
                self._look_for_lost(seen)
                come = self._store.add(f"meeting{self._meetings}", 0)

    def speaks_first(self) -> bool:
        """Return whether this rank is the first to have an error, and tell the others that there is one."""
        with suppress(RuntimeError):
            return self._store.add("failed", 1) == 1
        return True

    def leave(self) -> None:
        """Leave the other ranks; those that wait for this one have lost it."""
        import torch.distributed as dist

        self._left.set()
        self._heart.join(self._lost_after / _BEATS)
        with suppress(RuntimeError):
            dist.destroy_process_group()

    def _beat(self) -> None:
        with suppress(RuntimeError):
            while not self._left.wait(self._lost_after / _BEATS):
                self._store.add(f"heart{self.rank}", 1)

    def _look_for_lost(self, seen: dict[int, tuple[int, float]]) -> None:
        """Raise LostRankError if another rank failed, or shows no sign of life since it was seen: (beats, when)."""
        if self._store.add("failed", 0):
            raise LostRankError(self._lost())
        now = time.monotonic()
        for rank, (beats, since) in seen.items():
            beats_now = self._store.add(f"heart{rank}", 0)
            if beats_now != beats:
                seen[rank] = beats_now, now
            elif now - since > self._lost_after:
                raise LostRankError(self._lost(f"process {rank} of {self.world}"))

    @contextmanager
    def _noticing(self) -> Iterator[None]:
        """Turn errors of what ranks have between them into LostRankError."""
        try:
            yield
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            raise LostRankError(self._lost()) from error

    def _lost(self, which: str = "another process") -> str:
        return f"{which} of this training has ended or does not answer; --resume goes on from the last state"
