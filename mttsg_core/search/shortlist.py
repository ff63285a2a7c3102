"""How many videos the network glances at, of those that the vectors of their clips rank, and in how many it answers.

Chosen by how many of the 10 best moments of all videos are left (docs/benchmarks.md).
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

_ALL = 60  # videos that are all answered in: of more, the glances would take what they save
_ALL_ANSWERS = 250  # likewise, times sentences: they take a fraction of a second
_GLANCED_SHARE = 0.55  # of more videos
_GLANCED_AN_ANSWER = 1.5  # at least
_ANSWERED = 5.0  # times the root of the number of videos
_A_MOMENT = 4  # videos to answer in for each moment that is wanted: several may be wrong
_OF_MANY = 2000  # videos that are glanced at, at most: a sentence has its best answers in far fewer


class Stages(NamedTuple):
    """Numbers of videos of a sentence.

    Attributes:
        glanced: those that the vectors rank first.
        answered: those of them that a glance finds likeliest.
    """

    glanced: int
    answered: int


def stage_sizes(videos: int, top: int, sentences: int) -> Stages:
    """Return in how many of a number of videos to look for the best `top` moments of each of some sentences.

    >>> stage_sizes(60, top=10, sentences=50), stage_sizes(250, top=10, sentences=1)
    (Stages(glanced=60, answered=60), Stages(glanced=250, answered=250))
    >>> stage_sizes(200, top=10, sentences=50), stage_sizes(100_000, top=10, sentences=1)
    (Stages(glanced=110, answered=71), Stages(glanced=2000, answered=1000))
    >>> stage_sizes(1000, top=10, sentences=1), stage_sizes(1000, top=50, sentences=1)
    (Stages(glanced=550, answered=158), Stages(glanced=550, answered=200))
    """
    if videos <= max(_ALL, _ALL_ANSWERS // max(1, sentences)):
        return Stages(videos, videos)
    answered = max(_A_MOMENT * top, min(round(_ANSWERED * sqrt(videos)), _OF_MANY // 2))
    glanced = max(round(_GLANCED_AN_ANSWER * answered), min(round(_GLANCED_SHARE * videos), _OF_MANY))
    return Stages(min(videos, glanced), min(videos, answered))
