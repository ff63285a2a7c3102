"""Programs that show results: video players, and the browser. Commands are lists of arguments; no shell reads them."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import IO, Protocol

from mttsg_core.errors import ConfigError
from mttsg_core.moments import Moment
from mttsg_core.utils.text import format_clock, os_reason


class _Say(Protocol):
    def say(self, text: str) -> None:
        """Show a line."""


def _mpv(video: str, moment: Moment) -> list[str]:
    # With keep-open it stays at the end of the moment, from where one can go on.
    return [f"--start={moment.start:.3f}", f"--end={moment.end:.3f}", "--keep-open=yes", "--", video]


def _vlc(video: str, moment: Moment) -> list[str]:
    return [f"--start-time={moment.start:.3f}", f"--stop-time={moment.end:.3f}", "--play-and-pause", "--", video]


def _ffplay(video: str, moment: Moment) -> list[str]:
    return ["-loglevel", "error", "-ss", f"{moment.start:.3f}", "-t", f"{moment.duration:.3f}", "-i", video]


_PLAYERS: Mapping[str, Callable[[str, Moment], list[str]]] = {"mpv": _mpv, "vlc": _vlc, "ffplay": _ffplay}
_CLIPBOARDS = (("pbcopy",), ("wl-copy",), ("xclip", "-selection", "clipboard"), ("xsel", "-ib"), ("clip",))
_SECONDS_TO_FAIL = 0.3  # after which a program that still runs counts as started
_OPENERS: Mapping[str, str] = {"darwin": "open", "win32": "explorer"}  # of the system; xdg-open elsewhere
_MEANINGLESS_CODES = ("explorer",)  # programs that end with 1 although all went well


def player_command(video: Path, moment: Moment) -> tuple[list[str], bool]:
    """Return the command that plays a moment of a video, and whether its player can begin at the second.

    Raises:
        ConfigError: if there is no player on this computer.
    """
    path = str(video.absolute())  # begins with a slash or a drive, so that it is not taken for an option or an address
    for name, arguments in _PLAYERS.items():
        program = shutil.which(name)
        if program is not None:
            return [program, *arguments(path, moment)], True
    program = _system_opener()
    if program is None:
        raise ConfigError(f"no video player found; install one of {', '.join(_PLAYERS)}")
    return [program, path], False


def play(video: Path, moment: Moment, reporter: _Say, *, wait: bool = True) -> None:
    """Play a moment. The system's own player gets the whole video, as it cannot be told where to begin.

    Args:
        video: the file.
        moment: of it.
        reporter: shows a line that says what is played.
        wait: return when the player is closed, rather than when it runs.

    Raises:
        ConfigError: if the video is gone, or no player can be started.
    """
    _require_file(video)
    command, begins_there = player_command(video, moment)
    span = f"{format_clock(moment.start)} to {format_clock(moment.end)}"
    note = "" if begins_there else "; this program cannot be told where to begin"
    reporter.say(f"{Path(command[0]).stem}: {video}, {span}{note}")
    _run(command, wait=wait)


def open_file(path: Path) -> None:
    """Open a file with the program that the system has for it.

    Raises:
        ConfigError: if the file is gone, or there is no such program.
    """
    _require_file(path)
    opener = _system_opener()
    if opener is None:
        raise ConfigError(f"{path}: no program found that opens files")
    _run([opener, str(path.absolute())], wait=False)


def copy_text(text: str, terminal: IO[str]) -> bool:
    """Put a text on the clipboard: with a program for it, else with the terminal's own sequence (OSC 52).

    Return whether it could be sent there; whether a terminal takes the sequence, it does not say.
    """
    for name, *arguments in _CLIPBOARDS:
        program = shutil.which(name)
        if program is not None:
            with suppress(OSError):
                ran = subprocess.run(
                    [program, *arguments],
                    input=text.encode(),
                    stdout=subprocess.DEVNULL,  # some stay in the background, and would keep a pipe open
                    stderr=subprocess.DEVNULL,
                    check=False,
                )
                if not ran.returncode:
                    return True
    if not terminal.isatty():
        return False
    encoded = base64.b64encode(text.encode()).decode("ascii")
    terminal.write(f"\x1b]52;c;{encoded}\x07")
    terminal.flush()
    return True


def open_page(page: Path, reporter: _Say) -> None:
    """Open an HTML file in the browser; say where it is if there is none."""
    if not webbrowser.open(page.resolve().as_uri()):
        reporter.say(f"{page}: no browser found; open the file yourself")


def _system_opener() -> str | None:
    return shutil.which(_OPENERS.get(sys.platform, "xdg-open"))


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise ConfigError(f"{path}: is gone, or is not a file")


def _run(command: Sequence[str], *, wait: bool) -> None:
    """Start a program that takes nothing from the terminal. Raises ConfigError if it fails, at once without `wait`."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=not wait,  # then Ctrl-C in the terminal is not meant for it
        )
    except OSError as error:
        raise ConfigError(f"{command[0]}: cannot be started ({os_reason(error)})") from error
    try:
        code = process.wait(None if wait else _SECONDS_TO_FAIL)
    except subprocess.TimeoutExpired:
        Thread(target=process.wait, daemon=True).start()  # so that no zombie is left
        return
    if code and Path(command[0]).stem not in _MEANINGLESS_CODES:
        raise ConfigError(f"{Path(command[0]).stem} ended with code {code}; is there a screen?")
