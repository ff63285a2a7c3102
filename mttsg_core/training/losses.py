"""The whole loss, and that of the grounding head, L_3 (method, section 6)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from mttsg_core.config import LossConfig
from mttsg_core.data.batch import Batch
from mttsg_core.modeling.backbone import EncodedQueries
from mttsg_core.modeling.false_negatives import FalseNegatives
from mttsg_core.modeling.grounding_head import HeadOutput
from mttsg_core.modeling.layers import masked_log_softmax, masked_mean, masked_softmax
from mttsg_core.modeling.mktn import MKTN, MKTNOutput
from mttsg_core.modeling.proposals import proposal_edges, shared_occupancy, span_iou

_SHARPNESS = 10.0  # of the target over spans: softmax of the overlap times this
_SPREAD = 0.1  # of the soft boundary labels, in lengths of the moment
_STRANGERS = 0.5  # share of the queries that are also asked of another video
_REACH = 0.06  # offsets are learned within one clip and so many lengths of the moment from the boundary


class Losses(NamedTuple):
    """Of one batch.

    Attributes:
        total: the weighted sum, to be minimised.
        terms: unweighted, each a scalar.
        statistics: what else is worth a look: thresholds, shares of negatives dropped, the mean gate of mining.
    """

    total: Tensor
    terms: dict[str, Tensor]
    statistics: dict[str, Tensor]


def objective(network: MKTN, output: MKTNOutput, batch: Batch, config: LossConfig) -> Losses:
    """L = L_CL + lambda L_1 + gamma L_2 + mu L_3, with the weights of `config`.

    Args:
        network: whose modules hold the losses of their own parts.
        output: of the network for the batch.
        batch: with true moments.
        config: the weights; a term of a module that has no weight is not computed.
    """
    if batch.bounds is None:
        raise ValueError("a training batch needs true moments")
    false = network.false_negatives(output, batch)
    terms = grounding_terms(output.head, batch.bounds, batch.sentences)
    terms |= module_terms(network, output, batch, config, false)
    if network.config.presence and config.presence > 0:
        terms["presence"] = presence_term(network, output, batch, false)
    total = torch.stack([getattr(config, name) * term for name, term in terms.items()]).sum()
    statistics = {} if network.negatives is None else network.negatives.statistics()
    if output.meeting.gate is not None:
        statistics["gate"] = output.meeting.gate.detach().mean()
    return Losses(total, {name: term.detach() for name, term in terms.items()}, statistics)


def module_terms(
    network: MKTN, output: MKTNOutput, batch: Batch, config: LossConfig, false: FalseNegatives
) -> dict[str, Tensor]:
    """The terms of the modules that are on."""
    if batch.bounds is None:
        return {}
    videos, index = output.videos, batch.video_index
    queries, own, phrases = output.queries, output.meeting.own, output.meeting.phrases
    mask = videos.encoded.mask
    terms: dict[str, Tensor] = {}
    weight = config.contrast + config.intra
    if network.contrast is not None and own is not None and weight > 0:
        words, word_mask, sentence = queries.words, queries.mask, queries.sentence
        found = network.contrast.terms(
            network.everywhere(output),
            own,
            words,
            word_mask,
            sentence,
            index,
            batch.bounds,
            batch.sentences,
            false.pairs,
            false.videos,
        )
        terms |= {"contrast": found.moment + found.clip + found.video, "intra": found.intra}
    if network.objects is not None and videos.objects is not None and phrases is not None and config.objects > 0:
        terms["objects"] = network.objects.loss(
            videos.objects, mask, phrases, index, batch.bounds, batch.sentences, false.videos
        )
    if network.activities is not None and videos.activities is not None and config.activities > 0:
        terms["activities"] = network.activities.loss(
            videos.activities, mask, queries.sentence, index, batch.bounds, false.videos
        )
    return terms


def presence_term(network: MKTN, output: MKTNOutput, batch: Batch, false: FalseNegatives) -> Tensor:
    """Queries in their own video against queries in one that does not show them.

    The latter are those that the batch names, and some of its queries with another of its videos each.
    """
    asked, weights = output.queries, false.strangers  # (N, V)
    drawn = torch.rand(len(weights), device=weights.device) < _STRANGERS
    chosen = (drawn & (weights > 0).any(1)).nonzero().squeeze(1)  # (A,)
    elsewhere = weights[chosen].multinomial(1).squeeze(1) if len(chosen) else chosen
    origins = None if batch.origins is None else batch.origins[chosen]
    strangers = asked.part(chosen)._replace(origins=batch.origins_asked(origins, elsewhere))
    if batch.absent_words is not None and batch.absent_mask is not None and batch.absent_index is not None:
        absent = network.query_encoder(batch.absent_words, batch.absent_mask)
        origins = None if batch.shown is None else batch.shown[batch.absent_index, 0]
        absent = absent._replace(origins=batch.origins_asked(origins, batch.absent_index))
        strangers = _joined(strangers, absent)
        elsewhere = torch.cat([elsewhere, batch.absent_index])
    present = functional.softplus(-output.head.presence).mean()
    if not len(elsewhere):
        return present
    logits = network.presence(output.videos, strangers, elsewhere)
    return 0.5 * (present + functional.softplus(logits).mean())


def _joined(first: EncodedQueries, second: EncodedQueries) -> EncodedQueries:
    """The queries of both, padded to the same number of words."""
    longest = max(first.words.shape[1], second.words.shape[1])
    words, masks = [], []
    for part in (first, second):
        more = longest - part.words.shape[1]
        words.append(functional.pad(part.words, (0, 0, 0, more)))
        masks.append(functional.pad(part.mask, (0, more)))
    origins = None
    if first.origins is not None and second.origins is not None:
        origins = torch.cat([first.origins, second.origins])
    return EncodedQueries(torch.cat(words), torch.cat([first.sentence, second.sentence]), torch.cat(masks), origins)


def grounding_terms(head: HeadOutput, bounds: Tensor, sentences: Tensor) -> dict[str, Tensor]:
    """Divergences from soft labels of spans, boundaries and inside clips, and the error of the offsets.

    Args:
        head: of N queries.
        bounds: (N, 2) true moments in clip units.
        sentences: (N,) equal where moments have one sentence: its clips inside are those of all of them.
    """
    mask = head.mask
    first, last = proposal_edges(mask.shape[1], mask.device)
    valid = last <= mask.sum(1, keepdim=True)  # (N, P)
    overlap = span_iou(torch.stack([first, last], -1).float(), bounds[:, None])  # (N, P)
    target = masked_softmax(overlap * _SHARPNESS, valid)
    log_spans = masked_log_softmax(head.spans.float(), valid)

    clip = torch.arange(mask.shape[1], device=mask.device)
    edges = torch.stack([clip, clip + 1], dim=-1)  # (T, 2) where each clip begins and ends
    distance = bounds[:, None] - edges  # (N, T, 2)
    length = (bounds[:, 1] - bounds[:, 0])[:, None, None]
    there = mask[..., None]
    labels = masked_softmax(-0.5 * (distance / (_SPREAD * length.clamp_min(2))) ** 2, there, dim=1)
    log_edges = masked_log_softmax(head.boundaries.float(), there, dim=1)
    covered = shared_occupancy(bounds, sentences, mask.shape[1])  # (N, T)
    inside = functional.binary_cross_entropy_with_logits(head.inside.float(), covered, reduction="none")
    terms = {
        "span": -(target * log_spans).sum(-1).mean(),
        "boundary": -(labels * log_edges).sum((1, 2)).mean(),
        "inside": masked_mean(inside, mask, dim=1).mean(),
    }
    if head.offsets is not None:
        near = (distance.abs() <= 1 + _REACH * length) & there
        error = functional.smooth_l1_loss(head.offsets.float(), distance, reduction="none")
        terms["offset"] = masked_mean(error, near, dim=1).sum(-1).mean()
    return terms
