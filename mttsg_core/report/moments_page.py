"""The page of grounded moments: one player, the curve of the saliency under it, and a link for each moment."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
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
from mttsg_core.video.stills import Thumbnail, take_stills

_MAX_STILLS = 1000  # of the first moments on a page; each takes about 5 kB of it


@dataclass(frozen=True)
class GroundedVideo:
    """A video and the saliency of its clips, (T,) in 0..1, for each query grounded in it."""

    video: VideoFile
    timeline: Timeline
    saliency: Mapping[str, Array]


class _Curve(NamedTuple):
    """The saliency of a query in a video, as an SVG path; moments refer to it by `id`."""

    id: str
    path: str
    timeline: Timeline


class _Hit(NamedTuple):
    """A moment on the page. `link` leads to its first second, in the browser or any player that knows fragments."""

    id: str
    name: str
    link: str
    moment: Moment
    curve: _Curve
    still: Thumbnail | None


def moment_stills(
    moments: Sequence[RankedMoment], *, workers: int = 1
) -> Generator[tuple[Path, dict[RankedMoment, Thumbnail]], None, None]:
    """Yield each video, as it is done, with a still from the middle of each of its moments, for `render_moments_page`.

    Of more moments than a page should hold pictures of, the first ones have one.
    """
    middles: dict[Path, dict[RankedMoment, float]] = {}
    for ranked in _in_order(moments)[:_MAX_STILLS]:
        middle = (ranked.moment.start + ranked.moment.end) / 2
        middles.setdefault(ranked.video.path, {})[ranked] = middle
    times = {path: sorted(set(of_video.values())) for path, of_video in middles.items()}
    with closing(take_stills(times, workers=workers)) as taken:
        for path, stills in taken:
            yield path, {ranked: stills[time] for ranked, time in middles[path].items() if time in stills}


def render_moments_page(
    videos: Sequence[GroundedVideo],
    moments: Sequence[RankedMoment],
    page: Path,
    *,
    stills: Mapping[RankedMoment, Thumbnail] | None = None,
    model: str = "",
    made: Sequence[str] = (),
    show_scores: bool = True,
) -> str:
    """Return the page as HTML. It plays the videos from their own files.

    Args:
        videos: all videos that were grounded. Of several, those without a moment are only counted.
        moments: the moments found, best first within each query and video.
        page: where the page will be written; links to the videos stay valid when both are moved together.
        stills: pictures of the moments, see `moment_stills`; a moment may have none.
        model: what answered, in one line.
        made: lines on how the page was made: command, versions.
        show_scores: whether to show the scores; those of an uncalibrated model only give the order.
    """
    by_query: dict[str, list[_Hit]] = {query: [] for grounded in videos for query in grounded.saliency}
    grounded_videos = {grounded.video: grounded for grounded in videos}
    curves: dict[tuple[VideoFile, str], _Curve] = {}
    for ranked in _in_order(moments):
        key = ranked.video, ranked.query
        if key not in curves:
            grounded = grounded_videos[ranked.video]
            path = saliency_path(grounded.saliency[ranked.query])
            curves[key] = _Curve(f"curve-{len(curves) + 1}", path, grounded.timeline)
        still = (stills or {}).get(ranked)
        hit = _Hit("", ranked.video.name.as_posix(), _link(ranked, page), ranked.moment, curves[key], still)
        by_query[ranked.query].append(hit)
    numbers = iter(range(1, len(moments) + 1))
    hits = {query: [hit._replace(id=f"hit-{next(numbers)}") for hit in found] for query, found in by_query.items()}
    with_moments = len({ranked.video for ranked in moments})
    single = len(videos) == 1
    return render_page(
        "moments.html.j2",
        stylesheets=("player.css",),
        script="player.js",
        media="'self' file:",  # 'self' is the server the page came from; a page opened as a file has none
        moments=len(moments),
        model=model,
        made=made,
        show_scores=show_scores,
        hits=hits,
        first=next((hit for found in hits.values() for hit in found), None),
        curves=list(curves.values()),
        shown=1 if single else with_moments,
        left_out=0 if single else len(videos) - with_moments,
        single=single,
    )


def relative_link(path: Path, page: Path) -> str:
    """Return the address of a file in a page at `page`: relative, or absolute where no relative path leads there."""
    try:
        relative = os.path.relpath(path, page.absolute().parent)
    except ValueError:  # another drive
        return path.absolute().as_uri()
    return quote(os.fsencode(relative.replace(os.sep, "/")))


def _in_order(moments: Sequence[RankedMoment]) -> list[RankedMoment]:
    """Return the moments of each query as the page lists them: the best first over all videos."""
    first = {query: index for index, query in enumerate(dict.fromkeys(ranked.query for ranked in moments))}
    return sorted(moments, key=lambda ranked: (first[ranked.query], -ranked.moment.score))


def _link(ranked: RankedMoment, page: Path) -> str:
    """Return the address of a moment: its file, with the seconds as a media fragment (W3C Media Fragments URI 1.0)."""
    return f"{relative_link(ranked.video.path, page)}#t={ranked.moment.start:.3f},{ranked.moment.end:.3f}"
