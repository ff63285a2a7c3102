"""What a file is, judged by its bytes: a video, or what else, and what to do about it. FFmpeg is not loaded for it."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING

from mttsg_core.errors import (
    CorruptVideoError,
    NoMovingPicturesError,
    NotAVideoError,
    UnsupportedVideoError,
    VideoError,
    VideoNotFoundError,
)
from mttsg_core.video import signatures
from mttsg_core.video.foreign import foreign_content, is_text, unfinished_download

if TYPE_CHECKING:
    import av.error

# Suffixes that other kinds of files have as well: pictures, sound, program text.
WEAK_SUFFIXES = (".ogg", ".webp", ".gif", ".avif", ".apng", ".ts", ".mts", ".dv", ".nut")
PICTURE_SUFFIXES = (".webp", ".gif", ".avif", ".apng")
AN_IMAGE, NO_VIDEO_STREAM = "an image, not a video", "no video stream"

_HEAD_BYTES = 8192
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"[playlist]", b"<asx", b"<MPD", b"<smil")
_ENCRYPTED_SAMPLES = (b"encv", b"drmi")  # sample entries of MP4: Common Encryption, and FairPlay
# The content encryption objects of an ASF header.
_ASF_ENCRYPTION = (
    bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e"),
    bytes.fromhex("14e68a292226174cb935dae07ee9289c"),
)
_ASF = b"\x30\x26\xb2\x75"
# In a Matroska track: ContentEncodings, in it ContentEncoding, in it ContentEncryption, each with its length.
_MATROSKA, _MATROSKA_ENCRYPTION = b"\x1a\x45\xdf\xa3", re.compile(rb"\x6d\x80.{1,8}\x62\x40.{1,40}?\x50\x35", re.DOTALL)
_SCAN_BYTES = 1 << 18  # of a transport stream, in search of scrambled packets


def is_video_by_content(path: Path) -> bool:
    """Return whether the first bytes of a file are those of a video, or of a picture that moves and can be read.

    It is meant for files with one of `WEAK_SUFFIXES`. A file that cannot be read counts as a video: reading it as one
    gives the reason.
    """
    return video_obstacle(path) is None


def video_obstacle(path: Path) -> str | None:
    """Return why a file is not a video, in a few words, or None if it is one; see `is_video_by_content`."""
    try:
        head = read_head(path)
        if head.startswith(b"GIF8"):
            return None if signatures.has_two_gif_frames(path) else AN_IMAGE
    except NotAVideoError as error:
        return error.reason
    except (VideoError, OSError):
        return None
    if head.startswith(b"\x89PNG"):
        return None if signatures.has_two_png_frames(head) else AN_IMAGE
    if head.startswith(b"OggS"):
        return None if signatures.ogg_has_video(head) else NO_VIDEO_STREAM
    if (reason := _known_reason(head)) is not None:
        return reason
    if head.startswith(signatures.IMAGES):
        return AN_IMAGE
    if is_text(head):
        return "a text file, not a video"
    is_video = (
        signatures.is_known_container(head) or signatures.is_raw_stream(head) or signatures.transport_layout(head)
    )
    return None if is_video else "not a video"


def read_head(path: Path) -> bytes:
    """Return the first bytes of a regular, readable file.

    Raises:
        VideoNotFoundError: if the file does not exist.
        NotAVideoError: if it is a folder, a device or empty.
        VideoError: if the system does not allow it to be read.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            os.scandir(path).close()  # whether it can be read at all
            raise NotAVideoError(path, "is a folder")
        if not stat.S_ISREG(mode):  # opening a pipe would wait for a writer
            raise NotAVideoError(path, "not a regular file")
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise VideoNotFoundError(path, "no such file") from error
    except OSError as error:
        raise VideoError(path, (error.strerror or "cannot be read").lower()) from error
    except ValueError as error:  # a null byte in the name
        raise VideoNotFoundError(path, "no such file") from error
    if not head:
        raise NotAVideoError(path, "empty file" + _download_hint(path))
    return head


def reject_by_content(path: Path, head: bytes) -> None:
    """Raise an error for files that FFmpeg might open although it should not, and for those that it cannot decode.

    Args:
        path: the file.
        head: its first bytes, from `read_head`.

    Raises:
        NotAVideoError: for playlists, which name other files, and what `foreign_content` recognises.
        NoMovingPicturesError: for images.
        UnsupportedVideoError: if the video is encrypted.
    """
    if _is_still_image(head):
        raise NoMovingPicturesError(path, AN_IMAGE)
    reason = _known_reason(head)
    if reason is not None:
        raise NotAVideoError(path, reason)
    with suppress(OSError):  # reported when FFmpeg reads the file
        if _is_encrypted(path, head):
            raise UnsupportedVideoError(path, "encrypted, so not decodable: use a copy without copy protection")


def explain_failure(path: Path, head: bytes, error: av.error.FFmpegError) -> VideoError:
    """Return the error that says why FFmpeg cannot open a file.

    Args:
        path: the file.
        head: its first bytes, from `read_head`.
        error: what FFmpeg raised.
    """
    if isinstance(error, OSError) and error.errno == errno.EACCES:
        return VideoError(path, "permission denied")
    if signatures.is_known_container(head):
        damage = index_damage(path, head) or "it cannot be opened" + _download_hint(path)
        return CorruptVideoError(path, f"truncated or damaged: {damage}")
    if head.startswith(signatures.IMAGES):
        return NoMovingPicturesError(path, AN_IMAGE)
    kind = "a text file, not a video" if is_text(head) else "not a video"
    return NotAVideoError(path, kind + _download_hint(path))


def index_damage(path: Path, head: bytes) -> str | None:
    """Return what is wrong with the index of an MP4 or QuickTime file; None if it is intact, or for other files.

    Args:
        path: the file.
        head: its first bytes, from `read_head`.
    """
    if head[4:8] not in signatures.MOV_BOXES:
        return None
    size = path.stat().st_size
    with path.open("rb") as file:
        for kind, start, end in _boxes(file, 0, size):
            if kind == b"moov":
                return None if end <= size else "its index (moov) is cut off" + _download_hint(path)
            if kind == bytes(4) and start == end:
                return f"only zeros from byte {start - 8} on, as in an unfinished download or copy"
    return "its index (moov) is missing" + _download_hint(path)


def _known_reason(head: bytes) -> str | None:
    """Return why a file is not a video if its first bytes prove it, whatever FFmpeg makes of it."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(_PLAYLISTS) or (text.startswith(b"<?xml") and b"<MPD" in text):
        return "a playlist, not a video: give the video files that it names"
    if signatures.is_animated_webp(head):
        return "an animated WebP picture, which FFmpeg does not read: convert it to mp4"
    if _is_still_image(head):
        return AN_IMAGE
    foreign = foreign_content(head)
    return None if foreign is None else foreign.describe("a video")


def _is_still_image(head: bytes) -> bool:
    """Return whether the first bytes are those of a picture of a container format that films use too."""
    return signatures.is_still_iso_image(head) or (signatures.is_webp(head) and not signatures.is_animated_webp(head))


def _download_hint(path: Path) -> str:
    """Return the end of a reason that names the file of an unfinished download; empty if there is none."""
    name = unfinished_download(path)
    if name is None:
        return ""
    return "; an unfinished download" if name == path.name else f"; its download is unfinished ({name})"


def _is_encrypted(path: Path, head: bytes) -> bool:
    """Return whether the video in an MP4, Matroska, ASF or transport stream is encrypted."""
    if head.startswith(_ASF):
        return any(mark in head for mark in _ASF_ENCRYPTION)
    if head.startswith(_MATROSKA):
        return _MATROSKA_ENCRYPTION.search(head) is not None
    if head[4:8] in signatures.MOV_BOXES:
        with path.open("rb") as file:
            return any(kind in _ENCRYPTED_SAMPLES for kind in _sample_entries(file, path.stat().st_size))
    layout = signatures.transport_layout(head)
    if layout is None:
        return False
    with path.open("rb") as file:
        data = file.read(_SCAN_BYTES)
    controls = [data[position + 3] >> 6 for position in range(layout.start, len(data) - 3, layout.size)]
    return sum(control > 1 for control in controls) > len(controls) / 2


def _sample_entries(file: BufferedReader, size: int) -> Iterator[bytes]:
    """Yield the kinds of samples that the tracks of an MP4 declare."""
    for start, end in _inner_boxes(file, 0, size, (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")):
        for kind, _, _ in _boxes(file, start + 8, end):
            yield kind


def _inner_boxes(file: BufferedReader, start: int, end: int, path: tuple[bytes, ...]) -> Iterator[tuple[int, int]]:
    """Yield where the content of each box at the end of a path begins and ends."""
    for kind, inner_start, inner_end in _boxes(file, start, end):
        if kind != path[0]:
            continue
        if len(path) == 1:
            yield inner_start, inner_end
        else:
            yield from _inner_boxes(file, inner_start, min(inner_end, end), path[1:])
        if kind == b"moov":
            return  # only one is valid, and a file of fragments has thousands of boxes behind it


def _boxes(file: BufferedReader, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind of each box of an MP4 between two positions, and where its content begins and ends."""
    position = start
    while position + 8 <= end:
        file.seek(position)
        header = file.read(16)
        size, kind, content = int.from_bytes(header[:4], "big"), header[4:8], position + 8
        if size == 1:
            size, content = int.from_bytes(header[8:16], "big"), position + 16
        if header[:8] == bytes(8):
            yield kind, content, content
            return
        if size < 8:  # 0 marks the last box, which reaches to the end of the file
            size = end - position
        position += size
        yield kind, content, position
