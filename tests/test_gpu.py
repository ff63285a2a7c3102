"""The chain on CUDA: the same answers as on the CPU, a training whose loss falls, and a run that resumes."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest
import torch

from mttsg_core.checkpoints.checkpoint import load_model
from mttsg_core.config import LossConfig, TrainingConfig
from mttsg_core.encoders import build_text_encoder
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.modeling.grounding_head import decode
from mttsg_core.training.losses import MKTNCriterion
from mttsg_core.training.trainer import EpochDone, RunSettings, train
from tests.helpers.tiny import SIZES, batch, dataset, features, model, network, targets

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
QUERIES = ["person opens door", "the red circle moves left"]
CUDA = torch.device("cuda")


def test_predictions_on_cuda_are_those_of_the_cpu() -> None:
    net, inputs = network(), batch(((200, 3), (1, 1), (30, 2)))
    with torch.inference_mode():
        expected, expected_scores = decode(net(inputs).head, 1, net.config)
        spans, scores = decode(net.to(CUDA)(inputs.to(CUDA)).head, 1, net.config)
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
    for event in train(data, None, tmp_path / "m", text_encoder, settings, device=CUDA, resume=True):
        if isinstance(event, EpochDone):
            losses.append(event.losses["total"])
    assert len(losses) == 20
    assert losses[-1] < 0.9 * losses[0]
    assert all(value.isfinite().all() for value in load_model(tmp_path / "m").network.state_dict().values())
