"""Temporal sentence grounding: find the moment of a video that a sentence describes.

from mttsg_core import Grounder, train

report = train("data/", out="model")
moments = Grounder.load("model").ground("video.mp4", "person opens door")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from mttsg_core._version import __version__

if TYPE_CHECKING:
    from mttsg_core.config import LossConfig as LossConfig
    from mttsg_core.config import NetworkConfig as NetworkConfig
    from mttsg_core.config import TrainingConfig as TrainingConfig
    from mttsg_core.data.folder import DataFolder as DataFolder
    from mttsg_core.data.statistics import FolderStatistics as FolderStatistics
    from mttsg_core.errors import MttsgError as MttsgError
    from mttsg_core.evaluation import metrics as metrics
    from mttsg_core.evaluation.comparison_report import ComparisonReport as ComparisonReport
    from mttsg_core.evaluation.evaluation_report import EvaluationReport as EvaluationReport
    from mttsg_core.features.cluster import ClusterOptions as ClusterOptions
    from mttsg_core.features.store import VideoFeatures as VideoFeatures
    from mttsg_core.inference.grounder import Grounder as Grounder
    from mttsg_core.moments import Moment as Moment
    from mttsg_core.moments import Timeline as Timeline
    from mttsg_core.workflows import events as events
    from mttsg_core.workflows.ablate import AblationReport as AblationReport
    from mttsg_core.workflows.ablate import ablate as ablate
    from mttsg_core.workflows.check import check as check
    from mttsg_core.workflows.compare import compare as compare
    from mttsg_core.workflows.evaluate import evaluate as evaluate
    from mttsg_core.workflows.extract import ExtractReport as ExtractReport
    from mttsg_core.workflows.extract import extract as extract
    from mttsg_core.workflows.library import Hit as Hit
    from mttsg_core.workflows.library import LibraryVideo as LibraryVideo
    from mttsg_core.workflows.library import VideoLibrary as VideoLibrary
    from mttsg_core.workflows.options import AblateOptions as AblateOptions
    from mttsg_core.workflows.options import CompareOptions as CompareOptions
    from mttsg_core.workflows.options import EvaluateOptions as EvaluateOptions
    from mttsg_core.workflows.options import ExtractOptions as ExtractOptions
    from mttsg_core.workflows.options import FeatureOptions as FeatureOptions
    from mttsg_core.workflows.options import SeedsOptions as SeedsOptions
    from mttsg_core.workflows.options import TrainOptions as TrainOptions
    from mttsg_core.workflows.train import TrainReport as TrainReport
    from mttsg_core.workflows.train import train as train
    from mttsg_core.workflows.train_seeds import SeedsReport as SeedsReport
    from mttsg_core.workflows.train_seeds import train_seeds as train_seeds

# The module of each name, imported on first use: `import mttsg_core` and `mttsg --help` load neither torch nor NumPy.
_MODULES = {
    "AblateOptions": "mttsg_core.workflows.options",
    "AblationReport": "mttsg_core.workflows.ablate",
    "ClusterOptions": "mttsg_core.features.cluster",
    "CompareOptions": "mttsg_core.workflows.options",
    "ComparisonReport": "mttsg_core.evaluation.comparison_report",
    "DataFolder": "mttsg_core.data.folder",
    "EvaluateOptions": "mttsg_core.workflows.options",
    "EvaluationReport": "mttsg_core.evaluation.evaluation_report",
    "ExtractOptions": "mttsg_core.workflows.options",
    "ExtractReport": "mttsg_core.workflows.extract",
    "FeatureOptions": "mttsg_core.workflows.options",
    "FolderStatistics": "mttsg_core.data.statistics",
    "Grounder": "mttsg_core.inference.grounder",
    "Hit": "mttsg_core.workflows.library",
    "LibraryVideo": "mttsg_core.workflows.library",
    "LossConfig": "mttsg_core.config",
    "Moment": "mttsg_core.moments",
    "MttsgError": "mttsg_core.errors",
    "NetworkConfig": "mttsg_core.config",
    "SeedsOptions": "mttsg_core.workflows.options",
    "SeedsReport": "mttsg_core.workflows.train_seeds",
    "Timeline": "mttsg_core.moments",
    "TrainOptions": "mttsg_core.workflows.options",
    "TrainReport": "mttsg_core.workflows.train",
    "TrainingConfig": "mttsg_core.config",
    "VideoFeatures": "mttsg_core.features.store",
    "VideoLibrary": "mttsg_core.workflows.library",
    "ablate": "mttsg_core.workflows.ablate",
    "check": "mttsg_core.workflows.check",
    "compare": "mttsg_core.workflows.compare",
    "evaluate": "mttsg_core.workflows.evaluate",
    "events": "mttsg_core.workflows",
    "extract": "mttsg_core.workflows.extract",
    "metrics": "mttsg_core.evaluation",
    "train": "mttsg_core.workflows.train",
    "train_seeds": "mttsg_core.workflows.train_seeds",
}
_SUBMODULES = ("events", "metrics")  # names that are modules themselves

__all__ = [
    "AblateOptions",
    "AblationReport",
    "ClusterOptions",
    "CompareOptions",
    "ComparisonReport",
    "DataFolder",
    "EvaluateOptions",
    "EvaluationReport",
    "ExtractOptions",
    "ExtractReport",
    "FeatureOptions",
    "FolderStatistics",
    "Grounder",
    "Hit",
    "LibraryVideo",
    "LossConfig",
    "Moment",
    "MttsgError",
    "NetworkConfig",
    "SeedsOptions",
    "SeedsReport",
    "Timeline",
    "TrainOptions",
    "TrainReport",
    "TrainingConfig",
    "VideoFeatures",
    "VideoLibrary",
    "__version__",
    "ablate",
    "check",
    "compare",
    "evaluate",
    "events",
    "extract",
    "metrics",
    "train",
    "train_seeds",
]


def __getattr__(name: str) -> object:
    if name in _SUBMODULES:
        return import_module(f"{_MODULES[name]}.{name}")
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
