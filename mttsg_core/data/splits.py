"""Annotation files as splits: how one is read, and which files of a folder are train, val and test.

Every row of a file becomes either a pair or a problem. A pair that lost one of several moments has a problem too, which
says so (`Problem.row_used`). Blank lines are not rows.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from mttsg_core.data import formats
from mttsg_core.data.duration_files import DurationFiles
from mttsg_core.data.pairs import CheckedRow, Pair, check_row
from mttsg_core.data.row_ids import own_id, shared_ids
from mttsg_core.errors import DataError
from mttsg_core.utils.json_lines import Problem, write_json_lines
from mttsg_core.utils.text import count, shorten

_SPLIT_WORDS = {
    "train": ("train", "training"),
    "val": ("val", "validation", "valid", "dev"),
    "test": ("test", "testing"),
}
_LONG = 1000.0  # seconds; where no moment is shorter and all are whole numbers, they are more likely milliseconds
# Files with the name of a split and one of these suffixes are meant as annotations.
_TABLE_SUFFIXES = (*formats.SUFFIXES, ".xlsx", ".xls", ".ods", ".parquet", ".pkl", ".pickle", ".xml", ".yaml", ".yml")
# ActivityNet Captions has two validation files, annotated by different people: the literature tests on the second.
_NUMBERED = {"val": "val_1", "test": "val_2"}


@dataclass(frozen=True)
class Split:
    """The rows of an annotation file: good ones as pairs, in the order of the file, and bad ones as problems.

    Attributes:
        name: of the split.
        file: the annotation file.
        pairs: the good rows.
        problems: the bad rows, and the bad moments of good rows, ordered by line.
        without_video: pairs of the bad rows whose only fault is that the data folder does not have their video.
        notes: what else to know about the file, such as columns that are not read; a line each.
    """

    name: str
    file: Path
    pairs: list[Pair]
    problems: list[Problem]
    without_video: list[Pair] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def bad_rows(self) -> int:
        """Number of rows that cannot be used."""
        return sum(not problem.row_used for problem in self.problems)

    @property
    def rows(self) -> int:
        """Number of rows of the file, good and bad."""
        return len(self.pairs) + self.bad_rows


def read_pairs(
    path: str | Path,
    *,
    subset: str | None = None,
    require_moment: bool = False,
    check_ends: bool = True,
    strict: bool = False,
) -> Split:
    """Read an annotation file of any known format.

    Args:
        path: the file.
        subset: read only the rows of this split, in a file of several; None reads all.
        require_moment: treat a row without a moment as a bad row, as training and evaluation do.
        check_ends: treat a moment as bad if it starts past the end of its video, as far as the file tells its duration.
            Training needs that. Evaluation does not: such a moment is a missed one.
        strict: raise on the first bad row.

    Raises:
        DataError: if the file cannot be read, its format is not known, or a row is bad and `strict`.
    """
    path = Path(path)
    durations = DurationFiles(path.parent)
    notes: list[str] = []
    checked: list[tuple[formats.Row | Problem, CheckedRow]] = []
    for row in formats.read_rows(path):
        if isinstance(row, formats.Note):
            notes.append(row.text)
        elif isinstance(row, Problem):
            checked.append((row, CheckedRow(None, [row.reason])))
        elif subset is None or split_word(row.subset) == subset:
            checked.append((row, check_row(row, path, durations, check_ends=check_ends)))
    numbered = shared_ids([row.pair for _, row in checked if row.pair is not None and row.has_id])
    if numbered:
        ids = count(len(numbered), "id")
        notes.append(f"{path}: {ids} used by several rows, because they name videos; these rows are numbered instead")
    pairs: list[Pair] = []
    problems: list[Problem] = []
    first_of_id: dict[str, Pair] = {}
    for row, result in checked:
        pair, reasons = _finish(result, numbered, first_of_id, require_moment=require_moment)
        if pair is not None:
            pairs.append(pair)
        location = row.location if isinstance(row, formats.Row) else ""
        problems += [Problem(path, row.line, location + reason, row_used=pair is not None) for reason in reasons]
        if strict and problems:
            raise DataError(str(problems[0]))
    notes += _notes_on_units(pairs)
    return Split(path.stem, path, pairs, problems, notes=notes)


def _notes_on_units(pairs: Sequence[Pair]) -> list[str]:
    """Return a note if the times of a file may be milliseconds, and nothing tells the durations of its videos."""
    untimed = [pair for pair in pairs if pair.moments and pair.duration is None]
    spans = [span for pair in untimed for span in pair.moments]
    if not spans or not all(end - start >= _LONG and start.is_integer() and end.is_integer() for start, end in spans):
        return []
    start, end = spans[0]
    times = f"start {start:g} and end {end:g} are read as seconds"
    return [f"{untimed[0].file}:{untimed[0].line}: {times}; name the columns start_ms and end_ms if they are not"]


def _finish(
    row: CheckedRow, numbered: Container[str], first_of_id: dict[str, Pair], *, require_moment: bool
) -> tuple[Pair | None, list[str]]:
    """Return the pair of a row with an id of its own, or None, and what is wrong with the row."""
    pair, reasons = row.pair, row.reasons
    if pair is None:
        return None, reasons
    if row.has_id and pair.id in numbered:
        pair = replace(pair, id=own_id(pair))
    if require_moment and not pair.moments:
        return None, ["no moment"]
    first = first_of_id.get(pair.id)
    if first is not None:
        reason = f"duplicate id {shorten(pair.id)}, first used in line {first.line}"
        pair = replace(pair, id=own_id(pair))
        if (pair.video, pair.query) == (first.video, first.query) or pair.id in first_of_id:
            return None, [reason]
        reasons = [*reasons, f"{reason}; the row is used without it"]
    first_of_id[pair.id] = pair
    return pair, reasons


def write_pairs(pairs: Iterable[Pair], path: str | Path) -> None:
    """Write pairs in the project's own jsonl format, all of them or none. `read_pairs` returns the same pairs.

    Raises:
        DataError: if the file cannot be written.
    """
    write_json_lines(Path(path), map(pair_record, pairs))


def pair_record(pair: Pair) -> dict[str, object]:
    """Return the JSON object of a pair in the project's own format."""
    record: dict[str, object] = {"id": pair.id, "video": pair.video, "query": pair.query}
    if len(pair.moments) == 1:
        record["start"], record["end"] = pair.moments[0]
    elif pair.moments:
        record["moments"] = pair.moments
    if pair.duration is not None:
        record["duration"] = pair.duration
    if pair.ratings is not None:
        record["relevant_clip_ids"], record["saliency_scores"] = pair.ratings.clips, pair.ratings.ratings
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


def unread_files(folder: Path, read: Iterable[Path]) -> list[str]:
    """Return a line for each file of a data folder whose name is that of a split, but that is not read.

    Args:
        folder: the data folder.
        read: its annotation files.
    """
    files = set(read)
    words = {word for words in _SPLIT_WORDS.values() for word in words}
    return [
        f"{path.name} is not read: it is in none of the known annotation formats"
        for path in sorted(folder.iterdir())
        if path.stem.casefold() in words and path.suffix.lower() in _TABLE_SUFFIXES and path not in files
    ]


def split_word(value: object) -> str | None:
    """Return the split that a word of an annotation file stands for, or None.

    >>> split_word("Training"), split_word("validation"), split_word("other")
    ('train', 'val', None)
    """
    word = value.strip().casefold() if isinstance(value, str) else ""
    return next((name for name, words in _SPLIT_WORDS.items() if word in words), None)


def subsets_of(path: Path) -> list[str]:
    """Return the splits that the rows of a file say they belong to, or nothing unless all of them say so.

    Raises:
        DataError: if the file cannot be read.
    """
    if not formats.has_subsets(path):
        return []
    words = [split_word(row.subset) for row in formats.read_rows(path) if isinstance(row, formats.Row)]
    return [] if None in words else list(dict.fromkeys(word for word in words if word is not None))


def find_splits(files: Sequence[Path]) -> tuple[dict[str, Path], dict[str, str]]:
    """Return the annotation file of each split, and for splits that are only a part of their file, which part.

    A file of several splits, such as a database, has each of them that no other file has. If its own name is that of
    one of its splits, it has only that one.
    """
    named = name_splits(files)
    subset_of: dict[str, str] = {}
    for name, path in list(named.items()):
        with suppress(DataError):  # a damaged file is reported when its split is read
            subsets = subsets_of(path)
            if name in subsets:
                subset_of[name] = name
            elif name not in _SPLIT_WORDS and subsets:
                del named[name]
                for subset in subsets:
                    if named.setdefault(subset, path) is path:
                        subset_of[subset] = subset
    order = [*(name for name in _SPLIT_WORDS if name in named), *(name for name in named if name not in _SPLIT_WORDS)]
    return {name: named[name] for name in order}, subset_of


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
