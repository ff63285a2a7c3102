"""Activity-sentence prototypes, the temporal alignment (the paper's module 4; method, section 5), L_2.

K_e learned activity queries cross-attend the clips of a video -> E (V, K_e, D), and where each looks.
    S_as[p, i] = max_e cos(s_p, E[i, e]);  L_2 = symmetric, multi-positive cross-entropy of S_as / tau
The queries of one video are assigned different activities, at the least cost in all (Hungarian method); the assigned
activity must match the sentence better than the others and look at its true moment. Nothing of E depends on a query,
so it is made once a video; scoring a query against it is a dot product. The head sees the best activity and its place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from mttsg_core.config import NetworkConfig
from mttsg_core.modeling.layers import QueryGroups, masked_softmax, own_video_mask, symmetric_contrastive_loss
from mttsg_core.modeling.proposals import clip_occupancy

_TEMPERATURE = 0.1


class VideoActivities(NamedTuple):
    """What goes on in V videos. Attributes: vectors E (V, K_e, C) of length 1, places (V, K_e, T) that sum to 1."""

    vectors: Tensor
    places: Tensor


class ActivitySentenceAlignment(nn.Module):
    """Activities of a video and the sentences that name them."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width, inner = config.width, config.prototype_width
        self.queries = nn.Parameter(torch.randn(config.activity_prototypes, inner))
        self.key = nn.Linear(width, inner)
        self.value = nn.Linear(width, inner)
        self.refine = nn.Sequential(nn.Linear(inner, inner), nn.GELU(), nn.Linear(inner, inner))
        self.text_side = nn.Linear(width, inner)
        self.out = nn.Linear(2, config.head_width, bias=False)
        self.out_vector = nn.Linear(inner, config.head_width, bias=False)
        nn.init.zeros_(self.out.weight)  # the network starts as one without
        nn.init.zeros_(self.out_vector.weight)

    def forward(self, clips: Tensor, mask: Tensor) -> VideoActivities:
        """clips F (V, T, D) and mask (V, T); independent of any query."""
        score = self.queries @ self.key(clips).transpose(1, 2) / math.sqrt(self.queries.shape[1])  # (V, K_e, T)
        places = masked_softmax(score, mask[:, None])  # (V, K_e, T)
        seen = places @ self.value(clips)  # (V, K_e, C)
        vectors: Tensor = seen + self.refine(seen + self.queries)
        return VideoActivities(normalize(vectors, dim=-1), places)

    def evidence(self, activities: VideoActivities, mask: Tensor, sentence: Tensor, groups: QueryGroups) -> Tensor:
        """The best activity and its place, for sentences s (N, D) and mask (V, T): (N, T, D_h)."""
        text = normalize(self.text_side(sentence), dim=-1)  # (N, C)
        match = groups.product(text, activities.vectors.transpose(1, 2))  # (N, K_e)
        chosen = (match / _TEMPERATURE).softmax(-1)
        clips = groups.of_video(mask.sum(1, keepdim=True))  # (N, 1)
        places = groups.product(chosen, activities.places) * clips  # (N, T), 1 if anywhere is as likely
        vector = self.out_vector(groups.product(chosen, activities.vectors))  # (N, D_h)
        channels = torch.stack([places.log1p(), match.amax(-1, keepdim=True).expand_as(places)], dim=-1)
        evidence: Tensor = self.out(channels) + vector[:, None]
        return evidence

    def loss(
        self,
        activities: VideoActivities,
        mask: Tensor,
        sentence: Tensor,
        video_index: Tensor,
        bounds: Tensor,
        false_videos: Tensor,
    ) -> Tensor:
        """L_2 of a batch.

        Args:
            activities: of V videos.
            mask: (V, T).
            sentence: s (N, D).
            video_index: (N,).
            bounds: (N, 2) true moments in clip units.
            false_videos: (N, V) other videos that are no negatives of a sentence.
        """
        text = normalize(self.text_side(sentence).float(), dim=-1)  # (N, C)
        vectors, places = activities.vectors.float(), activities.places.float()
        match = torch.einsum("nc,vkc->nvk", text, vectors)  # (N, V, K_e)
        scores = match.amax(-1)  # (N, V)
        positives = own_video_mask(video_index, len(vectors))
        loss = symmetric_contrastive_loss(scores / _TEMPERATURE, positives, ~positives & ~false_videos)

        own = match[torch.arange(len(text), device=text.device), video_index]  # (N, K_e)
        inside = clip_occupancy(bounds, mask.shape[1]) * mask[video_index]  # (N, T)
        own_places = places.index_select(0, video_index)  # (N, K_e, T)
        inside_share = torch.einsum("nkt,nt->nk", own_places, inside).clamp_min(1e-6)  # (N, K_e)
        assigned = assign_by_video(-(own / _TEMPERATURE + inside_share.log()).detach(), video_index)  # (N,)
        named = cross_entropy(own / _TEMPERATURE, assigned)
        even = inside / inside.sum(1, keepdim=True).clamp_min(1e-6)  # (N, T)
        looked = places[video_index, assigned].clamp_min(1e-6).log()  # (N, T)
        return loss + named - (even * looked).sum(1).mean()


def assign_by_video(cost: Tensor, video_index: Tensor) -> Tensor:
    """The activity (N,) of each query: different ones for the queries of a video, at the least cost (N, K) in all.

    Where a video has more queries than there are activities, further rounds assign the rest.
    """
    assigned = torch.zeros_like(video_index)
    rows = cost.nan_to_num().cpu().tolist()  # a training that diverges says so itself
    by_video: dict[int, list[int]] = {}
    for query, video in enumerate(video_index.tolist()):
        by_video.setdefault(video, []).append(query)
    for queries in by_video.values():
        for first in range(0, len(queries), cost.shape[1]):
            part = queries[first : first + cost.shape[1]]
            for query, activity in zip(part, assign([rows[query] for query in part]), strict=True):
                assigned[query] = activity
    return assigned


def assign(cost: Sequence[Sequence[float]]) -> list[int]:
    """A different column for each row, with the least sum of costs (the Hungarian method with potentials).

    Args:
        cost: n rows of m columns, n <= m.
    """
    rows, columns = len(cost), len(cost[0])
    row_price, column_price = [0.0] * (rows + 1), [0.0] * (columns + 1)
    owner = [0] * (columns + 1)  # the row (from 1) that has each column; column 0 is a start without cost
    for row in range(1, rows + 1):
        owner[0] = row
        least = [math.inf] * (columns + 1)
        before = [0] * (columns + 1)
        done = [False] * (columns + 1)
        column = 0
        while owner[column]:
            done[column] = True
            current, gap, nearest = owner[column], math.inf, 0
            for other in range(1, columns + 1):
                if done[other]:
                    continue
                reduced = cost[current - 1][other - 1] - row_price[current] - column_price[other]
                if reduced < least[other]:
                    least[other], before[other] = reduced, column
                if least[other] < gap:
                    gap, nearest = least[other], other
            for other in range(columns + 1):
                if done[other]:
                    row_price[owner[other]] += gap
                    column_price[other] -= gap
                else:
                    least[other] -= gap
            column = nearest
        while column:
            owner[column] = owner[before[column]]
            column = before[column]
    return [owner.index(row, 1) - 1 for row in range(1, rows + 1)]
