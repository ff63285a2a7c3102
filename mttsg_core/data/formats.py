"""Annotation files as they are published, turned into rows. What a good row is, `mttsg_core.data.folder` decides.

`FORMATS` is a table of recognisers: each looks at the first characters of a file and says whether it can read the
rest. To support another data set, add a reader and a line to the table; nothing else knows a data set by its name.

The line of a row is its line in the file (1-based) where a row has a line of its own. In a JSON document it is the
1-based number of the row, in the order of the file.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from mttsg_core.data.records import Row
from mttsg_core.errors import DataError
from mttsg_core.utils.json_lines import Problem, parse_json, read_bytes, read_json_lines, read_lines
from mttsg_core.utils.text import shorten

HEAD_BYTES = 1 << 16
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt")
_HEAD_LINES = 50
_QUOTED_LINES = 50
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?", re.ASCII)


Rows = Iterator[Row | Problem]


@dataclass(frozen=True)
class Format:
    """How to recognise a published format by the head of a file, and how to read all of it.

    Args:
        name: what a user calls it.
        recognise: the first `HEAD_BYTES` of a file, decoded, to whether `read` understands the file.
        read: (path, content) to rows and problems. Raises DataError where the file as a whole is broken.
    """

    name: str
    recognise: Callable[[str], bool]
    read: Callable[[Path, bytes], Rows]


# --- JSON, one object a line --------------------------------------------------------------------------------------

_OWN_FIELDS = {name: name for name in Row._fields if name not in ("line", "place")}
_WINDOW_FIELDS = {"video": "vid", "query": "query", "moments": "relevant_windows", "id": "qid", "duration": "duration"}


def _row_of_object(line: int, record: Mapping[str, object], fields: Mapping[str, str]) -> Row:
    return Row(line, **{name: record.get(key) for name, key in fields.items()})  # type: ignore[arg-type]


def _read_objects(fields: Mapping[str, str]) -> Callable[[Path, bytes], Rows]:
    def read(path: Path, content: bytes) -> Rows:
        for entry in read_json_lines(path, content):
            yield entry if isinstance(entry, Problem) else _row_of_object(*entry, fields)

    return read


def _recognise_objects(fields: Mapping[str, str]) -> Callable[[str], bool]:
    wanted = {fields["video"], fields["query"]}

    def recognise(head: str) -> bool:
        rows = [record for record in _head_objects(head) if wanted <= record.keys()]
        annotations = [record for record in rows if not is_prediction(record)]
        unanswered = [record for record in annotations if record.get("moments") == []]  # or without a moment
        return len(annotations) > len(unanswered) or len(rows) == len(unanswered) > 0

    return recognise


def _head_objects(head: str) -> Iterator[dict[str, object]]:
    lines = [line for line in head.splitlines() if line.strip()]
    for line in lines[:_HEAD_LINES]:
        value, _ = parse_json(line) if line.lstrip().startswith("{") else (None, None)
        if isinstance(value, dict):
            yield value


def is_prediction(record: Mapping[str, object]) -> bool:
    """Whether a row holds answers (windows with scores, or a ranked moment) rather than annotations."""
    moments = record.get("moments")
    scored = isinstance(moments, list) and bool(moments) and isinstance(moments[0], list) and len(moments[0]) == 3
    return scored or "pred_relevant_windows" in record or {"rank", "score"} <= record.keys()


# --- JSON documents -----------------------------------------------------------------------------------------------


class _Members(list[tuple[str, object]]):
    """The members of a JSON object in order, repeated names included."""


def _parse_document(path: Path, content: bytes) -> object:
    """One JSON value whose objects are `_Members`. Raises DataError with the place of the damage."""
    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=_Members)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: not UTF-8") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: broken json: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise DataError(f"{path}:1: broken json: nested too deeply") from error
    except ValueError as error:
        raise DataError(f"{path}:1: broken json: {error}") from error


_DOCUMENT_HEAD = re.compile(r'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\{')
_DOCUMENT_KEYS = re.compile(r'"(?:timestamps|sentences)"\s*:\s*\[')


def _recognise_by_video(head: str) -> bool:
    return _DOCUMENT_HEAD.match(head) is not None and _DOCUMENT_KEYS.search(head) is not None


def _read_by_video(path: Path, content: bytes) -> Rows:
    """`{video: {"timestamps", "sentences", "duration"}}`, or in frames where a video has `fps` and `num_frames`."""
    document = _parse_document(path, content)
    if not isinstance(document, _Members):
        raise DataError(f"{path}:1: not a JSON object of videos")
    line = 0
    for video, value in document:
        for number, found in enumerate(_rows_of_video(value), start=1):
            line += 1
            place = f"video {shorten(video)}, sentence {number}: "
            if isinstance(found, str):
                yield Problem(path, line, place + found)
            else:
                yield found._replace(line=line, video=video, place=place)


def _rows_of_video(value: object) -> Iterator[Row | str]:
    """A row, still without line and video, or the reason why there is none, for each sentence of a video."""
    record = dict(value) if isinstance(value, _Members) else {}
    sentences, spans = record.get("sentences"), record.get("timestamps")
    if not isinstance(sentences, list) or not isinstance(spans, list | None):
        yield "the video is not an object with lists of sentences and timestamps"
        return
    fps, duration = record.get("fps"), record.get("duration")
    if _positive(fps) and (frames := record.get("num_frames")) is not None:
        duration = _frame_to_seconds(frames, fps)
    for index in range(max(len(sentences), len(spans or ()))):
        span = (None, None) if spans is None else spans[index] if index < len(spans) else ()
        if index >= len(sentences):
            yield "there is no such sentence, only timestamps"
        elif fps is not None and not _positive(fps):
            yield "the video's fps is not a positive number"
        elif not isinstance(span, list | tuple) or len(span) != 2 or (spans is not None and None in span):
            yield "it has no timestamps [start, end]"
        else:
            start, end = span if fps is None else (_frame_to_seconds(frame, fps) for frame in span)
            yield Row(0, query=sentences[index], start=start, end=end, duration=duration)


def _positive(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1e6


def _frame_to_seconds(frame: object, fps: float) -> object:
    """frame / fps by the exact rate; what is no number stays, for the checks of a row to name."""
    if isinstance(frame, bool) or not isinstance(frame, int | float):
        return frame
    try:
        return frame / fps
    except OverflowError:
        return float("inf")


def _recognise_list(head: str) -> bool:
    if re.match(r"\s*\[\s*\{", head) is None:
        return False
    return all(re.search(rf'"{key}"\s*:', head) is not None for key in ("video", "query"))


def _read_list(path: Path, content: bytes) -> Rows:
    document = _parse_document(path, content)
    for line, record in enumerate(document if isinstance(document, list) else (), start=1):
        if isinstance(record, _Members):
            yield _row_of_object(line, dict(record), _OWN_FIELDS)
        else:
            yield Problem(path, line, "not a JSON object")


# --- text of one row a line ---------------------------------------------------------------------------------------


def _number(text: str) -> object:
    """A cell of a text file: None if empty, a float if it is a plain number, otherwise the text."""
    text = text.strip()
    return (float(text) if _NUMBER.fullmatch(text) else text) if text else None


_HASH_LINE = re.compile(r"\s*\S+\s+\S+\s+\S+\s*##")


def _recognise_hashes(head: str) -> bool:
    lines = [line for line in head.splitlines() if line.strip()][:_HEAD_LINES]
    return any(_HASH_LINE.match(line) for line in lines) and not lines[0].lstrip().startswith(("{", "["))


def _read_hashes(path: Path, content: bytes) -> Rows:
    """`VIDEO START END##SENTENCE`."""
    for entry in read_lines(path, content):
        if isinstance(entry, Problem):
            yield entry
            continue
        line, text = entry
        left, separator, sentence = text.partition("##")
        fields = left.split()
        if not separator or len(fields) != 3:
            yield Problem(path, line, "not VIDEO START END##SENTENCE")
        else:
            yield Row(line, fields[0], sentence, _number(fields[1]), _number(fields[2]))


_COLUMNS = {
    "video": ("video", "vid", "video_id"),
    "query": ("query", "sentence"),
    "start": ("start", "start_time"),
    "end": ("end", "end_time"),
    "id": ("id", "qid"),
    "duration": ("duration",),
}


def _header(line: str) -> tuple[str, list[str]]:
    """The delimiter of a header and its column names in lower case."""
    delimiter = max("\t,;", key=line.count)
    cells = next(csv.reader([line], delimiter=delimiter), [])
    return delimiter, [cell.strip().lower() for cell in cells]


def _places(columns: Sequence[str]) -> dict[str, int]:
    """Position of each field that the columns hold."""
    found: dict[str, int] = {}
    for field, names in _COLUMNS.items():
        place = next((columns.index(name) for name in names if name in columns), None)
        if place is not None:
            found[field] = place
    return found


def _recognise_columns(head: str) -> bool:
    first = next((line for line in head.splitlines() if line.strip()), "")
    try:
        return len(first) < 10_000 and {"video", "query"} <= _places(_header(first)[1]).keys()
    except csv.Error:
        return False


def _read_columns(path: Path, content: bytes) -> Rows:
    """csv or tsv whose header names the columns; the delimiter is the header's."""
    lines = read_lines(path, content)
    first = next(lines, None)
    if first is None:
        return
    if isinstance(first, Problem):
        raise DataError(str(first))
    delimiter, columns = _header(first[1])
    places = _places(columns)
    missing = [field for field in ("video", "query") if field not in places]
    if missing:
        raise DataError(f"{path}:{first[0]}: the header has no column {' and no column '.join(missing)}")
    for entry in _read_records(path, lines, delimiter):
        if isinstance(entry, Problem):
            yield entry
            continue
        line, cells = entry
        if len(cells) != len(columns):
            yield Problem(path, line, f"{len(cells)} cells where the header has {len(columns)}")
            continue
        row = {field: cells[place] for field, place in places.items()}
        times = {field: _number(row[field]) for field in ("start", "end", "duration") if field in row}
        identity = row.get("id", "").strip() or None
        yield Row(line, row["video"], row["query"], times.get("start"), times.get("end"), None, identity,
                  times.get("duration"))  # fmt: skip


def _read_records(
    path: Path, lines: Iterable[tuple[int, str] | Problem], delimiter: str
) -> Iterator[tuple[int, list[str]] | Problem]:
    """Records of a csv file. A quoted cell may hold line breaks; a quote that is never closed costs its line only."""
    waiting = list(lines)[::-1]
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, Problem):
            yield entry
            continue
        number, text = entry
        taken: list[tuple[int, str] | Problem] = []
        while _quote_is_open(text, delimiter):
            following = waiting.pop() if waiting and len(taken) < _QUOTED_LINES else None
            if following is not None:
                taken.append(following)
            if following is None or isinstance(following, Problem):
                waiting.extend(reversed(taken))
                yield Problem(path, number, "a quote is never closed")
                break
            text = f"{text}\n{following[1]}"
        else:
            try:
                yield number, next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
            except csv.Error as error:
                yield Problem(path, number, f"broken csv: {error}")


def _quote_is_open(text: str, delimiter: str) -> bool:
    if '"' not in text:
        return False
    try:
        list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        return "unexpected end of data" in str(error)
    return False


# --- the table ----------------------------------------------------------------------------------------------------

FORMATS: tuple[Format, ...] = (
    Format("jsonl", _recognise_objects(_OWN_FIELDS), _read_objects(_OWN_FIELDS)),
    Format("QVHighlights jsonl", _recognise_objects(_WINDOW_FIELDS), _read_objects(_WINDOW_FIELDS)),
    Format("ActivityNet Captions or TACoS json", _recognise_by_video, _read_by_video),
    Format("json list", _recognise_list, _read_list),
    Format("csv or tsv", _recognise_columns, _read_columns),
    Format("Charades-STA txt", _recognise_hashes, _read_hashes),
)
_BY_SUFFIX = {".jsonl": FORMATS[0], ".ndjson": FORMATS[0], ".csv": FORMATS[4], ".tsv": FORMATS[4]}


def recognise(path: Path) -> Format | None:
    """The format of a file by its content, or None. Raises DataError if the file cannot be read."""
    head = read_bytes(path, HEAD_BYTES).decode("utf-8", errors="replace")
    return next((known for known in FORMATS if known.recognise(head)), None)


def read_rows(path: Path) -> Rows:
    """All rows of an annotation file of any known format.

    Raises:
        DataError: if the file cannot be read, or its format is not known.
    """
    known = recognise(path) or _BY_SUFFIX.get(path.suffix.lower())  # so that each bad line is named all the same
    if known is None:
        names = ", ".join(known.name for known in FORMATS)
        raise DataError(f"{path}: not an annotation file of a known format ({names})")
    return known.read(path, read_bytes(path))


# --- a folder's files ---------------------------------------------------------------------------------------------

_SPLIT_WORDS = {"train": ("train", "training"), "val": ("val", "validation", "valid", "dev"), "test": ("test",)}
# Two validation files, annotated by different people: the literature tests on the second.
_NUMBERED = {"val": "val_1", "test": "val_2"}


def is_annotation(path: Path) -> bool:
    """Whether a file of a data folder holds pairs: by its content, or by a split's name where the content is broken."""
    if path.suffix.lower() not in SUFFIXES:
        return False
    try:
        if recognise(path) is not None:
            return True
    except DataError:
        return path.stem in _SPLIT_WORDS
    return path.stem in _SPLIT_WORDS and path.suffix.lower() in _BY_SUFFIX


def name_splits(files: Sequence[Path]) -> dict[str, Path]:
    """Annotation files by split name: `train`, `val` and `test` as published, any other file by its stem.

    A file is a split's if its stem is the split's name, or else if it is the only file with that word in its stem
    (`charades_sta_train.txt`). Of several files of one stem, jsonl comes first.
    """
    by_stem: dict[str, Path] = {}
    for path in sorted(files, key=lambda path: (SUFFIXES.index(path.suffix.lower()), path.name)):
        by_stem.setdefault(path.stem, path)
    chosen = {name: name for name in _SPLIT_WORDS if name in by_stem}
    if set(_NUMBERED.values()) <= by_stem.keys() and "val" not in chosen:
        chosen["val"] = _NUMBERED["val"]
    for name, words in _SPLIT_WORDS.items():
        stems = [stem for stem in by_stem if set(words) & set(re.split(r"[\W_]+", stem.lower()))]
        if name not in chosen and len(stems) == 1 and stems[0] not in chosen.values():
            chosen[name] = stems[0]
    if chosen.get("val") == _NUMBERED["val"] and _NUMBERED["test"] in by_stem:
        chosen.setdefault("test", _NUMBERED["test"])
    named = {name: by_stem[chosen[name]] for name in _SPLIT_WORDS if name in chosen}
    return named | {stem: path for stem, path in sorted(by_stem.items()) if stem not in chosen.values()}
