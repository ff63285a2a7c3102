"""Answers on a GPU are those of the CPU, and asking more sentences neither uploads nor waits more often."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from mttsg_core.config import NETWORKS
from mttsg_core.encoders.base import Array
from mttsg_core.evaluation.evaluator import evaluate
from mttsg_core.features.store import VideoFeatures
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.inference.zero_shot import ZeroShotPredictor
from tests.devices.emulated_cuda import CUDA, EmulatedGPU, emulated_cuda
from tests.helpers.tiny import CLIP_DIM, FINGERPRINT, dataset, features, model

SENTENCES = [f"the {colour} thing {activity}" for colour in ("red", "blue", "green") for activity in ("moves", "grows")]
# What grounding the sentences of one video may do. These numbers may only fall; docs/devices.md shows them.
ANSWER = {"launches": 653, "synchronisations": 2, "uploads": 8}


@pytest.fixture
def gpu() -> Iterator[EmulatedGPU]:
    with emulated_cuda() as device:
        yield device


def assert_same_moments(grounder: Grounder, reference: Grounder, video: VideoFeatures, top: int = 3) -> None:
    for mode in ("independent", "joint"):
        answers = grounder.ground_features(video, SENTENCES, top, mode=mode)
        expected = reference.ground_features(video, SENTENCES, top, mode=mode)
        assert [len(moments) for moments in answers] == [len(moments) for moments in expected]
        for moment, expected_moment in zip(chain(*answers), chain(*expected), strict=True):
            assert moment == pytest.approx(expected_moment, abs=1e-3)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_grounder_answers_as_on_the_cpu(gpu: EmulatedGPU, network: str) -> None:
    on_gpu, on_cpu = (
        Grounder(MKTNPredictor(model(network=network), CUDA)),
        Grounder(MKTNPredictor(model(network=network))),
    )
    assert_same_moments(on_gpu, on_cpu, features(30))
    assert_same_moments(on_gpu, on_cpu, features(1))


def test_clips_and_sentences_have_the_vectors_of_the_cpu(gpu: EmulatedGPU) -> None:
    on_gpu, on_cpu, video = MKTNPredictor(model(), CUDA), MKTNPredictor(model()), features(9)
    words = on_cpu.encode(SENTENCES[:2])
    calls: list[Callable[[MKTNPredictor], Array]] = [
        lambda predictor: predictor.clip_vectors(video),
        lambda predictor: predictor.sentence_vectors(words),
    ]
    for call in calls:
        np.testing.assert_allclose(call(on_gpu), call(on_cpu), atol=1e-5)


def test_an_evaluation_has_the_metrics_of_the_cpu(gpu: EmulatedGPU, tmp_path: Path) -> None:
    data = dataset(tmp_path / "features", 3)
    on_gpu, on_cpu = (evaluate(Grounder(MKTNPredictor(model(), device)), data) for device in (CUDA, None))
    assert on_gpu.metrics == pytest.approx(on_cpu.metrics, abs=0.01)


def counts_of_an_answer(gpu: EmulatedGPU, sentences: int) -> dict[str, int]:
    grounder = Grounder(MKTNPredictor(model(), CUDA))
    video, queries = features(30), [f"{sentence} {number}" for number in range(9) for sentence in SENTENCES]
    grounder.ground_features(video, queries[:sentences], 5)  # what is computed once for a number of clips
    gpu.reset()
    grounder.ground_features(video, queries[:sentences], 5)
    return gpu.totals()


def test_an_answer_stays_within_its_budget_whatever_the_number_of_sentences(gpu: EmulatedGPU) -> None:
    one, many = counts_of_an_answer(gpu, 2), counts_of_an_answer(gpu, 50)
    assert one == many
    over = {name: (many[name], limit) for name, limit in ANSWER.items() if many[name] > limit}
    assert not over, (over, gpu.synchronisations, gpu.uploads)
    assert many["launches"] > 0.9 * ANSWER["launches"], "the budget can be lowered"


def test_without_training_each_sentence_waits_once(gpu: EmulatedGPU) -> None:
    random = np.random.default_rng(0)
    vectors = {sentence: random.normal(size=CLIP_DIM) for sentence in SENTENCES}

    def embed(sentences: object) -> Array:
        assert isinstance(sentences, list)
        rows = [
            vectors.get(sentence, np.random.default_rng(len(sentence)).normal(size=CLIP_DIM)) for sentence in sentences
        ]
        return np.stack(rows).astype(np.float32)

    predictors = [ZeroShotPredictor(embed, FINGERPRINT, ("{}",), device) for device in (CUDA, None)]
    on_gpu, on_cpu = map(Grounder, predictors)
    video = features(30, regions=False)
    assert_same_moments(on_gpu, on_cpu, video)
    gpu.reset()
    on_gpu.ground_features(video, SENTENCES, 3)
    assert gpu.synchronisations.total() == len(SENTENCES)
