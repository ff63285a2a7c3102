"""Lookup by the names that annotations use: as they are, or else in the only way that they can be meant."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Generic, TypeVar

from mttsg_core.utils.files import without_suffix
from mttsg_core.utils.text import normalise
from mttsg_core.video.discovery import VIDEO_SUFFIXES

Item = TypeVar("Item")
_VIDEOS = "videos/"  # the folder of videos, which names may leave out
_PREFIX = "v_"  # of ActivityNet's names of videos, which are often saved without it


class NameIndex(Generic[Item]):
    """Items by name. A name that is not found is looked up again regardless of case, separators and Unicode form.

    >>> index = NameIndex[int]()
    >>> index.add("Kitchen/a.mp4", 1)
    >>> index.find("Kitchen/a.mp4"), index.find("kitchen\\\\A.MP4"), index.find("b")
    ([1], [1], [])
    """

    def __init__(self) -> None:
        self._exact: dict[str, dict[Item, None]] = {}  # dictionaries as ordered sets
        self._loose: dict[str, dict[Item, None]] = {}

    def add(self, name: str, item: Item) -> None:
        """Add a name of an item; an item may have several, and a name may be that of several items."""
        self._exact.setdefault(name, {})[item] = None
        self._loose.setdefault(loose_name(name), {})[item] = None

    def find(self, name: str) -> list[Item]:
        """Return the items that a name may stand for, in the order in which they were added."""
        return list(self._exact.get(name) or self._loose.get(loose_name(name)) or ())


def loose_name(name: str) -> str:
    r"""Return what names have in common that differ only in case, separators and Unicode form.

    >>> loose_name(".\\videos\\Cafe\u0301.MP4")
    'videos/café.mp4'
    """
    return PurePosixPath(normalise(normalise(name).casefold()).replace("\\", "/")).as_posix()


def name_forms(name: str) -> list[str]:
    """Return the forms of an annotated video's name to look up, the closest to the annotation first.

    >>> name_forms("./videos/kitchen/a.mp4")
    ['videos/kitchen/a.mp4', 'kitchen/a.mp4', 'kitchen/a']
    """
    plain = PurePosixPath(name).as_posix()
    slashed = PurePosixPath(name.replace("\\", "/")).as_posix()
    stem = video_stem(name)
    forms = [plain, _below_videos(plain), slashed, _below_videos(slashed), stem, stem.removeprefix(_PREFIX)]
    return list(dict.fromkeys(forms))


def video_stem(name: str) -> str:
    """Return the path of a video below `videos`, without suffix.

    >>> video_stem("./videos/kitchen/a.mp4")
    'kitchen/a'
    """
    return without_suffix(_below_videos(PurePosixPath(name.replace("\\", "/")).as_posix()), VIDEO_SUFFIXES)


def _below_videos(path: str) -> str:
    return path[len(_VIDEOS) :] if path[: len(_VIDEOS)].casefold() == _VIDEOS else path


def trailing_parts(path: str) -> list[str]:
    """Return a path and what is left of it without its first folder, its first two, and so on.

    >>> trailing_parts("/v/x/a.mp4")
    ['/v/x/a.mp4', 'v/x/a.mp4', 'x/a.mp4', 'a.mp4']
    """
    parts = PurePosixPath(path).parts
    shorter = ["/".join(parts[start:]) for start in range(1, len(parts))]
    return [PurePosixPath(path).as_posix(), *shorter]
