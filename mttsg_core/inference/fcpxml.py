"""Final Cut Pro XML, which Final Cut Pro and DaVinci Resolve read. Written here, because no kept adapter writes it.

Version 1.8 of the format, the oldest that both still read. Every time is a whole number of frames: offsets and lengths
in the frames of the sequence, positions in a video in the frames of that video.
https://developer.apple.com/documentation/professional-video-applications/fcpxml-reference
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree as ET

from mttsg_core.inference.shots import Shot
from mttsg_core.video.media import Media, is_drop_frame

_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n'
# The names that the format has for rates, where they are not whole numbers.
_RATE_NAMES = {Fraction(24000, 1001): "23.98", Fraction(30000, 1001): "29.97", Fraction(60000, 1001): "59.94"}


def render_fcpxml(shots: Sequence[Shot], name: str) -> str:
    """Return a project with one sequence. Its size and rate are those of the first shot's video.

    Args:
        shots: at least one.
        name: of the project.
    """
    root = ET.Element("fcpxml", version="1.8")
    resources = ET.SubElement(root, "resources")
    assets = _Assets(resources)
    first = shots[0].media
    sequence_format = assets.format_id(first)
    project = ET.SubElement(ET.SubElement(ET.SubElement(root, "library"), "event", name=name), "project", name=name)
    sequence = ET.SubElement(
        project, "sequence", format=sequence_format, tcStart="0s", tcFormat="DF" if is_drop_frame(first.rate) else "NDF"
    )
    spine = ET.SubElement(sequence, "spine")
    offset = 0  # frames of the sequence
    for shot in shots:
        frames = max(1, round((shot.end - shot.start) * first.rate))
        clip = ET.SubElement(
            spine,
            "asset-clip",
            ref=assets.asset_id(shot.media),
            name=shot.query,
            offset=_time(offset, first.rate),
            start=_position(shot.start, shot.media),
            duration=_time(frames, first.rate),
            format=assets.format_id(shot.media),
            tcFormat="DF" if is_drop_frame(shot.media.rate) else "NDF",
        )
        ET.SubElement(clip, "note").text = f"{shot.media.name}, answer {shot.rank}"
        if shot.media.rate != first.rate:
            ET.SubElement(clip, "conform-rate", scaleEnabled="0", srcFrameRate=_rate_name(shot.media.rate))
        ET.SubElement(
            clip,
            "marker",
            start=_position(shot.moment.start, shot.media),
            duration=_time(1, shot.media.rate),
            value=shot.query,
        )
        offset += frames
    sequence.set("duration", _time(offset, first.rate))
    ET.indent(root)
    return _DECLARATION + ET.tostring(root, encoding="unicode") + "\n"


class _Assets:
    """The files and formats that a project refers to, each once."""

    def __init__(self, resources: ET.Element) -> None:
        self._resources = resources
        self._formats: dict[tuple[Fraction, int, int], str] = {}
        self._assets: dict[Path, str] = {}

    def format_id(self, media: Media) -> str:
        """Return the id of a format, which is added if it is new."""
        key = media.rate, media.width, media.height
        if key not in self._formats:
            self._formats[key] = self._next_id()
            ET.SubElement(
                self._resources,
                "format",
                id=self._formats[key],
                frameDuration=_time(1, media.rate),
                width=str(media.width),
                height=str(media.height),
            )
        return self._formats[key]

    def asset_id(self, media: Media) -> str:
        """Return the id of a file, which is added if it is new."""
        if media.path not in self._assets:
            form = self.format_id(media)
            self._assets[media.path] = self._next_id()
            asset = ET.SubElement(
                self._resources,
                "asset",
                id=self._assets[media.path],
                name=media.name,
                src=media.path.absolute().as_uri(),
                start=_time(media.start_frame, media.rate),
                duration=_time(max(1, int(media.duration * media.rate)), media.rate),
                format=form,
                hasVideo="1",
            )
            if media.has_sound:
                asset.attrib.update(hasAudio="1", audioSources="1", audioChannels="2")
        return self._assets[media.path]

    def _next_id(self) -> str:
        return f"r{len(self._resources) + 1}"


def _position(seconds: float, media: Media) -> str:
    """Return a time in a video, counted as the time code in its file."""
    return _time(media.start_frame + media.frame(seconds), media.rate)


def _time(frames: int, rate: Fraction) -> str:
    """Return a number of frames as a fraction of seconds."""
    seconds = frames / rate
    return f"{seconds.numerator}s" if seconds.denominator == 1 else f"{seconds.numerator}/{seconds.denominator}s"


def _rate_name(rate: Fraction) -> str:
    return _RATE_NAMES.get(rate, str(rate))
