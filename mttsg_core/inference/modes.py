"""The two ways to ground several sentences in one video."""

from __future__ import annotations

from typing import Literal, get_args

from mttsg_core.errors import ConfigError

Mode = Literal["independent", "joint"]
"""`independent`: each sentence by itself. `joint`: the sentences of a video inform each other, as a set."""


def grounding_mode(name: str) -> Mode:
    """Return the mode of that name.

    Raises:
        ConfigError: if there is no such mode.
    """
    if name == "joint":
        return "joint"
    if name == "independent":
        return "independent"
    raise ConfigError(f"unknown mode {name!r}: use {' or '.join(get_args(Mode))}")
