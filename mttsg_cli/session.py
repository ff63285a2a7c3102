"""One run of `mttsg ground`: the videos are read, the sentences asked, and what came of it goes to each output."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mttsg_cli.console import Reporter
from mttsg_cli.extract import extracting
from mttsg_cli.output import Absent, Row, save
from mttsg_core.videofiles import VideoFile

if TYPE_CHECKING:
    from mttsg_core.answers import Answer
    from mttsg_core.clips import ClipNames
    from mttsg_core.features import VideoFeatures
    from mttsg_core.grounding import Grounder
    from mttsg_core.report import AskedVideo


@dataclass
class Session:
    """What is asked, and what has come of it.

    Attributes:
        asked: the sentences of each video.
        reporter: is told of each failure.
        failed: how many failures there were.
        heard: the sentences asked of a video that could be read.
        answers: all that were given out.
        videos: those that were read, where a page of them is wanted.
        clips: how many lie in their folder, None if nobody wants them.
    """

    asked: Mapping[VideoFile, list[str]]
    reporter: Reporter
    failed: int = 0
    heard: dict[str, None] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    videos: list[AskedVideo] = field(default_factory=list)
    clips: int | None = None

    @property
    def figures(self) -> str:
        """The line at the end, but for the time."""
        sentences = {query for queries in self.asked.values() for query in queries}
        clips = "" if self.clips is None else f"{self.clips} clips, "
        return (
            f"{len(self.asked)} videos, {len(sentences)} sentences, {len(self.answers)} moments, {clips}"
            f"{self.failed} failed"
        )

    def fail(self, line: str) -> None:
        """An input failed."""
        self.failed += 1
        self.reporter.error(line)

    def extract(self, grounder: Grounder, workers: int | None) -> Iterator[tuple[VideoFile, VideoFeatures]]:
        """Videos and their features in the order asked, each as soon as it and those before it are read."""
        from mttsg_core.extraction import Extracted, Job
        from mttsg_core.features import read_features

        targets: dict[VideoFile, Path] = {}
        for video in self.asked:
            try:
                targets[video] = grounder.cache.path(video.path, grounder.fingerprint)
            except OSError as error:
                self.fail(f"{video.path}: {(error.strerror or str(error)).lower()}")
        waiting = deque(targets)
        ready: dict[Path, bool] = {}
        todo = [Job(video.path, target) for video, target in targets.items()]
        for event in extracting(todo, grounder.extraction_settings(), self.reporter, workers=workers):
            ready[event.job.video] = isinstance(event, Extracted)
            self.failed += not ready[event.job.video]  # the line was said already
            while waiting and waiting[0].path in ready:
                video = waiting.popleft()
                if ready[video.path]:
                    yield video, read_features(targets[video])

    def find_features(self, folder: Path) -> Iterator[tuple[VideoFile, VideoFeatures]]:
        """Videos and their features in a folder; the video files themselves need not be there."""
        from mttsg_core.errors import FeatureError, VideoError
        from mttsg_core.features import FeatureStore
        from mttsg_core.lookup import FeatureIndex
        from mttsg_core.video import probe

        index = FeatureIndex(folder)
        for video in self.asked:
            found = index.find([str(video.name), video.name.stem])
            if found is None or found.path is None:
                self.fail(f"{video.path}: no features in {folder}")
                continue
            try:
                durations = {found.key: probe(video.path).duration} if video.path.is_file() else {}
                yield video, FeatureStore({found.key: found.path}, durations).load(found.key)
            except (FeatureError, VideoError) as error:
                self.fail(str(error))

    def ground(
        self,
        grounder: Grounder,
        read: Iterable[tuple[VideoFile, VideoFeatures]],
        top: int,
        threshold: float,
        *,
        with_curves: bool,
    ) -> Iterator[Answer]:
        """The answers of each video as it is read."""
        from mttsg_core.answers import answers_of
        from mttsg_core.errors import FeatureError

        for video, features in read:
            queries = self.asked[video]
            try:
                moments = grounder.ground_features(features, queries, top)
            except FeatureError as error:
                self.fail(f"{video.path}: {error}")
                continue
            self.heard.update(dict.fromkeys(queries))
            if with_curves:
                from mttsg_core.report import AskedVideo

                curves = dict(zip(queries, grounder.curves(features, queries), strict=True))
                self.videos.append(AskedVideo(video, features.timeline, curves))
            yield from answers_of(video, queries, moments, threshold)

    def lines(self, found: Iterable[Answer], where: str) -> Iterator[Row | Absent]:
        """Answers as rows, then the sentences that none of them answers."""
        for answer in found:
            self.answers.append(answer)
            yield Row(str(answer.video.path), answer.query, answer.rank, *answer.moment)
        answered = {answer.query for answer in self.answers}
        for query in self.heard:
            if query not in answered:
                absent = Absent(query, where)
                self.reporter.say(str(absent))
                yield absent


def write_page(session: Session, path: Path) -> None:
    """Write the page of the answers that were given out."""
    from mttsg_core.report import moments_page

    content = moments_page(session.videos, session.answers, path).encode("utf-8")
    save(path, lambda part: part.write_bytes(content))


def write_clips(session: Session, folder: Path, names: ClipNames, workers: int | None, *, overwrite: bool) -> None:
    """Cut the answers that were given out; each failure is an error line."""
    from mttsg_core.clips import ClipFailed, cut_clips, plan_clips
    from mttsg_core.extraction import default_workers

    clips = plan_clips(session.answers, list(session.asked), folder, names)
    session.clips = kept = 0
    with session.reporter.progress(len(clips), "Cutting clips") as bar:
        for event in cut_clips(clips, workers=workers or default_workers(), overwrite=overwrite):
            if isinstance(event, ClipFailed):
                start, end, _ = event.clip.moment
                session.fail(f"{event.clip.video}: {start:.3f} to {end:.3f} s cannot be cut: {event.reason}")
            else:
                session.clips += 1
                kept += event.kept
                session.reporter.detail(f"{event.clip.target}: {'is there already' if event.kept else 'written'}")
            bar.advance()
    if kept:
        session.reporter.say(f"{folder}: {kept} clips are there already, skipped; --overwrite makes them anew")
