"""How many videos the network looks at, of those that the vectors of their clips rank, and in how many it answers."""

from __future__ import annotations

_ALL = 60  # videos that are all asked: the network takes a fraction of a second for them
_SHARE = 0.3  # of more videos
_OF_MANY = 2000  # videos that are looked at, at most: a sentence has its best answers in far fewer
_A_MOMENT = 6  # videos that are asked for each moment that is wanted: several may be wrong


def shortlist_size(videos: int, top: int) -> int:
    """Return at how many of a number of videos to look for the best `top` moments of a sentence.

    >>> shortlist_size(60, top=10), shortlist_size(1000, top=10), shortlist_size(100_000, top=10)
    (60, 300, 2000)
    """
    wanted = max(_ALL, _A_MOMENT * top, min(round(_SHARE * videos), _OF_MANY))
    return min(videos, wanted)


def answered_size(videos: int, top: int) -> int:
    """Return in how many videos of a shortlist the network answers, after a glance at each of them.

    >>> answered_size(60, top=10), answered_size(300, top=10), answered_size(300, top=30)
    (60, 60, 180)
    """
    return min(videos, max(_ALL, _A_MOMENT * top))
