"""The prompt of `mttsg search` answers about what has been read, and says so, while the rest is read."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from mttsg_cli.background_reading import BackgroundReading
from mttsg_cli.console import Reporter
from mttsg_cli.rows import Row
from mttsg_cli.search_commands import Searching
from mttsg_core.errors import DataError
from mttsg_core.inference.grounder import Grounder
from mttsg_core.workflows.library import VideoLibrary
from tests.helpers.video_files import write_video

QUERY = "the red circle moves left"


class Said(Reporter):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def message(self, level: int, text: str) -> None:
        self.lines.append(f"{logging.getLevelName(level)}: {text}")

    def say(self, text: str) -> None:
        self.lines.append(text)

    def warn(self, text: str) -> None:
        self.lines.append(f"warning: {text}")


def test_answers_meanwhile_say_how_many_videos_are_read(tmp_path: Path, trained: Path) -> None:
    (tmp_path / "videos").mkdir()
    for number in range(3):
        write_video(tmp_path / "videos" / f"{number}.mp4", range(75), first=100 * number)
    (tmp_path / "videos" / "bad.mp4").write_bytes(b"no video at all")
    library = VideoLibrary([tmp_path / "videos"], Grounder.load(trained, cache=tmp_path / "cache"), workers=1)
    events = library.iter_refresh()
    while not library.videos:
        next(events)
    said, shown = Said(), list[Sequence[Row]]()
    searching = Searching(library, shown.append, said, 5, tmp_path, 1, True)
    searching.handle(QUERY)
    assert shown[-1] and {Path(row.video).name for row in shown[-1]} < {f"{number}.mp4" for number in range(3)}
    read, found = library.reading or (0, 0)
    assert 1 <= read <= 2 and found == 4
    assert said.lines == [f"asked of {read} of 4 videos; the others are still being read"]
    with BackgroundReading(library, events) as reading:
        searching.take_problems = reading.take_problems
        reading.wait()
        searching.handle(QUERY)
    assert len(said.lines) == 2 and said.lines[1].startswith("warning: ") and "bad.mp4" in said.lines[1]
    assert len({hit.video for hit in library.ask(QUERY, 30)}) == 3
    assert library.reading is None
    searching.handle(QUERY)
    assert len(said.lines) == 2


def test_the_end_stops_the_reading_and_a_failure_is_a_line(tmp_path: Path, trained: Path) -> None:
    library = VideoLibrary([tmp_path], Grounder.load(trained, cache=tmp_path / "cache"), workers=1)

    def endless() -> Iterator[object]:
        while True:
            yield object()

    with BackgroundReading(library, endless()):
        pass

    def failing() -> Iterator[object]:
        raise DataError("the disk has gone")
        yield

    with BackgroundReading(library, failing()) as reading:
        reading.wait()
        assert reading.take_problems() == ["the disk has gone"]
        assert reading.take_problems() == []
