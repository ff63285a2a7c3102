"""Warnings about sentences and videos that are unlike those of a model's training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mttsg_core.data.familiarity import Familiarity
from mttsg_core.encoders.base import Array
from mttsg_core.utils.text import count
from mttsg_core.video.discovery import VideoFile
from mttsg_core.workflows.events import Warned

_SHOWN_WORDS, _SHOWN_VIDEOS = 8, 3
_LOWERED = "scores are lowered"
_UNSURE = "answers are unsure"  # where scores are not shown, and nothing can be seen of their being lowered


def warn_of_queries(
    familiarity: Familiarity | None, queries: Iterable[str], *, shows_scores: bool = True
) -> Iterator[Warned]:
    """Yield one warning if the model never heard at least half of the words of some sentences.

    Args:
        familiarity: of the model; None if it is not known.
        queries: the sentences, each once or several times.
        shows_scores: whether the scores of the answers are shown.
    """
    if familiarity is None:
        return
    distinct = list(dict.fromkeys(queries))
    unfamiliar = [query for query in distinct if familiarity.is_unfamiliar(query)]
    if not unfamiliar:
        return
    words = list(dict.fromkeys(word for query in unfamiliar for word in familiarity.unheard(query)[0]))
    shown = ", ".join(f'"{word}"' for word in words[:_SHOWN_WORDS])
    more = f" and {len(words) - _SHOWN_WORDS} more" if len(words) > _SHOWN_WORDS else ""
    where = f" ({len(unfamiliar)} of {count(len(distinct), 'sentence')})" if len(distinct) > 1 else ""
    lowered = f"their {_LOWERED}" if shows_scores else _UNSURE
    consequence = "only its text encoder knows them" if familiarity.knows_words else lowered
    yield Warned(f"the model never heard {shown}{more}{where}: {consequence}")


class VideoWarnings:
    """Warnings about videos unlike those of the training: the first few by name, the others as a number.

    Args:
        familiarity: of the model; None if it is not known.
        shows_scores: whether the scores of the answers are shown.
    """

    def __init__(self, familiarity: Familiarity | None, *, shows_scores: bool = True) -> None:
        self._familiarity = familiarity
        self._consequence = _LOWERED if shows_scores else _UNSURE
        self._unlike = 0

    def check(self, video: VideoFile, clips: Array) -> Iterator[Warned]:
        """Yield a warning if a video, clips (T, D), is unlike those of the training, for the first few of them."""
        known = self._familiarity
        if known is None or clips.shape[1:] != known.center.shape or not known.is_unlike(clips):
            return
        self._unlike += 1
        if self._unlike <= _SHOWN_VIDEOS:
            yield Warned(f"{video.path}: unlike the videos of the training, {self._consequence}")

    def rest(self) -> Iterator[Warned]:
        """Yield a warning with the number of such videos that were not named."""
        if self._unlike > _SHOWN_VIDEOS:
            others = count(self._unlike - _SHOWN_VIDEOS, "other video")
            verb = "is" if self._unlike - _SHOWN_VIDEOS == 1 else "are"
            yield Warned(f"{others} {verb} unlike those of the training, {self._consequence}")
