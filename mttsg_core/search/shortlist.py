"""How many videos the network looks at, of those that the vectors of their clips rank, and in how many it answers."""

from __future__ import annotations

_ALL = 250  # videos that are all asked: how well the ranking tells videos apart depends on the model

# Where each video must be encoded first, which takes ten times as long as an answer.
_SHARE = 0.3  # of more videos
_OF_MANY = 2000  # videos that are looked at, at most: a sentence has its best answers in far fewer
_A_MOMENT = 6  # videos for each moment that is wanted: several may be wrong

# Where videos stay encoded, and a glance takes a third of the time of an answer.
_GLANCED_SHARE = 0.5  # of more videos
_ANSWERED = 100  # of the videos that were glanced at
_ANSWERED_A_MOMENT = 4


def shortlist_size(videos: int, top: int) -> int:
    """Return in how many of a number of videos to look for the best `top` moments of a sentence.

    >>> shortlist_size(250, top=10), shortlist_size(1000, top=10), shortlist_size(100_000, top=10)
    (250, 300, 2000)
    """
    wanted = max(_ALL, _A_MOMENT * top, min(round(_SHARE * videos), _OF_MANY))
    return min(videos, wanted)


def glanced_size(videos: int, top: int) -> int:
    """Return at how many of a number of encoded videos to glance for the best `top` moments of a sentence.

    >>> glanced_size(200, top=10), glanced_size(1000, top=10), glanced_size(100_000, top=10)
    (200, 500, 2000)
    """
    wanted = max(_ALL, 2 * _ANSWERED_A_MOMENT * top, min(round(_GLANCED_SHARE * videos), _OF_MANY))
    return min(videos, wanted)


def answered_size(videos: int, top: int) -> int:
    """Return in how many of a number of videos that were glanced at to answer. A few are answered without a glance.

    >>> answered_size(250, top=10), answered_size(500, top=10), answered_size(500, top=30)
    (250, 100, 120)
    """
    return videos if videos <= _ALL else min(videos, max(_ANSWERED, _ANSWERED_A_MOMENT * top))
