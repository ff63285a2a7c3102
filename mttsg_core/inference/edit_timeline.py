"""Moments as a timeline for editing programs: OpenTimelineIO, an edit decision list (CMX 3600), or Final Cut Pro XML.

All of them say the same: the shots in their order, each with its seconds of a video, the exact moment in it, and the
sentence that it answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from types import ModuleType
from typing import Any

from mttsg_core.errors import ConfigError
from mttsg_core.inference.fcpxml import render_fcpxml
from mttsg_core.inference.shots import Shot
from mttsg_core.video.media import Media, is_drop_frame, numbering_rate

_EXTRA = "needs OpenTimelineIO: pip install 'mttsg[otio]'"


def render_edit(shots: Sequence[Shot], form: str, name: str) -> str:
    """Return a timeline as text.

    Args:
        shots: at least one. The rate of the first one's video is that of the timeline.
        form: a key of `EDIT_FORMATS`.
        name: of the timeline.

    Raises:
        ConfigError: if the packages that a format needs are not installed.
    """
    return EDIT_FORMATS[form](shots, name)


def require_edit_format(form: str) -> None:
    """Raise ConfigError if the packages that a format needs are not installed."""
    if form == "fcpxml":
        return
    _import_otio(form)


def _import_otio(form: str) -> ModuleType:
    try:
        import opentimelineio
    except ImportError as error:
        raise ConfigError(f"--format {form} {_EXTRA}") from error
    if form == "edl" and "cmx_3600" not in opentimelineio.adapters.available_adapter_names():
        raise ConfigError(f"--format {form} {_EXTRA}")
    return opentimelineio


def _otio_text(shots: Sequence[Shot], name: str) -> str:
    otio = _import_otio("otio")
    return str(
        otio.adapters.write_to_string(_Builder(otio, shots, own_rates=True).timeline(name), "otio_json", indent=2)
    )


def _edl_text(shots: Sequence[Shot], name: str) -> str:
    """Return an edit decision list of the pictures, at one rate: time codes of several cannot be told apart in it."""
    otio = _import_otio("edl")
    builder = _Builder(otio, shots, own_rates=False)
    text = str(
        otio.adapters.write_to_string(
            builder.timeline(name, sound=False), "cmx_3600", rate=builder.rate, style="avid", reelname_len=None
        )
    )
    title, _, events = text.partition("\n")
    drop = "DROP FRAME" if is_drop_frame(shots[0].media.rate) else "NON-DROP FRAME"
    return f"{title}\nFCM: {drop}\n{events}"


EDIT_FORMATS: Mapping[str, Callable[[Sequence[Shot], str], str]] = {
    "otio": _otio_text,
    "edl": _edl_text,
    "fcpxml": render_fcpxml,
}


class _Builder:
    """Makes OpenTimelineIO's objects of shots.

    Args:
        otio: the module.
        shots: of the timeline.
        own_rates: give each shot the rate of its video, rather than that of the first one.
    """

    def __init__(self, otio: ModuleType, shots: Sequence[Shot], *, own_rates: bool) -> None:
        self._otio, self._shots, self._own_rates = otio, shots, own_rates
        self._first = shots[0].media.rate
        self.rate = float(self._first)

    def timeline(self, name: str, *, sound: bool = True) -> Any:
        """Return the timeline: a track of pictures, and one of sound where there is any."""
        schema = self._otio.schema
        timeline = schema.Timeline(name)
        timeline.tracks.append(self._track(schema.TrackKind.Video))
        if sound and any(shot.media.has_sound for shot in self._shots):
            timeline.tracks.append(self._track(schema.TrackKind.Audio))
        return timeline

    def _track(self, kind: str) -> Any:
        schema = self._otio.schema
        is_video = kind == schema.TrackKind.Video
        track = schema.Track("V1" if is_video else "A1", kind=kind)
        for shot in self._shots:
            span = self._span(shot, shot.start, shot.end)
            if not is_video and not shot.media.has_sound:
                track.append(schema.Gap(source_range=self._range(0, span.duration.value, shot.media)))
                continue
            clip = schema.Clip(shot.media.name, self._reference(shot.media), span)
            if is_video:
                clip.metadata["cmx_3600"] = {"reel": "AX"}  # a file: it is found by its name, not by that of a reel
                clip.markers.append(
                    schema.Marker(shot.query, self._span(shot, *shot.moment[:2]), schema.MarkerColor.GREEN)
                )
            clip.metadata["mttsg"] = {"query": shot.query, "rank": shot.rank}
            track.append(clip)
        return track

    def _reference(self, media: Media) -> Any:
        frames = max(1, math.floor(media.duration * self._rate_of(media)))
        available = self._range(self._first_frame(media), frames, media)
        return self._otio.schema.ExternalReference(media.path.absolute().as_uri(), available)

    def _span(self, shot: Shot, start: float, end: float) -> Any:
        """Return seconds of a video by its time code, on frames, at least one."""
        rate = self._rate_of(shot.media)
        first = round(start * rate)
        return self._range(self._first_frame(shot.media) + first, max(1, round(end * rate) - first), shot.media)

    def _first_frame(self, media: Media) -> int:
        """Return the number that the time code of a file's first frame has at the rate of its shots."""
        return round(media.start_frame / numbering_rate(media.rate) * numbering_rate(self._rate_of(media)))

    def _rate_of(self, media: Media) -> Fraction:
        return media.rate if self._own_rates else self._first

    def _range(self, start: float, frames: float, media: Media) -> Any:
        time, rate = self._otio.opentime, float(self._rate_of(media))
        return time.TimeRange(time.RationalTime(start, rate), time.RationalTime(frames, rate))
