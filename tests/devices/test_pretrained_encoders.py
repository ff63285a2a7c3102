"""Pretrained encoders on a GPU: the features of the CPU, read back once a batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mttsg_core.encoders import build_encoder, build_text_encoder
from mttsg_core.encoders.hf_loading import load_weights
from tests.devices.emulated_cuda import EmulatedGPU, emulated_cuda
from tests.helpers.tiny_encoders import save_bert, save_clip, save_dinov2, save_siglip

QUERIES = ["the red circle moves left", "a person", "the green square grows right", "opens", "the blue circle"]


@pytest.fixture
def gpu() -> Iterator[EmulatedGPU]:
    load_weights.cache_clear()
    with emulated_cuda() as device:
        yield device
    load_weights.cache_clear()  # it holds tensors of the device


@pytest.mark.parametrize("save", [save_clip, save_siglip, save_dinov2])
def test_clips_and_regions_are_those_of_the_cpu(gpu: EmulatedGPU, tmp_path: Path, save: object) -> None:
    assert callable(save)
    folder = str(save(tmp_path / "model"))
    on_gpu, on_cpu = (build_encoder(folder, device=device, precision="float32") for device in ("cuda:0", "cpu"))
    width, height = on_cpu.frame_transform.size
    frames = np.random.default_rng(0).integers(0, 256, (5, on_cpu.frames_per_clip, height, width, 3), dtype=np.uint8)
    expected = on_cpu.encode(frames)
    on_gpu.encode(frames)  # loads the weights
    gpu.reset()
    encoded = on_gpu.encode(frames)
    np.testing.assert_allclose(encoded.clips, expected.clips, atol=1e-4)
    assert encoded.regions is not None and expected.regions is not None
    np.testing.assert_allclose(encoded.regions, expected.regions, atol=1e-4)
    assert gpu.synchronisations.total() == 2, "clips and regions"
    assert gpu.uploads.total() <= 4


@pytest.mark.parametrize("save", [save_clip, save_siglip, save_bert])
def test_words_are_those_of_the_cpu_and_are_read_back_at_once(gpu: EmulatedGPU, tmp_path: Path, save: object) -> None:
    assert callable(save)
    folder = str(save(tmp_path / "model"))
    on_gpu, on_cpu = (build_text_encoder(folder, device=device) for device in ("cuda:0", "cpu"))
    assert on_gpu.dim == on_cpu.dim
    gpu.reset()
    encoded = on_gpu.encode(QUERIES)
    for words, expected in zip(encoded, on_cpu.encode(QUERIES), strict=True):
        np.testing.assert_allclose(words, expected, atol=1e-4)
    assert gpu.synchronisations.total() <= 4, "words and sentences; CLIP's own text tower waits twice"
    assert gpu.uploads.total() <= 2
