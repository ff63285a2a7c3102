"""The built-in video encoder captures colour, shape and motion, each in its place."""

from __future__ import annotations

import colorsys

import numpy as np
import numpy.typing as npt
import pytest

from mttsg_core.encoders import build_encoder
from mttsg_core.encoders.classic import ClassicEncoder
from mttsg_core.errors import ConfigError
from mttsg_core.video.resize import FrameTransform

SIZE, GRID, CELL = 112, 7, 16
HUES = slice(0, 12)
FLOW_X, FLOW_Y = 27, 28  # after 12 hues, 3 grey levels and 12 orientations
Frames = npt.NDArray[np.uint8]


def square(x: int, y: int, colour: tuple[int, int, int] = (255, 255, 255), side: int = 20) -> Frames:
    """Return a picture of a square on dark grey."""
    picture = np.full((SIZE, SIZE, 3), 40, dtype=np.uint8)
    picture[y : y + side, x : x + side] = colour
    return picture


def clip(*pictures: Frames) -> Frames:
    """Return a batch of one clip, (1, 2, H, W, 3)."""
    return np.stack(pictures)[None]


def noise(clips: int, seed: int = 0) -> Frames:
    return np.random.default_rng(seed).integers(0, 256, (clips, 2, SIZE, SIZE, 3), dtype=np.uint8)


def test_shapes_and_precision() -> None:
    encoder = build_encoder("classic")
    assert encoder.frame_transform == FrameTransform((SIZE, SIZE))
    assert encoder.frames_per_clip == 2
    features = encoder.encode(noise(3))
    assert features.regions is not None
    assert features.clips.shape == (3, 102)
    assert features.regions.shape == (3, 49, 34)
    assert features.clips.dtype == features.regions.dtype == np.float32
    assert np.isfinite(features.clips).all()
    assert np.isfinite(features.regions).all()


@pytest.mark.parametrize("value", [0, 128, 255])
def test_uniform_pictures_have_finite_features(value: int) -> None:
    features = ClassicEncoder().encode(np.full((1, 2, SIZE, SIZE, 3), value, dtype=np.uint8))
    assert np.isfinite(features.clips).all()
    assert features.regions is not None
    assert np.abs(features.regions[..., [FLOW_X, FLOW_Y]]).max() < 1e-6


def test_a_clip_does_not_depend_on_its_batch() -> None:
    frames = noise(70)
    together = ClassicEncoder().encode(frames)
    assert together.regions is not None
    for index in (0, 1, 63, 64, 69):
        alone = ClassicEncoder().encode(frames[index : index + 1])
        assert alone.regions is not None
        np.testing.assert_array_equal(alone.regions[0], together.regions[index])
        np.testing.assert_allclose(alone.clips[0], together.clips[index], atol=1e-6)


def test_a_clip_vector_is_the_mean_maximum_and_spread_of_its_regions() -> None:
    features = ClassicEncoder().encode(noise(2))
    assert features.regions is not None
    expected = [features.regions.mean(1), features.regions.max(1), features.regions.std(1)]
    np.testing.assert_allclose(features.clips, np.concatenate(expected, -1), atol=1e-6)


@pytest.mark.parametrize(
    ("dx", "dy", "channel", "sign"), [(2, 0, FLOW_X, 1), (-2, 0, FLOW_X, -1), (0, 2, FLOW_Y, 1), (0, -2, FLOW_Y, -1)]
)
def test_motion_has_the_right_direction_and_place(dx: int, dy: int, channel: int, sign: int) -> None:
    features = ClassicEncoder().encode(clip(square(42, 42), square(42 + dx, 42 + dy)))
    assert features.regions is not None
    flow = features.regions[0, :, channel]
    strongest = int(np.abs(flow).argmax())
    assert np.sign(flow[strongest]) == sign
    assert abs(flow[strongest]) > 0.1
    row, column = divmod(strongest, GRID)
    assert 2 <= row <= 4
    assert 2 <= column <= 4
    corners = [0, GRID - 1, GRID * (GRID - 1), GRID * GRID - 1]
    assert np.abs(flow[corners]).max() < 1e-3
    across = features.regions[0, :, FLOW_X + FLOW_Y - channel]
    assert abs(across.sum()) < abs(flow.sum()) / 5


def test_a_static_picture_has_no_flow() -> None:
    features = ClassicEncoder().encode(clip(square(40, 40), square(40, 40)))
    assert features.regions is not None
    assert np.abs(features.regions[0][:, [FLOW_X, FLOW_Y]]).max() < 1e-6


def test_colours_are_distinguished_and_localised() -> None:
    colours = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "yellow": (230, 220, 30)}
    histograms = {}
    for name, colour in colours.items():
        features = ClassicEncoder().encode(clip(square(48, 48, colour, 16), square(48, 48, colour, 16)))
        assert features.regions is not None
        histograms[name] = features.regions[0, 3 * GRID + 3, HUES]
        assert features.regions[0, 0, HUES].max() < 1e-3  # the corner is grey
    hues = {name: int(values.argmax()) for name, values in histograms.items()}
    assert len(set(hues.values())) == 4
    assert hues["red"] in (0, 11)


def region_means(image: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Average over each region: (H, W) to (R,)."""
    return image.reshape(GRID, CELL, GRID, CELL).mean(axis=(1, 3)).ravel()


def linear_shares(position: float, bins: int) -> npt.NDArray[np.float64]:
    """Share a value between the two nearest bins of a circle; `position` is in bins."""
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
        histogram[row, column] = chroma * linear_shares(hue * 12, 12)
    features = ClassicEncoder().encode(clip(picture, picture))
    assert features.regions is not None
    expected = np.sqrt([region_means(histogram[..., hue]) for hue in range(12)]).T
    np.testing.assert_allclose(features.regions[0, :, HUES], expected, atol=1e-5)


@pytest.mark.parametrize("degrees", [0, 5, 15, 37, 52, 90, 98, 150, 178])
def test_a_gradient_is_shared_between_the_two_nearest_orientations(degrees: int) -> None:
    angle = np.deg2rad(degrees)
    row, column = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    plane = 128 + 8 * (np.cos(angle) * column + np.sin(angle) * row)  # the gradient has this angle
    picture = np.repeat(plane.round().clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    features = ClassicEncoder().encode(clip(picture, picture))
    assert features.regions is not None
    shares = features.regions[0, 24, 15:27] ** 2  # of the central region
    expected = 8 / 255 * linear_shares(degrees / 15, 12)
    np.testing.assert_allclose(shares, expected, atol=0.05 * 8 / 255)  # grey levels are whole numbers


def test_vertical_and_horizontal_stripes_differ_in_orientation() -> None:
    stripes = np.zeros((SIZE, SIZE, 3), dtype=np.uint8)
    stripes[:, (np.arange(SIZE) // 4) % 2 == 0] = 255
    vertical = ClassicEncoder().encode(clip(stripes, stripes)).regions
    horizontal = ClassicEncoder().encode(clip(stripes.transpose(1, 0, 2), stripes.transpose(1, 0, 2))).regions
    assert vertical is not None
    assert horizontal is not None
    bins = slice(15, 27)
    assert vertical[0, 24, bins].argmax() != horizontal[0, 24, bins].argmax()


def test_values_do_not_change_without_a_new_version() -> None:
    """After a deliberate change, increase the version in `ClassicEncoder.settings`: caches hold the old values."""
    features = ClassicEncoder().encode(clip(square(30, 50, (200, 60, 20)), square(33, 49, (200, 60, 20))))
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
    np.testing.assert_allclose(features.clips[0, [0, 1, 13, 27, 28, 29, 31, 34, 61, 62, 90, 101]], expected, atol=1e-4)


def test_an_unknown_encoder_is_rejected() -> None:
    with pytest.raises(ConfigError, match="'clasic'"):
        build_encoder("clasic")
