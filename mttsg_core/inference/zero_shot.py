"""Grounding without training: frames and sentence compared in the shared space of a pretrained encoder.

The similarity curve is segmented into plateaus by penalised least squares (PELT; Killick et al., JASA 2012), and every
run of plateaus is a proposal, whatever its length. The best proposals match the sentence better than what surrounds
them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch

from mttsg_core.data.batch import VideoItem
from mttsg_core.encoders.base import Array, JointEncoder, Settings
from mttsg_core.features.store import VideoFeatures
from mttsg_core.inference.modes import Mode
from mttsg_core.modeling.proposals import NMS_IOU
from mttsg_core.moments import FloatArray, Moment, Timeline, non_maximum_suppression

_PROMPTS = ("{}", "a photo of {}", "a video of {}")
# Unrelated sentences: they give the scale on which a frame's similarity to a sentence means something.
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
_MIN_NOISE = 0.05  # in units of the spread
_MIN_RELATIVE_NOISE = 0.01  # of the curve's largest absolute value
_NOISE_QUANTILE = 0.35  # at least this fraction of the steps between neighbouring clips is noise rather than a change
_PENALTY = 2.5  # per plateau, in units of noise variance times the logarithm of the number of clips
_LEVEL_WEIGHT = 1.5  # weight of matching the sentence, relative to standing out from the surroundings
_CAUTION = 7.0  # standard errors subtracted from a proposal: the errors of neighbouring frames are correlated
_FLANK = 0.5  # extent of the surroundings on each side, in lengths of the proposal
_MAX_PLATEAUS = 512  # the number of runs of plateaus, and their memory, grows with its square
_MAX_PROPOSALS = 256  # that enter non-maximum suppression


class ZeroShotPredictor:
    """A `Predictor` without trained weights of its own.

    A sentence is represented by a few prompts around it, minus the mean of a fixed bank of unrelated sentences, whose
    spread is the unit of similarity. So the moments of a sentence depend on no other sentence, and even a video of a
    single scene gets a meaningful score. The mean over the frames is not subtracted: it shifts the whole curve, and
    only differences along the curve make a moment.

    Args:
        encoder: with a text tower.
        fingerprint: how its features are made.
        device: the device that the encoder runs on; None is the CPU.
    """

    max_window_seconds: ClassVar[float | None] = None
    nms_iou: ClassVar[float] = NMS_IOU

    def __init__(self, encoder: JointEncoder, fingerprint: Settings, device: torch.device | None = None) -> None:
        self.fingerprint = fingerprint
        self.device = device or torch.device("cpu")
        self._encoder = encoder
        self._bank = self._embed(_BANK)  # (B, D)

    def encode(self, queries: Sequence[str]) -> list[Array]:
        """Return one vector (1, D) per sentence, see `Predictor.encode`."""
        if not queries:
            return []
        return [(row - self._bank.mean(axis=0))[None] for row in self._embed(queries)]

    def ground(self, items: Sequence[VideoItem], top: int, mode: Mode) -> list[list[list[Moment]]]:
        """Return the moments of each sentence, see `Predictor.ground`; both modes ground each sentence by itself."""
        return [propose_moments(self._similarity(item), item.features.timeline, top) for item in items]

    def saliency(self, items: Sequence[VideoItem]) -> list[list[Array]]:
        """Return the score that each clip would have as a moment, with the whole video as its surroundings."""
        saliency: list[list[Array]] = []
        for item in items:
            similarity = self._similarity(item)  # (N, T)
            contrast = similarity - similarity.mean(axis=1, keepdims=True)
            saliency.append(list(_score(_value(similarity, contrast)).astype(np.float32)))
        return saliency

    def _embed(self, queries: Sequence[str]) -> Array:
        """Return unit vectors (N, D) of sentences, each the mean over the prompts."""
        prompts = [prompt.format(query) for query in queries for prompt in _PROMPTS]
        vectors = _unit(self._encoder.embed_queries(prompts))
        return _unit(vectors.reshape(len(queries), len(_PROMPTS), -1).mean(axis=1))

    def _similarity(self, item: VideoItem) -> FloatArray:
        """Return how much better each sentence fits a clip than the mean of the bank, in its spread: (N, T)."""
        clips = _readable_clips(item.features)  # (T, D)
        spread = math.sqrt(np.square((clips @ self._bank.T).std(axis=1)).mean())
        rows = [clips @ words[0] for words in item.words]  # one by one: bit for bit independent of the others
        return np.reshape(rows, (-1, len(clips))).astype(np.float64) / max(spread, _MIN_SPREAD)


def propose_moments(similarity: npt.ArrayLike, timeline: Timeline, top: int) -> list[list[Moment]]:
    """Return the moments that stand out in similarity curves.

    Let L be the mean of a curve inside a proposal and C its excess over the mean of the surroundings (0 for the whole
    video). The score is the standard normal distribution function of a weighted mean of L and C, minus a margin for
    noise: near 1 where the sentence fits better than unrelated sentences do, and better than around the proposal.

    Args:
        similarity: (N, T) of each sentence with each clip; 0 is the mean of unrelated sentences, 1 their spread.
        timeline: of the T clips.
        top: maximum number of moments per sentence; two of them overlap by at most `proposals.NMS_IOU`.

    Returns:
        For each sentence its moments, the best first, with scores in 0..1. They start and end at plateau edges.
    """
    return [_propose(curve, timeline, top) for curve in np.asarray(similarity, dtype=np.float64)]


def _propose(curve: FloatArray, timeline: Timeline, top: int) -> list[Moment]:
    """Return `propose_moments` of one curve (T,)."""
    noise = _noise(curve)
    penalty = _PENALTY * noise**2 * math.log(max(2, len(curve)))
    edges = _plateaus(curve, penalty)
    while len(edges) > _MAX_PLATEAUS:  # hours of video: coarser plateaus
        penalty *= 2
        edges = _plateaus(curve, penalty)
    first, last = (edges[index] for index in np.triu_indices(len(edges), 1))  # (P,) every run of plateaus
    length = last - first
    reach = np.maximum(1, np.rint(_FLANK * length).astype(np.int64))
    before, after = np.maximum(0, first - reach), np.minimum(len(curve), last + reach)
    total = _running_sum(curve)
    level = (total[last] - total[first]) / length
    outside = after - before - length  # clips of the surroundings; none around the whole video
    around = np.divide(total[after] - total[before] - level * length, outside, out=level.copy(), where=outside > 0)
    error = noise * np.sqrt(1 / length + np.divide(1, outside, out=np.zeros_like(level), where=outside > 0))
    value = _value(level, level - around) - _CAUTION * error / (_LEVEL_WEIGHT + 1)
    best = np.argsort(-value, kind="stable")[:_MAX_PROPOSALS]
    scores = _score(value[best])
    spans = timeline.to_seconds(np.stack([first[best], last[best]], axis=1))
    moments = [
        Moment(float(start), float(end), float(score)) for (start, end), score in zip(spans, scores, strict=True)
    ]
    return non_maximum_suppression(moments, NMS_IOU, top)


def _noise(curve: FloatArray) -> float:
    """Estimate the standard deviation of the noise from the smaller steps between neighbouring clips."""
    steps = np.abs(np.diff(curve))
    expected = NormalDist(sigma=math.sqrt(2)).inv_cdf((1 + _NOISE_QUANTILE) / 2)  # of a step of unit noise
    measured = float(np.quantile(steps, _NOISE_QUANTILE)) / expected if len(steps) else 0.0
    return max(measured, _MIN_NOISE, _MIN_RELATIVE_NOISE * float(np.abs(curve).max()))


def _plateaus(curve: FloatArray, penalty: float) -> npt.NDArray[np.int64]:
    """Return the edges 0 .. T, ascending, of the plateaus that minimise squared error plus a penalty per plateau."""
    total, squares = _running_sum(curve), _running_sum(curve**2)
    cost = np.zeros(len(curve) + 1)  # of the best segmentation up to each edge
    previous = np.zeros(len(curve) + 1, dtype=np.int64)
    starts = np.zeros(1, dtype=np.int64)  # edges where the last plateau may still start
    for end in range(1, len(cost)):
        error = squares[end] - squares[starts] - (total[end] - total[starts]) ** 2 / (end - starts)
        costs = cost[starts] + error
        cost[end] = costs.min() + penalty
        previous[end] = starts[costs.argmin()]
        starts = np.append(starts[costs <= cost[end]], end)
    edges = [len(curve)]
    while edges[-1] > 0:
        edges.append(int(previous[edges[-1]]))
    return np.array(edges[::-1])


def _value(level: FloatArray, contrast: FloatArray) -> FloatArray:
    """Return the weighted mean of both."""
    return (_LEVEL_WEIGHT * level + contrast) / (_LEVEL_WEIGHT + 1)


def _score(value: FloatArray) -> FloatArray:
    """Map values of any shape to 0..1, see `propose_moments`."""
    scores: FloatArray = torch.special.ndtr(torch.from_numpy(value)).numpy()
    return scores


def _running_sum(values: FloatArray) -> FloatArray:
    return np.concatenate([[0.0], np.cumsum(values)])


def _readable_clips(features: VideoFeatures) -> Array:
    """Return unit vectors (T, D); an unreadable clip repeats the one before it, or else the first readable one."""
    clips = _unit(np.asarray(features.clips, dtype=np.float32))
    readable = clips.any(axis=1)
    source = np.where(readable, np.arange(len(clips)), readable.argmax())
    return clips[np.maximum.accumulate(source)]


def _unit(vectors: Array) -> Array:
    """Return rows (N, D) scaled to length 1; zeros stay zeros."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
