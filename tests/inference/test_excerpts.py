"""File names of excerpts, and the cutting of many."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mttsg_core.errors import ConfigError
from mttsg_core.inference.excerpts import (
    Excerpt,
    ExcerptFailed,
    ExcerptNames,
    ExcerptWritten,
    cut_excerpts,
    plan_excerpts,
)
from mttsg_core.inference.ranking import RankedMoment
from mttsg_core.moments import Moment
from mttsg_core.video.discovery import VideoFile
from mttsg_core.video.probe import probe
from tests.helpers import video_files

FOLDER = Path("excerpts")


def video(name: str) -> VideoFile:
    return VideoFile(Path("/v", name), Path(name))


def ranked(name: str = "a.mp4", query: str = "q", rank: int = 1, start: float = 1.0, end: float = 2.5) -> RankedMoment:
    return RankedMoment(video(name), query, rank, Moment(start, end, 0.25))


def names(moments: list[RankedMoment], template: str | None = None) -> list[str]:
    """Return the file names of their excerpts, relative to the folder."""
    videos = list(dict.fromkeys(moment.video for moment in moments))
    excerpt_names = ExcerptNames() if template is None else ExcerptNames(template)
    excerpts = plan_excerpts(moments, videos, FOLDER, excerpt_names)
    assert len({excerpt.target for excerpt in excerpts}) == len(excerpts)
    return [excerpt.target.relative_to(FOLDER).as_posix() for excerpt in excerpts]


def test_names() -> None:
    assert names([ranked()]) == ["a_1_1.000-2.500.mp4"]
    assert names([ranked(query="a dog runs")], "{query} {score} {rank:03} {start:.1f}") == [
        "a dog runs 0.250 001 1.0.mp4"
    ]
    assert names([ranked()], "{video}/{{{rank}}}") == ["a/{1}.mp4"]


@pytest.mark.parametrize(
    "template",
    ["{vid}", "{}", "{0}", "{video.stem}", "{video!r}", "{", "}", "{rank:zz}", "{rank:{top}}", "{rank:100}"],
)
def test_a_wrong_template_is_refused_with_the_valid_fields(template: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ExcerptNames(template)
    assert "\n" not in str(caught.value)
    if template in ("{vid}", "{}", "{0}", "{video.stem}", "{video!r}"):
        for field in ("{video}", "{rank}", "{start}", "{end}", "{query}", "{score}"):
            assert field in str(caught.value)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("a/b\\c", "a_b_c"),
        ("../../etc", "_._.._etc"),
        ("line\nbreak\tand \x00", "line_break_and _"),
        ("-rf", "_rf"),
        (".hidden", "_hidden"),
        ('what? "this": <*|>', "what_ _this__ ____"),
        ("die Tür 开 👩", "die Tür 开 👩"),
        ("\u202eturned", "_turned"),
        ("\udcff", "_"),
        ("dots...", "dots"),
        ("..", "_"),
        ("   ", "_"),
    ],
)
def test_names_are_safe(query: str, expected: str) -> None:
    assert names([ranked(query=query)], "{query}") == [f"{expected}.mp4"]


def test_long_names_are_truncated_between_characters() -> None:
    [name] = names([ranked("x" * 250 + ".mp4", "开" * 500)], "{query}{video}{video}")
    assert len(os.fsencode(name)) < 240
    name.encode("utf-8")


def test_no_excerpt_overwrites_another() -> None:
    same_stem = [ranked("x/a.mp4"), ranked("y/a.mp4"), ranked("y/A.mkv"), ranked("b.mp4")]
    assert names(same_stem) == [
        "x_a.mp4_1_1.000-2.500.mp4",
        "y_a.mp4_1_1.000-2.500.mp4",
        "y_A.mkv_1_1.000-2.500.mp4",
        "b_1_1.000-2.500.mp4",
    ]
    assert names([ranked("x_y.mp4"), ranked("x/y.mp4"), ranked("x/Y.mp4")], "{video}") == [
        "x_y.mp4",
        "x_y.mp4.mp4",
        "x_Y.mp4-2.mp4",
    ]
    assert names([ranked(query="a"), ranked(query="b", start=1.2)], "{rank}") == ["1.mp4", "1-2.mp4"]
    same_times = [ranked(query="a"), ranked(query="b", start=1.00001)]  # to the millisecond
    assert names(same_times) == ["a_1_1.000-2.500.mp4"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return video_files.write_video(tmp_path / "v.mp4", range(100))


def test_a_failure_costs_only_one_excerpt(tmp_path: Path, source: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_text("not a video")
    folder = tmp_path / "new" / "excerpts"
    (tmp_path / "file").touch()
    excerpts = [
        Excerpt(source, Moment(0.5, 1.25), folder / "a.mp4"),
        Excerpt(broken, Moment(0.5, 1.25), folder / "b.mp4"),
        Excerpt(source, Moment(1.0, 3.0), folder / "c" / "c.mp4"),
        Excerpt(source, Moment(1.0, 3.0), tmp_path / "file" / "d.mp4"),
    ]
    events = {event.excerpt: event for event in cut_excerpts(excerpts, workers=2)}
    assert [type(events[excerpt]) for excerpt in excerpts] == [
        ExcerptWritten,
        ExcerptFailed,
        ExcerptWritten,
        ExcerptFailed,
    ]
    reasons = [event.reason for event in events.values() if isinstance(event, ExcerptFailed)]
    assert any(reason.endswith("not a video") for reason in reasons)
    assert any(str(excerpts[3].target) in reason for reason in reasons)
    assert probe(folder / "a.mp4").duration == pytest.approx(0.75, abs=1e-3)
    assert sorted(path.name for path in folder.rglob("*")) == ["a.mp4", "c", "c.mp4"]


def test_existing_excerpts_are_skipped(tmp_path: Path, source: Path) -> None:
    mine = video_files.write_video(tmp_path / "mine.mp4", range(7))
    excerpt = Excerpt(source, Moment(0.5, 1.25), mine)
    before = mine.read_bytes()
    assert list(cut_excerpts([excerpt])) == [ExcerptWritten(excerpt, existed=True)]
    assert mine.read_bytes() == before
    assert list(cut_excerpts([excerpt], overwrite=True)) == [ExcerptWritten(excerpt)]
    assert probe(mine).duration == pytest.approx(0.75, abs=1e-3)


def without_frames(whole: bytes) -> bytes:
    """Overwrite the coded frames of an MP4 file with zeros; its header stays."""
    kind = whole.index(b"mdat")
    end = kind - 4 + int.from_bytes(whole[kind - 4 : kind], "big")
    return whole[: kind + 4] + bytes(end - kind - 4) + whole[end:]


@pytest.mark.parametrize(
    "damage",
    [lambda whole: b"", lambda whole: whole[:-200], lambda whole: b"\0" * len(whole), without_frames],
    ids=["empty", "cut off", "zeros", "no frames"],
)
def test_an_existing_excerpt_that_does_not_play_is_cut_again(
    tmp_path: Path, source: Path, damage: Callable[[bytes], bytes]
) -> None:
    excerpt = Excerpt(source, Moment(0.5, 1.25), tmp_path / "excerpt.mp4")
    assert list(cut_excerpts([excerpt])) == [ExcerptWritten(excerpt)]
    whole = excerpt.target.read_bytes()
    excerpt.target.write_bytes(damage(whole))
    assert list(cut_excerpts([excerpt])) == [ExcerptWritten(excerpt)]
    assert excerpt.target.read_bytes() == whole


@pytest.mark.subprocess
def test_two_runs_that_cut_into_one_folder_do_not_harm_each_other(tmp_path: Path, source: Path) -> None:
    folder = tmp_path / "excerpts"
    program = (
        "import sys; from pathlib import Path\n"
        "from mttsg_core.inference.excerpts import Excerpt, ExcerptWritten, cut_excerpts\n"
        "from mttsg_core.moments import Moment\n"
        "if __name__ == '__main__':\n"
        "    source, folder = map(Path, sys.argv[1:])\n"
        "    excerpts = [Excerpt(source, Moment(0.0, 3.0), folder / f'{n}.mp4') for n in range(8)]\n"
        "    print('ready', flush=True); sys.stdin.readline()\n"
        "    events = list(cut_excerpts(excerpts, workers=1))\n"
        "    sys.exit(not all(isinstance(event, ExcerptWritten) for event in events))\n"
    )
    (tmp_path / "cut.py").write_text(program)
    command = [sys.executable, str(tmp_path / "cut.py"), str(source), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    runs = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True)
        for _ in range(2)
    ]
    for run in runs:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
    for run in runs:
        run.communicate("go\n", timeout=120)
    assert [run.returncode for run in runs] == [0, 0]
    assert sorted(path.name for path in folder.iterdir()) == [f"{number}.mp4" for number in range(8)]
    for path in folder.iterdir():
        assert probe(path).duration == pytest.approx(3.0, abs=1e-3)


def test_links_planted_in_the_folder_are_not_written_through(tmp_path: Path, source: Path) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("precious")
    folder = tmp_path / "excerpts"
    folder.mkdir()
    (folder / ".a.mp4.part").symlink_to(victim)
    (folder / "a.mp4").symlink_to(victim)
    excerpt = Excerpt(source, Moment(0.5, 1.25), folder / "a.mp4")
    assert list(cut_excerpts([excerpt])) == [ExcerptWritten(excerpt)]
    assert victim.read_text() == "precious"
    assert not excerpt.target.is_symlink()
    assert probe(excerpt.target).duration == pytest.approx(0.75, abs=1e-3)


def test_stopping_leaves_no_unfinished_file(tmp_path: Path, source: Path) -> None:
    folder = tmp_path / "excerpts"
    events = cut_excerpts(
        [Excerpt(source, Moment(0.0, 4.0), folder / f"{number}.mp4") for number in range(20)], workers=1
    )
    next(events)
    events.close()
    written = sorted(path.name for path in folder.iterdir())
    assert written
    assert all(name.endswith(".mp4") and not name.startswith(".") for name in written)
    for name in written:
        assert probe(folder / name).duration == pytest.approx(4.0, abs=1e-3)
