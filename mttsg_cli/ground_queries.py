"""The sentences that `mttsg ground` asks: of the command line, and of a file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from mttsg_cli.console import Reporter
from mttsg_cli.inputs import Inputs
from mttsg_cli.option_values import BadRows
from mttsg_core.errors import ConfigError

if TYPE_CHECKING:
    from mttsg_core.data.queries import Query


def read_queries(inputs: Inputs, file: Path | None, reporter: Reporter) -> Iterator[Query]:
    """Return an iterator over the queries of the command line and of a file.

    Raises:
        ConfigError: if there are none.
        DataError: if the file cannot be opened; the iterator may raise it too.
    """
    from mttsg_core.data.queries import Query

    if any(not sentence.strip() for sentence in inputs.sentences):
        raise ConfigError("a sentence must have at least one word")
    if not inputs.sentences and file is None:
        hint = "; what exists is taken for a video: put -- before the sentences" if len(inputs.videos) > 1 else ""
        raise ConfigError(f"no sentence: give one after the video, or a file of them with --queries{hint}")
    named = (Query(sentence.strip()) for sentence in inputs.sentences)
    return named if file is None else chain(named, _read_file(file, reporter))


def _read_file(path: Path, reporter: Reporter) -> Iterator[Query]:
    """Yield the queries of a file, or of standard input, and warn about its bad rows."""
    from mttsg_core.data.queries import Query, stream_queries
    from mttsg_core.utils.json_lines import open_bytes

    bad_rows = BadRows(reporter)
    with nullcontext(sys.stdin.buffer) if str(path) == "-" else open_bytes(path) as file:
        for entry in stream_queries(path, file):
            if isinstance(entry, Query):
                yield entry
            else:
                bad_rows.add(entry)
    bad_rows.report_number()


def at_most(queries: Iterable[Query], number: int) -> Iterator[Query]:
    """Yield queries. Raises ConfigError if there are more than `number`."""
    for position, query in enumerate(queries):
        if position == number:
            raise ConfigError(
                f"--html, --clips, --join and timelines: at most {number:,} sentences in one run; divide the file"
            )
        yield query
