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
STATE = "() => { const v = document.querySelector('video'); return {time: v.currentTime, paused: v.paused}; }"
PAUSED = "() => document.querySelector('video').paused"
# Media events do not bubble, but they can be captured on their way down.
RECORD = """() => {
  window.plays = [];
  document.addEventListener("playing", event => window.plays.push({
    time: event.target.currentTime,
    current: [...document.querySelectorAll("[aria-current=true]")].map(hit => hit.parentElement.id),
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


def last_play(page: Any, number: int = 1) -> dict[str, Any]:
    """Return at which second the video played last, and the moments marked then, once it has played `number` times."""
    page.wait_for_function(f"() => window.plays.length >= {number}")
    return page.evaluate("() => window.plays.at(-1)")


def wait_for_end(page: Any, moment: Moment) -> None:
    page.wait_for_function(f"() => document.querySelector('video').currentTime >= {moment.end}")
    page.wait_for_function(PAUSED)
    assert moment.end <= page.evaluate(STATE)["time"] < moment.end + SLACK


def test_a_click_plays_the_moment_and_stops_at_its_end(page: Any) -> None:
    page.locator(".hit").first.click()
    play = last_play(page)
    assert MOMENTS[0].start <= play["time"] < MOMENTS[0].end
    assert play["current"] == ["hit-1"]
    wait_for_end(page, MOMENTS[0])
    assert page.url.endswith("#hit-1")
    assert page.evaluate("getComputedStyle(document.querySelector('.mark.current')).left") != "0px"
    assert not page.problems


def test_the_players_own_button_plays_the_first_moment(page: Any) -> None:
    page.evaluate("() => { document.querySelector('video').play(); }")
    page.wait_for_function(f"() => document.querySelector('video').currentTime >= {MOMENTS[0].start}")
    wait_for_end(page, MOMENTS[0])


def test_arrow_keys_and_space_move_the_player(page: Any) -> None:
    page.keyboard.press("ArrowDown")  # from the first, which is shown, to the best one of the other video
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.parentElement.id") == "hit-3"
    assert last_play(page)["current"] == ["hit-3"]
    assert page.url.endswith("#hit-3")
    for _ in range(4):
        page.keyboard.press("ArrowUp")  # there is none before the first
    page.wait_for_function("() => window.plays.at(-1).current[0] === 'hit-1'")
    wait_for_end(page, MOMENTS[0])
    page.keyboard.press("Space")  # plays on
    page.wait_for_function("() => !document.querySelector('video').paused")
    page.keyboard.press("Space")
    page.wait_for_function(PAUSED)
    page.locator("#hit-3 .hit").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("() => window.plays.at(-1).current[0] === 'hit-3'")
    assert not page.problems


def test_a_link_to_a_moment_shows_it(browser: Any, written: Path) -> None:
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    page.goto(f"{written.as_uri()}#hit-3")
    hit = page.locator("#hit-3 .hit")
    assert hit.get_attribute("aria-current") == "true"
    start = hit.get_attribute("data-start")
    page.wait_for_function(f"() => Math.abs(document.querySelector('video').currentTime - {start}) < 0.1")
    assert page.evaluate(STATE)["paused"]
    page.evaluate("location.hash = '#hit-1'")
    page.locator("#hit-1 .hit[aria-current=true]").wait_for()
    page.goto(hit.get_attribute("href") and page.evaluate("document.querySelector('#hit-1 .hit').href"))
    page.wait_for_function(
        f"() => document.querySelector('video').currentTime >= {MOMENTS[0].start}"
    )  # the file itself
    page.close()


def test_a_click_on_the_curve_seeks(page: Any) -> None:
    curve = page.locator(".curve")
    box = curve.bounding_box()
    curve.click(position={"x": box["width"] * 0.25, "y": 10})
    page.wait_for_function("() => Math.abs(document.querySelector('video').currentTime - 2.5) < 0.1")
    assert page.evaluate(STATE)["paused"]
    assert page.locator(".axis span").all_text_contents() == ["0:00", "0:02", "0:04", "0:06", "0:08"]


def test_a_file_that_cannot_be_played_is_reported(page: Any) -> None:
    assert not page.locator(".broken").is_visible()
    page.locator(".hit[data-name='bad.mp4']").first.click()
    page.locator(".broken").wait_for(state="visible")
    assert "bad.mp4#t=" in page.locator(".broken a").get_attribute("href")
    page.locator(".hit").first.click()
    last_play(page)
    assert not page.locator(".broken").is_visible()


def test_hostile_sentences_are_text_to_the_browser(page: Any) -> None:
    shown = page.locator("h2").all_text_contents()
    assert shown[0] == "a person"
    for sentence in HOSTILE:
        if sentence.isprintable():
            assert sentence in shown
    assert len(shown) == 1 + len(HOSTILE)
    assert page.title() == f"{4 * (1 + len(HOSTILE))} moments for {1 + len(HOSTILE)} queries in 2 videos"
    for number in range(len(HOSTILE)):
        page.locator(".query").nth(1 + number).locator(".hit").first.click()
        assert page.locator(".shown").text_content().startswith(shown[1 + number])
    assert page.locator("script").count() == 1
    assert page.title().endswith("videos")
    assert not page.problems


def test_a_phone_in_the_dark(browser: Any, written: Path) -> None:
    page = browser.new_page(viewport=PHONE, color_scheme="dark")
    page.goto(written.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    rights = page.evaluate("[...document.querySelectorAll('main *')].map(e => e.getBoundingClientRect().right)")
    assert max(rights) <= PHONE["width"]
    page.locator(".hit").last.scroll_into_view_if_needed()
    assert page.locator(".hit").last.bounding_box()["height"] >= 40
    assert page.locator("video").bounding_box()["y"] <= 20  # the player stays
    background, ink = (
        page.evaluate(f"getComputedStyle(document.querySelector('.hit')).{name}.match(/\\d+/g).map(Number)")
        for name in ("backgroundColor", "color")
    )
    assert max(background) < 60
    assert min(ink) > 180
    page.close()


def test_of_hundreds_of_videos_one_is_loaded(browser: Any, written: Path, tmp_path: Path) -> None:
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
    assert page.evaluate("document.querySelector('video').readyState") == 0
    page.locator(".hit").nth(150).click()
    page.wait_for_function("() => !document.querySelector('video').paused")
    assert page.evaluate("document.querySelector('video').getAttribute('aria-label')") == "150.mp4"
    assert page.locator("video").count() == 1
    page.close()
