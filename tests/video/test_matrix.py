"""Every container with every codec: each frame at its time, none lost, and excerpts that show what the times say."""

from __future__ import annotations

from pathlib import Path

import pytest

from mttsg_core.video.probe import probe
from mttsg_core.video.sampling import sample
from mttsg_core.video.trim import trim
from tests.helpers.video_files import read_number, write_video

COUNT, RATE = 24, 25
STARTS = {"0 s": 0, "1.4 s": 35, "1 h": 3600 * RATE}  # in frames
X265 = "log-level=none:pools=1:keyint=10:bframes="
# name -> (encoder, its options, pixel format); "B" has B-frames
CODECS: dict[str, tuple[str, dict[str, str], str]] = {
    "H.264 B": ("libx264", {"bf": "2", "g": "10"}, "yuv420p"),
    "H.264": ("libx264", {"bf": "0", "g": "10"}, "yuv420p"),
    "HEVC B": ("libx265", {"x265-params": X265 + "3"}, "yuv420p"),
    "HEVC": ("libx265", {"x265-params": X265 + "0"}, "yuv420p"),
    "MPEG-4 B": ("mpeg4", {"bf": "2", "g": "10"}, "yuv420p"),
    "MPEG-4": ("mpeg4", {"g": "10"}, "yuv420p"),
    "MPEG-2 B": ("mpeg2video", {"bf": "2", "g": "10"}, "yuv420p"),
    "MPEG-2": ("mpeg2video", {"g": "10"}, "yuv420p"),
    "VP8": ("libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16"}, "yuv420p"),
    "VP9": ("libvpx-vp9", {"auto-alt-ref": "1", "lag-in-frames": "16"}, "yuv420p"),
    "AV1": ("libsvtav1", {"svtav1-params": "lp=1"}, "yuv420p"),
    "ProRes": ("prores_ks", {}, "yuv422p10le"),
    "Motion JPEG": ("mjpeg", {}, "yuvj420p"),
}
# What each container can hold. FFmpeg's muxers refuse the rest, or write it as private data that nothing reads again
# (VP8, VP9, AV1, ProRes and Motion JPEG in transport and program streams). Ogg takes Theora, where there is an encoder.
_MPEG = ["MPEG-4 B", "MPEG-4", "MPEG-2 B", "MPEG-2"]
_ITU = ["H.264 B", "H.264", "HEVC B", "HEVC"]
_WEB = ["VP8", "VP9", "AV1"]
HOLDS = {
    "mp4": [*_ITU, *_MPEG, "VP9", "AV1", "Motion JPEG"],
    "mov": [*_ITU, *_MPEG, "ProRes", "Motion JPEG"],
    "mkv": list(CODECS),
    "webm": _WEB,
    "avi": ["H.264 B", "H.264", *_MPEG, *_WEB, "Motion JPEG"],
    "ts": [*_ITU, *_MPEG],
    "m2ts": [*_ITU, *_MPEG],
    "vob": [*_ITU, *_MPEG],
    "mpg": [*_ITU, *_MPEG],
    "flv": [*_ITU, "VP9", "AV1"],
    "wmv": ["H.264 B", "H.264", *_MPEG, *_WEB, "Motion JPEG"],
    "nut": [*_ITU, *_MPEG, *_WEB, "Motion JPEG"],
    "3gp": ["H.264 B", "H.264", "MPEG-4 B", "MPEG-4"],
    "ogv": ["VP8"],
}
# An AVI has no start time: FFmpeg stores the first frame at 0 and the others late, or refuses.
MATRIX = [
    (container, codec, start)
    for container, codecs in HOLDS.items()
    for codec in codecs
    for start in STARTS
    if container != "avi" or start == "0 s"
]
_OWN_TIMELINE = ("mp4", "mov", "3gp")  # on which a first frame may be late


@pytest.mark.parametrize(("container", "codec", "start"), MATRIX)
def test_every_frame_has_its_time(container: str, codec: str, start: str, tmp_path: Path) -> None:
    encoder, options, pix_fmt = CODECS[codec]
    first = STARTS[start]
    path = tmp_path / f"a.{container}"
    write_video(path, range(first, first + COUNT), codec=encoder, options=options, pix_fmt=pix_fmt)
    late = 1.4 if container in _OWN_TIMELINE and start == "1.4 s" else 0.0
    info = probe(path)
    assert info.start == pytest.approx(late, abs=1e-6)
    assert info.duration == pytest.approx(late + COUNT / RATE, abs=1.5e-3)
    sampling = sample(info, info.frame_times, (64, 48))
    shown = [
        (float(time), read_number(picture))
        for chunk in sampling
        for time, picture in zip(chunk.times, chunk.frames, strict=True)
    ]
    assert shown == [(pytest.approx(late + number / RATE, abs=6e-4), number) for number in range(COUNT)]
    trim(path, late + 7.8 / RATE, late + 14.8 / RATE, tmp_path / "excerpt.mp4", threads=1)
    excerpt = probe(tmp_path / "excerpt.mp4")
    numbers = [read_number(picture) for chunk in sample(excerpt, excerpt.frame_times) for picture in chunk.frames]
    assert numbers == list(range(7, 15))
