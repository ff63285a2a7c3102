"""The loss of the grounding head, L_3 (method, section 6)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mttsg_core.config import LossConfig
from mttsg_core.head import HeadOutput
from mttsg_core.layers import masked_log_softmax, masked_mean, masked_softmax
from mttsg_core.network import NetworkOutput
from mttsg_core.spans import span_edges, span_iou

_SHARPNESS = 10.0  # of the target over spans: softmax of the overlap times this
_SPREAD = 0.1  # of the soft boundary labels, in lengths of the moment
_REACH = 0.06  # offsets are learned within one clip and so many lengths of the moment from the boundary


def objective(output: NetworkOutput, bounds: Tensor, config: LossConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """The whole loss and its unweighted terms, each a scalar.

    Args:
        output: of the network for N queries.
        bounds: (N, 2) true start and end in clip units, inside the video.
        config: the weights.
    """
    terms = grounding_terms(output.head, bounds)
    total = torch.stack([getattr(config, name) * term for name, term in terms.items()]).sum()
    return total, {name: term.detach() for name, term in terms.items()}


def grounding_terms(head: HeadOutput, bounds: Tensor) -> dict[str, Tensor]:
    """Divergences from soft labels of spans, boundaries and inside clips, and the error of the offsets."""
    mask = head.mask
    first, last = span_edges(mask.shape[1], mask.device)
    valid = last <= mask.sum(1, keepdim=True)  # (N, P)
    overlap = span_iou(torch.stack([first, last], -1).float(), bounds[:, None])  # (N, P)
    target = masked_softmax(overlap * _SHARPNESS, valid)
    log_spans = masked_log_softmax(head.spans.float(), valid)

    clip = torch.arange(mask.shape[1], device=mask.device)
    edges = torch.stack(
        [clip, clip + 1], dim=-1
    )  # (T, 2) where a moment that has the clip first, or last, has its edge
    distance = bounds[:, None] - edges  # (N, T, 2)
    length = (bounds[:, 1] - bounds[:, 0])[:, None, None]
    there = mask[..., None]
    labels = masked_softmax(-0.5 * (distance / (_SPREAD * length.clamp_min(2))) ** 2, there, dim=1)
    log_edges = masked_log_softmax(head.boundaries.float(), there, dim=1)
    near = (distance.abs() <= 1 + _REACH * length) & there
    error = functional.smooth_l1_loss(head.offsets.float(), distance, reduction="none")
    covered = (torch.minimum(clip + 1, bounds[:, 1:]) - torch.maximum(clip, bounds[:, :1])).clamp(0, 1)  # (N, T)
    inside = functional.binary_cross_entropy_with_logits(head.inside.float(), covered, reduction="none")
    return {
        "span": -(target * log_spans).sum(-1).mean(),
        "boundary": -(labels * log_edges).sum((1, 2)).mean(),
        "inside": masked_mean(inside, mask, dim=1).mean(),
        "offset": masked_mean(error, near, dim=1).sum(-1).mean(),
    }
