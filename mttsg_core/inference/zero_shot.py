"""Grounding without training: clips and sentences compared in the space that a pretrained joint model shares.

Where the moment is comes from `modeling.shared_space`: cuts of the curve of relevance vote for it. How sure that is
comes from three numbers: how well the sentence fits the clips of the answer, compared with unrelated sentences; how far
they are above the rest of the video; and how many of the votes agree. Their weights were fitted on the captions of
QVHighlights, where a sentence was asked of its own video and of another one (docs/results.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mttsg_core.data.batch import VideoItem
from mttsg_core.data.familiarity import Familiarity
from mttsg_core.encoders.base import Array, Settings
from mttsg_core.errors import FeatureError
from mttsg_core.features.store import VideoFeatures
from mttsg_core.inference.modes import Mode
from mttsg_core.modeling.layers import QueryGroups
from mttsg_core.modeling.proposals import NMS_IOU, span_iou
from mttsg_core.modeling.shared_space import best_vote, relevance_of, vote
from mttsg_core.moments import Moment, Timeline

IMAGE_PROMPTS = ("{}", "a photo of {}", "a video of {}")  # around a sentence, for models of images and their captions
PLAIN_PROMPTS = ("{}",)
# Unrelated sentences: they give the scale on which a clip's similarity to a sentence means something.
_BANK = (
    *("a person cooks a meal", "a dog runs across a field", "two people talk at a table", "a car drives down a road"),
    *("a child plays with a toy", "someone reads a book", "a crowd watches a game", "a person washes the dishes"),
    *("a man plays the guitar", "a woman talks on the phone", "birds fly over the water", "someone opens a door"),
    *("a person works at a computer", "people dance at a party", "a boat sails on the sea", "a train arrives"),
    *("someone puts on a jacket", "a cat sleeps on a sofa", "people walk through a city", "a horse jumps a fence"),
    *("a person lifts weights", "a tree moves in the wind", "text on a screen", "a speaker stands on a stage"),
    *("someone pours a drink", "an empty room", "a close-up of a face", "a player scores a goal"),
)
_MIN_SPREAD = 1e-4  # of the cosines with unrelated sentences; 0.02 is usual
_MAX_ANSWERS = 100  # of a sentence: every further one votes again
_LEVEL, _EXCESS, _AGREEMENT, _SHIFT = 0.78, 0.41, 1.29, -4.36  # of the score, see `_score`

EmbedSentences = Callable[[Sequence[str]], Array]


class ZeroShotPredictor:
    """A `Predictor` without trained weights of its own.

    Args:
        embed: embeds N sentences, independently, as (N, D) in the space of the clips.
        fingerprint: how the features are made.
        prompts: what a sentence is put into; its embedding is the mean over them.
        device: where curves are computed; None is the CPU.
    """

    max_window_seconds: ClassVar[float | None] = None
    nms_iou: ClassVar[float] = NMS_IOU
    familiarity: ClassVar[Familiarity | None] = None
    has_comparable_scores: ClassVar[bool] = True

    def __init__(
        self,
        embed: EmbedSentences,
        fingerprint: Settings,
        prompts: Sequence[str] = IMAGE_PROMPTS,
        device: torch.device | None = None,
    ) -> None:
        self.fingerprint = fingerprint
        self.device = device or torch.device("cpu")
        self._embed_sentences, self._prompts = embed, tuple(prompts)
        self._bank = torch.from_numpy(self._embed(_BANK)).to(self.device)  # (B, D)

    def encode(self, queries: Sequence[str]) -> list[Array]:
        """Return one vector (1, D) per sentence, see `Predictor.encode`."""
        return [row[None] for row in self._embed(queries)] if queries else []

    @torch.inference_mode()
    def ground(self, items: Sequence[VideoItem], top: int, mode: Mode) -> list[list[list[Moment]]]:
        """Return the moments of each sentence, see `Predictor.ground`; both modes ground each sentence by itself."""
        answers = []
        for item in items:
            clips, timeline = self._clips(item.features), item.features.timeline
            answers.append([self._moments(clips, words, timeline, top) for words in item.words])
        return answers

    @torch.inference_mode()
    def saliency(self, items: Sequence[VideoItem], mode: Mode = "independent") -> list[list[Array]]:
        """Return the score that each clip would have as a moment, see `Predictor.saliency`."""
        saliency: list[list[Array]] = []
        for item in items:
            clips = self._clips(item.features)
            levels = [self._levels(clips, self._sentence(words)) for words in item.words]  # (T,) each
            saliency.append([_score(level, level - level.mean(), 1.0).float().cpu().numpy() for level in levels])
        return saliency

    @property
    def dim(self) -> int:
        """Width of the vectors of clips and sentences."""
        return self._bank.shape[1]

    @torch.inference_mode()
    def clip_vectors(self, features: VideoFeatures) -> Array:
        """Return vectors (T, D) whose products with `sentence_vectors` are what scores of single clips are made of.

        Level and excess of a clip are linear in the sentence, so both are in the vector; the agreement is not.

        Raises:
            FeatureError: as `ground`.
        """
        clips = self._clips(features)
        relative = clips / _spread(clips @ self._bank.T)
        vectors = _LEVEL * relative + _EXCESS * (relative - relative.mean(0))
        return vectors.float().cpu().numpy()

    def sentence_vectors(self, words: Sequence[Array]) -> Array:
        """Return at least one encoded sentence (N, D), less the mean of unrelated ones."""
        return np.concatenate(words) - self._bank.mean(0).cpu().numpy()

    def _moments(self, clips: Tensor, words: Array, timeline: Timeline, top: int) -> list[Moment]:
        """Return the moments of one sentence in clips (T, D), the best first."""
        sentence = self._sentence(words)
        curve = _relevance(clips, sentence - self._bank.mean(0))
        levels, curve = torch.stack(
            [self._levels(clips, sentence), curve]
        ).cpu()  # (T,) each; the rest is a few numbers
        moments: list[Moment] = []
        for found in propose_moments(curve, top):
            level = levels[found.first : found.last].mean()
            score = float(_score(level, level - levels.mean(), found.agreement))
            score = min([score, *(moment.score for moment in moments[-1:])])  # ranks and scores must not disagree
            start, end = timeline.to_seconds(np.array([found.first, found.last]))
            moments.append(Moment(float(start), float(end), score))
        return moments

    def _levels(self, clips: Tensor, sentence: Tensor) -> Tensor:
        """Return how much better a sentence (D,) fits clips (T, D) than the mean of the bank does, in its spread."""
        cosines = clips @ self._bank.T  # (T, B)
        return (clips @ sentence - cosines.mean(1)) / _spread(cosines)

    def _embed(self, queries: Sequence[str]) -> Array:
        """Return unit vectors (N, D) of sentences, each the mean over the prompts."""
        prompts = [prompt.format(query) for query in queries for prompt in self._prompts]
        vectors = _unit(self._embed_sentences(prompts))
        return _unit(vectors.reshape(len(queries), len(self._prompts), -1).mean(axis=1))

    def _sentence(self, words: Array) -> Tensor:
        return torch.from_numpy(words[0]).to(self.device)

    def _clips(self, features: VideoFeatures) -> Tensor:
        """Return unit vectors (T, D); an unreadable clip repeats the one before it, or else the first readable one.

        Raises:
            FeatureError: if they are not as wide as the sentences.
        """
        clips = _unit(np.asarray(features.clips, dtype=np.float32))
        if clips.shape[1] != self._bank.shape[1]:
            widths = f"{clips.shape[1]} numbers a clip, but sentences have {self._bank.shape[1]}"
            raise FeatureError(f"features of {widths}: they do not share one space")
        readable = clips.any(axis=1)
        source = np.where(readable, np.arange(len(clips)), readable.argmax())
        return torch.from_numpy(clips[np.maximum.accumulate(source)]).to(self.device)


class Proposed(NamedTuple):
    """A moment without training. Attributes: first clip, one past the last clip, share of the votes that agree."""

    first: int
    last: int
    agreement: float


def propose_moments(curve: Tensor, top: int) -> list[Proposed]:
    """Return the moments that stand out in a curve, the best first. Each further one is found in the clips left over.

    Args:
        curve: (T,) relevance of each clip; neither its scale nor its mean matters.
        top: maximum number of moments; no two of them overlap.
    """
    mask = torch.ones(1, len(curve), dtype=torch.bool, device=curve.device)
    found: list[Proposed] = []
    while len(found) < min(top, _MAX_ANSWERS) and mask.any():
        votes = vote(curve[None], mask)  # (1, S, 2)
        answer = best_vote(votes)  # (1, 2)
        first, last = (int(edge) for edge in answer[0])
        if not mask[0, first:last].all():  # a flat rest of the video, around earlier answers
            break
        agreement = float((span_iou(votes[0], answer) >= 0.5).float().mean())
        found.append(Proposed(first, last, agreement))
        mask[0, first:last] = False
    return found


def _relevance(clips: Tensor, sentence: Tensor) -> Tensor:
    """Return the relevance (T,) of clips (T, D) for a sentence (D,), less the mean of sentences."""
    alone = QueryGroups(torch.zeros(1, dtype=torch.long, device=clips.device), 1)
    mask = torch.ones(1, len(clips), dtype=torch.bool, device=clips.device)
    return relevance_of(clips[None], mask, sentence[None], alone).curve[0]


def _spread(cosines: Tensor) -> Tensor:
    """Return how far the cosines (T, B) of clips with unrelated sentences are spread."""
    return cosines.std(dim=1, correction=0).square().mean().sqrt().clamp_min(_MIN_SPREAD)


def _score(level: Tensor, excess: Tensor, agreement: float) -> Tensor:
    """Return the chance that an answer is right: how well it fits, how far it stands out, how many votes agree."""
    return (_LEVEL * level + _EXCESS * excess + _AGREEMENT * agreement + _SHIFT).sigmoid()


def _unit(vectors: Array) -> Array:
    """Return rows (N, D) scaled to length 1; zeros stay zeros."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
