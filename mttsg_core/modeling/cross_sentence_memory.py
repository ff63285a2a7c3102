"""Cross-sentence semantic mining with a cross-modal memory (the paper's module 2; docs/method.md, section 2).

    c_p = attention of s_p over F of its own video                      what this video shows for this query
    m_p = LN(W_m [s_p ; c_p])                                           the pair's memory entry
    u_p = attention of m_p over entries of other queries of the same video
    z_p = attention of m_p over its top-k entries of other videos: in the batch and in a FIFO queue of past pairs
    g_p = sigmoid(W_g [s_p ; u_p ; z_p]);  s'_p = LN(s_p + g_p * (u_p + z_p));  words get s'_p through a projection

Entries are compared by the cosine of their differences from the mean of the queue: they have much in common, and
without that every query would retrieve the same few. Learned entries collapse likewise, and are not used.

Only the head reads s'_p: contrast, objects and activities compare the sentence itself, into which nothing of its own
video or of past pairs has been mixed.

By default a query reads the queue only, which is filled in training and constant afterwards: its prediction depends on
its video, its words and the checkpoint alone. In `joint` mode the queries of a video also read each other, regardless
of their order and without their times. Training does both: co-query dropout hides the other queries from a random half
of them. In training no query retrieves entries of the video that it is asked of or that it was written for, as no query
will find any afterwards.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from mttsg_core.config import NetworkConfig
from mttsg_core.data.share import WHOLE, Share
from mttsg_core.modeling.backbone import EncodedQueries, EncodedVideos
from mttsg_core.modeling.layers import QueryGroups, masked_softmax, unit_length

_EMPTY, _UNKNOWN = -1, -2  # sources of a slot without an entry, and of an entry from an unknown video


class EnrichedQueries(NamedTuple):
    """N queries with what they retrieved. Attributes: words (N, L, D), sentence s' (N, D), gate g (N, D)."""

    words: Tensor
    sentence: Tensor
    gate: Tensor


class BatchEntries(NamedTuple):
    """The entries of a batch, of all ranks.

    Attributes:
        entries: m (N*, D).
        sources: (N*,) training videos that they come from, or None if that is unknown.
        video_index: (N*,).
        own: (N,) `video_index` of the queries that retrieve.
    """

    entries: Tensor
    sources: Tensor | None
    video_index: Tensor
    own: Tensor


class CrossSentenceMemory(nn.Module):
    """Enriches queries with what other pairs hold, by way of a memory."""

    queue: Tensor
    sources: Tensor
    position: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.width
        self.top = config.memory_top
        self.temperature = config.memory_temperature
        self.co_query_dropout = config.co_query_dropout
        self.clip_query = nn.Linear(width, width)
        self.entry = nn.Linear(2 * width, width)
        self.entry_norm = nn.LayerNorm(width)
        self.from_video = nn.Linear(width, width, bias=False)
        self.from_memory = nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(3 * width, width)
        self.norm = nn.LayerNorm(width)
        self.to_words = nn.Linear(width, width, bias=False)
        self.register_buffer("queue", torch.zeros(config.memory_queue, width))
        self.register_buffer("sources", torch.full((config.memory_queue,), _EMPTY))
        self.register_buffer("position", torch.zeros((), dtype=torch.long))
        nn.init.zeros_(self.from_video.weight)  # the network starts as one without a memory
        nn.init.zeros_(self.from_memory.weight)
        nn.init.zeros_(self.to_words.weight)

    def forward(
        self,
        queries: EncodedQueries,
        videos: EncodedVideos,
        groups: QueryGroups,
        *,
        joint: bool = False,
        negatives: int = 0,
        drawn: Tensor | None = None,
        sources: Tensor | None = None,
        share: Share = WHOLE,
    ) -> EnrichedQueries:
        """Enrich N queries.

        Args:
            queries: words (N, L, D), sentences s (N, D), and the sources that each must not retrieve.
            videos: clips F (V, T, D) with mask (V, T).
            groups: the queries by video.
            joint: let the queries of a video read each other; training always does.
            negatives: so many queries at the end do not describe their video; they only read the queue and are not
                enqueued.
            drawn: (N*,) random numbers in 0..1 that decide which queries of the batch, without the negatives, see the
                others in training; drawn here by default.
            sources: (N*,) training videos of these; default: the first that each must not retrieve.
            share: which queries of the batch there are here; N* = N - negatives where it is whole.
        """
        matched = len(queries.sentence) - negatives
        learning = self.training and matched > 0
        sentence, excluded, index = queries.sentence, queries.excluded_sources, groups.video_index
        of_matched = None if excluded is None else excluded[:matched]
        entries = self.entries(sentence, videos, groups)  # (N, D)
        sees_batch = batch = None
        if learning:
            uniform = torch.rand(matched, device=entries.device) if drawn is None else drawn
            sees_batch = share.own_queries(uniform) >= self.co_query_dropout
            ([of_all], _), all_index = share.gather([entries[:matched]]), share.whole_index(index[:matched])
            known = of_matched[:, 0] if sources is None and of_matched is not None else sources
            batch = BatchEntries(of_all, known, all_index, share.own_queries(all_index))
        intra_video_context = torch.zeros_like(sentence)
        if joint or learning:
            own = self.from_video(self.attend_same_video(entries[:matched], index[:matched]))
            own = own if sees_batch is None else own * sees_batch[:, None]
            intra_video_context = pad(own, (0, 0, 0, negatives))  # (N, D)
        retrieved = self.retrieve(entries[:matched], of_matched, sees_batch, batch)
        if batch is not None:
            self.enqueue(batch.entries, batch.sources)
        if negatives:  # they also read what the others have just left in the queue
            of_negatives = None if excluded is None else excluded[matched:]
            more = self.retrieve(entries[matched:], of_negatives)
            retrieved = torch.cat([retrieved, more])
        memory_context = self.from_memory(retrieved)  # (N, D)
        gate = torch.sigmoid(self.gate(torch.cat([sentence, intra_video_context, memory_context], dim=-1)))  # (N, D)
        enriched = self.norm(sentence + gate * (intra_video_context + memory_context))  # (N, D)
        return EnrichedQueries(queries.words + self.to_words(enriched)[:, None], enriched, gate)

    def entries(self, sentence: Tensor, videos: EncodedVideos, groups: QueryGroups) -> Tensor:
        """Return m (N, D): each sentence with what it attends to in its own video."""
        clips = videos.clips
        logits = groups.product(self.clip_query(sentence), clips.transpose(1, 2)) / math.sqrt(clips.shape[-1])  # (N, T)
        attended = groups.product(masked_softmax(logits, groups.of_video(videos.mask)), clips)  # (N, D)
        entries: Tensor = self.entry_norm(self.entry(torch.cat([sentence, attended], dim=-1)))
        return entries

    def attend_same_video(self, entries: Tensor, video_index: Tensor) -> Tensor:
        """Return u (N, D), what the other queries of the same video hold; zero without any."""
        others = video_index[:, None] == video_index  # (N, N)
        others = others & ~torch.eye(len(entries), dtype=torch.bool, device=entries.device)
        directions = self.centred_directions(entries)
        return masked_softmax(directions @ directions.T / self.temperature, others) @ entries

    def retrieve(
        self,
        entries: Tensor,
        excluded: Tensor | None,
        sees_batch: Tensor | None = None,
        batch: BatchEntries | None = None,
    ) -> Tensor:
        """Return z (N, D), the mean of the best entries of other videos in the queue and the batch; zero without any.

        Args:
            entries: m (N, D).
            excluded: (N, K) sources whose entries each query must not retrieve; None if there is no restriction.
            sees_batch: (N,) True for queries that also read the batch, if there is one.
            batch: its entries; None where queries read the queue alone.
        """
        size = len(self.queue)
        added = entries if batch is None else batch.entries
        store = torch.cat([self.queue.to(entries.dtype), added])  # (M + N*, D)
        directions = self.centred_directions(store)
        own = directions[size:] if added is entries else self.centred_directions(entries)  # (N, D)
        allowed = (self.sources != _EMPTY).expand(len(entries), -1)  # (N, M)
        if excluded is not None:
            allowed = allowed & (self.sources != excluded[..., None]).all(1)
        if batch is None or sees_batch is None:
            store = store[:size]
        else:
            others = (batch.own[:, None] != batch.video_index) & sees_batch[:, None]  # (N, N*)
            if excluded is not None and batch.sources is not None:
                others = others & (batch.sources != excluded[..., None]).all(1)
            allowed = torch.cat([allowed, others], dim=1)
        if not len(store):
            return torch.zeros_like(entries)
        logits = own @ directions[: len(store)].T / self.temperature  # (N, M) or (N, M + N*)
        best, index = torch.where(allowed, logits, -torch.inf).topk(min(self.top, len(store)), dim=1)  # (N, K)
        weights = masked_softmax(best, allowed.gather(1, index))
        return (weights[:, None] @ store[index]).squeeze(1)

    def centred_directions(self, entries: Tensor) -> Tensor:
        """Return entries (N, D) relative to the mean of the queue, with length 1."""
        filled = (self.sources != _EMPTY)[:, None]  # (M, 1)
        centre = (self.queue * filled).sum(0) / filled.sum().clamp_min(1)  # (D,)
        return unit_length(entries - centre.to(entries.dtype))

    @torch.no_grad()
    def enqueue(self, entries: Tensor, sources: Tensor | None = None) -> None:
        """Replace the oldest entries of the queue by entries (N, D) with their sources (N,), if known."""
        size = len(self.queue)
        newest = slice(max(0, len(entries) - size), None)
        added = entries.detach()[newest]
        slots = (self.position + torch.arange(len(added), device=self.queue.device)) % max(1, size)
        self.queue[slots] = added.to(self.queue.dtype)
        self.sources[slots] = _UNKNOWN if sources is None else sources[newest]
        self.position.copy_((self.position + len(added)) % max(1, size))
