"""What a file is, judged by its first bytes."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

import av.error

from mttsg_core.errors import CorruptVideoError, NotAVideoError, VideoError, VideoNotFoundError

# The first bytes of files, by kind.
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"[playlist]", b"<asx", b"<MPD", b"<smil")
_IMAGES = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"8BPS", b"\0\0\1\0")
_STILL_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif")
_MOV_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp")
_OTHER_CONTAINERS = (b"\x1a\x45\xdf\xa3", b"FLV\1", b"OggS", b"\0\0\1\xba", b"\x30\x26\xb2\x75", b"GIF8")


def read_head(path: Path) -> bytes:
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


def reject_by_content(path: Path, head: bytes) -> None:
    """Raise NotAVideoError for playlists, and for images that FFmpeg would open as videos."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(_PLAYLISTS) or (text.startswith(b"<?xml") and b"<MPD" in text):
        raise NotAVideoError(path, "a playlist, not a video")
    is_webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    if is_webp or (head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS):
        raise NotAVideoError(path, "an image, not a video")


def explain_failure(path: Path, head: bytes, error: av.error.FFmpegError) -> VideoError:
    """Return the error that says why FFmpeg cannot open the file, judged by its first bytes."""
    if isinstance(error, OSError) and error.errno == errno.EACCES:
        return VideoError(path, "permission denied")
    is_avi = head[:4] == b"RIFF" and head[8:12] == b"AVI "
    if is_avi or head.startswith(_OTHER_CONTAINERS) or head[4:8] in _MOV_BOXES:
        return CorruptVideoError(path, "truncated or damaged: " + (index_damage(path, head) or "it cannot be opened"))
    if head.startswith(_IMAGES):
        return NotAVideoError(path, "an image, not a video")
    return NotAVideoError(path, "not a video")


def index_damage(path: Path, head: bytes) -> str | None:
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
