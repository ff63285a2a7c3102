"""One run of `mttsg ground`: queries and videos in; rows, a page and excerpts out."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mttsg_cli.console import SOME_FAILED, UNUSABLE, Reporter
from mttsg_cli.display import EventDisplay
from mttsg_cli.ground_outputs import OutputOptions, is_inside, plan_outputs
from mttsg_cli.model_loading import load_grounder
from mttsg_cli.problems import report_problems
from mttsg_cli.writers import NoAnswer, Row
from mttsg_core.errors import ConfigError, DataError, VideoNotFoundError
from mttsg_core.utils.text import count
from mttsg_core.video.discovery import VideoFile, find_videos
from mttsg_core.workflows.options import FeatureOptions, RuntimeOptions
from mttsg_core.workflows.outputs import protect_videos, require_folders

if TYPE_CHECKING:
    from mttsg_core.data.queries import Query
    from mttsg_core.inference.grounder import Grounder
    from mttsg_core.inference.ranking import RankedMoment
    from mttsg_core.report import GroundedVideo
    from mttsg_core.workflows.ground import GroundEvent

_MAX_QUERIES, _MAX_QUERY_BYTES = 100_000, 64 << 20  # of a file: all are in memory, with their moments
_MANY_QUERIES = 2_000  # whose reading and grounding takes a while


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
    """The queries of each video, and what the run has found so far.

    Attributes:
        queries: the sentences of each video.
        display: shows events, and counts failures.
        grounded: the sentences that were grounded in at least one video.
        moments: all that were passed on to the outputs.
        videos: the videos that were grounded, for the page; empty if there is none.
        excerpts: number of excerpts in their folder; None if none are written.
        model: the model that answers, in one line for pages.
        shows_scores: whether scores are shown; those of an uncalibrated model only give the order.
    """

    queries: Mapping[VideoFile, Sequence[str]]
    display: EventDisplay
    grounded: dict[str, None] = field(default_factory=dict)
    moments: list[RankedMoment] = field(default_factory=list)
    videos: list[GroundedVideo] = field(default_factory=list)
    excerpts: int | None = None
    model: str = ""
    shows_scores: bool = True

    @property
    def summary(self) -> str:
        """The counts at the end of a run."""
        sentences = {query for queries in self.queries.values() for query in queries}
        counts = {"video": len(self.queries), "sentence": len(sentences), "moment": len(self.moments)}
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

    def ranked_moments(self, events: Iterable[GroundEvent], threshold: float) -> Iterator[RankedMoment]:
        """Yield the moments of each video as it is grounded, and show all other events."""
        from mttsg_core.inference.ranking import ranked_moments
        from mttsg_core.workflows.ground import VideoGrounded

        for event in events:
            if not isinstance(event, VideoGrounded):
                self.display.show(event)
                continue
            self.grounded.update(dict.fromkeys(event.queries))
            if event.saliency is not None:
                from mttsg_core.report import GroundedVideo

                saliency = dict(zip(event.queries, event.saliency, strict=True))
                self.videos.append(GroundedVideo(event.video, event.timeline, saliency))
            yield from ranked_moments(event.video, event.queries, event.moments, threshold)

    def lines(self, moments: Iterable[RankedMoment], searched: str) -> Iterator[Row | NoAnswer]:
        """Yield moments as rows, then the sentences that have none. `searched` names the video or videos."""
        several = len(self.queries) > 1
        for ranked in moments:
            self.moments.append(ranked)
            label = ranked.video.name.as_posix() if several else ""
            start, end, score = ranked.moment
            shown = score if self.shows_scores else None
            yield Row(str(ranked.video.path), ranked.query, ranked.rank, start, end, shown, label)
        answered = {ranked.query for ranked in self.moments}
        for query in self.grounded:
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
    from mttsg_core.data.queries import assign_queries
    from mttsg_core.inference.ranking import best_over_videos

    queries = _read_queries(request.sentences, request.queries_file, reporter)
    videos = _find_videos(request.video, reporter, must_exist=features.features is None)
    protect_videos(outputs.files, (video.path for video in videos))
    if request.video.is_dir() and outputs.excerpts is not None:
        videos = _without_excerpts(videos, outputs.excerpts, reporter)
    assigned, unmatched = assign_queries(queries, videos)
    with EventDisplay(reporter) as display:
        session = Session(assigned, display)
        if unmatched and assigned and not request.video.is_dir():
            reporter.say(f"{request.video}: sentences about {count(len(unmatched), 'other video')} are left out")
            unmatched = {}
        for name, reason in unmatched.items():
            session.fail(f"{name}: {reason} in {request.video}")
        if not assigned:
            raise ConfigError("no sentence is about any of the videos")
        grounder, session.model = load_grounder(model, [request.video], features, runtime, reporter)
        session.shows_scores = _shows_scores(grounder, request, output_options, reporter)
        from mttsg_core.workflows.ground import iter_ground

        events = iter_ground(
            grounder,
            assigned,
            request.top or 1,
            features=features.features,
            workers=runtime.workers,
            with_saliency=outputs.page_due,
        )
        with closing(events):  # its worker processes end here, whatever happens
            moments = session.ranked_moments(events, request.threshold)
            if request.top is not None and request.video.is_dir():
                moments = iter(best_over_videos(moments, request.top))
            lines = session.lines(moments, "any video" if request.video.is_dir() else str(request.video))
            first = list(islice(lines, 1))  # where nothing could be read, not even a header is written
            if first:
                outputs.write(session, chain(first, lines), runtime.workers)
    reporter.say(f"{session.summary}, {time.monotonic() - began:.1f} s")
    if display.failed:
        raise typer.Exit(SOME_FAILED if first else UNUSABLE)


def _shows_scores(grounder: Grounder, request: Request, outputs: OutputOptions, reporter: Reporter) -> bool:
    """Return whether scores are shown; if not, say so, and which options use them all the same."""
    if grounder.predictor.has_comparable_scores:
        return True
    reporter.warn(
        "the scores of this model are not calibrated (too few validation sentences): they order the answers, and are "
        "not shown"
    )
    used = ["--threshold"] if request.threshold > 0 else []
    if outputs.clip_name is not None and "{score" in outputs.clip_name:
        used.append("{score} in --clip-name")
    if used:
        reporter.warn(f"{' and '.join(used)}: taken as the model's raw scores, which do not compare across videos")
    return False


def _read_queries(sentences: Sequence[str], file: Path | None, reporter: Reporter) -> list[Query]:
    """Return the queries of the command line and of a file. Raises ConfigError or DataError if there are none."""
    from mttsg_core.data.queries import Query, parse_queries
    from mttsg_core.utils.json_lines import read_bytes

    if any(not sentence.strip() for sentence in sentences):
        raise ConfigError("a sentence must have at least one word")
    queries = [Query(sentence.strip()) for sentence in sentences]
    if file is not None:
        size = _MAX_QUERY_BYTES + 1  # a pipe may never end
        content = sys.stdin.buffer.read(size) if str(file) == "-" else read_bytes(file, size)
        if len(content) > _MAX_QUERY_BYTES or content.count(b"\n") > _MAX_QUERIES:
            megabytes = _MAX_QUERY_BYTES >> 20
            raise DataError(f"{file}: at most {_MAX_QUERIES:,} lines and {megabytes} MB in one run; divide the file")
        more, problems = parse_queries(file, content)
        report_problems(reporter, problems)
        queries += more
    if len(queries) > _MANY_QUERIES:
        reporter.say(f"grounding {len(queries):,} sentences")
    if not queries:
        raise ConfigError("no sentence: give one after the video, or a file of them with --queries")
    return queries


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
