"""The networks that find moments in encoded clips and words: what `NetworkConfig.network` chooses among.

A network is a *fusion* of clips and sentence and a *head* over the fused clips. Encoders and co-training around it are
the same for all of them, and its output knows how to answer and what to learn from, so that nothing else knows which
network it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from mttsg_core.config import NetworkConfig
from mttsg_core.modeling.fusion import Fusion
from mttsg_core.modeling.grounding_head import GroundingHead
from mttsg_core.modeling.head import Head
from mttsg_core.modeling.proposal_map import ProposalMap, SentenceProduct
from mttsg_core.modeling.query_decoder import JointEncoder, QueryDecoder
from mttsg_core.modeling.span_predictor import ContextQueryAttention, SpanPredictor

AnyFusion: TypeAlias = Fusion | SentenceProduct | JointEncoder | ContextQueryAttention


class Network(NamedTuple):
    """How a network is built.

    Attributes:
        fusion: makes fused clips (N, T, D_h) of encoded videos, queries and the evidence of all modules.
        head: makes a `GroundingOutput` of fused clips.
        reads_prior: whether its head scores the proposals of `proposals`, which may start from given logits.
    """

    fusion: Callable[[NetworkConfig], AnyFusion]
    head: Callable[[NetworkConfig], Head]
    reads_prior: bool = False


NETWORKS: Mapping[str, Network] = MappingProxyType(
    {
        "mktn": Network(Fusion, GroundingHead, reads_prior=True),
        "proposal-map": Network(SentenceProduct, ProposalMap),
        "query-decoder": Network(JointEncoder, QueryDecoder),
        "span": Network(ContextQueryAttention, SpanPredictor),
    }
)
