"""How clips are called, and the cutting of many."""

from __future__ import annotations

import os
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
from mttsg_core.video import probe
from mttsg_core.video.discovery import VideoFile
from tests.helpers import video_files

FOLDER = Path("clips")


def video(name: str) -> VideoFile:
    return VideoFile(Path("/v", name), Path(name))


def answer(name: str = "a.mp4", query: str = "q", rank: int = 1, start: float = 1.0, end: float = 2.5) -> RankedMoment:
    return RankedMoment(video(name), query, rank, Moment(start, end, 0.25))


def names(answers: list[RankedMoment], template: str | None = None) -> list[str]:
    """The names of their clips below the folder."""
    videos = list(dict.fromkeys(one.video for one in answers))
    wanted = ExcerptNames() if template is None else ExcerptNames(template)
    clips = plan_excerpts(answers, videos, FOLDER, wanted)
    assert len({clip.target for clip in clips}) == len(clips)
    return [clip.target.relative_to(FOLDER).as_posix() for clip in clips]


def test_names() -> None:
    assert names([answer()]) == ["a_1_1.000-2.500.mp4"]
    assert names([answer(query="a dog runs")], "{query} {score} {rank:03} {start:.1f}") == [
        "a dog runs 0.250 001 1.0.mp4"
    ]
    assert names([answer()], "{video}/{{{rank}}}") == ["a/{1}.mp4"]


@pytest.mark.parametrize(
    "template",
    ["{vid}", "{}", "{0}", "{video.stem}", "{video!r}", "{", "}", "{rank:zz}", "{rank:{top}}", "{rank:100}"],
)
def test_a_wrong_template_names_the_right_fields(template: str) -> None:
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
    assert names([answer(query=query)], "{query}") == [f"{expected}.mp4"]


def test_long_names_are_cut_between_characters() -> None:
    [name] = names([answer("x" * 250 + ".mp4", "开" * 500)], "{query}{video}{video}")
    assert len(os.fsencode(name)) < 240
    name.encode("utf-8")


def test_no_clip_takes_the_place_of_another() -> None:
    same_stem = [answer("x/a.mp4"), answer("y/a.mp4"), answer("y/A.mkv"), answer("b.mp4")]
    assert names(same_stem) == [
        "x_a.mp4_1_1.000-2.500.mp4",
        "y_a.mp4_1_1.000-2.500.mp4",
        "y_A.mkv_1_1.000-2.500.mp4",
        "b_1_1.000-2.500.mp4",
    ]
    assert names([answer("x_y.mp4"), answer("x/y.mp4"), answer("x/Y.mp4")], "{video}") == [
        "x_y.mp4",
        "x_y.mp4.mp4",
        "x_Y.mp4-2.mp4",
    ]
    assert names([answer(query="a"), answer(query="b", start=1.2)], "{rank}") == ["1.mp4", "1-2.mp4"]
    assert names([answer(query="a"), answer(query="b", start=1.00001)]) == ["a_1_1.000-2.500.mp4"]  # one and the same


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return video_files.write_video(tmp_path / "v.mp4", range(100))


def test_what_fails_costs_only_itself(tmp_path: Path, source: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_text("no video")
    folder = tmp_path / "new" / "clips"
    (tmp_path / "file").touch()
    clips = [
        Excerpt(source, Moment(0.5, 1.25), folder / "a.mp4"),
        Excerpt(broken, Moment(0.5, 1.25), folder / "b.mp4"),
        Excerpt(source, Moment(1.0, 3.0), folder / "c" / "c.mp4"),
        Excerpt(source, Moment(1.0, 3.0), tmp_path / "file" / "d.mp4"),
    ]
    events = {event.clip: event for event in cut_excerpts(clips, workers=2)}
    assert [type(events[clip]) for clip in clips] == [ExcerptWritten, ExcerptFailed, ExcerptWritten, ExcerptFailed]
    assert events[clips[1]] == ExcerptFailed(clips[1], "not a video")
    assert str(clips[3].target) in events[clips[3]].reason
    assert probe(folder / "a.mp4").duration == pytest.approx(0.75, abs=1e-3)
    assert sorted(path.name for path in folder.rglob("*")) == ["a.mp4", "c", "c.mp4"]


def test_clips_that_are_there_are_kept(tmp_path: Path, source: Path) -> None:
    clip = Excerpt(source, Moment(0.5, 1.25), tmp_path / "clip.mp4")
    clip.target.write_text("mine")
    assert list(cut_excerpts([clip])) == [ExcerptWritten(clip, kept=True)]
    assert clip.target.read_text() == "mine"
    assert list(cut_excerpts([clip], overwrite=True)) == [ExcerptWritten(clip)]
    assert probe(clip.target).duration == pytest.approx(0.75, abs=1e-3)


def test_stopping_leaves_no_half_clip(tmp_path: Path, source: Path) -> None:
    clips = [Excerpt(source, Moment(0.0, 4.0), tmp_path / "clips" / f"{number}.mp4") for number in range(20)]
    events = cut_excerpts(clips, workers=1)
    next(events)
    events.close()
    left = sorted(path.name for path in (tmp_path / "clips").iterdir())
    assert left
    assert all(name.endswith(".mp4") and not name.startswith(".") for name in left)
    for name in left:
        assert probe(tmp_path / "clips" / name).duration == pytest.approx(4.0, abs=1e-3)
