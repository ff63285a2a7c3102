"""An answer before any training: frames compared with the sentence in the common space of a pretrained encoder.

The curve of similarity is cut into plateaus by penalised least squares (PELT; Killick et al., JASA 2012), and every
run of plateaus is a candidate of its own scale. The best ones fit the sentence well and their surroundings less.
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
# Unrelated sentences: what a frame's similarity to a sentence means is only known beside these.
_BANK = (
    *("a person cooks a meal", "a dog runs across a field", "two people talk at a table", "a car drives down a road"),
    *("a child plays with a toy", "someone reads a book", "a crowd watches a game", "a person washes the dishes"),
    *("a man plays the guitar", "a woman talks on the phone", "birds fly over the water", "someone opens a door"),
    *("a person works at a computer", "people dance at a party", "a boat sails on the sea", "a train arrives"),
    *("someone puts on a jacket", "a cat sleeps on a sofa", "people walk through a city", "a horse jumps a fence"),
    *("a person lifts weights", "a tree moves in the wind", "text on a screen", "a speaker stands on a stage"),
    *("someone pours a drink", "an empty room", "a close-up of a face", "a player scores a goal"),
)
_LEAST_SPREAD = 1e-4  # of the cosines of unrelated sentences; 0.02 is usual
_LEAST_NOISE, _LEAST_SHARE = 0.05, 0.01  # in these spreads, and of the curve's largest value: less is no difference
_QUIET = 0.35  # the share of steps between neighbours that are noise and no change, at least
_PENALTY = 2.5  # of a change, in variances of the noise and logarithms of the number of clips
_LEVEL = 1.5  # what fitting the sentence counts, where standing out of the surroundings counts 1
_CAUTION = 7.0  # standard errors of the noise that count against a candidate: neighbouring frames err together
_FLANK = 0.5  # how far the surroundings reach on each side, in lengths of the candidate
_MOST_PLATEAUS = 512  # the number of their runs, and the memory for these, grows with its square
_CANDIDATES = 256  # that come to non-maximum suppression


class ZeroShotPredictor:
    """A `predictor.Predictor` without any trained weights of its own.

    A sentence is a few prompts around it, less the mean of a fixed bank of unrelated sentences; the spread of these
    is the unit of similarity. So no answer depends on what else is asked, and a video of one scene has a meaning. The
    mean of the frames is not removed: it moves a curve as a whole, and only differences along it make a moment.

    Args:
        encoder: with a text tower.
        fingerprint: of the features that it makes.
        device: where the encoder runs; None is the CPU.
    """

    max_window_seconds: ClassVar[float | None] = None

    def __init__(self, encoder: JointEncoder, fingerprint: Settings, device: torch.device | None = None) -> None:
        self.fingerprint = fingerprint
        self.device = device or torch.device("cpu")
        self._encoder = encoder
        self._bank = self._embed(_BANK)  # (B, D)

    def encode(self, queries: Sequence[str]) -> list[Array]:
        """See `Predictor.encode`: one direction (1, D) a sentence."""
        if not queries:
            return []
        return [(row - self._bank.mean(axis=0))[None] for row in self._embed(queries)]

    def ground(self, items: Sequence[VideoItem], top: int, mode: Mode) -> list[list[list[Moment]]]:
        """See `Predictor.ground`. Sentences are asked one by one in either mode."""
        return [propose_moments(self._similarity(item), item.features.timeline, top) for item in items]

    def saliency(self, items: Sequence[VideoItem]) -> list[list[Array]]:
        """See `Predictor.saliency`: the score of a clip, were it a moment in the midst of the whole video."""
        found: list[list[Array]] = []
        for item in items:
            similarity = self._similarity(item)  # (N, T)
            contrast = similarity - similarity.mean(axis=1, keepdims=True)
            found.append(list(_score(_value(similarity, contrast)).astype(np.float32)))
        return found

    def _embed(self, queries: Sequence[str]) -> Array:
        """Sentences to unit vectors (N, D), each the mean over the prompts."""
        prompts = [prompt.format(query) for query in queries for prompt in _PROMPTS]
        vectors = _unit(self._encoder.embed_queries(prompts))
        return _unit(vectors.reshape(len(queries), len(_PROMPTS), -1).mean(axis=1))

    def _similarity(self, item: VideoItem) -> FloatArray:
        """(N, T): how much better each sentence fits a clip than the mean of the bank, in the bank's spread."""
        clips = _known_clips(item.features)  # (T, D)
        spread = math.sqrt(np.square((clips @ self._bank.T).std(axis=1)).mean())
        rows = [clips @ words[0] for words in item.words]  # one by one: to the bit the same in any company
        return np.reshape(rows, (-1, len(clips))).astype(np.float64) / max(spread, _LEAST_SPREAD)


def propose_moments(similarity: npt.ArrayLike, timeline: Timeline, top: int) -> list[list[Moment]]:
    """The moments that curves of similarity show.

    With L the mean of a curve inside a candidate, and C how far it lies above the mean of its surroundings (0 for the
    whole video), the score is the normal distribution function of a mean of both, less the error that noise may bring:
    near 1 where the sentence fits better than unrelated ones do, and better than elsewhere.

    Args:
        similarity: (N, T) of each sentence with each clip; 0 is an unrelated sentence, 1 the spread of these.
        timeline: of the T clips.
        top: answers a sentence, at most; two of them overlap at most `spans.NMS_IOU`.

    Returns:
        For each sentence its moments, the best first, with scores in 0..1. Each begins and ends where a plateau does.
    """
    return [_propose(curve, timeline, top) for curve in np.asarray(similarity, dtype=np.float64)]


def _propose(curve: FloatArray, timeline: Timeline, top: int) -> list[Moment]:
    """`propose_moments` of one curve (T,)."""
    noise = _noise(curve)
    penalty = _PENALTY * noise**2 * math.log(max(2, len(curve)))
    edges = _plateaus(curve, penalty)
    while len(edges) > _MOST_PLATEAUS:  # of hours of video, coarser ones
        penalty *= 2
        edges = _plateaus(curve, penalty)
    first, last = (edges[index] for index in np.triu_indices(len(edges), 1))  # (C,) every run of plateaus
    length = last - first
    reach = np.maximum(1, np.rint(_FLANK * length).astype(np.int64))
    before, after = np.maximum(0, first - reach), np.minimum(len(curve), last + reach)
    total = _running_sum(curve)
    level = (total[last] - total[first]) / length
    beside = after - before - length  # clips of the surroundings; none beside the whole video
    around = np.divide(total[after] - total[before] - level * length, beside, out=level.copy(), where=beside > 0)
    error = noise * np.sqrt(1 / length + np.divide(1, beside, out=np.zeros_like(level), where=beside > 0))
    value = _value(level, level - around) - _CAUTION * error / (_LEVEL + 1)
    best = np.argsort(-value, kind="stable")[:_CANDIDATES]
    scores = _score(value[best])
    bounds = timeline.to_seconds(np.stack([first[best], last[best]], axis=1))
    moments = [
        Moment(float(start), float(end), float(score)) for (start, end), score in zip(bounds, scores, strict=True)
    ]
    return non_maximum_suppression(moments, NMS_IOU, top)


def _noise(curve: FloatArray) -> float:
    """Standard deviation of the noise, from the smaller ones of the steps between neighbours."""
    steps = np.abs(np.diff(curve))
    usual = NormalDist(sigma=math.sqrt(2)).inv_cdf((1 + _QUIET) / 2)  # that quantile of a step of unit noise
    measured = float(np.quantile(steps, _QUIET)) / usual if len(steps) else 0.0
    return max(measured, _LEAST_NOISE, _LEAST_SHARE * float(np.abs(curve).max()))


def _plateaus(curve: FloatArray, penalty: float) -> npt.NDArray[np.int64]:
    """Edges 0 .. T of the constant pieces (T,) of least squared error plus a penalty for each piece, ascending."""
    total, squares = _running_sum(curve), _running_sum(curve**2)
    cost = np.zeros(len(curve) + 1)  # of the best pieces up to an edge
    previous = np.zeros(len(curve) + 1, dtype=np.int64)
    starts = np.zeros(1, dtype=np.int64)  # edges at which the last piece may still begin
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
    """Their weighted mean."""
    return (_LEVEL * level + contrast) / (_LEVEL + 1)


def _score(value: FloatArray) -> FloatArray:
    """To 0..1, any shape; see `propose_moments`."""
    scores: FloatArray = torch.special.ndtr(torch.from_numpy(value)).numpy()
    return scores


def _running_sum(values: FloatArray) -> FloatArray:
    return np.concatenate([[0.0], np.cumsum(values)])


def _known_clips(features: VideoFeatures) -> Array:
    """Unit vectors (T, D); a clip that could not be read is as the one before it, or as the first that could."""
    clips = _unit(np.asarray(features.clips, dtype=np.float32))
    known = clips.any(axis=1)
    source = np.where(known, np.arange(len(clips)), known.argmax())
    return clips[np.maximum.accumulate(source)]


def _unit(vectors: Array) -> Array:
    """Rows (N, D) of length 1; zeros stay zeros."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
