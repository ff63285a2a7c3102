"""What every page has around its parts: one file, light and dark, which loads and runs only what its maker says."""

from __future__ import annotations

import base64
import hashlib

from mttsg_core import __version__
from mttsg_core.report.escape import clean
from mttsg_core.report.style import STYLE

KICKER = "Temporal sentence grounding"


def frame(
    title: str, intro: str, main: str, footnote: str, *, style: str = "", script: str = "", media: str = ""
) -> str:
    """A whole page. Its policy forbids whatever is not named here, whatever a sentence in it says.

    Args:
        title: as text.
        intro: below the title, as HTML.
        main: likewise.
        footnote: at the end, as text.
        style: rules beside those of every page.
        script: the only one that may run.
        media: where sound and pictures may come from, in the words of `media-src`.
    """
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    if media:
        policy += f"; media-src {media}"
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
        policy += f"; script-src 'sha256-{digest}'"
    return (
        "<!DOCTYPE html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{clean(policy)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{clean(title)}</title><style>{STYLE}{style}</style></head><body>"
        f'<header><p class="kicker">{KICKER}</p><h1>{clean(title)}</h1>{intro}</header>'
        f"<main>{main}</main>"
        f"<footer>Made by mttsg {clean(__version__)}. {clean(footnote)}</footer>"
        + (f"<script>{script}</script>" if script else "")
        + "</body></html>\n"
    )


def section(title: str, content: str) -> str:
    """A part of a page under a heading; the title as text, the content as HTML."""
    return f"<section><h2>{clean(title)}</h2>{content}</section>"
