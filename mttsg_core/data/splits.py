"""Annotation files as splits: how one is read, and which files of a folder are train, val and test.

Every row of a file becomes either a pair or a problem, so `len(pairs) + len(problems)` is the number of rows. Blank
lines are not rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mttsg_core.data import formats
from mttsg_core.data.duration_files import DurationFiles
from mttsg_core.data.pairs import Pair, check_row
from mttsg_core.errors import DataError
from mttsg_core.utils.json_lines import Problem, write_json_lines
from mttsg_core.utils.text import shorten

_SPLIT_WORDS = {"train": ("train", "training"), "val": ("val", "validation", "valid", "dev"), "test": ("test",)}
# ActivityNet Captions has two validation files, annotated by different people: the literature tests on the second.
_NUMBERED = {"val": "val_1", "test": "val_2"}


@dataclass(frozen=True)
class Split:
    """The rows of an annotation file: good ones as pairs, in the order of the file, and bad ones as problems.

    Attributes:
        name: of the split.
        file: the annotation file.
        pairs: the good rows.
        problems: the bad rows, ordered by line.
        without_video: pairs of the bad rows whose only fault is that the data folder does not have their video.
    """

    name: str
    file: Path
    pairs: list[Pair]
    problems: list[Problem]
    without_video: list[Pair] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Number of rows of the file, good and bad."""
        return len(self.pairs) + len(self.problems)


def read_pairs(path: str | Path, *, require_moment: bool = False, strict: bool = False) -> Split:
    """Read an annotation file of any known format.

    Args:
        path: the file.
        require_moment: treat a row without a moment as a bad row, as training and evaluation do.
        strict: raise on the first bad row.

    Raises:
        DataError: if the file cannot be read, its format is not known, or a row is bad and `strict`.
    """
    path = Path(path)
    durations = DurationFiles(path.parent)
    pairs: list[Pair] = []
    problems: list[Problem] = []
    line_of_id: dict[str, int] = {}
    for row in formats.read_rows(path):
        pair = row.reason if isinstance(row, Problem) else check_row(row, path, durations)
        if isinstance(pair, Pair):
            if require_moment and not pair.moments:
                pair = "no moment"
            elif pair.id in line_of_id:
                pair = f"duplicate id {shorten(pair.id)}, first used in line {line_of_id[pair.id]}"
            else:
                line_of_id[pair.id] = pair.line
        if isinstance(pair, Pair):
            pairs.append(pair)
            continue
        location = row.location if isinstance(row, formats.Row) else ""
        problems.append(Problem(path, row.line, location + pair))
        if strict:
            raise DataError(str(problems[-1]))
    return Split(path.stem, path, pairs, problems)


def write_pairs(pairs: Iterable[Pair], path: str | Path) -> None:
    """Write pairs in the project's own jsonl format, all of them or none. `read_pairs` returns the same pairs.

    Raises:
        DataError: if the file cannot be written.
    """
    write_json_lines(Path(path), map(_to_object, pairs))


def _to_object(pair: Pair) -> dict[str, object]:
    record: dict[str, object] = {"id": pair.id, "video": pair.video, "query": pair.query}
    if len(pair.moments) == 1:
        record["start"], record["end"] = pair.moments[0]
    elif pair.moments:
        record["moments"] = pair.moments
    if pair.duration is not None:
        record["duration"] = pair.duration
    return record


def is_annotation_file(path: Path) -> bool:
    """Tell whether a file of a data folder holds annotations: by its content, or if that is broken, by its name."""
    if path.suffix.lower() not in formats.SUFFIXES:
        return False
    try:
        if formats.recognise(path) is not None:
            return True
    except DataError:
        return path.stem in _SPLIT_WORDS
    return path.stem in _SPLIT_WORDS and formats.format_of_suffix(path) is not None


def name_splits(files: Sequence[Path]) -> dict[str, Path]:
    """Return annotation files by split name: `train`, `val` and `test` as published, any other file by its stem.

    A file belongs to a split if its stem is the split's name, or if no other file has the split's word in its stem
    (`charades_sta_train.txt`). Of several files with the same stem, jsonl is preferred.

    >>> name_splits([Path("sta_train.txt"), Path("sta_test.txt"), Path("extra.csv")])  # doctest: +ELLIPSIS
    {'train': ...Path('sta_train.txt'), 'test': ...Path('sta_test.txt'), 'extra': ...Path('extra.csv')}
    """
    by_stem: dict[str, Path] = {}
    for path in sorted(files, key=lambda path: (formats.SUFFIXES.index(path.suffix.lower()), path.name)):
        by_stem.setdefault(path.stem, path)
    stem_of = {name: name for name in _SPLIT_WORDS if name in by_stem}
    if set(_NUMBERED.values()) <= by_stem.keys() and "val" not in stem_of:
        stem_of["val"] = _NUMBERED["val"]
    for name, words in _SPLIT_WORDS.items():
        stems = [stem for stem in by_stem if set(words) & set(re.split(r"[\W_]+", stem.lower()))]
        if name not in stem_of and len(stems) == 1 and stems[0] not in stem_of.values():
            stem_of[name] = stems[0]
    if stem_of.get("val") == _NUMBERED["val"] and _NUMBERED["test"] in by_stem:
        stem_of.setdefault("test", _NUMBERED["test"])
    named = {name: by_stem[stem_of[name]] for name in _SPLIT_WORDS if name in stem_of}
    return named | {stem: path for stem, path in sorted(by_stem.items()) if stem not in stem_of.values()}
