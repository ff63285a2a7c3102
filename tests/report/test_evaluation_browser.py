"""The page of an evaluation in headless Chromium. Skipped if Chromium is not installed."""

from __future__ import annotations

import html
import shutil
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mttsg_core.report import pick_cases, render_evaluation_page
from tests.helpers import report_pages

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")]
PHONE = 375  # CSS pixels


def browse(tmp_path: Path, *arguments: str) -> str:
    command = [
        str(CHROMIUM),
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        f"--user-data-dir={tmp_path / 'profile'}",
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    report = report_pages.evaluation_report(30, baselines=True, sentences=report_pages.HOSTILE)
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_evaluation_page(report, pick_cases(report), {}), encoding="utf-8")
    return path


def screenshot(tmp_path: Path, written: Path, *arguments: str) -> npt.NDArray[np.uint8]:
    target = tmp_path / "screenshot.png"
    browse(tmp_path, "--window-size=900,1200", f"--screenshot={target}", *arguments, written.as_uri())
    with Image.open(target) as image:
        return np.asarray(image.convert("RGB"))


def test_light_and_dark_are_readable(tmp_path: Path, written: Path) -> None:
    light = screenshot(tmp_path, written)
    dark = screenshot(tmp_path, written, "--blink-settings=preferredColorScheme=0", "--force-dark-mode")
    for pixels, brightness in ((light, 240), (dark, 30)):
        background = pixels[5, 5].astype(int)
        assert abs(background.mean() - brightness) < 20
        contrast = np.abs(pixels.astype(int) - background).max(axis=-1)
        assert 0.005 < (contrast > 120).mean() < 0.4  # ink, but not much
    assert light.shape == (1200, 900, 3)


def test_it_fits_a_phone_and_runs_nothing(tmp_path: Path, written: Path) -> None:
    # The page is put into a frame as wide as a phone and measured from outside, because it runs no script itself.
    before, after = f'<iframe id="f" style="width:{PHONE}px;height:700px;border:0" srcdoc="', '"></iframe>'
    measure = """<script>document.getElementById('f').onload = event => {
        const inside = event.target.contentDocument;
        const boxes = [...inside.querySelectorAll('article *, .groups *, h1, h2')].map(e => e.getBoundingClientRect());
        document.body.innerHTML = '<p id="measured">' + [inside.documentElement.scrollWidth,
            Math.ceil(Math.max(...boxes.map(box => box.right))), inside.querySelectorAll('article').length,
            inside.querySelectorAll('script,iframe').length, inside.title].join('|') + '</p>';
    }</script>"""
    outer = tmp_path / "phone.html"
    inside = html.escape(written.read_text(encoding="utf-8"), quote=True)
    outer.write_text(f'<meta charset="utf-8"><body>{before}{inside}{after}{measure}', encoding="utf-8")
    dom = browse(tmp_path, "--window-size=900,900", "--virtual-time-budget=3000", "--dump-dom", outer.as_uri())
    _, _, measured = dom.partition('<p id="measured">')
    width, right, articles, scripts, title = measured.partition("</p>")[0].split("|")
    assert int(width) <= PHONE
    assert int(right) <= PHONE
    assert (articles, scripts) == ("30", "0")
    assert title == "val: 30 queries in 8 videos"


def test_sentences_reach_the_reader(tmp_path: Path, written: Path) -> None:
    dom = browse(tmp_path, "--dump-dom", written.as_uri())
    assert dom.count("<article>") == 30
    assert "<script" not in dom
    assert "<title>val: 30 queries in 8 videos</title>" in dom
    for sentence in report_pages.HOSTILE:
        if sentence.isprintable():
            assert f'<bdi dir="auto">{html.escape(sentence, quote=False)}</bdi>' in dom
