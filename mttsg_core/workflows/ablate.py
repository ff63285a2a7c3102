"""What each part of the method brings: `ablate` and `iter_ablate`."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

from mttsg_core.checkpoints.files import write_json
from mttsg_core.checkpoints.provenance import Computation
from mttsg_core.config import LossConfig, NetworkConfig, TrainingConfig
from mttsg_core.data.folder import DataFolder, open_data
from mttsg_core.errors import TrainingError
from mttsg_core.evaluation.breakdown import vocabulary
from mttsg_core.evaluation.comparison import System
from mttsg_core.evaluation.comparison_report import ComparisonReport
from mttsg_core.evaluation.evaluator import Evaluation
from mttsg_core.utils.launch import require_one_process
from mttsg_core.workflows.ablation_plan import PlannedRun, plan_runs
from mttsg_core.workflows.answers import Clock, save_answers
from mttsg_core.workflows.events import InputFailed, RowsSkipped, SeriesAdvanced, Warned
from mttsg_core.workflows.loading import load_trained
from mttsg_core.workflows.options import AblateOptions, AnyPath, FeatureOptions, ScoringOptions, TrainOptions
from mttsg_core.workflows.outputs import require_folders, require_writable
from mttsg_core.workflows.scoring import (
    Scored,
    ScoringEvent,
    find_features,
    missed_warnings,
    predictor_of,
    score_file,
    score_model,
    training_pairs,
)
from mttsg_core.workflows.series import PlannedSteps, SeriesEvent, follow, run_series
from mttsg_core.workflows.steps import OnEvent, iterate, run
from mttsg_core.workflows.threads import limited_threads
from mttsg_core.workflows.train import Configs, TrainEvent, train_steps

REPORT = "ablation.json"
_TRAINING_SHARE = 0.95  # of the time of a run; its answers take the rest

AblateEvent: TypeAlias = TrainEvent | ScoringEvent | SeriesEvent


@dataclass(frozen=True)
class AblationReport:
    """Outcome of `ablate`.

    Attributes:
        folder: of the runs.
        comparison: figures of each variant, the whole method first, and the differences to it.
        division: how the videos were divided anew; None for the splits as they are.
        computation: with what, on what and when.
        failures: one line for each run that failed, and for each input that could not be used.
    """

    folder: Path
    comparison: ComparisonReport
    division: str | None
    computation: Computation
    failures: Sequence[str] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            **self.comparison.as_dict(),
            "division": self.division,
            "provenance": asdict(self.computation),
            "failures": list(self.failures),
        }


def ablate(
    data: AnyPath | DataFolder,
    out: AnyPath,
    *,
    config: TrainingConfig | Mapping[str, Any] | None = None,
    network: NetworkConfig | Mapping[str, Any] | None = None,
    loss: LossConfig | Mapping[str, Any] | None = None,
    features: FeatureOptions | None = None,
    options: AblateOptions | None = None,
    on_event: OnEvent[AblateEvent] | None = None,
) -> AblationReport:
    """Train variants of the method, each with several seeds, and compare them with the whole method.

    Each run is a model folder below `out`, with its predictions. What is finished there is used again if settings, rows
    and features are the same, and a stopped training goes on, so that an ablation can be stopped at any time and
    started again. With folds the answers for all folds are scored together, so that each video counts once.

    Args:
        data: data folder with a split `train`: its path, or opened.
        out: folder of the runs.
        config: settings of the training of every run, see `train`; seeds are in `options`.
        network: settings of the network, likewise.
        loss: weights of the loss terms, likewise.
        features: video and text encoder, clip rate, or external features.
        options: variants, seeds, folds or share of the videos, split; see there.
        on_event: called with each event as it happens, those of trainings and evaluations included.

    Raises:
        ConfigError: if an option or a setting cannot be used, or a run in `out` has other settings or data.
        DataError: if there is nothing to train or to test on.
        TrainingError: if no run of the whole method, or of no other variant, could be finished.
        MttsgError: as `train` and `evaluate` do.
    """
    return run(_ablate(data, Path(out), (config, network, loss), features, options), on_event)


def iter_ablate(
    data: AnyPath | DataFolder,
    out: AnyPath,
    *,
    config: TrainingConfig | Mapping[str, Any] | None = None,
    network: NetworkConfig | Mapping[str, Any] | None = None,
    loss: LossConfig | Mapping[str, Any] | None = None,
    features: FeatureOptions | None = None,
    options: AblateOptions | None = None,
) -> Iterator[AblateEvent | AblationReport]:
    """Yield the events of `ablate` as they happen, then its report. Arguments and errors are those of `ablate`."""
    return iterate(_ablate(data, Path(out), (config, network, loss), features, options))


def _ablate(
    data: AnyPath | DataFolder,
    out: Path,
    configs: Configs,
    features: FeatureOptions | None,
    options: AblateOptions | None,
) -> Generator[AblateEvent, None, AblationReport]:
    features, options = features or FeatureOptions(), options or AblateOptions()
    require_one_process("ablation")
    require_folders(out, options.cache)
    require_writable(out)
    clock = Clock.start(options.command, options.device)
    folder = open_data(data, features.features)
    runs = plan_runs(folder, out, configs, features, options)
    if not options.overwrite:
        for one in runs:
            one.require_own()
    seen: set[str] = set()

    def planned(one: PlannedRun) -> PlannedSteps[AblateEvent, None]:
        return PlannedSteps(
            one.name, one.folder, lambda: _once(_make(one, features, options), seen), one.is_done, one.is_stopped
        )

    outcome = yield from run_series([planned(one) for one in runs])
    comparison = yield from _once(_compare([runs[place] for place in outcome.reports], options), seen)
    report = AblationReport(out, comparison, _division(folder, options), clock.computation, outcome.failures)
    write_json(out / REPORT, report.as_dict())
    return report


def _make(one: PlannedRun, features: FeatureOptions, options: AblateOptions) -> Generator[AblateEvent, None, None]:
    """Train the model of a run, or go on with it, and write its answers, unless they are done."""
    if one.is_done:
        return
    if not one.is_trained:
        resumes = one.is_stopped
        one.begin()
        runtime = (options.device, options.cache, options.offline, options.workers, options.precision)
        made = TrainOptions(*runtime, resumes, not resumes, options.strict, command=options.command, remember=False)
        steps = train_steps(one.data, one.folder, one.settings, features, made)
        yield from follow(steps, _TRAINING_SHARE)
    scoring = _scoring(options)
    clock = Clock.start(options.command, options.device)
    grounder = load_trained(one.folder, FeatureOptions(features.encoder, features=features.features), options)
    dataset = yield from find_features(one.data, one.split, grounder, features.features, scoring)
    with limited_threads(grounder.device):
        found = score_model(predictor_of(grounder, scoring, dataset), dataset, grounder, scoring)
    yield from missed_warnings(found)
    save_answers(one.predictions, found, clock.origin(one.data, dataset.files, one.name, one.folder))
    one.finish()
    yield SeriesAdvanced(1 - _TRAINING_SHARE)


def _compare(runs: Sequence[PlannedRun], options: AblateOptions) -> Generator[AblateEvent, None, ComparisonReport]:
    """Score the answers of all runs, those for all folds together, and compare the variants.

    Raises:
        TrainingError: if there are no complete runs of the whole method.
    """
    by_variant: dict[str, dict[int, list[Scored]]] = {}
    for one in runs:
        scored = yield from score_file(one.data, one.split, one.predictions, _scoring(options))
        by_variant.setdefault(one.variant, {}).setdefault(one.seed, []).append(scored)
    folds = options.folds or 1
    systems = []
    durations: list[float | None] = []
    for variant, of_seeds in by_variant.items():
        complete = {seed: scored for seed, scored in of_seeds.items() if len(scored) == folds}
        if complete:
            evaluations = [_pool([scored.evaluation for scored in of_seed]) for of_seed in complete.values()]
            systems.append(System(variant, evaluations, [f"seed {seed}" for seed in complete]))
            durations = durations or [*chain(*(scored.durations for scored in next(iter(complete.values()))))]
    if not systems or systems[0].name != runs[0].variant:
        raise TrainingError("no run of the whole method could be finished: there is nothing to compare with")
    training = yield from training_pairs(runs[0].data)
    seen = vocabulary(pair.query for pair in training) if training and folds == 1 else None
    return ComparisonReport(systems, durations, seen)


def _pool(folds: Sequence[Evaluation]) -> Evaluation:
    """Return the evaluations of all folds as one."""
    return replace(
        folds[0],
        pairs=[pair for one in folds for pair in one.pairs],
        predictions=[ranked for one in folds for ranked in one.predictions],
        saliency=(),  # of highlights an ablation has no figures
        durations=(),
        missed=sum(one.missed for one in folds),
        mode="independent",
        nms="greedy, see network.nms_iou",
    )


def _once(steps: Generator[AblateEvent, None, Any], seen: set[str]) -> Generator[AblateEvent, None, Any]:
    """Pass on events, but what is wrong with the data only the first time: each run reads the same."""
    while True:
        try:
            event = next(steps)
        except StopIteration as end:
            return end.value
        if isinstance(event, Warned | RowsSkipped | InputFailed):
            if repr(event) in seen:
                continue
            seen.add(repr(event))
        yield event


def _scoring(options: AblateOptions) -> ScoringOptions:
    runtime = (options.device, options.cache, options.offline, options.workers, options.precision)
    return ScoringOptions(*runtime, metrics=options.metrics, strict=options.strict)


def _division(folder: DataFolder, options: AblateOptions) -> str | None:
    if options.folds:
        return f"{options.folds} folds by video"
    return None if options.share is None else f"{options.share:g} of the training videos"
