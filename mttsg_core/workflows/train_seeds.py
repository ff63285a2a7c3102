"""The same training with several seeds, one after the other: `train_seeds` and `iter_train_seeds`."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from shlex import quote
from typing import Any, TypeAlias

from mttsg_core.checkpoints.checkpoint import REPORT
from mttsg_core.checkpoints.runs import has_state
from mttsg_core.config import LossConfig, NetworkConfig, TrainingConfig
from mttsg_core.data.folder import DataFolder, open_data
from mttsg_core.errors import ConfigError
from mttsg_core.evaluation.comparison import OverSeeds, over_seeds
from mttsg_core.features.streams import feature_words
from mttsg_core.report.comparison_tables import shown_figure
from mttsg_core.utils.launch import require_one_process
from mttsg_core.utils.text import count
from mttsg_core.workflows.events import Noted, SeriesAdvanced
from mttsg_core.workflows.options import AnyPath, FeatureOptions, SeedsOptions, TrainOptions
from mttsg_core.workflows.outputs import require_folders, require_writable
from mttsg_core.workflows.series import PlannedSteps, SeriesEvent, follow, run_series
from mttsg_core.workflows.steps import OnEvent, iterate, run
from mttsg_core.workflows.train import Configs, TrainEvent, TrainReport, train_steps

_SHOWN = ("R@1,IoU=0.5", "R@1,IoU=0.7", "mIoU")

SeedsEvent: TypeAlias = TrainEvent | SeriesEvent


@dataclass(frozen=True)
class SeedsReport:
    """Outcome of `train_seeds`.

    Attributes:
        folder: of the runs.
        runs: the report of each finished run, by seed.
        failures: one line for each run that failed, and for each input that could not be used.
    """

    folder: Path
    runs: Mapping[int, TrainReport]
    failures: Sequence[str] = ()

    @property
    def metrics(self) -> dict[str, OverSeeds]:
        """Mean and spread of each figure on the validation split, in percent; empty without one."""
        reports = list(self.runs.values())
        names = reports[0].metrics if reports else {}
        return {name: over_seeds([report.metrics[name] for report in reports]) for name in names}

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        metrics = self.metrics
        return {
            "folder": str(self.folder),
            "runs": [{"seed": seed, **report.as_dict()} for seed, report in self.runs.items()],
            **{name: value.mean for name, value in metrics.items()},
            "spread": {name: value.spread for name, value in metrics.items()},
        }


def train_seeds(
    data: AnyPath | DataFolder,
    out: AnyPath,
    *,
    config: TrainingConfig | Mapping[str, Any] | None = None,
    network: NetworkConfig | Mapping[str, Any] | None = None,
    loss: LossConfig | Mapping[str, Any] | None = None,
    features: FeatureOptions | None = None,
    options: SeedsOptions | None = None,
    on_event: OnEvent[SeedsEvent] | None = None,
) -> SeedsReport:
    """Train the same model with several seeds, one after the other. Each is a model folder: `OUT/seed-0` and so on.

    A run whose loss becomes NaN is left out, and counted among the failures. With `resume` runs that are stopped go on,
    and those that are missing are begun.

    Args:
        data: see `train`.
        out: folder of the model folders.
        config: settings of the training; the seed is that of each run.
        network: settings of the network.
        loss: weights of the loss terms.
        features: see `train`.
        options: the seeds, and the options of `train`.
        on_event: called with each event as it happens, those of the trainings included.

    Raises:
        ConfigError: if an option or a setting cannot be used, a model is to be pushed, or a run exists already.
        MttsgError: as `train` does.
    """
    return run(_train_seeds(data, Path(out), (config, network, loss), features, options), on_event)


def iter_train_seeds(
    data: AnyPath | DataFolder,
    out: AnyPath,
    *,
    config: TrainingConfig | Mapping[str, Any] | None = None,
    network: NetworkConfig | Mapping[str, Any] | None = None,
    loss: LossConfig | Mapping[str, Any] | None = None,
    features: FeatureOptions | None = None,
    options: SeedsOptions | None = None,
) -> Iterator[SeedsEvent | SeedsReport]:
    """Yield the events of `train_seeds` as they happen, then its report. Arguments and errors are the same."""
    return iterate(_train_seeds(data, Path(out), (config, network, loss), features, options))


def _train_seeds(
    data: AnyPath | DataFolder,
    out: Path,
    configs: Configs,
    features: FeatureOptions | None,
    options: SeedsOptions | None,
) -> Generator[SeedsEvent, None, SeedsReport]:
    options = options or SeedsOptions()
    require_one_process("several seeds")
    if options.push is not None:
        raise ConfigError("of several seeds none is pushed: push the one that you choose, with hf upload")
    require_folders(out, options.cache)
    require_writable(out)
    outcome = yield from run_series([_plan(data, out, seed, configs, features, options) for seed in options.seeds])
    reports = {options.seeds[place]: report for place, report in outcome.reports.items()}
    failures = outcome.failures + [line for report in reports.values() for line in report.failures]
    summary = SeedsReport(out, reports, tuple(dict.fromkeys(failures)))
    yield from _summary(open_data(data, features.features if features else None), features, summary)
    return summary


def _plan(
    data: AnyPath | DataFolder,
    out: Path,
    seed: int,
    configs: Configs,
    features: FeatureOptions | None,
    options: SeedsOptions,
) -> PlannedSteps[TrainEvent | SeriesAdvanced, TrainReport]:
    """Return the training with a seed."""
    folder = out / f"seed-{seed}"
    resumes = options.resume and has_state(folder)
    is_done = resumes and (folder / REPORT).is_file()
    config, network, loss = configs
    own = replace(_train_options(options), resume=resumes)

    def steps() -> Generator[TrainEvent | SeriesAdvanced, None, TrainReport]:
        training = train_steps(data, folder, (with_seed(config, seed), network, loss), features, own)
        return (yield from follow(training, share=0.0 if is_done else 1.0))

    return PlannedSteps(f"seed {seed}", folder, steps, is_done, resumes)


def with_seed(config: TrainingConfig | Mapping[str, Any] | None, seed: int) -> TrainingConfig | Mapping[str, Any]:
    """Return the settings of a training with another seed."""
    return replace(config, seed=seed) if isinstance(config, TrainingConfig) else {**(config or {}), "seed": seed}


def _train_options(options: SeedsOptions) -> TrainOptions:
    return TrainOptions(**{field.name: getattr(options, field.name) for field in fields(TrainOptions)})


def _summary(data: DataFolder, features: FeatureOptions | None, report: SeedsReport) -> Iterator[Noted]:
    """Yield mean and spread of the figures on the validation split, and the command that measures all runs."""
    figures = [f"{name} {shown_figure(report.metrics[name], 1)}" for name in _SHOWN if name in report.metrics]
    if figures:
        yield Noted(f"{count(len(report.runs), 'seed')}: {' | '.join(figures)}")
    split = next((name for name in ("test", "val") if name in data.splits), None)
    if report.runs and split is not None and data.division is None:
        runs = ",".join(str(run.folder) for run in report.runs.values())
        words = [
            str(data.path),
            f"{report.folder.resolve().name}={runs}",
            *([] if split == "test" else ["--split", split]),
        ]
        words += feature_words(features.features if features else None)
        yield Noted(f"to measure them: mttsg compare {' '.join(map(quote, words))}")
