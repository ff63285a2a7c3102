"""Opening a file with FFmpeg: a local file and nothing else, one stream of it, its packets in spite of damage."""

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

# The demuxers that may be tried. Left out are those that open other files or addresses (hls, concat, dash, sdp, ...),
# that take any text for a video (tty), that read single pictures (image2, *_pipe), and devices.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,live_flv,kux,asf,asf_o,mpeg,mpegts,mpegtsraw,mpegvideo,m4v,ogg,gif,"
    "rm,mxf,mxf_opatom,gxf,nut,ivf,dv,h261,h263,h264,hevc,vvc,av1,obu,vc1,vc1test,mjpeg,mjpeg_2000,mpjpeg,smjpeg,wtv,"
    "swf,nsv,nuv,roq,bink,smk,flic,apng,yuv4mpegpipe,ivr,cavsvideo,dirac,dnxhd,ty,pva,film_cpk,"
    # Sound, so that a recording is refused as one.
    "aac,ac3,eac3,aiff,amr,ape,au,caf,dsf,dts,flac,mp3,mpc,mpc8,oma,tak,truehd,tta,voc,w64,wav,wv"
)
_OPTIONS = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
_NOT_MOTION = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
_MOST_FAILURES = 1000  # reads in a row that fail before the rest of a file is given up

_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"[playlist]", b"<asx", b"<MPD", b"<smil")
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"8BPS", b"\0\0\1\0")
_STILL_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif")
_MOV_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp")
_MEDIA = (b"\x1a\x45\xdf\xa3", b"FLV\1", b"OggS", b"\0\0\1\xba", b"\x30\x26\xb2\x75", b"GIF8")


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its video stream, for reading; closed on leaving.

    The stream is the first that is marked as default, else the first, of those that have a decoder; cover art and
    thumbnails do not count.

    Raises:
        VideoNotFoundError: no such file.
        NotAVideoError: a folder, a device, an empty file, a playlist, a picture, sound, or anything else.
        CorruptVideoError: a video that is truncated or damaged so that it cannot be opened.
        UnsupportedVideoError: there is no decoder for its codec.
        VideoError: the system does not let it be read.
    """
    head = _read_head(path)
    _refuse_by_content(path, head)
    try:
        # An absolute path: no name can be taken for an option, a protocol ("http:", "concat:") or a playlist of such.
        container = av.open(str(path.absolute()), mode="r", container_options=dict(_OPTIONS), metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise _unreadable(path, head, error) from error
    with container:
        yield container, _video_stream(path, head, container)


def packets(path: Path, container: InputContainer, stream: Stream | None = None) -> Iterator[Packet[Stream]]:
    """The packets of `stream`, or of all streams, in file order and without empty ones; damage is passed over.

    Raises:
        VideoError: the file system fails to give the data.
    """
    failures = 0
    while failures < _MOST_FAILURES:
        try:
            for packet in container.demux() if stream is None else container.demux(stream):
                failures = 0
                if packet.size:
                    yield packet
            return
        except av.error.FFmpegError as error:
            if error.errno == errno.EIO:
                raise VideoError(path, "the system fails to read it") from error
            failures += 1  # av_read_frame goes on behind the damage
        except IndexError:  # PyAV at the end of a file in which streams appear on the way
            return


def timestamp(item: Packet[Any] | av.VideoFrame | av.AudioFrame) -> int | None:
    """When a packet's picture or a frame is shown, in units of the stream's time base; None if the file does not say.

    Containers of one time stamp per picture (AVI) have it as decoding time.
    """
    return item.dts if item.pts is None else item.pts


def time_base_of(stream: Stream) -> Fraction:
    """Seconds in one unit of the stream's time stamps."""
    return stream.time_base or Fraction(1, av.time_base)


def shows_picture(codec: str, packet: Packet[Stream]) -> bool:
    """Whether the packet holds a frame to show: neither cut off by an edit list nor a hidden reference frame."""
    if packet.is_discard:
        return False
    if codec == "vp8":
        return bool(memoryview(packet)[0] >> 4 & 1)
    if codec == "vp9":
        first, last = memoryview(packet)[0], memoryview(packet)[-1]
        if first >> 6 != 2 or last >> 5 == 6:  # not a frame header, or a superframe, which ends in a shown frame
            return True
        bits = first << (first >> 4 & 3 == 3)  # profile 3 has a reserved bit before the two that tell
        return bool(bits >> 3 & 1 or bits >> 1 & 1)
    return True


def codec_name(stream: VideoStream) -> str:
    """The codec's own name, whichever decoder reads it: `av1`, not `libdav1d`."""
    codec = stream.codec_context.codec
    name = getattr(codec, "canonical_name", None) or codec.name  # not in every PyAV
    return {"libdav1d": "av1", "libaom-av1": "av1"}.get(name, name)


def _read_head(path: Path) -> bytes:
    """The first bytes of a regular file that can be read."""
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


def _refuse_by_content(path: Path, head: bytes) -> None:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(_PLAYLISTS) or (text.startswith(b"<?xml") and b"<MPD" in text):
        raise NotAVideoError(path, "a playlist, not a video")
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    if webp or (head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS):
        raise NotAVideoError(path, "a picture, not a video")


def _unreadable(path: Path, head: bytes, error: av.error.FFmpegError) -> VideoError:
    """Why FFmpeg cannot open the file, from its first bytes."""
    if isinstance(error, OSError) and error.errno == errno.EACCES:
        return VideoError(path, "permission denied")
    riff_video = head[:4] == b"RIFF" and head[8:12] == b"AVI "
    if riff_video or head.startswith(_MEDIA) or head[4:8] in _MOV_BOXES:
        return CorruptVideoError(path, "truncated or damaged: " + (_index_damage(path, head) or "it cannot be opened"))
    if head.startswith(_PICTURES):
        return NotAVideoError(path, "a picture, not a video")
    return NotAVideoError(path, "not a video")


def _index_damage(path: Path, head: bytes) -> str | None:
    """What is wrong with the index of an MP4 or QuickTime file; None if it is there, or for another file."""
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
            if size < 8:  # 0: the last box, to the end of the file
                size = end - position
            position += size
            if kind == b"moov":
                return None if position <= end else "its index (moov) is cut off"
    return "its index (moov) is missing"


def _video_stream(path: Path, head: bytes, container: InputContainer) -> VideoStream:
    streams = container.streams.video
    motion = [stream for stream in streams if not stream.disposition & _NOT_MOTION]
    usable = [stream for stream in motion if stream.codec_context is not None]
    if not usable and (damage := _index_damage(path, head)):  # which FFmpeg may open, seeing no or half a stream
        raise CorruptVideoError(path, f"truncated or damaged: {damage}")
    if not motion:
        raise NotAVideoError(path, "no video stream, only a picture" if streams else "no video stream")
    if not usable:
        raise UnsupportedVideoError(path, "unsupported or unknown video codec")
    return next((stream for stream in usable if stream.disposition & Disposition.default), usable[0])
