"""Damage annotation, query and prediction files at random, and read them.

    python benchmarks/fuzz_rows.py --count 20000

Every file must be read or refused with a `DataError`, within a time limit, and rows that the damage did not touch must
keep their times.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

import numpy as np

from mttsg_core.data.folder import DataFolder
from mttsg_core.data.predictions import read_predictions
from mttsg_core.data.queries import parse_queries
from mttsg_core.data.splits import read_pairs
from mttsg_core.errors import DataError

_VALUE = re.compile(rb'"(?:[^"\\\n]|\\.)*"|(?<![\w.])-?\d+(?:[.,]\d+)?')
_WITH_STRUCTURE = 0.6  # of the files; else hardly a JSON document would be read
Times = tuple[tuple[float, float], ...]
Rows = Mapping[tuple[str, str], Times]
SourceRows = list[tuple[str, str, float, float, float]]  # video, sentence, start, end, duration of the video
Read = tuple[bool, list[tuple[tuple[str, str], Times]]]  # whether there are problems, and the rows
WORDS = ("door", "red", "turns", "sits", "Tür", "पीती", "猫", "a, b", 'says "hi"', "##", "the 3rd")
VALUES = (
    *("null", "true", "-1", "1e308", "NaN", '""', '"0:29"', '"29,2"', "[]", "{}", "[[1, 2]]", "12345678901234567890"),
    *('"x"', "29200", "0.5", "[1, 2, 3]", '"\\ud800"', '"../a"', "3", "2.5"),
)
BYTES = (
    *(b"", b'"', b"{", b"}", b"[", b"]", b",", b";", b":", b"#", b"-", b".", b"9", b"e9", b" ", b"\t", b"\n", b"\r"),
    *(b"\0", b"\xff", b"\xe9", b"\xc3", b"\xef\xbb\xbf", b"\xe2\x80\xa8"),
)


@dataclass(frozen=True)
class Sample:
    """A good file.

    Attributes:
        form: its format.
        suffix: of its name.
        content: its text.
        rows: the times of each sentence, by video and sentence.
        chunks: for each sentence the part of the text that must be intact for its row to be untouched.
        head: the start of the file that must be intact as well, such as a header.
        kind: `annotations`, `predictions`, or `queries`, whose sentences have no times.
    """

    form: str
    suffix: str
    content: str
    rows: Rows
    chunks: Mapping[tuple[str, str], str]
    head: str = ""
    kind: str = "annotations"


@dataclass
class Summary:
    """What became of the files, by format and outcome, and what must not happen."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    rows: int = 0  # untouched ones, which were compared
    slowest: float = 0.0  # seconds
    failures: list[str] = field(default_factory=list)


class HangError(BaseException):
    """The time limit of a file is over; nothing that reads files catches it."""


def make_rows(rng: np.random.Generator) -> SourceRows:
    """Return rows of a few videos; every sentence is unique."""
    rows: SourceRows = []
    for video in range(int(rng.integers(2, 5))):
        duration = round(float(rng.uniform(20, 200)), 2)
        for number in range(int(rng.integers(1, 4))):
            start = round(float(rng.uniform(0, duration - 10)), 2)
            end = round(start + float(rng.uniform(1, 9)), 2)
            sentence = f"{rng.choice(WORDS)} {rng.choice(WORDS)} {video}-{number}"
            rows.append((f"v{video}", sentence, start, end, duration))
    return rows


def json_lines(rows: SourceRows, *, published: bool) -> Sample:
    """Return the own format, or QVHighlights'."""
    lines = [
        json.dumps(
            {"qid": number, "vid": video, "query": query, "duration": duration, "relevant_windows": [[start, end]]}
            if published
            else {"video": video, "query": query, "start": start, "end": end, "duration": duration},
            ensure_ascii=False,
        )
        for number, (video, query, start, end, duration) in enumerate(rows)
    ]
    return by_lines("QVHighlights jsonl" if published else "jsonl", ".jsonl", rows, lines)


def by_lines(form: str, suffix: str, rows: SourceRows, lines: list[str], head: str = "") -> Sample:
    """Return a sample with one row a line."""
    keys = [(video, query.strip()) for video, query, *_ in rows]
    times = {key: ((start, end),) for key, (_, _, start, end, _) in zip(keys, rows, strict=True)}
    chunks = dict(zip(keys, lines, strict=True))
    return Sample(form, suffix, head + "\n".join(lines) + "\n", times, chunks, head)


def table(rows: SourceRows, delimiter: str) -> Sample:
    """Return a table with a header; with semicolons its numbers have decimal commas."""
    lines = []
    for video, query, *times in rows:
        quoted = '"' + query.replace('"', '""') + '"'
        numbers = [str(time).replace(".", ",") if delimiter == ";" else str(time) for time in times]
        lines.append(delimiter.join([video, quoted, *numbers]))
    head = delimiter.join(["video", "query", "start", "end", "duration"]) + "\n"
    return by_lines(f"table with {delimiter!r}", ".csv", rows, lines, head)


def charades(rows: SourceRows) -> Sample:
    """Return Charades-STA's format."""
    return by_lines(
        "Charades-STA txt", ".txt", rows, [f"{v} {start} {end}##{query}" for v, query, start, end, _ in rows]
    )


def by_video(rows: SourceRows, *, frames: bool) -> Sample:
    """Return ActivityNet Captions' document, or that of TACoS with times in frames."""
    fps = 29.4
    videos, times = dict[str, dict[str, object]](), dict[tuple[str, str], Times]()
    for name in dict.fromkeys(video for video, *_ in rows):
        own = [row for row in rows if row[0] == name]
        unit = fps if frames else 1.0
        spans = [[round(start * unit), round(end * unit)] if frames else [start, end] for _, _, start, end, _ in own]
        extra = {"fps": fps, "num_frames": round(own[0][4] * fps)} if frames else {"duration": own[0][4]}
        videos[name] = {**extra, "timestamps": spans, "sentences": [query for _, query, *_ in own]}
        times |= {(name, row[1]): ((first / unit, last / unit),) for row, (first, last) in zip(own, spans, strict=True)}
    parts = {name: f'"{name}": ' + json.dumps(value, ensure_ascii=False) for name, value in videos.items()}
    content = "{" + ",\n ".join(parts.values()) + "}"
    chunks = {key: parts[key[0]] for key in times}
    return Sample("TACoS json" if frames else "ActivityNet json", ".json", content, times, chunks)


def listed(rows: SourceRows, form: str) -> Sample:
    """Return a JSON list: of rows, of 2D-TAN's tuples, or of UniTime's records."""
    make: Mapping[str, Callable[[str, str, float, float, float], object]] = {
        "json list": lambda v, q, s, e, d: {"video": v, "query": q, "start": s, "end": e, "duration": d},
        "2D-TAN json": lambda v, q, s, e, d: [v, d, [s, e], q],
        "UniTime json": lambda v, q, s, e, d: {"id": v, "duration": d, "annos": [{"query": q, "window": [[s, e]]}]},
    }
    parts = [json.dumps(make[form](*row), ensure_ascii=False) for row in rows]
    sample = by_lines(form, ".json", rows, parts)
    return Sample(form, ".json", "[" + ",\n".join(parts) + "]", sample.rows, sample.chunks)


def database(rows: SourceRows) -> Sample:
    """Return ActionFormer's database."""
    names = dict.fromkeys(video for video, *_ in rows)
    parts = {}
    for name in names:
        own = [row for row in rows if row[0] == name]
        annotations = [{"segment": [start, end], "sentence": query} for _, query, start, end, _ in own]
        value = {"subset": "train", "duration": own[0][4], "fps": 25, "annotations": annotations}
        parts[name] = f'"{name}": ' + json.dumps(value, ensure_ascii=False)
    content = '{"version": "1", "database": {' + ", ".join(parts.values()) + "}}"
    times = {(video, query): ((start, end),) for video, query, start, end, _ in rows}
    return Sample("ActionFormer json", ".json", content, times, {key: parts[key[0]] for key in times})


def predictions(rows: SourceRows, form: str) -> Sample:
    """Return predictions with one moment each: the own format, QVHighlights', or rows as `ground` writes them."""
    make: Mapping[str, Callable[[str, str, float, float], object]] = {
        "own predictions": lambda v, q, s, e: {"id": q, "video": v, "query": q, "moments": [[s, e, 0.5]]},
        "QVHighlights predictions": lambda v, q, s, e: {
            "qid": q, "vid": v, "query": q, "pred_relevant_windows": [[s, e, 0.5]]
        },
        "ground jsonl": lambda v, q, s, e: {"video": v, "query": q, "rank": 1, "start": s, "end": e, "score": 0.5},
    }  # fmt: skip
    sample = by_lines(form, ".jsonl", rows, [json.dumps(make[form](*row[:4]), ensure_ascii=False) for row in rows])
    return replace(sample, kind="predictions")


def ground_table(rows: SourceRows) -> Sample:
    """Return the csv file that `ground` writes."""
    lines = [
        ",".join([video, '"' + query.replace('"', '""') + '"', "1", str(start), str(end), "0.5"])
        for video, query, start, end, _ in rows
    ]
    sample = by_lines("ground csv", ".csv", rows, lines, "video,query,rank,start,end,score\n")
    return replace(sample, kind="predictions")


def queries(rows: SourceRows) -> Sample:
    """Return sentences, each about one video."""
    lines = [json.dumps({"query": query, "video": video}, ensure_ascii=False) for video, query, *_ in rows]
    sample = by_lines("queries jsonl", ".jsonl", rows, lines)
    return replace(sample, kind="queries", rows=dict.fromkeys(sample.rows, ()))


def make_sample(rng: np.random.Generator) -> Sample:
    """Return a good file in a random format."""
    rows = make_rows(rng)
    makers: tuple[Callable[[], Sample], ...] = (
        lambda: json_lines(rows, published=False),
        lambda: json_lines(rows, published=True),
        lambda: table(rows, ","),
        lambda: table(rows, ";"),
        lambda: table(rows, "\t"),
        lambda: charades(rows),
        lambda: by_video(rows, frames=False),
        lambda: by_video(rows, frames=True),
        lambda: listed(rows, "json list"),
        lambda: listed(rows, "2D-TAN json"),
        lambda: listed(rows, "UniTime json"),
        lambda: database(rows),
        lambda: predictions(rows, "own predictions"),
        lambda: predictions(rows, "QVHighlights predictions"),
        lambda: predictions(rows, "ground jsonl"),
        lambda: ground_table(rows),
        lambda: queries(rows),
    )
    return makers[int(rng.integers(len(makers)))]()


def damage(content: bytes, rng: np.random.Generator, *, keep_structure: bool) -> bytes:
    """Return the content with one to three changes, which with `keep_structure` replace whole values."""
    for _ in range(int(rng.integers(1, 4))):
        place, kind = int(rng.integers(len(content) + 1)), 7 if keep_structure else int(rng.integers(8))
        other = int(rng.integers(len(content) + 1))
        if kind == 0:
            content = content[:place] + BYTES[int(rng.integers(len(BYTES)))] + content[place:]
        elif kind == 1:
            content = content[:place] + BYTES[int(rng.integers(len(BYTES)))] + content[place + 1 :]
        elif kind == 2:
            content = content[:place] + content[place + int(rng.integers(1, 30)) :]
        elif kind == 3:
            content = content[:place]
        elif kind == 4:
            content = content[:place] + content[other : other + int(rng.integers(1, 200))] + content[place:]
        elif kind == 5:
            content = content.replace(b"\n", b"\r\n")
        elif kind == 6:
            lines = content.splitlines(keepends=True)
            rng.shuffle(lines)
            content = b"".join(lines)
        else:
            content = replace_value(content, rng)
    return content


def replace_value(content: bytes, rng: np.random.Generator) -> bytes:
    """Return the content with another value in the place of one of its numbers or quoted texts, which may be a key."""
    values = list(_VALUE.finditer(content))
    if not values:
        return content
    value = values[int(rng.integers(len(values)))]
    return content[: value.start()] + VALUES[int(rng.integers(len(VALUES)))].encode() + content[value.end() :]


def untouched(sample: Sample, content: bytes) -> Iterator[tuple[str, str]]:
    """Yield the sentences that still occur once, whose part of the file, and its head, the damage left as they were."""
    text = content.decode("utf-8", errors="surrogateescape").replace("\r\n", "\n").removeprefix("\ufeff")
    lines = set(text.split("\n"))
    if text.startswith(sample.head):
        for key, chunk in sample.chunks.items():
            is_intact = chunk in lines if sample.suffix != ".json" else chunk in text
            if is_intact and text.count(key[1].rpartition(" ")[2]) == 1:
                yield key


def read_annotations(path: Path, content: bytes) -> Read:
    """Read annotations, also as a split of a data folder."""
    split = read_pairs(path)
    for check_videos in (True, False):
        folder = DataFolder.open(path.parent)
        for name in folder.splits:
            folder.split(name, require_moment=True, check_videos=check_videos)
    return bool(split.problems), [((pair.video, pair.query), pair.moments) for pair in split.pairs]


def read_predicted(path: Path, content: bytes) -> Read:
    """Read predictions."""
    found = read_predictions(path)
    rows = [((str(row.video), str(row.query)), tuple(span[:2] for span in row.moments)) for row in found.rows]
    return bool(found.problems), rows


def read_queries(path: Path, content: bytes) -> Read:
    """Read sentences to ground."""
    found, problems = parse_queries(path, content)
    return bool(problems), [((str(query.video), query.text), ()) for query in found]


READERS: Mapping[str, Callable[[Path, bytes], Read]] = {
    "annotations": read_annotations,
    "predictions": read_predicted,
    "queries": read_queries,
}


def read_all(path: Path, content: bytes, kind: str) -> tuple[str, Mapping[tuple[str, str], list[Times]]]:
    """Read a file in every way that there is. Returns what became of it as what it is, and the times of its rows."""
    path.write_bytes(content)
    outcome, times = "", dict[tuple[str, str], list[Times]]()
    for name, read in READERS.items():
        try:
            has_problems, rows = read(path, content)
        except DataError as error:
            if "\n" in str(error):
                raise ValueError("an error of several lines") from error
            outcome = "refused" if name == kind else outcome
            continue
        if name == kind:
            outcome = "read, with problems" if has_problems else "read"
            for key, moments in rows:
                times.setdefault(key, []).append(moments)
    return outcome, times


def fuzz_file(number: int, seed: int, folder: Path, limit: float, summary: Summary) -> None:
    """Damage one file, read it, and add what became of it to the summary."""
    rng = np.random.default_rng([seed, number])
    sample = make_sample(rng)
    content = damage(sample.content.encode(), rng, keep_structure=rng.random() < _WITH_STRUCTURE)
    path = folder / f"train{sample.suffix}"
    began = time.perf_counter()
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        outcome, times = read_all(path, content, sample.kind)
    except HangError:
        outcome, times = "hangs", {}
        summary.failures.append(f"{number} ({sample.form}): takes more than {limit:g} s")
    except Exception as error:  # noqa: BLE001 -- finding these is what this is for
        outcome, times = "traceback", {}
        summary.failures.append(f"{number} ({sample.form}): {type(error).__name__}: {error}")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        path.unlink(missing_ok=True)
    summary.slowest = max(summary.slowest, time.perf_counter() - began)
    summary.outcomes[sample.form, outcome] += 1
    for key in untouched(sample, content):
        if key not in times:
            continue
        summary.rows += 1
        if sample.rows[key] not in times[key]:
            summary.failures.append(f"{number} ({sample.form}): {key} has {times[key]}, not {sample.rows[key]}")


def raise_hang(number: int, frame: FrameType | None) -> None:
    """Stop a file that takes too long."""
    raise HangError


def print_summary(summary: Summary, seconds: float) -> None:
    """Print a table of outcomes by format, and the failures."""
    outcomes = sorted({outcome for _, outcome in summary.outcomes})
    print(f"{'':26}" + "".join(f"{outcome:>22}" for outcome in outcomes))
    for form in sorted({form for form, _ in summary.outcomes}):
        print(f"{form:26}" + "".join(f"{summary.outcomes[form, outcome]:22,}" for outcome in outcomes))
    files = sum(summary.outcomes.values())
    print(f"{files:,} files in {seconds:.0f} s, the slowest in {1000 * summary.slowest:.0f} ms")
    print(
        f"{summary.rows:,} untouched rows compared, {len(summary.failures)} failures", *summary.failures[:20], sep="\n"
    )


def main() -> int:
    """Run the fuzz. Returns 1 if there is a failure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000, help="number of files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first file, to repeat one that failed")
    parser.add_argument("--limit", type=float, default=5.0, help="seconds for one file")
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, raise_hang)
    logging.getLogger("mttsg").setLevel(logging.ERROR)
    summary = Summary()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.first, options.first + options.count):
            fuzz_file(number, options.seed, Path(folder), options.limit, summary)
    print_summary(summary, time.perf_counter() - began)
    return int(bool(summary.failures))


if __name__ == "__main__":
    sys.exit(main())
