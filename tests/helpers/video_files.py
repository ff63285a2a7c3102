"""Small videos whose frames show their number, and the number read back from a picture."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
import numpy.typing as npt
import pytest

# Published problem files of other video tools; tests that need them are skipped where this folder does not exist.
PROBLEM_VIDEOS = Path(__file__).parents[3] / "shared" / "nasty_videos"

# 4 x 4 cells: the number in 12 of them, and corners that show which way is up (only the top left one is light).
_CORNERS = {(0, 0): 1, (0, 3): 0, (3, 0): 0, (3, 3): 0}
_CELLS = [(row, column) for row in range(4) for column in range(4) if (row, column) not in _CORNERS]
_DARK, _LIGHT = 40, 210


def require_encoder(name: str) -> None:
    """Skip the test if this FFmpeg lacks an encoder."""
    if name not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no encoder {name}")
    try:
        av.Codec(name, "w")
    except (ValueError, av.error.FFmpegError):
        pytest.skip(f"this FFmpeg has no encoder {name}")


def draw(number: int, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Return a picture (height, width, 3) that shows `number` (0..4095)."""
    cells = np.zeros((4, 4), dtype=np.uint8)
    for cell, light in _CORNERS.items():
        cells[cell] = light
    for bit, cell in enumerate(_CELLS):
        cells[cell] = number >> bit & 1
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    grey = np.where(cells[rows][:, columns], _LIGHT, _DARK).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def read_number(picture: npt.NDArray[np.uint8]) -> int:
    """Return the number that an upright picture shows; -1 if it is not upright or not such a picture."""
    height, width = picture.shape[:2]
    grey = picture.mean(axis=2)

    def light(cell: tuple[int, int]) -> int:
        (top, bottom), (left, right) = (
            (i * n // 4, (i + 1) * n // 4) for i, n in zip(cell, (height, width), strict=True)
        )
        middle = grey[
            (3 * top + bottom) // 4 : (top + 3 * bottom + 3) // 4, (3 * left + right) // 4 : (left + 3 * right + 3) // 4
        ]
        return int(middle.mean() > (_DARK + _LIGHT) / 2)

    if any(light(cell) != expected for cell, expected in _CORNERS.items()):
        return -1
    return sum(light(cell) << bit for bit, cell in enumerate(_CELLS))


def write_video(
    path: Path,
    stamps: Sequence[int],
    *,
    first: int = 0,
    codec: str = "libx264",
    size: tuple[int, int] = (64, 48),
    time_base: Fraction = Fraction(1, 25),
    pix_fmt: str = "yuv420p",
    aspect: Fraction | None = None,
    turn: int = 0,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write a video whose frame i shows the number `first + i` at `stamps[i] * time_base` seconds.

    Args:
        path: the new file; its suffix names the container.
        stamps: ascending timestamps.
        first: number on the first frame.
        codec: name of the encoder.
        size: width and height of the stored frames.
        time_base: seconds of one unit of `stamps`.
        pix_fmt: FFmpeg's name of the pixel format.
        aspect: width of a pixel divided by its height.
        turn: quarter turns anticlockwise that bring the stored frames upright. mp4 and mov only.
        options: encoder options.
        container_options: muxer options.
    """
    require_encoder(codec)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=round(1 / time_base) if time_base >= Fraction(1, 60) else 25)
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        stream.options = options or {}
        stream.codec_context.time_base = time_base
        stream.time_base = time_base
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        upright = size[::-1] if turn % 2 else size
        for number, stamp in enumerate(stamps):
            picture = np.ascontiguousarray(np.rot90(draw(first + number, *upright), -turn))
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = stamp, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if turn:
        _set_turn(path, turn)
    return path


def stream_copy(source: Path, target: Path, start: float) -> Path:
    """Do what `ffmpeg -ss START -i SOURCE -c copy TARGET` does: an edit list hides the frames before the start."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream)
        offset = round(start / stream.time_base)
        reader.seek(offset, stream=stream)
        for packet in reader.demux(stream):
            if packet.size:
                packet.pts -= offset
                packet.dts -= offset
                packet.stream = copy
                writer.mux(packet)
    return target


def remux(
    source: Path, target: Path, *, drop: int = 0, shift: float = 0, options: dict[str, str] | None = None
) -> Path:
    """Copy the packets of `source`, without the first `drop` of the video, to another container `shift` seconds later.

    Audio is kept. `options` are those of the muxer.
    """
    with av.open(str(source)) as reader, av.open(str(target), "w", options=options or {}) as writer:
        copies = {stream.index: writer.add_stream_from_template(stream) for stream in reader.streams}
        ticks = {stream.index: round(Fraction(shift) / stream.time_base) for stream in reader.streams}
        dropped = 0
        for packet in reader.demux():
            if not packet.size:
                continue
            if packet.stream.type == "video" and dropped < drop:
                dropped += 1
                continue
            packet.pts += ticks[packet.stream.index]
            packet.dts += ticks[packet.stream.index]
            packet.stream = copies[packet.stream.index]
            writer.mux(packet)
    return target


def write_audio(path: Path) -> Path:
    """Write a second of silence in the container that the suffix names."""
    with av.open(str(path), "w") as container:
        codec = {".wav": "pcm_s16le", ".mov": "pcm_s16le", ".ogg": "flac"}.get(path.suffix, "aac")
        stream = container.add_stream(codec, rate=8000)
        for number in range(8):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1000), dtype=np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = 8000, number * 1000
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def damage(path: Path, number: int, keep: int = 0) -> Path:
    """Overwrite packet `number` of a video, except for its first `keep` bytes, so that no decoder accepts it."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(container.streams.video[0]) if packet.size]
        position, size = packets[number].pos, packets[number].size
    data = bytearray(path.read_bytes())
    data[position + keep : position + size] = b"\xff" * (size - keep)
    path.write_bytes(data)
    return path


def _set_turn(path: Path, turn: int) -> None:
    """Write the display matrix into the track header."""
    cosine, sine = {0: (1, 0), 1: (0, 1), 2: (-1, 0), 3: (0, -1)}[turn % 4]
    # x' = a x + c y, y' = b x + d y with y downwards; anticlockwise on the screen.
    matrix = [cosine * 65536, -sine * 65536, 0, sine * 65536, cosine * 65536, 0, 0, 0, 1 << 30]
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 44
    data[start : start + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(data)
