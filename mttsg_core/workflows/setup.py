"""Downloads ahead of time: `setup`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mttsg_core.encoders import DEFAULT_ENCODER, DEFAULT_PRETRAINED, DEFAULT_SENTENCES, DEFAULT_TEXT_ENCODER
from mttsg_core.encoders.known import KNOWN
from mttsg_core.errors import ConfigError

_BUILT_IN = (DEFAULT_ENCODER, DEFAULT_TEXT_ENCODER)


@dataclass(frozen=True)
class SetupItem:
    """One encoder that is to be on this computer.

    Attributes:
        what: `encoder` or `text encoder`.
        name: as it was asked for.
        folder: where it is; None if it could not be had, or is built in.
        bytes: its size on the disk.
        failure: why it could not be had; None if it is there.
    """

    what: str
    name: str
    folder: Path | None = None
    bytes: int = 0
    failure: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {**vars(self), "folder": None if self.folder is None else str(self.folder)}


def setup_plan(encoder: str | None = None, text_encoder: str | None = None) -> list[tuple[str, str]]:
    """Return what to download, as pairs of what it is and its name: what is named, or else the two default encoders."""
    if encoder is None and text_encoder is None:
        return [("encoder", DEFAULT_PRETRAINED), ("text encoder", DEFAULT_SENTENCES)]
    named = (("encoder", encoder), ("text encoder", text_encoder))
    return [(what, name) for what, name in named if name is not None]


def fetch(what: str, name: str, *, offline: bool = False) -> SetupItem:
    """Download an encoder that is not on this computer yet. A stopped download goes on where it was.

    Args:
        what: `encoder` or `text encoder`, for messages.
        name: see `encoders.build_encoder`.
        offline: never use the network, only look.
    """
    if name in _BUILT_IN:
        return SetupItem(what, name)
    from mttsg_core.encoders.hf_files import find_files

    try:
        files = find_files(name, what, offline=offline)
    except ConfigError as error:
        return SetupItem(what, name, failure=str(error))
    size = sum(path.stat().st_size for path in files.folder.iterdir() if path.is_file())
    return SetupItem(what, name, files.folder, size)


def expected_bytes(name: str) -> int | None:
    """Return the approximate size of a model with a short name; None for others."""
    return KNOWN[name].megabytes * 1_000_000 if name in KNOWN else None
