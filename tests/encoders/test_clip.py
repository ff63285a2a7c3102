"""Pretrained encoders return what the models themselves return, whatever else is in the batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from mttsg_core.encoders import (
    DEFAULT_PRETRAINED,
    Encoder,
    JointEncoder,
    build_encoder,
    build_joint_encoder,
    build_text_encoder,
)
from mttsg_core.encoders.clip import PretrainedVideoEncoder
from mttsg_core.encoders.text_tower import TextTower
from mttsg_core.errors import ConfigError
from tests.helpers.tiny_encoders import (
    PATCH,
    SIDE,
    TEXT_LENGTH,
    save_altclip,
    save_bert,
    save_clip,
    save_siglip,
    save_siglip2,
    save_xclip,
)

Frames = npt.NDArray[np.uint8]
SAVERS = {
    "clip": save_clip,
    "siglip": save_siglip,
    "siglip2": save_siglip2,
    "altclip": save_altclip,
    "xclip": save_xclip,
}
IMAGE_MODELS = ("clip", "siglip", "altclip")
PADS_FULLY = ("siglip", "siglip2")  # trained on sentences padded to full length
QUERIES = ["the red circle moves left", "a person", "the green square grows right", "the blue circle", "opens"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Save a model of each kind."""
    folder = tmp_path_factory.mktemp("models")
    return {name: save(folder / name) for name, save in SAVERS.items()}


def noise(encoder: Encoder, clips: int = 5) -> Frames:
    width, height = encoder.frame_transform.size
    shape = (clips, encoder.frames_per_clip, height, width, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def expected_pixels(folder: Path, frames: Frames) -> torch.Tensor:
    """Return the pixels (B, F, 3, H, W) that the model's own image processor makes of the frames."""
    processor = AutoImageProcessor.from_pretrained(folder)
    pixels = processor(list(frames.reshape(-1, *frames.shape[2:])), return_tensors="pt")["pixel_values"]
    return pixels.unflatten(0, frames.shape[:2])


@torch.inference_mode()
def expected_clips(folder: Path, frames: Frames) -> npt.NDArray[np.float32]:
    """Return what the model's own method gives for the frames, prepared by its own image processor."""
    if folder.name == "siglip2":
        inputs = AutoImageProcessor.from_pretrained(folder)(list(frames[:, 0]), return_tensors="pt")
        return AutoModel.from_pretrained(folder).get_image_features(**inputs).pooler_output.numpy()
    model, pixels = AutoModel.from_pretrained(folder), expected_pixels(folder, frames)
    if hasattr(model, "get_video_features"):
        return model.get_video_features(pixels).pooler_output.numpy()
    return model.get_image_features(pixels[:, 0]).pooler_output.numpy()


@torch.inference_mode()
def expected_sentences(folder: Path, queries: list[str], **padding: Any) -> npt.NDArray[np.float32]:
    tokens = AutoTokenizer.from_pretrained(folder)(queries, return_tensors="pt", **padding)
    return AutoModel.from_pretrained(folder).get_text_features(**tokens).pooler_output.numpy()


@pytest.mark.parametrize("name", SAVERS)
def test_clips_are_the_models_own_features(folders: dict[str, Path], name: str) -> None:
    encoder = build_encoder(str(folders[name]))
    frames = noise(encoder)
    expected = expected_clips(folders[name], frames)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(encoder.encode(frames).clips, expected, atol=1e-4)


@pytest.mark.parametrize("name", SAVERS)
def test_batches_and_order_do_not_change_a_clip(
    folders: dict[str, Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = build_encoder(str(folders[name]))
    frames = noise(encoder, 7)
    expected = encoder.encode(frames)
    assert expected.regions is not None
    monkeypatch.setattr(encoder, "clip_batch_size", 3)
    for order in (list(range(7)), [6, 2, 4, 0, 1, 5, 3], [3]):
        features = encoder.encode(frames[order])
        assert features.regions is not None
        np.testing.assert_allclose(features.clips, expected.clips[order], atol=1e-4)
        np.testing.assert_allclose(features.regions, expected.regions[order], atol=1e-4)


def test_a_video_model_takes_clips_of_several_frames(folders: dict[str, Path]) -> None:
    assert build_encoder(str(folders["xclip"])).frames_per_clip == 4
    assert build_encoder(str(folders["clip"])).frames_per_clip == 1


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_regions_are_patches_in_their_places(folders: dict[str, Path], name: str) -> None:
    """With 4 x 4 patches, each patch is a region."""
    encoder = build_encoder(str(folders[name]))
    frames = noise(encoder)
    with torch.inference_mode():
        pixels = expected_pixels(folders[name], frames)[:, 0]
        tokens = AutoModel.from_pretrained(folders[name]).get_image_features(pixels).last_hidden_state
    regions = encoder.encode(frames).regions
    assert regions is not None
    assert regions.shape == (5, (SIDE // PATCH) ** 2, 32)
    np.testing.assert_allclose(regions, tokens[:, -regions.shape[1] :].numpy(), atol=1e-4)


def test_smaller_patches_are_averaged(folders: dict[str, Path]) -> None:
    encoder = PretrainedVideoEncoder(build_pretrained(folders["clip"]).files, torch.device("cpu"))
    encoder._patch = 4  # 8 x 8 patches, and a class token
    tokens = torch.arange(65.0)[None, :, None]
    pooled = encoder._pool_patches(tokens)
    assert pooled is not None
    grid = np.arange(1, 65.0).reshape(4, 2, 4, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(pooled[0, :, 0].numpy(), grid.ravel())
    assert encoder._pool_patches(tokens[:, :50]) is None  # too few patches
    assert encoder._pool_patches(None) is None


def build_pretrained(folder: Path) -> PretrainedVideoEncoder:
    encoder = build_encoder(str(folder))
    assert isinstance(encoder, PretrainedVideoEncoder)
    return encoder


@pytest.mark.parametrize("name", SAVERS)
def test_sentences_are_the_models_own_features(folders: dict[str, Path], name: str) -> None:
    """Each is embedded alone: unpadded, or padded to full length where the model was trained that way."""
    full = {"padding": "max_length", "max_length": TEXT_LENGTH} if name in PADS_FULLY else {}
    expected = np.concatenate([expected_sentences(folders[name], [query], **full) for query in QUERIES])
    encoder = build_joint_encoder(str(folders[name]))
    assert isinstance(encoder, JointEncoder)
    np.testing.assert_allclose(encoder.embed_queries(QUERIES), expected, atol=1e-4)
    np.testing.assert_allclose(encoder.embed_queries(QUERIES[::-1])[::-1], expected, atol=1e-4)
    assert encoder.embed_queries(QUERIES).shape[1] == encoder.encode(noise(encoder, 1)).clips.shape[1]


@pytest.mark.parametrize("name", ["clip", "siglip", "altclip", "bert"])
def test_word_vectors_do_not_depend_on_other_sentences(folders: dict[str, Path], name: str, tmp_path: Path) -> None:
    folder = save_bert(tmp_path / name) if name == "bert" else folders[name]
    together = build_text_encoder(str(folder)).encode(QUERIES)
    lengths = [len(query.split()) + 2 for query in QUERIES]  # including the first and last special tokens
    assert [len(words) for words in together] == lengths
    alone = [build_text_encoder(str(folder)).encode([query])[0] for query in QUERIES]
    for words, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(words, expected, atol=1e-5)
    assert build_text_encoder(str(folder)).dim == together[0].shape[1]


def test_word_vectors_are_the_last_hidden_states(folders: dict[str, Path], tmp_path: Path) -> None:
    for folder in (folders["clip"], save_bert(tmp_path / "bert")):
        tokens = AutoTokenizer.from_pretrained(folder)(QUERIES[0], return_tensors="pt")
        model = AutoModel.from_pretrained(folder)
        with torch.inference_mode():
            expected = getattr(model, "text_model", model)(**tokens).last_hidden_state[0].numpy()
        [words] = build_text_encoder(str(folder)).encode([QUERIES[0]])
        np.testing.assert_allclose(words, expected, atol=1e-5)


def test_clip_names_the_text_tower_of_the_video_encoder(folders: dict[str, Path]) -> None:
    own = build_text_encoder("clip", encoder_id=str(build_encoder(str(folders["altclip"])).settings["encoder"]))
    assert own.id == "clip"
    assert own.tensors() == {}
    [words], [expected] = own.encode(["a person"]), build_text_encoder(str(folders["altclip"])).encode(["a person"])
    np.testing.assert_allclose(words, expected, atol=1e-6)
    with pytest.raises(ConfigError, match="'classic' has none"):
        build_text_encoder("clip")


def test_a_sentence_that_is_too_long_is_truncated(folders: dict[str, Path]) -> None:
    for name in ("clip", "siglip"):
        [words] = build_text_encoder(str(folders[name])).encode(["the " * 100])
        assert len(words) == TEXT_LENGTH


def test_sentences_are_encoded_once(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = build_text_encoder(str(folders["clip"]))
    first = encoder.encode(["the left", "the right", "the left"])
    monkeypatch.setattr(TextTower, "_forward", None)
    again = encoder.encode(["the right", "the left"])
    assert np.array_equal(again[1], first[0])
    assert np.array_equal(again[0], first[1])
    assert np.array_equal(first[0], first[2])


def run_out_of_memory(max_clips: int, error: Exception, forward: Callable[..., Any]) -> Callable[..., Any]:
    """Return a forward method with memory for at most `max_clips` clips."""

    def run(frames: torch.Tensor) -> Any:
        if len(frames) > max_clips:
            raise error
        return forward(frames)

    return run


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried ..."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: not enough memory: you tried ..."),
    MemoryError(),
]


class TestMemory:
    """Batches shrink until they fit into memory."""

    @pytest.fixture
    def encoder(self, folders: dict[str, Path]) -> PretrainedVideoEncoder:
        """A new encoder, because it keeps its batch size."""
        return PretrainedVideoEncoder(build_pretrained(folders["clip"]).files, torch.device("cpu"))

    @pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: str(error)[-20:] or "MemoryError")
    def test_a_batch_that_is_too_large_is_halved(
        self, encoder: PretrainedVideoEncoder, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        frames = noise(encoder, 13)
        expected = encoder.encode(frames)
        monkeypatch.setattr(encoder, "_forward", run_out_of_memory(2, error, encoder._forward))
        features = encoder.encode(frames)
        assert 1 <= encoder.clip_batch_size <= 2
        np.testing.assert_allclose(features.clips, expected.clips, atol=1e-5)

    def test_too_little_memory_for_one_clip(
        self, encoder: PretrainedVideoEncoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(encoder, "_forward", run_out_of_memory(0, OUT_OF_MEMORY[0], encoder._forward))
        with pytest.raises(MemoryError):
            encoder.encode(noise(encoder, 4))

    def test_other_errors_are_raised(self, encoder: PretrainedVideoEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(encoder, "_forward", run_out_of_memory(0, RuntimeError("shapes differ"), encoder._forward))
        with pytest.raises(RuntimeError, match="shapes differ"):
            encoder.encode(noise(encoder, 4))
        assert encoder.clip_batch_size > 1


def test_an_encoder_is_built_once(folders: dict[str, Path]) -> None:
    assert build_encoder(str(folders["clip"])) is build_encoder(str(folders["clip"]))


def test_a_default_that_was_not_downloaded_is_named_in_the_error() -> None:
    with pytest.raises(ConfigError, match=f"encoder '{DEFAULT_PRETRAINED}' .*: no such folder, never downloaded"):
        build_encoder(DEFAULT_PRETRAINED, offline=True)
    with pytest.raises(ConfigError, match="has no text tower"):
        build_joint_encoder("classic")
