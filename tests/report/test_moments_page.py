"""The page of moments: complete, self-contained, and safe with any text."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import numpy as np
import pytest
from PIL import Image

from mttsg_core.inference.ranking import RankedMoment
from mttsg_core.moments import Moment, Timeline
from mttsg_core.report import GroundedVideo, moment_stills, render_moments_page
from mttsg_core.report.layout import asset
from mttsg_core.report.moments_page import relative_link
from mttsg_core.video.discovery import VideoFile
from tests.helpers import video_files
from tests.helpers.report_pages import HOSTILE, UNENCODABLE, PageReader

PAGE = Path("p.html")


def grounded(name: str, *queries: str, clips: int = 30, start: float = 0.0) -> GroundedVideo:
    values = np.random.default_rng(0).random((len(queries), clips), dtype=np.float32)
    return GroundedVideo(
        VideoFile(Path("videos", name), Path(name)),
        Timeline(60.0, clips, start),
        dict(zip(queries, values, strict=True)),
    )


def ranked(video: GroundedVideo, query: str, rank: int = 1, start: float = 3.0, score: float = 0.5) -> RankedMoment:
    return RankedMoment(video.video, query, rank, Moment(start, start + 4, score))


def hits(page: PageReader) -> list[dict[str, str | None]]:
    return [link for link in page.all("a") if link.get("class") == "hit"]


def ids(page: PageReader) -> list[str | None]:
    return [element["id"] for element in page.all("li")]


def test_one_video() -> None:
    video = grounded("a.mp4", "x", "y")
    page = PageReader(render_moments_page([video], [ranked(video, "x"), ranked(video, "x", 2, 10.5, 0.4)], PAGE))
    assert [element["src"] for element in page.all("video")] == ["videos/a.mp4#t=3.000,7.000"]
    assert [element["preload"] for element in page.all("video")] == ["none"]
    assert [(hit["data-start"], hit["data-end"], hit["href"]) for hit in hits(page)] == [
        ("3.000", "7.000", "videos/a.mp4#t=3.000,7.000"),
        ("10.500", "14.500", "videos/a.mp4#t=10.500,14.500"),
    ]
    assert ids(page) == ["hit-1", "hit-2"]
    [curve] = page.all("path")  # of both moments
    assert {hit["data-curve"] for hit in hits(page)} == {curve["id"]}
    assert "Not in this video." in page.text
    assert "2 moments for 2 queries in 1 video" in page.text


def test_a_curve_counts_from_the_start_of_the_timeline() -> None:
    video = grounded("a.mp4", "x", start=30.0)
    page = PageReader(render_moments_page([video], [ranked(video, "x", start=36.0)], PAGE))
    [curve] = page.all("path")
    assert (curve["data-start"], curve["data-length"]) == ("30.000", "60.000")


def test_several_videos_best_first() -> None:
    first, second, third = grounded("a.mp4", "x", "y"), grounded("b/c.mp4", "x", "y"), grounded("d.mp4", "x", "y")
    moments = [ranked(first, "x", 2, score=0.2), ranked(second, "x", 1, score=0.9)]
    page = PageReader(render_moments_page([first, second, third], moments, PAGE))
    assert [hit["data-name"] for hit in hits(page)] == ["b/c.mp4", "a.mp4"]
    assert ids(page) == ["hit-1", "hit-2"]
    assert [element["src"] for element in page.all("video")] == ["videos/b/c.mp4#t=3.000,7.000"]
    assert len(page.all("path")) == 2
    assert "1 video without a moment is not shown." in page.text
    assert "Not in any video." in page.text
    assert "Not in this video." not in page.text


def test_without_any_moment_there_is_no_player() -> None:
    page = PageReader(render_moments_page([grounded("a.mp4", "x"), grounded("b.mp4", "x")], [], PAGE))
    assert not page.all("video") and not hits(page)
    assert "Not in any video." in page.text


def test_stills_show_the_middle_of_each_moment(tmp_path: Path) -> None:
    path = video_files.write_video(tmp_path / "a.mp4", range(100), size=(320, 180))
    broken = tmp_path / "b.mp4"
    broken.write_text("no video")
    videos = [
        GroundedVideo(VideoFile(file, Path(file.name)), Timeline(4.0, 8), {"x": np.zeros(8, dtype=np.float32)})
        for file in (path, broken)
    ]
    good, bad = RankedMoment(videos[0].video, "x", 1, Moment(1, 3, 0.5)), ranked(videos[1], "x")
    taken = dict(moment_stills([good, bad]))
    assert taken[broken] == {}
    still = taken[path][good]
    with Image.open(BytesIO(base64.b64decode(still.jpeg))) as image:
        assert image.size == (160, 90)
        assert video_files.read_number(np.asarray(image)) == 50
    page = PageReader(render_moments_page(videos, [good, bad], PAGE, stills={good: still}))
    [image_element] = page.all("img")
    assert (image_element["width"], image_element["height"], image_element["alt"]) == ("160", "90", "")
    assert image_element["src"] == f"data:image/jpeg;base64,{still.jpeg}"


def test_saliency_shows_every_peak() -> None:
    video = grounded("a.mp4", "x", clips=5000)
    saliency = np.zeros(5000, dtype=np.float32)
    saliency[1234] = 1.0
    grounded_video = GroundedVideo(video.video, video.timeline, {"x": saliency})
    content = render_moments_page([grounded_video], [ranked(video, "x")], PAGE)
    [path] = PageReader(content).all("path")
    points = [tuple(map(float, point.split())) for point in re.findall(r"L(\S+ \S+?)(?=L|Z)", path["d"] or "")]
    assert len(points) <= 250
    assert [x for x, y in points if y == 0] == [pytest.approx(1234 / 5, abs=3)]
    assert sum(y != 100 for _, y in points) == 1
    for clips in (1, 2, 240, 241):
        video = grounded("a.mp4", "x", clips=clips)
        render_moments_page([video], [ranked(video, "x")], PAGE)


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
        pages.append(PageReader(render_moments_page(videos, moments, PAGE)))
    expected, page = pages
    assert page.tags == expected.tags
    assert not page.handlers
    text = "".join(page.text)
    for sentence in HOSTILE:
        if sentence.isprintable():
            assert sentence in text
    assert r"half of a pair \ud83d and \x85\uffff" in text


def test_the_policy_lets_only_our_script_run() -> None:
    video = grounded("a.mp4", "x")
    content = render_moments_page([video], [ranked(video, "x")], PAGE)
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
