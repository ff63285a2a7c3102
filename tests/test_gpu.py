"""The chain on CUDA: the same answers as on the CPU, a training whose loss falls, and a run that resumes."""

from __future__ import annotations

import warnings
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from mttsg_core.checkpoints.checkpoint import load_model
from mttsg_core.config import NETWORKS, LossConfig, TrainingConfig
from mttsg_core.encoders import build_encoder, build_text_encoder
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.modeling.layers import BiMinGRU
from mttsg_core.training.losses import MKTNCriterion
from mttsg_core.training.state_file import read_state
from mttsg_core.training.trainer import EpochDone, RunSettings, train
from tests.devices.chains import pinned, run_on, step_batch, take_steps
from tests.helpers.tiny import SIZES, batch, dataset, features, model, network, targets
from tests.helpers.tiny_encoders import save_clip

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
QUERIES = ["person opens door", "the red circle moves left"]
CUDA = torch.device("cuda")


@pytest.mark.parametrize("name", NETWORKS)
def test_predictions_on_cuda_are_those_of_the_cpu(name: str) -> None:
    net, inputs = network(network=name), batch(((200, 3), (1, 1), (30, 2)))
    with torch.inference_mode():
        expected, expected_scores = net(inputs).head.answers(1, net.config)
        spans, scores = net.to(CUDA)(inputs.to(CUDA)).head.answers(1, net.config)
    torch.testing.assert_close(spans.cpu(), expected, atol=5e-3, rtol=1e-3)
    torch.testing.assert_close(scores.cpu(), expected_scores, atol=5e-3, rtol=1e-2)


def test_a_grounder_on_cuda_answers_as_on_the_cpu() -> None:
    expected = Grounder(MKTNPredictor(model())).ground_features(features(60), QUERIES, top=1)
    answers = Grounder(MKTNPredictor(model(), CUDA)).ground_features(features(60), QUERIES, top=1)
    for moment, expected_moment in zip(chain(*answers), chain(*expected), strict=True):
        assert moment == pytest.approx(expected_moment, abs=0.05)


def test_the_losses_of_an_output_on_cuda_are_deterministic_and_stay_there() -> None:
    net = network().train().to(CUDA)
    criterion = MKTNCriterion(LossConfig(), net.config).to(CUDA).eval()
    output = net(batch().to(CUDA))
    first, second = (criterion(output, targets().to(CUDA)) for _ in range(2))
    assert first.total.device.type == "cuda"
    torch.testing.assert_close(first.total, second.total)
    first.total.backward()
    gradients = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_training_on_cuda_lowers_the_loss_and_resumes(tmp_path: Path) -> None:
    data = dataset(tmp_path / "features")
    config = TrainingConfig(epochs=20, batch_videos=3, lr=1e-2, average=0.5)
    settings = RunSettings(config, network=SIZES)
    text_encoder = build_text_encoder()
    losses = []
    for event in train(data, None, tmp_path / "m", text_encoder, settings, device=CUDA):
        if isinstance(event, EpochDone):
            losses.append(event.losses["total"])
            if event.epoch == 10:
                break
    for event in train(
        data, None, tmp_path / "m", text_encoder, settings, device=CUDA, resume=read_state(tmp_path / "m")
    ):
        if isinstance(event, EpochDone):
            losses.append(event.losses["total"])
    assert len(losses) == 20
    assert losses[-1] < 0.9 * losses[0]
    assert all(value.isfinite().all() for value in load_model(tmp_path / "m").network.state_dict().values())


def test_a_recurrence_on_cuda_is_that_of_the_cpu() -> None:
    torch.manual_seed(0)
    layer, mask = BiMinGRU(8, 16), torch.arange(100) < torch.tensor([[100], [1], [37]])
    x = torch.randn(3, 100, 8, requires_grad=True)
    expected = layer(x, mask)
    [gradient] = torch.autograd.grad(expected.square().sum(), x)
    states = layer.to(CUDA)(x.to(CUDA), mask.to(CUDA))
    torch.testing.assert_close(states.cpu(), expected, atol=1e-5, rtol=1e-4)
    [moved] = torch.autograd.grad(states.square().sum(), x)
    torch.testing.assert_close(moved, gradient, atol=1e-4, rtol=1e-3)


def test_a_step_waits_once() -> None:
    run, ready = run_on(CUDA, loss=LossConfig(mining=0.3)), pinned(step_batch())
    take_steps(run, ready)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            take_steps(run, ready, 1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [str(warning.message) for warning in caught if "synchronizing CUDA operation" in str(warning.message)]
    assert len(waits) <= 1, waits


def test_a_deterministic_training_on_cuda_gives_the_same_weights_again(tmp_path: Path) -> None:
    data, weights = dataset(tmp_path / "features"), []
    config = TrainingConfig(epochs=2, batch_videos=3, deterministic=True)
    for name in ("first", "second"):
        settings = RunSettings(config, LossConfig(mining=0.3), SIZES)
        for _ in train(data, None, tmp_path / name, build_text_encoder(), settings, device=CUDA):
            pass
        weights.append(load_model(tmp_path / name).network.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_a_pretrained_encoder_on_cuda_has_the_features_of_the_cpu(tmp_path: Path) -> None:
    folder = str(save_clip(tmp_path / "model"))
    on_gpu, on_cpu = (build_encoder(folder, device=device, precision="float32") for device in ("cuda", "cpu"))
    width, height = on_cpu.frame_transform.size
    frames = np.random.default_rng(0).integers(0, 256, (5, 1, height, width, 3), dtype=np.uint8)
    np.testing.assert_allclose(on_gpu.encode(frames).clips, on_cpu.encode(frames).clips, atol=1e-3)
    texts = [build_text_encoder(folder, device=device).encode(QUERIES) for device in ("cuda", "cpu")]
    for words, expected in zip(*texts, strict=True):
        np.testing.assert_allclose(words, expected, atol=1e-3)
