"""`mttsg evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from mttsg_cli import options
from mttsg_cli.console import SOME_FAILED, Reporter, exit_codes
from mttsg_cli.extract import run_extraction
from mttsg_cli.output import print_json

if TYPE_CHECKING:
    from mttsg_core.evaluation import Evaluation
    from mttsg_core.pairs import DataFolder


def evaluate(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Data folder.")],
    model: options.Model = None,
    split: Annotated[str, typer.Option("--split", metavar="NAME", help="Which pairs.")] = "test",
    predictions: Annotated[
        Path | None, typer.Option("--predictions", metavar="FILE", help="Score these moments; no model is needed.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write the predictions.")] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Add what needs no eyes: constant spans, shuffled sentences.")
    ] = False,
    features: options.Features = None,
    device: options.Device = "auto",
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

        mttsg evaluate data/ --split val --model model --json

        mttsg evaluate data/ --predictions theirs.jsonl
    """
    with exit_codes():
        from mttsg_core.errors import ConfigError
        from mttsg_core.pairs import DataFolder
        from mttsg_core.predictions import write_predictions

        reporter = Reporter(quiet=quiet, verbose=verbose)
        if out is not None and out.exists() and not overwrite:
            raise ConfigError(f"{out}: exists already; use --overwrite")
        folder = DataFolder.open(data, features)
        if predictions is not None:
            reports = [_score_file(folder, split, predictions, reporter, strict=strict)]
            failed = 0
        else:
            reports, failed = _ground_split(
                folder, split, model, device, cache, reporter, workers=workers, strict=strict, baselines=baselines
            )
        if out is not None:
            write_predictions(out, reports[0].pairs, reports[0].predictions)
        if as_json:
            others = {report.mode: report.metrics for report in reports[1:]}
            print_json({**reports[0].as_dict(), **({"baselines": others} if baselines else {})})
        else:
            _print_table(reports)
        if failed:
            raise typer.Exit(SOME_FAILED)


def _score_file(folder: DataFolder, split: str, file: Path, reporter: Reporter, *, strict: bool) -> Evaluation:
    """Score somebody's predictions."""
    from mttsg_core.evaluation import score
    from mttsg_core.predictions import read_predictions

    pairs = folder.split(split, require_moment=True, check_videos=False, strict=strict)
    predictions = read_predictions(file)
    options.report_problems(reporter, [*pairs.problems, *predictions.problems])
    matched = predictions.match(pairs.pairs, folder.video_key)
    if matched.missing:
        reporter.warn(f"{matched.missing} of {len(pairs.pairs)} queries have no prediction and count as misses")
    if matched.unknown:
        reporter.warn(f"{matched.unknown} predictions belong to no query of {split}")
    return score(split, pairs.pairs, matched.moments, "predictions", missed=matched.missing)


def _ground_split(
    folder: DataFolder,
    split: str,
    model: Path | None,
    device: str,
    cache: Path | None,
    reporter: Reporter,
    *,
    workers: int | None,
    strict: bool,
    baselines: bool,
) -> tuple[list[Evaluation], int]:
    """The model's evaluation, then those of the baselines; and how many videos failed."""
    from mttsg_core import baselines as plain
    from mttsg_core import evaluation
    from mttsg_core.devices import limit_threads
    from mttsg_core.grounding import Grounder
    from mttsg_core.sources import find_sources, settings_of

    grounder = Grounder.load(model, device=device, cache=cache)
    limit_threads(grounder.device)
    with_train = baselines and "train" in folder.splits
    splits = [split, *(["train"] if with_train and split != "train" else [])]
    sources = find_sources(folder, splits[:1], grounder.cache, grounder.fingerprint, strict=strict)
    options.report_problems(reporter, sources.problems)
    settings = settings_of(grounder.fingerprint)
    failures = []
    if settings is not None and sources.jobs:
        failures = run_extraction(sources.jobs, settings, reporter, workers=workers)
    dataset = sources.dataset(split, grounder.network.config.max_clips)
    with reporter.progress(len(dataset.pairs), "Grounding"):
        reports = [evaluation.evaluate(grounder, dataset)]
    if reports[0].missed:
        reporter.warn(f"{reports[0].missed} of {len(dataset.pairs)} queries have no features and count as misses")
    if baselines:
        training = folder.split("train", require_moment=True).pairs if with_train else dataset.pairs
        lengths = [(pair, pair.duration or dataset.duration(pair)) for pair in training]
        known = [(pair, duration) for pair, duration in lengths if duration is not None]
        if known:
            reports.append(plain.evaluate_constant_span("constant span", plain.constant_span(known), dataset))
        reports.append(plain.evaluate_constant_span("whole video", (0.0, 1.0), dataset))
        reports.append(plain.evaluate_shuffled_sentences(grounder, dataset))
    return reports, len(failures)


def _print_table(reports: list[Evaluation]) -> None:
    first = reports[0]
    table = Table(
        title=f"{first.split}: {len(first.predictions)} queries of {first.videos} videos", title_justify="left"
    )
    table.add_column("")
    for name in first.metrics:
        table.add_column(name.replace(",", "\n"), justify="right")
    for report in reports:
        table.add_row(report.mode, *(f"{value:.1f}" for value in report.metrics.values()))
    Console().print(table)
