"""The built-in video encoder sees colour, shape and motion, each where it is."""

from __future__ import annotations

import colorsys

import numpy as np
import numpy.typing as npt
import pytest

from mttsg_core.encoders import build_encoder
from mttsg_core.encoders.classic import ClassicEncoder
from mttsg_core.errors import ConfigError
from mttsg_core.video import Framing

SIZE, GRID, CELL = 112, 7, 16
HUES = slice(0, 12)
FLOW_X, FLOW_Y = 27, 28  # after 12 hues, 3 greys and 12 orientations
Frames = npt.NDArray[np.uint8]


def square(x: int, y: int, colour: tuple[int, int, int] = (255, 255, 255), side: int = 20) -> Frames:
    """A picture of a square on dark grey."""
    picture = np.full((SIZE, SIZE, 3), 40, dtype=np.uint8)
    picture[y : y + side, x : x + side] = colour
    return picture


def clip(*pictures: Frames) -> Frames:
    """(1, 2, H, W, 3)."""
    return np.stack(pictures)[None]


def noise(clips: int, seed: int = 0) -> Frames:
    return np.random.default_rng(seed).integers(0, 256, (clips, 2, SIZE, SIZE, 3), dtype=np.uint8)


def test_shapes_and_precision() -> None:
    encoder = build_encoder("classic")
    assert encoder.framing == Framing((SIZE, SIZE))
    assert encoder.frames_per_clip == 2
    made = encoder.encode(noise(3))
    assert made.regions is not None
    assert made.clips.shape == (3, 102)
    assert made.regions.shape == (3, 49, 34)
    assert made.clips.dtype == made.regions.dtype == np.float32
    assert np.isfinite(made.clips).all()
    assert np.isfinite(made.regions).all()


@pytest.mark.parametrize("value", [0, 128, 255])
def test_pictures_without_any_content_are_finite(value: int) -> None:
    made = ClassicEncoder().encode(np.full((1, 2, SIZE, SIZE, 3), value, dtype=np.uint8))
    assert np.isfinite(made.clips).all()
    assert made.regions is not None
    assert np.abs(made.regions[..., [FLOW_X, FLOW_Y]]).max() < 1e-6


def test_a_clip_does_not_depend_on_the_others_nor_on_how_many_there_are() -> None:
    frames = noise(70)
    together = ClassicEncoder().encode(frames)
    assert together.regions is not None
    for index in (0, 1, 63, 64, 69):
        alone = ClassicEncoder().encode(frames[index : index + 1])
        assert alone.regions is not None
        np.testing.assert_array_equal(alone.regions[0], together.regions[index])
        np.testing.assert_allclose(alone.clips[0], together.clips[index], atol=1e-6)


def test_a_clip_vector_is_the_mean_the_largest_and_the_spread_of_its_regions() -> None:
    made = ClassicEncoder().encode(noise(2))
    assert made.regions is not None
    expected = [made.regions.mean(1), made.regions.max(1), made.regions.std(1)]
    np.testing.assert_allclose(made.clips, np.concatenate(expected, -1), atol=1e-6)


@pytest.mark.parametrize(
    ("dx", "dy", "channel", "sign"), [(2, 0, FLOW_X, 1), (-2, 0, FLOW_X, -1), (0, 2, FLOW_Y, 1), (0, -2, FLOW_Y, -1)]
)
def test_motion_has_the_right_direction_where_it_happens(dx: int, dy: int, channel: int, sign: int) -> None:
    made = ClassicEncoder().encode(clip(square(42, 42), square(42 + dx, 42 + dy)))
    assert made.regions is not None
    flow = made.regions[0, :, channel]
    strongest = int(np.abs(flow).argmax())
    assert np.sign(flow[strongest]) == sign
    assert abs(flow[strongest]) > 0.1
    row, column = divmod(strongest, GRID)
    assert 2 <= row <= 4
    assert 2 <= column <= 4
    corners = [0, GRID - 1, GRID * (GRID - 1), GRID * GRID - 1]
    assert np.abs(flow[corners]).max() < 1e-3
    across = made.regions[0, :, FLOW_X + FLOW_Y - channel]
    assert abs(across.sum()) < abs(flow.sum()) / 5


def test_what_stands_still_does_not_move() -> None:
    made = ClassicEncoder().encode(clip(square(40, 40), square(40, 40)))
    assert made.regions is not None
    assert np.abs(made.regions[0][:, [FLOW_X, FLOW_Y]]).max() < 1e-6


def test_colours_are_told_apart_and_have_their_place() -> None:
    colours = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "yellow": (230, 220, 30)}
    seen = {}
    for name, colour in colours.items():
        made = ClassicEncoder().encode(clip(square(48, 48, colour, 16), square(48, 48, colour, 16)))
        assert made.regions is not None
        seen[name] = made.regions[0, 3 * GRID + 3, HUES]
        assert made.regions[0, 0, HUES].max() < 1e-3  # the dark grey corner has none
    hues = {name: int(values.argmax()) for name, values in seen.items()}
    assert len(set(hues.values())) == 4
    assert hues["red"] in (0, 11)


def of_regions(image: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The mean over each region: (H, W) to (R,)."""
    return image.reshape(GRID, CELL, GRID, CELL).mean(axis=(1, 3)).ravel()


def shared_between_two(position: float, bins: int) -> npt.NDArray[np.float64]:
    """How much of a value at that place on a circle of bins falls on each."""
    lower = int(np.floor(position))
    shares = np.zeros(bins)
    shares[lower % bins] = 1 - (position - lower)
    shares[(lower + 1) % bins] += position - lower
    return shares


def test_hues_are_those_of_hsv_weighted_by_chroma() -> None:
    picture = noise(1)[0, 0]
    histogram = np.zeros((SIZE, SIZE, 12))
    for row, column in np.ndindex(SIZE, SIZE):
        red, green, blue = (float(value) / 255 for value in picture[row, column])
        hue, _, _ = colorsys.rgb_to_hsv(red, green, blue)
        chroma = max(red, green, blue) - min(red, green, blue)
        histogram[row, column] = chroma * shared_between_two(hue * 12, 12)
    made = ClassicEncoder().encode(clip(picture, picture))
    assert made.regions is not None
    expected = np.sqrt([of_regions(histogram[..., hue]) for hue in range(12)]).T
    np.testing.assert_allclose(made.regions[0, :, HUES], expected, atol=1e-5)


@pytest.mark.parametrize("degrees", [0, 5, 15, 37, 52, 90, 98, 150, 178])
def test_a_slope_falls_on_the_two_directions_beside_it(degrees: int) -> None:
    angle = np.deg2rad(degrees)
    row, column = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    plane = 128 + 8 * (np.cos(angle) * column + np.sin(angle) * row)  # steepest at that angle
    picture = np.repeat(plane.round().clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    made = ClassicEncoder().encode(clip(picture, picture))
    assert made.regions is not None
    shares = made.regions[0, 24, 15:27] ** 2  # of the middle region
    expected = 8 / 255 * shared_between_two(degrees / 15, 12)
    np.testing.assert_allclose(shares, expected, atol=0.05 * 8 / 255)  # grey levels are whole numbers


def test_vertical_and_horizontal_stripes_differ_in_orientation() -> None:
    stripes = np.zeros((SIZE, SIZE, 3), dtype=np.uint8)
    stripes[:, (np.arange(SIZE) // 4) % 2 == 0] = 255
    upright = ClassicEncoder().encode(clip(stripes, stripes)).regions
    lying = ClassicEncoder().encode(clip(stripes.transpose(1, 0, 2), stripes.transpose(1, 0, 2))).regions
    assert upright is not None
    assert lying is not None
    bins = slice(15, 27)
    assert upright[0, 24, bins].argmax() != lying[0, 24, bins].argmax()


def test_the_values_of_this_version_do_not_change_silently() -> None:
    """If this fails on purpose, raise the version in `ClassicEncoder.settings`: caches hold the old values."""
    made = ClassicEncoder().encode(clip(square(30, 50, (200, 60, 20)), square(33, 49, (200, 60, 20))))
    assert ClassicEncoder().settings == {"encoder": "classic", "version": 2}
    expected = [
        0.03179,
        0.02843,
        0.55415,
        0.0523,
        -0.01699,
        0.01784,
        0.16403,
        0.58643,
        0.55629,
        0.07526,
        0.00425,
        0.00736,
    ]
    np.testing.assert_allclose(made.clips[0, [0, 1, 13, 27, 28, 29, 31, 34, 61, 62, 90, 101]], expected, atol=1e-4)


def test_an_unknown_encoder_is_refused() -> None:
    with pytest.raises(ConfigError, match="'clasic'"):
        build_encoder("clasic")
