"""What the slots of `query_decoder` found, and their matching with the true moments."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mttsg_core.config import LossConfig, NetworkConfig
from mttsg_core.data.batch import Targets
from mttsg_core.data.share import WHOLE, Share
from mttsg_core.modeling.layers import masked_mean
from mttsg_core.modeling.proposals import answers_apart, shared_occupancy, span_iou
from mttsg_core.utils.devices import upload


class SlotOutput(NamedTuple):
    """Output for N queries over T clips, from S slots after each of E layers.

    Attributes:
        spans: (E, N, S, 2) centre and length, as shares of the video.
        found: (E, N, S) logits of a slot having found a moment.
        inside: (N, T) logits of a clip being inside the moment.
        presence: (N,) logits of the moment being in the video at all; infinite where that is not learned.
        mask: (N, T).
    """

    spans: Tensor
    found: Tensor
    inside: Tensor
    presence: Tensor
    mask: Tensor

    def answers(self, top: int, config: NetworkConfig) -> tuple[Tensor, Tensor]:
        """Return the best moments, see `GroundingOutput.answers`."""
        clips = self.mask.sum(1)[:, None, None].float()  # (N, 1, 1)
        start, end = (start_end(self.spans[-1].float()).clamp(0, 1) * clips).split(1, dim=-1)  # (N, S, 1)
        start = torch.minimum(start, clips - config.min_moment_clips)
        spans = torch.cat([start, torch.maximum(end, start + config.min_moment_clips)], dim=-1)  # (N, S, 2)
        answers, scores = answers_apart(spans, self.found[-1].float().sigmoid(), top, config.nms_iou)
        return answers, scores * self.presence.sigmoid()[:, None]

    def saliency(self, config: NetworkConfig) -> Tensor:
        """Return (N, T): the probability that a clip is inside the moment."""
        return self.inside.float().sigmoid()

    def losses(self, targets: Targets, config: LossConfig, share: Share = WHOLE) -> dict[str, Tensor]:
        """Compute the share in the terms of L_3, those of the slots as sums over the layers.

        The moments of a sentence are all true: a query whose sentence has several moments is matched with all of them.
        As many slots are matched after every layer, so the sum of the layers' means is E times the mean of all.
        """
        shares = targets.spans / self.mask.sum(1, keepdim=True)  # (N, 2)
        truth = torch.stack([shares.mean(1), shares[:, 1] - shares[:, 0]], dim=-1)  # (N, 2) centre and length
        of_sentence = targets.sentence_ids[:, None] == targets.sentence_ids  # (N, N)
        layers, spans, found = len(self.spans), self.spans.flatten(0, 1).float(), self.found.flatten(0, 1).float()
        terms = slot_losses(spans, found, truth, of_sentence.repeat(layers, 1), config, share)
        occupancy = shared_occupancy(targets.spans, targets.sentence_ids, self.mask.shape[1])  # (N, T)
        inside = functional.binary_cross_entropy_with_logits(self.inside.float(), occupancy, reduction="none")
        return {
            **{name: layers * term for name, term in terms.items()},
            "saliency": share.mean(masked_mean(inside, self.mask, dim=1)),
        }


def slot_losses(
    spans: Tensor,
    found: Tensor,
    truth: Tensor,
    of_sentence: Tensor,
    config: LossConfig,
    share: Share = WHOLE,
) -> dict[str, Tensor]:
    """Match slots with true moments, and compute the share in their losses.

    Args:
        spans: (B, S, 2) centre and length, of B rows: the queries after each of the layers.
        found: (B, S) logits.
        truth: (N, 2) true moments.
        of_sentence: (B, N) True where a row has a moment.
        config: weights, which also weigh the costs of the matching.
        share: which queries of a batch these are.
    """
    with torch.no_grad():
        distance = (spans[:, :, None] - truth).abs().sum(-1)  # (B, S, N)
        overlap = generalised_iou(start_end(spans)[:, :, None], start_end(truth))  # (B, S, N)
        cost = config.slot_l1 * distance - config.slot_giou * overlap
        cost = cost - config.slot_class * found.sigmoid()[..., None]
    row, slot, moment = match_slots(cost, of_sentence)
    chosen, true = spans[row, slot], truth[moment]  # (M, 2) each
    is_matched = torch.zeros_like(found)
    is_matched[row, slot] = 1.0
    weight = torch.where(is_matched > 0, 1.0, config.background_weight)  # (B, S)
    each = functional.binary_cross_entropy_with_logits(found, is_matched, reduction="none")
    weights, matched = share.count(torch.stack([weight.sum(), is_matched.sum()])).clamp_min(1)
    return {
        "slot_class": share.total(each * weight) / weights,
        "slot_l1": share.total((chosen - true).abs().mean(1)) / matched,
        "slot_giou": share.total(1 - generalised_iou(start_end(chosen), start_end(true))) / matched,
    }


def match_slots(cost: Tensor, of_sentence: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Match slots and true moments of each row at the least total cost, each at most once.

    It waits for a GPU: all it needs is read back in one copy.

    Args:
        cost: (B, S, N) of row, slot and moment.
        of_sentence: (B, N) True where a row has a moment.

    Returns:
        Numbers of the row, the slot and the moment of each match: (M,) each.
    """
    from scipy.optimize import linear_sum_assignment  # only training needs it, and it takes long to import

    values = torch.cat([cost.nan_to_num(), of_sentence[:, None]], dim=1).cpu().double().numpy()  # (B, S + 1, N)
    matches = []
    for row, table in enumerate(values):  # a diverging training, all zeros here, is reported by its loss
        moments = np.flatnonzero(table[-1])
        slots, columns = linear_sum_assignment(table[:-1, moments])
        matches.append(np.stack([np.full_like(slots, row), slots, moments[columns]]))
    row, slot, moment = upload(torch.from_numpy(np.concatenate(matches, axis=1)), cost.device)
    return row, slot, moment


def start_end(spans: Tensor) -> Tensor:
    """Turn centre and length (..., 2) into start and end."""
    centre, length = spans.unbind(-1)
    return torch.stack([centre - length / 2, centre + length / 2], dim=-1)


def generalised_iou(first: Tensor, second: Tensor) -> Tensor:
    """Return the IoU of spans (..., 2), less the share of their hull that neither covers (Rezatofighi, CVPR 2019)."""
    union = (first[..., 1] - first[..., 0]) + (second[..., 1] - second[..., 0])
    overlap = torch.minimum(first[..., 1], second[..., 1]) - torch.maximum(first[..., 0], second[..., 0])
    union = union - overlap.clamp_min(0)
    hull = torch.maximum(first[..., 1], second[..., 1]) - torch.minimum(first[..., 0], second[..., 0])
    return span_iou(first, second) - (hull - union) / hull.clamp_min(1e-6)
