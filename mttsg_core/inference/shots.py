"""The shots of a timeline: seconds of videos in an order, each with the answer that it shows."""

from __future__ import annotations

from dataclasses import dataclass

from mttsg_core.inference.ranking import RankedMoment
from mttsg_core.moments import Moment
from mttsg_core.utils.text import visible_text
from mttsg_core.video.media import Media


@dataclass(frozen=True)
class Shot:
    """Some seconds of a video.

    Attributes:
        media: the video.
        start: seconds at which the shot begins.
        end: seconds at which it ends, within the video.
        ranked: the answer that it shows; the moment may be shorter than the shot.
    """

    media: Media
    start: float
    end: float
    ranked: RankedMoment

    @property
    def moment(self) -> Moment:
        """The exact moment, within the video."""
        start, end, score = self.ranked.moment
        return Moment(min(start, self.media.duration), min(end, self.media.duration), score)

    @property
    def query(self) -> str:
        """The sentence, in one line."""
        return visible_text(self.ranked.query)

    @property
    def rank(self) -> int:
        """From 1, among the answers to the sentence."""
        return self.ranked.rank
