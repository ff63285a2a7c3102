"""Options of the workflows, in groups. Every default is written once, here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mttsg_core.config import TrainingConfig, from_mapping
from mttsg_core.data.prediction_writers import OWN_FORM
from mttsg_core.errors import ConfigError
from mttsg_core.evaluation.metrics import DEFAULT_CONFIG, MetricConfig

if TYPE_CHECKING:
    from mttsg_core.features.cluster import ClusterOptions
    from mttsg_core.features.store import FeatureCache
    from mttsg_core.features.streams import FeaturePlaces

AnyPath: TypeAlias = str | Path

_FIGURES = MetricConfig(average_precision=True, highlights=True)


@dataclass(frozen=True)
class FeatureOptions:
    """Which features of videos and sentences to use. None leaves the choice to the data folder or the model.

    Attributes:
        encoder: video encoder: `classic`, or a pretrained model as a short name, a folder or a name on the Hugging Face
            Hub.
        text_encoder: `hashed`, `glove:FILE`, `clip` (the text tower of the video encoder), or a pretrained text model.
        fps: clips per second.
        reader: video reader: `auto`, `pyav` or `decord`.
        features: folder (or HDF5 file) of external features; several, also as `NAME=FOLDER`, of a stream each.
        joint: whether clips and the text encoder's sentence embeddings share one space; None finds out from the
            training pairs.
        features_of: encoder that made the external features, so that a model trained on them can be asked about videos.
        bins: equal parts that each video of these features is divided into; None if their clips are at a rate.

    Raises:
        ConfigError: if `fps` is not a positive number, or `bins` without `features_of` or below 1.
    """

    encoder: str | None = None
    text_encoder: str | None = None
    fps: float | None = None
    reader: str | None = None
    features: FeaturePlaces | None = None
    joint: bool | None = None
    features_of: str | None = None
    bins: int | None = None

    def __post_init__(self) -> None:
        if self.bins is not None and (self.features_of is None or self.bins < 1):
            raise ConfigError(f"bins = {self.bins}: at least 1, and of features that features_of declares")
        if self.fps is not None and not (math.isfinite(self.fps) and self.fps > 0):
            raise ConfigError(f"fps = {self.fps!r}: must be more than 0")

    @property
    def extraction(self) -> dict[str, str | float]:
        """The given options that shape extracted features, by name."""
        values = {"encoder": self.encoder, "fps": self.fps, "reader": self.reader}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class RuntimeOptions:
    """Where to compute and what to use for it. Results do not depend on these options.

    Attributes:
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        cache: folder of cached features; None for the user's cache folder.
        offline: never use the network; pretrained models must be on this computer already.
        workers: number of videos to read at a time; None for one per core.
        precision: of a pretrained encoder: `float32`, `bfloat16`, or `auto` for the faster one of those that the device
            computes in. The features count as the same.

    Raises:
        ConfigError: if `workers` is less than 1.
    """

    device: str = "auto"
    cache: AnyPath | None = None
    offline: bool = False
    workers: int | None = None
    precision: str = "auto"

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"workers = {self.workers!r}: must be at least 1")

    def feature_cache(self) -> FeatureCache:
        """Return the cache of extracted features."""
        from mttsg_core.features.store import FeatureCache
        from mttsg_core.utils.paths import default_cache

        return FeatureCache(Path(self.cache) if self.cache is not None else default_cache())


@dataclass(frozen=True)
class ExtractOptions(RuntimeOptions):
    """Options of `extract`.

    Attributes:
        overwrite: extract again where features already exist.
        cluster: that reads the videos in place of this computer (optional extra `ray`). Its own device takes the place
            of `device`, and `workers` are by default one for each of its CPUs.
    """

    overwrite: bool = False
    cluster: ClusterOptions | None = None


@dataclass(frozen=True)
class TrainOptions(RuntimeOptions):
    """Options of `train` other than the settings of the network, the losses and the training itself.

    Attributes:
        resume: continue the stopped run in the model folder.
        overwrite: replace the files of the model folder.
        strict: stop at the first bad row instead of skipping it.
        tensorboard: write TensorBoard events below the model folder (optional extra `tensorboard`).
        push: `user/name` of a repository on the Hugging Face Hub to push the finished model to.
        command: the words of the command line, for the record.
        remember: whether the finished model may become the default of other commands for videos below the same folder.
    """

    resume: bool = False
    overwrite: bool = False
    strict: bool = False
    tensorboard: bool = False
    push: str | None = None
    command: Sequence[str] | None = None
    remember: bool = True


@dataclass(frozen=True)
class SeedsOptions(TrainOptions):
    """Options of `train_seeds`.

    Attributes:
        seeds: of the runs, each once.

    Raises:
        ConfigError: if there are none, or one is there twice.
    """

    seeds: Sequence[int] = (0, 1, 2)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_seeds(self.seeds)


@dataclass(frozen=True)
class ScoringOptions(RuntimeOptions):
    """Options of `evaluate` and `compare`.

    Attributes:
        mode: `independent` grounds each sentence by itself; in `joint` mode the sentences of a video help each other.
        metrics: which figures to compute.
        strict: stop at the first bad row instead of skipping it.
        html: file to write a page to.
        charts: folder to write charts to, as SVG and PDF, with their points as csv (optional extra `charts`).
        overwrite: replace existing outputs.
        command: the words of the command line, for the page.
        data_note: the data set and its conventions in a line, to be said with the figures.
    """

    mode: str = "independent"
    metrics: MetricConfig = _FIGURES
    strict: bool = False
    html: AnyPath | None = None
    charts: AnyPath | None = None
    overwrite: bool = False
    command: Sequence[str] | None = None
    data_note: str = ""


@dataclass(frozen=True)
class EvaluateOptions(ScoringOptions):
    """Options of `evaluate`.

    Attributes:
        baselines: add baselines that ignore the video or the sentence, on the same queries.
        seed: of the shuffles of the baselines.
        out: file to write the predictions to. Where no row has a true moment, they are not scored.
        form: of that file: our own, or that of a benchmark, see `PREDICTION_FORMS`.
        zero_shot: answer without training, in the space that clips and sentences share.
    """

    baselines: bool = False
    seed: int = 0
    out: AnyPath | None = None
    zero_shot: bool = False
    form: str = OWN_FORM


@dataclass(frozen=True)
class CompareOptions(ScoringOptions):
    """Options of `compare`.

    Attributes:
        save: folder to keep the answers of the models in, as files of predictions.
    """

    save: AnyPath | None = None


@dataclass(frozen=True)
class AblateOptions(RuntimeOptions):
    """Options of `ablate`.

    Attributes:
        seeds: of the runs of each variant.
        without: a variant for each, without the parts that it names; none here and in `vary` leaves out each part
            alone, and all of them together.
        vary: a variant for each value of these settings, by `TABLE.NAME`.
        folds: number of folds of a cross-validation over the videos of `train` and `val`; 0 keeps the splits.
        share: of the training videos to train on; the others are the split `rest`. None keeps the splits.
        split: to test on; None is `val`, with folds `left`, with a share `rest`.
        metrics: which figures to compute.
        strict: stop at the first bad row instead of skipping it.
        overwrite: train runs again whose settings or data are other ones now.
        command: the words of the command line, for the record.

    Raises:
        ConfigError: if there are no seeds or one is there twice, or folds and a share are both given.
    """

    seeds: Sequence[int] = (0, 1, 2)
    without: Sequence[Sequence[str]] = ()
    vary: Mapping[str, Sequence[bool | int | float | str]] = field(default_factory=dict)
    folds: int = 0
    share: float | None = None
    split: str | None = None
    metrics: MetricConfig = DEFAULT_CONFIG
    strict: bool = False
    overwrite: bool = False
    command: Sequence[str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_seeds(self.seeds)
        if self.folds and self.share is not None:
            raise ConfigError("folds and a share of the videos: give one of them")


def check_seeds(seeds: Sequence[int]) -> None:
    """Raise ConfigError if there are no seeds, one is there twice, or one cannot be used."""
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds = {list(seeds)}: at least one, and each once")
    for seed in seeds:
        from_mapping(TrainingConfig, {"seed": seed})
