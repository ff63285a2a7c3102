"""The two ways to ask several sentences of one video."""

from __future__ import annotations

from typing import Literal, get_args

from mttsg_core.config import refuse_unknown

Mode = Literal["independent", "joint"]
"""`independent`: each sentence by itself. `joint`: the sentences of a video help each other, in no order."""


def grounding_mode(name: str) -> Mode:
    """The mode of that name.

    Raises:
        ConfigError: if there is none.
    """
    refuse_unknown([name], get_args(Mode), "mode")
    return "joint" if name == "joint" else "independent"
