"""How many videos the network answers in, of those that the vectors of their clips rank."""

from __future__ import annotations

_ALL = 60  # videos that are all asked: the network takes a fraction of a second for them
_SHARE = 0.3  # of more videos
_OF_MANY = 2000  # videos that are asked at most: a sentence has its best answers in far fewer


def shortlist_size(videos: int, top: int) -> int:
    """Return in how many of a number of videos to look for the best `top` moments of a sentence.

    >>> shortlist_size(60, top=10), shortlist_size(1000, top=10), shortlist_size(100_000, top=10)
    (60, 300, 2000)
    """
    wanted = max(_ALL, 6 * top, min(round(_SHARE * videos), _OF_MANY))
    return min(videos, wanted)
