"""The template environment and the frame of every page: what data can and cannot do in a page."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files
from typing import Any

import pytest
from jinja2 import UndefinedError

from mttsg_core.report.charts import Chart, _nice_ceiling, bar_style
from mttsg_core.report.escape import clock, percent
from mttsg_core.report.layout import asset, environment, render_page
from mttsg_core.utils.text import visible_text


def render(source: str, **context: object) -> str:
    return environment().from_string(source).render(**context)


def test_inserted_text_is_escaped_and_visible() -> None:
    assert render("{{ text }}", text="a<b>&\"'\n\x00\x1b[31m") == "a&lt;b&gt;&amp;&#34;&#39; \\x00\\x1b[31m"
    assert visible_text("x\ud800y\x85\ufffe\r\t") == "x\\ud800y\\x85\\ufffe\\x0d "
    assert visible_text("مرحبا 👩‍👧") == "مرحبا 👩‍👧"


def test_text_is_visible_through_filters_macros_and_blocks_too() -> None:
    assert render("{{ texts | join(', ') }}", texts=["<\x00", "\ud800"]) == "&lt;\\x00, \\ud800"
    assert render("{{ 'a %s' | format(text) }}", text="<\x00") == "a &lt;\\x00"
    macro = "{% macro show(text) %}<b>{{ text }}</b>{% endmacro %}"
    assert render(macro + "{{ show(text) }}", text="<\x00") == "<b>&lt;\\x00</b>"
    assert render("{% block part %}{{ text }}{% endblock %}{{ self.part() }}", text="<\x00") == "&lt;\\x00" * 2


def test_a_missing_variable_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="missing"):
        render("{{ missing }}")


def test_no_template_switches_escaping_off() -> None:
    templates = [path for path in files("mttsg_core.report").joinpath("templates").iterdir() if "j2" in path.name]
    assert len(templates) == 7
    for path in templates:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\|\s*safe\b|autoescape|Markup", text), path.name
        assert not re.search(r"""=\s*\{\{""", text), f"{path.name}: an attribute without quotes"


def test_the_policy_has_the_hash_of_the_inlined_script() -> None:
    empty: dict[str, Any] = {"moments": 0, "hits": {}, "first": None, "curves": [], "shown": 0, "left_out": 0}
    empty |= {"single": False, "made": []}
    content = render_page("moments.html.j2", script="player.js", media="file:", model="m", show_scores=True, **empty)
    [script] = re.findall(r"<script>(.*?)</script>", content, re.DOTALL)
    assert script == asset("player.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', content)
    assert policy.replace("&#39;", "'") == (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src file:; script-src 'sha256-{digest}'"
    )


@pytest.mark.parametrize("name", ["report.css", "player.css", "player.js"])
def test_assets_can_be_inlined(name: str) -> None:
    assert "</" not in asset(name)
    assert "\r" not in asset(name)


def test_times_and_percentages() -> None:
    assert [clock(seconds) for seconds in (0, 59.96, 61.25, 3723.4)] == ["0:00.0", "1:00.0", "1:01.2", "1:02:03.4"]
    assert percent(12.34) == "12.3"


def test_bars_and_scales() -> None:
    assert bar_style((5, 10, 0.5), 20) == "left:25.000%;width:25.000%"
    assert bar_style((-5, 30), 20) == "left:0.000%;width:100.000%"
    assert bar_style((12, 14), 10, 10) == "left:20.000%;width:20.000%"
    assert bar_style((0, 1), 0) == "left:0.000%;width:0.000%"
    assert [_nice_ceiling(count) for count in (0, 1, 3, 11, 17, 170, 1299)] == [2, 2, 4, 12, 20, 200, 1600]


def test_a_chart_escapes_its_labels() -> None:
    source = '{% from "charts.html.j2" import chart %}{{ chart(content) }}'
    drawn = render(source, content=Chart("<a\x00>", "<b>", (), ()))
    assert "&lt;a\\x00&gt;" in drawn
    assert "<b>" not in drawn
