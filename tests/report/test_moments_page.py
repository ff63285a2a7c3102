"""The page of moments: complete, self-contained, and safe with any text."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import numpy as np
import pytest

from mttsg_core.inference.ranking import RankedMoment
from mttsg_core.moments import Moment, Timeline
from mttsg_core.report import GroundedVideo, render_moments_page
from mttsg_core.report.layout import asset
from mttsg_core.report.moments_page import relative_link
from mttsg_core.video.discovery import VideoFile
from tests.helpers.report_pages import HOSTILE, UNENCODABLE, PageReader


def grounded(name: str, *queries: str, clips: int = 30, start: float = 0.0) -> GroundedVideo:
    values = np.random.default_rng(0).random((len(queries), clips), dtype=np.float32)
    return GroundedVideo(
        VideoFile(Path("videos", name), Path(name)),
        Timeline(60.0, clips, start),
        dict(zip(queries, values, strict=True)),
    )


def ranked(video: GroundedVideo, query: str, rank: int = 1, start: float = 3.0, score: float = 0.5) -> RankedMoment:
    return RankedMoment(video.video, query, rank, Moment(start, start + 4, score))


def test_one_video() -> None:
    video = grounded("a.mp4", "x", "y")
    page = PageReader(render_moments_page([video], [ranked(video, "x"), ranked(video, "x", 2, 10.5)], Path("p.html")))
    assert [element["src"] for element in page.all("video")] == ["videos/a.mp4"]
    assert [element["preload"] for element in page.all("video")] == ["none"]
    assert [(button["data-start"], button["data-end"]) for button in page.all("button")] == [
        ("3.000", "7.000"),
        ("10.500", "14.500"),
    ]
    assert len(page.all("path")) == 2  # the saliency of each query
    assert [mark["style"] for mark in page.all("span") if mark.get("class") == "mark"] == [
        "left:5.000%;width:6.667%",
        "left:17.500%;width:6.667%",
    ]
    assert "Not in this video." in page.text
    assert "2 moments for 2 queries in 1 video" in page.text


def test_marks_count_from_the_start_of_the_timeline() -> None:
    video = grounded("a.mp4", "x", start=30.0)
    page = PageReader(render_moments_page([video], [ranked(video, "x", start=36.0)], Path("p.html")))
    [track] = [element for element in page.all("div") if element.get("class") == "track"]
    assert (track["data-start"], track["data-length"]) == ("30.000", "60.000")
    [mark] = [element for element in page.all("span") if element.get("class") == "mark"]
    assert mark["style"] == "left:10.000%;width:6.667%"


def test_several_videos() -> None:
    first, second, third = grounded("a.mp4", "x", "y"), grounded("b/c.mp4", "x", "y"), grounded("d.mp4", "x", "y")
    moments = [ranked(first, "x", 2, score=0.2), ranked(second, "x", 1, score=0.9)]
    page = PageReader(render_moments_page([first, second, third], moments, Path("p.html")))
    assert [element["src"] for element in page.all("video")] == ["videos/a.mp4", "videos/b/c.mp4"]
    ids = [element["id"] for element in page.all("article")]
    assert len(set(ids)) == 2
    overview = [button["data-video"] for button in page.all("button")][:2]
    assert overview == [ids[1], ids[0]]  # best first
    assert "1 video without a moment is not shown." in page.text
    assert "Not in any video." in page.text
    assert "Not in this video." not in page.text


def test_saliency_shows_every_peak() -> None:
    video = grounded("a.mp4", "x", clips=5000)
    saliency = np.zeros(5000, dtype=np.float32)
    saliency[1234] = 1.0
    content = render_moments_page([GroundedVideo(video.video, video.timeline, {"x": saliency})], [], Path("p.html"))
    [path] = PageReader(content).all("path")
    points = [tuple(map(float, point.split())) for point in re.findall(r"L(\S+ \S+?)(?=L|Z)", path["d"] or "")]
    assert len(points) <= 250
    assert [x for x, y in points if y == 0] == [pytest.approx(1234 / 5, abs=3)]
    assert sum(y != 100 for _, y in points) == 1
    for clips in (1, 2, 240, 241):
        render_moments_page([grounded("a.mp4", "x", clips=clips)], [], Path("p.html"))


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
    for page in (tmp_path / "page.html", tmp_path / "deep" / "er" / "page.html", Path("page.html")):
        address = relative_link(tmp_path / "videos" / name, page)
        assert re.fullmatch(r"[A-Za-z0-9_.~/%-]+", address)
        assert not urlsplit(address).scheme
        target = os.path.join(os.fsencode(page.absolute().parent), unquote_to_bytes(address))  # noqa: PTH118 -- bytes
        assert os.path.normpath(target) == os.fsencode(tmp_path / "videos" / name)
    assert relative_link(Path("v.mp4"), Path("page.html")) == "v.mp4"


@pytest.mark.parametrize("others", [0, 1])
def test_hostile_sentences_and_names_stay_text(others: int) -> None:
    texts = [*HOSTILE, UNENCODABLE]
    plain = grounded("a.mp4", *map(str, range(len(texts))))
    hostile = grounded("a.mp4", *texts)
    files = VideoFile(Path(f"{HOSTILE[0]}.mp4"), Path(f"{UNENCODABLE}.mp4"))
    hostile = GroundedVideo(files, hostile.timeline, hostile.saliency)
    pages = []
    for video in (plain, hostile):
        videos = [video, *[grounded("b.mp4", *video.saliency)] * others]
        moments = [ranked(video, query) for query in video.saliency]
        pages.append(PageReader(render_moments_page(videos, moments, Path("p.html"))))
    expected, page = pages
    assert page.tags == expected.tags
    assert not page.handlers
    text = "".join(page.text)
    for sentence in HOSTILE:
        if sentence.isprintable():
            assert sentence in text
    assert r"half of a pair \ud83d and \x85\uffff" in text


def test_the_policy_lets_only_our_script_run() -> None:
    content = render_moments_page([grounded("a.mp4", "x")], [], Path("p.html"))
    [policy] = [meta["content"] for meta in PageReader(content).all("meta") if "http-equiv" in meta]
    assert policy is not None
    assert "default-src 'none'" in policy
    [script] = re.findall(r"<script>(.*?)</script>", content, re.DOTALL)
    assert script == asset("player.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.endswith(f"; script-src 'sha256-{digest}'")
    assert content.count("<script") == 1
    assert "http:" not in content
    assert "https:" not in content
