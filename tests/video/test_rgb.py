"""Frames to pictures: standard video bit for bit, high dynamic range in standard colours, transparency on black."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.video.reformatter import Interpolation

from mttsg_core.errors import VideoError
from mttsg_core.video.rgb import RGBConverter, has_transparency, on_black, standard_frame
from mttsg_core.video.sampling import sample
from mttsg_core.video.tone_mapping import HLG, PQ
from mttsg_core.video.trim import trim
from tests.helpers.video_files import draw, require_encoder
from tests.video.test_tone_mapping import CODES

WHITE = 203
COLOUR = (190, 60, 90)
TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])  # BT.2087
READS_TRANSFER = hasattr(av.VideoFrame, "color_trc")  # PyAV 17 or later
needs_transfer = pytest.mark.skipif(not READS_TRANSFER, reason="this PyAV hides the transfer characteristic of a frame")


def frame_of(pixel_format: str, *, colorspace: int = 2, color_range: int = 1, transfer: int = 2) -> av.VideoFrame:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    frame = av.VideoFrame.from_ndarray(noise // 2 + draw(7, 64, 48) // 2, format="rgb24").reformat(format=pixel_format)
    frame.colorspace, frame.color_range = colorspace, color_range
    if READS_TRANSFER:
        frame.color_trc = transfer
    return frame


@pytest.mark.parametrize("transfer", [1, 2, 4, 6, 13, 14, 15])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p10le", "nv12", "gray", "rgb24", "gbrp", "bgr0"])
@pytest.mark.parametrize("size", [(64, 48), (24, 16)])
def test_standard_video_is_what_swscale_makes_of_it(transfer: int, pixel_format: str, size: tuple[int, int]) -> None:
    frame = frame_of(pixel_format, transfer=transfer)
    expected = frame.reformat(*size, "rgb24", interpolation=Interpolation.BILINEAR).to_ndarray()
    assert np.array_equal(RGBConverter(size, "bilinear")(frame), expected)
    assert standard_frame(frame) is frame


@pytest.mark.parametrize("pixel_format", ["rgba", "bgra", "yuva420p", "yuva444p10le", "gbrap", "ya8"])
def test_a_frame_that_could_be_transparent_but_is_not(pixel_format: str) -> None:
    frame = frame_of(pixel_format)
    assert has_transparency(pixel_format)
    assert on_black(frame) is frame
    expected = frame.reformat(24, 16, "rgb24", interpolation=Interpolation.BILINEAR).to_ndarray()
    assert np.array_equal(RGBConverter((24, 16), "bilinear")(frame), expected)


def stripes() -> npt.NDArray[np.uint8]:
    """A picture (48, 64, 4) in one colour: a third opaque, a third half transparent, the rest fully transparent."""
    picture = np.zeros((48, 64, 4), dtype=np.uint8)
    picture[..., :3] = 200, 100, 40
    picture[:, :24, 3], picture[:, 24:44, 3] = 255, 128
    return picture


def write_frames(path: Path, codec: str, pixel_format: str, frames: Iterator[av.VideoFrame], *, turn: int = 0) -> Path:
    require_encoder(codec)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options={"auto-alt-ref": "0"} if codec == "libvpx" else {})
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixel_format
        if turn and hasattr(stream, "set_display_rotation"):
            stream.set_display_rotation(turn)
        for number, frame in enumerate(frames):
            if number == 0 and READS_TRANSFER:
                stream.codec_context.color_trc = frame.color_trc
                stream.codec_context.color_primaries = frame.color_primaries
                stream.codec_context.colorspace = frame.colorspace
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_stripes(path: Path, codec: str, pixel_format: str) -> Path:
    frames = (av.VideoFrame.from_ndarray(stripes(), format="rgba").reformat(format=pixel_format) for _ in range(3))
    return write_frames(path, codec, pixel_format, frames)


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("a.mov", "prores_ks", "yuva444p10le"),
        ("a.mov", "png", "rgba"),
        ("a.mov", "qtrle", "argb"),
        ("a.apng", "apng", "rgba"),
        ("a.mkv", "ffv1", "yuva420p"),
        ("a.webm", "libvpx-vp9", "yuva420p"),
        ("a.webm", "libvpx", "yuva420p"),
    ],
)
@pytest.mark.parametrize("size", [None, (32, 24)])
def test_transparency_is_laid_on_black(
    name: str, codec: str, pixel_format: str, size: tuple[int, int] | None, tmp_path: Path
) -> None:
    path = write_stripes(tmp_path / name, codec, pixel_format)
    [chunk] = sample(path, [0.0, 0.2], size)
    for picture in chunk.frames:
        opaque, half, transparent = picture[20, [width * picture.shape[1] // 64 for width in (8, 34, 56)]].astype(int)
        assert np.abs(opaque - [200, 100, 40]).max() <= 3
        assert np.abs(half - [100, 50, 20]).max() <= 3
        assert transparent.max() <= 1


def test_a_gif_with_holes(tmp_path: Path) -> None:
    red = np.full((48, 64, 3), (255, 0, 0), dtype=np.uint8)
    frames = (av.VideoFrame.from_ndarray(red, format="rgb24").reformat(format="rgb8") for _ in range(3))
    path = write_frames(tmp_path / "a.gif", "gif", "rgb8", frames)
    assert next(iter(sample(path, [0.0]))).frames[0, 0, 0].tolist() == [252, 0, 0]
    data = bytearray(path.read_bytes())
    number_of_red = next(n for n in range(256) if data[13 + 3 * n : 16 + 3 * n] == b"\xfc\0\0")
    control = data.index(b"!\xf9\x04")
    while control >= 0:
        data[control + 3] |= 1  # the colour with the following number is transparent
        data[control + 6] = number_of_red
        control = data.find(b"!\xf9\x04", control + 1)
    path.write_bytes(data)
    [chunk] = sample(path, [0.0])
    assert not chunk.frames.any()


def hdr_frames(transfer: int) -> Iterator[av.VideoFrame]:
    """Frames that show, on a display for it, what standard frames of two colours show."""
    values = np.full((48, 64, 3), 150.0)
    values[:, 32:] = COLOUR if transfer == PQ else 80
    light = WHITE * (values / 255) ** 2.4 @ TO_BT2020.T
    codes = CODES[transfer](light)
    for _ in range(3):
        rgb = av.VideoFrame.from_ndarray(codes, format="rgb48le")
        frame = rgb.reformat(format="yuv420p10le", dst_colorspace=9, dst_color_range=1, src_color_range=2)
        frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries = 9, 1, transfer, 9
        yield frame


@needs_transfer
@pytest.mark.parametrize("transfer", [PQ, HLG])
@pytest.mark.parametrize("size", [None, (32, 24)])
def test_high_dynamic_range_has_standard_colours(transfer: int, size: tuple[int, int] | None, tmp_path: Path) -> None:
    path = write_frames(tmp_path / "a.mkv", "ffv1", "yuv420p10le", hdr_frames(transfer))
    assert next(av.open(str(path)).decode(video=0)).color_trc == transfer
    [chunk] = sample(path, [0.0, 0.2], size)
    width = chunk.frames.shape[2]
    assert np.abs(chunk.frames[:, :, width // 4].astype(int) - 150).max() <= 3
    assert np.abs(chunk.frames[:, :, -width // 4].astype(int) - (COLOUR if transfer == PQ else 80)).max() <= 3


@needs_transfer
def test_a_frame_for_an_excerpt_is_standard_and_opaque() -> None:
    for frame in (next(hdr_frames(PQ)), av.VideoFrame.from_ndarray(stripes(), format="rgba")):
        frame.pts, frame.time_base = 7, Fraction(1, 10)
        standard = standard_frame(frame)
        assert (standard.format.name, standard.pts, standard.time_base) == ("yuv444p", 7, Fraction(1, 10))
        assert (standard.width, standard.height) == (frame.width, frame.height)
        marks = (standard.colorspace, standard.color_range, standard.color_trc, standard.color_primaries)
        assert marks == (1, 1, 1, 1)
        shown, expected = (RGBConverter((64, 48), "bilinear")(each).astype(int) for each in (standard, frame))
        assert np.abs(shown - expected).max() <= 3


@needs_transfer
def test_an_excerpt_of_high_dynamic_range(tmp_path: Path) -> None:
    """It plays in standard colours everywhere, and says so."""
    source = write_frames(tmp_path / "a.mkv", "ffv1", "yuv420p10le", hdr_frames(PQ))
    trim(source, 0, 0.3, tmp_path / "a.mp4")
    with av.open(str(tmp_path / "a.mp4")) as container:
        frame = next(container.decode(video=0))
    assert frame.format.name == "yuv420p"
    assert (frame.colorspace, frame.color_trc, frame.color_primaries) == (1, 1, 1)
    pictures = [next(iter(sample(path, [0.1]))).frames[0].astype(int) for path in (source, tmp_path / "a.mp4")]
    assert np.abs(pictures[0] - pictures[1])[:, [10, 50]].max() <= 4


@needs_transfer
def test_a_turned_frame_for_an_excerpt_is_upright(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "a.mov", "prores_ks", "yuv422p10le", hdr_frames(HLG), turn=90)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    if frame.rotation % 180 == 0:
        pytest.skip("this PyAV writes no display matrix")
    standard = standard_frame(frame)
    assert (standard.width, standard.height, standard.rotation) == (48, 64, 0)


def test_an_excerpt_with_sound_has_the_marks_too(tmp_path: Path) -> None:
    source = tmp_path / "a.mkv"
    with av.open(str(source), "w") as container:
        video = container.add_stream("ffv1", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=8000)
        for number in range(10):
            container.mux(video.encode(frame_of("yuv420p")))
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 800), dtype=np.int16), format="s16", layout="mono")
            silence.sample_rate, silence.pts = 8000, number * 800
            container.mux(sound.encode(silence))
        for stream in (video, sound):
            container.mux(stream.encode(None))
    trim(source, 0, 0.8, tmp_path / "a.mp4")
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.audio
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_range) == (1, 1)


@needs_transfer
def test_decord_refuses_high_dynamic_range(tmp_path: Path) -> None:
    pytest.importorskip("decord")
    path = write_frames(tmp_path / "a.mkv", "ffv1", "yuv420p10le", hdr_frames(PQ))
    with pytest.raises(VideoError, match="high dynamic range, which decord does not convert; use reader pyav"):
        list(sample(path, [0.0], reader="decord"))
