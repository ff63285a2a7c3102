"""Excerpts: predicted moments cut out as video files, with names that are safe on every system.

Each excerpt is cut in a worker process, so that a decoder that crashes or hangs on a file costs only that excerpt. It
appears under its name when it is complete, whatever other processes write into the same folder.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from mttsg_core.errors import ConfigError, UnsupportedVideoError, VideoError
from mttsg_core.inference.ranking import RankedMoment
from mttsg_core.moments import Moment, Timeline
from mttsg_core.utils.atomic import collect_parts, write_atomically
from mttsg_core.utils.processes import WorkerLost, run_in_workers
from mttsg_core.utils.text import os_reason
from mttsg_core.video.container import open_video
from mttsg_core.video.discovery import VideoFile
from mttsg_core.video.probe import scan
from mttsg_core.video.trim import trim

FIELDS = ("video", "rank", "start", "end", "query", "score")
DEFAULT_TEMPLATE = "{video}_{rank}_{start}-{end}"
SEVERAL_SENTENCES_TEMPLATE = "{query}/{rank:02}_{video}_{start}"
_MAX_NAME_BYTES = 200  # most systems allow 255
_MAX_QUERY_BYTES = 80  # of a sentence in a name
_TOO_WIDE = re.compile(r"\d{3}")  # in a format: padding to that width takes memory before the name is shortened
_BASE_LIMIT, _LIMIT_PER_SECOND = 120.0, 60.0  # seconds of work: in any case, and per second of excerpt


@dataclass(frozen=True)
class Excerpt:
    """A moment of a video to be cut out.

    Attributes:
        video: the source file.
        moment: the seconds to cut out.
        target: the file to write.
    """

    video: Path
    moment: Moment
    target: Path


@dataclass(frozen=True)
class ExcerptWritten:
    """An excerpt whose target exists; `existed` if it did before, plays, and was left as it was."""

    excerpt: Excerpt
    existed: bool = False


@dataclass(frozen=True)
class ExcerptFailed:
    """An excerpt that could not be written."""

    excerpt: Excerpt
    reason: str


ExcerptEvent = ExcerptWritten | ExcerptFailed


class ExcerptNames:
    """File names from a template such as `{video}_{rank}_{start}-{end}`, safe on every system.

    A field may have a format, as in `{rank:02}`; without one, times and scores have three decimals. A slash in the
    template makes folders; a slash in a sentence does not.

    Args:
        template: of the path below the output folder, without suffix.

    Raises:
        ConfigError: if the template has an unknown field or is not a valid template.
    """

    def __init__(self, template: str = DEFAULT_TEMPLATE) -> None:
        try:
            self._parts = [
                (text, name if conversion is None else f"{name}!{conversion}", form or "")
                for text, name, form, conversion in string.Formatter().parse(template)
            ]
            for _, name, _ in self._parts:
                if name is not None and name not in FIELDS:
                    valid = ", ".join(f"{{{field}}}" for field in FIELDS)
                    raise ConfigError(f"unknown field {{{name}}} in the file name {template!r}; valid fields: {valid}")
            if any(_TOO_WIDE.search(form) for _, _, form in self._parts):
                raise ValueError("a field is too wide")
            self.name(RankedMoment(VideoFile(Path("v"), Path("v")), "q", 1, Moment(0, 1)), "v")
        except ValueError as error:
            raise ConfigError(f"{template!r} is not a valid file name template: {error}") from error

    @classmethod
    def for_sentences(cls, number: int) -> ExcerptNames:
        """Return the default names: with several sentences, those of each are in a folder of its name, by rank."""
        return cls(DEFAULT_TEMPLATE if number == 1 else SEVERAL_SENTENCES_TEMPLATE)

    def name(self, ranked: RankedMoment, video: str) -> Path:
        """Return the path of a moment's excerpt below the output folder, without suffix; `video` fills `{video}`."""
        moment = ranked.moment
        texts = {"video": video, "query": _truncate(ranked.query, _MAX_QUERY_BYTES)}
        numbers = {"rank": ranked.rank, "start": moment.start, "end": moment.end, "score": moment.score}
        path = ""
        for text, field, form in self._parts:
            path += text
            if field in texts:
                path += _safe(format(texts[field], form))
            elif field is not None:
                path += format(numbers[field], form or ("" if field == "rank" else ".3f"))
        parts = [safe_part(part) for part in path.split("/") if part]
        return Path(*parts or ["_"])


def pad_moments(
    moments: Iterable[RankedMoment], seconds: float, timelines: Mapping[VideoFile, Timeline]
) -> list[RankedMoment]:
    """Return moments with some seconds more on either side, as far as their videos go.

    >>> video = VideoFile(Path("a.mp4"), Path("a.mp4"))
    >>> [padded] = pad_moments([RankedMoment(video, "q", 1, Moment(1.0, 8.0))], 2.0, {video: Timeline(60.0, 30)})
    >>> padded.moment[:2]
    (0.0, 10.0)
    """
    padded = []
    for ranked in moments:
        (start, end, score), timeline = ranked.moment, timelines[ranked.video]
        start = min(start, max(timeline.start, start - seconds))
        end = max(end, min(timeline.end, end + seconds))
        padded.append(replace(ranked, moment=Moment(start, end, score)))
    return padded


def cutting_limit(moment: Moment) -> float:
    """Return the seconds that cutting a moment out may take before it is given up."""
    return _BASE_LIMIT + _LIMIT_PER_SECOND * moment.duration


def plan_excerpts(
    moments: Iterable[RankedMoment], videos: Sequence[VideoFile], folder: Path, names: ExcerptNames
) -> list[Excerpt]:
    """Return the excerpts of these moments, each with a name of its own: equal names are numbered.

    Args:
        moments: those of several sentences with the same name and, to the millisecond, the same times share an excerpt.
        videos: all videos of the search; where file names are equal but for the suffix, `{video}` is the whole path.
        folder: the output folder.
        names: names the excerpts.
    """
    stems = Counter(video.name.stem.casefold() for video in videos)
    taken: set[str] = set()  # case-folded, because some file systems ignore letter case
    numbers: Counter[str] = Counter()  # the last number given to each name
    planned: set[tuple[str, Path, float, float]] = set()
    excerpts = []
    for ranked in moments:
        video, moment = ranked.video, ranked.moment
        label = video.name.stem if stems[video.name.stem.casefold()] == 1 else "_".join(video.name.parts)
        base = target = names.name(ranked, label)
        folded = str(base).casefold()
        key = folded, video.path, round(moment.start, 3), round(moment.end, 3)
        if key in planned:
            continue
        planned.add(key)
        while str(target).casefold() in taken:
            numbers[folded] += 1
            target = base.with_name(f"{base.name}-{numbers[folded] + 1}")
        taken.add(str(target).casefold())
        excerpts.append(Excerpt(video.path, moment, folder / target.with_name(f"{target.name}.mp4")))
    return excerpts


def cut_excerpts(
    excerpts: Sequence[Excerpt], *, workers: int = 1, overwrite: bool = False
) -> Generator[ExcerptEvent, None, None]:
    """Write excerpts and yield an event for each, in the order in which they finish.

    Args:
        excerpts: what to cut.
        workers: number of processes; with fewer excerpts than that, each process uses several threads.
        overwrite: replace targets that exist; otherwise those that play are skipped.
    """
    missing = []
    for excerpt in excerpts:
        if overwrite or not _is_video(excerpt.target):
            missing.append(excerpt)
        else:
            yield ExcerptWritten(excerpt, existed=True)
    if not missing:
        return
    processes = min(workers, len(missing))
    threads = max(1, workers // processes)
    jobs = [(excerpt, cutting_limit(excerpt.moment)) for excerpt in missing]
    try:
        with closing(run_in_workers(partial(_cut, threads=threads), jobs, processes)) as cutting:
            for excerpt, event in cutting:
                yield ExcerptFailed(excerpt, event.reason) if isinstance(event, WorkerLost) else event
    finally:
        for folder in {excerpt.target.parent for excerpt in missing}:
            collect_parts(folder)  # of workers that crashed or were stopped


def _is_video(path: Path) -> bool:
    """Return whether a file is a video whose first frame can be decoded, and is not cut off."""
    try:
        with open_video(path) as (container, _):
            is_cut_off = "mp4" in container.format.name and not _is_whole_mp4(path)
        return not is_cut_off and scan(path).duration > 0
    except UnsupportedVideoError:
        return True  # a video, though not one of ours
    except (VideoError, OSError):
        return False


def _is_whole_mp4(path: Path) -> bool:
    """Return whether the boxes at the top level of an MP4 file end where the file does."""
    size, position = path.stat().st_size, 0
    with path.open("rb") as file:
        while position < size:
            file.seek(position)
            header = file.read(16)
            length = int.from_bytes(header[:4], "big")
            if length == 1:
                length = int.from_bytes(header[8:], "big")
            if length < 8:
                return length == 0  # 0: the last box, to the end of the file
            position += length
    return position == size


def _cut(excerpt: Excerpt, threads: int) -> ExcerptEvent:
    start, end, _ = excerpt.moment
    try:
        write_atomically(excerpt.target, lambda part: trim(excerpt.video, start, end, part, threads=threads))
    except (VideoError, OSError, MemoryError) as error:
        return ExcerptFailed(excerpt, failure_reason(error, excerpt.target))
    return ExcerptWritten(excerpt)


def failure_reason(error: VideoError | OSError | MemoryError, target: Path) -> str:
    """Return why a moment could not be cut out and written to `target`."""
    if isinstance(error, VideoError):
        return error.reason
    if isinstance(error, OSError):
        return f"{target} cannot be written: {os_reason(error)}"
    return "not enough memory"


def _safe(text: str) -> str:
    """Replace what some system forbids in file names: separators, wildcards and unprintable characters."""
    return "".join("_" if c in '/\\<>:"|?*' or not c.isprintable() else c for c in text)


def safe_part(text: str) -> str:
    """Return a file or folder name that is not hidden, not `..`, not too long, and cannot be taken for an option."""
    text = _truncate(_safe(text).strip(), _MAX_NAME_BYTES).rstrip(". ") or "_"
    return f"_{text[1:]}" if text.startswith(("-", ".")) else text


def _truncate(text: str, size: int) -> str:
    """Return the beginning of a text, at most `size` bytes of UTF-8."""
    return text.encode("utf-8", "replace")[:size].decode("utf-8", "ignore")
