"""The cost model of docs/scale.md: the page says what the script computes, and the script computes what it says."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
from scale_model import CHANGES, Figures, Machine, ask, duration, encoders, machines, main, plan, size, tables

import mttsg_core

PAGE = Path(mttsg_core.__file__).parents[1] / "docs" / "scale.md"
FIGURES = Figures()
CLIP, CLASSIC = encoders(FIGURES)
CPU, GPU, CLUSTER = machines(FIGURES)


def test_the_page_has_the_tables_of_the_script() -> None:
    printed: list[str] = []
    assert main(printed.append) == 0
    assert "".join(printed).strip() in PAGE.read_text(encoding="utf-8"), "python tools/scale_model.py prints them"


def test_every_figure_says_where_it_comes_from() -> None:
    for field in fields(FIGURES):
        figure = getattr(FIGURES, field.name)
        assert figure.value > 0
        assert figure.about
        assert figure.source
        assert figure.about in tables(FIGURES)


def test_a_thousand_hours_by_hand() -> None:
    on_cpu = plan(1000, CPU, CLIP, FIGURES)
    assert on_cpu.stages["decode"] == pytest.approx(1000 * 50 / 16)
    assert on_cpu.stages["encode"] == pytest.approx(1000 * 418 / 16)
    assert on_cpu.extraction == pytest.approx(1000 * 468 / 16), "both take turns on the same cores"
    on_gpu = plan(1000, GPU, CLIP, FIGURES)
    assert on_gpu.extraction == pytest.approx(3600), "the GPU encodes while the cores decode"
    on_cluster = plan(1000, CLUSTER, CLIP, FIGURES)
    assert on_cluster.stages["send"] == on_cluster.extraction == pytest.approx(1000 * 192e6 / 1.25e9)
    assert (on_cpu.bottleneck, on_gpu.bottleneck, on_cluster.bottleneck) == ("encode", "encode", "index")
    assert on_cpu.stored == 192e9
    assert on_cpu.indexed == 1000 * 7200 * 383


def test_few_videos_do_not_occupy_many_workers() -> None:
    assert plan(1, CLUSTER, CLASSIC, FIGURES).stages["decode"] == pytest.approx(50 / 10 / 0.8)
    assert plan(1, CLUSTER, CLIP, FIGURES).stages["encode"] == pytest.approx(3.6 / 10 / 0.8)


def test_a_question_asks_the_network_about_2000_videos_at_most() -> None:
    small, large, larger = (ask(hours, CLIP, FIGURES) for hours in (1, 10**6, 10**8))
    assert small["answer"] == pytest.approx(0.92 / 2)
    assert large["answer"] == larger["answer"] == pytest.approx(200 * 0.92 / 2)
    assert small["find"] < large["find"] < larger["find"]
    cheap = replace(FIGURES, network=replace(FIGURES.network, value=1e-6))
    assert plan(10**6, CPU, CLIP, cheap).slowest_part == "read"


def test_every_bottleneck_has_a_change() -> None:
    for encoder in (CLIP, CLASSIC):
        for machine in (CPU, GPU, Machine("many", 10_000, 8)):
            cost = plan(10**6, machine, encoder, FIGURES)
            assert cost.stages.keys() | cost.question.keys() <= CHANGES.keys()


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.0123, "12 ms"), (75, "75 s"), (3600, "60 min"), (4e5, "4.6 days"), (9e7, "2.9 years"), (3e10, "950 years")],
)
def test_durations(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


@pytest.mark.parametrize(("count", "expected"), [(2_757_600, "2.8 MB"), (192e12, "190 TB"), (5e5, "0.50 MB")])
def test_sizes(count: float, expected: str) -> None:
    assert size(count) == expected
