"""`mttsg doctor`."""

from __future__ import annotations

import sys

import typer

from mttsg_cli.console import SOME_FAILED, exit_codes
from mttsg_cli.options import common
from mttsg_cli.terminal import for_terminal, printable
from mttsg_cli.writers import print_json

_NAME_WIDTH, _STATUS_WIDTH = 10, 7


def doctor(
    device: common.Device = "auto",
    offline: common.Offline = False,
    cache: common.Cache = None,
    as_json: common.Json = False,
) -> None:
    """Check this computer: Python, torch, codecs, cache, models, the hub, and a video of its own. One line each.

    The exit code is 1 if a check fails. A note says what is missing without being needed.

    Examples:

        mttsg doctor

        mttsg doctor --json
    """
    with exit_codes():
        from mttsg_core.workflows.doctor import iter_checks
        from mttsg_core.workflows.options import RuntimeOptions

        checks = []
        for check in iter_checks(RuntimeOptions(device, cache, offline)):
            checks.append(check)
            if not as_json:
                line = f"{check.name:{_NAME_WIDTH}} {check.status:{_STATUS_WIDTH}}{printable(check.text)}"
                print(line, file=for_terminal(sys.stdout), flush=True)
        failed = any(check.status == "failed" for check in checks)
        if as_json:
            print_json({"ok": not failed, "checks": [check.as_dict() for check in checks]})
        if failed:
            raise typer.Exit(SOME_FAILED)
