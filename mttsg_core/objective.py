"""The loss of the grounding head, L_3 (method, section 6)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mttsg_core.config import LossConfig
from mttsg_core.head import HeadOutput, boundary_targets, candidate_spans, iou, offset_targets
from mttsg_core.layers import masked_log_softmax, masked_mean
from mttsg_core.network import NetworkOutput


def objective(output: NetworkOutput, bounds: Tensor, config: LossConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """The whole loss and its unweighted terms, each a scalar.

    Args:
        output: of the network for N queries.
        bounds: (N, 2) true start and end in clip units.
        config: the weights.
    """
    terms = grounding_terms(output.head, bounds)
    weights = {"boundary": config.boundary, "inside": config.inside, "offset": config.offset, "iou": config.iou}
    total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
    return total, {name: term.detach() for name, term in terms.items()}


def grounding_terms(head: HeadOutput, bounds: Tensor) -> dict[str, Tensor]:
    """KL of the boundaries, cross-entropy of inside, smooth L1 of the offsets, and 1 - expected IoU."""
    mask = head.mask
    start = boundary_targets(bounds[:, 0], mask)  # (N, T)
    end = boundary_targets(bounds[:, 1], mask)
    boundary = sum(
        functional.kl_div(masked_log_softmax(logits, mask), target, reduction="none").sum(1).mean()
        for logits, target in ((head.start, start), (head.end, end))
    )
    clip = torch.arange(mask.shape[1], device=mask.device)
    covered = (torch.minimum(clip + 1, bounds[:, 1:]) - torch.maximum(clip, bounds[:, :1])).clamp(0, 1)  # (N, T)
    inside = functional.binary_cross_entropy_with_logits(head.inside, covered, reduction="none")
    offsets, near = offset_targets(bounds, mask)
    offset = functional.smooth_l1_loss(head.offsets, offsets, reduction="none", beta=0.1)
    spans = candidate_spans(head)
    overlap = iou(spans.bounds, bounds[:, None])  # (N, C)
    expected = (spans.log_score.softmax(-1) * overlap).sum(-1)
    return {
        "boundary": torch.as_tensor(boundary),
        "inside": masked_mean(inside, mask, dim=1).mean(),
        "offset": (offset * near).sum() / near.sum().clamp_min(1),
        "iou": 1 - expected.mean(),
    }
