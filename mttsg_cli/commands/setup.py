"""`mttsg setup`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from mttsg_cli.console import SOME_FAILED, UNUSABLE, Reporter, exit_codes
from mttsg_cli.display import EventDisplay
from mttsg_cli.options import common, computer_options
from mttsg_cli.writers import print_json
from mttsg_core.utils.paths import home_relative
from mttsg_core.utils.text import format_bytes

if TYPE_CHECKING:
    from mttsg_core.workflows.setup import SetupItem


def setup(
    encoder: computer_options.EncoderToGet = None,
    text_encoder: computer_options.TextEncoderToGet = None,
    offline: common.Offline = False,
    as_json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> None:
    """Download the default encoders ahead of time. A stopped download goes on where it was.

    Examples:

        mttsg setup

        mttsg setup --encoder siglip2
    """
    with exit_codes():
        from mttsg_core.workflows import setup as workflow

        reporter = Reporter(quiet=quiet, verbose=verbose)
        items = []
        with EventDisplay(reporter):
            for what, name in workflow.setup_plan(encoder, text_encoder):
                items.append(_get(what, name, reporter, offline=offline))
        if as_json:
            print_json({"models": [item.as_dict() for item in items]})
        failed = sum(item.failure is not None for item in items)
        if failed:
            raise typer.Exit(UNUSABLE if failed == len(items) else SOME_FAILED)


def _get(what: str, name: str, reporter: Reporter, *, offline: bool) -> SetupItem:
    """Download one encoder, and say what became of it."""
    from mttsg_core.workflows.setup import expected_bytes, fetch

    item = fetch(what, name, offline=True)
    if item.failure is not None and not offline:
        size = expected_bytes(name)
        reporter.say(f"{what} {name}: getting it" + (f", about {format_bytes(size)}" if size is not None else ""))
        item = fetch(what, name)
    if item.failure is not None:
        reporter.error(item.failure)
    elif item.folder is None:
        reporter.say(f"{what} {name}: built in")
    else:
        reporter.say(f"{what} {name}: {format_bytes(item.bytes)} in {home_relative(item.folder)}")
    return item
