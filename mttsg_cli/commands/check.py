"""`mttsg check`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mttsg_cli import options
from mttsg_cli.console import SOME_FAILED, Reporter, exit_codes
from mttsg_cli.tables import MISSING, print_columns
from mttsg_cli.writers import print_json
from mttsg_core.utils.text import count

if TYPE_CHECKING:
    from mttsg_core.data.statistics import FolderStatistics, SplitStatistics

_NAMED = 3  # videos in a warning


def check(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Data folder, or a single annotation file.")],
    features: options.Features = None,
    config: options.Config = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Read a whole data set, name every bad row, and show what is in it. Nothing is written.

    Each bad row is a line 'error: FILE:LINE: reason' on standard error; with any, the exit code is 1.

    Videos of another split that are in the training split too are a warning.

    Examples:

        mttsg check data/

        mttsg check charades_sta_test.txt --json
    """
    with exit_codes():
        from mttsg_core.data.durations import with_durations
        from mttsg_core.data.folder import DataFolder, read_pairs
        from mttsg_core.data.statistics import describe
        from mttsg_core.utils.files import is_file

        reporter = Reporter(quiet=quiet, verbose=verbose)
        if is_file(data):
            found = describe(data, [read_pairs(data)])
        else:
            folder = DataFolder.open(data, features)
            splits = [with_durations(folder, folder.split(name)) for name in folder.splits]
            found = describe(data, splits, folder.video_key)
        for problem in found.problems:
            reporter.error(str(problem))
        for name, videos in found.seen_in_training.items():
            reporter.warn(f"{name}: {count(len(videos), 'video')} also in train: {_first_of(videos)}")
        if as_json:
            print_json(found.as_dict())
        else:
            _print_overview(found)
        if found.problems:
            raise typer.Exit(SOME_FAILED)


def _print_overview(found: FolderStatistics) -> None:
    """A column for each split."""
    columns = [_column(split) for split in found.splits.values()]
    rows = [(cells[0][0], [text for _, text in cells]) for cells in zip(*columns, strict=True)]
    print_columns(str(found.folder), list(found.splits), rows)


def _column(split: SplitStatistics) -> list[tuple[str, str]]:
    """What is said of a split: the labels of the rows, and its text in each."""
    seconds, share = split.moment_seconds or {}, split.moment_share or {}
    return [
        ("rows", f"{split.rows:,}"),
        ("bad rows", f"{split.bad_rows:,}"),
        ("pairs", f"{split.pairs:,}"),
        ("videos", f"{split.videos:,}"),
        ("  of known length", f"{split.timed_videos:,}"),
        ("  hours of these", _number(split.hours if split.timed_videos else None, 2)),
        ("queries a video", _number(split.queries_per_video)),
        ("  at most", f"{split.max_queries_per_video:,}"),
        ("words a query", _number(split.words)),
        ("  at most", f"{split.max_words:,}"),
        ("in several videos", _percent(split.shared_sentences)),
        ("moments", f"{split.moments:,}"),
        ("  seconds: shortest", _number(seconds.get("min"))),
        ("  seconds: 10%", _number(seconds.get("10%"))),
        ("  seconds: median", _number(seconds.get("median"))),
        ("  seconds: 90%", _number(seconds.get("90%"))),
        ("  seconds: longest", _number(seconds.get("max"))),
        ("  median of video", _percent(share.get("median"))),
        ("  end past video", f"{split.ends_past_video:,}"),
        ("pairs without one", f"{split.pairs_without_moment:,}"),
        ("pairs with several", f"{split.pairs_with_several:,}"),
    ]


def _first_of(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


def _number(value: float | None, digits: int = 1) -> str:
    return MISSING if value is None else f"{value:,.{digits}f}"


def _percent(share: float | None) -> str:
    return MISSING if share is None else f"{100 * share:.1f}%"
