"""Pretrained models of images or videos without a text tower."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel

from mttsg_core.encoders import JointEncoder, build_encoder, build_joint_encoder, build_text_encoder
from mttsg_core.encoders.base import VISION_ONLY
from mttsg_core.errors import ConfigError
from tests.helpers.tiny_encoders import PATCH, SIDE, save_clip, save_dinov2, save_resnet, save_videomae, save_vit

PATCHES = (SIDE // PATCH) ** 2


def frames(clips: int, per_clip: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (clips, per_clip, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.mark.parametrize("save", [save_vit, save_dinov2])
def test_an_image_model_gives_its_class_token_and_its_patches(save: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = save(tmp_path / "model")
    encoder = build_encoder(str(folder))
    features = encoder.encode(frames(3, 1))
    assert features.clips.shape == (3, 32)
    assert features.regions is not None and features.regions.shape == (3, PATCHES, 32)
    pixels = encoder._preprocessing.normalise(torch.from_numpy(frames(3, 1)))[:, 0]  # type: ignore[attr-defined]
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(folder).eval()(pixel_values=pixels).last_hidden_state
    np.testing.assert_allclose(features.clips, hidden[:, 0].numpy(), atol=1e-5)
    np.testing.assert_allclose(features.regions, hidden[:, 1:].numpy(), atol=1e-5)  # a grid of 4 x 4 is not averaged


def test_a_video_model_gives_the_mean_of_its_tokens(tmp_path: Path) -> None:
    folder = save_videomae(tmp_path / "model")
    encoder = build_encoder(str(folder))
    assert encoder.frames_per_clip == 4
    features = encoder.encode(frames(2, 4))
    pixels = encoder._preprocessing.normalise(torch.from_numpy(frames(2, 4)))  # type: ignore[attr-defined]
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(folder).eval()(pixel_values=pixels).last_hidden_state
    assert hidden.shape[1] == 2 * PATCHES
    np.testing.assert_allclose(features.clips, hidden.mean(dim=1).numpy(), atol=1e-5)
    assert features.regions is not None
    expected = hidden.unflatten(1, (2, PATCHES)).mean(dim=1)  # over time
    np.testing.assert_allclose(features.regions, expected.numpy(), atol=1e-5)


def test_a_convolutional_network_has_no_regions(tmp_path: Path) -> None:
    features = build_encoder(str(save_resnet(tmp_path / "model"))).encode(frames(2, 1))
    assert features.clips.shape == (2, 16)
    assert features.regions is None


def test_it_has_no_text_tower(tmp_path: Path) -> None:
    folder = str(save_vit(tmp_path / "model"))
    encoder = build_encoder(folder)
    assert not isinstance(encoder, JointEncoder)
    assert encoder.settings[VISION_ONLY] == 1
    assert VISION_ONLY not in build_encoder(str(save_clip(tmp_path / "clip"))).settings
    with pytest.raises(ConfigError, match="has no text tower: it answers only after mttsg train"):
        build_joint_encoder(folder)
    with pytest.raises(ConfigError, match="has none"):
        build_text_encoder("clip", encoder_id=folder)
