"""The page of moments in headless Chromium, by mouse and keyboard. Skipped if Chromium is not installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mttsg_core.inference.ranking import RankedMoment
from mttsg_core.moments import Moment, Timeline
from mttsg_core.report import GroundedVideo, render_moments_page
from mttsg_core.video.discovery import VideoFile
from tests.helpers import video_files
from tests.helpers.report_pages import HOSTILE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")]
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

MOMENTS = (Moment(6.0, 7.0, 0.9), Moment(2.0, 2.4, 0.5))
PHONE = {"width": 375, "height": 800}
STATE = "() => [...document.querySelectorAll('video')].map(v => ({time: v.currentTime, paused: v.paused}))"
# Media events do not bubble, but they can be captured on their way down.
RECORD = """() => {
  window.plays = [];
  document.addEventListener("playing", event => window.plays.push({
    time: event.target.currentTime,
    pressed: [...document.querySelectorAll("[aria-pressed=true]")].map(button => button.dataset.start),
  }), true);
}"""
SLACK = 1.0  # seconds that a busy machine may play on past the end of a moment


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of two videos with unusual names; the second cannot be played."""
    folder = tmp_path_factory.mktemp("page")
    good, bad = folder / "videos" / "a #1 <b>ünï.mp4", folder / "videos" / "bad.mp4"
    good.parent.mkdir()
    video_files.write_video(good, range(250))
    bad.write_text("not a video")
    saliency = np.linspace(0, 1, 20, dtype=np.float32)
    videos, moments = [], []
    for path in (good, bad):
        video = VideoFile(path, Path(path.name))
        videos.append(GroundedVideo(video, Timeline(10.0, 20), dict.fromkeys(["a person", *HOSTILE], saliency)))
        for query in ("a person", *HOSTILE):
            moments += [RankedMoment(video, query, rank, moment) for rank, moment in enumerate(MOMENTS, start=1)]
    page = folder / "pages" / "moments.html"
    page.parent.mkdir()
    page.write_text(render_moments_page(videos, moments, page), encoding="utf-8")
    return page


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, written: Path) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": 1000, "height": 800})
    opened.problems = []
    opened.on("pageerror", lambda error: opened.problems.append(str(error)))
    opened.on("console", lambda message: opened.problems.append(message.text))
    opened.goto(written.as_uri())
    opened.evaluate(RECORD)
    yield opened
    opened.close()


def first_play(page: Any) -> dict[str, Any]:
    """Return at which second a video first played, and the start of the buttons pressed then, once one plays."""
    page.wait_for_function("() => window.plays.length > 0")
    return page.evaluate("() => window.plays[0]")


def test_a_click_plays_the_moment_and_stops_at_its_end(page: Any) -> None:
    button = page.locator("article button").first
    button.click()
    play = first_play(page)
    assert MOMENTS[0].start <= play["time"] < MOMENTS[0].end
    assert play["pressed"] == [button.get_attribute("data-start")]
    page.wait_for_function("() => document.querySelector('video').paused")
    assert MOMENTS[0].end <= page.evaluate(STATE)[0]["time"] < MOMENTS[0].end + SLACK
    assert button.get_attribute("aria-pressed") == "false"
    assert not page.problems


def test_the_keyboard_plays_moments_too(page: Any) -> None:
    page.locator("article button").nth(1).focus()
    page.keyboard.press("Enter")
    assert MOMENTS[1].start <= first_play(page)["time"] < MOMENTS[1].end
    page.locator("article button").nth(0).focus()
    page.keyboard.press("Space")  # while the other moment plays
    page.wait_for_function(f"() => document.querySelector('video').currentTime >= {MOMENTS[0].start}")
    page.wait_for_function("() => document.querySelector('video').paused")
    assert MOMENTS[0].end <= page.evaluate(STATE)[0]["time"] < MOMENTS[0].end + SLACK


def test_the_overview_leads_to_the_player(page: Any) -> None:
    page.locator("section button").first.click()
    assert MOMENTS[0].start <= first_play(page)["time"] < MOMENTS[0].end
    assert page.locator("video").first.bounding_box()["y"] < 800


def test_a_click_on_the_saliency_seeks(page: Any) -> None:
    track = page.locator(".track").first
    box = track.bounding_box()
    track.click(position={"x": box["width"] * 0.25, "y": 10})
    page.wait_for_function("() => Math.abs(document.querySelector('video').currentTime - 2.5) < 0.1")
    assert page.evaluate(STATE)[0]["paused"]


def test_a_file_that_cannot_be_played_is_reported(page: Any) -> None:
    assert not page.locator(".broken").nth(1).is_visible()
    page.locator("article").nth(1).locator("button").first.click()
    page.locator(".broken").nth(1).wait_for(state="visible")
    assert not page.locator(".broken").nth(0).is_visible()


def test_hostile_sentences_are_text_to_the_browser(page: Any) -> None:
    shown = page.locator("article").first.locator("h3").all_text_contents()
    assert shown[0] == "a person"
    for sentence in HOSTILE:
        if sentence.isprintable():
            assert sentence in shown
    assert len(shown) == 1 + len(HOSTILE)
    assert page.title() == f"{4 * (1 + len(HOSTILE))} moments for {1 + len(HOSTILE)} queries in 2 videos"
    assert page.locator("script").count() == 1
    assert not page.problems


def test_a_phone_in_the_dark(browser: Any, written: Path) -> None:
    page = browser.new_page(viewport=PHONE, color_scheme="dark")
    page.goto(written.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    rights = page.evaluate("[...document.querySelectorAll('article *')].map(e => e.getBoundingClientRect().right)")
    assert max(rights) <= PHONE["width"]
    assert page.locator("article button").first.bounding_box()["height"] >= 40
    background, ink = (
        page.evaluate(f"getComputedStyle(document.querySelector('article button')).{name}.match(/\\d+/g).map(Number)")
        for name in ("backgroundColor", "color")
    )
    assert max(background) < 60
    assert min(ink) > 180
    page.close()


def test_hundreds_of_videos_are_not_loaded_at_once(browser: Any, written: Path, tmp_path: Path) -> None:
    source = next((written.parents[1] / "videos").glob("a*"))
    videos, moments = [], []
    for number in range(300):
        video = VideoFile(source, Path(f"{number}.mp4"))
        videos.append(GroundedVideo(video, Timeline(10.0, 2), {"a person": np.zeros(2, dtype=np.float32)}))
        moments.append(RankedMoment(video, "a person", 1, MOMENTS[0]))
    target = tmp_path / "many.html"
    target.write_text(render_moments_page(videos, moments, target), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    page.goto(target.as_uri())
    page.locator("article").nth(150).locator("button").click()
    page.wait_for_function("() => !document.querySelectorAll('video')[150].paused")
    loaded = page.evaluate("[...document.querySelectorAll('video')].filter(video => video.preload !== 'none').length")
    assert loaded < 30
    page.close()
