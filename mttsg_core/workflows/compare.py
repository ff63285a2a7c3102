"""Models and files of predictions on the same queries: `compare` and `iter_compare`."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from mttsg_core.checkpoints.checkpoint import read_description
from mttsg_core.checkpoints.files import REPORT
from mttsg_core.data.folder import DataFolder
from mttsg_core.errors import ConfigError, DataError
from mttsg_core.evaluation.breakdown import vocabulary
from mttsg_core.evaluation.comparison import System, same_queries
from mttsg_core.evaluation.comparison_report import ComparisonReport
from mttsg_core.evaluation.evaluator import Evaluation
from mttsg_core.inference.excerpts import safe_part
from mttsg_core.inference.modes import grounding_mode
from mttsg_core.report import pick_compared_cases, render_comparison_page, take_thumbnails
from mttsg_core.utils.files import is_file
from mttsg_core.workflows.answers import Clock, files_of, prepare_answers, save_answers
from mttsg_core.workflows.charts import comparison_charts, prepare_charts, write_charts
from mttsg_core.workflows.compared import Compared, NamedRuns, is_predictions, named_runs
from mttsg_core.workflows.events import Noted, ProgressAdvanced, ProgressStarted, RowsSkipped, Warned
from mttsg_core.workflows.loading import load_trained
from mttsg_core.workflows.model_choice import TrainedChoice, choose_for_data
from mttsg_core.workflows.options import AnyPath, CompareOptions, FeatureOptions
from mttsg_core.workflows.outputs import prepare_new_file, require_folders, save
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
from mttsg_core.workflows.steps import OnEvent, iterate, run
from mttsg_core.workflows.threads import limited_threads

CompareEvent: TypeAlias = ScoringEvent
_Steps: TypeAlias = Generator[CompareEvent, None, ComparisonReport]


@dataclass(frozen=True)
class _Run:
    """A run to be scored: its name, its file or its model, and where to keep the answers of a model."""

    name: str
    source: Path | TrainedChoice
    keep: Path | None = None

    @property
    def about(self) -> str:
        """What it is, in one line without folders of this computer."""
        return self.source.about if isinstance(self.source, TrainedChoice) else f"predictions in {self.source.name}"


def compare(
    data: AnyPath,
    systems: Compared,
    *,
    split: str = "test",
    features: FeatureOptions | None = None,
    options: CompareOptions | None = None,
    on_event: OnEvent[CompareEvent] | None = None,
) -> ComparisonReport:
    """Score models and files of predictions on the same queries, and compare the others with the first.

    A query without an answer is a miss. Each model answers once. Figures are means over the runs of a system; how the
    differences are measured is in `evaluation.comparison`.

    Args:
        data: data folder.
        systems: models (folders, numbers of runs, `last`, `user/name` on the Hugging Face Hub) and files of
            predictions: a mapping from names to one or, for several seeds, a list of them; or a list without names.
        split: name of the split.
        features: what the models must have been trained with (None accepts any), and external features.
        options: mode, figures, outputs, device and cache; see there.
        on_event: called with each event as it happens.

    Raises:
        ConfigError: if an option cannot be used, an output already exists, or a name or a run is given twice.
        DataError: if the data folder, the split or a file of predictions cannot be used.
        FeatureError: if there are only features that a model does not accept.
        ModelError: if there is no such model.
        MttsgError: if a file cannot be written.
    """
    return run(_compare(Path(data), systems, split, features, options), on_event)


def iter_compare(
    data: AnyPath,
    systems: Compared,
    *,
    split: str = "test",
    features: FeatureOptions | None = None,
    options: CompareOptions | None = None,
) -> Iterator[CompareEvent | ComparisonReport]:
    """Yield the events of `compare` as they happen, then its report. Arguments and errors are those of `compare`."""
    return iterate(_compare(Path(data), systems, split, features, options))


def _compare(
    data: Path, systems: Compared, split: str, features: FeatureOptions | None, options: CompareOptions | None
) -> _Steps:
    features, options = features or FeatureOptions(), options or CompareOptions()
    grounding_mode(options.mode)  # a wrong one is refused before any work
    named = named_runs(systems)
    _check_outputs(options)
    clock = Clock.start(options.command, options.device)
    folder = DataFolder.open(data, features.features)
    planned = [(system.name, list(_plan(system, folder, features, options))) for system in named]
    kept = [one.keep for _, runs in planned for one in runs if one.keep is not None]
    if len(set(kept)) < len(kept):
        raise ConfigError(f"{options.save}: two systems whose answers would be in files of the same name; rename one")
    found: list[System] = []
    durations: list[float | None] = []
    said: set[object] = set()
    for name, runs in planned:
        evaluations: list[Evaluation] = []
        for one in runs:
            scored = yield from _without_repeats(_score(one, folder, split, features, options), said)
            evaluations.append(scored.evaluation)
            durations = _known(durations, scored.durations)
            first = found[0].runs[0] if found else evaluations[0]
            if not same_queries(scored.evaluation.pairs, first.pairs):
                raise DataError(f"{one.name}: other queries than those of {planned[0][0]}")
        found.append(System(name, evaluations, [one.about for one in runs]))
    training = yield from training_pairs(folder)
    seen = vocabulary(pair.query for pair in training) if training else None
    report = ComparisonReport(found, durations, seen, options.data_note)
    if options.html is not None:
        yield from _write_page(Path(options.html), report, folder, clock)
    if options.charts is not None:
        runs = [one for _, runs in planned for one in runs]
        models = {one.name: one.source.folder for one in runs if isinstance(one.source, TrainedChoice)}
        write_charts(Path(options.charts), comparison_charts(report, models))
    return report


def _check_outputs(options: CompareOptions) -> None:
    """Raise ConfigError if an output cannot or must not be written."""
    require_folders(options.cache, options.save)
    if options.html is not None:
        prepare_new_file(Path(options.html), overwrite=options.overwrite)
    if options.charts is not None:
        prepare_charts(Path(options.charts), overwrite=options.overwrite)


def _plan(system: NamedRuns, folder: DataFolder, features: FeatureOptions, options: CompareOptions) -> Iterator[_Run]:
    """Yield the runs of a system, after finding its models and checking where their answers are kept.

    Raises:
        ModelError: if a model does not exist.
        ConfigError: if a file would be replaced without being asked to.
    """
    for number, given in enumerate(system.runs, start=1):
        name = system.name if len(system.runs) == 1 else f"{system.name} {number}"
        if is_predictions(given):
            yield _Run(name, Path(given))
            continue
        choice = choose_for_data(given, folder.path, features, offline=options.offline)
        read_description(choice.folder)  # another folder is refused before any model answers
        keep = None if options.save is None else Path(options.save) / f"{safe_part(name)}.jsonl"
        if keep is not None:
            prepare_answers(keep, overwrite=options.overwrite)
        yield _Run(name, choice, keep)


def _score(
    one: _Run, folder: DataFolder, split: str, features: FeatureOptions, options: CompareOptions
) -> Generator[CompareEvent, None, Scored]:
    """Score a run, and keep its answers if they are those of a model and are to be kept."""
    if isinstance(one.source, Path):
        scored = yield from score_file(folder, split, one.source, options, one.name)
        return scored
    clock = Clock.start(options.command, options.device)
    yield Noted(f"{one.name}: {one.source.line}")
    if not is_file(one.source.folder / REPORT):
        yield Warned(f"{one.name}: the training in {one.source.folder} has not ended")
    grounder = load_trained(one.source.folder, features, options)
    dataset = yield from find_features(folder, split, grounder, features.features, options)
    with limited_threads(grounder.device):
        yield ProgressStarted("grounding", 1)
        found = score_model(predictor_of(grounder, options, dataset), dataset, grounder, options)
        yield ProgressAdvanced("grounding")
    yield from missed_warnings(found, one.name)
    if one.keep is not None:
        origin = clock.origin(folder, dataset.files, one.source.about, one.source.folder)
        save_answers(one.keep, found, origin)
    return Scored(replace(found, name=one.name), [dataset.duration(pair) for pair in dataset.pairs])


def _without_repeats(
    steps: Generator[CompareEvent, None, Scored], said: set[object]
) -> Generator[CompareEvent, None, Scored]:
    """Pass on the events of a run without the bad rows and warnings of runs before, which have the same annotations."""
    while True:
        try:
            event = next(steps)
        except StopIteration as end:
            scored: Scored = end.value
            return scored
        if isinstance(event, RowsSkipped):
            problems = [problem for problem in event.problems if problem not in said]
            said.update(problems)
            if problems:
                yield RowsSkipped(problems)
        elif not isinstance(event, Warned):
            yield event
        elif event not in said:
            said.add(event)
            yield event


def _known(durations: Sequence[float | None], others: Sequence[float | None]) -> list[float | None]:
    """Return each duration, or the other one where it is not known."""
    if not durations:
        return list(others)
    return [one if other is None else other for one, other in zip(others, durations, strict=True)]


def _write_page(path: Path, report: ComparisonReport, folder: DataFolder, clock: Clock) -> Iterator[CompareEvent]:
    """Write the page of a comparison, with thumbnails of the videos that are available."""
    cases = pick_compared_cases(report)
    pictured = list({case.index: case for of_system in cases.values() for case in of_system}.values())
    yield ProgressStarted("thumbnails", len(pictured))
    thumbnails = {}
    for number, images in take_thumbnails(pictured, folder.find_video):
        thumbnails[number] = images
        yield ProgressAdvanced("thumbnails")
    origin = clock.origin(folder, files_of(folder, report.pairs))
    page = render_comparison_page(report, cases, thumbnails, origin.lines(report.pairs))
    save(path, lambda part: part.write_bytes(page.encode("utf-8", "replace")))
