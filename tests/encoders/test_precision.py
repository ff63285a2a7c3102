"""Half precision and still frames: features that count as the same, at less cost."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from mttsg_core import encoders
from mttsg_core.encoders import build_encoder, build_joint_encoder, precision
from mttsg_core.encoders.base import ClipFeatures
from mttsg_core.encoders.precision import half_type, stand_ins
from mttsg_core.encoders.vision import VisionEncoder
from mttsg_core.errors import ConfigError
from tests.helpers.tiny_encoders import SIDE, save_clip, save_vit

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_vit(tmp_path_factory.mktemp("models") / "vit")


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU with bfloat16 instructions; torch emulates them where there are none."""
    monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda: True)


def noise(clips: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (clips, 1, SIDE, SIDE, 3), dtype=np.uint8)


def encoder_of(folder: Path, name: str) -> VisionEncoder:
    encoders._build_pretrained.cache_clear()  # what a check has found out stays with an encoder
    encoder = build_encoder(str(folder), precision=name)
    assert isinstance(encoder, VisionEncoder)
    return encoder


def least_cosine(first: ClipFeatures, second: ClipFeatures) -> float:
    norms = np.linalg.norm(first.clips, axis=1) * np.linalg.norm(second.clips, axis=1)
    return float(((first.clips * second.clips).sum(axis=1) / norms).min())


def count_forwards(encoder: VisionEncoder, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which each forward pass appends its number of clips."""
    counts: list[int] = []
    run = encoder._tokens

    def counted(model: object, pixels: torch.Tensor) -> object:
        counts.append(len(pixels))
        return run(model, pixels)

    monkeypatch.setattr(encoder, "_tokens", counted)
    return counts


def test_auto_is_bfloat16_only_where_the_cpu_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for has_it, expected in ((True, torch.bfloat16), (False, None)):
        monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda has_it=has_it: has_it)
        assert half_type("auto", CPU) == expected
        assert half_type("float32", CPU) is None
        assert half_type("bfloat16", CPU) == torch.bfloat16
    monkeypatch.setattr(precision, "half_precision", lambda device: torch.float16)
    assert half_type("auto", torch.device("cuda")) == torch.float16
    assert half_type("auto", torch.device("mps")) is None


def test_releases_of_torch_that_do_not_tell_compute_in_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert half_type("auto", CPU) is None


def test_an_unknown_precision_is_refused_by_name(vit: Path) -> None:
    with pytest.raises(ConfigError, match=r"'int4'; available: auto, float32, bfloat16"):
        build_encoder(str(vit), precision="int4")


@pytest.mark.parametrize("name", ["auto", "bfloat16"])
@pytest.mark.usefixtures("native")
def test_half_precision_has_nearly_the_same_features_and_the_same_fingerprint(vit: Path, name: str) -> None:
    single, half = encoder_of(vit, "float32"), encoder_of(vit, name)
    exact, rounded = single.encode(noise(5)), half.encode(noise(5))
    assert least_cosine(exact, rounded) > 0.999
    assert np.abs(exact.clips - rounded.clips).max() > 0  # so it was computed in another precision
    assert rounded.clips.dtype == np.float32
    assert single.settings == half.settings


@pytest.mark.parametrize("wrong", [-1.0, float("nan")])
@pytest.mark.usefixtures("native")
def test_auto_goes_back_to_single_precision_where_half_changes_the_features(
    vit: Path, wrong: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    exact = encoder_of(vit, "float32").encode(noise(3))
    encoder = encoder_of(vit, "auto")
    tokens = encoder._tokens

    def overflowing(model: object, pixels: torch.Tensor) -> object:
        output = tokens(model, pixels)
        return output._replace(pooled=output.pooled * wrong) if torch.is_autocast_enabled("cpu") else output

    monkeypatch.setattr(encoder, "_tokens", overflowing)
    with caplog.at_level(logging.WARNING, "mttsg"):
        features = [encoder.encode(noise(3)) for _ in range(2)]
    for again in features:
        np.testing.assert_allclose(again.clips, exact.clips, atol=1e-6)
    assert len(caplog.messages) == 1  # once, not for every batch
    assert "so single precision is used" in caplog.text


def test_sentences_are_in_single_precision(tmp_path: Path) -> None:
    folder = str(save_clip(tmp_path / "clip"))
    encoders_of = [build_joint_encoder(folder, precision=name) for name in ("float32", "bfloat16")]
    single, half = (encoder.embed_queries(["a red circle"]) for encoder in encoders_of)
    np.testing.assert_array_equal(single, half)


def test_equal_frames_are_encoded_once_in_any_precision(vit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = noise(2)[[0, 0, 1, 1, 1]]
    encoder = encoder_of(vit, "float32")
    expected = encoder.encode(noise(2))
    counts = count_forwards(encoder, monkeypatch)
    features = encoder.encode(frames)
    assert counts == [2]
    assert features.regions is not None and expected.regions is not None
    np.testing.assert_allclose(features.clips, expected.clips[[0, 0, 1, 1, 1]], atol=1e-6)
    np.testing.assert_allclose(features.regions, expected.regions[[0, 0, 1, 1, 1]], atol=1e-6)


def test_frames_that_hardly_differ_share_features_unless_in_single_precision(
    vit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = np.repeat(np.clip(noise(1), 0, 200), 4, axis=0)
    frames[1:] += np.arange(1, 4, dtype=np.uint8).reshape(3, 1, 1, 1, 1)  # less and less like the first
    for name, expected in (("float32", [4]), ("bfloat16", [1])):
        encoder = encoder_of(vit, name)
        counts = count_forwards(encoder, monkeypatch)
        assert encoder.encode(frames).clips.shape == (4, 32)
        assert counts == expected


def test_a_small_change_anywhere_is_noticed() -> None:
    frames = np.full((2, 1, 30, 27, 3), 100, dtype=np.uint8)  # not divisible into blocks
    frames[1, 0, 24:, 24:, 1] = 110
    assert stand_ins(frames, exact=False).tolist() == [0, 1]
    frames[1, 0, 24:, 24:, 1] = 105
    assert stand_ins(frames, exact=False).tolist() == [0, 0]


def test_slow_changes_do_not_add_up() -> None:
    frames = np.zeros((9, 1, 16, 16, 3), dtype=np.uint8)
    frames += (3 * np.arange(9, dtype=np.uint8)).reshape(-1, 1, 1, 1, 1)
    assert stand_ins(frames, exact=False).tolist() == [0, 0, 0, 3, 3, 3, 6, 6, 6]


def test_every_frame_of_a_clip_counts() -> None:
    frames = np.zeros((2, 4, 16, 16, 3), dtype=np.uint8)
    frames[1, 3] = 50
    assert stand_ins(frames, exact=False).tolist() == [0, 1]
