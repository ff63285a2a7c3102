"""Programs that show results: video players, and the browser. Commands are lists of arguments; no shell reads them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import webbrowser
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

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
_OPENERS: Mapping[str, str] = {"darwin": "open", "win32": "explorer"}  # of the system; xdg-open elsewhere


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
    opener = _OPENERS.get(sys.platform, "xdg-open")
    program = shutil.which(opener)
    if program is None:
        raise ConfigError(f"no video player found ({', '.join(_PLAYERS)}, {opener}); install one of them")
    return [program, path], False


def play(video: Path, moment: Moment, reporter: _Say) -> None:
    """Play a moment and wait until the player is closed. The system's own player gets the whole video.

    Raises:
        ConfigError: if the video is gone, or no player can be started.
    """
    if not video.is_file():
        raise ConfigError(f"{video}: is gone, or is not a file that can be played")
    command, begins_there = player_command(video, moment)
    player = Path(command[0]).stem
    span = f"{format_clock(moment.start)} to {format_clock(moment.end)}"
    note = "" if begins_there else "; this program cannot be told where to begin"
    reporter.say(f"{player}: {video}, {span}{note}")
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
        )
    except OSError as error:
        raise ConfigError(f"{command[0]}: cannot be started ({os_reason(error)})") from error
    if ended.returncode:
        raise ConfigError(f"{player} ended with code {ended.returncode}; is there a screen?")


def open_page(page: Path, reporter: _Say) -> None:
    """Open an HTML file in the browser; say where it is if there is none."""
    if not webbrowser.open(page.resolve().as_uri()):
        reporter.say(f"{page}: no browser found; open the file yourself")
