"""Files that turn up in the place of videos and features: pointers to files, error pages, archives, pickles, text."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

PICKLES = ("a PyTorch pickle", "a Python pickle")
_DOWNLOAD_AGAIN = "download the file again"
_UNPACK = "unpack it first"
# First bytes, what such a file is, and what to do about it. Where no remedy helps, there is none.
_MAGIC: tuple[tuple[tuple[bytes, ...], str, str], ...] = (
    ((b"version https://git-lfs", b"version https://hawser"), "a Git LFS pointer", "run 'git lfs pull'"),
    ((b"/annex/objects/",), "a git-annex pointer", "run 'git annex get'"),
    ((b"7z\xbc\xaf\x27\x1c",), "a 7z archive", _UNPACK),
    ((b"Rar!\x1a\x07",), "a RAR archive", _UNPACK),
    ((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"), "a compressed file", _UNPACK),
    ((b"%PDF-",), "a PDF document", ""),
    ((b"\x93NUMPY",), "a NumPy array", ""),
    ((b"\x89HDF\r\n\x1a\n",), "an HDF5 file", ""),
)
_HTML = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script")
_ZIP = b"PK\x03\x04"
_MAX_SAFETENSORS_HEADER = 100_000_000  # bytes, as the format itself limits it
# Suffixes of unfinished downloads, and of the files that browsers, yt-dlp and aria2 keep beside them.
_UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".opdownload", ".ytdl", ".aria2", ".!qb", ".!ut")


class Foreign(NamedTuple):
    """The content of a file that is neither a video nor features.

    >>> Foreign("a ZIP archive", "unpack it first").describe("a video")
    'a ZIP archive, not a video: unpack it first'
    """

    kind: str
    remedy: str = ""

    def describe(self, expected: str) -> str:
        """Return a reason for an error message, where `expected` is what the file should have been."""
        return f"{self.kind}, not {expected}" + (f": {self.remedy}" if self.remedy else "")


def foreign_content(head: bytes) -> Foreign | None:
    """Return what a file is, judged by its first bytes; None for media files and for everything unknown.

    >>> foreign_content(b"<!DOCTYPE html><title>404</title>").kind
    'an HTML page'

    Args:
        head: at least the first 512 bytes of the file, or all of it.
    """
    for starts, kind, remedy in _MAGIC:
        if head.startswith(starts):
            return Foreign(kind, remedy)
    if head.startswith(_ZIP):
        if b"/data.pkl" in head or b"/version" in head:
            return Foreign(PICKLES[0])
        return Foreign("a ZIP archive", _UNPACK)
    if head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):  # the opcode PROTO and its argument
        return Foreign(PICKLES[1])
    if head[257:262] == b"ustar":
        return Foreign("a tar archive", _UNPACK)
    if head[8:10] == b'{"' and 2 <= int.from_bytes(head[:8], "little") <= _MAX_SAFETENSORS_HEADER:
        return Foreign("a safetensors file")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(_HTML):
        return Foreign("an HTML page", f"a failed download, probably; {_DOWNLOAD_AGAIN}")
    if text.startswith(b"<?xml") and b"<error>" in text:
        return Foreign("an error message of a server", _DOWNLOAD_AGAIN)
    if head and not head.strip(b"\0"):
        return Foreign("a file that begins with zeros", f"an unfinished download or copy, probably; {_DOWNLOAD_AGAIN}")
    return None


def is_text(head: bytes) -> bool:
    """Return whether the first bytes of a file are printable text.

    >>> is_text("interface Élan {\\n".encode()), is_text(b"G@\\0\\x10")
    (True, False)
    """
    text = head.decode("utf-8", errors="ignore")  # a character may be cut off at the end
    readable = sum(character.isprintable() or character in "\t\r\n\f\ufeff" for character in text)
    return bool(head) and len(text.encode()) > len(head) - 4 and readable == len(text)


def unfinished_download(path: Path) -> str | None:
    """Return the name of the file that shows a download to be unfinished: the file itself, or one beside it; or None.

    >>> unfinished_download(Path("talk.mp4.crdownload"))
    'talk.mp4.crdownload'
    """
    if path.suffix.lower() in _UNFINISHED:
        return path.name
    return next((path.name + suffix for suffix in _UNFINISHED if path.with_name(path.name + suffix).exists()), None)
