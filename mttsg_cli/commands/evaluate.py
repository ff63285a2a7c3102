"""`mttsg evaluate`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from mttsg_cli import options
from mttsg_cli.commands.extract import run_extraction
from mttsg_cli.console import SOME_FAILED, Reporter, exit_codes
from mttsg_cli.model_loading import load_model
from mttsg_cli.writers import make_way, need_folders, need_two_files, print_json, save
from mttsg_core.utils.text import count

if TYPE_CHECKING:
    from mttsg_core.data.dataset import Dataset
    from mttsg_core.data.folder import DataFolder, Pair
    from mttsg_core.evaluation.evaluation_report import EvaluationReport
    from mttsg_core.evaluation.evaluator import Evaluation
    from mttsg_core.evaluation.figures import MetricConfig
    from mttsg_core.inference.grounder import Grounder
    from mttsg_core.inference.modes import Mode

_Number = TypeVar("_Number", int, float)


def evaluate(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Data folder.")],
    model: options.Model = None,
    split: Annotated[str, typer.Option("--split", metavar="NAME", help="Which pairs.")] = "test",
    mode: Annotated[
        str,
        typer.Option(
            "--mode",
            metavar="independent|joint",
            help="Ask each sentence by itself, or let the sentences of a video help each other.",
        ),
    ] = "independent",
    predictions: Annotated[
        Path | None, typer.Option("--predictions", metavar="FILE", help="Score these moments; no model is needed.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write the predictions.")] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with plots, the best and the worst.")
    ] = None,
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines",
            help="Add what needs no eyes or ears: spans fitted on train, the whole video, and the model with "
            "sentences or clips shuffled.",
        ),
    ] = False,
    breakdown: Annotated[
        bool, typer.Option("--breakdown", help="Add the figures by length, position, and words to the table.")
    ] = False,
    at: Annotated[str, typer.Option("--at", metavar="N,...", help="Answers that count, the n of R@n.")] = "1,5",
    iou: Annotated[str, typer.Option("--iou", metavar="M,...", help="Overlaps that count.")] = "0.3,0.5,0.7",
    strict_iou: Annotated[
        bool, typer.Option("--strict-iou", help="Count IoU > m, as some papers do, instead of IoU >= m.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**63 - 1, help="Of the shuffles of --baselines.")] = 0,
    features: options.Features = None,
    encoder: options.KnownEncoder = None,
    text_encoder: options.KnownTextEncoder = None,
    fps: options.KnownFps = None,
    device: options.Device = "auto",
    offline: options.Offline = False,
    cache: options.Cache = None,
    workers: options.Workers = None,
    strict: options.Strict = False,
    overwrite: options.Overwrite = False,
    config: options.Config = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Ground every sentence of a split and print the recall. A sentence without an answer counts as a miss.

    Examples:

        mttsg evaluate data/

        mttsg evaluate data/ --split val --model model --baselines --html report.html

        mttsg evaluate data/ --predictions theirs.jsonl --json
    """
    with exit_codes():
        from mttsg_cli.tables import print_comparison
        from mttsg_core.data.folder import DataFolder
        from mttsg_core.data.predictions import write_predictions
        from mttsg_core.errors import ConfigError
        from mttsg_core.evaluation.figures import MetricConfig
        from mttsg_core.inference.modes import grounding_mode

        reporter = Reporter(quiet=quiet, verbose=verbose)
        chosen = grounding_mode(mode)
        measures = MetricConfig(_numbers("--at", at, int), _numbers("--iou", iou, float), strict_iou, precision=True)
        need_folders(cache)
        need_two_files(out, html)
        for path in (out, html):
            if path is not None:
                if path == Path("-"):
                    raise ConfigError("predictions and pages are files: '-' is not taken here")
                make_way(path)
                if path.exists() and not overwrite:
                    raise ConfigError(f"{path}: exists already; use --overwrite")
        folder = DataFolder.open(data, features)
        if predictions is not None:
            failed = 0
            comparison = _score_file(folder, split, predictions, reporter, measures, strict=strict, baselines=baselines)
        else:
            from mttsg_core.data.feature_lookup import features_named
            from mttsg_core.features.store import same_fingerprint

            grounder = load_model(
                model,
                encoder=encoder,
                text_encoder=text_encoder,
                fps=fps,
                device=device,
                cache=cache,
                offline=offline,
            )
            if features is not None:
                same_fingerprint(features_named(folder, [split]), grounder.fingerprint, str(features))
            dataset, failed = _dataset(folder, split, grounder, reporter, workers=workers, strict=strict)
            comparison = _ground_split(
                folder, dataset, grounder, reporter, measures, mode=chosen, seed=seed if baselines else None
            )
        if out is not None:
            write_predictions(out, comparison.main.pairs, comparison.main.predictions)
        if html is not None:
            _write_page(html, comparison, folder, reporter)
        if as_json:
            print_json(comparison.as_dict())
        else:
            print_comparison(comparison, breakdown=breakdown)
        if failed:
            raise typer.Exit(SOME_FAILED)


def _score_file(
    folder: DataFolder,
    split: str,
    file: Path,
    reporter: Reporter,
    measures: MetricConfig,
    *,
    strict: bool,
    baselines: bool,
) -> EvaluationReport:
    """Score somebody's predictions."""
    from mttsg_core.data.durations import known_durations
    from mttsg_core.data.predictions import read_predictions
    from mttsg_core.evaluation.evaluator import score

    found = folder.split(split, require_moment=True, check_videos=False, strict=strict)
    predictions = read_predictions(file)
    options.report_problems(reporter, [*found.problems, *predictions.problems])
    matched = predictions.match(found.pairs, folder.video_key)
    if matched.missing:
        queries = count(len(found.pairs), "query", "queries")
        reporter.warn(f"{matched.missing} of {queries} without a prediction, counted as missed")
    if matched.unknown:
        reporter.warn(f"{count(matched.unknown, 'prediction')} for no query of {split}")
    pairs = [replace(pair, video=folder.video_key(pair.video)) for pair in found.pairs]
    main = score(split, pairs, matched.moments, "predictions", missed=matched.missing)
    main = replace(main, measures=measures, name="predictions", nms="none here, scored as given")
    return _compare(folder, main, known_durations(folder, found.pairs), reporter, baselines=baselines)


def _dataset(
    folder: DataFolder,
    split: str,
    grounder: Grounder,
    reporter: Reporter,
    *,
    workers: int | None,
    strict: bool,
) -> tuple[Dataset, int]:
    """The pairs with the features that the model expects, and how many videos failed."""
    from mttsg_core.data.feature_lookup import resolve_splits
    from mttsg_core.errors import DataError
    from mttsg_core.features.store import EXTERNAL

    sources = resolve_splits(
        folder, [split], grounder.cache, grounder.fingerprint, strict=strict, keep_without_video=True
    )
    options.report_problems(reporter, sources.problems)
    settings = grounder.extraction_settings() if sources.jobs else None
    failures = []
    if settings is not None:
        failures = run_extraction(sources.jobs, settings, reporter, workers=workers)
    dataset = sources.dataset(split)
    for reason in sources.unusable:
        reporter.error(reason)
    if not dataset.store.files:
        elsewhere = grounder.fingerprint["encoder"] == EXTERNAL
        hint = "; the model was trained on features made elsewhere" if elsewhere and not sources.unusable else ""
        raise DataError(f"{folder.path}: no features of any video of {split}{hint}")
    return dataset, len(failures) + len(sources.unusable)


def _ground_split(
    folder: DataFolder,
    dataset: Dataset,
    grounder: Grounder,
    reporter: Reporter,
    measures: MetricConfig,
    *,
    mode: Mode,
    seed: int | None,
) -> EvaluationReport:
    """The model's evaluation, and with a seed the baselines."""
    from mttsg_core.evaluation import baselines as plain
    from mttsg_core.evaluation import evaluator as evaluation
    from mttsg_core.modeling.proposals import NMS_IOU
    from mttsg_core.utils.devices import limit_threads

    limit_threads(grounder.device)
    answer = partial(evaluation.evaluate, grounder, top=max(evaluation.TOP, *measures.ns), mode=mode)
    with reporter.progress(1 if seed is None else 3, "Grounding") as bar:
        main = replace(
            answer(dataset), measures=measures, nms=f"greedy, candidates overlap a better one by IoU <= {NMS_IOU:g}"
        )
        bar.advance()
        shuffled = []
        if seed is not None:
            for shuffle in (plain.evaluate_shuffled_sentences, plain.evaluate_shuffled_features):
                shuffled.append(shuffle(answer, dataset, main, seed))
                bar.advance()
    if main.missed:
        queries = count(len(dataset.pairs), "query", "queries")
        reporter.warn(f"{main.missed} of {queries} without features, counted as missed")
    durations = [dataset.duration(pair) for pair in dataset.pairs]
    found = _compare(folder, main, durations, reporter, baselines=seed is not None)
    return replace(found, baselines=[*found.baselines, *shuffled])


def _compare(
    folder: DataFolder,
    main: Evaluation,
    durations: list[float | None],
    reporter: Reporter,
    *,
    baselines: bool,
) -> EvaluationReport:
    """The evaluation with what the training split tells: words that were seen, and the blind baselines."""
    from mttsg_core.data.durations import known_durations
    from mttsg_core.errors import DataError
    from mttsg_core.evaluation.breakdown import vocabulary
    from mttsg_core.evaluation.evaluation_report import EvaluationReport, blind_baselines

    training: list[Pair] = []
    if "train" in folder.splits:
        try:
            training = folder.split("train", check_videos=False).pairs
        except DataError as error:
            reporter.warn(f"{error}: nothing is taken from the training split")
    seen = vocabulary(pair.query for pair in training) if training else None
    if not baselines:
        return EvaluationReport(main, durations, seen_words=seen)
    moments = [pair for pair in training if pair.moments]
    lengths = known_durations(folder, moments)
    fitted_on: str | None = "train"
    if all(length is None for length in lengths):
        fitted_on, moments, lengths = main.split, list(main.pairs), durations
        reporter.warn(f"no training moments in videos of known length: spans are fitted on {main.split} itself")
    if all(length is None for length in lengths):
        fitted_on = None
    unknown = sum(duration is None for duration in durations)
    if unknown:
        queries = count(unknown, "query", "queries")
        reporter.warn(f"{queries} missed by the blind baselines: how long the video is, is not known")
    return EvaluationReport(main, durations, blind_baselines(main, durations, moments, lengths), fitted_on, seen)


def _write_page(path: Path, comparison: EvaluationReport, folder: DataFolder, reporter: Reporter) -> None:
    """Write the report, with pictures of the videos that are at hand."""
    from mttsg_core.report import pick_cases, render_evaluation_page, take_thumbnails

    cases = pick_cases(comparison)
    with reporter.progress(len(cases), "Taking pictures") as bar:
        pictures = {}
        for key, found in take_thumbnails(cases, folder.find_video):
            pictures[key] = found
            bar.advance()
    content = render_evaluation_page(comparison, cases, pictures).encode("utf-8", "replace")
    save(path, lambda part: part.write_bytes(content))


def _numbers(option: str, text: str, number: Callable[[str], _Number]) -> tuple[_Number, ...]:
    """Numbers between commas, ascending and each once. Brackets may stand around them, as in a --config file."""
    from mttsg_core.errors import ConfigError

    try:
        return tuple(sorted({number(part) for part in text.strip("[]() ").split(",")}))
    except ValueError:
        raise ConfigError(f"{option}: numbers with commas between them, not {text!r}") from None
