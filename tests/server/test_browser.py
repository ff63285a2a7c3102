"""The page in headless Chromium, by mouse and keyboard. Skipped if Chromium is not installed."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from mttsg_core.server.app import Workplace, create_app
from mttsg_core.server.running import open_socket
from mttsg_core.server.security import Access
from tests.server.conftest import FPS, NAMES, make_searcher, make_work
from tests.server.test_clips import numbers

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")]
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

DESK, PHONE = {"width": 1280, "height": 860}, {"width": 375, "height": 800}
QUERY = "the red circle moves left"
TIME = "() => document.querySelector('#video').currentTime"
SHOWN = "[...document.querySelectorAll('.hit')].map(each => each.textContent).join('')"
LOADED = "() => document.querySelector('#video').readyState >= 2"
SLACK = 1.0  # seconds that a busy machine may play on past the end of a moment
MARKED = (("a number is shown", 1.0, 2.0), ("the squares change", 2.0, 4.0), ("it ends", 4.0, 5.5))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture
def own_work(videos: Path, trained: Path, page_cache: Path, tmp_path: Path) -> Workplace:
    """What the page works with; its models are those of the test alone."""
    return make_work(make_searcher(videos, trained, page_cache), tmp_path / "data", page_cache, tmp_path / "clips")


@pytest.fixture
def address(own_work: Workplace) -> Iterator[str]:
    """The page on a free port of this computer."""
    listener = open_socket("127.0.0.1", 0)
    server = uvicorn.Server(
        uvicorn.Config(create_app(own_work, Access()), log_config=None, timeout_graceful_shutdown=1, ws="none")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    server.should_exit = True
    thread.join(20)
    listener.close()


def open_page(browser: Any, address: str, **options: Any) -> Any:
    page = browser.new_context(**{"viewport": DESK, **options}).new_page()
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda message: page.problems.append(message.text))
    page.goto(address)
    page.wait_for_function("() => document.querySelector('#library').textContent.startsWith('3 videos')")
    return page


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    opened = open_page(browser, address)
    yield opened
    opened.context.close()


def ask(page: Any, query: str = QUERY) -> None:
    page.locator("#query").fill(query)
    page.keyboard.press("Enter")
    page.wait_for_function(f"() => document.title.startsWith({json.dumps(query)}) || location.hash.length > 3")
    page.locator(".hit[aria-current=true]").wait_for()


def moment(page: Any) -> list[float]:
    return [float(page.locator(f"#{end}").get_attribute("aria-valuenow")) for end in ("start", "end")]


def rows(data: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (data / "train.jsonl").read_text(encoding="utf-8").splitlines()]


def said(page: Any, text: str) -> None:
    page.wait_for_function(f"() => document.querySelector('#message').textContent.includes({json.dumps(text)})")


def open_playable(page: Any) -> None:
    """Choose the best answer in a video that a browser plays, be it a weak one."""
    if page.locator("#weak[aria-expanded=false]").is_visible():
        page.locator("#weak").click()
    page.locator(".hit", has_text=NAMES[0]).first.click()
    page.wait_for_function(LOADED)


def test_ask_play_and_move_on(page: Any) -> None:
    ask(page)
    assert page.locator(".hit").count() >= 3
    assert page.locator("#model-name").text_content() == "the first model"
    page.wait_for_function("() => document.querySelector('#timeline path').getAttribute('d').length > 20")
    page.wait_for_function("() => [...document.querySelectorAll('#hits img')].every(each => each.naturalWidth > 0)")
    assert page.locator("#axis span").first.text_content() == "0:00"
    first = page.evaluate("document.activeElement.textContent")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.textContent") != first
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.textContent") == first
    open_playable(page)
    start, end = moment(page)
    page.wait_for_function(f"() => document.querySelector('#video').currentTime > {start + 0.2}")
    page.wait_for_function("() => document.querySelector('#video').paused")
    assert end <= page.evaluate(TIME) < end + SLACK
    page.keyboard.press("Space")  # once more
    page.wait_for_function("() => !document.querySelector('#video').paused")
    assert start <= page.evaluate(TIME) < end
    page.keyboard.press("Space")
    page.wait_for_function("() => document.querySelector('#video').paused")
    assert page.evaluate(TIME) < end
    page.locator("#timeline").click(position={"x": page.locator("#timeline").bounding_box()["width"] * 0.9, "y": 4})
    page.wait_for_function("() => Math.abs(document.querySelector('#video').currentTime - 5.4) < 0.1")
    assert not page.problems


def test_drag_save_and_judge(page: Any, tmp_path: Path) -> None:
    ask(page)
    open_playable(page)
    answered = moment(page)
    page.locator("#right").click()
    said(page, "Kept as right")
    track, handle = page.locator("#timeline").bounding_box(), page.locator("#end").bounding_box()
    held = handle["x"] + handle["width"] / 2 + 4, handle["y"] + handle["height"] / 2
    page.mouse.move(*held)
    page.mouse.down()
    page.mouse.move(held[0] - track["width"] / 10, held[1], steps=5)
    page.mouse.up()
    start, end = moment(page)
    assert (start, end) == (answered[0], pytest.approx(answered[1] - 0.6, abs=0.05))
    page.locator("#start").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    assert moment(page) == [pytest.approx(start + 0.1), end]
    page.keyboard.press("Home")
    page.locator("#end").focus()
    page.keyboard.press("Shift+ArrowLeft")
    start, end = moment(page)
    assert (start, page.locator("#right").is_disabled()) == (0.0, True)
    page.locator("#moved").click()
    said(page, "as you moved them")
    page.locator("#wrong").click()
    said(page, "Kept as wrong")
    right, moved = rows(tmp_path / "data")
    assert (right["id"][:5], moved["id"][:5], moved["query"], moved["video"]) == ("right", "moved", QUERY, NAMES[0])
    assert [right["start"], right["end"]] == pytest.approx(answered, abs=0.01)
    assert [moved["start"], moved["end"]] == [start, end]
    page.locator("#message button", has_text="Undo").click()
    said(page, "Taken back")
    assert (tmp_path / "data" / "wrong.jsonl").read_text() == ""
    assert len(rows(tmp_path / "data")) == 2

    page.locator("#save-clip").click()
    page.wait_for_function(
        "() => document.querySelector('#message').textContent.startsWith('Saved as')", timeout=60_000
    )
    [clip] = (tmp_path / "clips").glob("*.mp4")
    first, last = round(start * FPS), round(end * FPS)
    shown = numbers(clip)
    assert shown == list(range(shown[0], shown[0] + len(shown)))
    assert (shown[0], abs(shown[-1] + 1 - last) <= 1) == (first, True)
    assert not page.problems


def test_mark_train_and_ask_again(page: Any, tmp_path: Path) -> None:
    ask(page)
    before = page.locator(".hit").all_text_contents()
    page.locator("#show-videos").click()
    page.locator(".video-entry", has_text=NAMES[0]).click()
    page.wait_for_function(LOADED)
    for sentence, start, end in MARKED:
        for key, time in (("i", start), ("o", end)):
            page.evaluate(f"document.querySelector('#video').currentTime = {time}")
            page.wait_for_function("() => !document.querySelector('#video').seeking")
            page.keyboard.press(key)
        page.keyboard.press("Enter")
        page.keyboard.type(sentence)
        page.keyboard.press("Enter")
        said(page, f"Kept: {sentence}")
    marked = [(row["query"], row["start"], row["end"]) for row in rows(tmp_path / "data")]
    assert marked == list(MARKED)
    page.wait_for_function("() => document.querySelector('#rows').textContent === '3 moments'")
    page.locator("#train").click()
    page.wait_for_function(
        "() => document.querySelector('#training').textContent.includes('Trained.')", timeout=120_000
    )
    page.wait_for_function("() => document.querySelector('#model').value === '1'", timeout=60_000)
    said(page, "From now on answers: run ")
    page.locator("#message button", has_text="Ask again").click()
    page.wait_for_function(f"() => {SHOWN} !== {json.dumps(''.join(before))}")
    page.locator("#model").select_option("0")
    said(page, "From now on answers: the first model")
    page.locator("#message button", has_text="Ask again").click()
    page.wait_for_function(f"() => {SHOWN} === {json.dumps(''.join(before))}")
    assert not page.problems


def test_two_tabs_lose_no_row(browser: Any, page: Any, address: str, tmp_path: Path) -> None:
    other = open_page(browser, address)
    for tab in (page, other):
        tab.locator("#show-videos").click()
        tab.locator(".video-entry", has_text=NAMES[1]).click()
        tab.keyboard.press("i")
    for number in range(3):
        for name, tab in (("one", page), ("other", other)):
            tab.locator("#sentence").fill(f"{name} {number}")
            tab.locator("#mark").evaluate("form => form.requestSubmit()")  # without waiting for the answer
        for name, tab in (("one", page), ("other", other)):
            said(tab, f"Kept: {name} {number}")
            tab.keyboard.press("i")
    assert len({row["query"] for row in rows(tmp_path / "data")}) == 6
    page.locator("#list summary").click()
    page.locator("#list button", has_text="Take back").nth(5).wait_for()
    assert not page.problems and not other.problems
    other.context.close()


def test_what_the_browser_cannot_play_is_converted(page: Any) -> None:
    ask(page)
    if page.locator(".hit", has_text=NAMES[2]).first.is_hidden():
        page.locator("#weak").click()
    page.locator(".hit", has_text=NAMES[2]).first.click()
    page.locator("#unplayable").wait_for(timeout=60_000)
    page.wait_for_function("() => document.querySelector('#video').videoWidth > 0", timeout=60_000)
    assert "converted" in page.locator("#unplayable").text_content()
    start, _ = moment(page)
    page.wait_for_function(f"() => document.querySelector('#video').currentTime > {start}")
    assert page.problems == [text for text in page.problems if "Failed to load" in text]


def test_hostile_names_and_sentences_are_text(page: Any, tmp_path: Path) -> None:
    sentence = "<img src=x onerror=\"document.title='run'\"> & </script>"
    ask(page, sentence)
    page.locator(".hit", has_text="<b>").first.click()
    assert page.locator("#shown").text_content() == NAMES[1]
    page.locator("#right").click()
    said(page, "Kept as right")
    page.locator("#list summary").click()
    page.locator("#list bdi", has_text="onerror").wait_for()
    page.reload()
    page.locator(".hit[aria-current=true]").wait_for()  # the question is in the address
    assert page.locator("main b, main img[src=x]").count() == 0
    assert rows(tmp_path / "data")[0]["query"] == sentence
    assert page.locator("#history option").first.get_attribute("value") == sentence
    assert not page.problems


def test_a_phone_in_the_dark_and_a_finger(browser: Any, address: str) -> None:
    page = open_page(browser, address, viewport=PHONE, color_scheme="dark", has_touch=True, is_mobile=True)
    ask(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    rights = page.evaluate("[...document.querySelectorAll('main *')].map(e => e.getBoundingClientRect().right)")
    assert max(rights) <= PHONE["width"] + 16  # the handle at the end of the track
    assert min(page.evaluate("[...document.querySelectorAll('.buttons button')].map(e => e.offsetHeight || 99)")) >= 40
    background = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert max(background) < 60
    before = moment(page)[1]
    box = page.locator("#end").bounding_box()
    x, y = box["x"] + box["width"] / 2 + 6, box["y"] + box["height"] / 2
    touch = page.context.new_cdp_session(page)
    for kind, shift in (("touchStart", 0), ("touchMove", -10), ("touchMove", -30), ("touchEnd", None)):
        points = [] if shift is None else [{"x": x + shift, "y": y}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert moment(page)[1] < before - 0.2
    assert not page.problems
    page.context.close()


def test_everything_has_a_name(page: Any) -> None:
    ask(page)
    page.locator("#show-videos").click()
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, [role=slider]")]
          .filter(each => each.offsetParent)
          .filter(each => !each.textContent.trim() && !each.getAttribute("aria-label") && !each.labels?.length)
          .map(each => each.id)"""
    )
    assert unnamed == []
    for end in ("start", "end"):
        slider = page.locator(f"#{end}")
        assert slider.get_attribute("role") == "slider"
        low, now, high = (float(slider.get_attribute(f"aria-value{name}")) for name in ("min", "now", "max"))
        assert low <= now <= high
        assert ":" in slider.get_attribute("aria-valuetext")
    assert page.locator("#message").get_attribute("aria-live") == "polite"


def test_the_server_that_has_gone_is_named(page: Any, own_work: Workplace) -> None:
    ask(page)
    page.context.set_offline(True)
    page.locator("#right").click()
    said(page, "does not answer")
    assert replace(own_work).corrections.training_rows() == 0
