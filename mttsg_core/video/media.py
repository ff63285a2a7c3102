"""What editing programs must know about a video file: its rate, and at which time code it starts."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from av.container import InputContainer
from av.video.stream import VideoStream

from mttsg_core.utils.text import visible_text
from mttsg_core.video.container import open_video
from mttsg_core.video.probe import VideoInfo, scan

# The rates that time codes exist for, in frames per second.
EDIT_RATES = (
    *(Fraction(24000, 1001), Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(30)),
    *(Fraction(48), Fraction(50), Fraction(60000, 1001), Fraction(60)),
)
_TOLERANCE = 0.0005  # relative; 23.976 and 24 differ by 0.001
_TIME_CODE = re.compile(r"(\d{2}):(\d{2}):(\d{2})([:;.])(\d{2,3})")


@dataclass(frozen=True)
class Media:
    """A video file for an editing program.

    Attributes:
        path: the file.
        rate: frames per second, one of `EDIT_RATES`.
        start_frame: number of the first frame by the time code in the file, 0 without one.
        duration: seconds.
        width: of the pictures as displayed, in pixels.
        height: likewise.
        has_sound: whether there is a sound track.
    """

    path: Path
    rate: Fraction
    start_frame: int
    duration: float
    width: int
    height: int
    has_sound: bool

    @property
    def name(self) -> str:
        """The name of the file, in one line."""
        return visible_text(self.path.name)

    def frame(self, seconds: float) -> int:
        """Return the number of the frame at a time, counted from the beginning of the file."""
        return round(seconds * self.rate)


def read_media(path: Path) -> Media:
    """Read a video file's packets and first frame.

    Raises:
        VideoError: if it cannot be read.
    """
    info = scan(path)
    with open_video(path) as (container, stream):
        rate = edit_rate(stream.average_rate or _measured_rate(info))
        code = _time_code(container, stream)
        has_sound = bool(container.streams.audio)
    start = 0 if code is None else frame_of_time_code(code, rate)
    return Media(path, rate, start, info.duration, info.width, info.height, has_sound)


def edit_rate(rate: Fraction) -> Fraction:
    """Return the rate of time codes for a video: its own, a multiple of it, or else the nearest one.

    >>> [str(edit_rate(Fraction(rate))) for rate in ("25", "29.97", "23.976", "15", "29.83", "12.5")]
    ['25', '30000/1001', '24000/1001', '30', '30000/1001', '25']
    """
    for multiple in (1, 2, 3, 4, 5, 6):
        for known in EDIT_RATES:
            if abs(float(rate * multiple / known) - 1) < _TOLERANCE:
                return known
    return min(EDIT_RATES, key=lambda known: abs(math.log(rate / known)) if rate > 0 else 0)


def frame_of_time_code(code: str, rate: Fraction) -> int:
    """Return the number of the frame that a time code names; 0 if it is none.

    A semicolon marks the codes of 29.97 and 59.94 frames per second that leave out numbers to agree with the clock
    (drop frame, SMPTE ST 12-1).

    >>> frame_of_time_code("01:00:00:00", Fraction(25)), frame_of_time_code("00:01:00;02", Fraction(30000, 1001))
    (90000, 1800)
    """
    match = _TIME_CODE.fullmatch(code.strip())
    if match is None:
        return 0
    hours, minutes, seconds, frames = (int(match[group]) for group in (1, 2, 3, 5))
    base = round(rate)
    number = (hours * 3600 + minutes * 60 + seconds) * base + frames
    if match[4] != ":" and is_drop_frame(rate):
        all_minutes = hours * 60 + minutes
        number -= base // 15 * (all_minutes - all_minutes // 10)
    return number


def is_drop_frame(rate: Fraction) -> bool:
    """Return whether time codes of a rate leave out numbers."""
    return rate.denominator == 1001 and round(rate) % 30 == 0


def numbering_rate(rate: Fraction) -> Fraction:
    """Return how many frames the time codes of a rate number in a second: 24 at 23.976, but 29.97 with drop frame."""
    return rate if is_drop_frame(rate) else Fraction(round(rate))


def _measured_rate(info: VideoInfo) -> Fraction:
    frames = len(info.frame_times)
    return Fraction(frames / info.duration).limit_denominator(1001)


def _time_code(container: InputContainer, stream: VideoStream) -> str | None:
    """Return the time code at which the file starts, if the pictures, another track or the file itself says so."""
    for metadata in (stream.metadata, *(other.metadata for other in container.streams), container.metadata):
        if metadata.get("timecode"):
            return str(metadata["timecode"])
    return None
