"""The arithmetic of resizing and cropping."""

from __future__ import annotations

from typing import Any

import pytest

from mttsg_core.errors import ConfigError
from mttsg_core.video.resize import FrameTransform


@pytest.mark.parametrize(
    ("shape", "resized"), [((640, 360), (398, 224)), ((360, 640), (224, 398)), ((10, 10), (224, 224))]
)
def test_the_shorter_side_is_scaled_and_the_centre_kept(shape: tuple[int, int], resized: tuple[int, int]) -> None:
    transform = FrameTransform((224, 224), shorter_side=224)
    assert transform.resized_size(*shape) == resized
    rows, columns = transform.center_crop(*resized)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (224, 224)
    assert rows.start == (resized[1] - 224) // 2
    assert columns.start == (resized[0] - 224) // 2


def test_a_strip_does_not_take_gigabytes() -> None:
    assert FrameTransform((224, 224), shorter_side=224).resized_size(2, 100_000) == (224, 16 * 224)


@pytest.mark.parametrize("arguments", [((0, 4),), ((9, 8), 8), ((4, 4), None, "nearest")])
def test_invalid_transforms_are_rejected(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ConfigError):
        FrameTransform(*arguments)
