"""The page of grounded moments: players, queries with their saliency over time, and a button for each moment."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from mttsg_core.encoders.base import Array
from mttsg_core.inference.ranking import RankedMoment
from mttsg_core.moments import Moment, Timeline
from mttsg_core.report.charts import saliency_path
from mttsg_core.report.layout import render_page
from mttsg_core.video.discovery import VideoFile

_BEST = 20  # moments of a query that are listed over all videos


@dataclass(frozen=True)
class GroundedVideo:
    """A video and the saliency of its clips, (T,) in 0..1, for each query grounded in it."""

    video: VideoFile
    timeline: Timeline
    saliency: Mapping[str, Array]


class _Query(NamedTuple):
    """A query in one video."""

    text: str
    saliency: str  # an SVG path
    moments: Sequence[Moment]


class _Player(NamedTuple):
    """A video on the page; its buttons refer to it by `id`."""

    id: str
    name: str
    address: str
    timeline: Timeline
    queries: Sequence[_Query]


def render_moments_page(
    videos: Sequence[GroundedVideo],
    moments: Sequence[RankedMoment],
    page: Path,
    *,
    model: str = "",
    show_scores: bool = True,
) -> str:
    """Return the page as HTML. It plays the videos from their own files.

    Args:
        videos: all videos that were grounded. One video is shown with all its queries; of several, those with a moment
            are shown with the queries that have one there, and the others are counted.
        moments: the moments found, best first within each query and video.
        page: where the page will be written; links to the videos stay valid when both are moved together.
        model: what answered, in one line.
        show_scores: whether to show the scores; those of an uncalibrated model only give the order.
    """
    found: dict[tuple[VideoFile, str], list[Moment]] = {}
    for ranked in moments:
        found.setdefault((ranked.video, ranked.query), []).append(ranked.moment)
    with_moments = {video for video, _ in found}
    single = len(videos) == 1
    shown = [grounded for grounded in videos if single or grounded.video in with_moments]
    players = {
        grounded.video: _player(grounded, f"v{index}", found, page, all_queries=single)
        for index, grounded in enumerate(shown)
    }
    queries = list(dict.fromkeys(query for grounded in videos for query in grounded.saliency))
    return render_page(
        "moments.html.j2",
        stylesheets=("player.css",),
        script="player.js",
        media="'self' file:",  # 'self' is the server the page came from; a page opened as a file has none
        moments=len(moments),
        model=model,
        show_scores=show_scores,
        queries=len(queries),
        players=list(players.values()),
        left_out=len(videos) - len(shown),
        best=[] if single else [(query, _best(query, moments, players)) for query in queries],
    )


def relative_link(path: Path, page: Path) -> str:
    """Return the address of a file in a page at `page`: relative, or absolute where no relative path leads there."""
    try:
        relative = os.path.relpath(path, page.absolute().parent)
    except ValueError:  # another drive
        return path.absolute().as_uri()
    return quote(os.fsencode(relative.replace(os.sep, "/")))


def _player(
    grounded: GroundedVideo,
    identifier: str,
    found: Mapping[tuple[VideoFile, str], Sequence[Moment]],
    page: Path,
    *,
    all_queries: bool,
) -> _Player:
    video = grounded.video
    queries = [
        _Query(query, saliency_path(saliency), found.get((video, query), ()))
        for query, saliency in grounded.saliency.items()
        if all_queries or (video, query) in found
    ]
    return _Player(identifier, video.name.as_posix(), relative_link(video.path, page), grounded.timeline, queries)


def _best(
    query: str, moments: Sequence[RankedMoment], players: Mapping[VideoFile, _Player]
) -> list[tuple[_Player, Moment]]:
    """Return a query's best moments over all videos, each with the player that shows it."""
    of_query = [ranked for ranked in moments if ranked.query == query]
    of_query.sort(key=lambda ranked: -ranked.moment.score)
    return [(players[ranked.video], ranked.moment) for ranked in of_query[:_BEST]]
