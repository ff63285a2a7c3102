"""Demuxing with FFmpeg: a local file and nothing else, its video stream, and its packets despite damage."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from mttsg_core.errors import CorruptVideoError, NoMovingPicturesError, UnsupportedVideoError, VideoError
from mttsg_core.video.identify import NO_VIDEO_STREAM, explain_failure, index_damage, read_head, reject_by_content

# The demuxers that FFmpeg may try. Left out are those that open further files or addresses (hls, concat, dash, sdp,
# ...), accept any text as a video (tty) or read still images (image2, *_pipe), and devices.
_DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,live_flv,kux,asf,asf_o,mpeg,mpegts,mpegtsraw,mpegvideo,m4v,ogg,gif,"
    "rm,mxf,mxf_opatom,gxf,nut,ivf,dv,h261,h263,h264,hevc,vvc,av1,obu,vc1,vc1test,mjpeg,mjpeg_2000,mpjpeg,smjpeg,wtv,"
    "swf,nsv,nuv,roq,bink,smk,flic,apng,yuv4mpegpipe,ivr,cavsvideo,dirac,dnxhd,ty,pva,film_cpk,"
    # Audio formats, so that a recording is refused for having no video stream.
    "aac,ac3,eac3,aiff,amr,ape,au,caf,dsf,dts,flac,mp3,mpc,mpc8,oma,tak,truehd,tta,voc,w64,wav,wv"
)
_OPTIONS = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "file"}
_STILL_STREAMS = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
_MAX_FAILURES = 1000  # reads in a row that may fail before the rest of a file is given up


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file for reading and yield its container and video stream; close it on exit.

    Of the video streams that have a decoder, the first one marked as default is taken, else the first. Cover art and
    thumbnails do not count.

    Raises:
        VideoNotFoundError: if the file does not exist.
        NotAVideoError: if it is a folder, a device, an empty file, a playlist, an image, audio, or anything else.
        CorruptVideoError: if it is a video that is too truncated or damaged to be opened.
        UnsupportedVideoError: if its codec has no decoder.
        VideoError: if the system does not allow it to be read.
    """
    head = read_head(path)
    reject_by_content(path, head)
    try:
        # The absolute path: no file name can be taken for an option, a protocol ("http:", "concat:") or a playlist.
        container = av.open(str(path.absolute()), mode="r", container_options=dict(_OPTIONS), metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise explain_failure(path, head, error) from error
    with container:
        yield container, _select_video_stream(path, head, container)


def read_packets(path: Path, container: InputContainer, stream: Stream | None = None) -> Iterator[Packet[Stream]]:
    """Yield the packets of `stream`, or of all streams, in file order, skipping empty packets and damaged parts.

    Raises:
        VideoError: if the file system fails to deliver the data.
    """
    failures = 0
    while failures < _MAX_FAILURES:
        try:
            for packet in container.demux() if stream is None else container.demux(stream):
                failures = 0
                if packet.size:
                    yield packet
            return
        except av.error.FFmpegError as error:
            if error.errno == errno.EIO:
                raise VideoError(path, "read error") from error
            failures += 1  # the next read continues behind the damage
        except IndexError:  # raised by PyAV at the end of a file in which streams appear partway
            return


def timestamp(item: Packet[Any] | av.VideoFrame | av.AudioFrame) -> int | None:
    """Return when a packet or frame is presented, in units of its stream's time base; None if the file does not say.

    Containers that store one timestamp per frame (AVI) store it as the decoding time.
    """
    return item.dts if item.pts is None else item.pts


def time_base_of(stream: Stream) -> Fraction:
    """Return the seconds in one unit of the stream's timestamps."""
    return stream.time_base or Fraction(1, av.time_base)


def is_displayed(codec: str, packet: Packet[Stream]) -> bool:
    """Return whether a packet holds a frame to show: neither cut off by an edit list nor a hidden reference frame."""
    if packet.is_discard:
        return False
    if codec == "vp8":
        return bool(memoryview(packet)[0] >> 4 & 1)
    if codec == "vp9":
        first, last = memoryview(packet)[0], memoryview(packet)[-1]
        if first >> 6 != 2 or last >> 5 == 6:  # not a frame header, or a superframe, which ends in a shown frame
            return True
        bits = first << (first >> 4 & 3 == 3)  # profile 3 has a reserved bit before show_existing_frame and show_frame
        return bool(bits >> 3 & 1 or bits >> 1 & 1)
    return True


def codec_name(stream: VideoStream) -> str:
    """Return the name of the codec itself, whichever decoder reads it: `av1`, not `libdav1d`."""
    codec = stream.codec_context.codec
    name = getattr(codec, "canonical_name", None) or codec.name  # not every PyAV has canonical_name
    return {"libdav1d": "av1", "libaom-av1": "av1"}.get(name, name)


def _select_video_stream(path: Path, head: bytes, container: InputContainer) -> VideoStream:
    streams = container.streams.video
    moving = [stream for stream in streams if not stream.disposition & _STILL_STREAMS]
    decodable = [stream for stream in moving if stream.codec_context is not None]
    if not decodable and (damage := index_damage(path, head)):  # FFmpeg may open such a file with few or no streams
        raise CorruptVideoError(path, f"truncated or damaged: {damage}")
    if not moving:
        raise NoMovingPicturesError(path, f"{NO_VIDEO_STREAM}, only a still image" if streams else NO_VIDEO_STREAM)
    if not decodable:
        raise UnsupportedVideoError(path, "unsupported or unknown video codec")
    # A sequence of pictures in AVIF has its title picture as a stream before it.
    candidates = [stream for stream in decodable if stream.frames != 1] or decodable
    return next((stream for stream in candidates if stream.disposition & Disposition.default), candidates[0])
