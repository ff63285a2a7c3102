"""The whole loss, L = L_CL + lambda L_1 + gamma L_2 + mu L_3 (docs/method.md, section 7)."""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mttsg_core.config import LossConfig, NetworkConfig
from mttsg_core.data.batch import Targets
from mttsg_core.data.share import WHOLE, Share
from mttsg_core.modeling.activity_sentence import activity_sentence_loss, activity_sentence_scores
from mttsg_core.modeling.contrastive import ContrastScores, QueryScores, VideoScores, contrast_losses, contrast_scores
from mttsg_core.modeling.false_negatives import FalseNegativeFilter, FalseNegatives, no_false_negatives
from mttsg_core.modeling.moment_memory import MemoryRelations, MomentMemory, mining_loss
from mttsg_core.modeling.network_output import MKTNOutput, Negatives, TrainingOutput
from mttsg_core.modeling.object_phrase import object_phrase_loss, object_phrase_scores


class _Compared(NamedTuple):
    """What the terms compare with other pairs, of all ranks; None where it is not needed.

    Attributes:
        contrast: see `contrast_scores`.
        objects, activities: (V*, N*) how well sentences match videos.
    """

    contrast: ContrastScores | None
    objects: Tensor | None
    activities: Tensor | None


class Losses(NamedTuple):
    """The losses of one batch; where several ranks share it, what each has adds up to those of the batch.

    Attributes:
        total: the weighted sum, to be minimised.
        terms: scalars without their weights.
        statistics: what else is worth watching: phi, the share of negatives dropped, the mean gate of the memory.
    """

    total: Tensor
    terms: dict[str, Tensor]
    statistics: dict[str, Tensor]


class MKTNCriterion(nn.Module):
    """Computes the losses of an output, deterministically and without any weights of its own.

    Its state is that of the adaptive thresholds phi and of the memory of moments, which it updates in training mode.

    Args:
        config: weights of the terms, and the constants of their targets. Terms of modules are skipped at weight 0.
        network: config of the network: which parts are on, and their temperatures.
        pairs: number of training pairs, which the memory of moments holds; without any there is no memory.
    """

    def __init__(self, config: LossConfig, network: NetworkConfig, pairs: int = 0) -> None:
        super().__init__()
        self.config = config
        self.network = network
        self.false_negative_filter = FalseNegativeFilter(config) if network.negatives else None
        self.memory = None
        if network.mining and network.contrast and pairs and config.mining > 0:
            slots = min(pairs, config.memory_slots)
            self.memory = MomentMemory(slots, network.contrast_width, config.memory_momentum)

    def forward(self, output: MKTNOutput, targets: Targets) -> Losses:
        """Compute the losses of an output of the network in training mode, in single precision even within autocast.

        Raises:
            ValueError: if the output was not computed in training mode.
        """
        if output.training is None:
            raise ValueError("losses need the output of a network in training mode")
        with torch.autocast(output.training.text.device.type, enabled=False):
            return self._losses(output, output.training, targets)

    def _losses(self, output: MKTNOutput, training: TrainingOutput, targets: Targets) -> Losses:
        relations = self._memory_relations(output)
        self._update_thresholds(output, relations)
        false_negatives = self.false_negatives(output)
        share = training.share
        terms = output.head.losses(targets, self.config, share)
        compared = self._compare(output, training, targets)
        terms |= self._alignment_losses(output, training, targets, compared, false_negatives)
        if (mining := self._mining_loss(training, compared, relations)) is not None:
            terms["mining"] = mining
        if training.negatives is not None and self.config.presence > 0:
            terms["presence"] = presence_loss(output.head.presence, training.negatives, share)
        total = torch.stack([getattr(self.config, name) * term for name, term in terms.items()]).sum()
        found = {} if self.false_negative_filter is None else self.false_negative_filter.statistics()
        statistics = {name: share.alike(value) for name, value in found.items()}
        if output.fused.gate is not None:
            statistics["gate"] = share.mean(output.fused.gate.detach().float().mean(1))
        return Losses(share.join(total), {name: term.detach() for name, term in terms.items()}, statistics)

    def _memory_relations(self, output: MKTNOutput) -> MemoryRelations | None:
        """Tell how all pairs of a batch relate to the memory as it is before them; None without a memory."""
        if self.memory is None or output.training is None or output.training.sources is None:
            return None
        share = output.training.share
        sources, index = share.whole(output.training.sources), share.whole_index(output.video_index)
        return self.memory.relations(output.training.text, sources.pairs, sources.excluded(sources.queries, index))

    @torch.no_grad()
    def _update_thresholds(self, output: MKTNOutput, relations: MemoryRelations | None) -> None:
        """Learn phi from the scores of the batch's sentences with the memory's, or with each other without one."""
        if not self.training or self.false_negative_filter is None or output.training is None:
            return
        training, thresholds = output.training, self.false_negative_filter.thresholds
        if relations is not None:
            thresholds.update(relations.scores, relations.own, relations.others)
        else:
            itself = torch.eye(len(training.text), dtype=torch.bool, device=training.text.device)
            index = training.share.whole_index(output.video_index)
            others = index[:, None] != index
            thresholds.update(training.text @ training.clean_text.T, itself, others)

    def _compare(self, output: MKTNOutput, training: TrainingOutput, targets: Targets) -> _Compared:
        """Compute what the terms compare with other pairs, each rank for its queries and videos; gather it at once."""
        videos, queries, config = output.videos, training.queries, self.config
        contrast = objects = activities = None
        if training.contrast is not None and (self.memory is not None or config.contrast + config.intra > 0):
            contrast = contrast_scores(training.contrast, targets)
        if videos.objects is not None and queries.phrases is not None and config.objects > 0:
            mask = videos.encoded.mask
            objects = object_phrase_scores(videos.objects, mask, queries.phrases, config.object_clips)  # (V, N*)
        if videos.activities is not None and queries.activity is not None and config.activities > 0:
            activities = activity_sentence_scores(videos.activities, queries.activity)  # (V, N*)
        of_queries = () if contrast is None else contrast.queries
        of_videos = [] if contrast is None else [value for scores in contrast.videos for value in scores]
        further = [scores for scores in (objects, activities) if scores is not None]
        all_queries, all_videos = training.share.gather(of_queries, [*of_videos, *further])
        found = iter(all_videos)
        if contrast is not None:
            of_all = tuple(VideoScores(*islice(found, len(scores))) for scores in contrast.videos)
            contrast = ContrastScores(contrast.own, QueryScores(*all_queries), of_all)
        return _Compared(
            contrast, None if objects is None else next(found), None if activities is None else next(found)
        )

    def _mining_loss(
        self, training: TrainingOutput, compared: _Compared, relations: MemoryRelations | None
    ) -> Tensor | None:
        """Compare the batch with the memory, and then take it in; None without a memory."""
        if self.memory is None or relations is None or training.contrast is None:
            return None
        if training.sources is None or compared.contrast is None:
            return None
        share, moments = training.share, compared.contrast.queries.moment  # (N*, C)
        scores, positives, negatives = (share.own_queries(values) for values in relations)
        if self.false_negative_filter is not None:
            thresholds = self.false_negative_filter.thresholds
            positives = positives | (negatives & thresholds.match(scores))
            negatives = negatives & ~thresholds.may_match(scores)
        temperature = training.contrast.temperature
        text, sources = share.own_queries(training.text), share.whole(training.sources)
        loss = mining_loss(self.memory, text, share.own_queries(moments), positives, negatives, temperature, share)
        if self.training:
            self.memory.store(sources.pairs, sources.queries, training.clean_text, moments.detach())
        return loss

    @torch.no_grad()
    def false_negatives(self, output: MKTNOutput) -> FalseNegatives:
        """Find the sentences of a batch that likely fit pairs of other videos; none where that is switched off."""
        share = WHOLE if output.training is None else output.training.share
        index, videos = share.whole_index(output.video_index), share.whole_videos(len(output.videos.encoded.clips))
        if self.false_negative_filter is None or output.training is None:
            return no_false_negatives(index, videos)
        scores = output.training.text @ output.training.clean_text.T  # (N*, N*)
        found: FalseNegatives = self.false_negative_filter(scores, index, videos)
        return found

    def _alignment_losses(
        self,
        output: MKTNOutput,
        training: TrainingOutput,
        targets: Targets,
        compared: _Compared,
        false_negatives: FalseNegatives,
    ) -> dict[str, Tensor]:
        """Compute the terms of the modules that are on."""
        videos, queries, index, share = output.videos, output.queries, output.video_index, training.share
        mask, config = videos.encoded.mask, self.config
        contrast, objects, activities = compared
        terms: dict[str, Tensor] = {}
        if training.contrast is not None and contrast is not None and config.contrast + config.intra > 0:
            whole, all_index = share.whole(targets), share.whole_index(index)
            false_pairs, false_videos = false_negatives
            losses = contrast_losses(
                training.contrast, contrast, all_index, whole, false_pairs, false_videos, config, share
            )
            terms |= {"contrast": losses.moment + losses.clip + losses.video, "intra": losses.intra}
        if videos.objects is not None and queries.phrases is not None and objects is not None:
            terms["objects"] = object_phrase_loss(
                videos.objects, mask, queries.phrases, objects, index, targets, false_negatives.videos, config, share
            )
        if videos.activities is not None and queries.activity is not None and activities is not None:
            terms["activities"] = activity_sentence_loss(
                videos.activities,
                mask,
                queries.activity,
                activities,
                index,
                targets,
                false_negatives.videos,
                self.network.activity_temperature,
                config.same_moment_iou,
                share,
            )
        return terms


def presence_loss(present: Tensor, negatives: Negatives, share: Share = WHOLE) -> Tensor:
    """Return the share in the cross-entropy of presence logits, of queries in their video and of mismatched ones.

    Args:
        present: (N,) logits of queries in their video.
        negatives: mismatched ones; if none of a batch takes part, the queries in their video count alone.
        share: which queries of the batch these are.
    """
    own = share.mean(functional.softplus(-present))
    total = (functional.softplus(negatives.presence) * negatives.valid).sum()
    return torch.where(negatives.taking_part > 0, 0.5 * (own + total / negatives.taking_part.clamp_min(1)), own)
