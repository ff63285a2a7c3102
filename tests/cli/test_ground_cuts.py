"""What `mttsg ground` makes for cutting and watching: padded excerpts, a film, timelines, players and the browser."""

from __future__ import annotations

import csv
import io
import os
import webbrowser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from mttsg_core.video.discovery import find_videos
from mttsg_core.video.excerpt_marks import MARK
from mttsg_core.video.probe import probe
from tests.conftest import Mttsg, Ran

QUERY, OTHER = "the red circle moves left", "the blue star grows"


def rows(ran: Ran) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(ran.out, newline=""), delimiter="\t"))


def fake_player(folder: Path, name: str, code: int = 0) -> Path:
    """Make a program that writes down the arguments it gets, a line each."""
    folder.mkdir(exist_ok=True)
    program, record = folder / name, folder / f"{name}.txt"
    program.write_text(f'#!/bin/sh\nfor word in "$@"; do printf "%s\\n" "$word"; done > "{record}"\nexit {code}\n')
    program.chmod(0o755)
    return record


@pytest.fixture
def videos(corpus: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for path in sorted((corpus / "videos").glob("*.mp4"))[:2]:
        os.link(path, folder / path.name)
    return folder


class TestPad:
    """`--pad S`."""

    def test_excerpts_grow_within_the_video_and_rows_do_not(self, ground: Mttsg, clip: Path, tmp_path: Path) -> None:
        [exact] = rows(ground(clip, QUERY))
        ran = ground(clip, QUERY, "--clips", tmp_path / "c", "--pad", "1000")
        assert rows(ran) == [exact]
        [excerpt] = (tmp_path / "c").glob("*.mp4")
        whole = probe(clip).duration
        assert probe(excerpt).duration == pytest.approx(whole, abs=0.05)
        assert excerpt.stem == f"{clip.stem}_1_0.000-{whole:.3f}"

    def test_it_is_refused_where_it_does_nothing(self, ground: Mttsg, clip: Path) -> None:
        ran = ground(clip, QUERY, "--pad", "1")
        assert (ran.code, ran.out) == (2, "")
        assert ran.errors == ["error: --pad: needs --clips, --join, or --format otio|edl|fcpxml"]


class TestJoin:
    """`--join FILE`."""

    def test_one_film_of_the_rows(self, ground: Mttsg, videos: Path, tmp_path: Path) -> None:
        film = tmp_path / "out" / "film.mp4"
        ran = ground(videos, QUERY, OTHER, "--all", "--join", film)
        assert ran.code == 0, ran.err
        seconds = {(r["video"], r["start"], r["end"]): float(r["end"]) - float(r["start"]) for r in rows(ran)}
        assert probe(film).duration == pytest.approx(sum(seconds.values()), abs=0.01)
        assert f"{film}: {len(seconds)} moments, " in ran.err
        assert (film.parent / MARK).read_text().splitlines()[1:] == ["film.mp4"]

        before = film.read_bytes()
        again = ground(videos, QUERY, "--join", film)
        assert (again.code, film.read_bytes()) == (0, before)
        assert f"{film}: already exists, skipped; --overwrite replaces it" in again.err
        assert ground(videos, QUERY, "--top", "1", "--join", film, "--overwrite").code == 0
        assert film.read_bytes() != before

    def test_a_film_beside_the_videos_is_not_searched_later(self, ground: Mttsg, videos: Path) -> None:
        assert ground(videos, QUERY, "--join", videos / "film.mp4").code == 0
        assert "film.mp4" not in {video.path.name for video in find_videos([videos])}
        assert len(rows(ground(videos, QUERY, "--all"))) == 2

    def test_it_replaces_no_other_output_and_no_video(self, ground: Mttsg, videos: Path, tmp_path: Path) -> None:
        [video, _] = sorted(videos.glob("*.mp4"))
        assert "is one of the videos" in ground(videos, QUERY, "--join", video, "--overwrite").errors[0]
        ran = ground(videos, QUERY, "--join", tmp_path / "x.mp4", "--out", tmp_path / "x.mp4")
        assert "--out and --join name the same file" in ran.errors[0]
        assert "is an mp4 file" in ground(videos, QUERY, "--join", tmp_path / "film.mkv").errors[0]

    def test_without_moments_there_is_no_film(self, ground: Mttsg, clip: Path, tmp_path: Path) -> None:
        ran = ground(clip, QUERY, "--threshold", "1", "--join", tmp_path / "f.mp4")
        assert ran.code == 0
        assert "not written, there are no moments to join" in ran.err
        assert not (tmp_path / "f.mp4").exists()


class TestTimelines:
    """`--format otio|edl|fcpxml`."""

    def test_to_standard_output_and_by_the_suffix_of_a_file(self, ground: Mttsg, videos: Path, tmp_path: Path) -> None:
        otio = pytest.importorskip("opentimelineio")
        ran = ground(videos, QUERY, "--all", "--format", "otio", "--pad", "0.5")
        timeline = otio.adapters.read_from_string(ran.out, "otio_json")
        assert [clip.markers[0].name for clip in timeline.find_clips()] == [QUERY] * 2
        rate = timeline.duration().rate
        assert ground(videos, QUERY, "--all", "--out", tmp_path / "a.edl").code == 0
        edl = otio.adapters.read_from_string((tmp_path / "a.edl").read_text(), "cmx_3600", rate=rate)
        assert len(edl.find_clips()) == 2
        assert ground(videos, QUERY, "--all", "--out", tmp_path / "a.fcpxml").code == 0
        assert len(list(ET.parse(tmp_path / "a.fcpxml").iter("asset-clip"))) == 2

    def test_a_missing_extra_is_one_line_before_any_work(
        self, ground: Mttsg, clip: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(__import__("sys").modules, "opentimelineio", None)
        ran = ground(clip, QUERY, "--format", "edl")
        assert (ran.code, ran.out) == (2, "")
        assert ran.errors == ["error: --format edl needs OpenTimelineIO: pip install 'mttsg[otio]'"]

    def test_no_moment_is_an_empty_answer(self, ground: Mttsg, clip: Path) -> None:
        ran = ground(clip, QUERY, "--threshold", "1", "--format", "fcpxml")
        assert (ran.code, ran.out) == (0, "")


class TestPlay:
    """`--play`."""

    @pytest.mark.parametrize(
        ("player", "expected"),
        [
            ("mpv", ["--start={start}", "--end={end}", "--keep-open=yes", "--", "{video}"]),
            ("vlc", ["--start-time={start}", "--stop-time={end}", "--play-and-pause", "--", "{video}"]),
            ("ffplay", ["-loglevel", "error", "-ss", "{start}", "-t", "{length}", "-i", "{video}"]),
            ("xdg-open", ["{video}"]),
        ],
    )
    def test_the_best_hit_at_the_second(
        self,
        ground: Mttsg,
        clip: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        player: str,
        expected: list[str],
    ) -> None:
        video = tmp_path / "$(touch x); 'a' \"b\".mp4"
        os.link(clip, video)
        record = fake_player(tmp_path / "bin", player)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        monkeypatch.setattr("sys.platform", "linux")
        ran = ground(video, QUERY, "--top", "2", "--play")
        assert ran.code == 0, ran.err
        best = rows(ran)[0]
        written = record.read_text().splitlines()
        length = next((word for before, word in pairwise(written) if before == "-t"), "0")
        assert written == [word.format(**best, length=length) for word in expected]
        assert player != "ffplay" or float(length) == pytest.approx(
            float(best["end"]) - float(best["start"]), abs=0.002
        )
        assert ("cannot be told where to begin" in ran.err) == (player == "xdg-open")
        assert not (tmp_path / "x").exists()

    def test_without_a_player_the_answer_is_still_there(
        self, ground: Mttsg, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        ran = ground(clip, QUERY, "--play")
        assert (ran.code, len(rows(ran)), len(ran.errors)) == (1, 1, 1)
        assert "no video player found; install one of mpv, vlc, ffplay" in ran.errors[0]

    def test_a_player_that_fails(
        self, ground: Mttsg, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fake_player(tmp_path, "mpv", code=3)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert ground(clip, QUERY, "--play").errors == ["error: mpv ended with code 3; is there a screen?"]

    def test_nothing_to_play(self, ground: Mttsg, clip: Path) -> None:
        assert "there is no moment to play" in ground(clip, QUERY, "--threshold", "1", "--play").err


class TestOpen:
    """`--open`."""

    def test_the_page_opens_in_the_browser_whether_new_or_not(
        self, ground: Mttsg, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened: list[str] = []

        def open_address(address: str) -> bool:
            opened.append(address)
            return len(opened) < 3

        monkeypatch.setattr(webbrowser, "open", open_address)
        page = tmp_path / "a page #1.html"
        command = (clip, QUERY, "--html", page, "--out", tmp_path / "rows.tsv", "--open")
        for _ in range(2):
            assert ground(*command).code == 0
        assert opened == [page.as_uri()] * 2
        assert f"{page}: no browser found; open the file yourself" in ground(*command).err

    def test_it_needs_a_page(self, ground: Mttsg, clip: Path) -> None:
        assert ground(clip, QUERY, "--open").errors == ["error: --open: name the page with --html FILE"]
