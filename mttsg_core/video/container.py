"""Demuxing with FFmpeg: a local file and nothing else, its video stream, and its packets despite damage."""

from __future__ import annotations

import errno
import stat
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

from mttsg_core.errors import CorruptVideoError, NotAVideoError, UnsupportedVideoError, VideoError, VideoNotFoundError

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

# The first bytes of files, by kind.
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"[playlist]", b"<asx", b"<MPD", b"<smil")
_IMAGES = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"8BPS", b"\0\0\1\0")
_STILL_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif")
_MOV_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp")
_OTHER_CONTAINERS = (b"\x1a\x45\xdf\xa3", b"FLV\1", b"OggS", b"\0\0\1\xba", b"\x30\x26\xb2\x75", b"GIF8")


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
    head = _read_head(path)
    _reject_by_content(path, head)
    try:
        # The absolute path: no file name can be taken for an option, a protocol ("http:", "concat:") or a playlist.
        container = av.open(str(path.absolute()), mode="r", container_options=dict(_OPTIONS), metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise _explain_failure(path, head, error) from error
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


def _read_head(path: Path) -> bytes:
    """Return the first bytes of a regular, readable file."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise NotAVideoError(path, "is a folder")
        if not stat.S_ISREG(mode):  # opening a pipe would wait for a writer
            raise NotAVideoError(path, "not a regular file")
        with path.open("rb") as file:
            head = file.read(512)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise VideoNotFoundError(path, "no such file") from error
    except OSError as error:
        raise VideoError(path, (error.strerror or "cannot be read").lower()) from error
    except ValueError as error:  # a null byte in the name
        raise VideoNotFoundError(path, "no such file") from error
    if not head:
        raise NotAVideoError(path, "empty file")
    return head


def _reject_by_content(path: Path, head: bytes) -> None:
    """Raise NotAVideoError for playlists, and for images that FFmpeg would open as videos."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(_PLAYLISTS) or (text.startswith(b"<?xml") and b"<MPD" in text):
        raise NotAVideoError(path, "a playlist, not a video")
    is_webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    if is_webp or (head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS):
        raise NotAVideoError(path, "an image, not a video")


def _explain_failure(path: Path, head: bytes, error: av.error.FFmpegError) -> VideoError:
    """Return the error that says why FFmpeg cannot open the file, judged by its first bytes."""
    if isinstance(error, OSError) and error.errno == errno.EACCES:
        return VideoError(path, "permission denied")
    is_avi = head[:4] == b"RIFF" and head[8:12] == b"AVI "
    if is_avi or head.startswith(_OTHER_CONTAINERS) or head[4:8] in _MOV_BOXES:
        return CorruptVideoError(path, "truncated or damaged: " + (_index_damage(path, head) or "it cannot be opened"))
    if head.startswith(_IMAGES):
        return NotAVideoError(path, "an image, not a video")
    return NotAVideoError(path, "not a video")


def _index_damage(path: Path, head: bytes) -> str | None:
    """Return what is wrong with the index of an MP4 or QuickTime file; None if it is intact, or for other files."""
    if head[4:8] not in _MOV_BOXES:
        return None
    end = path.stat().st_size
    position = 0
    with path.open("rb") as file:
        while position + 8 <= end:
            file.seek(position)
            header = file.read(16)
            size, kind = int.from_bytes(header[:4], "big"), header[4:8]
            if size == 1:
                size = int.from_bytes(header[8:16], "big")
            if size < 8:  # 0 marks the last box, which reaches to the end of the file
                size = end - position
            position += size
            if kind == b"moov":
                return None if position <= end else "its index (moov) is cut off"
    return "its index (moov) is missing"


def _select_video_stream(path: Path, head: bytes, container: InputContainer) -> VideoStream:
    streams = container.streams.video
    moving = [stream for stream in streams if not stream.disposition & _STILL_STREAMS]
    decodable = [stream for stream in moving if stream.codec_context is not None]
    if not decodable and (damage := _index_damage(path, head)):  # FFmpeg may open such a file with few or no streams
        raise CorruptVideoError(path, f"truncated or damaged: {damage}")
    if not moving:
        raise NotAVideoError(path, "no video stream, only a still image" if streams else "no video stream")
    if not decodable:
        raise UnsupportedVideoError(path, "unsupported or unknown video codec")
    return next((stream for stream in decodable if stream.disposition & Disposition.default), decodable[0])
