"""The names that files give to the fields of a row.

A name counts whatever its case, and whether its words are joined by `_`, `-`, a space or capitals. A time may name its
unit: `start_sec`, `Start (s)`, `end_ms`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

_SECONDS = ("", "_s", "_sec", "_secs", "_second", "_seconds", "_in_seconds")
_MILLISECONDS = ("_ms", "_msec", "_msecs", "_millis", "_millisecond", "_milliseconds", "_in_milliseconds")
_START = (
    *("start", "start_time", "time_start", "t_start", "tstart", "starttime", "start_timestamp", "timestamp_start"),
    *("begin", "begin_time", "time_begin", "t_begin", "from"),
)
_END = (
    *("end", "end_time", "time_end", "t_end", "tend", "endtime", "end_timestamp", "timestamp_end"),
    *("stop", "stop_time", "time_stop", "t_stop", "to"),
)
_DURATION = ("duration", "video_duration", "vid_duration", "clip_duration")

VIDEO_NAMES = (
    *("video", "vid", "video_id", "videoid", "video_name", "videoname", "vid_name"),
    *("video_file", "video_filename", "video_path", "filename", "file_name", "file"),
    *("youtube_id", "youtubeid", "yt_id", "ytid", "yid"),
)
QUERY_NAMES = ("query", "sentence", "caption", "text", "description", "query_text", "desc", "local_caption")
MOMENT_NAMES = (
    *("moments", "relevant_windows", "relevant_window", "windows", "window", "timestamps", "timestamp"),
    *("spans", "span", "segments", "segment", "gt_windows", "gt_window"),
)
_NAMES: Mapping[str, tuple[str, ...]] = {
    "video": VIDEO_NAMES,
    "query": QUERY_NAMES,
    "start": tuple(name + unit for name in _START for unit in _SECONDS),
    "end": tuple(name + unit for name in _END for unit in _SECONDS),
    "moments": MOMENT_NAMES,
    "id": ("id", "qid", "query_id", "sentence_id", "annotation_id"),
    "duration": tuple(name + unit for name in _DURATION for unit in _SECONDS),
    "subset": ("subset", "split"),
    "clip_ids": ("relevant_clip_ids",),
    "clip_ratings": ("saliency_scores",),
}
_IN_MILLISECONDS = {
    field: tuple(name + unit for name in names for unit in _MILLISECONDS)
    for field, names in (("start", _START), ("end", _END), ("duration", _DURATION))
}
# Names that mean nothing else, so that a file with them holds rows even if it has no times.
_STRONG = {"video": {"video", "vid", "video_id", "video_name"}, "query": {"query", "sentence", "caption"}}


class Fields(NamedTuple):
    """How the names of a file relate to the fields of a `Row`.

    Attributes:
        name_of: the file's own name of each field that it has.
        milliseconds: the fields whose names say that they are in milliseconds.
        unread: names that are none of a field's.
    """

    name_of: Mapping[str, str]
    milliseconds: frozenset[str]
    unread: tuple[str, ...]

    @property
    def hold_rows(self) -> bool:
        """Whether these are the names of sentences about videos, rather than of something else.

        Names with other uses, such as `filename` and `text`, count only together with a moment.
        """
        if not {"video", "query"} <= self.name_of.keys():
            return False
        has_moment = "moments" in self.name_of or {"start", "end"} <= self.name_of.keys()
        is_certain = all(plain_name(self.name_of[field]) in names for field, names in _STRONG.items())
        return has_moment or is_certain


def plain_name(name: str) -> str:
    """Return the form of a name that is compared.

    >>> plain_name("Start (s)"), plain_name("videoId"), plain_name("t-start")
    ('start_s', 'video_id', 't_start')
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[^a-z0-9]+", "_", words.casefold()).strip("_")


@lru_cache(maxsize=1024)
def find_fields(names: tuple[str, ...]) -> Fields:
    """Return the fields that the names of a file stand for.

    Where several names stand for one field, the first in the list of its names is read. Windows, spans and the like are
    read only where the moment has no start and end of its own, because such names have other uses too.

    >>> find_fields(("vid", "caption", "t_start", "end_ms", "note"))
    Fields(name_of={'video': 'vid', 'query': 'caption', 'start': 't_start', 'end': 'end_ms'}, \
milliseconds=frozenset({'end'}), unread=('note',))
    """
    by_plain_name: dict[str, str] = {}
    for name in names:
        by_plain_name.setdefault(plain_name(name), name)
    name_of: dict[str, str] = {}
    milliseconds: set[str] = set()
    for field, known in _NAMES.items():
        in_milliseconds = _IN_MILLISECONDS.get(field, ())
        plain = next((plain for plain in (*known, *in_milliseconds) if plain in by_plain_name), None)
        if plain is None:
            continue
        name_of[field] = by_plain_name[plain]
        if plain in in_milliseconds:
            milliseconds.add(field)
    if name_of.get("moments") != "moments" and ("start" in name_of or "end" in name_of):
        name_of.pop("moments", None)
    read = set(name_of.values())
    return Fields(name_of, frozenset(milliseconds), tuple(name for name in dict.fromkeys(names) if name not in read))
