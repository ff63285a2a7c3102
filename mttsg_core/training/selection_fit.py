"""Fits how answers are selected among proposals to the validation split: two numbers, by likelihood.

Trained distributions over proposals are too sharp where data are few and too flat where they are many, and proposals of
different lengths are differently numerous. `inverse_temperature` and `length_prior_power` (docs/method.md, section 9)
make up for both. Those are chosen under which the true moments are likeliest:

    sum over pairs of  log P(IoU >= 0.5) + log P(IoU >= 0.7)

where P sums the distribution over the proposals that overlap a true moment by so much.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import torch
from torch import Tensor

from mttsg_core.config import NetworkConfig
from mttsg_core.data.batch import VideoItem
from mttsg_core.data.dataset import Dataset
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.modeling.grounding_head import refined_spans
from mttsg_core.modeling.proposals import calibrated_logits, span_iou

_INVERSE_TEMPERATURES = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0)
_LENGTH_PRIOR_POWERS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
_MIN_PAIRS = 100  # fewer cannot tell the candidates apart
_MAX_VIDEOS = 1000  # that are looked at
_LEVELS = (0.5, 0.7)
_FLOOR = 1e-6  # of a probability


@torch.inference_mode()
def fit_selection(predictor: MKTNPredictor, validation: Dataset) -> NetworkConfig:
    """Return the network's config with the selection that fits the validation pairs best; as it is with few of them."""
    config = predictor.network.config
    candidates = [
        replace(config, inverse_temperature=temperature, length_prior_power=power)
        for temperature, power in product(_INVERSE_TEMPERATURES, _LENGTH_PRIOR_POWERS)
    ]
    total, pairs = torch.zeros(len(candidates), dtype=torch.float64), 0
    for logits, spans, moments in _outputs(predictor, validation):
        overlap = span_iou(spans, moments[:, None]).amax(0)  # (P,)
        lengths = spans[:, 1] - spans[:, 0]
        adjusted = torch.stack([calibrated_logits(logits, lengths, candidate) for candidate in candidates])  # (C, P)
        weights = adjusted.softmax(-1)
        for level in _LEVELS:
            total += (weights * (overlap >= level)).sum(-1).clamp_min(_FLOOR).log().double().cpu()
        pairs += 1
    return candidates[int(total.argmax())] if pairs >= _MIN_PAIRS else config


def _outputs(predictor: MKTNPredictor, validation: Dataset) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield for each pair the logits (P,) and spans (P, 2) of the proposals, and its true moments (M, 2), in clips."""
    limit = predictor.max_window_seconds
    for video, rows in list(validation.by_video().items())[:_MAX_VIDEOS]:
        features = validation.store.load(video)
        pairs = [validation.pairs[row] for row in rows if validation.pairs[row].moments]
        if not pairs or (limit is not None and features.timeline.duration > limit):
            continue
        shown = features.downsample(predictor.network.config.max_clips)
        item = VideoItem(shown, predictor.encode([pair.query for pair in pairs]))
        moments = [torch.tensor(shown.timeline.to_clips(list(pair.moments)), dtype=torch.float32) for pair in pairs]
        done = 0
        for head, videos in predictor.head_outputs([item], "independent"):
            spans = refined_spans(head, predictor.network.config)
            for row in range(len(videos)):
                yield head.proposals[row], spans[row], moments[done + row].to(spans.device)
            done += len(videos)
