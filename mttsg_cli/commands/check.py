"""`mttsg check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from mttsg_cli import option_values, options
from mttsg_cli.console import SOME_FAILED, Reporter, exit_codes
from mttsg_cli.display import EventDisplay, show_large_files
from mttsg_cli.inputs import require_data
from mttsg_cli.rows import MISSING
from mttsg_cli.tables import print_columns
from mttsg_cli.writers import print_json

if TYPE_CHECKING:
    from mttsg_core.data.statistics import FolderStatistics, SplitStatistics


def check(
    data: options.DataOrFile,
    features: options.Features = None,
    config: options.Config = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Read a whole data set, name every bad row, and show what is in it. Nothing is written.

    Each bad row is a line 'error: FILE:LINE: reason' on standard error, and each file of features that cannot be used
    is a line too; if there is one, the exit code is 1. The durations of the videos at hand count, not those of rows.

    Warnings name columns that are not read, and videos that are in the training split and in another one.

    Examples:

        mttsg check data/

        mttsg check charades_sta_test.txt --json
    """
    with exit_codes():
        features = option_values.feature_places(features, data)
        require_data(data, or_file=True, features=features)
        from mttsg_core.workflows import check as workflow

        reporter = Reporter(quiet=quiet, verbose=verbose)
        show_large_files(reporter, data)
        with EventDisplay(reporter):  # shows what the library logs
            statistics = workflow.check(data, features=features)
        for problem in [*map(str, statistics.problems), *statistics.unusable_features]:
            reporter.error(problem)
        for warning in [*statistics.notes, *workflow.leakage_warnings(statistics)]:
            reporter.warn(warning)
        if as_json:
            print_json(statistics.as_dict())
        else:
            _print_statistics(statistics)
        if statistics.problems or statistics.unusable_features:
            raise typer.Exit(SOME_FAILED)


def _print_statistics(statistics: FolderStatistics) -> None:
    """Print a table with a column for each split."""
    columns = [_column(split) for split in statistics.splits.values()]
    rows = [(cells[0][0], [text for _, text in cells]) for cells in zip(*columns, strict=True)]
    print_columns(str(statistics.folder), list(statistics.splits), rows)


def _column(split: SplitStatistics) -> list[tuple[str, str]]:
    """Return the label of each row of the table, and the text of a split in it."""
    seconds, share = split.moment_seconds or {}, split.moment_share or {}
    return [
        ("rows", f"{split.rows:,}"),
        ("bad rows", f"{split.bad_rows:,}"),
        ("pairs", f"{split.pairs:,}"),
        ("videos", f"{split.videos:,}"),
        ("  of known length", f"{split.timed_videos:,}"),
        ("  hours of these", _number(split.hours if split.timed_videos else None, 2)),
        ("queries per video", _number(split.queries_per_video)),
        ("  at most", f"{split.max_queries_per_video:,}"),
        ("words per query", _number(split.words)),
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


def _number(value: float | None, digits: int = 1) -> str:
    return MISSING if value is None else f"{value:,.{digits}f}"


def _percent(share: float | None) -> str:
    return MISSING if share is None else f"{100 * share:.1f}%"
