"""One run of `mttsg ground`: queries and videos in; rows, a page and excerpts out."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mttsg_cli.console import SOME_FAILED, UNUSABLE, Reporter
from mttsg_cli.display import EventDisplay
from mttsg_cli.ground_outputs import OutputOptions, Outputs, is_inside, plan_outputs
from mttsg_cli.inputs import Inputs
from mttsg_cli.model_loading import load_grounder
from mttsg_cli.options import report_problems
from mttsg_cli.rows import Line, NoAnswer, Row
from mttsg_core.errors import ConfigError, DataError
from mttsg_core.utils.text import count
from mttsg_core.video.discovery import VideoFile, find_videos
from mttsg_core.workflows.options import FeatureOptions, RuntimeOptions
from mttsg_core.workflows.outputs import protect_videos, require_folders

if TYPE_CHECKING:
    from mttsg_core.data.queries import Query
    from mttsg_core.inference.ranking import LeftOut, RankedMoment, Selection
    from mttsg_core.report import GroundedVideo
    from mttsg_core.workflows.ground import GroundEvent

_MAX_QUERIES, _MAX_QUERY_BYTES = 100_000, 64 << 20  # of a file: all are in memory, with their moments
_MANY_QUERIES = 2_000  # whose reading and grounding takes a while


@dataclass(frozen=True)
class Request:
    """What to ground, and in which videos.

    Attributes:
        inputs: the videos, and sentences of the command line.
        queries_file: more sentences; - is standard input.
        top: number of moments per sentence, of a video or over all videos; None for the best one of each video.
        show_all: whether every video answers, rather than the best of several.
        threshold: moments with a lower score are left out; None for a choice that suits one video or several.
        duration: seconds of videos of which only external features are at hand; None if their data folder states them.
    """

    inputs: Inputs
    queries_file: Path | None
    top: int | None
    show_all: bool
    threshold: float | None
    duration: float | None = None

    @property
    def selection(self) -> Selection | None:
        """Which moments of several videos are answers; None for all of them, as for a single video."""
        from mttsg_core.inference.ranking import Selection

        if not self.inputs.are_searched:
            return None
        if self.show_all:
            return Selection(top=None, weak_below=None)
        if self.top is not None:
            return Selection(self.top, weak_below=None)
        return Selection() if self.threshold is None else Selection(weak_below=None)


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
        passed_over: number of files in folders that turned out not to be videos.
    """

    queries: Mapping[VideoFile, Sequence[str]]
    display: EventDisplay
    grounded: dict[str, None] = field(default_factory=dict)
    moments: list[RankedMoment] = field(default_factory=list)
    videos: list[GroundedVideo] = field(default_factory=list)
    excerpts: int | None = None
    passed_over: int = 0

    @property
    def summary(self) -> str:
        """The counts at the end of a run."""
        videos = len(self.queries) - self.passed_over
        counts = {"video": videos, "sentence": len(self.sentences), "moment": len(self.moments)}
        if self.excerpts is not None:
            counts["excerpt"] = self.excerpts
        return ", ".join([*(count(number, noun) for noun, number in counts.items()), f"{self.display.failed} failed"])

    @cached_property
    def sentences(self) -> frozenset[str]:
        """All sentences."""
        return frozenset(query for queries in self.queries.values() for query in queries)

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
        from mttsg_core.features.extraction import ExtractionPassedOver
        from mttsg_core.inference.ranking import ranked_moments
        from mttsg_core.workflows.ground import VideoGrounded, VideoPassedOver

        for event in events:
            if not isinstance(event, VideoGrounded):
                self.passed_over += isinstance(event, ExtractionPassedOver | VideoPassedOver)
                self.display.show(event)
                continue
            self.grounded.update(dict.fromkeys(event.queries))
            if event.saliency is not None:
                from mttsg_core.report import GroundedVideo

                saliency = dict(zip(event.queries, event.saliency, strict=True))
                self.videos.append(GroundedVideo(event.video, event.timeline, saliency))
            yield from ranked_moments(event.video, event.queries, event.moments, threshold)

    def lines(self, moments: Iterable[RankedMoment | LeftOut], searched: str | None, *, tell: bool) -> Iterator[Line]:
        """Yield moments as rows, how many of a sentence are left out, and the sentences that have none.

        Args:
            moments: the answers.
            searched: the video; None for several.
            tell: whether to say what has no row on standard error, because the output does not show it.
        """
        from mttsg_core.inference.ranking import LeftOut

        left_out: list[LeftOut] = []
        for ranked in moments:
            if isinstance(ranked, LeftOut):
                left_out.append(ranked)
                yield ranked
                continue
            self.moments.append(ranked)
            label = "" if searched is not None else self._labels[ranked.video]
            yield Row(str(ranked.video.path), ranked.query, ranked.rank, *ranked.moment, label)
        answered = {ranked.query for ranked in self.moments}
        for query in self.grounded:
            if query not in answered:
                missing = NoAnswer(query, searched or "any video", searched is None)
                if tell:
                    self.display.reporter.say(str(missing))
                yield missing
        if tell and left_out:
            self.display.reporter.say(_describe_left_out(left_out))

    @cached_property
    def _labels(self) -> dict[VideoFile, str]:
        """The name of each video for readers: below the folder that was searched, if that tells it from the others."""
        names = Counter(video.name for video in self.queries)
        return {
            video: video.name.as_posix() if names[video.name] == 1 else video.path.as_posix() for video in self.queries
        }


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
    for hint in request.inputs.hints:
        reporter.say(f"hint: {hint}")
    require_folders(runtime.cache)
    outputs = plan_outputs(output_options, request.inputs, reporter)
    if not outputs.any_due:
        return
    from mttsg_core.data.queries import assign_queries

    queries = _read_queries(request.inputs, request.queries_file, reporter)
    videos = _find_videos(request.inputs, reporter, must_exist=features.features is None)
    protect_videos(outputs.files, (video.path for video in videos))
    if outputs.excerpts is not None:
        videos = _without_excerpts(videos, outputs.excerpts, reporter)
    assigned, unmatched = assign_queries(queries, videos)
    with EventDisplay(reporter) as display:
        session = Session(assigned, display)
        _report_unmatched(session, unmatched, request.inputs)
        if not assigned:
            raise ConfigError("no sentence is about any of the videos")
        grounder = load_grounder(model, features, runtime, reporter)
        from mttsg_core.workflows.ground import iter_ground

        events = iter_ground(
            grounder,
            assigned,
            request.top or 1,
            features=features.features,
            duration=request.duration,
            workers=runtime.workers,
            with_saliency=outputs.page_due,
        )
        with closing(events):  # its worker processes end here, whatever happens
            asked_of_all = {query.text for query in queries if query.video is None}
            lines = _answer(session, request, events, outputs, asked_of_all)
            first = list(islice(lines, 1))  # where nothing could be read, not even a header is written
            if first:
                outputs.write(session, chain(first, lines), runtime.workers)
        if not first and session.passed_over and not display.failed:
            raise DataError(f"no video files in {request.inputs}; --verbose says what was passed over")
    reporter.say(f"{session.summary}, {time.monotonic() - began:.1f} s")
    if display.failed:
        raise typer.Exit(SOME_FAILED if first else UNUSABLE)


def _answer(
    session: Session, request: Request, events: Iterable[GroundEvent], outputs: Outputs, asked_of_all: Collection[str]
) -> Iterator[Line]:
    """Return the lines of the answers: as they come for a single video, best first over several."""
    from mttsg_core.inference.ranking import LeftOut, select_moments

    ranked = session.ranked_moments(events, request.threshold or 0.0)
    moments: Iterable[RankedMoment | LeftOut] = ranked
    if request.selection is not None:
        own_video = session.sentences.difference(asked_of_all)
        moments = select_moments(ranked, request.selection, own_video=own_video)
        if request.top is not None:
            moments = (moment for moment in moments if not isinstance(moment, LeftOut))
    searched = None if request.inputs.are_searched else str(request.inputs)
    return session.lines(moments, searched, tell=outputs.form != "table" or outputs.out is not None)


def _describe_left_out(left_out: Sequence[LeftOut]) -> str:
    """Return how many answers are left out, for one sentence or for all together."""
    if len(left_out) == 1:
        return f"{left_out[0]}: --all"
    number, weak = sum(item.number for item in left_out), sum(item.weak for item in left_out)
    return f"{number:,} more answers of {len(left_out):,} sentences, {weak:,} of them weak: --all"


def _report_unmatched(session: Session, unmatched: Mapping[str, str], inputs: Inputs) -> None:
    """Report sentences about videos that are not among those given; of single videos, others are not expected."""
    if unmatched and session.queries and not any(path.is_dir() for path in inputs.videos):
        others = count(len(unmatched), "other video")
        session.display.reporter.say(f"{inputs}: sentences about {others} are left out")
        return
    for name, reason in unmatched.items():
        session.fail(f"{name}: {reason} in {inputs}")


def _read_queries(inputs: Inputs, file: Path | None, reporter: Reporter) -> list[Query]:
    """Return the queries of the command line and of a file. Raises ConfigError or DataError if there are none."""
    from mttsg_core.data.queries import Query, parse_queries
    from mttsg_core.utils.json_lines import read_bytes

    if any(not sentence.strip() for sentence in inputs.sentences):
        raise ConfigError("a sentence must have at least one word")
    queries = [Query(sentence.strip()) for sentence in inputs.sentences]
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
        hint = "; what exists is taken for a video: put -- before the sentences" if len(inputs.videos) > 1 else ""
        raise ConfigError(f"no sentence: give one after the video, or a file of them with --queries{hint}")
    return queries


def _find_videos(inputs: Inputs, reporter: Reporter, *, must_exist: bool) -> list[VideoFile]:
    """Return the videos that are named or in folders; with external features, a video file itself need not exist."""
    if not must_exist and not inputs.are_searched:
        return [VideoFile(path, Path(path.name)) for path in inputs.videos]
    return find_videos(inputs.videos, lambda file: reporter.detail(str(file)))


def _without_excerpts(videos: list[VideoFile], folder: Path, reporter: Reporter) -> list[VideoFile]:
    """Return the videos outside the folder of excerpts, except those named: excerpts of earlier versions are there."""
    searched = [video for video in videos if not video.from_folder or not is_inside(video.path.parent, folder)]
    if len(searched) < len(videos):
        skipped = count(len(videos) - len(searched), "video")
        reporter.say(f"{folder}: {skipped} not searched, this is the folder of --clips")
    return searched
