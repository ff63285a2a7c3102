"""The fingerprint of features, as it is read from files of others: what every program may rely on in it."""

from __future__ import annotations

from collections.abc import Mapping

from mttsg_core.utils.text import shorten

STREAMS = "streams"  # in the fingerprint of features of several kinds: their names and widths, in order

_MAX_FPS = 1000.0
_SEPARATOR = " + "  # between streams; no name has a space


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
    if not isinstance(reader, str):
        return f"reader = {shorten(reader)}: must be the name of a video reader"
    try:
        stream_widths(fingerprint)
    except ValueError:
        return f"{STREAMS} = {shorten(fingerprint[STREAMS])}: must be names and widths of streams"
    return None


def describe_streams(kinds: Mapping[str, tuple[int, str]]) -> str:
    """Return streams as an entry of a fingerprint.

    >>> describe_streams({"clip": (512, ""), "slowfast": (2304, "")})
    'clip 512 + slowfast 2304'

    Args:
        kinds: for each stream the width of its clips, and how they were made, if that is known.
    """
    return _SEPARATOR.join(f"{name} {width} {made}".strip() for name, (width, made) in kinds.items())


def stream_widths(fingerprint: Mapping[str, object]) -> dict[str, int]:
    """Return the width of the clips of each stream, in order; empty for features of one kind.

    >>> stream_widths({"encoder": "external", "streams": "clip 512 + slowfast 2304"})
    {'clip': 512, 'slowfast': 2304}

    Raises:
        ValueError: if a file says something else of its streams.
    """
    described = fingerprint.get(STREAMS, "")
    if not isinstance(described, str):
        raise ValueError(f"{STREAMS} are not text")
    words = [stream.split(" ", 2) for stream in described.split(_SEPARATOR)] if described else []
    if any(len(stream) < 2 for stream in words):
        raise ValueError(f"a stream in {described!r} has no width")
    return {name: int(width) for name, width, *_ in words}


def stream_fault(actual: Mapping[str, object], expected: Mapping[str, object]) -> str | None:
    """Return which streams are missing, too many or in another order, or None if that is not what differs.

    >>> two = {"encoder": "external", "streams": "clip 512 + slowfast 2304"}
    >>> stream_fault({"encoder": "external", "streams": "clip 512 + audio 50"}, two)
    'no slowfast features, but clip (512) and slowfast (2304) are expected: --features clip=DIR --features slowfast=DIR'
    """
    wanted, given = stream_widths(expected), stream_widths(actual)
    if not wanted:
        return None if not given else f"the streams {_listed(given)}, but features of one kind are expected"
    if not given:  # one kind without a name: of the only stream of that width, if there is one
        width = actual.get("clip_dim")
        alike = [name for name in wanted if wanted[name] == width]
        given = {alike[0]: wanted[alike[0]]} if len(alike) == 1 else {}
    missing = [name for name in wanted if name not in given]
    options = " ".join(f"--features {name}=DIR" for name in wanted)
    if missing:
        return f"no {' and no '.join(missing)} features, but {_listed(wanted)} are expected: {options}"
    if list(given) != list(wanted):
        return f"the streams {_listed(given)}, but {_listed(wanted)} are expected, in this order: {options}"
    return None


def _listed(widths: Mapping[str, int]) -> str:
    return " and ".join(f"{name} ({width})" for name, width in widths.items())


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
