"""Which of many videos are worth an answer to a sentence: one way for `ground`, `search` and `serve`.

the vectors of clips rank all videos -> the network glances at the best -> it answers in the likeliest of those
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from heapq import nlargest
from typing import Generic, TypeAlias, TypeVar

from mttsg_core.inference.encoded_videos import Askable, Asker, Question

GLANCED_AT_ONCE = 128  # videos; more are not faster

Video = TypeVar("Video", bound=Hashable)
Work: TypeAlias = Mapping[Video, Sequence[int]]  # the numbers of the sentences that each video is asked


def by_video(videos: Iterable[Iterable[Video]]) -> Work[Video]:
    """Return the numbers of the sentences of each video, from the videos of each sentence."""
    work: dict[Video, list[int]] = {}
    for number, of_sentence in enumerate(videos):
        for video in of_sentence:
            work.setdefault(video, []).append(number)
    return work


class Glances(Generic[Video]):
    """Glances at encoded videos, and keeps for each sentence those that seem likeliest.

    Args:
        asker: of the videos.
        question: the sentences.
        work: which of them each video is asked.
        kept: number of videos of a sentence.
    """

    def __init__(self, asker: Asker, question: Question, work: Work[Video], kept: int) -> None:
        self._asker, self._question, self._work, self._kept = asker, question, work, kept
        self._likely: list[list[tuple[float, Video]]] = [[] for _ in question.queries]

    def add(self, videos: Sequence[tuple[Video, Askable]]) -> None:
        """Glance at some of the videos, encoded."""
        for first in range(0, len(videos), GLANCED_AT_ONCE):
            some = videos[first : first + GLANCED_AT_ONCE]
            glances = self._asker.glance([(encoded, self._work[video]) for video, encoded in some], self._question)
            for (video, _), values in zip(some, glances, strict=True):
                for number, value in zip(self._work[video], values.tolist(), strict=True):
                    self._likely[number].append((value, video))

    def likeliest(self) -> Work[Video]:
        """Return the sentences of the videos that are worth an answer."""
        best = (nlargest(self._kept, seen, key=lambda pair: pair[0]) for seen in self._likely)
        return by_video([video for _, video in of_sentence] for of_sentence in best)
