"""Outputs of `mttsg ground` for cutting: one film of the moments, and timelines for editing programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from mttsg_cli.writers import print_text
from mttsg_core.errors import VideoError
from mttsg_core.workflows.outputs import save

if TYPE_CHECKING:
    from mttsg_cli.ground_session import Session
    from mttsg_core.inference.ranking import RankedMoment
    from mttsg_core.video.media import Media

_NAME = "mttsg"  # of a timeline that is written to standard output


def write_film(session: Session, moments: Sequence[RankedMoment], path: Path, workers: int | None) -> None:
    """Write one film of moments in their order; each that cannot be cut out is an error line.

    Raises:
        ConfigError: if the film cannot be written.
    """
    from mttsg_core.features.extraction import default_workers
    from mttsg_core.inference.excerpts import ExcerptFailed
    from mttsg_core.inference.film import FilmWritten, iter_film
    from mttsg_core.video.excerpt_marks import mark_film
    from mttsg_core.workflows.events import ProgressAdvanced, ProgressStarted

    display = session.display
    if not moments:
        display.reporter.warn(f"{path}: not written, there are no moments to join")
        return

    def write(part: Path) -> None:
        display.show(ProgressStarted("excerpts", len(moments)))
        with closing(iter_film(moments, part, path, workers=workers or default_workers())) as events:
            for event in events:
                if isinstance(event, FilmWritten):
                    display.reporter.say(str(event))
                    return
                if isinstance(event, ExcerptFailed):
                    session.fail_excerpt(event)
                display.show(ProgressAdvanced("excerpts"))
        raise VideoError(path, "not written, none of the moments can be cut out")

    mark_film(path)
    try:
        save(path, write, is_complete=lambda: session.is_complete)
    except VideoError as error:
        session.fail(str(error))


def write_edit(session: Session, moments: Sequence[RankedMoment], form: str, path: Path | None) -> None:
    """Write a timeline of moments, to a file or to standard output; each video that cannot be read is an error line.

    Args:
        session: with the exact moments.
        moments: the same with the seconds around them.
        form: a key of `EDIT_FORMATS`.
        path: the file; None for standard output.

    Raises:
        ConfigError: if it cannot be written.
    """
    from mttsg_core.inference.edit_timeline import render_edit
    from mttsg_core.inference.shots import Shot

    media = _read_media(session, moments)
    shots = []
    for padded, exact in zip(moments, session.moments, strict=True):
        source = media.get(padded.video.path)
        if source is not None:
            start, end, _ = padded.moment
            shots.append(Shot(source, min(start, source.duration), min(end, source.duration), exact))
    if not shots:
        session.display.reporter.warn("there are no moments for a timeline")
        return
    text = render_edit(shots, form, _NAME if path is None else path.stem)
    if path is None:
        print_text(text)
    else:
        save(path, lambda part: part.write_text(text, encoding="utf-8"), is_complete=lambda: session.is_complete)


def _read_media(session: Session, moments: Sequence[RankedMoment]) -> Mapping[Path, Media]:
    from mttsg_core.video.media import read_media

    media = {}
    for path in dict.fromkeys(ranked.video.path for ranked in moments):
        try:
            media[path] = read_media(path)
        except VideoError as error:
            session.fail(str(error))
    return media
