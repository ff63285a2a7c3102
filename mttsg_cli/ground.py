"""`mttsg ground`."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from mttsg_cli import options
from mttsg_cli.console import SOME_FAILED, UNUSABLE, Reporter, exit_codes
from mttsg_cli.extract import extracting
from mttsg_cli.output import FORMATS, Row, write_rows
from mttsg_core.config import refuse_unknown
from mttsg_core.videofiles import VideoFile, find_videos

if TYPE_CHECKING:
    from mttsg_core.features import VideoFeatures
    from mttsg_core.grounding import Grounder
    from mttsg_core.questions import Question


def ground(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video, or a folder to look into.")],
    queries: Annotated[list[str] | None, typer.Argument(metavar="[QUERY]...", help="Sentences.")] = None,
    queries_file: Annotated[
        Path | None,
        typer.Option("--queries", "-Q", metavar="FILE", help="Sentences: a line each, or jsonl; - is standard input."),
    ] = None,
    model: options.Model = None,
    top: Annotated[int, typer.Option("--top", "-k", min=1, metavar="N", help="Answers a sentence, at most.")] = 1,
    form: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="|".join(FORMATS), help="Default: table on a terminal, tsv into a pipe or file."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write there.")] = None,
    threshold: Annotated[
        float, typer.Option("--threshold", min=0, max=1, metavar="S", help="Leave out answers that score less.")
    ] = 0.0,
    features: options.Features = None,
    device: options.Device = "auto",
    cache: options.Cache = None,
    workers: options.Workers = None,
    overwrite: options.Overwrite = False,
    config: options.Config = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Find the moments of a video, or of every video in a folder, that sentences describe.

    Examples:

        mttsg ground video.mp4 "person opens door"

        mttsg ground videos/ "person opens door" "person sits down" --top 3 --format csv

        mttsg ground videos/ --queries sentences.txt --format jsonl --out moments.jsonl
    """
    with exit_codes():
        from mttsg_core.devices import limit_threads
        from mttsg_core.errors import ConfigError
        from mttsg_core.grounding import Grounder
        from mttsg_core.questions import assign

        reporter = Reporter(quiet=quiet, verbose=verbose)
        began = time.monotonic()
        form = form or ("table" if out is None and sys.stdout.isatty() else "tsv")
        refuse_unknown([form], FORMATS, "format")
        if out is not None and out.exists() and not overwrite:
            raise ConfigError(f"{out}: exists already; use --overwrite")
        questions = _read_questions(queries or [], queries_file, reporter)
        videos = [VideoFile(video, Path(video.name))] if features is not None else find_videos([video])
        asked, missing = assign(questions, videos)
        failed = [f"{name}: no such video below {video}" for name in missing]
        for line in failed:
            reporter.error(line)
        if not asked:
            raise ConfigError("no sentence is asked of any video")
        grounder = Grounder.load(model, device=device, cache=cache)
        limit_threads(grounder.device)
        answers = (
            _ground_videos(grounder, asked, top, workers, reporter, failed)
            if features is None
            else _ground_features(grounder, asked, top, features)
        )
        rows = (row for row in answers if row.score >= threshold)
        begun = list(islice(rows, 1))  # not even a header is written where there is nothing to answer from
        written = 0
        if begun or len(failed) - len(missing) < len(asked):
            with _output(out) as stream:
                written = write_rows(chain(begun, rows), form, stream)
        reporter.say(
            f"{len(asked)} videos, {sum(map(len, asked.values()))} sentences, {written} moments, "
            f"{len(failed)} failed, {time.monotonic() - began:.1f} s"
        )
        if failed:
            raise typer.Exit(SOME_FAILED if len(failed) - len(missing) < len(asked) else UNUSABLE)


def _read_questions(queries: list[str], file: Path | None, reporter: Reporter) -> list[Question]:
    from mttsg_core.errors import ConfigError
    from mttsg_core.questions import Question, parse_questions
    from mttsg_core.textfiles import read_bytes

    if any(not query.strip() for query in queries):
        raise ConfigError("a sentence must have at least one word")
    questions = [Question(query.strip()) for query in queries]
    if file is not None:
        content = sys.stdin.buffer.read() if str(file) == "-" else read_bytes(file)
        more, problems = parse_questions(file, content)
        options.report_problems(reporter, problems)
        questions += more
    if not questions:
        raise ConfigError("no sentence: give one after the video, or a file of them with --queries")
    return questions


def _ground_videos(
    grounder: Grounder,
    asked: Mapping[VideoFile, list[str]],
    top: int,
    workers: int | None,
    reporter: Reporter,
    failed: list[str],
) -> Iterator[Row]:
    """Rows video by video in the order asked, each as soon as it and those before it are read."""
    from mttsg_core.extraction import Extracted, Job
    from mttsg_core.features import read_features

    targets: dict[VideoFile, Path] = {}
    for video in asked:
        try:
            targets[video] = grounder.cache.path(video.path, grounder.fingerprint)
        except OSError as error:
            failed.append(str(video.path))
            reporter.error(f"{video.path}: {(error.strerror or str(error)).lower()}")
    waiting = list(targets)
    ready: dict[Path, bool] = {}
    todo = [Job(video.path, target) for video, target in targets.items()]
    for event in extracting(todo, grounder.extraction_settings(), reporter, workers=workers):
        ready[event.job.video] = isinstance(event, Extracted)
        if not ready[event.job.video]:
            failed.append(str(event.job.video))
        while waiting and waiting[0].path in ready:
            video = waiting.pop(0)
            if ready[video.path]:
                yield from _rows(video, asked[video], read_features(targets[video]), grounder, top)


def _ground_features(grounder: Grounder, asked: Mapping[VideoFile, list[str]], top: int, folder: Path) -> Iterator[Row]:
    """Rows of videos whose features lie in a folder; the video files themselves need not be there."""
    from mttsg_core.features import FeatureStore
    from mttsg_core.lookup import FeatureIndex
    from mttsg_core.video import probe

    index = FeatureIndex(folder)
    for video, queries in asked.items():
        found = index.find([str(video.name), video.name.stem])
        files = {} if found is None or found.path is None else {found.key: found.path}
        durations = {name: probe(video.path).duration for name in files if video.path.is_file()}
        store = FeatureStore(files, durations, max_clips=grounder.network.config.max_clips)
        yield from _rows(video, queries, store.load(found.key if found else str(video.name)), grounder, top)


def _rows(video: VideoFile, queries: list[str], features: VideoFeatures, grounder: Grounder, top: int) -> Iterator[Row]:
    for query, moments in zip(queries, grounder.ground_features(features, queries, top), strict=True):
        for rank, moment in enumerate(moments, start=1):
            yield Row(str(video.path), query, rank, *moment)


@contextmanager
def _output(path: Path | None) -> Iterator[IO[str]]:
    """Standard output, or a file that appears when it is complete. File names that are no Unicode pass through."""
    if path is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
        yield sys.stdout
        return
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with part.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            yield stream
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
