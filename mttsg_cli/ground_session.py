"""One run of `mttsg ground`: queries and videos in; rows, a page and excerpts out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mttsg_cli.console import SOME_FAILED, UNUSABLE, Reporter
from mttsg_cli.display import EventDisplay
from mttsg_cli.ground_outputs import OutputOptions, Outputs, plan_outputs
from mttsg_cli.ground_queries import at_most, read_queries
from mttsg_cli.ground_videos import choose_narrowing, filtered, find_searched, open_index, without_excerpts
from mttsg_cli.inputs import Inputs
from mttsg_cli.model_loading import load_grounder
from mttsg_cli.rows import LeftOutTotal, Line, NoAnswer, Row
from mttsg_cli.submission import MOMENTS, of_own_videos
from mttsg_core.errors import ConfigError, DataError
from mttsg_core.utils.text import count
from mttsg_core.video.discovery import VideoFile
from mttsg_core.workflows.options import FeatureOptions, RuntimeOptions
from mttsg_core.workflows.outputs import protect_videos, require_folders

if TYPE_CHECKING:
    from mttsg_core.data.queries import Query
    from mttsg_core.data.query_parts import QueryAssigner, QueryPart
    from mttsg_core.inference.excerpts import ExcerptFailed
    from mttsg_core.inference.grounder import Grounder
    from mttsg_core.inference.ranking import LeftOut, RankedMoment, Selection
    from mttsg_core.moments import Timeline
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
        inputs: the videos, and sentences of the command line.
        queries_file: more sentences; - is standard input.
        top: number of moments per sentence, of a video or over all videos; None for the best one of each video.
        show_all: whether every video answers, rather than the best of several.
        threshold: moments with a lower score are left out; None for a choice that suits one video or several.
        duration: seconds of videos of which only external features are at hand; None if their data folder states them.
        zero_shot: answer without training, even where a trained model fits.
        exhaustive: ask every sentence of all videos, however many.
        below: only videos in this folder; None for all.
        since: only videos that were changed then or later; None for all.
    """

    inputs: Inputs
    queries_file: Path | None
    top: int | None
    show_all: bool
    threshold: float | None
    duration: float | None = None
    zero_shot: bool = False
    exhaustive: bool = False
    below: Path | None = None
    since: datetime | None = None

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
    """What the run has found so far.

    Attributes:
        request: what to ground, and in which videos.
        assigner: of the queries to the videos.
        display: shows events, and counts failures.
        keep_moments: whether an output needs all moments at once, and where each video begins and ends.
        tell: whether to say what has no row on standard error, because the output does not show it.
        found: number of moments that were passed on to the outputs.
        left_out: number of moments that were not.
        moments: all that were passed on, with `keep_moments`.
        timelines: of the videos, with `keep_moments`.
        best: the first moment that was passed on: the best one of the first sentence that has any.
        videos: the videos that were grounded, for the page; empty if there is none.
        excerpts: number of excerpts in their folder; None if none are written.
        passed_over: number of files in folders that turned out not to be videos.
        model: the model that answers, in one line for pages.
        made: lines for pages on how they are made.
        shows_scores: whether scores are shown; those of an uncalibrated model only give the order.
        queries: all of them in order, where a submission is made of them.
    """

    request: Request
    assigner: QueryAssigner
    display: EventDisplay
    keep_moments: bool
    tell: bool
    found: int = 0
    left_out: LeftOutTotal = field(default_factory=LeftOutTotal)
    moments: list[RankedMoment] = field(default_factory=list)
    timelines: dict[VideoFile, Timeline] = field(default_factory=dict)
    best: RankedMoment | None = None
    videos: list[GroundedVideo] = field(default_factory=list)
    excerpts: int | None = None
    passed_over: int = 0
    model: str = ""
    made: Sequence[str] = ()
    shows_scores: bool = True
    queries: Sequence[Query] = ()

    @property
    def summary(self) -> str:
        """The counts at the end of a run."""
        videos = len(self.assigner.asked) - self.passed_over
        counts = {"video": videos, "sentence": self.assigner.sentences, "moment": self.found}
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

    def fail_excerpt(self, failure: ExcerptFailed) -> None:
        """Report a moment that could not be cut out."""
        start, end, _ = failure.excerpt.moment
        self.fail(f"{failure.excerpt.video}: {start:.3f} to {end:.3f} s cannot be cut: {failure.reason}")

    def report_unmatched(self) -> None:
        """Report sentences about videos that are not among those given; of single videos, others are not expected."""
        unmatched, inputs = self.assigner.unmatched, self.request.inputs
        if unmatched and self.assigner.asked and not inputs.have_folder:
            others = count(len(unmatched), "other video")
            self.display.reporter.say(f"{inputs}: sentences about {others} are left out")
        else:
            for name, reason in unmatched.items():
                self.fail(f"{name}: {reason} in {inputs}")
        unmatched.clear()

    def answer(self, run: GroundRun, parts: Iterable[QueryPart]) -> Generator[Line, None, None]:
        """Yield the lines of one part of the queries after the other."""
        said = time.monotonic()
        for part in parts:
            if self.request.inputs.have_folder:
                self.report_unmatched()
            grounded: dict[str, None] = {}
            with closing(run.iter_part(part.queries, is_last=part.is_last)) as events:
                moments = self.select(self.ranked_moments(events, grounded), part.own_video)
                yield from self.lines(moments, grounded)
            if not part.is_last and time.monotonic() - said > _SECONDS_BETWEEN_NOTES:
                said = time.monotonic()
                self.display.reporter.say(f"{self.assigner.sentences:,} sentences answered")
        self.report_unmatched()
        if self.tell and self.left_out.number:
            self.display.reporter.say(str(self.left_out))

    def ranked_moments(self, events: Iterable[GroundEvent], grounded: dict[str, None]) -> Iterator[RankedMoment]:
        """Yield the moments of each video as it is grounded, and show all other events.

        Args:
            events: of the grounding.
            grounded: the sentences that were grounded in at least one video are added to it.
        """
        from mttsg_core.features.extraction import ExtractionPassedOver
        from mttsg_core.inference.ranking import ranked_moments
        from mttsg_core.workflows.ground import VideoGrounded, VideoPassedOver

        for event in events:
            if not isinstance(event, VideoGrounded):
                self.passed_over += isinstance(event, ExtractionPassedOver | VideoPassedOver)
                self.display.show(event)
                continue
            grounded.update(dict.fromkeys(event.queries))
            if self.keep_moments:
                self.timelines[event.video] = event.timeline
            if event.saliency is not None:
                from mttsg_core.report import GroundedVideo

                saliency = dict(zip(event.queries, event.saliency, strict=True))
                self.videos.append(GroundedVideo(event.video, event.timeline, saliency))
            yield from ranked_moments(event.video, event.queries, event.moments, self.request.threshold or 0.0)

    def select(self, moments: Iterable[RankedMoment], own_video: Collection[str]) -> Iterable[RankedMoment | LeftOut]:
        """Return the answers: as they come for a single video, best first over several.

        Args:
            moments: of all videos.
            own_video: sentences that are each asked of a video of their own.
        """
        from mttsg_core.inference.ranking import LeftOut, select_moments

        selection = self.request.selection
        if selection is not None and not self.shows_scores:
            selection = replace(selection, weak_below=None)
        if selection is None:
            return moments
        selected = select_moments(moments, selection, own_video=own_video)
        if self.request.top is None:
            return selected
        return (ranked for ranked in selected if not isinstance(ranked, LeftOut))

    def lines(self, moments: Iterable[RankedMoment | LeftOut], grounded: Iterable[str]) -> Iterator[Line]:
        """Yield moments as rows, how many of a sentence are left out, and the grounded sentences that have none."""
        from mttsg_core.inference.ranking import LeftOut

        several = self.request.inputs.are_searched
        answered: set[str] = set()
        for ranked in moments:
            if isinstance(ranked, LeftOut):
                self.left_out.add(ranked)
                yield ranked
                continue
            answered.add(ranked.query)
            self.found += 1
            self.best = self.best or ranked
            if self.keep_moments:
                self.moments.append(ranked)
            label = self._labels[ranked.video] if several else ""
            start, end, score = ranked.moment
            shown = score if self.shows_scores else None
            yield Row(str(ranked.video.path), ranked.query, ranked.rank, start, end, shown, label)
        searched = "any video" if several else str(self.request.inputs)
        for query in grounded:
            if query not in answered:
                missing = NoAnswer(query, searched, several)
                if self.tell:
                    self.display.reporter.say(str(missing))
                yield missing

    @cached_property
    def _labels(self) -> dict[VideoFile, str]:
        """The name of each video for readers: below the folder that was searched, if that tells it from the others."""
        videos = self.assigner.videos
        names = Counter(video.name for video in videos)
        return {video: video.name.as_posix() if names[video.name] == 1 else video.path.as_posix() for video in videos}


def run_session(
    request: Request,
    output_options: OutputOptions,
    model: Path | None,
    features: FeatureOptions,
    runtime: RuntimeOptions,
    reporter: Reporter,
    command: Sequence[str],
) -> None:
    """Ground the sentences and write the outputs. `command` has the words of the command line, for pages.

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
        outputs.show_page(reporter)
        return
    from mttsg_core.data.query_parts import QueryAssigner, query_parts

    queries = read_queries(request.inputs, request.queries_file, reporter)
    if outputs.need_all_moments:
        queries = at_most(queries, _MAX_QUERIES)
    submitted = list(of_own_videos(queries, outputs.form)) if outputs.is_submission else []
    index = None
    if request.inputs.index is not None:
        index = open_index(request.inputs.index, model, features, runtime, reporter, zero_shot=request.zero_shot)
        videos = index.videos(request.below, request.since)
    else:
        videos = find_searched(request.inputs, reporter, must_exist=features.features is None)
        videos = filtered(videos, request.below, request.since)
    protect_videos(outputs.files, (video.path for video in videos))
    if outputs.excerpts is not None:
        videos = without_excerpts(videos, outputs.excerpts, reporter)
    assigner = QueryAssigner(videos)
    parts = query_parts(submitted or queries, assigner, _MAX_QUERIES if outputs.need_all_moments else _PART_QUERIES)
    with EventDisplay(reporter) as display:
        session = Session(request, assigner, display, outputs.need_all_moments, outputs.only_rows, queries=submitted)
        part = next(parts, None)
        if part is None:
            session.report_unmatched()
            raise ConfigError("no sentence is about any of the videos")
        _announce(assigner.sentences, part, reporter)
        if index is not None:
            grounder, session.model = index.library.grounder, index.model
        else:
            grounder, session.model = load_grounder(
                model, request.inputs.videos, features, runtime, reporter, zero_shot=request.zero_shot
            )
        session.shows_scores = _shows_scores(grounder, request, output_options, reporter)
        from mttsg_core.workflows.answers import Clock
        from mttsg_core.workflows.ground import GroundRun

        session.made = Clock.start(command, str(grounder.device)).computation.lines

        run = GroundRun(
            grounder,
            request.top or (MOMENTS if outputs.is_submission else 1),
            features=features.features,
            duration=request.duration,
            workers=runtime.workers,
            with_saliency=outputs.need_saliency,
            narrowing=None if request.exhaustive else choose_narrowing(request.selection, grounder, index),
        )
        any_found = _write(session, session.answer(run, chain([part], parts)), outputs, runtime.workers)
        if not any_found and session.passed_over and not display.failed:
            raise DataError(f"no video files in {request.inputs}; --verbose says what was passed over")
    reporter.say(f"{session.summary}, {time.monotonic() - began:.1f} s")
    outputs.show_page(reporter)
    if not outputs.play_best(session) or display.failed:
        raise typer.Exit(SOME_FAILED if any_found else UNUSABLE)


def _write(session: Session, lines: Generator[Line, None, None], outputs: Outputs, workers: int | None) -> bool:
    """Write the outputs, unless nothing could be read: then not even a header is written. Return whether it could."""
    with closing(lines):  # worker processes end here, whatever happens
        first = list(islice(lines, 1))
        if first:
            outputs.write(session, chain(first, lines), workers)
    return bool(first)


def _shows_scores(grounder: Grounder, request: Request, outputs: OutputOptions, reporter: Reporter) -> bool:
    """Return whether scores are shown; if not, say so, and which options use them all the same."""
    if grounder.predictor.has_comparable_scores:
        return True
    reporter.warn(
        "the scores of this model are not calibrated (too few validation sentences): they order the answers, and are "
        "not shown"
    )
    used = ["--threshold"] if request.threshold else []
    if outputs.clip_name is not None and "{score" in outputs.clip_name:
        used.append("{score} in --clip-name")
    if used:
        reporter.warn(f"{' and '.join(used)}: taken as the model's raw scores, which do not compare across videos")
    return False


def _announce(sentences: int, part: QueryPart, reporter: Reporter) -> None:
    """Say that there are many sentences."""
    if not part.is_last:
        reporter.say(f"grounding more than {sentences:,} sentences; rows are written in parts")
    elif sentences > _MANY_QUERIES:
        reporter.say(f"grounding {sentences:,} sentences")
