"""The network: encoders, the meeting of sentences and videos, and the head. `build_network` is its only maker."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mttsg_core.activities import Activities, VideoActivities
from mttsg_core.backbone import EncodedQueries, EncodedVideos, QueryEncoder, VideoEncoder
from mttsg_core.batch import Batch
from mttsg_core.config import NetworkConfig
from mttsg_core.contrast import Contrast, SeenClips
from mttsg_core.head import GroundingHead, HeadOutput
from mttsg_core.layers import ChannelDropout, QueryGroups, drawn_steps, masked_softmax
from mttsg_core.mining import Mining
from mttsg_core.negatives import FalseNegatives, Negatives, no_false_negatives
from mttsg_core.objects import Objects

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


class Meeting(NamedTuple):
    """N queries, each met with its video.

    Attributes:
        fused: (N, T, D_h) the clips as the query sees them, for the head.
        own: (N, T, C) the clips of its video in the space of the contrast, or None.
        phrases: (N, K_w, C) phrase prototypes, or None.
        gate: (N, D) how far mining was let in, or None.
    """

    fused: Tensor
    own: SeenClips | None
    phrases: Tensor | None
    gate: Tensor | None


class NetworkOutput(NamedTuple):
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
    meeting: Meeting


class Network(nn.Module):
    """Multi-pair batch in, boundaries out. A prediction depends on its own video and its own sentence only.

    Each of the paper's modules is None where it is switched off.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.video_encoder = VideoEncoder(config)
        self.query_encoder = QueryEncoder(config)
        self.look = RegionLook(config) if config.regions else None
        self.fusion = Fusion(config)
        self.head = GroundingHead(config)
        self.contrast = Contrast(config) if config.contrast else None
        self.mining = Mining(config) if config.mining else None
        self.objects = Objects(config) if config.objects else None
        self.activities = Activities(config) if config.activities else None
        self.negatives = Negatives() if config.negatives else None

    def forward(self, batch: Batch, *, joint: bool = False) -> NetworkOutput:
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
    ) -> NetworkOutput:
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
        return NetworkOutput(head, videos, queries, meeting)

    def presence(self, videos: PreparedVideos, strangers: EncodedQueries, video_index: Tensor) -> Tensor:
        """Logits (N,) of videos showing queries that they are known not to show; see `Mining` for strangers."""
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
    ) -> Meeting:
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
        return Meeting(self.fusion(encoded, taught, groups, evidence), own, phrases, gate)

    def everywhere(self, output: NetworkOutput) -> SeenClips:
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
    def false_negatives(self, output: NetworkOutput, batch: Batch) -> FalseNegatives:
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


class Fusion(nn.Module):
    """x_t of the head: the clip, gated by the sentence, with the words it attends to and the regions the query sees.

    All that is done again for every query is done in the head's width, which is smaller than that of the encoders.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        wide, width = config.width, config.head_width
        self.clip = nn.Linear(wide, width)
        self.gate = nn.Linear(wide, 2 * width)
        self.word_key = nn.Linear(wide, wide)
        self.word_value = nn.Linear(wide, width)
        self.mix = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)
        self.out_dropout = ChannelDropout(config.dropout)

    def forward(
        self, videos: EncodedVideos, queries: EncodedQueries, groups: QueryGroups, evidence: Sequence[Tensor] = ()
    ) -> Tensor:
        """Returns (N, T, D_h). `evidence`: what other modules say of each clip and query, (N, T, D_h) each."""
        clips = groups.of_video(self.clip(videos.clips))  # (N, T, D_h)
        gate, shift = self.gate(queries.sentence)[:, None].chunk(2, dim=-1)  # (N, 1, D_h) each
        keys = self.word_key(videos.clips).transpose(1, 2) / math.sqrt(queries.words.shape[-1])  # (V, D, T)
        weights = masked_softmax(groups.product(queries.words, keys), queries.mask[..., None], dim=1)  # (N, L, T)
        x = clips * (1 + gate) + shift + weights.transpose(1, 2) @ self.word_value(queries.words)  # (N, T, D_h)
        for said in evidence:
            x = x + said
        fused = clips + self.dropout(self.mix(nn.functional.gelu(x)))
        return self.out_dropout(self.norm(fused)) * groups.of_video(videos.mask)[..., None]


class RegionLook(nn.Module):
    """Each query looks at the regions of every clip, with several heads, and brings back what it sees there.

    Keys and values are the regions themselves: each head has a query of its own, so that all the work on regions
    is done once a video.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.heads = config.region_heads
        width = config.region_width
        self.query = nn.Linear(config.width, self.heads * width)
        self.seen = nn.Linear(self.heads * width, config.head_width)
        self.strength = nn.Linear(self.heads, config.head_width, bias=False)
        self.gate = nn.Linear(config.width, config.head_width)

    def forward(self, regions: Tensor, sentence: Tensor, groups: QueryGroups) -> tuple[Tensor, Tensor]:
        """regions (V, T, R, D_o) and sentence (N, D) to what is seen (N, T, H * D_o), and what it says (N, T, D_h)."""
        videos, clips = regions.shape[:2]
        query = groups.group(self._queries(sentence))  # (V, Q, H, D_o)
        score = query.flatten(1, 2)[:, None] @ regions.transpose(-1, -2)  # (V, T, Q * H, R)
        weights = score.softmax(-1)
        strength = score.amax(-1) - weights.amax(-1).log()  # (V, T, Q * H) the logarithm of the sum of exp(score)

        def of_query(values: Tensor) -> Tensor:
            """(V, T, Q * H, ...) to (N, T, H * ...)."""
            return groups.ungroup(values.reshape(videos, clips, groups.size, -1).transpose(1, 2))

        seen = of_query(weights @ regions)
        looked = nn.functional.gelu(self.seen(seen) + self.strength(of_query(strength)))
        return seen, looked * (1 + self.gate(sentence)[:, None])

    def everywhere(self, regions: Tensor, sentence: Tensor) -> Tensor:
        """What each sentence (N, D) sees in all of the regions (V, T, R, D_o): (N, V, T, H * D_o)."""
        query = self._queries(sentence).flatten(0, 1)  # (N * H, D_o)
        weights = (query @ regions.transpose(-1, -2)).softmax(-1)  # (V, T, N * H, R)
        seen = (weights @ regions).unflatten(2, (-1, self.heads))  # (V, T, N, H, D_o)
        return seen.movedim(2, 0).flatten(-2)

    def _queries(self, sentence: Tensor) -> Tensor:
        """(N, D) to what each head looks for, (N, H, D_o), scaled for a softmax of its products."""
        queries: Tensor = self.query(sentence).unflatten(-1, (self.heads, -1))
        return queries / math.sqrt(queries.shape[-1])


def build_network(config: NetworkConfig) -> Network:
    """The network of a config, with fresh weights."""
    return Network(config)
