"""Timelines for editing programs, read back by OpenTimelineIO; Final Cut Pro XML by its own rules."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit
from xml.etree import ElementTree as ET

import pytest

from mttsg_core.inference.edit_timeline import EDIT_FORMATS, render_edit
from mttsg_core.inference.ranking import RankedMoment
from mttsg_core.inference.shots import Shot
from mttsg_core.moments import Moment
from mttsg_core.video.discovery import VideoFile
from mttsg_core.video.media import Media

otio = pytest.importorskip("opentimelineio", reason="OpenTimelineIO is not installed")

NTSC, FILM = Fraction(30000, 1001), Fraction(24000, 1001)
QUERY = 'person opens <door> & "sits" 开\nSOURCE FILE: evil'
SHOWN = QUERY.replace("\n", " ")


def media(name: str = "a b#1.mp4", rate: Fraction = Fraction(25), *, start: int = 0, sound: bool = True) -> Media:
    return Media(Path("/videos", name), rate, start, 100.0, 640, 480, sound)


def shot(source: Media, start: float, end: float, pad: float = 0.0) -> Shot:
    ranked = RankedMoment(VideoFile(source.path, Path(source.name)), QUERY, 1, Moment(start, end, 0.9))
    return Shot(source, start - pad, end + pad, ranked)


def read(text: str, rate: Fraction | None = None) -> Any:
    if rate is None:
        return otio.adapters.read_from_string(text, "otio_json")
    return otio.adapters.read_from_string(text, "cmx_3600", rate=float(rate))


class TestOtio:
    """OpenTimelineIO's own format."""

    @pytest.mark.parametrize("rate", [Fraction(24), Fraction(25), NTSC, FILM])
    def test_shots_have_the_rate_of_their_video_and_the_seconds_of_the_moment(self, rate: Fraction) -> None:
        source, other = media(rate=rate), media("c.mov", Fraction(50), start=180_000, sound=False)
        timeline = read(render_edit([shot(source, 10.0, 14.0, pad=1.0), shot(other, 3.0, 5.0)], "otio", "doors"))
        pictures, sound = timeline.tracks
        first, second = pictures
        assert first.source_range.start_time.rate == float(rate)
        assert first.source_range.start_time.to_seconds() == pytest.approx(9.0, abs=float(0.5 / rate))
        assert first.source_range.duration.to_seconds() == pytest.approx(6.0, abs=float(1 / rate))
        [marker] = first.markers
        assert marker.name == SHOWN
        assert marker.marked_range.start_time.to_seconds() == pytest.approx(10.0, abs=float(0.5 / rate))
        assert marker.marked_range.duration.to_seconds() == pytest.approx(4.0, abs=float(1 / rate))
        assert second.source_range.start_time.to_timecode() == "01:00:03:00"  # by the time code of the file
        assert second.media_reference.available_range.start_time.to_timecode() == "01:00:00:00"
        assert [type(item).__name__ for item in sound] == ["Clip", "Gap"]
        assert sound.duration().to_seconds() == pytest.approx(pictures.duration().to_seconds())

    def test_files_are_absolute_addresses(self) -> None:
        [clip] = read(render_edit([shot(media(), 1, 2)], "otio", "x")).find_clips()[:1]
        address = urlsplit(clip.media_reference.target_url)
        assert address.scheme == "file"
        assert unquote_to_bytes(address.path) == b"/videos/a b#1.mp4"
        assert clip.name == "a b#1.mp4"

    def test_a_video_without_sound_has_no_track_of_sound(self) -> None:
        assert len(read(render_edit([shot(media(sound=False), 1, 2)], "otio", "x")).tracks) == 1


class TestEdl:
    """Edit decision lists (CMX 3600)."""

    @pytest.mark.parametrize("rate", [Fraction(24), Fraction(25), FILM])
    def test_it_is_read_back(self, rate: Fraction) -> None:
        source = media(rate=rate)
        text = render_edit([shot(source, 10.0, 14.0), shot(source, 30.0, 31.0)], "edl", "doors")
        assert text.startswith("TITLE: doors\nFCM: NON-DROP FRAME\n")
        first, second = read(text, rate).find_clips()
        assert first.source_range.duration.value == 4 * round(rate) or rate == FILM
        assert first.source_range.start_time.to_seconds() == pytest.approx(10.0, abs=float(0.5 / rate))
        assert second.source_range.start_time.to_seconds() == pytest.approx(30.0, abs=float(0.5 / rate))
        assert first.markers[0].name == SHOWN.upper()
        assert first.media_reference.target_url == source.path.as_uri()
        assert first.name == "a b#1.mp4"

    def test_drop_frame(self) -> None:
        text = render_edit([shot(media(rate=NTSC), 65.0, 70.0)], "edl", "x")
        assert "FCM: DROP FRAME" in text
        [line] = [line for line in text.splitlines() if line.startswith("001")]
        assert line.split()[4:] == ["00:01:05;00", "00:01:10;00", "00:00:00;00", "00:00:05;00"]
        [clip] = read(text, NTSC).find_clips()
        assert clip.source_range.start_time.to_seconds() == pytest.approx(65.0, abs=float(0.5 / NTSC))

    def test_several_rates_become_one(self) -> None:
        sources = [media(rate=NTSC), media("b.mp4", Fraction(25), start=90_000), media("c.mp4", Fraction(50))]
        shots = [shot(source, 1.31, 1.31 + 4.777) for source in sources]
        clips = read(render_edit(shots, "edl", "x"), NTSC).find_clips()  # raises if source and record lengths differ
        assert len(clips) == 3
        assert clips[1].source_range.start_time.to_timecode(float(NTSC), True) == "01:00:01;09"

    def test_a_sentence_cannot_add_lines(self) -> None:
        lines = render_edit([shot(media(), 1, 2)], "edl", "x").splitlines()
        assert not any(line.startswith("SOURCE FILE") for line in lines)


class TestFinalCutPro:
    """Final Cut Pro XML."""

    def project(self, shots: list[Shot]) -> ET.Element:
        text = render_edit(shots, "fcpxml", "doors & <windows>")
        assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n')
        return ET.fromstring(text)

    def test_every_time_is_a_whole_number_of_frames(self) -> None:
        sources = [media(rate=NTSC, start=107_892), media("b.mov", Fraction(25), sound=False), media("c.mp4", FILM)]
        root = self.project([shot(source, 1.234, 4.321, pad=0.5) for source in sources])
        rates = {form.get("id"): Fraction(form.get("frameDuration", "").rstrip("s")) for form in root.iter("format")}
        sequence = next(root.iter("sequence"))
        frame = rates[sequence.get("format")]
        assert frame == 1 / NTSC
        assert sequence.get("tcFormat") == "DF"

        def frames(element: ET.Element, name: str, length: Fraction) -> int:
            number = Fraction(element.get(name, "").rstrip("s")) / length
            assert number.denominator == 1
            return int(number)

        offset = 0
        for clip, source in zip(root.iter("asset-clip"), sources, strict=True):
            own = rates[clip.get("format")]
            assert own == 1 / source.rate
            assert frames(clip, "offset", frame) == offset
            offset += frames(clip, "duration", frame)
            assert frames(clip, "start", own) == source.start_frame + round(0.734 * source.rate)
            [marker] = clip.findall("marker")
            assert marker.get("value") == SHOWN
            assert frames(marker, "start", own) == source.start_frame + round(1.234 * source.rate)
            conform = clip.find("conform-rate")
            assert (conform is None) == (source.rate == NTSC)
        assert frames(sequence, "duration", frame) == offset
        assert [rate.get("srcFrameRate") for rate in root.iter("conform-rate")] == ["25", "23.98"]

    def test_files_are_named_once(self) -> None:
        source = media(sound=False)
        root = self.project([shot(source, 1, 2), shot(source, 5, 7), shot(media("b.mp4"), 1, 2)])
        first, second = root.iter("asset")
        assert (first.get("src"), first.get("hasAudio"), second.get("hasAudio")) == (source.path.as_uri(), None, "1")
        assert [clip.get("ref") for clip in root.iter("asset-clip")] == [first.get("id")] * 2 + [second.get("id")]
        assert next(root.iter("project")).get("name") == "doors & <windows>"


@pytest.mark.parametrize("form", list(EDIT_FORMATS))
def test_names_and_sentences_in_any_encoding(form: str) -> None:
    source = media("half \udcff of a name\x1b.mp4")
    ranked = RankedMoment(VideoFile(source.path, Path("x")), "half \ud83d of a pair \x00", 1, Moment(1, 2))
    text = render_edit([Shot(source, 1, 2, ranked)], form, "x")
    assert "%FF" in text
    text.encode("utf-8")
    assert "\x00" not in text and "\x1b" not in text


def test_a_moment_at_the_very_end_has_a_frame() -> None:
    [clip] = read(render_edit([shot(media(sound=False), 99.999, 100.0)], "otio", "x")).find_clips()
    assert clip.source_range.duration.value == 1
