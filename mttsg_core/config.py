"""Every choice that shapes a network, its losses and its training, with its default, written once.

The classes are frozen and strict: a name that is not a setting is refused, with the nearest right one.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, TypeVar

from mttsg_core.errors import ConfigError

_Config = TypeVar("_Config")

# What a number must be beside not negative. Names are unique across the classes below.
_AT_LEAST_1 = {
    *("width", "region_width", "region_heads", "head_width", "span_width", "kernel", "max_clips"),
    *("contrast_width", "memory_top", "prototype_width", "object_prototypes", "phrase_prototypes"),
    *("activity_prototypes", "pseudo_regions", "steps", "batch_videos", "queries_per_video"),
}
_SHARES = {"dropout", "input_dropout", "word_input_dropout", "word_dropout", "warmup", "average"}
_LARGEST_SEED = 2**63 - 1
_UP_TO_1 = {"co_query_dropout", "cut", "join", "erase"}
_EVEN, _ODD, _SIGNED, _MORE_THAN_0 = {"width", "head_width"}, {"kernel"}, {"shift"}, {"lr"}
_FEWEST_EPOCHS = 16
_LEAST_PATIENCE = 4


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes and switches of the network (method, sections 1 and 6).

    Attributes:
        clip_dim: width of a clip vector of the features.
        word_dim: width of a word vector.
        region_dim: width of a region vector; 0 if the features have no regions.
        regions: regions a clip; 0 if there are none.
        width: D, the width of clips, words and sentences inside the network.
        region_width: the width of regions inside the network.
        region_heads: independent looks of a query at the regions of a clip.
        local_layers: convolution blocks over neighbouring clips.
        kernel: clips that a convolution sees.
        head_width: the width of clips in the head.
        span_width: the width in which candidate spans are scored.
        max_clips: longer videos are averaged into so many clips.
        dropout: share of hidden channels dropped, constant over time.
        input_dropout: share of the features' channels dropped.
        word_input_dropout: share of the entries of word vectors dropped.
        word_dropout: share of words dropped.
        contrast_width: of the common space of clips and sentences.
        memory_queue: entries of past pairs that the memory holds.
        memory_top: entries that a query mines at once, at most.
        co_query_dropout: share of the queries that mine no other query of their batch, so that a query does well alone.
        prototype_width: of objects, phrases and activities.
        object_prototypes: a clip.
        phrase_prototypes: a sentence.
        activity_prototypes: a video.
        pseudo_regions: learned regions a clip, where the features have none.
        offsets: refine boundaries to real numbers (the paper's float boundary).
        contrast: learn and use a common space of clips and sentences (method, section 3).
        mining: mine other pairs through a memory (section 2).
        objects: match phrases with objects (section 4).
        activities: match sentences with activities (section 5).
        negatives: take likely false negatives out of the contrasts (section 3).
        presence: learn from the sentences of other videos whether a video shows what is asked.
    """

    clip_dim: int
    word_dim: int
    region_dim: int = 0
    regions: int = 0
    width: int = 256
    region_width: int = 96
    region_heads: int = 4
    local_layers: int = 2
    kernel: int = 3
    max_clips: int = 256
    head_width: int = 128
    span_width: int = 16
    dropout: float = 0.2
    input_dropout: float = 0.5
    word_input_dropout: float = 0.3
    word_dropout: float = 0.1
    contrast_width: int = 128
    memory_queue: int = 512
    memory_top: int = 8
    co_query_dropout: float = 0.5
    prototype_width: int = 64
    object_prototypes: int = 4
    phrase_prototypes: int = 8
    activity_prototypes: int = 8
    pseudo_regions: int = 4
    offsets: bool = True
    contrast: bool = True
    mining: bool = True
    objects: bool = True
    activities: bool = True
    negatives: bool = True
    presence: bool = True

    SWITCHES: ClassVar[tuple[str, ...]] = (
        *("contrast", "mining", "objects", "activities", "negatives", "presence", "offsets"),
    )

    @classmethod
    def switched_off(cls, names: Iterable[str]) -> dict[str, bool]:
        """The settings that build a network without the parts named.

        Raises:
            ConfigError: if there is no such part.
        """
        names = list(names)
        refuse_unknown(names, cls.SWITCHES, "part")
        return dict.fromkeys(names, False)


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms (method, section 6).

    Attributes:
        span: cross-entropy of the candidate spans, with their overlap with the true moment as soft label.
        boundary: cross-entropy of the start and end distributions.
        inside: cross-entropy of each clip being inside the moment.
        offset: smooth L1 of the offsets of clips near the boundaries.
        contrast: L_CL between sentences and moments, and sentences and videos.
        intra: the part of L_CL within sentences and within moments.
        presence: cross-entropy of a video showing what a sentence describes.
        objects: L_1, phrases and objects.
        activities: L_2, sentences and activities.
    """

    span: float = 1.0
    boundary: float = 0.3
    inside: float = 0.5
    offset: float = 0.1
    contrast: float = 0.3
    intra: float = 0.15
    presence: float = 0.3
    objects: float = 0.1
    activities: float = 0.1


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained (method, section 8).

    Attributes:
        epochs: passes over the training videos; 0 takes as many as make `steps` steps, and at least 16.
        steps: see `epochs`.
        batch_videos: videos a step.
        queries_per_video: sentences of one video in a step, at most; each epoch draws them anew.
        cut: share of videos that are cut to a window around a moment.
        join: share of videos that are cut and joined to a piece of another video.
        erase: share of videos that lose a moment, so that a sentence no longer describes them.
        lr: largest learning rate, after warm-up.
        weight_decay: of AdamW.
        warmup: share of all steps in which the learning rate grows.
        clip_norm: largest norm of the gradient.
        average: decay of the running average of the weights that is validated and kept.
        patience: share of the epochs without a better validation after which training stops.
        seed: of the weights, the order of the videos and the dropout.
    """

    epochs: int = 0
    steps: int = 1120
    batch_videos: int = 12
    queries_per_video: int = 8
    cut: float = 0.4
    join: float = 0.3
    erase: float = 0.1
    lr: float = 9e-4
    weight_decay: float = 0.05
    warmup: float = 0.1
    clip_norm: float = 1.0
    average: float = 0.99
    patience: float = 0.4
    seed: int = 0

    def epochs_for(self, videos: int) -> int:
        """Passes over so many videos."""
        return self.epochs or max(_FEWEST_EPOCHS, math.ceil(self.steps / self.steps_per_epoch(videos)))

    def patience_for(self, epochs: int) -> int:
        """Epochs without a better validation, of so many, after which training stops."""
        return max(_LEAST_PATIENCE, round(self.patience * epochs))

    def steps_per_epoch(self, videos: int) -> int:
        """Batches that so many videos make."""
        return math.ceil(videos / self.batch_videos)


def from_mapping(kind: type[_Config], values: Mapping[str, Any]) -> _Config:
    """A config from a mapping of its settings; those not named keep their defaults.

    Raises:
        ConfigError: for a name that is no setting (naming the nearest that is), a missing one, or a value of
            another type or out of range.
    """
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    refuse_unknown(values, known, f"setting of {kind.__name__}")
    checked: dict[str, Any] = {}
    for name, value in values.items():
        wanted = str(known[name].type)
        fits = {
            "bool": isinstance(value, bool),
            "int": isinstance(value, int) and not isinstance(value, bool),
            "float": isinstance(value, int | float) and not isinstance(value, bool),
            "str": isinstance(value, str),
        }
        if not fits[wanted]:
            raise ConfigError(f"{name} = {value!r}: must be {wanted}")
        checked[name] = float(value) if wanted == "float" else value
        if not isinstance(value, bool | str):
            _check_range(name, value)
    try:
        return kind(**checked)
    except TypeError as error:
        raise ConfigError(f"{kind.__name__}: {error}") from error


def _check_range(name: str, value: float) -> None:
    """Raise ConfigError for a number that no network or training can have."""
    reason = ""
    if not math.isfinite(value):
        reason = "a finite number"
    elif value < 0 and name not in _SIGNED:
        reason = "a number of at least 0"
    elif name in _MORE_THAN_0 and value == 0:
        reason = "more than 0"
    elif name in _AT_LEAST_1 and value < 1:
        reason = "at least 1"
    elif name in _SHARES and value >= 1:
        reason = "less than 1"
    elif name in _UP_TO_1 and value > 1:
        reason = "at most 1"
    elif name == "seed" and value > _LARGEST_SEED:
        reason = f"at most {_LARGEST_SEED}"
    elif (name in _EVEN and value % 2) or (name in _ODD and not value % 2):
        reason = "even" if name in _EVEN else "odd"
    if reason:
        raise ConfigError(f"{name} = {value!r}: must be {reason}")


def refuse_unknown(given: Iterable[str], known: Iterable[str], what: str) -> None:
    """Raise ConfigError for the first name given that is not known, with the nearest one that is."""
    known = list(known)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.0)
            raise ConfigError(f"unknown {what}: {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))


def to_mapping(config: Any) -> dict[str, Any]:
    """The inverse of `from_mapping`."""
    return asdict(config)
