"""The page of answered moments: complete, self-contained, and deaf to whatever a sentence or a file's name says."""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import numpy as np
import pytest

from mttsg_core.inference.ranking import RankedMoment
from mttsg_core.moments import Moment, Timeline
from mttsg_core.report import GroundedVideo, render_moments_page
from mttsg_core.report.moments_page import link
from mttsg_core.report.player import PLAYER_SCRIPT
from mttsg_core.video.discovery import VideoFile
from tests.helpers.report_pages import HOSTILE

Attributes = dict[str, str | None]


class Reader(HTMLParser):
    """The elements with their attributes, and the text outside of style and script."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, Attributes]] = []
        self.text: list[str] = []
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] not in ("style", "script"):
            self.text.append(data)

    def all(self, tag: str) -> list[Attributes]:
        return [attributes for name, attributes in self.elements if name == tag]


def asked(name: str, *queries: str, clips: int = 30, start: float = 0.0) -> GroundedVideo:
    values = np.random.default_rng(0).random((len(queries), clips), dtype=np.float32)
    return GroundedVideo(
        VideoFile(Path("videos", name), Path(name)),
        Timeline(60.0, clips, start),
        dict(zip(queries, values, strict=True)),
    )


def answer(video: GroundedVideo, query: str, rank: int = 1, start: float = 3.0, score: float = 0.5) -> RankedMoment:
    return RankedMoment(video.video, query, rank, Moment(start, start + 4, score))


def test_one_video() -> None:
    video = asked("a.mp4", "x", "y")
    found = Reader(render_moments_page([video], [answer(video, "x"), answer(video, "x", 2, 10.5)], Path("page.html")))
    assert [one["src"] for one in found.all("video")] == ["videos/a.mp4"]
    assert [one["preload"] for one in found.all("video")] == ["none"]
    assert [(one["data-start"], one["data-end"]) for one in found.all("button")] == [
        ("3.000", "7.000"),
        ("10.500", "14.500"),
    ]
    assert len(found.all("path")) == 2  # a curve a sentence
    assert len([one for one in found.all("span") if one.get("class") == "mark"]) == 2
    assert "Not in this video." in found.text
    assert "2 moments of 2 sentences in 1 video" in found.text


def test_several_videos() -> None:
    first, second, third = asked("a.mp4", "x", "y"), asked("b/c.mp4", "x", "y"), asked("d.mp4", "x", "y")
    answers = [answer(first, "x", 2, score=0.2), answer(second, "x", 1, score=0.9)]
    content = render_moments_page([first, second, third], answers, Path("page.html"))
    found = Reader(content)
    assert [one["src"] for one in found.all("video")] == ["videos/a.mp4", "videos/b/c.mp4"]
    ids = [one["id"] for one in found.all("article")]
    assert len(set(ids)) == 2
    overview = [one["data-video"] for one in found.all("button")][:2]
    assert overview == [ids[1], ids[0]]  # the best first
    assert "1 video without an answer left out." in found.text
    assert "Not in any video." in found.text
    assert "Not in this video." not in found.text


def test_a_curve_shows_every_peak() -> None:
    video = asked("a.mp4", "x", clips=5000)
    curve = np.zeros(5000, dtype=np.float32)
    curve[1234] = 1.0
    content = render_moments_page([GroundedVideo(video.video, video.timeline, {"x": curve})], [], Path("p.html"))
    [path] = Reader(content).all("path")
    points = [tuple(map(float, point.split())) for point in re.findall(r"L(\S+ \S+?)(?=L|Z)", path["d"] or "")]
    assert len(points) <= 250
    assert [x for x, y in points if y == 0] == [pytest.approx(1234 / 5, abs=3)]
    assert sum(y != 100 for _, y in points) == 1
    for clips in (1, 2, 240, 241):
        render_moments_page([asked("a.mp4", "x", clips=clips)], [], Path("p.html"))


@pytest.mark.parametrize(
    "name",
    [
        "with space.mp4",
        "a#b?c%20.mp4",
        "c:d.mp4",
        "-dash.mp4",
        "q\"uo'te<b>.mp4",
        "ünï 开.mp4",
        "\udcff.mp4",
        "new\nline.mp4",
    ],
)
def test_links_lead_to_the_file(tmp_path: Path, name: str) -> None:
    for place in (tmp_path / "page.html", tmp_path / "deep" / "er" / "page.html", Path("page.html")):
        address = link(tmp_path / "videos" / name, place)
        assert re.fullmatch(r"[A-Za-z0-9_.~/%-]+", address)
        assert not urlsplit(address).scheme
        reached = os.path.join(os.fsencode(place.absolute().parent), unquote_to_bytes(address))  # noqa: PTH118 -- bytes
        assert os.path.normpath(reached) == os.fsencode(tmp_path / "videos" / name)
    assert link(Path("v.mp4"), Path("page.html")) == "v.mp4"


def test_hostile_sentences_and_names_stay_text() -> None:
    video = asked("a.mp4", *HOSTILE)
    video = GroundedVideo(
        VideoFile(Path(f"{HOSTILE[0]}.mp4"), Path(f"{HOSTILE[1]}.mp4")), video.timeline, video.saliency
    )
    content = render_moments_page([video], [answer(video, query) for query in HOSTILE], Path("p.html"))
    content.encode("utf-8")
    tame = asked("a.mp4", *map(str, range(len(HOSTILE))))
    expected = Reader(render_moments_page([tame], [answer(tame, query) for query in tame.saliency], Path("p.html")))
    found = Reader(content)
    assert [tag for tag, _ in found.elements] == [tag for tag, _ in expected.elements]
    assert not [name for _, attributes in found.elements for name in attributes if name.startswith("on")]
    text = "".join(found.text)
    for sentence in HOSTILE:
        if sentence.isprintable():
            assert sentence in text


def test_the_policy_lets_only_our_script_run() -> None:
    content = render_moments_page([asked("a.mp4", "x")], [], Path("p.html"))
    [policy] = [one["content"] for one in Reader(content).all("meta") if "http-equiv" in one]
    assert policy is not None
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/]{43}='(;|$)", policy)
    assert content.count("<script>") == 1
    assert f"<script>{PLAYER_SCRIPT}</script>" in content
    assert "http:" not in content
    assert "https:" not in content
