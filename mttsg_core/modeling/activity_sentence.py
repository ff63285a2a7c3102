"""Activity-sentence prototypes, the temporal alignment (the paper's module 4; docs/method.md, section 5), L_2.

K_e learned activity queries cross-attend the clips of a video -> E (V, K_e, D), each with its attention over the clips.
    S_as[p, i] = max_e cos(s_p, E[i, e]);  L_2 = symmetric, multi-positive cross-entropy of S_as / tau
The queries of one video are assigned different activities at the least total cost; the assigned activity must match the
sentence better than the others and attend to its true moment. E depends on no query, so it is computed once a video;
scoring a query against it is a dot product. The best activity and its attention are evidence for the head.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mttsg_core.config import NetworkConfig
from mttsg_core.data.batch import Targets
from mttsg_core.data.share import WHOLE, Share
from mttsg_core.modeling.layers import (
    QueryGroups,
    masked_softmax,
    own_video_mask,
    symmetric_contrastive_loss,
    unit_length,
)
from mttsg_core.modeling.proposals import clip_occupancy, span_iou
from mttsg_core.utils.devices import upload


class VideoActivities(NamedTuple):
    """Activities of V videos. Attributes: vectors E (V, K_e, C) of length 1, attention (V, K_e, T) that sums to 1."""

    vectors: Tensor
    attention: Tensor


class ActivitySentenceAlignment(nn.Module):
    """Activity prototypes of videos, and how sentences match them."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width, inner = config.width, config.prototype_width
        self.temperature = config.activity_temperature
        self.queries = nn.Parameter(torch.randn(config.activity_prototypes, inner))
        self.key = nn.Linear(width, inner)
        self.value = nn.Linear(width, inner)
        self.refine = nn.Sequential(nn.Linear(inner, inner), nn.GELU(), nn.Linear(inner, inner))
        self.text_side = nn.Linear(width, inner)
        self.out = nn.Linear(2, config.head_width, bias=False)
        self.out_vector = nn.Linear(inner, config.head_width, bias=False)
        nn.init.zeros_(self.out.weight)  # the network starts as one without activities
        nn.init.zeros_(self.out_vector.weight)

    def forward(self, clips: Tensor, mask: Tensor) -> VideoActivities:
        """Find the activities of clips F (V, T, D) with mask (V, T), independently of any query."""
        logits = self.queries @ self.key(clips).transpose(1, 2) / math.sqrt(self.queries.shape[1])  # (V, K_e, T)
        attention = masked_softmax(logits, mask[:, None])  # (V, K_e, T)
        attended = attention @ self.value(clips)  # (V, K_e, C)
        vectors: Tensor = attended + self.refine(attended + self.queries)
        return VideoActivities(unit_length(vectors), attention)

    def match_features(self, activities: VideoActivities, mask: Tensor, text: Tensor, groups: QueryGroups) -> Tensor:
        """Describe the best activity and its attention: projected sentences (N, C) and mask (V, T) to (N, T, D_h)."""
        match = groups.product(text, activities.vectors.transpose(1, 2))  # (N, K_e)
        weights = (match / self.temperature).softmax(-1)
        clips = groups.of_video(mask.sum(1, keepdim=True))  # (N, 1)
        attention = groups.product(weights, activities.attention) * clips  # (N, T), 1 where it is uniform
        vector = self.out_vector(groups.product(weights, activities.vectors))  # (N, D_h)
        channels = torch.stack([attention.log1p(), match.amax(-1, keepdim=True).expand_as(attention)], dim=-1)
        features: Tensor = self.out(channels) + vector[:, None]
        return features

    def project_sentence(self, sentence: Tensor) -> Tensor:
        """Project sentences s (N, D) into the space of activities, with length 1: (N, C)."""
        return unit_length(self.text_side(sentence).float())


def activity_sentence_scores(activities: VideoActivities, text: Tensor) -> Tensor:
    """Return S_as (V, N), how well the best activity of each video matches each sentence (N, C)."""
    return torch.einsum("nc,vkc->vnk", text.float(), activities.vectors.float()).amax(-1)


def activity_sentence_loss(
    activities: VideoActivities,
    mask: Tensor,
    text: Tensor,
    scores: Tensor,
    video_index: Tensor,
    targets: Targets,
    false_videos: Tensor,
    temperature: float,
    same_moment_iou: float,
    share: Share = WHOLE,
) -> Tensor:
    """Compute the share of N queries and V videos in L_2 of a batch, which has N* and V* of them.

    Args:
        activities: of V videos.
        mask: (V, T).
        text: (N, C) sentences in the space of activities.
        scores: (V*, N*), see `activity_sentence_scores`.
        video_index: (N,).
        targets: true moments.
        false_videos: (N*, V*) True for other videos that are not negatives of a sentence.
        temperature: of the match.
        same_moment_iou: overlap from which two queries of a video have one moment, and thus one activity.
        share: which queries and videos of the batch these are; N* = N and V* = V where it is whole.
    """
    text, vectors, attention = text.float(), activities.vectors.float(), activities.attention.float()
    positives = own_video_mask(share.whole_index(video_index), len(scores))  # (N*, V*)
    loss = symmetric_contrastive_loss(scores.T / temperature, positives, ~positives & ~false_videos)

    own = torch.einsum("nc,nkc->nk", text, vectors.index_select(0, video_index))  # (N, K_e)
    foreground = clip_occupancy(targets.spans, mask.shape[1]) * mask[video_index]  # (N, T)
    own_attention = attention.index_select(0, video_index)  # (N, K_e, T)
    inside = torch.einsum("nkt,nt->nk", own_attention, foreground).clamp_min(1e-6)  # (N, K_e)
    cost = -(own / temperature + inside.log()).detach()  # (N, K_e)
    moments = distinct_moments(targets.spans, video_index, same_moment_iou)  # (N,)
    assigned = assign_by_moment(cost, moments, video_index)  # (N,)
    matched = cross_entropy(own / temperature, assigned, reduction="none")  # (N,)
    uniform = foreground / foreground.sum(1, keepdim=True).clamp_min(1e-6)  # (N, T)
    log_attention = attention[video_index, assigned].clamp_min(1e-6).log()  # (N, T)
    return share.alike(loss) + share.mean(matched - (uniform * log_attention).sum(1))


def distinct_moments(spans: Tensor, video_index: Tensor, same_iou: float) -> Tensor:
    """Return for each moment (N, 2) the number of the first one of its video that it overlaps by `same_iou`: (N,).

    >>> distinct_moments(torch.tensor([[0.0, 4.0], [6.0, 9.0], [0.0, 5.0]]), torch.tensor([0, 0, 0]), 0.7).tolist()
    [0, 1, 0]
    """
    same = (span_iou(spans[:, None], spans[None]) >= same_iou) & (video_index[:, None] == video_index)
    same.fill_diagonal_(True)
    return same.to(torch.uint8).argmax(1)


def assign_by_moment(cost: Tensor, moments: Tensor, video_index: Tensor) -> Tensor:
    """Assign an activity (N,) to each query: one to those of one moment, others to the other moments of the video.

    The one place of a training step that waits for a GPU: all it needs is read back in one copy.

    Args:
        cost: (N, K) of each activity.
        moments: (N,) see `distinct_moments`.
        video_index: (N,).
    """
    table = torch.cat([cost.float(), moments[:, None], video_index[:, None]], dim=1).cpu().numpy()  # (N, K + 2)
    costs, videos = table[:, :-2].astype(np.float64), table[:, -1].astype(np.int64)
    _, first, group = np.unique(table[:, -2], return_index=True, return_inverse=True)
    total = np.zeros((len(first), costs.shape[1]))
    with np.errstate(invalid="ignore"):
        np.add.at(total, group, costs)
    mean = total / np.bincount(group)[:, None]
    return upload(torch.from_numpy(assign_by_video(mean, videos[first])[group]), cost.device)


def assign_by_video(cost: npt.NDArray[np.float64], video_index: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Assign an activity (N,) to each query: different ones to the queries of a video, at the least total cost (N, K).

    Where a video has more queries than there are activities, further rounds assign the rest.

    >>> assign_by_video(np.array([[0.0, 1.0], [0.0, 5.0]]), np.array([0, 0])).tolist()
    [1, 0]
    """
    from scipy.optimize import linear_sum_assignment  # for training alone; it would delay every answer

    values = np.nan_to_num(cost)  # a diverging training is reported by its loss
    assigned = np.zeros(len(values), dtype=np.int64)
    for video in np.unique(video_index):
        queries = np.flatnonzero(video_index == video)
        for first in range(0, len(queries), values.shape[1]):
            part = queries[first : first + values.shape[1]]
            rows, columns = linear_sum_assignment(values[part])
            assigned[part[rows]] = columns
    return assigned
