"""The networks that find moments in encoded clips and words: what `NetworkConfig.network` chooses among.

A network is a *fusion* of clips and sentence and a *head* over the fused clips. Encoders and co-training around it are
the same for all of them, and its output knows how to answer and what to learn from, so that nothing else knows which
network it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypeAlias

from torch import Tensor

from mttsg_core.config import LossConfig, NetworkConfig
from mttsg_core.data.batch import Targets
from mttsg_core.data.share import WHOLE, Share
from mttsg_core.modeling.fusion import Fusion
from mttsg_core.modeling.grounding_head import GroundingHead
from mttsg_core.modeling.proposal_map import ProposalMap, SentenceProduct
from mttsg_core.modeling.query_decoder import JointEncoder, QueryDecoder
from mttsg_core.modeling.span_predictor import ContextQueryAttention, SpanPredictor

AnyFusion: TypeAlias = Fusion | SentenceProduct | JointEncoder | ContextQueryAttention
AnyHead: TypeAlias = GroundingHead | ProposalMap | QueryDecoder | SpanPredictor


class GroundingOutput(Protocol):
    """What a head returns for N queries over T clips."""

    @property
    def presence(self) -> Tensor:
        """(N,) logits of the moment being in the video at all; infinite where that is not learned."""
        ...

    @property
    def mask(self) -> Tensor:
        """(N, T) True at the clips of the query's video."""
        ...

    def answers(self, top: int, config: NetworkConfig) -> tuple[Tensor, Tensor]:
        """Return the best moments, which overlap each other by at most `config.nms_iou`.

        Args:
            top: K, answers to a query.
            config: how they are chosen.

        Returns:
            Spans (N, K, 2) in clip units, 0..T, and scores (N, K), 0..1, which do not grow; 0 where no moment is left.
        """
        ...

    def saliency(self, config: NetworkConfig) -> Tensor:
        """Return (N, T), 0..1: how likely each clip is inside the moment, if the video shows it."""
        ...

    def losses(self, targets: Targets, config: LossConfig, share: Share = WHOLE) -> dict[str, Tensor]:
        """Return the share in the terms of L_3, scalars by the names of their weights in `config`."""
        ...


class Network(NamedTuple):
    """How a network is built.

    Attributes:
        fusion: makes fused clips (N, T, D_h) of encoded videos, queries and the evidence of all modules.
        head: makes a `GroundingOutput` of fused clips.
        reads_prior: whether its head scores the proposals of `proposals`, which may start from given logits.
    """

    fusion: Callable[[NetworkConfig], AnyFusion]
    head: Callable[[NetworkConfig], AnyHead]
    reads_prior: bool = False


NETWORKS: Mapping[str, Network] = MappingProxyType(
    {
        "mktn": Network(Fusion, GroundingHead, reads_prior=True),
        "proposal-map": Network(SentenceProduct, ProposalMap),
        "query-decoder": Network(JointEncoder, QueryDecoder),
        "span": Network(ContextQueryAttention, SpanPredictor),
    }
)
