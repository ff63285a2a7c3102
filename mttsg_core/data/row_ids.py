"""The ids of rows: what they name, and what takes their place where they do not tell rows apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from mttsg_core.data.pairs import Pair
from mttsg_core.utils.files import without_suffix
from mttsg_core.video.discovery import VIDEO_SUFFIXES


def own_id(pair: Pair) -> str:
    """Return the id of a row that has none, or none of its own."""
    return f"{pair.file.stem}-{pair.line}"


def shared_ids(pairs: Sequence[Pair]) -> frozenset[str]:
    """Return the ids that several rows have because they stand for videos rather than for sentences.

    So does an id that is the name of its video, and one that all sentences of a video have and no other video's.

    Args:
        pairs: those that have an id of their own.
    """
    pairs_of_id: dict[str, list[Pair]] = {}
    ids_of_video: dict[str, set[str]] = {}
    for pair in pairs:
        pairs_of_id.setdefault(pair.id, []).append(pair)
        ids_of_video.setdefault(pair.video, set()).add(pair.id)
    return frozenset(
        identity
        for identity, same in pairs_of_id.items()
        if len({pair.query for pair in same}) > 1
        and (
            all(map(_is_video_name, same))
            or ({pair.video for pair in same} == {same[0].video} and ids_of_video[same[0].video] == {identity})
        )
    )


def _is_video_name(pair: Pair) -> bool:
    stem = without_suffix(PurePosixPath(pair.video.replace("\\", "/")).name, VIDEO_SUFFIXES)
    return pair.id in (pair.video, stem) or without_suffix(pair.id, VIDEO_SUFFIXES) == stem
