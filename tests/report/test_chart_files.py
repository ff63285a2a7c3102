"""Charts as files: what a paper needs of them, read back."""

from __future__ import annotations

import csv
import re
import sys
import zlib
from xml.etree import ElementTree

import pytest

from mttsg_core.errors import ConfigError
from mttsg_core.report.chart_files import FORMATS, need_matplotlib, render_chart
from mttsg_core.report.plots import Curve, Plot, group_plots, recall_plot
from tests.helpers.report_pages import HOSTILE, evaluation_report

NINE = Plot(
    "nine",
    "Nine curves",
    "IoU threshold",
    "recall (%)",
    [Curve(f"system {n}", [0.0, 0.5, 1.0], [90.0 - n, 50.0 - n, 10.0 - n]) for n in range(9)],
    100,
    [0, 0.5, 1],
)


def pdf_text(content: bytes) -> str:
    """Return the text that a PDF shows, of letters in one byte or two, without the kerning between them."""
    text = []
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL):
        try:
            page = zlib.decompress(stream)
        except zlib.error:
            continue
        for shown in re.findall(rb"\[(.*?)\]\s*TJ|(\(.*?\))\s*Tj", page, re.DOTALL):
            text.append(b"".join(re.findall(rb"\(((?:\\.|[^\\)])*)\)", b"".join(shown))))
    return b"\n".join(text).replace(b"\0", b"").replace(b"\\(", b"(").replace(b"\\)", b")").decode("latin-1")


def test_a_pdf_for_a_paper() -> None:
    content = render_chart(NINE, "pdf")
    assert content.startswith(b"%PDF-")
    assert b"/Subtype /Type3" not in content  # fonts of which publishers complain
    assert b"/FontFile2" in content  # embedded TrueType, as Type 42
    text = pdf_text(content)
    for label in ("IoU threshold", "recall (%)", *(f"system {n}" for n in range(9))):
        assert label in text
    assert "Nine curves" not in text  # no title: the caption says it
    [width, _] = [float(size) for size in re.findall(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", content)[0]]
    assert width == pytest.approx(3.25 * 72)  # a column
    assert content == render_chart(NINE, "pdf")


def test_an_svg_whose_text_is_text() -> None:
    content = render_chart(NINE, "svg")
    root = ElementTree.fromstring(content)
    words = ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"IoU threshold", "recall (%)", "system 0", "system 8"} <= set(words)
    lines = re.findall(rb'clip-path="url[^"]*" style="(fill: none; [^"]*)"', content)
    colours = {colour for line in lines for colour in re.findall(rb"stroke: (#\w+)", line)}
    assert len(colours - {b"#b0b0b0"}) == 9  # beside the grid
    assert content == render_chart(NINE, "svg")


def test_points_as_csv() -> None:
    report = evaluation_report(40, baselines=True)
    header, *rows = csv.reader(render_chart(recall_plot(report), "csv").decode().splitlines())
    assert header == ["curve", "IoU threshold", "recall (%)", "low", "high"]
    at_half = {row[0]: float(row[2]) for row in rows if row[1] == "0.5"}
    assert at_half["R@1 model"] == pytest.approx(report.main.metrics["R@1,IoU=0.5"])
    assert at_half["R@1 whole video"] == pytest.approx(report.baselines[-1].metrics["R@1,IoU=0.5"])
    by_length = next(plot for plot in group_plots({"a": report.breakdown}, "mIoU") if plot.name == "by_moment_length")
    _, *rows = csv.reader(render_chart(by_length, "csv").decode().splitlines())
    group = report.breakdown[0]
    assert rows[0][:2] == ["a", group.name]
    assert [float(value) for value in rows[0][2:]] == pytest.approx([group.metrics["mIoU"], *group.intervals["mIoU"]])


@pytest.mark.parametrize("form", FORMATS)
def test_any_name_makes_a_chart(form: str) -> None:
    names = [*HOSTILE, "$x^2", "_hidden", "ü \ud83d"[:2]]
    curves = [Curve(name, [0], [5.0], [1.0], [6.0]) for name in names]
    groups = Plot("g", "g", "kind", "y", curves, 100, x_names=["a b"])
    assert render_chart(groups, form)
    if form == "svg":
        assert "$x^2" in render_chart(groups, form).decode()


def test_without_matplotlib_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"pip install 'mttsg\[charts\]'"):
        need_matplotlib()
    assert render_chart(NINE, "csv")
