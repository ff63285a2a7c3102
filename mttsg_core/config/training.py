"""Settings of the losses and of training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mttsg_core.config.fields import COUNT, POSITIVE, PROBABILITY, SHARE, Range, setting

_SEED = Range(at_least=0, at_most=2**63 - 1)
_MIN_EPOCHS = 16
_MIN_PATIENCE = 4


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms (docs/method.md, section 7), and the constants that shape their targets."""

    proposal: float = setting(1.0, "weight: cross-entropy of the proposals with softened overlaps as labels")
    prior: float = setting(1.0, "mktn, weight: the same of the scores from curves alone, which proposals start from")
    boundary: float = setting(0.3, "weight: cross-entropy of the start and end distributions")
    foreground: float = setting(0.5, "weight: cross-entropy of each clip being inside the moment")
    offset: float = setting(0.1, "weight: smooth L1 of the offsets of clips near the boundaries")
    contrast: float = setting(0.3, "weight: L_CL between sentences and moments, clips and videos")
    intra: float = setting(0.15, "weight: the part of L_CL within sentences and within moments")
    mining: float = setting(0.0, "weight: the sentences and moments of a batch against those of all training pairs")
    presence: float = setting(0.3, "weight: cross-entropy of a video showing what a sentence describes")
    objects: float = setting(0.1, "weight: L_1, phrases and objects")
    activities: float = setting(0.1, "weight: L_2, sentences and activities")

    # L_3 of the other networks (section 15)
    map: float = setting(5.0, "proposal-map, weight: cross-entropy of the map with scaled overlaps")
    start_end: float = setting(1.0, "span, weight: cross-entropy of the start and end distributions")
    highlight: float = setting(2.0, "span, weight: cross-entropy of each clip being highlighted")
    slot_class: float = setting(4.0, "query-decoder, weight: cross-entropy of a moment query having found a moment")
    slot_l1: float = setting(10.0, "query-decoder, weight: L1 of the centre and length of matched moment queries")
    slot_giou: float = setting(1.0, "query-decoder, weight: 1 - generalised IoU of matched moment queries")
    saliency: float = setting(1.0, "query-decoder, weight: cross-entropy of each clip being inside the moment")

    map_low_iou: float = setting(0.3, "proposal-map: overlap that counts as 0", PROBABILITY)
    map_high_iou: float = setting(0.7, "proposal-map: overlap that counts as 1", PROBABILITY)
    highlight_margin: float = setting(0.1, "span: highlighted on either side of a moment, in lengths of it")
    background_weight: float = setting(0.1, "query-decoder: weight of moment queries that have found nothing", POSITIVE)

    proposal_sharpness: float = setting(10.0, "labels of proposals: softmax of this times the overlap", POSITIVE)
    boundary_spread: float = setting(0.1, "deviation of the soft boundary labels, in lengths of the moment", POSITIVE)
    offset_reach: float = setting(0.06, "offsets are learned within one clip and this many lengths of the boundary")
    same_moment_iou: float = setting(0.7, "moments of one video that overlap this much are positives", PROBABILITY)
    other_moment_iou: float = setting(0.5, "moments of one video that overlap less are negatives", PROBABILITY)
    clip_negatives: int = setting(16, "negatives that the mean of the other clips counts for", COUNT)
    object_temperature: float = setting(0.1, "temperature of L_1", POSITIVE)
    object_clips: int = setting(32, "evenly spaced clips of a video that L_1 looks at, at most", COUNT)
    prototype_diversity: float = setting(0.1, "weight of the term that keeps phrase prototypes apart, within L_1")

    # The memory of moments (section 2)
    memory_slots: int = setting(16_384, "training pairs in the memory, at most", COUNT)
    memory_momentum: float = setting(0.5, "share of an entry that stays when its pair is seen again", SHARE)

    # The adaptive thresholds phi (section 3)
    phi_neutral_odds: float = setting(0.1, "odds of a match above which a pair is not a negative", POSITIVE)
    phi_same_odds: float = setting(1.0, "odds of a match above which a pair is a positive", POSITIVE)
    phi_update: float = setting(0.7, "share of the newly solved phi", PROBABILITY)
    phi_momentum: float = setting(0.9, "decay of the running statistics that phi is solved from", SHARE)
    min_negatives: int = setting(4, "least similar negatives of a row that always stay")


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained (docs/method.md, section 8)."""

    epochs: int = setting(0, "passes over the training videos; 0 takes as many as make `steps` steps, and at least 16")
    steps: int = setting(1120, "see `epochs`", COUNT)
    batch_videos: int = setting(12, "videos of a step", COUNT)
    queries_per_video: int = setting(8, "sentences of one video in a step, at most; drawn again every epoch", COUNT)
    lr: float = setting(9e-4, "largest learning rate, after warm-up", POSITIVE)
    weight_decay: float = setting(0.05, "of AdamW")
    warmup: float = setting(0.1, "share of all steps in which the learning rate grows", SHARE)
    clip_norm: float = setting(1.0, "largest norm of the gradient")
    average: float = setting(0.99, "decay of the running average of the weights, which is validated and kept", SHARE)
    patience: float = setting(0.4, "share of the epochs without a better validation after which training stops")
    calibration_sentences: int = setting(
        100, "validation sentences below which scores are not calibrated, and not shown as probabilities", COUNT
    )
    seed: int = setting(0, "of the weights, the order of the videos and the dropout", _SEED)
    deterministic: bool = setting(False, "the same weights again on the same GPU, to the bit; slower")

    # Augmentation (docs/method.md, section 8)
    temporal_crop: float = setting(0.4, "share of videos that are cropped to a window around a moment", PROBABILITY)
    temporal_concat: float = setting(0.3, "share of videos cropped and joined to a piece of another", PROBABILITY)
    remove_moment: float = setting(0.1, "share of videos that lose a moment: its query is a negative", PROBABILITY)
    crop_keep_end: float = setting(0.3, "chance that a side of the window stays at the end of the video", PROBABILITY)
    crop_min_share: float = setting(0.6, "smallest window, as a share of the video", PROBABILITY)
    min_visible: float = setting(0.75, "share of a moment that must be visible for its query to stay", PROBABILITY)
    concat_min_share: float = setting(0.2, "shortest piece of the other video, relative to the window", POSITIVE)
    concat_max_share: float = setting(0.6, "longest piece of the other video, relative to the window", POSITIVE)
    remove_margin: int = setting(1, "clips removed on either side of a moment")
    remove_min_left: float = setting(1 / 3, "share of a video that must be left when a moment is removed", PROBABILITY)

    # Batches
    sorted_batches: int = setting(4, "batches whose videos are sorted by length among them, at most", COUNT)
    sorted_share: int = setting(4, "of this many batches of an epoch at most one is sorted with others", COUNT)
    statistics_videos: int = setting(200, "videos that the mean and spread of the features are taken from", COUNT)

    def epochs_for(self, videos: int) -> int:
        """Return the number of passes over `videos` training videos."""
        return self.epochs or max(_MIN_EPOCHS, math.ceil(self.steps / self.steps_per_epoch(videos)))

    def patience_for(self, epochs: int) -> int:
        """Return the number of epochs without a better validation after which training stops."""
        return max(_MIN_PATIENCE, round(self.patience * epochs))

    def steps_per_epoch(self, videos: int) -> int:
        """Return the number of batches of an epoch."""
        return math.ceil(videos / self.batch_videos)
