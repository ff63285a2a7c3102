"""Temporal sentence grounding: find the moment of a video that a sentence describes.

from mttsg_core import Grounder
moments = Grounder.load("model/").ground("video.mp4", ["person opens door"])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mttsg_core.errors import MttsgError as MttsgError
    from mttsg_core.inference.grounder import Grounder as Grounder
    from mttsg_core.moments import Moment as Moment
    from mttsg_core.moments import Timeline as Timeline

# Names are looked up on first use, so that importing the package (and `mttsg --help`) does not load torch.
_HOMES = {
    "Grounder": "mttsg_core.inference.grounder",
    "Moment": "mttsg_core.moments",
    "MttsgError": "mttsg_core.errors",
    "Timeline": "mttsg_core.moments",
}

__all__ = ["Grounder", "Moment", "MttsgError", "Timeline", "__version__"]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
