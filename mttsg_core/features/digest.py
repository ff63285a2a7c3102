"""A digest of the features of many videos, by which two trainings can be seen to have read the same ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

WHOLE, ENDS = "content", "sizes, headers and ends"
_WHOLE_BYTES = 256 << 20  # of all files together, up to which their whole content is read
_END_BYTES = 1 << 12  # of a file, at its start and its end, where only those are read
_BLOCK = 1 << 20
_LENGTH_BYTES = 8  # before the header of a safetensors file, with its length
_MAX_HEADER = 100 << 20  # as in the library's own check


@dataclass(frozen=True)
class FeaturesDigest:
    """What identifies the features of some videos.

    Attributes:
        digest: `sha256:...` over the names of the videos and their features.
        of: what of the files it is made of: their `content`, or where they are large, their `sizes, headers and ends`.
        videos: number of videos with features.
        bytes: size of all files.
    """

    digest: str
    of: str
    videos: int
    bytes: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self)


def digest_features(files: Mapping[str, Path], whole_bytes: int = _WHOLE_BYTES) -> FeaturesDigest:
    """Return the digest of feature files. It does not depend on where they are, or when they were written.

    Of safetensors files what the writer noted, such as the place of the video, does not count.

    Args:
        files: the feature file of each video; several videos may share an HDF5 file.
        whole_bytes: size of all files together up to which their whole content counts.

    Raises:
        OSError: if a file cannot be read.
    """
    size = sum(path.stat().st_size for path in set(files.values()))
    is_whole = size <= whole_bytes
    digest_of = {path: _digest_file(path, is_whole=is_whole) for path in sorted(set(files.values()))}
    digest = hashlib.sha256()
    for video in sorted(files):
        digest.update(json.dumps([video, digest_of[files[video]]]).encode())
    return FeaturesDigest(f"sha256:{digest.hexdigest()}", WHOLE if is_whole else ENDS, len(files), size)


def _digest_file(path: Path, *, is_whole: bool) -> str:
    digest = hashlib.sha256()
    size = path.stat().st_size
    with path.open("rb") as file:
        start = 0
        if path.suffix.lower() == ".safetensors":
            start, header = _read_header(file)
            digest.update(header)
        digest.update(f"{size - start}".encode())
        for offset, length in _blocks(start, size, is_whole=is_whole):
            file.seek(offset)
            digest.update(file.read(length))
    return digest.hexdigest()


def _blocks(start: int, size: int, *, is_whole: bool) -> Iterator[tuple[int, int]]:
    """Yield offset and length of what is read of a file."""
    if is_whole or size - start <= 2 * _END_BYTES:
        yield from ((offset, min(_BLOCK, size - offset)) for offset in range(start, size, _BLOCK))
    else:
        yield from ((start, _END_BYTES), (size - _END_BYTES, _END_BYTES))


def _read_header(file: BinaryIO) -> tuple[int, bytes]:
    """Return where the values of a safetensors file start, and its header without the notes of the writer."""
    size = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    try:
        header = json.loads(file.read(min(size, _MAX_HEADER)))
        header.pop("__metadata__", None)
    except (ValueError, AttributeError):  # damaged: its bytes are what it is
        return 0, b""
    return _LENGTH_BYTES + size, json.dumps(header, sort_keys=True).encode()
