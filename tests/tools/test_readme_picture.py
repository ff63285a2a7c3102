"""The tool that draws the picture of the README."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import readme_picture
from PIL import ImageColor
from readme_picture import ANSWER, LABELS, MARGIN, SCENES, TRUE, WIDTH, Scene

from mttsg_core import Moment

FILM = np.zeros((132, 72, 128, 3), dtype=np.uint8)


def test_bars_cover_the_seconds_of_their_moments() -> None:
    picture = np.asarray(readme_picture.draw(FILM, 10.0, [Scene("a dog runs", 2.0, 4.0)], [Moment(5.0, 9.0, 0.8)]))
    left, right = MARGIN + LABELS, WIDTH - MARGIN
    for colour, start, end in ((TRUE, 2.0, 4.0), (ANSWER, 5.0, 9.0)):
        covered = (picture[:, left:right] == ImageColor.getrgb(colour)).all(-1)
        row = covered[covered.sum(1).argmax()]
        seconds = np.flatnonzero(row) / (right - left) * 10
        assert seconds[[0, -1]] == pytest.approx([start, end], abs=0.02)


def test_no_copy_shows_the_film_in_its_own_order() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        pictures, scenes = readme_picture.altered_copy(FILM, Fraction(25), random)
        queries = [scene.query for scene in scenes]
        assert len(set(queries)) == len(queries) >= 2
        assert queries != [scene.query for scene in SCENES]
        assert scenes[0].start == 0
        assert all(before.end == after.start for before, after in pairwise(scenes))
        assert len(list(pictures)) / 25 == pytest.approx(scenes[-1].end)
