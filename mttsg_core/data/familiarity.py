"""How familiar a sentence and a video are to a model: words that its training had, and how far its videos reached.

A model is calibrated on sentences and videos like those of its training. Of other ones its scores are too high, so they
are multiplied by a factor that is 1 for what is familiar and falls with the share of words that were never heard (only
where the text encoder knows no words beside those) and with the distance of the video from the training videos.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mttsg_core.encoders.base import Array
from mttsg_core.utils.text import find_words, normalise

_MAX_STEMS = 50_000  # the most frequent ones are kept
_MAX_WIDTH = 1 << 16  # numbers of a clip
_MIN_SPREAD = 0.05  # of a channel, relative to the mean spread of all channels
_DEVIATIONS = 3.0  # above the mean distance, up to which a video counts as one of the training
_MARGIN = 1.5  # times the reach of the training videos, from where a video is unlike them
_DECAY = 3.0  # power with which scores fall beyond that
_UNHEARD_LOSS = 0.75  # share of the score that is lost where no content word was heard
_MOST = 0.5  # share of unheard words from which a sentence is unfamiliar

# Scripts without spaces between words, whose characters are taken one by one.
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_ENDINGS = ("'s", "ing", "ed", "es", "s", "e")
_FUNCTION_WORDS = frozenset(
    """
    a an the this that these those he she it they we you i him her them his its their our your my who which what
    is are was were be been being am do does did has have had having will would can could shall should may might
    must and or but nor so if then than as while when where there here not no of in on at to into onto from with
    by for off up down out over under about after before again through between during one some any all each other
    """.split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Familiarity:
    """What a training consisted of.

    Attributes:
        stems: of the words of its sentences.
        center: (D,) mean of the videos' mean clips.
        spread: (D,) standard deviation of clips, by channel; positive.
        reach: distance from the center, in units of the spread, up to which a video counts as one of the training.
        knows_words: whether the text encoder was pretrained on text, so that words beside these mean something to it.
    """

    stems: frozenset[str]
    center: Array
    spread: Array
    reach: float
    knows_words: bool = False

    def unheard(self, query: str) -> tuple[list[str], float]:
        """Return the content words of a sentence that were not in the training, and their share among all, 0..1."""
        words = content_words(query)
        missing = [word for word in words if stem(word) not in self.stems]
        return missing, len(missing) / max(1, len(words))

    def is_unfamiliar(self, query: str) -> bool:
        """Return whether at least half of the content words of a sentence were not in the training."""
        return self.unheard(query)[1] >= _MOST

    def distance(self, clips: Array) -> float:
        """Return how far a video, clips (T, D), is from the center, in reaches of the training videos: about 0..1 for
        these.
        """
        return _distance(clips.mean(axis=0, dtype=np.float64), self.center, self.spread) / self.reach

    def is_unlike(self, clips: Array) -> bool:
        """Return whether a video, clips (T, D), is unlike those of the training."""
        return self.distance(clips) > _MARGIN

    def video_factor(self, clips: Array) -> float:
        """Return what to multiply scores in a video, clips (T, D), by.

        It is 1 up to one and a half times the reach of the training videos, and falls with the cube of the distance. Of
        clips of another width nothing is known.
        """
        if clips.shape[1:] != self.center.shape:
            return 1.0
        return min(1.0, _MARGIN / max(self.distance(clips), 1e-9)) ** _DECAY

    def query_factor(self, query: str) -> float:
        """Return what to multiply scores of a sentence by: 1 where every word was heard, 0.25 where none was.

        It is always 1 with a text encoder that knows words from elsewhere.
        """
        return 1.0 if self.knows_words else 1.0 - _UNHEARD_LOSS * self.unheard(query)[1] ** 2

    def score_factors(self, clips: Array, queries: Sequence[str]) -> list[float]:
        """Return what to multiply the scores of each sentence in a video, clips (T, D), by.

        It is 1 unless video or sentence are unlike the training. Clips of another width only count by their sentences.
        """
        of_video = self.video_factor(clips)
        return [of_video * self.query_factor(query) for query in queries]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "stems": sorted(self.stems),
            "center": self.center.tolist(),
            "spread": self.spread.tolist(),
            "reach": self.reach,
            "knows_words": self.knows_words,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Familiarity:
        """Rebuild it from the result of `as_dict`.

        Raises:
            ValueError, TypeError, KeyError: if it is not such a result.
        """
        stems, reach = values["stems"], float(values["reach"])
        center, spread = (np.asarray(values[name], dtype=np.float32) for name in ("center", "spread"))
        is_sound = isinstance(stems, list) and all(isinstance(word, str) for word in stems)
        is_sound &= center.ndim == 1 and center.shape == spread.shape and 0 < len(center) <= _MAX_WIDTH
        if not (is_sound and np.isfinite(center).all() and np.isfinite(spread).all() and (spread > 0).all()):
            raise ValueError("words, center or spread are not what they should be")
        if not (np.isfinite(reach) and reach > 0):
            raise ValueError(f"reach = {reach}")
        return cls(frozenset(stems), center, spread, reach, bool(values["knows_words"]))


def learn_familiarity(sentences: Iterable[str], videos: Iterable[Array], *, knows_words: bool) -> Familiarity:
    """Return what a training consists of.

    Args:
        sentences: all of them.
        videos: the clips (T, D) of at least one video; each is in memory only for a moment.
        knows_words: see `Familiarity`.
    """
    counts = Counter(stem(word) for sentence in sentences for word in content_words(sentence))
    means, squares, total = [], np.zeros(()), 0
    for clips in videos:
        values = clips.astype(np.float64)
        means.append(values.mean(axis=0))
        squares = squares + (values**2).sum(axis=0)
        total += len(values)
    center = np.mean(means, axis=0)
    spread = np.sqrt(np.maximum(squares / total - center**2, 0))
    spread = np.maximum(spread, max(_MIN_SPREAD * spread.mean(), 1e-6))
    distances = np.array([_distance(mean, center, spread) for mean in means])
    reach = max(distances.max(), distances.mean() + _DEVIATIONS * distances.std(), 1e-6)
    stems = frozenset(word for word, _ in counts.most_common(_MAX_STEMS))
    return Familiarity(stems, center.astype(np.float32), spread.astype(np.float32), float(reach), knows_words)


def content_words(query: str) -> list[str]:
    """Return the words of a sentence that carry its meaning, in lower case; all of them if there are no others.

    >>> content_words("The man's dog walks on it."), content_words("who is it"), content_words("犬が")
    (["man's", 'dog', 'walks'], ['who', 'is', 'it'], ['犬', 'が'])
    """
    words: list[str] = []
    for word in find_words(normalise(query.lower())):
        words += list(word) if _UNSPACED.search(word) else [word]
    return [word for word in words if word not in _FUNCTION_WORDS] or words


def stem(word: str) -> str:
    """Return a word without the endings that English gives to its forms.

    >>> [stem(word) for word in ("walks", "walking", "sitting", "closes", "closed", "man's", "red")]
    ['walk', 'walk', 'sit', 'clos', 'clos', 'man', 'red']
    """
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            doubled = len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiouls"
            return word[:-1] if doubled else word
    return word


def _distance(mean: np.ndarray, center: np.ndarray, spread: np.ndarray) -> float:
    """Return the root mean square of a difference (D,), in units of the spread."""
    return float(np.sqrt(np.mean(((mean - center) / spread) ** 2)))
