"""Settings of the network: sizes, switches, and the constants of its modules."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from mttsg_core.config.fields import (
    COUNT,
    POSITIVE,
    PROBABILITY,
    SHARE,
    SIGNED,
    Form,
    OneOf,
    Range,
    required,
    setting,
)
from mttsg_core.config.names import refuse_unknown, shown
from mttsg_core.errors import ConfigError

NETWORKS = ("mktn", "proposal-map", "query-decoder", "span")
_EVEN = Range(at_least=2, parity="even")
_ODD = Range(at_least=1, parity="odd")
# Upper bounds of the settings that cost time or memory without being widths of weights, which a file of weights bounds.
_LAYERS = Range(at_least=0, at_most=100)
_GRAMS = Range(at_least=1, at_most=100)
_CLIPS = Range(at_least=1, at_most=100_000)
_CONSIDERED = Range(at_least=1, at_most=1024)
_BINS = Range(at_least=1, at_most=128)
_WIDTHS = Form(r"([1-9][0-9]{0,5}(\+[1-9][0-9]{0,5})*)?", "widths as in 512+2304")
_CURVE = Range(at_least=0, at_most=4096)
_SLOTS = Range(at_least=1, at_most=1000)


@dataclass(frozen=True)
class NetworkConfig:
    """Every choice that shapes a network (see docs/method.md). The features decide `OF_FEATURES`."""

    clip_dim: int = required("width of a clip vector of the features")
    word_dim: int = required("width of a word vector")
    region_dim: int = setting(0, "width of a region vector; 0 if the features have no regions")
    regions: int = setting(0, "regions of a clip; 0 if the features have none")
    streams: str = setting("", "widths of several streams that make up a clip vector; empty for one", _WIDTHS)
    joint: bool = setting(False, "clips and sentences come from one joint model: the first word is the sentence in it")

    # What finds the moments in encoded clips and words (sections 6 and 15); the co-training around it is the same
    network: str = setting("mktn", "network that finds the moments", OneOf(NETWORKS))

    # Encoders (section 1)
    width: int = setting(256, "D, the width of clips, words and sentences", _EVEN)
    region_width: int = setting(96, "width of regions", COUNT)
    region_heads: int = setting(4, "heads of the cross-attention of a query to the regions of a clip", COUNT)
    local_layers: int = setting(2, "convolution blocks over neighbouring clips", _LAYERS)
    kernel: int = setting(3, "clips that a convolution covers", _ODD)
    max_clips: int = setting(256, "longer videos are averaged into this many clips", _CLIPS)
    deviation_scale: float = setting(2.0, "scale of a clip's deviation from its video's mean, beside the clip itself")
    dropout: float = setting(0.2, "share of hidden channels dropped, the same ones at every step", SHARE)
    input_dropout: float = setting(0.5, "share of the features' channels dropped", SHARE)
    word_input_dropout: float = setting(0.3, "share of the entries of word vectors dropped", SHARE)
    word_dropout: float = setting(0.1, "share of words dropped", SHARE)

    # Cross-sentence memory (section 2)
    memory_queue: int = setting(512, "entries of past pairs in the memory")
    memory_top: int = setting(8, "entries that a query retrieves, at most", COUNT)
    memory_temperature: float = setting(0.1, "temperature of the retrieval", POSITIVE)
    co_query_dropout: float = setting(0.5, "share of the queries that do not see the other queries", PROBABILITY)

    # Cross-modal contrast (section 3)
    contrast_width: int = setting(128, "width of the common space of clips and sentences", COUNT)
    contrast_temperature: float = setting(0.1, "temperature of the contrast", POSITIVE)
    contrast_clips: int = setting(8, "clips of every video that each query with regions attends to in training", COUNT)
    random_spans: int = setting(8, "random spans of its own video that a sentence is contrasted with", COUNT)
    hard_negative_scale: float = setting(0.15, "similarity that makes a video e times as likely a negative", POSITIVE)
    negative_share: float = setting(0.5, "share of the queries that are also asked of a mismatched video", PROBABILITY)

    # Object-phrase and activity-sentence prototypes (sections 4 and 5)
    prototype_width: int = setting(64, "width of object, phrase and activity prototypes", COUNT)
    object_prototypes: int = setting(4, "object prototypes of a clip", COUNT)
    phrase_prototypes: int = setting(8, "phrase prototypes of a sentence", COUNT)
    phrase_words: int = setting(3, "words of the longest phrase", _GRAMS)
    activity_prototypes: int = setting(8, "activity prototypes of a video", COUNT)
    activity_temperature: float = setting(0.1, "temperature of the match of sentence and activities", POSITIVE)
    pseudo_regions: int = setting(4, "learned regions of a clip where the features have none", COUNT)

    # Grounding head (section 6) and the selection of proposals; all networks share head_width and the last four
    head_width: int = setting(128, "width of clips in the head", _EVEN)
    proposal_width: int = setting(16, "width in which proposals are scored", COUNT)
    considered_proposals: int = setting(112, "best proposals that answers are selected from", _CONSIDERED)
    inverse_temperature: float = setting(1.4, "sharpens the distribution over proposals", POSITIVE)
    length_prior_power: float = setting(0.5, "power of the length that the distribution is multiplied by", SIGNED)
    nms_iou: float = setting(0.5, "largest overlap of two answers to one query", PROBABILITY)
    min_moment_clips: float = setting(0.05, "shortest answer, in clips", POSITIVE)

    # The other networks (section 15)
    map_bins: int = setting(32, "proposal-map: equal parts of a video that moments start and end at", _BINS)
    map_width: int = setting(32, "proposal-map: width of the map", COUNT)
    map_layers: int = setting(3, "proposal-map: convolutions over the map", _LAYERS)
    map_kernel: int = setting(3, "proposal-map: starts and ends that a convolution covers", _ODD)
    moment_slots: int = setting(10, "query-decoder: learned moment queries", _SLOTS)
    encoder_layers: int = setting(2, "query-decoder: layers over clips and words", _LAYERS)
    decoder_layers: int = setting(2, "query-decoder: layers over moment queries", Range(at_least=1, at_most=100))

    # What proposals start from (section 13)
    contrast_curve_width: int = setting(
        0, "mktn: hidden width of the scores from the contrast's curve alone; 0 for none", _CURVE
    )
    prior_trust: float = setting(10.0, "initial weight of the answer without training in a shared space")
    curve_width: int = setting(32, "mktn: the same of the scores from the curves of a shared space", _CURVE)

    # Switches (`--without`)
    offsets: bool = setting(True, "mktn: refine boundaries to real numbers (the paper's float boundary)")
    contrast: bool = setting(True, "learn and use a common space of clips and sentences (section 3)")
    mining: bool = setting(True, "read other pairs through the cross-sentence memory (section 2)")
    objects: bool = setting(True, "match phrases with objects (section 4)")
    activities: bool = setting(True, "match sentences with activities (section 5)")
    negatives: bool = setting(True, "take likely false negatives out of the contrasts (section 3)")
    presence: bool = setting(True, "learn from mismatched queries whether the moment is in the video at all")

    OF_FEATURES: ClassVar[tuple[str, ...]] = ("clip_dim", "word_dim", "region_dim", "regions", "streams", "joint")
    SWITCHES: ClassVar[tuple[str, ...]] = (
        *("contrast", "mining", "objects", "activities", "negatives", "presence", "offsets"),
    )

    def __post_init__(self) -> None:
        if not self.offsets and "offsets" not in self.parts_of(self.network):
            raise ConfigError(f"offsets: the network {self.network} has none that could be left out")

        self.stream_widths  # noqa: B018 - refuses those that do not fit

    @property
    def stream_widths(self) -> tuple[int, ...]:
        """The widths of the streams of a clip vector, in order; empty if it is one.

        Raises:
            ConfigError: if they are not widths, or not those of the clip vectors.
        """
        if violation := _WIDTHS.violation(self.streams):
            raise ConfigError(f"streams = {shown(self.streams)}: must be {violation}")
        widths = tuple(map(int, self.streams.split("+"))) if self.streams else ()
        if widths and sum(widths) != self.clip_dim:
            raise ConfigError(f"streams = {shown(self.streams)}: must be widths whose sum is {self.clip_dim}")
        return widths

    @classmethod
    def parts_of(cls, network: str) -> tuple[str, ...]:
        """Return the parts that a network can be built without."""
        return tuple(part for part in cls.SWITCHES if part != "offsets" or network == cls.network)

    @classmethod
    def switched_off(cls, names: Iterable[str]) -> dict[str, bool]:
        """Return the settings of a network without the named parts.

        Raises:
            ConfigError: for a part that does not exist.
        """
        names = list(names)
        refuse_unknown(names, cls.SWITCHES, "part")
        return dict.fromkeys(names, False)
