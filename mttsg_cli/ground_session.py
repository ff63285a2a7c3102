"""One run of `mttsg ground`: queries and videos in; rows, a page and excerpts out."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mttsg_cli.console import SOME_FAILED, UNUSABLE, Reporter
from mttsg_cli.display import EventDisplay
from mttsg_cli.ground_outputs import OutputOptions, is_inside, plan_outputs
from mttsg_cli.model_loading import load_grounder
from mttsg_cli.options import BadRows
from mttsg_cli.writers import NoAnswer, Row
from mttsg_core.errors import ConfigError, VideoNotFoundError
from mttsg_core.utils.text import count
from mttsg_core.video.discovery import VideoFile, find_videos
from mttsg_core.workflows.options import FeatureOptions, RuntimeOptions
from mttsg_core.workflows.outputs import protect_videos, require_folders

if TYPE_CHECKING:
    from mttsg_core.data.queries import Query
    from mttsg_core.data.query_parts import QueryAssigner, QueryPart
    from mttsg_core.inference.ranking import RankedMoment
    from mttsg_core.report import GroundedVideo
    from mttsg_core.workflows.ground import GroundEvent, GroundRun

_PART_QUERIES = 4096  # that are answered, and whose rows are written, before further ones are read
_MAX_QUERIES = 100_000  # where an output is made of all moments at once
_MANY_QUERIES = 2_000  # whose grounding takes a while
_SECONDS_BETWEEN_NOTES = 10.0


@dataclass(frozen=True)
class Request:
    """What to ground, and in which videos.

    Attributes:
        video: a video, or a folder to search for videos.
        sentences: from the command line.
        queries_file: more of them; - is standard input.
        top: number of moments per sentence, of the video or the whole folder; None for the best one of each video.
        threshold: moments with a lower score are left out.
    """

    video: Path
    sentences: Sequence[str]
    queries_file: Path | None
    top: int | None
    threshold: float


@dataclass
class Session:
    """What the run has found so far.

    Attributes:
        request: what to ground, and in which videos.
        assigner: of the queries to the videos.
        display: shows events, and counts failures.
        keep_moments: whether an output needs all moments at once.
        found: number of moments that were passed on to the outputs.
        moments: all of those, with `keep_moments`.
        videos: the videos that were grounded, for the page; empty if there is none.
        excerpts: number of excerpts in their folder; None if none are written.
    """

    request: Request
    assigner: QueryAssigner
    display: EventDisplay
    keep_moments: bool
    found: int = 0
    moments: list[RankedMoment] = field(default_factory=list)
    videos: list[GroundedVideo] = field(default_factory=list)
    excerpts: int | None = None

    @property
    def summary(self) -> str:
        """The counts at the end of a run."""
        counts = {"video": len(self.assigner.asked), "sentence": self.assigner.sentences, "moment": self.found}
        if self.excerpts is not None:
            counts["excerpt"] = self.excerpts
        return ", ".join([*(count(number, noun) for noun, number in counts.items()), f"{self.display.failed} failed"])

    @property
    def is_complete(self) -> bool:
        """Whether nothing has failed so far."""
        return not self.display.failed

    def fail(self, reason: str) -> None:
        """Report an input that failed."""
        from mttsg_core.workflows.events import InputFailed

        self.display.show(InputFailed(reason))

    def report_unmatched(self) -> None:
        """Report queries that name no video of the folder, or that are about others than the one video."""
        unmatched = self.assigner.unmatched
        if unmatched and self.assigner.asked and not self.request.video.is_dir():
            others = count(len(unmatched), "other video")
            self.display.reporter.say(f"{self.request.video}: sentences about {others} are left out")
        else:
            for name, reason in unmatched.items():
                self.fail(f"{name}: {reason} in {self.request.video}")
        unmatched.clear()

    def answer(
        self, run: GroundRun, parts: Iterable[QueryPart], *, several: bool
    ) -> Generator[Row | NoAnswer, None, None]:
        """Yield the rows of one part of the queries after the other. `several` tells whether rows name their video."""
        from mttsg_core.inference.ranking import best_over_videos

        request, said = self.request, time.monotonic()
        for part in parts:
            if request.video.is_dir():
                self.report_unmatched()
            grounded: dict[str, None] = {}
            with closing(run.iter_part(part.queries, is_last=part.is_last)) as events:
                moments = self.ranked_moments(events, grounded)
                if request.top is not None and request.video.is_dir():
                    moments = iter(best_over_videos(moments, request.top))
                yield from self.lines(moments, grounded, several=several)
            if not part.is_last and time.monotonic() - said > _SECONDS_BETWEEN_NOTES:
                said = time.monotonic()
                self.display.reporter.say(f"{self.assigner.sentences:,} sentences answered")
        self.report_unmatched()

    def ranked_moments(self, events: Iterable[GroundEvent], grounded: dict[str, None]) -> Iterator[RankedMoment]:
        """Yield the moments of each video as it is grounded, and show all other events.

        Args:
            events: of the grounding.
            grounded: the sentences that were grounded in at least one video are added to it.
        """
        from mttsg_core.inference.ranking import ranked_moments
        from mttsg_core.workflows.ground import VideoGrounded

        for event in events:
            if not isinstance(event, VideoGrounded):
                self.display.show(event)
                continue
            grounded.update(dict.fromkeys(event.queries))
            if event.saliency is not None:
                from mttsg_core.report import GroundedVideo

                saliency = dict(zip(event.queries, event.saliency, strict=True))
                self.videos.append(GroundedVideo(event.video, event.timeline, saliency))
            yield from ranked_moments(event.video, event.queries, event.moments, self.request.threshold)

    def lines(
        self, moments: Iterable[RankedMoment], grounded: Iterable[str], *, several: bool
    ) -> Iterator[Row | NoAnswer]:
        """Yield moments as rows, then the grounded sentences that have none."""
        answered: set[str] = set()
        for ranked in moments:
            answered.add(ranked.query)
            self.found += 1
            if self.keep_moments:
                self.moments.append(ranked)
            label = ranked.video.name.as_posix() if several else ""
            yield Row(str(ranked.video.path), ranked.query, ranked.rank, *ranked.moment, label)
        searched = "any video" if self.request.video.is_dir() else str(self.request.video)
        for query in grounded:
            if query not in answered:
                missing = NoAnswer(query, searched)
                self.display.reporter.say(str(missing))
                yield missing


def run_session(
    request: Request,
    output_options: OutputOptions,
    model: Path | None,
    features: FeatureOptions,
    runtime: RuntimeOptions,
    reporter: Reporter,
) -> None:
    """Ground the sentences and write the outputs.

    Raises:
        MttsgError: if an option cannot be used, or no model, video or sentence can be used.
        typer.Exit: if inputs failed.
    """
    began = time.monotonic()
    require_folders(runtime.cache)
    outputs = plan_outputs(output_options, request.video, reporter)
    if not outputs.any_due:
        return
    from mttsg_core.data.query_parts import QueryAssigner, query_parts

    queries = _read_queries(request.sentences, request.queries_file, reporter)
    if outputs.need_all_moments:
        queries = _at_most(queries, _MAX_QUERIES)
    videos = _find_videos(request.video, reporter, must_exist=features.features is None)
    protect_videos(outputs.files, (video.path for video in videos))
    if request.video.is_dir() and outputs.excerpts is not None:
        videos = _without_excerpts(videos, outputs.excerpts, reporter)
    assigner = QueryAssigner(videos)
    parts = query_parts(queries, assigner, _MAX_QUERIES if outputs.need_all_moments else _PART_QUERIES)
    with EventDisplay(reporter) as display:
        session = Session(request, assigner, display, outputs.need_all_moments)
        part = next(parts, None)
        if part is None:
            session.report_unmatched()
            raise ConfigError("no sentence is about any of the videos")
        _announce(assigner.sentences, part, reporter)
        grounder = load_grounder(model, features, runtime, reporter)
        from mttsg_core.workflows.ground import GroundRun

        run = GroundRun(
            grounder,
            request.top or 1,
            features=features.features,
            workers=runtime.workers,
            with_saliency=outputs.page_due,
        )
        several = len(part.queries) > 1 or (not part.is_last and len(videos) > 1)
        lines = session.answer(run, chain([part], parts), several=several)
        with closing(lines):  # worker processes end here, whatever happens
            first = list(islice(lines, 1))  # where nothing could be read, not even a header is written
            if first:
                outputs.write(session, chain(first, lines), runtime.workers)
    reporter.say(f"{session.summary}, {time.monotonic() - began:.1f} s")
    if display.failed:
        raise typer.Exit(SOME_FAILED if first else UNUSABLE)


def _read_queries(sentences: Sequence[str], file: Path | None, reporter: Reporter) -> Iterator[Query]:
    """Return an iterator over the queries of the command line and of a file.

    Raises:
        ConfigError: if there are none.
        DataError: if the file cannot be opened; the iterator may raise it too.
    """
    from mttsg_core.data.queries import Query

    if any(not sentence.strip() for sentence in sentences):
        raise ConfigError("a sentence must have at least one word")
    if not sentences and file is None:
        raise ConfigError("no sentence: give one after the video, or a file of them with --queries")
    named = (Query(sentence.strip()) for sentence in sentences)
    return named if file is None else chain(named, _read_file(file, reporter))


def _read_file(path: Path, reporter: Reporter) -> Iterator[Query]:
    """Yield the queries of a file, or of standard input, and warn about its bad rows."""
    from mttsg_core.data.queries import Query, stream_queries
    from mttsg_core.utils.json_lines import open_bytes

    bad_rows = BadRows(reporter)
    with nullcontext(sys.stdin.buffer) if str(path) == "-" else open_bytes(path) as file:
        for entry in stream_queries(path, file):
            if isinstance(entry, Query):
                yield entry
            else:
                bad_rows.add(entry)
    bad_rows.report_number()


def _at_most(queries: Iterable[Query], number: int) -> Iterator[Query]:
    """Yield queries. Raises ConfigError if there are more than `number`."""
    for position, query in enumerate(queries):
        if position == number:
            raise ConfigError(f"--html and --clips: at most {number:,} sentences in one run; divide the file")
        yield query


def _announce(sentences: int, part: QueryPart, reporter: Reporter) -> None:
    """Say that there are many sentences."""
    if not part.is_last:
        reporter.say(f"grounding more than {sentences:,} sentences; rows are written in parts")
    elif sentences > _MANY_QUERIES:
        reporter.say(f"grounding {sentences:,} sentences")


def _find_videos(path: Path, reporter: Reporter, *, must_exist: bool) -> list[VideoFile]:
    """Return the videos at a path; with external features, a video file itself need not exist."""
    if must_exist and not path.exists():
        raise VideoNotFoundError(path, "no such file")  # before a model is loaded, or even downloaded
    if not must_exist and not path.is_dir():
        return [VideoFile(path, Path(path.name))]
    return find_videos([path], lambda file: reporter.detail(str(file)))


def _without_excerpts(videos: list[VideoFile], folder: Path, reporter: Reporter) -> list[VideoFile]:
    """Return the videos outside the folder of excerpts, where those of an earlier run may be."""
    searched = [video for video in videos if not is_inside(video.path.parent, folder)]
    if len(searched) < len(videos):
        skipped = count(len(videos) - len(searched), "video")
        reporter.say(f"{folder}: {skipped} not searched, this is the folder of --clips")
    return searched
