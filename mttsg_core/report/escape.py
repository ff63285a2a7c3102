"""Numbers as a page shows them."""

from __future__ import annotations


def percent(value: float) -> str:
    """Return a percentage with one decimal and without its sign."""
    return f"{value:.1f}"


def clock(seconds: float) -> str:
    """Return a time such as 1:02:03.4, or 2:03.4 below an hour."""
    minutes, tenths = divmod(round(seconds * 10), 600)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02d}" if hours else f"{minutes}") + f":{tenths / 10:04.1f}"
