"""Moments saved as files of their own; no file is ever replaced."""

from __future__ import annotations

import os
from pathlib import Path

from mttsg_core.errors import MttsgError, VideoError
from mttsg_core.inference.excerpts import Excerpt, ExcerptNames
from mttsg_core.inference.ranking import RankedMoment
from mttsg_core.moments import Moment
from mttsg_core.server.media import cut
from mttsg_core.utils.text import os_reason
from mttsg_core.video.discovery import VIDEO_SUFFIXES, VideoFile
from mttsg_core.video.excerpt_marks import mark_excerpts

_TEMPLATE = "{video}_{start}-{end}"


def save_clip(video: Path, moment: Moment, query: str, folder: Path | None) -> Path:
    """Cut a moment out of a video and return the new file. Later searches pass over it.

    Args:
        video: the file.
        moment: seconds to cut out.
        query: the sentence, for the name.
        folder: to write to; None for that of the video.

    Raises:
        MttsgError: if nothing can be written to the folder.
        VideoError: if the moment cannot be cut out.
    """
    folder = video.parent if folder is None else folder
    ranked = RankedMoment(VideoFile(video, Path(video.name)), query, 1, moment)
    name = ExcerptNames(_TEMPLATE).name(ranked, video.stem)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target = _reserve(folder, name.name)
        mark_excerpts(folder, [target], VIDEO_SUFFIXES)
    except OSError as error:
        raise MttsgError(f"{folder}: {os_reason(error)}; name another folder with --clips") from error
    try:
        cut(Excerpt(video, moment, target))
    except VideoError:
        target.unlink(missing_ok=True)
        raise
    return target


def _reserve(folder: Path, name: str) -> Path:
    """Create an empty file that no other process has, with that name or a numbered one."""
    target, number = folder / f"{name}.mp4", 1
    while True:
        try:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            number += 1
            target = folder / f"{name}-{number}.mp4"
        else:
            return target
