"""The `mttsg` program, which is also `python -m mttsg_cli`. Little is imported before signals are handled."""

import os
import sys

from mttsg_cli.signals import StopSignals


def main() -> None:
    """Run the program."""
    signals = StopSignals()
    signals.install()
    code: str | int | None = None
    try:
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:  # closed by the parent process; what is printed there is lost
                setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        from mttsg_cli.app import app

        app()
    except SystemExit as exit_:
        code = exit_.code
    except KeyboardInterrupt:
        code = 130
    signals.ignore()
    sys.exit(code if signals.stopped is None else signals.stopped.exit_code)


if __name__ == "__main__":
    main()
