"""What the network hands on: queries fused with their videos, what the head found, and what only the losses need."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from mttsg_core.data.batch import Sources
from mttsg_core.data.share import WHOLE, Share
from mttsg_core.modeling.backbone import EncodedQueries
from mttsg_core.modeling.contrastive import ContrastOutput, QueryConditionedClips
from mttsg_core.modeling.head import GroundingOutput
from mttsg_core.modeling.prepared import PreparedVideos


class FusedQueries(NamedTuple):
    """N queries fused with their videos.

    Attributes:
        fused: (N, T, D_h) the clips as the head reads them.
        own_clips: (N, T, C) clips of the query's video in the common space, conditioned on the query, or None.
        gate: (N, D) gate of the memory, or None.
        prior: (N, P) logits that proposals start from in a shared space, or None.
        match: (N, T) cosines of these clips with the query, or None.
    """

    fused: Tensor
    own_clips: QueryConditionedClips | None
    gate: Tensor | None
    prior: Tensor | None
    match: Tensor | None

    def part(self, rows: slice) -> FusedQueries:
        """Return some of the queries."""
        own, gate = self.own_clips, self.gate
        return FusedQueries(
            fused=self.fused[rows],
            own_clips=None if own is None else QueryConditionedClips(own.vectors[rows], own.mask[rows]),
            gate=None if gate is None else gate[rows],
            prior=None if self.prior is None else self.prior[rows],
            match=None if self.match is None else self.match[rows],
        )


class Negatives(NamedTuple):
    """A mismatched queries: those of the batch, and some of its other queries, each asked of another of its videos.

    Attributes:
        presence: (A,) presence logits.
        valid: (A,) False where no video of the batch could be chosen: that query takes no part.
        taking_part: how many of the whole batch do.
    """

    presence: Tensor
    valid: Tensor
    taking_part: Tensor


class TrainingOutput(NamedTuple):
    """What only the losses need.

    Attributes:
        queries: the N* of all ranks, encoded.
        contrast: projections and random draws of the contrast, or None.
        text: (N*, C) sentences of all ranks at length 1, in the common space if there is one.
        clean_text: (N*, C) the same, encoded without dropout.
        negatives: mismatched queries, or None where presence is not learned.
        sources: of the batch, or None.
        share: what the output is of the batch.
    """

    queries: EncodedQueries
    contrast: ContrastOutput | None
    text: Tensor
    clean_text: Tensor
    negatives: Negatives | None
    sources: Sources | None = None
    share: Share = WHOLE


class MismatchedQueries(NamedTuple):
    """Queries to be asked of videos that do not show them.

    Attributes:
        rows: (A,) their numbers among the N* queries of the batch, followed by the negative ones of the videos here.
        video_index: (A,) video of each.
        valid: (A,) see `Negatives`.
        taking_part: see `Negatives`.
    """

    rows: Tensor
    video_index: Tensor
    valid: Tensor
    taking_part: Tensor


class MKTNOutput(NamedTuple):
    """The network's output for N queries of V videos.

    Attributes:
        head: what the head found.
        videos: everything that depends on no query.
        queries: encoded.
        fused: queries fused with their videos.
        video_index: (N,).
        training: what only the losses need; None outside training.
    """

    head: GroundingOutput
    videos: PreparedVideos
    queries: EncodedQueries
    fused: FusedQueries
    video_index: Tensor
    training: TrainingOutput | None = None
