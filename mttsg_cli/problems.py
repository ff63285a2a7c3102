"""Rows that cannot be used, as the commands report them."""

from __future__ import annotations

from collections.abc import Sequence

from mttsg_cli.console import Reporter
from mttsg_core.utils.json_lines import Problem
from mttsg_core.utils.text import count

_SHOWN_ROWS = 3  # bad rows that are shown without --verbose


def report_problems(reporter: Reporter, problems: Sequence[Problem]) -> None:
    """Warn about skipped rows: the first few and their number, or with --verbose each of them."""
    for problem in problems if reporter.verbose else problems[:_SHOWN_ROWS]:
        reporter.warn(str(problem))
    if problems:
        all_shown = reporter.verbose or len(problems) <= _SHOWN_ROWS
        hint = "" if all_shown else " (--verbose shows each)"
        reporter.warn(f"{count(len(problems), 'bad row')} skipped{hint}")
