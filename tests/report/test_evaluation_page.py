"""The page of an evaluation: complete, self-contained, and deaf to whatever a sentence says."""

from __future__ import annotations

import base64
from dataclasses import replace
from fractions import Fraction
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest

from mttsg_core.data.folder import Pair
from mttsg_core.evaluation.evaluation_report import EvaluationReport, blind_baselines
from mttsg_core.evaluation.evaluator import score
from mttsg_core.evaluation.figures import MetricConfig
from mttsg_core.moments import Moment
from mttsg_core.report import pick_cases, render_evaluation_page, take_thumbnails
from mttsg_core.report.charts import _nice_ceiling
from mttsg_core.report.escape import clean, clock
from mttsg_core.report.thumbnails import Thumbnail, encode_jpeg, read_thumbnails
from tests.helpers import report_pages, video_files


class Reader(HTMLParser):
    """The elements, the text and the links of a page."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.text: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_a_page_is_complete() -> None:
    comparison = report_pages.comparison(60, baselines=True)
    cases = pick_cases(comparison)
    found = Reader(render_evaluation_page(comparison, cases, {}))
    text = " ".join(found.text)
    assert found.elements.count("article") == 40
    assert found.elements.count("svg") >= 2
    for said in ("constant span", "prior over spans", "whole video", "mAP", "IoU >= m", "The 20 worst", "The 20 best"):
        assert said in text
    for kind in ("moment length", "moment position", "video length", "sentence length", "words"):
        assert kind in text
    for name, value in comparison.main.metrics.items():
        assert f"{value:.1f}" in found.text, name


def test_a_page_loads_nothing_and_runs_nothing() -> None:
    comparison = report_pages.comparison(12, sentences=report_pages.HOSTILE)
    picture = Thumbnail("true", 1.0, 4, 2, encode_jpeg(np.zeros((2, 4, 3), dtype=np.uint8)))
    content = render_evaluation_page(comparison, pick_cases(comparison), {0: [picture]})
    found = Reader(content)
    assert not found.handlers
    assert "script" not in found.elements
    assert found.elements.count("img") == 1
    assert all(link.startswith("data:image/jpeg;base64,") for link in found.links)
    assert "url(" not in content
    assert "@import" not in content
    assert "Content-Security-Policy" in content
    content.encode("utf-8")


def test_hostile_sentences_stay_text() -> None:
    comparison = report_pages.comparison(len(report_pages.HOSTILE), sentences=report_pages.HOSTILE)
    tame = report_pages.comparison(len(report_pages.HOSTILE))
    found, expected = (Reader(render_evaluation_page(one, pick_cases(one), {})) for one in (comparison, tame))
    assert sorted(set(found.elements)) == sorted(set(expected.elements))
    assert found.elements.count("article") == expected.elements.count("article")
    text = "".join(found.text)
    for sentence in report_pages.HOSTILE:
        if sentence.isprintable():
            assert sentence in text


def test_text() -> None:
    assert clean("a<b>&\"'\n\x00\x1b[31m") == "a&lt;b&gt;&amp;&quot;&#x27; \\x00\\x1b[31m"
    assert clean("x\ud800y\x85") == "x\\ud800y\\x85"
    assert clean("مرحبا 👩‍👧") == "مرحبا 👩‍👧"
    assert [clock(seconds) for seconds in (0, 59.96, 61.25, 3723.4)] == ["0:00.0", "1:00.0", "1:01.2", "1:02:03.4"]
    assert [_nice_ceiling(count) for count in (0, 1, 3, 11, 17, 170, 1299)] == [2, 2, 4, 12, 20, 200, 1600]


def test_the_worst_and_the_best() -> None:
    pairs = [Pair(str(n), f"v{n // 2}", f"s{n}", ((0.0, 10.0),), 20.0) for n in range(6)]
    answers = [
        [Moment(0, 9, 0.5)],
        [Moment(11, 12, 0.2)],
        [],
        [Moment(0, 10, 0.4), *[Moment(1, 2, 0.1)] * 8],
        [Moment(12, 13, 0.9)],
        [Moment(0, 5, 0.3)],
    ]
    found = pick_cases(EvaluationReport(score("val", pairs, answers, "predictions"), [20.0] * 6))
    assert [(case.number, case.worst) for case in found] == [
        (4, True),
        (1, True),
        (2, True),
        (3, False),
        (0, False),
        (5, False),
    ]
    assert [len(case.answers) for case in found] == [1, 1, 0, 3, 1, 1]
    assert found[0].extent == 20
    [single] = pick_cases(EvaluationReport(score("val", pairs[:1], answers[:1], "predictions"), [None]))
    assert (single.worst, single.extent) == (True, 10)


def test_odd_inputs_make_a_page() -> None:
    pairs = [Pair("1", "a", "x" * 3000, ((0.0, 1e7),)), Pair("2", "b", "y", ((1.0, 2.0), (3.0, 4.0)), 0.5)]
    answers = [[Moment(-50, 1e6, 3.0)], [Moment(0, 0, 0)]]
    main = replace(score("val", pairs, answers, "predictions"), measures=MetricConfig((1,), (0.0, 1.0), precision=True))
    comparison = EvaluationReport(main, [None, 0.5], blind_baselines(main, [None, 0.5], [], []), "val")
    found = Reader(render_evaluation_page(comparison, pick_cases(comparison), {}))
    assert found.elements.count("article") == 2
    assert "nan" not in " ".join(found.text)


def test_pictures_of_a_video(tmp_path: Path) -> None:
    path = video_files.write_video(tmp_path / "v.mp4", range(40), time_base=Fraction(1, 10))
    wanted = [("true", 3.05), ("answer", 1.05), ("answer", 99.0)]
    found = read_thumbnails(path, wanted)
    assert [picture.label for picture in found] == ["true", "answer", "answer"]
    assert [picture.time for picture in found] == pytest.approx([3.0, 1.0, 3.9])
    with av.open(BytesIO(base64.b64decode(found[0].jpeg))) as container:
        frame = next(container.decode(video=0))
        assert (frame.width, frame.height) == (found[0].width, found[0].height)
        assert video_files.read_number(frame.to_ndarray(format="rgb24")) == 30


def test_a_broken_video_has_no_pictures(tmp_path: Path) -> None:
    comparison = report_pages.comparison(4)
    cases = [replace(case, pair=replace(case.pair, video=case.pair.id)) for case in pick_cases(comparison)]
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\0" * 2000)
    good = video_files.write_video(tmp_path / "good.mp4", range(20), time_base=Fraction(1, 10))
    files = {case.pair.video: (broken, good, None, tmp_path / "gone.mp4")[n] for n, case in enumerate(cases)}
    found = dict(take_thumbnails(cases, files.__getitem__))
    assert list(found) == [case.number for case in cases]
    assert [len(found[case.number]) for case in cases] == [0, 2, 0, 0]
    assert not any(pictures for _, pictures in take_thumbnails(cases, lambda _: None))
