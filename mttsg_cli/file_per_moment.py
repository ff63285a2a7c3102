"""Outputs of `mttsg ground` of many files: excerpts of moments, and subtitles of each video."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mttsg_cli.rows import Line, Row
from mttsg_cli.writers import save_rows
from mttsg_core.utils.text import count
from mttsg_core.video.discovery import VIDEO_SUFFIXES
from mttsg_core.workflows.outputs import OutputState, output_state

if TYPE_CHECKING:
    from mttsg_cli.ground_session import Session
    from mttsg_core.inference.excerpts import ExcerptNames
    from mttsg_core.inference.ranking import RankedMoment


def write_subtitles(session: Session, lines: Sequence[Line], folder: Path, form: str, *, overwrite: bool) -> None:
    """Write the subtitles of each video that has a moment; existing files are kept.

    Args:
        session: with the videos.
        lines: the moments of all videos.
        folder: the output folder. Each file has the path of its video below the folder that was searched.
        form: a key of `writers.FORMATS`.
        overwrite: replace existing files.

    Raises:
        ConfigError: if a file cannot be written.
    """
    rows: dict[str, list[Row]] = {}
    for line in lines:
        if isinstance(line, Row):
            rows.setdefault(line.video, []).append(replace(line, label=""))
    found = [video for video in session.assigner.asked if str(video.path) in rows]
    names = Counter(video.name.with_suffix("") for video in found)
    existing = 0
    for video in found:
        keep_suffix = names[video.name.with_suffix("")] > 1
        target = video.output_path(folder, f".{form}", keep_suffix=keep_suffix)
        if not overwrite and output_state(target) is OutputState.FINISHED:
            existing += 1
            session.display.reporter.detail(f"{target}: already exists")
            continue
        output_state(target)  # makes its folder
        save_rows(rows[str(video.path)], form, target, is_complete=lambda: session.is_complete)
        session.display.reporter.detail(f"{target}: written")
    written = len(found) - existing
    kept = f", {count(existing, 'existing file')} kept; --overwrite replaces them" if existing else ""
    session.display.reporter.say(f"{folder}: subtitles of {count(written, 'video')} written{kept}")


def write_excerpts(
    session: Session,
    moments: Sequence[RankedMoment],
    folder: Path,
    names: ExcerptNames | None,
    workers: int | None,
    *,
    overwrite: bool,
) -> None:
    """Cut the moments out of their videos; each failure is an error line.

    Args:
        session: with the videos.
        moments: the seconds to cut out.
        folder: the output folder, which is marked so that it is not searched later.
        names: of the files; None for names that say the sentence, if there are several sentences.
        workers: number of excerpts to cut at a time; None for one per core.
        overwrite: replace existing excerpts.

    Raises:
        OSError: if the folder cannot be marked.
    """
    from mttsg_core.features.extraction import default_workers
    from mttsg_core.inference.excerpts import ExcerptFailed, ExcerptNames, cut_excerpts, plan_excerpts
    from mttsg_core.video.excerpt_marks import mark_excerpts
    from mttsg_core.workflows.events import ProgressAdvanced, ProgressStarted

    display = session.display
    names = names or ExcerptNames.for_sentences(session.assigner.sentences)
    excerpts = plan_excerpts(moments, list(session.assigner.asked), folder, names)
    if excerpts:
        mark_excerpts(folder, (excerpt.target for excerpt in excerpts), VIDEO_SUFFIXES)
    session.excerpts = existing = 0
    display.show(ProgressStarted("excerpts", len(excerpts)))
    with closing(cut_excerpts(excerpts, workers=workers or default_workers(), overwrite=overwrite)) as events:
        for event in events:
            excerpt = event.excerpt
            if isinstance(event, ExcerptFailed):
                session.fail_excerpt(event)
            else:
                session.excerpts += 1
                existing += event.existed
                display.reporter.detail(f"{excerpt.target}: {'already exists' if event.existed else 'written'}")
            display.show(ProgressAdvanced("excerpts"))
    if existing:
        skipped = count(existing, "existing excerpt")
        display.reporter.say(f"{folder}: {skipped} skipped; --overwrite replaces them")
