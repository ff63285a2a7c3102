"""Cross-sentence semantic mining with a cross-modal memory (the paper's module 2; method, section 2).

    c_p = attention of s_p over F of its own video                      what this video shows for this query
    m_p = LN(W_m [s_p ; c_p])                                           the pair's memory entry
    u_p = attention of m_p over entries of other queries of the same video
    z_p = attention of m_p over its top-k entries of other videos: in the batch and in a FIFO queue of past pairs
    g_p = sigmoid(W_g [s_p ; u_p ; z_p]);  s'_p = LN(s_p + g_p * (u_p + z_p));  words get s'_p through a projection

Entries are compared by the cosine of their differences from the mean of the queue: all of them have much in common,
and without that the same few would answer to every query. Learned entries would do the same, so there are none.

Only the head hears s'_p: contrast, objects and activities compare the sentence as it was asked, in which nothing of
the own video or of past pairs is mixed.

Alone, a query mines the queue only, which training fills and everything else leaves as it is: its prediction depends
on nothing but its video, its words and the checkpoint. Together (`joint`), the queries of a video mine each other
too, in no order and without their times. Training does both: co-query dropout takes a random half of the queries out
of the company of the others. No query of the training finds entries of the video that it is asked of in the queue, nor
of the one it was made for: after the training none will.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mttsg_core.config import NetworkConfig
from mttsg_core.modeling.layers import QueryGroups, masked_softmax

_TEMPERATURE = 0.1
_EMPTY, _UNKNOWN = -1, -2  # origins of a place in the queue without an entry, and of an entry without a known one


class EnrichedQueries(NamedTuple):
    """N queries after mining. Attributes: words (N, L, D), sentence s' (N, D), gate g (N, D)."""

    words: Tensor
    sentence: Tensor
    gate: Tensor


class CrossSentenceMemory(nn.Module):
    """What other pairs know about a query, by way of a memory."""

    queue: Tensor
    origins: Tensor
    place: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.width
        self.top = config.memory_top
        self.alone = config.co_query_dropout
        self.look = nn.Linear(width, width)
        self.entry = nn.Linear(2 * width, width)
        self.entry_norm = nn.LayerNorm(width)
        self.from_video = nn.Linear(width, width, bias=False)
        self.from_memory = nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(3 * width, width)
        self.norm = nn.LayerNorm(width)
        self.to_words = nn.Linear(width, width, bias=False)
        self.register_buffer("queue", torch.zeros(config.memory_queue, width))
        self.register_buffer("origins", torch.full((config.memory_queue,), _EMPTY))
        self.register_buffer("place", torch.zeros((), dtype=torch.long))
        nn.init.zeros_(self.from_video.weight)  # the network starts as one without a memory
        nn.init.zeros_(self.from_memory.weight)
        nn.init.zeros_(self.to_words.weight)

    def forward(
        self,
        words: Tensor,
        sentence: Tensor,
        origins: Tensor | None,
        clips: Tensor,
        mask: Tensor,
        groups: QueryGroups,
        *,
        joint: bool = False,
        strangers: bool = False,
    ) -> EnrichedQueries:
        """words (N, L, D) and sentences s (N, D) about clips F (V, T, D) with mask (V, T).

        Args:
            words, sentence, clips, mask: see above.
            origins: (N, K) see `EncodedQueries`; None outside training.
            groups: the queries by video.
            joint: let the queries of a video mine each other; training always does.
            strangers: these queries do not describe their video: each mines the memory alone and leaves nothing in it.
        """
        learning = self.training and not strangers
        entries = self.entries(sentence, clips, mask, groups)  # (N, D)
        social = torch.ones_like(groups.video_index, dtype=torch.bool)  # (N,) may see other queries
        if learning:
            social = torch.rand(social.shape, device=social.device) >= self.alone
        near = sentence.new_zeros(sentence.shape)
        if joint or learning:
            near = self.from_video(self.same_video(entries, groups)) * social[:, None]  # (N, D)
        company = social if learning else None
        far = self.from_memory(self.memory(entries, origins, company, groups.video_index))  # (N, D)
        gate = torch.sigmoid(self.gate(torch.cat([sentence, near, far], dim=-1)))  # (N, D)
        mined = self.norm(sentence + gate * (near + far))  # (N, D)
        if learning:
            self.remember(entries, None if origins is None else origins[:, 0])
        return EnrichedQueries(words + self.to_words(mined)[:, None], mined, gate)

    def entries(self, sentence: Tensor, clips: Tensor, mask: Tensor, groups: QueryGroups) -> Tensor:
        """m (N, D): each sentence with what it attends to in its own video."""
        score = groups.product(self.look(sentence), clips.transpose(1, 2)) / math.sqrt(clips.shape[-1])  # (N, T)
        shown = groups.product(masked_softmax(score, groups.of_video(mask)), clips)  # (N, D)
        entries: Tensor = self.entry_norm(self.entry(torch.cat([sentence, shown], dim=-1)))
        return entries

    def same_video(self, entries: Tensor, groups: QueryGroups) -> Tensor:
        """(N, D) what the other queries of the same video hold; zero where there is none."""
        held = groups.group(entries)  # (V, Q, D)
        there = groups.group(torch.ones_like(groups.video_index, dtype=torch.bool))  # (V, Q)
        others = there[:, None] & ~torch.eye(groups.size, dtype=torch.bool, device=there.device)  # (V, Q, Q)
        directions = groups.group(self.directions(entries))
        score = directions @ directions.transpose(1, 2) / _TEMPERATURE  # (V, Q, Q)
        return groups.ungroup(masked_softmax(score, others) @ held)

    def memory(self, entries: Tensor, origins: Tensor | None, company: Tensor | None, video_index: Tensor) -> Tensor:
        """(N, D) the mean of the best entries of other videos, in the queue and in the batch; zero where there is none.

        Args:
            entries: m (N, D).
            origins: (N, K) whose entries each query does not see; None if it sees all.
            company: (N,) who sees the batch; None if nobody does.
            video_index: (N,).
        """
        size = len(self.queue)  # M
        store = torch.cat([self.queue.to(entries.dtype), entries])  # (M + N, D)
        directions = self.directions(store)
        open_ = (self.origins != _EMPTY).expand(len(entries), -1)  # (N, M)
        if origins is not None:
            open_ = open_ & (self.origins != origins[..., None]).all(1)
        if company is None:
            store = store[:size]
        else:
            others = (video_index[:, None] != video_index) & company[:, None]  # (N, N)
            if origins is not None:
                others = others & (origins[:, 0] != origins[..., None]).all(1)
            open_ = torch.cat([open_, others], dim=1)
        if not len(store):
            return torch.zeros_like(entries)
        score = directions[size:] @ directions[: len(store)].T / _TEMPERATURE  # (N, M)
        best, index = score.masked_fill(~open_, -torch.inf).topk(min(self.top, len(store)), dim=1)  # (N, K)
        weights = masked_softmax(best, open_.gather(1, index))
        return (weights[:, None] @ store[index]).squeeze(1)

    def directions(self, entries: Tensor) -> Tensor:
        """Of entries (N, D), seen from the mean of the queue: of length 1."""
        there = (self.origins != _EMPTY)[:, None]  # (M, 1)
        centre = (self.queue * there).sum(0) / there.sum().clamp_min(1)  # (D,)
        return normalize(entries - centre.to(entries.dtype), dim=-1)

    @torch.no_grad()
    def remember(self, entries: Tensor, origins: Tensor | None = None) -> None:
        """Put entries (N, D), and their origins (N,) if known, into the queue in place of its oldest ones."""
        size = len(self.queue)
        newest = slice(max(0, len(entries) - size), None)
        kept = entries.detach()[newest]
        places = (self.place + torch.arange(len(kept), device=self.queue.device)) % max(1, size)
        self.queue[places] = kept.to(self.queue.dtype)
        self.origins[places] = _UNKNOWN if origins is None else origins[newest]
        self.place.copy_((self.place + len(kept)) % max(1, size))
