"""The chain on CUDA: the same answers as on the CPU, training that falls, and a run that can be resumed."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest
import torch

from mttsg_core.checkpoints.checkpoint import load_model
from mttsg_core.config import TrainingConfig
from mttsg_core.encoders import build_text_encoder
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.modeling.grounding_head import decode
from mttsg_core.training.trainer import EpochDone, train
from tests.helpers.tiny import SIZES, batch, dataset, features, model, network

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA, and there is none here"),
]
QUERIES = ["person opens door", "the red circle moves left"]


def test_predictions_are_those_of_the_cpu() -> None:
    net, made = network(), batch(((200, 3), (1, 1), (30, 2)))
    with torch.inference_mode():
        expected, expected_scores = decode(net(made).head, 1)
        device = torch.device("cuda")
        bounds, scores = decode(net.to(device)(made.to(device)).head, 1)
    torch.testing.assert_close(bounds.cpu(), expected, atol=5e-3, rtol=1e-3)
    torch.testing.assert_close(scores.cpu(), expected_scores, atol=5e-3, rtol=1e-2)


def test_a_grounder_on_the_device() -> None:
    expected = Grounder(MKTNPredictor(model())).ground_features(features(60), QUERIES, top=1)
    found = Grounder(MKTNPredictor(model(), torch.device("cuda"))).ground_features(features(60), QUERIES, top=1)
    for one, other in zip(chain(*found), chain(*expected), strict=True):
        assert one == pytest.approx(other, abs=0.05)


def test_training_falls_and_resumes(tmp_path: Path) -> None:
    data = dataset(tmp_path / "features")
    config = TrainingConfig(epochs=20, batch_videos=3, lr=1e-2, average=0.5)
    options = {"network": SIZES, "config": config, "device": torch.device("cuda")}
    text = build_text_encoder()
    losses = []
    for event in train(data, None, tmp_path / "m", text, **options):  # type: ignore[arg-type]
        if isinstance(event, EpochDone):
            losses.append(event.losses["total"])
            if event.epoch == 10:
                break
    for event in train(data, None, tmp_path / "m", text, resume=True, **options):  # type: ignore[arg-type]
        if isinstance(event, EpochDone):
            losses.append(event.losses["total"])
    assert len(losses) == 20
    assert losses[-1] < 0.9 * losses[0]
    assert all(value.isfinite().all() for value in load_model(tmp_path / "m").network.state_dict().values())
