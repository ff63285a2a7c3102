"""What can be typed at the prompt of `mttsg search`: a sentence, or a command about the answers to the last one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mttsg_cli.console import Reporter
from mttsg_cli.rows import Row
from mttsg_cli.viewers import copy_text, open_file, play
from mttsg_core.config import nearest
from mttsg_core.errors import ConfigError
from mttsg_core.inference.excerpts import ExcerptFailed, ExcerptNames, cut_excerpts, plan_excerpts
from mttsg_core.inference.ranking import RankedMoment
from mttsg_core.utils.text import describe_os_error
from mttsg_core.video.discovery import VideoFile
from mttsg_core.video.excerpt_marks import mark_film

if TYPE_CHECKING:
    from mttsg_core.workflows.library import Hit, VideoLibrary

HELP = """\
A sentence finds moments. About the moments that were found last, by their number:
  :play 1    play it, at the second            :more      show further moments
  :cut 1     cut it out as an mp4 file         :more 1    show further moments of its video
  :open 1    open the whole video              :help      show this
  :copy 1    copy a link to the second         :quit      leave, as Ctrl-D does
Several numbers may follow, as in :cut 1 3. Arrow keys and Ctrl-R find what was typed before."""


class Leave(Exception):  # noqa: N818 - not an error
    """Raised by `:quit`."""


@dataclass
class Searching:
    """A library, and what was found in it last.

    Attributes:
        library: the videos.
        show: shows rows.
        reporter: says everything else.
        top: number of moments that are shown at a time.
        clips: folder of the moments that are cut out.
        workers: number of processes for cutting.
        shows_scores: whether scores are shown; those of an uncalibrated model only give the order.
        query: the last sentence.
        hits: the moments that were shown for it; their numbers count from 1.
        take_problems: returns lines about videos that could not be read since it was asked last.
    """

    library: VideoLibrary
    show: Callable[[Sequence[Row]], None]
    reporter: Reporter
    top: int
    clips: Path
    workers: int
    shows_scores: bool
    query: str = ""
    hits: list[Hit] = field(default_factory=list)
    take_problems: Callable[[], Sequence[str]] = list

    def handle(self, line: str) -> None:
        """Answer a line.

        Raises:
            Leave: if it says so.
            MttsgError: if it cannot be answered.
        """
        line = line.strip()
        if not line.startswith(":"):
            if line:
                self._ask(line)
            return
        name, *words = line.split()
        command = _COMMANDS.get(name)
        if command is None:
            near = nearest(name, _COMMANDS)
            raise ConfigError(f"no command {name}; " + (f"did you mean {near}?" if near else ":help lists them"))
        command(self, words)

    def _ask(self, query: str) -> None:
        reading = self.library.reading
        hits = self.library.ask(query, self.top)
        self.query, self.hits = query, []
        self._add(hits)
        if reading is not None:
            self.reporter.say(f"asked of {reading[0]:,} of {reading[1]:,} videos; the others are still being read")
        for problem in self.take_problems():
            self.reporter.warn(problem)

    def _add(self, hits: Sequence[Hit]) -> None:
        """Show moments that were not shown before, and number them on."""
        first = len(self.hits) + 1
        self.hits += hits
        if hits:
            self.show([self._row(number) for number in range(first, len(self.hits) + 1)])
        else:
            self.reporter.say("nothing found" if not self.hits else "no further moments")

    def _row(self, number: int) -> Row:
        hit = self.hits[number - 1]
        start, end, score = hit.moment
        shown = score if self.shows_scores else None
        return Row(str(hit.video.path), self.query, number, start, end, shown, hit.video.name)

    def more(self, words: Sequence[str]) -> None:
        """Show further moments of all videos, or of the video of one."""
        if not self.query:
            raise ConfigError("nothing was asked yet")
        enough = self.top + len(self.hits)  # as many as were shown may come again
        if not words:
            self._add_new(self.library.ask(self.query, enough))
        for hit in self._chosen(words) if words else ():
            self._add_new(self.library.ask(self.query, enough, exhaustive=True, below=hit.video.path))

    def _add_new(self, hits: Sequence[Hit]) -> None:
        shown = {_identity(hit) for hit in self.hits}
        self._add([hit for hit in hits if _identity(hit) not in shown][: self.top])

    def play(self, words: Sequence[str]) -> None:
        """Play moments."""
        for hit in self._chosen(words):
            play(hit.video.path, hit.moment, self.reporter, wait=False)

    def open(self, words: Sequence[str]) -> None:
        """Open the videos of moments."""
        for hit in self._chosen(words):
            open_file(hit.video.path)
            self.reporter.say(f"opened {hit.video.path}")

    def copy(self, words: Sequence[str]) -> None:
        """Copy links to moments."""
        links = [
            f"{hit.video.path.as_uri()}#t={hit.moment.start:.3f},{hit.moment.end:.3f}" for hit in self._chosen(words)
        ]
        is_copied = copy_text("\n".join(links), sys.stdout)
        for link in links:
            self.reporter.say(f"copied {link}" if is_copied else link)

    def cut(self, words: Sequence[str]) -> None:
        """Cut moments out, as files whose names tell videos of the same name apart."""
        videos = {video.id: VideoFile(video.path, Path(video.name)) for video in self.library.videos}
        moments = [RankedMoment(videos[hit.video.id], self.query, 1, hit.moment) for hit in self._chosen(words)]
        names = ExcerptNames("{video}_{start}-{end}")
        excerpts = plan_excerpts(moments, list(videos.values()), self.clips, names)
        try:
            self.clips.mkdir(parents=True, exist_ok=True)
            for excerpt in excerpts:
                mark_film(excerpt.target)
        except OSError as error:
            raise ConfigError(describe_os_error(error)) from error
        for event in cut_excerpts(excerpts, workers=self.workers):
            if isinstance(event, ExcerptFailed):
                self.reporter.error(f"{event.excerpt.video}: cannot be cut: {event.reason}")
            else:
                self.reporter.say(f"{event.excerpt.target}: {'already exists' if event.existed else 'written'}")

    def _chosen(self, words: Sequence[str]) -> list[Hit]:
        """Return the moments with the numbers given, or the first one without any."""
        if not self.hits:
            raise ConfigError("nothing was found yet; type a sentence first")
        numbers = words or ["1"]
        wrong = [word for word in numbers if not (word.isdecimal() and 1 <= int(word) <= len(self.hits))]
        if wrong:
            raise ConfigError(f"{wrong[0]}: no such number; there are 1 to {len(self.hits)}")
        return [self.hits[int(word) - 1] for word in numbers]

    def help(self, words: Sequence[str]) -> None:
        """Show what can be typed."""
        for line in HELP.splitlines():
            self.reporter.say(line)

    def quit(self, words: Sequence[str]) -> None:
        """Leave."""
        raise Leave


def _identity(hit: Hit) -> tuple[str, float, float]:
    """Return what tells a moment from others. The last digits of its times depend on what is computed beside it."""
    return hit.video.id, round(hit.moment.start, 2), round(hit.moment.end, 2)


_COMMANDS: Mapping[str, Callable[[Searching, Sequence[str]], None]] = {
    ":play": Searching.play,
    ":cut": Searching.cut,
    ":more": Searching.more,
    ":open": Searching.open,
    ":copy": Searching.copy,
    ":help": Searching.help,
    ":quit": Searching.quit,
}
COMMANDS = tuple(_COMMANDS)
