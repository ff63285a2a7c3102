"""The layout of every page: one HTML file that loads nothing and runs only the script its policy names."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mttsg_core import __version__
from mttsg_core.report import palette
from mttsg_core.report.charts import bar_style
from mttsg_core.report.escape import clock, percent
from mttsg_core.utils.text import count, visible_text

_PACKAGE = "mttsg_core.report"


@cache
def environment() -> Environment:
    """Return the only template environment: everything inserted is escaped and its control characters made visible."""
    result = Environment(
        loader=PackageLoader(_PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_make_visible,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    result.filters.update(percent=percent, clock=clock, bar_style=bar_style, colour_number=palette.colour_number)
    result.globals.update(count=count)
    return result


@cache
def asset(name: str) -> Markup:
    """Return a file of `assets/` to inline as it is: the only text that reaches a page unescaped."""
    text = (files(_PACKAGE) / "assets" / name).read_text(encoding="utf-8")
    return Markup(text)  # our own file, never data


def render_page(
    template: str, *, stylesheets: Sequence[str] = (), script: str | None = None, media: str = "", **context: Any
) -> str:
    """Render a template that extends `base.html.j2`.

    Args:
        template: the file in `templates/`.
        stylesheets: assets to inline after the common style sheets.
        script: the asset to inline as the only script that may run; None allows none.
        media: where video may come from, as a source list of the policy's `media-src`.
        context: the variables of the template.
    """
    source = asset(script) if script else Markup()
    page = {
        "policy": _content_security_policy(source, media),
        "style": Markup().join(
            [asset("colours.css"), asset("report.css"), Markup(palette.stylesheet()), *map(asset, stylesheets)]
        ),
        "script": source,
        "version": __version__,
        "date": date.today().isoformat(),
    }
    return environment().get_template(template).render(page=page, **context)


def _content_security_policy(script: str, media: str) -> str:
    """Return a policy that forbids everything the page itself does not need, whatever text it shows."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    if media:
        policy += f"; media-src {media}"
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
        policy += f"; script-src 'sha256-{digest}'"
    return policy


def _make_visible(value: object) -> object:
    """Make the control characters of a string to insert visible; markup consists of parts that already are."""
    return visible_text(value) if isinstance(value, str) and not isinstance(value, Markup) else value
