"""Frames are resized, cropped and normalised as by the models' own image processors."""

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
from mttsg_core.encoders.image_preprocessing import ImagePreprocessing
from mttsg_core.errors import ConfigError
from mttsg_core.video.sampling import sample
from tests.helpers.tiny_encoders import CROPPING, SIDE, STRETCHING, save_clip

VIDEOMAE: dict[str, Any] = {"feature_extractor_type": "VideoMAEFeatureExtractor", "size": {"shortest_edge": SIDE}}
VIDEOMAE |= {"crop_size": {"height": SIDE, "width": SIDE}, "resample": 2, "do_center_crop": True}


def load_both(folder: Path, settings: dict[str, Any]) -> tuple[ImagePreprocessing, Any]:
    """Return the preprocessing of a model with these settings, and its own image processor."""
    save_clip(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return ImagePreprocessing.from_files(PretrainedFiles("x", folder)), AutoImageProcessor.from_pretrained(folder)


def smooth_picture(width: int, height: int) -> npt.NDArray[np.uint8]:
    """Return a picture (height, width, 3) of smooth colours."""
    rows, columns = np.mgrid[0:height, 0:width] * (2 * np.pi / 40)
    waves = [np.sin(columns), np.cos(rows), np.sin(rows + columns)]
    return (127 + 90 * np.stack(waves, axis=-1)).astype(np.uint8)


def write_lossless(path: Path, picture: npt.NDArray[np.uint8]) -> Path:
    """Write a lossless video of one picture."""
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
def test_pixels_of_a_video_match_the_processor(
    tmp_path: Path, settings: dict[str, Any], shape: tuple[int, int]
) -> None:
    preprocessing, processor = load_both(tmp_path / "model", settings)
    picture = smooth_picture(*shape)
    (chunk,) = sample(write_lossless(tmp_path / "v.mkv", picture), [0.1], preprocessing.frame_transform)
    pixels = preprocessing.normalise(torch.from_numpy(chunk.frames))[0].numpy()
    expected = np.asarray(processor(picture, return_tensors="np")["pixel_values"]).reshape(pixels.shape)
    levels = np.abs(pixels - expected) / np.array(preprocessing.scale)[:, None, None]
    assert levels.mean() < 1.5  # of 255; two implementations of the same filter differ a little
    assert levels.max() < 16


@pytest.mark.parametrize("settings", [CROPPING, STRETCHING], ids=["crop", "stretch"])
def test_pictures_of_the_right_size_match_the_processor_exactly(tmp_path: Path, settings: dict[str, Any]) -> None:
    preprocessing, processor = load_both(
        tmp_path, {**settings, "image_mean": [0.1, 0.5, 0.9], "image_std": [0.2, 0.3, 0.4]}
    )
    picture = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    expected = np.asarray(processor(picture, return_tensors="np")["pixel_values"])[0]
    np.testing.assert_allclose(preprocessing.normalise(torch.from_numpy(picture)).numpy(), expected, atol=1e-5)


def test_different_preprocessing_has_different_settings(tmp_path: Path) -> None:
    variants: list[dict[str, Any]] = [
        CROPPING,
        STRETCHING,
        {**CROPPING, "resample": 2},
        {**CROPPING, "image_mean": [0.4, 0.4, 0.4]},
        {**CROPPING, "image_std": [0.4, 0.4, 0.4]},
        {**CROPPING, "size": {"shortest_edge": SIDE + 4}},
        {**CROPPING, "do_normalize": False},
    ]
    loaded = [load_both(tmp_path / str(number), variant)[0] for number, variant in enumerate(variants)]
    assert len({tuple(preprocessing.settings.items()) for preprocessing in loaded}) == len(variants)


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
def test_unsupported_processors_are_rejected_in_one_line(tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_both(tmp_path, settings)
    assert "\n" not in str(caught.value)
