"""Pictures are scaled, cut and normalised as the models' own image processors do it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import AutoImageProcessor

from mttsg_core.encoders.hf_files import PretrainedFiles
from mttsg_core.encoders.image_preprocessing import PicturePreparation
from mttsg_core.errors import ConfigError
from mttsg_core.video import Framing, sample
from tests.helpers.tiny_encoders import CROPPING, SIDE, STRETCHING, save_clip

VIDEOMAE = {"feature_extractor_type": "VideoMAEFeatureExtractor", "size": {"shortest_edge": SIDE}}
VIDEOMAE |= {"crop_size": {"height": SIDE, "width": SIDE}, "resample": 2, "do_center_crop": True}


def prepare(folder: Path, settings: dict[str, Any]) -> tuple[PicturePreparation, Any]:
    """Ours and the processor itself."""
    save_clip(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return PicturePreparation.of(PretrainedFiles("x", folder)), AutoImageProcessor.from_pretrained(folder)


def smooth(width: int, height: int) -> npt.NDArray[np.uint8]:
    """A picture (height, width, 3) of soft colours, so that no codec harms it."""
    rows, columns = np.mgrid[0:height, 0:width] * (2 * np.pi / 40)
    waves = [np.sin(columns), np.cos(rows), np.sin(rows + columns)]
    return (127 + 90 * np.stack(waves, axis=-1)).astype(np.uint8)


def film(path: Path, picture: npt.NDArray[np.uint8]) -> Path:
    """A video of that picture, without loss."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=5)
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "bgr0"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="bgr0")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("shape", [(96, 64), (64, 96), (40, 40), (33, 200), (20, 17)], ids=str)
@pytest.mark.parametrize("settings", [CROPPING, STRETCHING, VIDEOMAE], ids=["crop", "stretch", "videomae"])
def test_a_video_gives_the_pixels_that_the_processor_gives(
    tmp_path: Path, settings: dict[str, Any], shape: tuple[int, int]
) -> None:
    ours, processor = prepare(tmp_path / "model", settings)
    picture = smooth(*shape)
    (chunk,) = sample(film(tmp_path / "v.mkv", picture), [0.1], ours.framing)
    pixels = ours.normalise(torch.from_numpy(chunk.frames))[0].numpy()
    theirs = np.asarray(processor(picture, return_tensors="np")["pixel_values"]).reshape(pixels.shape)
    levels = np.abs(pixels - theirs) / np.array(ours.scale)[:, None, None]
    assert levels.mean() < 1.5  # of 255: two implementations of one filter
    assert levels.max() < 16


@pytest.mark.parametrize("settings", [CROPPING, STRETCHING], ids=["crop", "stretch"])
def test_pictures_of_the_right_size_are_exactly_those_of_the_processor(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    ours, processor = prepare(tmp_path, {**settings, "image_mean": [0.1, 0.5, 0.9], "image_std": [0.2, 0.3, 0.4]})
    picture = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    theirs = np.asarray(processor(picture, return_tensors="np")["pixel_values"])[0]
    np.testing.assert_allclose(ours.normalise(torch.from_numpy(picture)).numpy(), theirs, atol=1e-5)


def test_the_settings_tell_preparations_apart(tmp_path: Path) -> None:
    variants: list[dict[str, Any]] = [
        CROPPING,
        STRETCHING,
        {**CROPPING, "resample": 2},
        {**CROPPING, "image_mean": [0.4, 0.4, 0.4]},
        {**CROPPING, "image_std": [0.4, 0.4, 0.4]},
        {**CROPPING, "size": {"shortest_edge": SIDE + 4}},
        {**CROPPING, "do_normalize": False},
    ]
    made = [prepare(tmp_path / str(number), variant)[0] for number, variant in enumerate(variants)]
    assert len({tuple(one.settings.items()) for one in made}) == len(variants)


@pytest.mark.parametrize(
    "settings",
    [
        {**CROPPING, "do_resize": False},
        {**CROPPING, "resample": 0},
        {**CROPPING, "size": {"height": 40, "width": 40}},
        {**CROPPING, "crop_size": {"height": 99, "width": 99}},
        {**STRETCHING, "size": {"longest_edge": 40}},
        {**STRETCHING, "image_mean": [0.5, 0.5]},
        {**STRETCHING, "image_processor_type": "EfficientNetImageProcessor", "rescale_offset": True},
        {"image_processor_type": "NoSuchImageProcessor"},
    ],
    ids=lambda settings: str(sorted(settings.items()))[:40],
)
def test_what_is_not_known_is_refused_in_one_line(tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        prepare(tmp_path, settings)
    assert "\n" not in str(caught.value)


class TestFraming:
    """The arithmetic of scaling and cutting."""

    @pytest.mark.parametrize(
        ("shape", "scaled"), [((640, 360), (398, 224)), ((360, 640), (224, 398)), ((10, 10), (224, 224))]
    )
    def test_the_shorter_side(self, shape: tuple[int, int], scaled: tuple[int, int]) -> None:
        framing = Framing((224, 224), 224)
        assert framing.scaled(*shape) == scaled
        rows, columns = framing.middle(*scaled)
        assert (rows.stop - rows.start, columns.stop - columns.start) == (224, 224)
        assert columns.start == (scaled[0] - 224) // 2

    def test_a_strip_does_not_ask_for_gigabytes(self) -> None:
        assert Framing((224, 224), 224).scaled(2, 100_000) == (224, 16 * 224)

    @pytest.mark.parametrize("arguments", [((0, 4),), ((9, 8), 8), ((4, 4), None, "nearest")])
    def test_what_cannot_be_made_is_refused(self, arguments: tuple[Any, ...]) -> None:
        with pytest.raises(ConfigError):
            Framing(*arguments)
