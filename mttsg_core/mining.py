"""Cross-sentence semantic mining with a cross-modal memory (the paper's module 2; method, section 2).

    c_p = attention of s_p over F of its own video                      what this video shows for this query
    m_p = LN(W_m [s_p ; c_p])                                           the pair's memory entry
    u_p = attention of m_p over entries of other queries of the same video
    z_p = attention of m_p over its top-k entries of other videos: in the batch, in a FIFO queue, in learned slots
    g_p = sigmoid(W_g [s_p ; u_p ; z_p]);  s'_p = LN(s_p + g_p * (u_p + z_p));  words get s'_p through a projection

Only the head hears s'_p: contrast, objects and activities compare the sentence as it was asked, in which nothing of
the own video or of past pairs is mixed.

Alone, a query mines the queue and the slots only, which training fills and everything else leaves as they are: its
prediction depends on nothing but its video, its words and the checkpoint. Together (`joint`), the queries of a video
mine each other too, in no order and without their times. Training does both: co-query dropout takes a random half of
the queries out of the company of the others.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mttsg_core.config import NetworkConfig
from mttsg_core.layers import QueryGroups, masked_softmax


class MinedQueries(NamedTuple):
    """N queries after mining. Attributes: words (N, L, D), sentence s' (N, D), gate g (N, D)."""

    words: Tensor
    sentence: Tensor
    gate: Tensor


class Mining(nn.Module):
    """What other pairs know about a query, by way of a memory."""

    queue: Tensor
    filled: Tensor
    place: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.width
        self.top = min(config.memory_top, config.memory_slots)
        self.alone = config.co_query_dropout
        self.look = nn.Linear(width, width)
        self.entry = nn.Linear(2 * width, width)
        self.entry_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.from_video = nn.Linear(width, width, bias=False)
        self.from_memory = nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(3 * width, width)
        self.norm = nn.LayerNorm(width)
        self.to_words = nn.Linear(width, width, bias=False)
        self.slots = nn.Parameter(torch.randn(config.memory_slots, width))
        self.register_buffer("queue", torch.zeros(config.memory_queue, width))
        self.register_buffer("filled", torch.zeros(config.memory_queue, dtype=torch.bool))
        self.register_buffer("place", torch.zeros((), dtype=torch.long))
        nn.init.zeros_(self.from_video.weight)  # the network starts as one without a memory
        nn.init.zeros_(self.from_memory.weight)
        nn.init.zeros_(self.to_words.weight)

    def forward(
        self,
        words: Tensor,
        sentence: Tensor,
        clips: Tensor,
        mask: Tensor,
        groups: QueryGroups,
        *,
        joint: bool = False,
        strangers: bool = False,
    ) -> MinedQueries:
        """words (N, L, D) and sentences s (N, D) about clips F (V, T, D) with mask (V, T).

        Args:
            words, sentence, clips, mask: see above.
            groups: the queries by video.
            joint: let the queries of a video mine each other; training always does.
            strangers: these queries do not describe their video: each mines the memory alone and leaves nothing in it.
        """
        learning = self.training and not strangers
        entries = self.entries(sentence, clips, mask, groups)  # (N, D)
        query = self.query(entries) / math.sqrt(entries.shape[-1])  # (N, D)
        social = torch.ones_like(groups.video_index, dtype=torch.bool)  # (N,) may see other queries
        if learning:
            social = torch.rand(social.shape, device=social.device) >= self.alone
        near = sentence.new_zeros(sentence.shape)
        if joint or learning:
            near = self.from_video(self.same_video(query, entries, groups)) * social[:, None]  # (N, D)
        company = entries if learning else None
        far = self.from_memory(self.memory(query, company, social, groups.video_index))  # (N, D)
        gate = torch.sigmoid(self.gate(torch.cat([sentence, near, far], dim=-1)))  # (N, D)
        mined = self.norm(sentence + gate * (near + far))  # (N, D)
        if learning:
            self.remember(entries)
        return MinedQueries(words + self.to_words(mined)[:, None], mined, gate)

    def entries(self, sentence: Tensor, clips: Tensor, mask: Tensor, groups: QueryGroups) -> Tensor:
        """m (N, D): each sentence with what it attends to in its own video."""
        score = groups.product(self.look(sentence), clips.transpose(1, 2)) / math.sqrt(clips.shape[-1])  # (N, T)
        shown = groups.product(masked_softmax(score, groups.of_video(mask)), clips)  # (N, D)
        entries: Tensor = self.entry_norm(self.entry(torch.cat([sentence, shown], dim=-1)))
        return entries

    def same_video(self, query: Tensor, entries: Tensor, groups: QueryGroups) -> Tensor:
        """(N, D) what the other queries of the same video hold; zero where there is none."""
        keys = groups.group(entries)  # (V, Q, D)
        there = groups.group(torch.ones_like(groups.video_index, dtype=torch.bool))  # (V, Q)
        others = there[:, None] & ~torch.eye(groups.size, dtype=torch.bool, device=there.device)  # (V, Q, Q)
        score = groups.group(query) @ keys.transpose(1, 2)  # (V, Q, Q)
        return groups.ungroup(masked_softmax(score, others) @ keys)

    def memory(self, query: Tensor, company: Tensor | None, social: Tensor, video_index: Tensor) -> Tensor:
        """(N, D) the mean of the best entries of other videos: of the batch (`company` (N, D)), queue and slots."""
        slots: Tensor = self.entry_norm(self.slots)  # (S, D)
        store = torch.cat([slots, self.queue.to(slots.dtype)])  # (M, D)
        open_ = torch.cat([self.filled.new_ones(len(slots)), self.filled]).expand(len(query), -1)  # (N, M)
        if company is not None:
            store = torch.cat([store, company])
            others = (video_index[:, None] != video_index) & social[:, None]  # (N, N)
            open_ = torch.cat([open_, others], dim=1)
        score = (query @ store.T).masked_fill(~open_, torch.finfo(query.dtype).min)  # (N, M)
        best, index = score.topk(self.top, dim=1)  # (N, K)
        return (best.softmax(1)[:, None] @ store[index]).squeeze(1)

    @torch.no_grad()
    def remember(self, entries: Tensor) -> None:
        """Put entries (N, D) into the queue in place of its oldest ones."""
        size = len(self.queue)
        newest = entries.detach()[-size:] if size else entries[:0]
        places = (self.place + torch.arange(len(newest), device=self.queue.device)) % max(1, size)
        self.queue[places] = newest.to(self.queue.dtype)
        self.filled[places] = True
        self.place.copy_((self.place + len(newest)) % max(1, size))
