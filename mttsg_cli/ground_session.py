"""One run of `mttsg ground`: the videos are read, the sentences asked, and what came of it goes to each output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mttsg_cli.commands.extract import extracting
from mttsg_cli.console import Reporter
from mttsg_cli.writers import NoAnswer, Row, save
from mttsg_core.utils.text import count
from mttsg_core.video.discovery import VideoFile

if TYPE_CHECKING:
    from mttsg_core.features.extraction import ExtractionSettings
    from mttsg_core.features.store import VideoFeatures
    from mttsg_core.inference.excerpts import ExcerptNames
    from mttsg_core.inference.grounder import Grounder
    from mttsg_core.inference.ranking import RankedMoment
    from mttsg_core.moments import Moment
    from mttsg_core.report import GroundedVideo

ReadVideo: TypeAlias = "tuple[VideoFile, VideoFeatures]"

_AT_ONCE = 16  # videos whose features are there; more together take no less time


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
    answers: list[RankedMoment] = field(default_factory=list)
    videos: list[GroundedVideo] = field(default_factory=list)
    clips: int | None = None

    @property
    def figures(self) -> str:
        """The line at the end, but for the time."""
        sentences = {query for queries in self.asked.values() for query in queries}
        done = {"video": len(self.asked), "sentence": len(sentences), "moment": len(self.answers)}
        if self.clips is not None:
            done["clip"] = self.clips
        return ", ".join([*(count(number, thing) for thing, number in done.items()), f"{self.failed} failed"])

    @property
    def is_whole(self) -> bool:
        """Whether nothing has failed so far."""
        return not self.failed

    def fail(self, line: str) -> None:
        """An input failed."""
        self.failed += 1
        self.reporter.error(line)

    def extract(self, grounder: Grounder, workers: int | None) -> Iterator[list[ReadVideo]]:
        """Videos and their features in the order asked, each as soon as it and those before it are read.

        Only what is not in the cache is extracted. Those that are there come some at a time.
        """
        from mttsg_core.errors import VideoError

        settings = grounder.extraction_settings()
        targets: dict[VideoFile, Path] = {}
        for video in self.asked:
            try:
                targets[video] = grounder.cache.path(video.path, grounder.fingerprint)
            except OSError as error:
                self.fail(f"{video.path}: {(error.strerror or str(error)).lower()}")
        missing = {video: target for video, target in targets.items() if not target.is_file()}
        extraction = self._extracted(missing, settings, workers)
        went_well = dict.fromkeys(targets.keys() - missing.keys(), True)
        batch: list[ReadVideo] = []
        for video, target in targets.items():
            if len(batch) == _AT_ONCE or video not in went_well:
                yield batch
                batch = []
            while video not in went_well:
                went_well.update([next(extraction)])
            if not went_well[video]:
                continue
            try:
                batch.append((video, _read(target, video, grounder)))
            except VideoError as error:
                self.fail(str(error))
        yield batch

    def _extracted(
        self, targets: Mapping[VideoFile, Path], settings: ExtractionSettings, workers: int | None
    ) -> Iterator[tuple[VideoFile, bool]]:
        """Extract videos; yields whether each went well, in the order in which they finish."""
        from mttsg_core.features.extraction import Extracted, ExtractionJob

        videos = {video.path: video for video in targets}
        jobs = [ExtractionJob(video.path, target) for video, target in targets.items()]
        for event in extracting(jobs, settings, self.reporter, workers=workers):
            self.failed += not isinstance(event, Extracted)  # the line was said already
            yield videos[event.job.video], isinstance(event, Extracted)

    def find_features(self, folder: Path) -> Iterator[list[ReadVideo]]:
        """Videos and their features in a folder, one at a time; the video files themselves need not be there."""
        from mttsg_core.data.file_index import FeatureIndex
        from mttsg_core.errors import FeatureError, VideoError
        from mttsg_core.features.store import FeatureStore
        from mttsg_core.utils.files import without_suffix
        from mttsg_core.video import probe
        from mttsg_core.video.discovery import VIDEO_SUFFIXES

        index = FeatureIndex(folder)
        stems = Counter(video.name.stem for video in self.asked)
        for video in self.asked:
            name = video.name.as_posix()
            names = [name, without_suffix(name, VIDEO_SUFFIXES)]
            found = index.find([*names, video.name.stem] if stems[video.name.stem] == 1 else names)
            if found is None or found.path is None:
                reason = f"no features in {folder}" if found is None else found.reason
                self.fail(f"{video.path}: {reason}")
                continue
            try:
                durations = {found.key: probe(video.path).duration} if video.path.is_file() else {}
                yield [(video, FeatureStore({found.key: found.path}, durations).load(found.key))]
            except (FeatureError, VideoError) as error:
                self.fail(str(error))

    def ground(
        self,
        grounder: Grounder,
        read: Iterable[list[ReadVideo]],
        top: int,
        threshold: float,
        *,
        with_saliency: bool,
    ) -> Iterator[RankedMoment]:
        """The answers of each video as it is read."""
        from mttsg_core.inference.ranking import ranked_moments

        for batch in read:
            for (video, features), moments in zip(batch, self._moments(grounder, batch, top), strict=True):
                if moments is None:
                    continue
                queries = self.asked[video]
                self.heard.update(dict.fromkeys(queries))
                if with_saliency:
                    from mttsg_core.report import GroundedVideo

                    saliency = dict(zip(queries, grounder.saliency(features, queries), strict=True))
                    self.videos.append(GroundedVideo(video, features.timeline, saliency))
                yield from ranked_moments(video, queries, moments, threshold)

    def _moments(self, grounder: Grounder, batch: list[ReadVideo], top: int) -> list[list[list[Moment]] | None]:
        """Of each video the moments of each sentence; None of one that failed, which costs no other."""
        from mttsg_core.errors import FeatureError

        try:
            return [*grounder.ground_many(((features, self.asked[video]) for video, features in batch), top)]
        except FeatureError as error:
            if len(batch) > 1:
                return [moments for one in batch for moments in self._moments(grounder, [one], top)]
            self.fail(f"{batch[0][0].path}: {error}")
            return [None]

    def lines(self, found: Iterable[RankedMoment], where: str) -> Iterator[Row | NoAnswer]:
        """Answers as rows, then the sentences that none of them answers."""
        several = len(self.asked) > 1
        for answer in found:
            self.answers.append(answer)
            label = answer.video.name.as_posix() if several else ""
            yield Row(str(answer.video.path), answer.query, answer.rank, *answer.moment, label)
        answered = {answer.query for answer in self.answers}
        for query in self.heard:
            if query not in answered:
                absent = NoAnswer(query, where)
                self.reporter.say(str(absent))
                yield absent


def _read(target: Path, video: VideoFile, grounder: Grounder) -> VideoFeatures:
    """Features in the cache; a damaged file is made anew. Raises VideoError if that fails."""
    from mttsg_core.errors import FeatureError
    from mttsg_core.features.store import read_features

    try:
        return read_features(target)
    except FeatureError:
        return grounder.features_of(video.path)


def write_page(session: Session, path: Path) -> None:
    """Write the page of the answers that were given out."""
    from mttsg_core.report import render_moments_page

    content = render_moments_page(session.videos, session.answers, path).encode("utf-8")
    save(path, lambda part: part.write_bytes(content), is_whole=lambda: session.is_whole)


def write_excerpts(
    session: Session, folder: Path, names: ExcerptNames, workers: int | None, *, overwrite: bool
) -> None:
    """Cut the answers that were given out; each failure is an error line."""
    from mttsg_core.features.extraction import default_workers
    from mttsg_core.inference.excerpts import ExcerptFailed, cut_excerpts, plan_excerpts

    clips = plan_excerpts(session.answers, list(session.asked), folder, names)
    session.clips = kept = 0
    with session.reporter.progress(len(clips), "Cutting clips") as bar:
        for event in cut_excerpts(clips, workers=workers or default_workers(), overwrite=overwrite):
            if isinstance(event, ExcerptFailed):
                start, end, _ = event.clip.moment
                session.fail(f"{event.clip.video}: {start:.3f} to {end:.3f} s cannot be cut: {event.reason}")
            else:
                session.clips += 1
                kept += event.kept
                session.reporter.detail(f"{event.clip.target}: {'is there already' if event.kept else 'written'}")
            bar.advance()
    if kept:
        session.reporter.say(f"{folder}: {count(kept, 'clip')} there already, skipped; --overwrite makes all anew")
