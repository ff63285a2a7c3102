"""Answered moments as video files of their own: how they are called, and the cutting, each in a worker process.

A decoder that crashes or hangs on a file takes down its worker, and costs its clip only.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, as_completed
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pebble import ProcessExpired

from mttsg_core.errors import ConfigError, VideoError
from mttsg_core.inference.ranking import RankedMoment
from mttsg_core.moments import Moment
from mttsg_core.utils.processes import interrupts_blocked, worker_pool
from mttsg_core.video.discovery import VideoFile
from mttsg_core.video.trim import trim

FIELDS = ("video", "rank", "start", "end", "query", "score")
NAME = "{video}_{rank}_{start}-{end}"
_LONGEST_PART, _LONGEST_QUERY = 200, 80  # bytes of a file's name (most systems take 255), and of a sentence in it
_TOO_WIDE = re.compile(r"\d{3}")  # in the format of a field: it would ask for memory before it is shortened
_BASE_LIMIT, _LIMIT_PER_SECOND = 120.0, 60.0  # seconds that cutting may take, and more for each second of the clip


@dataclass(frozen=True)
class Excerpt:
    """The seconds of `moment` of `video` are to be at `target`."""

    video: Path
    moment: Moment
    target: Path


@dataclass(frozen=True)
class ExcerptWritten:
    """A clip lies at its target; `kept` if it did before."""

    clip: Excerpt
    kept: bool = False


@dataclass(frozen=True)
class ExcerptFailed:
    """A clip could not be made."""

    clip: Excerpt
    reason: str


ExcerptEvent = ExcerptWritten | ExcerptFailed


class ExcerptNames:
    """Names of clips by a template such as `{video}_{rank}_{start}-{end}`; safe on every system.

    A field may be followed by a format, as in `{rank:02}`. Times and scores have three decimals by themselves. A slash
    in the template makes folders; one in a sentence does not.

    Args:
        template: of the path below the folder, without its suffix.

    Raises:
        ConfigError: if the template has an unknown field, or is no template.
    """

    def __init__(self, template: str = NAME) -> None:
        try:
            self._parts = [
                (text, name if conversion is None else f"{name}!{conversion}", form or "")
                for text, name, form, conversion in string.Formatter().parse(template)
            ]
            for _, name, _ in self._parts:
                if name is not None and name not in FIELDS:
                    right = ", ".join(f"{{{field}}}" for field in FIELDS)
                    raise ConfigError(f"a clip's name has no field {{{name}}}; there are {right}")
            if any(_TOO_WIDE.search(form) for _, _, form in self._parts):
                raise ValueError("a field is too wide")
            self.name(RankedMoment(VideoFile(Path("v"), Path("v")), "q", 1, Moment(0, 1)), "v")
        except ValueError as error:
            raise ConfigError(f"{template!r} is no name for clips: {error}") from error

    def name(self, answer: RankedMoment, video: str) -> Path:
        """The path of an answer's clip below the folder, without suffix. `video` stands for the video."""
        moment = answer.moment
        texts = {"video": video, "query": _shortened(answer.query, _LONGEST_QUERY)}
        numbers = {"rank": answer.rank, "start": moment.start, "end": moment.end, "score": moment.score}
        found = ""
        for text, name, form in self._parts:
            found += text
            if name in texts:
                found += _safe(format(texts[name], form))
            elif name is not None:
                found += format(numbers[name], form or ("" if name == "rank" else ".3f"))
        parts = [_part(part) for part in found.split("/") if part]
        return Path(*parts or ["_"])


def plan_excerpts(
    answers: Iterable[RankedMoment], videos: Sequence[VideoFile], folder: Path, names: ExcerptNames
) -> list[Excerpt]:
    """The clips of these answers. Each name is given once: others that would have it get a number.

    Args:
        answers: an answer to two sentences, in one place to the millisecond, is one clip if its name is.
        videos: all that were asked. Those of equal stem are told apart by their path.
        folder: of the clips.
        names: see there.
    """
    stems = Counter(video.name.stem.casefold() for video in videos)
    taken: set[str] = set()  # names in small letters, as on systems that do not tell
    numbers: Counter[str] = Counter()  # given to names so far
    known: set[tuple[str, Path, float, float]] = set()
    clips = []
    for answer in answers:
        name, moment = answer.video.name, answer.moment
        shown = name.stem if stems[name.stem.casefold()] == 1 else "_".join(name.parts)
        base = target = names.name(answer, shown)
        plain = str(base).casefold()
        clip = plain, answer.video.path, round(moment.start, 3), round(moment.end, 3)
        if clip in known:
            continue
        known.add(clip)
        while str(target).casefold() in taken:
            numbers[plain] += 1
            target = base.with_name(f"{base.name}-{numbers[plain] + 1}")
        taken.add(str(target).casefold())
        clips.append(Excerpt(answer.video.path, moment, folder / target.with_name(f"{target.name}.mp4")))
    return clips


def cut_excerpts(clips: Sequence[Excerpt], *, workers: int = 1, overwrite: bool = False) -> Iterator[ExcerptEvent]:
    """Cut clips, and say of each how it went, in the order in which they finish.

    Args:
        clips: those whose target is there already are kept.
        workers: processes; with fewer clips than that, each has several threads.
        overwrite: cut also those that are there.
    """
    todo = []
    for clip in clips:
        if overwrite or not clip.target.exists():
            todo.append(clip)
        else:
            yield ExcerptWritten(clip, kept=True)
    if not todo:
        return
    processes = min(workers, len(todo))
    threads = max(1, workers // processes)
    try:
        with worker_pool(processes) as pool:
            pending = {}
            with interrupts_blocked():
                for clip in todo:
                    limit = _BASE_LIMIT + _LIMIT_PER_SECOND * clip.moment.duration
                    pending[pool.schedule(_cut, args=(clip, threads), timeout=limit)] = (clip, limit)
            for future in as_completed(pending):
                clip, limit = pending[future]  # type: ignore[index]
                try:
                    yield future.result()
                except FutureTimeoutError:
                    yield ExcerptFailed(clip, f"not cut after {limit:.0f} s, given up")
                except (ProcessExpired, CancelledError):
                    yield ExcerptFailed(clip, "the decoder crashed on it")
    finally:
        for clip in todo:
            with suppress(OSError):  # there is none, or nothing could be written at all
                _unfinished(clip).unlink()  # left by a worker that failed or was stopped


def _cut(clip: Excerpt, threads: int) -> ExcerptEvent:
    start, end, _ = clip.moment
    part = _unfinished(clip)
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        trim(clip.video, start, end, part, threads=threads)
        part.replace(clip.target)
    except VideoError as error:
        return ExcerptFailed(clip, error.reason)
    except OSError as error:
        return ExcerptFailed(clip, f"{clip.target} cannot be written: {error.strerror or error}")
    except MemoryError:
        return ExcerptFailed(clip, "not enough memory for it")
    return ExcerptWritten(clip)


def _unfinished(clip: Excerpt) -> Path:
    """What a clip is called while it is written."""
    return clip.target.with_name(f".{clip.target.name}.part")


def _safe(text: str) -> str:
    """Text without what names of files may not hold somewhere: separators, wildcards, and what cannot be seen."""
    return "".join("_" if c in '/\\<>:"|?*' or not c.isprintable() else c for c in text)


def _part(text: str) -> str:
    """A folder's or a file's name that is neither hidden, nor an option, nor `..`, nor too long."""
    text = _shortened(_safe(text).strip(), _LONGEST_PART).rstrip(". ") or "_"
    return f"_{text[1:]}" if text.startswith(("-", ".")) else text


def _shortened(text: str, size: int) -> str:
    """The beginning of a text, of at most so many bytes."""
    return text.encode("utf-8", "replace")[:size].decode("utf-8", "ignore")
