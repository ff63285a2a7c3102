"""Lines that differ for every reader."""

from __future__ import annotations

import re
from itertools import combinations, pairwise

import numpy as np
import pytest

from mttsg_core.moments import FloatArray
from mttsg_core.report.layout import render_page
from mttsg_core.report.palette import COLOURS, DASHES, line_classes, line_style, stylesheet

# Linear RGB as seen with normal vision and with each kind of colour blindness (Machado, Oliveira and Fernandes, 2009).
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "deuteranopia": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
    "tritanopia": np.array([[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]),
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = XYZ.sum(axis=1)
SEEN = 12  # CIELAB distance; 2.3 is just noticeable


def lab(colour: str, vision: FloatArray) -> FloatArray:
    """Return the CIELAB values of a colour #rrggbb as it is seen."""
    encoded = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    xyz = XYZ @ np.clip(vision @ linear, 0, 1) / WHITE
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("theme", [0, 1])
@pytest.mark.parametrize("vision", VISION)
def test_nine_colours_differ_for_colour_blind_readers_too(theme: int, vision: str) -> None:
    assert len(COLOURS) == 9
    seen = [lab(colour[theme], VISION[vision]) for colour in COLOURS]
    assert min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2)) > SEEN


def test_lines_beside_each_other_differ_in_their_dashes_as_well() -> None:
    styles = [line_style(index) for index in range(len(COLOURS) * len(DASHES))]
    assert len(set(styles)) == len(styles) == 36
    assert all(a.dash != b.dash for a, b in pairwise(styles))


def test_pages_have_a_rule_for_every_class() -> None:
    rules = stylesheet()
    for index in range(36):
        for name in line_classes(index).split()[1:]:
            assert re.search(rf"^\.{name} {{ stroke", rules, re.MULTILINE)
    assert all(colour.light in rules and colour.dark in rules for colour in COLOURS)
    page = render_page("training.html.j2", name="m", made=[], curves=[], reliability={}, auc=None, report=REPORT)
    assert rules in page


REPORT = {"pairs": 1, "videos": 1, "epochs": 1, "seconds": 1.0, "parameters": 1, "best_epoch": 1}
