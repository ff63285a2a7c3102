"""The page of an evaluation: complete, self-contained, and safe with any text."""

from __future__ import annotations

import base64
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mttsg_core.data.pairs import Pair
from mttsg_core.evaluation.evaluation_report import EvaluationReport, blind_baselines
from mttsg_core.evaluation.evaluator import score
from mttsg_core.evaluation.metrics import MetricConfig
from mttsg_core.moments import Moment
from mttsg_core.report import Thumbnail, pick_cases, render_evaluation_page, take_thumbnails
from mttsg_core.video.stills import encode_jpeg, read_thumbnails
from tests.helpers import video_files
from tests.helpers.report_pages import HOSTILE, UNENCODABLE, PageReader, evaluation_report


def test_a_page_is_complete() -> None:
    report = evaluation_report(60, baselines=True)
    page = PageReader(render_evaluation_page(report, pick_cases(report), {}))
    text = " ".join(page.text)
    assert page.tags.count("article") == 40
    assert page.tags.count("svg") >= 2
    for name in ("constant span", "prior over spans", "whole video", "mAP", "IoU >= m"):
        assert name in text
    assert "Worst queries (20)" in text
    assert "Best queries (20)" in text
    for kind in ("moment length", "moment position", "video length", "sentence length", "words"):
        assert kind in text
    for name, value in report.main.metrics.items():
        assert f"{value:.1f}" in page.text, name


def test_a_page_loads_nothing_and_runs_nothing() -> None:
    report = evaluation_report(12, sentences=HOSTILE)
    thumbnail = Thumbnail("true", 1.0, 3, 2, encode_jpeg(np.zeros((2, 3, 3), dtype=np.uint8)))
    content = render_evaluation_page(report, pick_cases(report), {0: [thumbnail]})
    page = PageReader(content)
    assert not page.handlers
    assert "script" not in page.tags
    assert page.tags.count("img") == 1
    assert all(link.startswith("data:image/jpeg;base64,") for link in page.links)
    assert "url(" not in content
    assert "@import" not in content
    [policy] = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    content.encode("utf-8")


def test_hostile_sentences_and_names_stay_text() -> None:
    texts = [*HOSTILE, UNENCODABLE]
    plain = evaluation_report(len(texts))
    pairs = [
        replace(pair, query=text, video=f"{text}{pair.video}", id=text)
        for pair, text in zip(plain.main.pairs, texts, strict=True)
    ]
    main = replace(plain.main, split=HOSTILE[0], mode=HOSTILE[1], name=HOSTILE[2], nms=HOSTILE[8], pairs=pairs)
    hostile = replace(plain, main=main, fitted_on=UNENCODABLE)
    page, expected = (PageReader(render_evaluation_page(report, pick_cases(report), {})) for report in (hostile, plain))
    # The hostile videos differ from each other, so that the cases may come in another order.
    assert set(page.tags) == set(expected.tags)
    assert page.tags.count("article") == expected.tags.count("article")
    assert not page.handlers
    text = "".join(page.text)
    for sentence in HOSTILE:
        if sentence.isprintable():
            assert sentence in text
    assert r"nothing\x00 but \x1b[31m control\x07 characters" in text
    assert r"half of a pair \ud83d and \x85\uffff" in text


def test_the_worst_and_the_best() -> None:
    pairs = [Pair(str(n), f"v{n // 2}", f"s{n}", ((0.0, 10.0),), 20.0) for n in range(6)]
    predictions = [
        [Moment(0, 9, 0.5)],
        [Moment(11, 12, 0.2)],
        [],
        [Moment(0, 10, 0.4), *[Moment(1, 2, 0.1)] * 8],
        [Moment(12, 13, 0.9)],
        [Moment(0, 5, 0.3)],
    ]
    cases = pick_cases(EvaluationReport(score("val", pairs, predictions, "predictions"), [20.0] * 6))
    assert [(case.index, case.is_worst) for case in cases] == [
        (4, True),
        (1, True),
        (2, True),
        (3, False),
        (0, False),
        (5, False),
    ]
    assert [len(case.predictions) for case in cases] == [1, 1, 0, 3, 1, 1]
    assert cases[0].extent == 20
    [single] = pick_cases(EvaluationReport(score("val", pairs[:1], predictions[:1], "predictions"), [None]))
    assert (single.is_worst, single.extent) == (True, 10)


def test_unusual_times_make_a_page() -> None:
    pairs = [Pair("1", "a", "x" * 3000, ((0.0, 1e7),)), Pair("2", "b", "y", ((1.0, 2.0), (3.0, 4.0)), 0.5)]
    predictions = [[Moment(-50, 1e6, 3.0)], [Moment(0, 0, 0)]]
    config = MetricConfig((1,), (0.0, 1.0), average_precision=True)
    main = replace(score("val", pairs, predictions, "predictions"), metric_config=config)
    report = EvaluationReport(main, [None, 0.5], blind_baselines(main, [None, 0.5], [], []), "val")
    page = PageReader(render_evaluation_page(report, pick_cases(report), {}))
    assert page.tags.count("article") == 2
    assert "nan" not in " ".join(page.text)
    assert "+1" in "".join(page.text)  # the second true moment


def test_thumbnails_of_a_video(tmp_path: Path) -> None:
    path = video_files.write_video(tmp_path / "v.mp4", range(40), time_base=Fraction(1, 10))
    thumbnails = read_thumbnails(path, [("true", 3.05), ("prediction", 1.05), ("prediction", 99.0)])
    assert [thumbnail.label for thumbnail in thumbnails] == ["true", "prediction", "prediction"]
    assert [thumbnail.time for thumbnail in thumbnails] == pytest.approx([3.0, 1.0, 3.9])
    with Image.open(BytesIO(base64.b64decode(thumbnails[0].jpeg))) as image:
        assert (image.format, image.mode) == ("JPEG", "RGB")
        assert image.size == (thumbnails[0].width, thumbnails[0].height)
        assert video_files.read_number(np.asarray(image)) == 30


def test_a_broken_video_has_no_thumbnails(tmp_path: Path) -> None:
    report = evaluation_report(4)
    cases = [replace(case, pair=replace(case.pair, video=case.pair.id)) for case in pick_cases(report)]
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\0" * 2000)
    good = video_files.write_video(tmp_path / "good.mp4", range(20), time_base=Fraction(1, 10))
    files = {case.pair.video: (broken, good, None, tmp_path / "gone.mp4")[n] for n, case in enumerate(cases)}
    thumbnails = dict(take_thumbnails(cases, files.__getitem__))
    assert list(thumbnails) == [case.index for case in cases]
    assert [len(thumbnails[case.index]) for case in cases] == [0, 2, 0, 0]
    assert not any(images for _, images in take_thumbnails(cases, lambda _: None))
