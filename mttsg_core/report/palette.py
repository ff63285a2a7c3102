"""Colours and dashes of lines: nine that differ for colour-blind readers too, in pages and in files.

The colours on light ground are those of Okabe and Ito ("Color Universal Design", 2008) and a grey; on dark ground they
are lightened. The dash changes from line to line as well, so that no line is known by its colour alone.
"""

from __future__ import annotations

from typing import NamedTuple


class _Colour(NamedTuple):
    light: str
    dark: str


COLOURS = (
    _Colour("#0072b2", "#3b94d9"),  # blue
    _Colour("#d55e00", "#e8702a"),  # vermilion
    _Colour("#009e73", "#1fb88c"),  # bluish green
    _Colour("#cc79a7", "#d98bb8"),  # reddish purple
    _Colour("#e69f00", "#f0ac1c"),  # orange
    _Colour("#56b4e9", "#8fd0f7"),  # sky blue
    _Colour("#000000", "#e7e9ec"),  # black
    _Colour("#555555", "#767c85"),  # grey
    _Colour("#f0e442", "#fff27a"),  # yellow, last as it is faint on white
)
# Lengths of lines and gaps in turn, in widths of the line. Their number and that of the colours have no common divisor:
# where the colours come again they have other dashes.
DASHES: tuple[tuple[float, ...], ...] = ((), (4, 1.5), (1, 1.2), (5, 1.5, 1, 1.5))
_PAGE_WIDTH = 2.2  # of a line, in SVG units


class LineStyle(NamedTuple):
    """How a line is drawn on white: its colour, and the lengths of dashes and gaps; none for an unbroken line."""

    colour: str
    dash: tuple[float, ...]


def line_style(index: int) -> LineStyle:
    """Return the style of the line with that index.

    >>> line_style(0), line_style(9)
    (LineStyle(colour='#0072b2', dash=()), LineStyle(colour='#0072b2', dash=(4, 1.5)))
    """
    return LineStyle(COLOURS[colour_number(index)].light, DASHES[index % len(DASHES)])


def colour_number(index: int) -> int:
    """Return the number of the colour of the line with that index, from which on the colours come again."""
    return index % len(COLOURS)


def line_classes(index: int) -> str:
    """Return the classes in the style sheet of the line with that index.

    >>> line_classes(0), line_classes(10)
    ('line s0 d0', 'line s1 d2')
    """
    return f"line s{colour_number(index)} d{index % len(DASHES)}"


def stylesheet() -> str:
    """Return the rules of all lines, and the colours `--s0`, ... of the light and the dark theme."""
    light, dark = (
        "".join(f" --s{index}: {colour[theme]};" for index, colour in enumerate(COLOURS)) for theme in (0, 1)
    )
    rules = [f":root {{{light} }}", f"@media (prefers-color-scheme: dark) {{ :root {{{dark} }} }}"]
    rules += [
        f".s{index} {{ stroke: var(--s{index}) }} .mark{index} {{ background: var(--s{index}) }}"
        for index in range(len(COLOURS))
    ]
    for index, dash in enumerate(DASHES):
        lengths = " ".join(f"{length * _PAGE_WIDTH:.3g}" for length in dash) or "none"
        rules.append(f".d{index} {{ stroke-dasharray: {lengths} }}")
    return "\n".join(rules) + "\n"
