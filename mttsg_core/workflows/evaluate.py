"""How well a model, or a file of predictions, does on a split: `evaluate` and `iter_evaluate`."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from mttsg_core.data.dataset import Dataset
from mttsg_core.data.durations import find_durations
from mttsg_core.data.feature_lookup import find_fingerprint
from mttsg_core.data.folder import DataFolder, open_data
from mttsg_core.data.pairs import Pair
from mttsg_core.data.prediction_writers import prediction_form
from mttsg_core.errors import ConfigError, DataError
from mttsg_core.evaluation import baselines
from mttsg_core.evaluation.breakdown import vocabulary
from mttsg_core.evaluation.evaluation_report import EvaluationReport, blind_baselines
from mttsg_core.evaluation.evaluator import Evaluation
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.modes import grounding_mode
from mttsg_core.report import pick_cases, render_evaluation_page, take_thumbnails
from mttsg_core.utils.text import count
from mttsg_core.workflows.answers import AnswersOrigin, Clock, prepare_answers, save_answers
from mttsg_core.workflows.charts import evaluation_charts, prepare_charts, write_charts
from mttsg_core.workflows.events import Noted, ProgressAdvanced, ProgressStarted, Warned
from mttsg_core.workflows.loading import load_trained, load_zero_shot
from mttsg_core.workflows.model_choice import ModelChoice, choose_for_data, choose_zero_shot
from mttsg_core.workflows.options import AnyPath, EvaluateOptions, FeatureOptions
from mttsg_core.workflows.outputs import prepare_new_file, require_distinct, require_folders, save
from mttsg_core.workflows.scoring import (
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

EvaluateEvent: TypeAlias = ScoringEvent
_Steps: TypeAlias = Generator[EvaluateEvent, None, EvaluationReport]


def evaluate(
    data: AnyPath | DataFolder,
    model: AnyPath | None = None,
    *,
    split: str = "test",
    predictions: AnyPath | None = None,
    features: FeatureOptions | None = None,
    options: EvaluateOptions | None = None,
    on_event: OnEvent[EvaluateEvent] | None = None,
) -> EvaluationReport:
    """Ground every sentence of a split and compute the recall. A sentence without an answer is a miss.

    Where no row of the split has a true moment, as in test splits of benchmarks, the answers are only written to
    `options.out`, and the report has no figures.

    Args:
        data: data folder: its path, or opened.
        model: model folder, number of a run, `last`, or `user/name` on the Hugging Face Hub; None for the newest
            finished run that was trained on videos below the same folder.
        split: name of the split.
        predictions: file of predictions to score instead of a model's.
        features: what the model must have been trained with (None accepts any), and external features.
        options: mode, figures, baselines, outputs, device and cache; see there.
        on_event: called with each event as it happens.

    Returns:
        The figures, in percent, with their intervals and breakdown. Sentences about videos that failed are among the
        missed ones.

    Raises:
        ConfigError: if an option cannot be used, an output file already exists, or both a model and predictions are
            given.
        DataError: if the data folder, the split or the predictions cannot be used, or there is nothing to score and no
            file to write.
        FeatureError: if there are only features that the model does not accept.
        ModelError: if there is no such model.
        MttsgError: if a file cannot be written.
    """
    return run(
        _evaluate(data, model, split, predictions, features, options),
        on_event,
    )


def iter_evaluate(
    data: AnyPath | DataFolder,
    model: AnyPath | None = None,
    *,
    split: str = "test",
    predictions: AnyPath | None = None,
    features: FeatureOptions | None = None,
    options: EvaluateOptions | None = None,
) -> Iterator[EvaluateEvent | EvaluationReport]:
    """Yield the events of `evaluate` as they happen, then its report. Arguments and errors are those of `evaluate`."""
    return iterate(_evaluate(data, model, split, predictions, features, options))


def _evaluate(
    data: AnyPath | DataFolder,
    model: AnyPath | None,
    split: str,
    predictions: AnyPath | None,
    features: FeatureOptions | None,
    options: EvaluateOptions | None,
) -> _Steps:
    features, options = features or FeatureOptions(), options or EvaluateOptions()
    grounding_mode(options.mode)  # a wrong one is refused before any work
    if model is not None and predictions is not None:
        raise ConfigError(
            f"--model {model} and --predictions {predictions}: give one of them, and 'mttsg compare' takes several"
        )
    require_folders(options.cache)
    out, html = _outputs(options)
    form = prediction_form(options.form)
    folder = open_data(data, features.features)
    is_scored = _require_outputs(folder, split, options)
    clock = Clock.start(options.command, options.device)
    choice, files = None, dict[str, Path]()
    if predictions is not None:
        scored = yield from score_file(folder, split, Path(predictions), options, require_moment=is_scored)
        report = yield from _compare(folder, *scored, with_baselines=options.baselines)
        about = f"predictions in {Path(predictions).name}"
    else:
        grounder, choice = _load(model, folder, split, features, options)
        about = choice.about
        yield Noted(choice.line)
        dataset = yield from find_features(
            folder, split, grounder, features.features, options, require_moment=is_scored
        )
        with_saliency = out is not None and form.has_saliency
        report = yield from _ground_split(folder, dataset, grounder, options, with_saliency=with_saliency)
        files = dataset.files
    report = replace(report, answered_by=about, data_note=options.data_note)
    model_folder = None if choice is None else choice.folder
    origin = clock.origin(folder, files, about, model_folder)
    if out is not None:
        save_answers(out, report.main, origin, options.form)
        unanswered = sum(not ranked for ranked in report.main.predictions)
        if unanswered and not form.has_misses:
            queries = count(unanswered, "query", "queries")
            yield Warned(f"{out}: {queries} without an answer left out, as the form {options.form} has no misses")
    if html is not None:
        yield from _write_page(html, report, folder, origin)
    if options.charts is not None:
        write_charts(Path(options.charts), evaluation_charts(report, model_folder))
    return report


def _load(
    model: AnyPath | None, folder: DataFolder, split: str, features: FeatureOptions, options: EvaluateOptions
) -> tuple[Grounder, ModelChoice]:
    """Return what answers, a trained model or a pretrained encoder without training, and which it is."""
    if not options.zero_shot:
        trained = choose_for_data(model, folder.path, features, offline=options.offline)
        return load_trained(trained.folder, features, options), trained
    fingerprint = find_fingerprint(folder, [split])
    choice = choose_zero_shot(model, features, fingerprint)
    return load_zero_shot(features, options, fingerprint), choice


def _outputs(options: EvaluateOptions) -> tuple[Path | None, Path | None]:
    """Return the files of predictions and page. Raises ConfigError if one cannot or must not be written."""
    out, html = (None if path is None else Path(path) for path in (options.out, options.html))
    require_distinct({"--out": out, "--html": html})
    if out is not None:
        prepare_answers(out, overwrite=options.overwrite)
    if html is not None:
        prepare_new_file(html, overwrite=options.overwrite)
    if options.charts is not None:
        prepare_charts(Path(options.charts), overwrite=options.overwrite)
    return out, html


def _require_outputs(folder: DataFolder, split: str, options: EvaluateOptions) -> bool:
    """Return whether a split has true moments to score; if not, the answers must be all that is wanted.

    Raises:
        DataError: if the split does not exist, or its answers are not written.
        ConfigError: if an output needs figures.
    """
    if folder.has_moments(split):
        return True
    if options.out is None:
        raise DataError(f"{folder.path}: no row of {split} has a true moment to score; --out FILE writes the answers")
    wanted = {"--html": options.html, "--charts": options.charts, "--baselines": options.baselines or None}
    needs = [name for name, value in wanted.items() if value is not None]
    if needs:
        raise ConfigError(f"{' and '.join(needs)}: no row of {split} has a true moment to score")
    return False


def _ground_split(
    folder: DataFolder, dataset: Dataset, grounder: Grounder, options: EvaluateOptions, *, with_saliency: bool
) -> _Steps:
    """Evaluate the model, and the baselines if `options` say so."""
    predict = predictor_of(grounder, options, dataset, with_saliency=with_saliency)
    shuffles = (baselines.evaluate_shuffled_sentences, baselines.evaluate_shuffled_features)
    shuffled: list[Evaluation] = []
    with limited_threads(grounder.device):
        yield ProgressStarted("grounding", 1 + len(shuffles) * options.baselines)
        main = score_model(predict, dataset, grounder, options)
        yield ProgressAdvanced("grounding")
        for shuffle in shuffles if options.baselines else ():
            shuffled.append(shuffle(predict, dataset, main, options.seed))
            yield ProgressAdvanced("grounding")
    yield from missed_warnings(main)
    durations = [dataset.duration(pair) for pair in dataset.pairs]
    report = yield from _compare(folder, main, durations, with_baselines=options.baselines)
    return replace(report, baselines=[*report.baselines, *shuffled])


def _compare(
    folder: DataFolder, main: Evaluation, durations: Sequence[float | None], *, with_baselines: bool
) -> Generator[Warned, None, EvaluationReport]:
    """Add what comes from the training split: its vocabulary, and the blind baselines."""
    if not main.is_scored:
        return EvaluationReport(main, durations)
    training = yield from training_pairs(folder)
    seen = vocabulary(pair.query for pair in training) if training else None
    if not with_baselines:
        return EvaluationReport(main, durations, seen_words=seen)
    moments: Sequence[Pair] = [pair for pair in training if pair.moments]
    lengths: Sequence[float | None] = find_durations(folder, moments)
    fitted_on: str | None = "train"
    if all(length is None for length in lengths):
        fitted_on, moments, lengths = main.split, main.pairs, durations
        yield Warned(f"no training moments in videos of known length: spans are fitted on {main.split} itself")
    if all(length is None for length in lengths):
        fitted_on = None
    unknown = sum(duration is None for duration in durations)
    if unknown:
        queries = count(unknown, "query", "queries")
        yield Warned(f"{queries} missed by the blind baselines: the length of the video is unknown")
    return EvaluationReport(main, durations, blind_baselines(main, durations, moments, lengths), fitted_on, seen)


def _write_page(
    path: Path, report: EvaluationReport, folder: DataFolder, origin: AnswersOrigin
) -> Iterator[EvaluateEvent]:
    """Write the page of an evaluation, with thumbnails of the videos that are available."""
    made = origin.lines(report.main.pairs)
    cases = pick_cases(report)
    yield ProgressStarted("thumbnails", len(cases))
    thumbnails = {}
    for number, images in take_thumbnails(cases, folder.find_video):
        thumbnails[number] = images
        yield ProgressAdvanced("thumbnails")
    content = render_evaluation_page(report, cases, thumbnails, made).encode("utf-8", "replace")
    save(path, lambda part: part.write_bytes(content))
