"""How many videos the network glances at, of those that the vectors of their clips rank, and in how many it answers."""

from __future__ import annotations

from typing import NamedTuple

_ALL = 60  # videos that are all answered in
_GLANCED, _GLANCED_SHARE = 150, 0.6  # videos that are glanced at, at least, and of more videos
_OF_MANY = 2000  # at most: a sentence has its best answers in far fewer
_ANSWERED, _ANSWERED_SHARE = 60, 0.3  # likewise
_ANSWERED_MOST = 200
_A_MOMENT = 4  # videos to answer in for each moment that is wanted: several may be wrong


class Stages(NamedTuple):
    """Numbers of videos of a sentence.

    Attributes:
        glanced: those that the vectors rank first.
        answered: those of them that a glance finds likeliest.
    """

    glanced: int
    answered: int


def stage_sizes(videos: int, top: int) -> Stages:
    """Return at how many of a number of videos to glance for the best `top` moments of a sentence, and so on.

    >>> stage_sizes(60, top=10), stage_sizes(200, top=10), stage_sizes(1000, top=10)
    (Stages(glanced=60, answered=60), Stages(glanced=150, answered=60), Stages(glanced=600, answered=200))
    """
    if videos <= _ALL:
        return Stages(videos, videos)
    answered = max(_ANSWERED, _A_MOMENT * top, min(round(_ANSWERED_SHARE * videos), _ANSWERED_MOST))
    glanced = max(_GLANCED, 2 * answered, min(round(_GLANCED_SHARE * videos), _OF_MANY))
    return Stages(min(videos, glanced), min(videos, answered))
