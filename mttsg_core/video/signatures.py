"""First bytes of media files: containers, transport streams, sound, and pictures that move or do not."""

from __future__ import annotations

from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

MOV_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp")
CONTAINERS = (b"\x1a\x45\xdf\xa3", b"FLV\1", b"OggS", b"\0\0\1\xba", b"\x30\x26\xb2\x75", b"GIF8")
IMAGES = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"8BPS", b"\0\0\1\0")
STILL_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif")
_OGG_VIDEO = (b"\x80theora", b"\x01video\0\0\0", b"BBCD\0", b"OVP80\1")
_DV = b"\x1f\x07\0"  # the first block of a DV sequence is a header
_NUT = b"nut/multimedia container\0"
_PACKET_SIZES = (188, 192, 204)  # bytes: plain, with a time code in front (Blu-ray, AVCHD), with error correction
_MAX_PACKETS = 5  # transport packets in a row that are looked at
_MAX_GIF_BYTES = 64 << 20  # of the first picture of a GIF; a larger one is taken for animated


class TransportLayout(NamedTuple):
    """Where the packets of an MPEG transport stream are: each `size` bytes, the first sync byte at `start`."""

    start: int
    size: int


def is_avi(head: bytes) -> bool:
    """Return whether a file is an AVI."""
    return head[:4] == b"RIFF" and head[8:12] == b"AVI "


def is_webp(head: bytes) -> bool:
    """Return whether a file is a WebP picture."""
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def is_animated_webp(head: bytes) -> bool:
    """Return whether a WebP picture is marked as animated."""
    return is_webp(head) and head[12:16] == b"VP8X" and bool(head[20] & 2)


def is_still_iso_image(head: bytes) -> bool:
    """Return whether a file is a HEIF or AVIF picture, rather than a sequence of pictures."""
    return head[4:8] == b"ftyp" and head[8:12] in STILL_BRANDS


def is_known_container(head: bytes) -> bool:
    """Return whether a file begins as a container of video does, disregarding transport streams."""
    return is_avi(head) or head.startswith(CONTAINERS) or head[4:8] in MOV_BOXES


def is_raw_stream(head: bytes) -> bool:
    """Return whether a file begins as DV or as NUT, the containers without a suffix of their own."""
    return head.startswith((_DV, _NUT))


def transport_layout(head: bytes) -> TransportLayout | None:
    """Return the layout of an MPEG transport stream, which may begin within a packet; None for other files.

    >>> transport_layout(bytes(30) + (b"G" + bytes(187)) * 3)
    TransportLayout(start=30, size=188)
    """
    for size in _PACKET_SIZES:
        for start in range(min(size, len(head))):
            positions = range(start, len(head), size)[:_MAX_PACKETS]
            if len(positions) > 1 and all(head[position] == 0x47 for position in positions):
                return TransportLayout(start, size)
    return None


def ogg_has_video(head: bytes) -> bool:
    """Return whether one of the streams that an Ogg file begins with is video."""
    return any(payload.startswith(_OGG_VIDEO) for payload in _ogg_first_pages(head))


def has_two_png_frames(head: bytes) -> bool:
    """Return whether a PNG is animated: its control chunk comes before the picture data and counts several frames."""
    control = head.find(b"acTL")
    data = head.find(b"IDAT")
    return control > 0 and (data < 0 or control < data) and int.from_bytes(head[control + 4 : control + 8], "big") > 1


def has_two_gif_frames(path: Path) -> bool:
    """Return whether a GIF has more than one picture.

    Raises:
        OSError: if the file cannot be read.
    """
    with path.open("rb") as file:
        screen = file.read(13)
        if len(screen) < 13:
            return False
        _skip_colours(file, screen[10])
        pictures = 0
        while (kind := file.read(1)) and file.tell() < _MAX_GIF_BYTES:
            if kind == b"!":  # an extension: its label, then blocks
                file.read(1)
            elif kind == b",":
                pictures += 1
                if pictures > 1:
                    return True
                descriptor = file.read(9)
                if len(descriptor) < 9:
                    return False
                _skip_colours(file, descriptor[8])
                file.read(1)  # the code size
            else:
                return False  # the end mark, or damage
            _skip_blocks(file)
        return bool(kind)


def _skip_colours(file: BufferedReader, flags: int) -> None:
    if flags & 0x80:
        file.seek(3 << ((flags & 7) + 1), 1)


def _skip_blocks(file: BufferedReader) -> None:
    while size := file.read(1):
        if size == b"\0":
            return
        file.seek(size[0], 1)


def _ogg_first_pages(head: bytes) -> Iterator[bytes]:
    """Yield the payloads of the pages that begin a stream; they come before all others."""
    position = 0
    while head[position : position + 4] == b"OggS" and position + 27 <= len(head) and head[position + 5] & 2:
        table = head[position + 27 : position + 27 + head[position + 26]]
        start = position + 27 + len(table)
        yield head[start : start + sum(table)]
        position = start + sum(table)
