"""What people say about answers, as rows of a data folder that `mttsg train` takes.

Moments that are right, moved or marked by hand become rows of `train.jsonl`. An answer that is wrong says nothing about
where the moment is, so it becomes a prediction in `wrong.jsonl`, which no training reads. Any number of processes may
add and remove rows at the same time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Literal, TypeAlias
from uuid import uuid4

from platformdirs import user_data_path

from mttsg_core.data.folder import DataFolder
from mttsg_core.data.pairs import Pair
from mttsg_core.data.splits import pair_record
from mttsg_core.errors import ConfigError, DataError, MttsgError
from mttsg_core.moments import Moment
from mttsg_core.utils.atomic import write_atomically
from mttsg_core.utils.files import real_path, unsafe_path_reason
from mttsg_core.utils.json_lines import is_unicode, parse_json, read_bytes, to_json
from mttsg_core.utils.locks import hold_lock
from mttsg_core.utils.paths import user_folder
from mttsg_core.utils.text import os_reason, shorten
from mttsg_core.workflows.outputs import follow_links

Kind: TypeAlias = Literal["right", "moved", "marked", "wrong"]
KINDS: tuple[Kind, ...] = ("right", "moved", "marked", "wrong")
TRAIN, WRONG, VIDEOS = "train.jsonl", "wrong.jsonl", "videos"
_LOCK = ".mttsg-rows.lock"
_LOCK_SECONDS = 20.0  # to wait for another process that adds a row
_DIGITS = 3  # of seconds


@dataclass(frozen=True)
class Correction:
    """What was said about a moment.

    Attributes:
        kind: `right`: as answered; `moved`: with other ends; `marked`: found by a person; `wrong`: not in there.
        video: the file.
        duration: of the video in seconds.
        query: the sentence.
        moment: in seconds; its score counts where it is wrong.
        rank: of the answer, where it is wrong.
    """

    kind: Kind
    video: Path
    duration: float
    query: str
    moment: Moment
    rank: int = 1


@dataclass(frozen=True)
class KeptRow:
    """A row that was added by `Corrections.add`."""

    id: str
    kind: Kind
    video: str
    query: str
    start: float
    end: float


class Corrections:
    """The rows of one data folder. The folder is made when the first row is added.

    Args:
        folder: the data folder.
        videos: the folder of the videos, or one around all of their folders. It becomes `videos` in the data folder, as
            a link, unless the videos are in the data folder already. None if they have no folder in common: then no row
            can be added.

    Attributes:
        folder: the data folder.
    """

    def __init__(self, folder: Path, videos: Path | None) -> None:
        self.folder = folder.absolute()
        self._videos = None if videos is None else videos.resolve()
        self._shown: dict[str, tuple[tuple[int, ...], list[bytes]]] = {}  # lines of files, while they do not change

    @classmethod
    def for_videos(cls, paths: Sequence[Path], folder: Path | None = None) -> Corrections:
        """Return the corrections of the videos in some places.

        Args:
            paths: files, and folders that are searched.
            folder: a data folder; None for one in the user's data folder, the same for the same paths.

        Raises:
            ConfigError: if the data folder has other videos, or another file of training rows.
        """
        places = [place if place.is_dir() else place.parent for place in (path.resolve() for path in paths)]
        corrections = cls(folder or _default_folder(places), _common_folder(places))
        corrections._check()
        return corrections

    def add(self, correction: Correction) -> str:
        """Add a row and return its id; that of the same row if it exists already.

        Raises:
            DataError: if the video has a name, or is in a place, that no data folder takes.
            MttsgError: if the row cannot be written.
        """
        file = self._file_of(correction.kind)
        with self._locked():
            self._make_folder()
            record = _record(correction, self._name_of(correction.video))
            lines = _read_lines(file)
            for line in lines:
                known = _parsed(line)
                if known is not None and {**known, "id": ""} == {**record, "id": ""}:
                    return str(known.get("id"))
            _write_lines(file, [*lines, to_json(record).encode("utf-8")])
        return str(record["id"])

    def remove(self, row_id: str) -> bool:
        """Remove a row that was added here, and no other. Returns whether it existed.

        Raises:
            MttsgError: if the file cannot be written.
        """
        kind = _kind_of(row_id)
        if kind is None or not self.folder.is_dir():
            return False
        file = self._file_of(kind)
        with self._locked():
            lines = _read_lines(file)
            left = [line for line in lines if (_parsed(line) or {}).get("id") != row_id]
            if len(left) == len(lines):
                return False
            _write_lines(file, left)
        return True

    def rows(self) -> list[KeptRow]:
        """Return the rows that were added here, in the order of their files."""
        lines = [*self._lines(self.folder / TRAIN), *self._lines(self.folder / WRONG)]
        return [row for row in map(_kept_row, lines) if row is not None]

    def training_rows(self) -> int:
        """Return the number of rows to train on, whoever wrote them."""
        return len(self._lines(self.folder / TRAIN))

    def _check(self) -> None:
        """Raise ConfigError if the rows could not be used for a training."""
        with suppress(DataError):  # without annotations, or without the folder itself
            rows = DataFolder.open(self.folder).splits.get("train")
            if rows is not None and rows.name != TRAIN:
                raise ConfigError(f"{rows}: holds the training rows, and new ones can go to {TRAIN} only")
        if self._videos is None or self._is_inside(self._videos) or not os.path.lexists(self.folder / VIDEOS):
            return
        raise ConfigError(
            f"{self.folder / VIDEOS}: the videos that are searched are not in there; "
            f"link it to {self._videos}, or name another folder with --data"
        )

    def _is_inside(self, folder: Path) -> bool:
        return any(root is not None and folder.is_relative_to(root) for root in self._roots())

    def _roots(self) -> list[Path | None]:
        """The folders in which a data folder's videos are: names are relative to them."""
        return [real_path(self.folder / VIDEOS), real_path(self.folder)]

    def _make_folder(self) -> None:
        if self._videos is None:
            raise DataError("the videos have no folder in common, so no data folder can hold them: serve one of theirs")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._is_inside(self._videos):
                (self.folder / VIDEOS).symlink_to(self._videos, target_is_directory=True)
        except OSError as error:
            raise MttsgError(
                f"{self.folder / VIDEOS}: cannot be linked to {self._videos} ({os_reason(error)}); put the videos into "
                "a data folder and name it with --data"
            ) from error

    def _name_of(self, video: Path) -> str:
        """Return the name of a video in the data folder."""
        real = video.resolve()
        for root in self._roots():
            if root is not None and real.is_relative_to(root):
                name = real.relative_to(root).as_posix()
                break
        else:
            raise DataError(f"{video}: a link that leaves the folder of the videos; annotate the file itself")
        if name != name.strip() or unsafe_path_reason(name) or not is_unicode(name):
            raise DataError(f"{shorten(name)}: a name that no data folder takes; rename the video")
        return name

    def _file_of(self, kind: Kind) -> Path:
        return self.folder / (WRONG if kind == "wrong" else TRAIN)

    def _locked(self) -> AbstractContextManager[None]:
        return hold_lock(self.folder / _LOCK, f"{self.folder}: another process", wait=_LOCK_SECONDS)

    def _lines(self, path: Path) -> list[bytes]:
        """Return the lines of a file to show; it is read again if it has changed."""
        try:
            status = path.stat()
        except OSError:
            return []
        state = status.st_ino, status.st_mtime_ns, status.st_size
        known = self._shown.get(path.name)
        if known is None or known[0] != state:
            known = state, _read_lines(path)
            self._shown[path.name] = known
        return known[1]


def _read_lines(path: Path) -> list[bytes]:
    """Return the lines of a file that are not blank; none if it does not exist. Raises DataError if it is not UTF-8."""
    return [line for line in read_bytes(path).splitlines() if line.strip()] if path.exists() else []


def _write_lines(path: Path, lines: Iterable[bytes]) -> None:
    content = b"".join(line + b"\n" for line in lines)
    try:
        write_atomically(follow_links(path), lambda part: part.write_bytes(content), durable=True)
    except OSError as error:
        raise MttsgError(f"{path}: {os_reason(error)}") from error


def _common_folder(places: Sequence[Path]) -> Path | None:
    """Return the folder around all of these; None if that would be a whole disk, or they are on several."""
    try:
        folder = Path(os.path.commonpath(places))
    except ValueError:  # several drives
        return None
    return None if folder == Path(folder.anchor) and len(set(places)) > 1 else folder


def _default_folder(places: Sequence[Path]) -> Path:
    digest = blake2b(b"\0".join(sorted(set(map(os.fsencode, places)))), digest_size=4).hexdigest()
    return user_folder(user_data_path) / "corrections" / f"{places[0].name or 'all'}-{digest}"


def _record(correction: Correction, name: str) -> dict[str, object]:
    start, end = (round(time, _DIGITS) for time in correction.moment[:2])
    identity = f"{correction.kind}-{uuid4().hex[:16]}"
    if correction.kind != "wrong":
        duration = round(correction.duration, _DIGITS)
        return pair_record(Pair(identity, name, correction.query, ((start, end),), duration))
    score = round(correction.moment.score, _DIGITS)
    row = {"id": identity, "video": name, "query": correction.query, "rank": correction.rank}
    return {**row, "start": start, "end": end, "score": score}


def _kept_row(line: bytes) -> KeptRow | None:
    record = _parsed(line) or {}
    identity, video, query = record.get("id"), record.get("video"), record.get("query")
    start, end = record.get("start"), record.get("end")
    if not (isinstance(identity, str) and isinstance(video, str) and isinstance(query, str)):
        return None
    kind = _kind_of(identity)
    if kind is None or not isinstance(start, int | float) or not isinstance(end, int | float):
        return None
    return KeptRow(identity, kind, video, query, float(start), float(end))


def _kind_of(row_id: str) -> Kind | None:
    return next((kind for kind in KINDS if row_id.startswith(f"{kind}-")), None)


def _parsed(line: bytes) -> dict[str, object] | None:
    with suppress(UnicodeDecodeError):
        value, _ = parse_json(line.decode("utf-8"))
        if isinstance(value, dict):
            return value
    return None
