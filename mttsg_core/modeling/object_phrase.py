"""Object-phrase prototypes, the spatial alignment (the paper's module 4; docs/method.md, section 4), L_1.

    A_o = relu(W2 relu(W1 O)) -> object prototypes p_o (V, T, K_o, C), weighted means of the regions of a clip
    A_w likewise over phrases H (1-, 2-, 3-gram convolutions of the words) -> phrase prototypes p_w (N, K_w, C)
    S_op[p, i] = mean_j max_t max_k cos(p_w[p, j], p_o[i, t, k])
    L_1 = symmetric, multi-positive cross-entropy of S_op / tau; false negatives take no part

After ProST (ICCV 2023). Features without regions get learned pseudo-regions, projections of [F_{t-1} ; F_t ; F_{t+1}].
How well each phrase matches each clip is evidence for the head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from mttsg_core.config import LossConfig, NetworkConfig
from mttsg_core.data.batch import Targets
from mttsg_core.data.share import WHOLE, Share
from mttsg_core.modeling.layers import (
    QueryGroups,
    masked_softmax,
    own_video_mask,
    symmetric_contrastive_loss,
    unit_length,
)
from mttsg_core.modeling.proposals import shared_occupancy
from mttsg_core.utils.devices import at_once

_PADDING = -3.0  # added to cosines with padding
_VIDEOS_AT_ONCE = 8  # videos whose scores with all sentences are in memory at once


class Prototypes(nn.Module):
    """Pools (B, X, D_in) into prototypes (B, K, C): means over X with the weights relu(W2 relu(W1 x)), projected."""

    def __init__(self, input_width: int, count: int, width: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(nn.Linear(input_width, width), nn.ReLU(), nn.Linear(width, count), nn.ReLU())
        self.value = nn.Linear(input_width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Pool x (..., X, D_in) with mask (..., X) into (..., K, C)."""
        weights = self.weigh(x) + 1e-3  # (..., X, K), so that no prototype is ever empty
        if mask is not None:
            weights = weights * mask[..., None]
        weights = weights / weights.sum(-2, keepdim=True).clamp_min(1e-6)
        prototypes: Tensor = self.value(weights.transpose(-1, -2) @ x)  # the projection of the mean: weights sum to 1
        return prototypes


class ObjectPhraseAlignment(nn.Module):
    """Object prototypes of clips, phrase prototypes of sentences, and how they match."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.prototype_width
        self.pseudo = None if config.regions else nn.Linear(3 * config.width, config.pseudo_regions * width)
        region_width = config.region_width if config.regions else width
        self.objects = Prototypes(region_width, config.object_prototypes, width)
        self.narrow = nn.Linear(config.width, width)
        self.grams = nn.ModuleList(nn.Conv1d(width, width, words) for words in range(1, config.phrase_words + 1))
        self.phrase_prototypes = Prototypes(width, config.phrase_prototypes, width)
        self.out = nn.Linear(config.phrase_prototypes + 1, config.head_width, bias=False)
        nn.init.zeros_(self.out.weight)  # the network starts as one without objects

    def forward(self, clips: Tensor, regions: Tensor | None) -> Tensor:
        """Pool object prototypes (V, T, K_o, C) of clips F (V, T, D) with regions O (V, T, R, D_o), once a video.

        Raises:
            ValueError: if the network was built for regions and there are none.
        """
        if self.pseudo is not None:
            around = torch.cat([pad(clips, (0, 0, 1, 0))[:, :-1], clips, pad(clips, (0, 0, 0, 1))[:, 1:]], dim=-1)
            regions = nn.functional.gelu(self.pseudo(around)).unflatten(-1, (-1, self.narrow.out_features))
        if regions is None:
            raise ValueError("this network was built for features with regions")
        prototypes: Tensor = self.objects(regions)
        return unit_length(prototypes)

    def phrases(self, words: Tensor, mask: Tensor) -> Tensor:
        """Pool phrase prototypes (N, K_w, C) of words W (N, L, D) with mask (N, L)."""
        narrow = (self.narrow(words) * mask[..., None]).transpose(1, 2)  # (N, C, L)
        wide = [gram(pad(narrow, (more // 2, more - more // 2))) for more, gram in enumerate(self.grams)]  # (N, C, L)
        phrases = nn.functional.gelu(torch.stack(wide).amax(0)).transpose(1, 2)  # (N, L, C)
        prototypes: Tensor = self.phrase_prototypes(phrases, mask)
        return unit_length(prototypes)

    def match_features(self, objects: Tensor, phrases: Tensor, groups: QueryGroups) -> Tensor:
        """Describe how well clips match phrases: (V, T, K_o, C) and (N, K_w, C) to (N, T, D_h)."""
        best = groups.ungroup(_best_object(groups.of_group(objects), groups.group(phrases)))  # (N, K_w, T)
        channels = torch.cat([best, best.mean(1, keepdim=True)], dim=1).transpose(1, 2)  # (N, T, K_w + 1)
        features: Tensor = self.out(channels)
        return features


def object_phrase_scores(objects: Tensor, mask: Tensor, phrases: Tensor, object_clips: int) -> Tensor:
    """Return S_op (V, N), how well the objects of videos match the phrases of sentences.

    Only one object in a video decides about each phrase. It is found first, and only the product with it is part of
    the backward pass, whose work would otherwise grow with all objects of all videos.

    Args:
        objects: (V, T, K_o, C).
        mask: (V, T).
        phrases: (N, K_w, C).
        object_clips: evenly spaced clips of a video that are looked at, at most.
    """
    step = -(-mask.shape[1] // object_clips)
    objects, mask = objects[:, ::step].float(), mask[:, ::step]
    flat, phrases = objects.flatten(1, 2), phrases.float()  # (V, X, C), (N, K_w, C)
    padding = (~mask * _PADDING).repeat_interleave(objects.shape[2], dim=1)  # (V, X)
    size = at_once(_VIDEOS_AT_ONCE, objects.device)
    with torch.no_grad():
        every = phrases.flatten(0, 1)  # (N * K_w, C)
        best = torch.cat([_best(*part, every) for part in zip(flat.split(size), padding.split(size), strict=True)])
    objects_before = torch.arange(0, flat.shape[:2].numel(), flat.shape[1], device=flat.device)[:, None]  # (V, 1)
    chosen = flat.flatten(0, 1).index_select(0, (objects_before + best).flatten())  # (V * N * K_w, C)
    chosen = chosen.view(len(flat), len(phrases), -1)  # (V, N, K_w * C)
    return torch.einsum("vnx,nx->vn", chosen, phrases.flatten(1)) / phrases.shape[1]


def _best(objects: Tensor, padding: Tensor, phrases: Tensor) -> Tensor:
    """Return the object (V, X, C) that matches each of Y phrases (Y, C) best, given padding (V, X): numbers (V, Y)."""
    return torch.baddbmm(padding[:, None], phrases.expand(len(objects), -1, -1), objects.transpose(1, 2)).argmax(-1)


def object_phrase_loss(
    objects: Tensor,
    mask: Tensor,
    phrases: Tensor,
    scores: Tensor,
    video_index: Tensor,
    targets: Targets,
    false_videos: Tensor,
    config: LossConfig,
    share: Share = WHOLE,
) -> Tensor:
    """Compute the share of N queries and V videos in L_1 of a batch, which has N* and V* of them.

    Args:
        objects: (V, T, K_o, C).
        mask: (V, T).
        phrases: (N, K_w, C).
        scores: (V*, N*), see `object_phrase_scores`.
        video_index: (N,).
        targets: true moments; within the own video the phrases are to be found inside them.
        false_videos: (N*, V*) True for other videos that are not negatives of a sentence.
        config: temperature, clips considered, and weight of the diversity term.
        share: which queries and videos of the batch these are; N* = N and V* = V where it is whole.
    """
    step = -(-mask.shape[1] // config.object_clips)
    objects, mask, phrases = objects[:, ::step].float(), mask[:, ::step], phrases.float()
    foreground = (shared_occupancy(targets.spans / step, targets.sentence_ids, mask.shape[1]) > 0) & mask[video_index]
    positives = own_video_mask(share.whole_index(video_index), len(scores))  # (N*, V*)
    loss = symmetric_contrastive_loss(scores.T / config.object_temperature, positives, ~positives & ~false_videos)
    each = _localisation_losses(objects, mask, phrases, video_index, foreground, config.object_temperature)
    return share.alike(loss) + share.mean(each + config.prototype_diversity * _prototype_similarity(phrases))


def _localisation_losses(
    objects: Tensor, mask: Tensor, phrases: Tensor, video_index: Tensor, foreground: Tensor, temperature: float
) -> Tensor:
    """Require that the best matching clips of the own video are those of the moment, foreground (N, T): (N,)."""
    match = torch.einsum("nkc,ntoc->nkto", phrases, objects.index_select(0, video_index)).amax(-1).mean(1)  # (N, T)
    share = masked_softmax(match / temperature, mask[video_index])  # (N, T)
    return -(share * foreground).sum(1).clamp_min(1e-6).log()


def _prototype_similarity(prototypes: Tensor) -> Tensor:
    """Return the mean square of the cosines between different prototypes (N, K, C) of each sentence: (N,)."""
    count = prototypes.shape[1]
    cosines = prototypes @ prototypes.transpose(1, 2)  # (N, K, K)
    different = ~torch.eye(count, dtype=torch.bool, device=cosines.device)
    return (cosines.square() * different).sum((1, 2)) / max(1, count * (count - 1))


def _best_object(objects: Tensor, phrases: Tensor) -> Tensor:
    """Return max_k cos(p_w, p_o) in every clip: (G, T, K_o, C) and (G, Q, K_w, C) to (G, Q, K_w, T)."""
    groups, clips, count, _ = objects.shape
    objects = objects.transpose(1, 2).flatten(1, 2)  # (G, K_o * T, C)
    cosines = phrases.flatten(1, 2) @ objects.transpose(1, 2)  # (G, Q * K_w, K_o * T)
    return cosines.view(groups, phrases.shape[1], phrases.shape[2], count, clips).amax(3)
