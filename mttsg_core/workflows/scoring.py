"""What `evaluate` and `compare` share: the answers of a model, or of a file, for every query of a split, scored."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

from mttsg_core.data.dataset import Dataset
from mttsg_core.data.durations import find_durations
from mttsg_core.data.feature_lookup import require_fingerprint, resolve_splits
from mttsg_core.data.folder import DataFolder
from mttsg_core.data.pairs import Pair
from mttsg_core.data.predictions import read_predictions
from mttsg_core.errors import DataError
from mttsg_core.evaluation import evaluator
from mttsg_core.evaluation.evaluator import Evaluation
from mttsg_core.features.fingerprint import STREAMS
from mttsg_core.features.store import EXTERNAL, check_fingerprint
from mttsg_core.features.streams import FeaturePlaces
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.modes import grounding_mode
from mttsg_core.utils.text import count
from mttsg_core.workflows.events import (
    InputFailed,
    Noted,
    ReadingEvent,
    RowsSkipped,
    Warned,
)
from mttsg_core.workflows.extract import extract_jobs
from mttsg_core.workflows.options import ScoringOptions

ScoringEvent: TypeAlias = ReadingEvent | RowsSkipped | Noted | Warned


class Scored(NamedTuple):
    """An evaluation, and the seconds of each query's video, None where they are not known."""

    evaluation: Evaluation
    durations: list[float | None]


def score_file(
    folder: DataFolder, split: str, file: Path, options: ScoringOptions, name: str = "", *, require_moment: bool = True
) -> Generator[ScoringEvent, None, Scored]:
    """Score the predictions of a file; queries without one are counted as missed, in a warning.

    Args:
        folder: the data folder.
        split: name of the split.
        file: of predictions.
        options: figures, and whether bad rows are fatal.
        name: of the file, for warnings where there are several.
        require_moment: treat a row without a moment as a bad row.

    Raises:
        DataError: if the split or the file cannot be used.
    """
    rows = folder.split(split, require_moment=require_moment, check_videos=False, strict=options.strict)
    predictions = read_predictions(file)
    yield from map(Warned, rows.notes)
    problems = [*rows.problems, *predictions.problems]
    if problems:
        yield RowsSkipped(problems)
    matched = predictions.match(rows.pairs, folder.video_key)
    prefix = f"{name}: " if name else ""
    if matched.missing:
        queries = count(len(rows.pairs), "query", "queries")
        yield Warned(f"{prefix}{matched.missing} of {queries} without a prediction, counted as missed")
    if matched.unknown:
        yield Warned(f"{prefix}{count(matched.unknown, 'prediction')} for no query of {split}")
    pairs = [replace(pair, video=folder.video_key(pair.video)) for pair in rows.pairs]
    durations = find_durations(folder, rows.pairs)
    saliency = matched.saliency if any(matched.saliency) else ()
    found = evaluator.score(split, pairs, matched.moments, "predictions", missed=matched.missing, saliency=saliency)
    found = replace(
        found,
        metric_config=options.metrics,
        name="predictions",
        nms="none here, scored as given",
        durations=durations,
    )
    return Scored(found, durations)


def find_features(
    folder: DataFolder,
    split: str,
    grounder: Grounder,
    features: FeaturePlaces | None,
    options: ScoringOptions,
    *,
    require_moment: bool = True,
) -> Generator[ScoringEvent, None, Dataset]:
    """Return the pairs with the features that the model expects, after extracting those that are missing.

    Rows without a moment are bad rows if `require_moment`.

    Raises:
        DataError: if the split cannot be used, or there are no features of any of its videos.
        FeatureError: if the features are not those that the model was trained on.
    """
    folder.require_media()
    if features is not None or STREAMS in grounder.fingerprint:
        places = ", ".join(str(stream.folder) for stream in folder.streams)
        check_fingerprint(require_fingerprint(folder, [split]), grounder.fingerprint, places)
    sources = resolve_splits(
        folder,
        [split],
        grounder.cache,
        grounder.fingerprint,
        strict=options.strict,
        keep_without_video=True,
        require_moment=require_moment,
    )
    if sources.problems:
        yield RowsSkipped(sources.problems)
    if sources.jobs:
        yield from extract_jobs(sources.jobs, grounder.extraction_settings(), workers=options.workers)
    dataset = sources.dataset(split)
    yield from map(InputFailed, sources.unusable)
    if not dataset.store.files:
        external = grounder.fingerprint["encoder"] == EXTERNAL
        hint = "; the model was trained on external features" if external and not sources.unusable else ""
        raise DataError(f"{folder.path}: no features of any video of {split}{hint}")
    return dataset


def predictor_of(
    grounder: Grounder, options: ScoringOptions, dataset: Dataset, *, with_saliency: bool = False
) -> Callable[[Dataset], Evaluation]:
    """Return what grounds the queries of a data set with a model, in the mode that `options` name.

    Args:
        grounder: the model.
        options: mode and figures.
        dataset: the queries; where they have ratings of clips and the figures want them, clips are scored as well.
        with_saliency: score clips in any case.
    """
    top = max(evaluator.TOP, *options.metrics.ns)
    rated = options.metrics.highlights and any(pair.ratings is not None for pair in dataset.pairs)
    return partial(
        evaluator.evaluate,
        grounder,
        top=top,
        mode=grounding_mode(options.mode),
        with_saliency=with_saliency or rated,
    )


def score_model(
    predict: Callable[[Dataset], Evaluation], dataset: Dataset, grounder: Grounder, options: ScoringOptions
) -> Evaluation:
    """Ground every query of a data set and score the answers."""
    nms = f"greedy, candidates overlap a better one by IoU <= {grounder.predictor.nms_iou:g}"
    limit = grounder.predictor.max_window_seconds
    windows = "as a whole" if limit is None else f"beyond {limit:.0f} s in overlapping windows"
    return replace(predict(dataset), metric_config=options.metrics, nms=nms, windows=windows)


def missed_warnings(found: Evaluation, name: str = "") -> Iterator[Warned]:
    """Yield a warning if there are queries that a model cannot answer for want of features."""
    if found.missed:
        queries = count(len(found.pairs), "query", "queries")
        yield Warned(f"{f'{name}: ' if name else ''}{found.missed} of {queries} without features, counted as missed")


def training_pairs(folder: DataFolder) -> Generator[Warned, None, Sequence[Pair]]:
    """Return the training split, whose words and moments queries are compared with; empty if it cannot be used."""
    if "train" not in folder.splits:
        return ()
    try:
        return folder.split("train", check_videos=False).pairs
    except DataError as error:
        yield Warned(f"{error}: the training split is not used")
        return ()
