"""The network: encoders, the meeting of sentences and videos, and the head. `build_network` is its only maker."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mttsg_core.config import NetworkConfig
from mttsg_core.data.batch import Batch
from mttsg_core.modeling.activity_sentence import ActivitySentenceAlignment, VideoActivities
from mttsg_core.modeling.backbone import EncodedQueries, EncodedVideos, QueryEncoder, VideoEncoder
from mttsg_core.modeling.contrastive import CrossModalContrast, QueryConditionedClips
from mttsg_core.modeling.cross_sentence_memory import CrossSentenceMemory
from mttsg_core.modeling.false_negatives import FalseNegativeFilter, FalseNegatives, no_false_negatives
from mttsg_core.modeling.fusion import Fusion, RegionCrossAttention
from mttsg_core.modeling.grounding_head import GroundingHead, HeadOutput
from mttsg_core.modeling.layers import QueryGroups, drawn_steps
from mttsg_core.modeling.object_phrase import ObjectPhraseAlignment

_SEEN_CLIPS = 8  # clips of every video that each query of a batch looks at in training


class PreparedVideos(NamedTuple):
    """All that is known of V videos before any query.

    Attributes:
        encoded: by the video encoder.
        contrast: (V, T, C) clips in the space of the contrast, or None.
        objects: (V, T, K_o, C) object prototypes, or None.
        activities: of the videos, or None.
    """

    encoded: EncodedVideos
    contrast: Tensor | None
    objects: Tensor | None
    activities: VideoActivities | None

    def part(self, rows: slice, clips: int) -> PreparedVideos:
        """Some of the videos, in so many clips: those past the end of all of them are left out."""

        def cut(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[rows, :clips]

        encoded, activities = self.encoded, self.activities
        return PreparedVideos(
            EncodedVideos(
                encoded.clips[rows, :clips],
                cut(encoded.regions),
                encoded.mask[rows, :clips],
                encoded.durations[rows],
            ),
            cut(self.contrast),
            cut(self.objects),
            None
            if activities is None
            else VideoActivities(activities.vectors[rows], activities.places[rows, :, :clips]),
        )


class FusedQueries(NamedTuple):
    """N queries, each met with its video.

    Attributes:
        fused: (N, T, D_h) the clips as the query sees them, for the head.
        own: (N, T, C) the clips of its video in the space of the contrast, or None.
        phrases: (N, K_w, C) phrase prototypes, or None.
        gate: (N, D) how far mining was let in, or None.
    """

    fused: Tensor
    own: QueryConditionedClips | None
    phrases: Tensor | None
    gate: Tensor | None


class MKTNOutput(NamedTuple):
    """The head's answer for N queries, and what it was made of.

    Attributes:
        head: the answer.
        videos: without any query.
        queries: as they were asked.
        meeting: of both.
    """

    head: HeadOutput
    videos: PreparedVideos
    queries: EncodedQueries
    meeting: FusedQueries


class MKTN(nn.Module):
    """Multi-pair batch in, boundaries out. A prediction depends on its own video and its own sentence only.

    Each of the paper's modules is None where it is switched off.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.video_encoder = VideoEncoder(config)
        self.query_encoder = QueryEncoder(config)
        self.look = RegionCrossAttention(config) if config.regions else None
        self.fusion = Fusion(config)
        self.head = GroundingHead(config)
        self.contrast = CrossModalContrast(config) if config.contrast else None
        self.mining = CrossSentenceMemory(config) if config.mining else None
        self.objects = ObjectPhraseAlignment(config) if config.objects else None
        self.activities = ActivitySentenceAlignment(config) if config.activities else None
        self.negatives = FalseNegativeFilter() if config.negatives else None

    def forward(self, batch: Batch, *, joint: bool = False) -> MKTNOutput:
        """See `Batch` for the shapes, and `ground` for `joint`."""
        queries = self.query_encoder(batch.words, batch.word_mask)._replace(
            origins=batch.origins_asked(batch.origins, batch.video_index)
        )
        return self.ground(self.encode_videos(batch), queries, batch.video_index, joint=joint)

    def encode_videos(self, batch: Batch) -> PreparedVideos:
        """What of the work does not depend on any query."""
        encoded: EncodedVideos = self.video_encoder(batch.clips, batch.clip_mask, batch.durations, batch.regions)
        return PreparedVideos(
            encoded,
            None if self.contrast is None else self.contrast(encoded.clips),
            None if self.objects is None else self.objects(encoded.clips, encoded.regions),
            None if self.activities is None else self.activities(encoded.clips, encoded.mask),
        )

    def ground(
        self,
        videos: PreparedVideos,
        queries: EncodedQueries,
        video_index: Tensor,
        *,
        joint: bool = False,
    ) -> MKTNOutput:
        """Boundaries of N queries, each in the video that `video_index` (N,) names.

        Args:
            videos: see `encode_videos`.
            queries: see `QueryEncoder`.
            video_index: (N,).
            joint: let the queries of a video help each other; their order makes no difference.
        """
        meeting = self._meet(videos, queries, video_index, joint=joint)
        encoded = videos.encoded
        head: HeadOutput = self.head(meeting.fused, encoded.mask[video_index], encoded.durations[video_index])
        return MKTNOutput(head, videos, queries, meeting)

    def presence(self, videos: PreparedVideos, strangers: EncodedQueries, video_index: Tensor) -> Tensor:
        """Logits (N,) of videos showing queries that they are known not to show; see `CrossSentenceMemory` for strangers."""
        fused = self._meet(videos, strangers, video_index, strangers=True).fused
        return self.head.presence_of(fused, videos.encoded.mask[video_index])

    def _meet(
        self,
        videos: PreparedVideos,
        queries: EncodedQueries,
        video_index: Tensor,
        *,
        joint: bool = False,
        strangers: bool = False,
    ) -> FusedQueries:
        """Each query with its video, by way of every module that is on.

        What is mined is for the head alone: all that compares queries with videos compares them as they were asked.
        """
        encoded = videos.encoded
        groups = QueryGroups(video_index, len(encoded.clips))
        sentence, taught = queries.sentence, queries
        gate = phrases = None
        if self.mining is not None:
            mined = self.mining(
                queries.words,
                sentence,
                queries.origins,
                encoded.clips,
                encoded.mask,
                groups,
                joint=joint,
                strangers=strangers,
            )  # words come back with s' added
            taught, gate = queries._replace(words=mined.words, sentence=mined.sentence), mined.gate
        evidence: list[Tensor] = []  # (N, T, D_h) each
        seen = own = None
        if self.look is not None and encoded.regions is not None:
            seen, looked = self.look(encoded.regions, sentence, groups)  # (N, T, H * D_o), (N, T, D_h)
            evidence.append(looked)
        if self.contrast is not None and videos.contrast is not None:
            own = self.contrast.as_seen(
                groups.of_video(videos.contrast), seen, groups.of_video(encoded.mask)
            )  # (N, T, C)
            evidence.append(self.contrast.evidence(own, sentence))
        if self.objects is not None and videos.objects is not None:
            phrases = self.objects.phrases(queries.words, queries.mask)
            evidence.append(self.objects.evidence(videos.objects, phrases, groups))
        if self.activities is not None and videos.activities is not None:
            evidence.append(self.activities.evidence(videos.activities, encoded.mask, sentence, groups))
        return FusedQueries(self.fusion(encoded, taught, groups, evidence), own, phrases, gate)

    def everywhere(self, output: MKTNOutput) -> QueryConditionedClips:
        """Clips of all the videos as each query sees them, in the space of the contrast.

        Returns:
            (N, V, T', C) and (V, T'). Queries that look at regions see a few clips of each video, evenly spread and
            drawn anew each time; others see all of them, and all the same: (1, V, T, C).

        Raises:
            ValueError: if the contrast is switched off.
        """
        clips, encoded = output.videos.contrast, output.videos.encoded
        if self.contrast is None or clips is None:
            raise ValueError("this network was built without contrast")
        if self.look is None or encoded.regions is None:
            return self.contrast.as_seen(clips[None], None, encoded.mask)
        drawn = torch.arange(len(clips), device=clips.device)[:, None], drawn_steps(encoded.mask, _SEEN_CLIPS)
        seen = self.look.everywhere(encoded.regions[drawn], output.queries.sentence)  # (N, V, T', H * D_o)
        return self.contrast.as_seen(clips[drawn], seen, encoded.mask[drawn])

    @torch.no_grad()
    def false_negatives(self, output: MKTNOutput, batch: Batch) -> FalseNegatives:
        """Which sentences of a batch likely fit other videos' pairs; none where `negatives` is switched off."""
        if self.negatives is None or batch.bounds is None:
            return no_false_negatives(batch.video_index, len(batch.clips))
        clean = self.query_encoder.without_dropout(batch.words, batch.word_mask)  # (N, D)
        if self.contrast is not None and output.meeting.own is not None:
            views, sentences = self.contrast.directions(output.queries.sentence), self.contrast.directions(clean)
            scores = self.contrast.scores(output.meeting.own, views, sentences, batch.bounds)
        else:
            views, sentences = (normalize(part.float(), dim=-1) for part in (output.queries.sentence, clean))
            scores = views @ sentences.T
        found: FalseNegatives = self.negatives(scores, sentences, batch.video_index, len(batch.clips))
        return found


def build_network(config: NetworkConfig) -> MKTN:
    """The network of a config, with fresh weights."""
    return MKTN(config)
