"""Whether this process is one of several that `torchrun` started for one training. Nothing heavy is imported."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mttsg_core.errors import ConfigError, MttsgError, ToldError

_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Launch:
    """The place of a process among those of one training.

    Attributes:
        rank: its number, 0 for the one that writes and speaks.
        world: number of processes.
        local_rank: its number on its machine.
        local_world: number of processes on its machine.
    """

    rank: int
    world: int
    local_rank: int
    local_world: int


def find_launch() -> Launch | None:
    """Return the place of this process, from the environment that `torchrun` sets; None if it works alone."""
    values = {name: os.environ.get(name, "") for name in (*_NEEDED, "LOCAL_RANK", "LOCAL_WORLD_SIZE")}
    if not all(values[name] for name in _NEEDED) or not values["WORLD_SIZE"].isdecimal():
        return None
    if int(values["WORLD_SIZE"]) < 2 or not values["RANK"].isdecimal():
        return None
    local, on_machine = values["LOCAL_RANK"], values["LOCAL_WORLD_SIZE"]
    number = int(local) if local.isdecimal() else 0
    processes = int(on_machine) if on_machine.isdecimal() else number + 1
    return Launch(int(values["RANK"]), int(values["WORLD_SIZE"]), number, processes)


def is_first_process() -> bool:
    """Return whether this process is the one that speaks: alone, or the first of several."""
    launch = find_launch()
    return launch is None or launch.rank == 0


def is_first_of_machine() -> bool:
    """Return whether this process says what all processes of its machine have alike."""
    launch = find_launch()
    return launch is None or launch.local_rank == 0


@contextmanager
def errors_alike() -> Iterator[None]:
    """Let an error that all processes have alike, before they meet, be raised by the first one of each machine alone.

    Raises:
        ToldError: in its place, on the others.
    """
    try:
        yield
    except (MttsgError, OSError) as error:
        if is_first_of_machine():
            raise
        raise ToldError("the first process of this machine has the same error, and tells of it") from error


def require_one_process(what: str) -> None:
    """Raise ConfigError if this process is one of several: they train one model together, and do nothing else."""
    launch = find_launch()
    if launch is not None:
        with errors_alike():
            raise ConfigError(
                f"{what}: {launch.world} processes were started; torchrun is for mttsg train with one seed"
            )
