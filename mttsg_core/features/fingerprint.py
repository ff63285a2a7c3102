"""The fingerprint of features, as it is read from files of others: what every program may rely on in it."""

from __future__ import annotations

from collections.abc import Mapping

from mttsg_core.utils.text import shorten

_MAX_FPS = 1000.0


def is_extracted(fingerprint: Mapping[str, object]) -> bool:
    """Tell whether this program made the features, and can make more of them: those of others have no frame rate.

    >>> is_extracted({"encoder": "classic", "fps": 2.0, "reader": "auto"}), is_extracted({"encoder": "c3d"})
    (True, False)
    """
    return {"fps", "reader"} <= fingerprint.keys()


def fingerprint_fault(fingerprint: Mapping[str, object]) -> str | None:
    """Return why a mapping cannot be the fingerprint of features, or None if it can.

    >>> fingerprint_fault({"encoder": "classic", "fps": 2.0, "reader": "auto"})
    >>> fingerprint_fault({"encoder": "classic", "fps": 0})
    'fps = 0: must be more than 0 and at most 1000'

    Args:
        fingerprint: the encoder's name and the settings of the extraction. Of these, `fps` and `reader` are checked.
    """
    encoder = fingerprint.get("encoder")
    if not isinstance(encoder, str) or not encoder.strip():
        return f"encoder = {shorten(encoder)}: must be the name of an encoder"
    fps, reader = fingerprint.get("fps", 1.0), fingerprint.get("reader", "")
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps <= _MAX_FPS:
        return f"fps = {shorten(fps)}: must be more than 0 and at most {_MAX_FPS:g}"
    return None if isinstance(reader, str) else f"reader = {shorten(reader)}: must be the name of a video reader"


def number_in(metadata: Mapping[str, object], name: str, lowest: float, highest: float) -> float | None:
    """Return a number that the writer of a file recorded, or None if there is none.

    Args:
        metadata: of the file.
        name: of the number.
        lowest: smallest possible number.
        highest: largest possible number.

    Raises:
        ValueError: if there is a number out of this range.
    """
    value = metadata.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not lowest <= value <= highest:
        raise ValueError(f"{name} = {shorten(value)}: must be a number from {lowest:g} to {highest:g}")
    return float(value)
