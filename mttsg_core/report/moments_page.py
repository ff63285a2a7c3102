"""The page of answered moments: players, sentences, how sure the model is over time, and moments to click on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np

from mttsg_core.encoders.base import Array
from mttsg_core.inference.ranking import RankedMoment
from mttsg_core.moments import Timeline
from mttsg_core.report.escape import clean, clock
from mttsg_core.report.layout import frame, section
from mttsg_core.report.player import PLAYER_SCRIPT, PLAYER_STYLE
from mttsg_core.utils.text import count
from mttsg_core.video.discovery import VideoFile

_POINTS = 240  # of a curve, at most
_BEST = 20  # answers to a sentence that are listed over all videos


@dataclass(frozen=True)
class GroundedVideo:
    """A video and, for each sentence asked of it, its curve: (T,) in 0..1, a value a clip of the time line."""

    video: VideoFile
    timeline: Timeline
    saliency: Mapping[str, Array]


def render_moments_page(videos: Sequence[GroundedVideo], answers: Sequence[RankedMoment], place: Path) -> str:
    """The whole page. It plays the videos where they lie.

    Args:
        videos: all that were asked; of several, only answered sentences are shown, and videos without are counted.
        answers: the moments, of each sentence the best first.
        place: where the page will be, for links to the videos that still work when both are moved.
    """
    found: dict[tuple[VideoFile, str], list[RankedMoment]] = {}
    for answer in answers:
        found.setdefault((answer.video, answer.query), []).append(answer)
    queries = list(dict.fromkeys(query for asked in videos for query in asked.saliency))
    answered = {video for video, _ in found}
    shown = [asked for asked in videos if asked.video in answered or len(videos) == 1]
    ids = {asked.video: f"v{number}" for number, asked in enumerate(shown)}
    title = f"{count(len(answers), 'moment')} of {count(len(queries), 'sentence')} in {count(len(shown), 'video')}"
    parts = [_video(asked, ids[asked.video], found, place, whole=len(videos) == 1) for asked in shown]
    if len(videos) > 1:
        parts.insert(0, section("The best of all", "".join(_best(query, answers, ids) for query in queries)))
    left_out = len(videos) - len(shown)
    intro = f"<p>{count(left_out, 'video')} without an answer left out.</p>" if left_out else ""
    footnote = "It plays the videos from where they lie, and loads nothing else."
    # 'self' is the page's own server; a page opened as a file has none.
    return frame(title, intro, "".join(parts), footnote, style=PLAYER_STYLE, script=PLAYER_SCRIPT, media="'self' file:")


def link(path: Path, place: Path) -> str:
    """The address of a file in a page that lies at `place`: relative, or absolute where no way leads there."""
    try:
        way = os.path.relpath(path, place.absolute().parent)
    except ValueError:  # another drive
        return path.absolute().as_uri()
    return quote(os.fsencode(way.replace(os.sep, "/")))


def _video(
    asked: GroundedVideo,
    name: str,
    found: Mapping[tuple[VideoFile, str], Sequence[RankedMoment]],
    place: Path,
    *,
    whole: bool,
) -> str:
    """A player and below it the sentences: all of them, or those that have an answer here."""
    address = clean(link(asked.video.path, place))
    sentences = "".join(
        _sentence(query, curve, asked.timeline, found.get((asked.video, query), ()), name)
        for query, curve in asked.saliency.items()
        if whole or (asked.video, query) in found
    )
    shown = clean(asked.video.name.as_posix())
    return (
        f'<article id="{name}"><h2><bdi>{shown}</bdi></h2>'
        f'<video src="{address}" controls playsinline preload="none" aria-label="{shown}"></video>'
        '<p class="note broken" role="status" hidden>This browser cannot play this file here. '
        f'<a href="{address}">Open it by itself</a></p>{sentences}</article>'
    )


def _sentence(query: str, curve: Array, timeline: Timeline, answers: Sequence[RankedMoment], video: str) -> str:
    """A sentence, its curve with the moments marked, and a button for each."""
    scale = 100 / timeline.duration
    extent = f'data-start="{timeline.start:.3f}" data-length="{timeline.duration:.3f}"'
    marks = "".join(
        f'<span class="mark" style="left:{(answer.moment.start - timeline.start) * scale:.3f}%;'
        f'width:{answer.moment.duration * scale:.3f}%"></span>'
        for answer in answers
    )
    buttons = "".join(f"<li>{_button(answer, video)}</li>" for answer in answers)
    return (
        f'<div class="sentence"><h3><bdi dir="auto">{clean(query)}</bdi></h3>'
        f'<div class="track" {extent} aria-hidden="true">'
        f'{_curve(curve)}{marks}<span class="now"></span></div>'
        + (f'<ol class="moments">{buttons}</ol>' if buttons else '<p class="note">Not in this video.</p>')
        + "</div>"
    )


def _best(query: str, answers: Sequence[RankedMoment], ids: Mapping[VideoFile, str]) -> str:
    """A sentence's best answers over all videos."""
    best = sorted((answer for answer in answers if answer.query == query), key=lambda answer: -answer.moment.score)
    buttons = "".join(
        f"<li>{_button(answer, ids[answer.video], f'<bdi>{clean(answer.video.name.as_posix())}</bdi> ')}</li>"
        for answer in best[:_BEST]
    )
    return f'<div class="sentence"><h3><bdi dir="auto">{clean(query)}</bdi></h3>' + (
        f'<ol class="moments">{buttons}</ol></div>' if buttons else '<p class="note">Not in any video.</p></div>'
    )


def _button(answer: RankedMoment, video: str, before: str = "") -> str:
    moment = answer.moment
    return (
        f'<button type="button" aria-pressed="false" data-video="{video}" data-start="{moment.start:.3f}" '
        f'data-end="{moment.end:.3f}">{before}{clock(moment.start)} – {clock(moment.end)}'
        f'<span class="pm">score {moment.score:.2f}</span></button>'
    )


def _curve(values: Array) -> str:
    """Values (T,) in 0..1 as an area; of a long video the highest of each stretch."""
    edges = np.unique(np.linspace(0, len(values), min(len(values), _POINTS) + 1).astype(int))
    highs = np.maximum.reduceat(values, edges[:-1])
    points = "".join(
        f"L{(first + last) / 2 / len(values) * 1000:.0f} {100 - 100 * min(max(float(high), 0.0), 1.0):.0f}"
        for first, last, high in zip(edges, edges[1:], highs, strict=False)
    )
    return (
        '<svg class="curve" viewBox="0 0 1000 100" preserveAspectRatio="none">'
        f'<path d="M0 100{points}L1000 100Z"/></svg>'
    )
