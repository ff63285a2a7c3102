"""Whether this process is one of several that `torchrun` started for one training. Nothing heavy is imported."""

from __future__ import annotations

import os
from dataclasses import dataclass

from mttsg_core.errors import ConfigError

_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Launch:
    """The place of a process among those of one training.

    Attributes:
        rank: its number, 0 for the one that writes and speaks.
        world: number of processes.
        local_rank: its number on its machine.
    """

    rank: int
    world: int
    local_rank: int


def find_launch() -> Launch | None:
    """Return the place of this process, from the environment that `torchrun` sets; None if it works alone."""
    values = {name: os.environ.get(name, "") for name in (*_NEEDED, "LOCAL_RANK")}
    if not all(values[name] for name in _NEEDED) or not values["WORLD_SIZE"].isdecimal():
        return None
    if int(values["WORLD_SIZE"]) < 2 or not values["RANK"].isdecimal():
        return None
    local = values["LOCAL_RANK"]
    return Launch(int(values["RANK"]), int(values["WORLD_SIZE"]), int(local) if local.isdecimal() else 0)


def is_first_process() -> bool:
    """Return whether this process is the one that speaks: alone, or the first of several."""
    launch = find_launch()
    return launch is None or launch.rank == 0


def require_one_process(what: str) -> None:
    """Raise ConfigError if this process is one of several: they train one model together, and do nothing else."""
    launch = find_launch()
    if launch is not None:
        raise ConfigError(f"{what}: {launch.world} processes were started; torchrun is for mttsg train with one seed")
