"""A space that clips and sentences share is found out, trained with, evaluated without training, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mttsg_core import EvaluateOptions, FeatureOptions, TrainingConfig, TrainOptions, evaluate, train
from mttsg_core.checkpoints.checkpoint import load_model
from mttsg_core.data.feature_lookup import require_fingerprint, resolve_splits
from mttsg_core.data.folder import DataFolder
from mttsg_core.encoders import SentenceEncoder, build_text_encoder
from mttsg_core.encoders.joint_text import JointTextEncoder
from mttsg_core.encoders.word_vectors import HashedWords
from mttsg_core.errors import ConfigError
from mttsg_core.features.store import FeatureCache
from mttsg_core.training.events import EpochDone
from mttsg_core.workflows.shared_space import moment_preference, with_shared_space
from mttsg_core.workflows.train import iter_train
from tests.conftest import Mttsg
from tests.helpers.tiny_encoders import WORDS, save_bert

NETWORK = {"width": 16, "head_width": 8, "local_layers": 1, "prototype_width": 8}
SENTENCES = [f"{first} {second} {third}" for first in WORDS[2:5] for second in WORDS[5:7] for third in WORDS[7:11]]
CLIPS = 20
CPU = EvaluateOptions(device="cpu", offline=True, zero_shot=True)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny sentence encoder that pools the mean of its tokens."""
    folder = save_bert(tmp_path_factory.mktemp("encoder") / "sentences")
    modules = [{"path": "", "type": "sentence_transformers.models.Transformer"}]
    modules.append({"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"})
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    return folder


def embed(encoder: Path, sentences: list[str]) -> np.ndarray:
    built = build_text_encoder(str(encoder))
    assert isinstance(built, SentenceEncoder)
    return built.embed(sentences)


def write_data(folder: Path, vectors: np.ndarray) -> Path:
    """Write videos of 20 seconds, each with a scene of one of the vectors (N, D) between those of another."""
    draw = np.random.default_rng(0)
    vectors = vectors - vectors.mean(axis=0)  # sentences of random weights are much alike
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    (folder / "features").mkdir(parents=True)
    rows: dict[str, list[str]] = {"train": [], "val": []}
    for number, sentence in enumerate(SENTENCES * 2):
        start = int(draw.integers(0, 12))
        clips = np.tile(vectors[(number + 5) % len(SENTENCES)], (CLIPS, 1))
        clips[start : start + 6] = vectors[number % len(SENTENCES)]
        clips += 0.02 * draw.normal(size=clips.shape)
        arrays = {"clips": clips.astype(np.float32)}
        save_file(arrays, folder / "features" / f"{number}.safetensors")
        row = {"video": str(number), "query": sentence, "start": start, "end": start + 6, "duration": CLIPS}
        rows["train" if number < 40 else "val"].append(json.dumps(row) + "\n")
    for name, lines in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def data(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("joint") / "data", embed(encoder, SENTENCES))


@pytest.fixture(scope="module")
def turned(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same data in another space of the same width."""
    vectors = embed(encoder, SENTENCES)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(vectors.shape[1],) * 2))[0]
    return write_data(tmp_path_factory.mktemp("turned") / "data", vectors @ turn)


def preference(data: Path, encoder: Path, split: str = "train") -> float:
    folder = DataFolder.open(data, None)
    fingerprint = require_fingerprint(folder, [split])
    sources = resolve_splits(folder, [split], FeatureCache(data / "cache"), fingerprint)
    built = build_text_encoder(str(encoder))
    assert isinstance(built, SentenceEncoder)
    return moment_preference(built, sources.dataset(split))


def test_sentences_prefer_their_moments_in_a_shared_space_only(data: Path, turned: Path, encoder: Path) -> None:
    assert preference(data, encoder) > 5
    assert abs(preference(turned, encoder)) < 5
    assert preference(data, encoder, "val") == 0, "8 pairs are too few to tell"


@pytest.mark.parametrize(("joint", "expected"), [(None, True), (False, False)])
def test_a_shared_space_is_found_out_unless_it_is_ruled_out(
    data: Path, encoder: Path, tmp_path: Path, *, joint: bool | None, expected: bool
) -> None:
    features = FeatureOptions(text_encoder=str(encoder), joint=joint)
    quick = TrainingConfig(epochs=1, batch_videos=8)
    train(
        data, tmp_path / "model", config=quick, network=NETWORK, features=features, options=TrainOptions(device="cpu")
    )
    model = load_model(tmp_path / "model")
    assert model.network.config.joint is expected
    assert isinstance(model.text_encoder, JointTextEncoder) is expected
    assert (model.network.shared_space is not None) is expected
    report = evaluate(data, tmp_path / "model", split="val", options=EvaluateOptions(device="cpu"))
    assert report.main.metrics["R@1,IoU=0.5"] >= (80 if expected else 0)
    wrong = FeatureOptions(joint=not expected)
    with pytest.raises(ConfigError, match="a shared space"):
        evaluate(data, tmp_path / "model", split="val", features=wrong, options=EvaluateOptions(device="cpu"))


@pytest.mark.parametrize("joint", [None, False])
def test_a_stopped_run_keeps_its_space(data: Path, encoder: Path, tmp_path: Path, *, joint: bool | None) -> None:
    """Neither the text encoder nor the space has to be named again."""
    features = FeatureOptions(text_encoder=str(encoder), joint=joint)
    quick = TrainingConfig(epochs=2, batch_videos=8)
    for name in ("unbroken", "stopped"):
        for event in iter_train(
            data, tmp_path / name, config=quick, network=NETWORK, features=features, options=TrainOptions(device="cpu")
        ):
            if name == "stopped" and isinstance(event, EpochDone):
                break
    other, again = FeatureOptions(joint=joint is False), TrainOptions(device="cpu", resume=True)
    with pytest.raises(ConfigError, match="the run was started with"):
        train(data, tmp_path / "stopped", features=other, options=again)
    train(data, tmp_path / "stopped", options=again)
    unbroken, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("unbroken", "stopped"))
    assert unbroken.keys() == resumed.keys()
    assert all(np.array_equal(unbroken[name], resumed[name]) for name in unbroken)


def test_another_space_of_the_same_width_is_not_taken_for_shared(turned: Path, encoder: Path) -> None:
    folder = DataFolder.open(turned, None)
    sources = resolve_splits(folder, ["train"], FeatureCache(turned / "cache"), require_fingerprint(folder, ["train"]))
    built = build_text_encoder(str(encoder))
    assert with_shared_space(built, sources.dataset("train"), None) is built
    with pytest.raises(ConfigError, match="embeds words, but not whole sentences"):
        with_shared_space(HashedWords(), sources.dataset("train"), True)


def test_the_answer_without_training_is_evaluated(data: Path, encoder: Path, mttsg: Mttsg) -> None:
    report = evaluate(data, split="val", features=FeatureOptions(text_encoder=str(encoder)), options=CPU)
    assert report.main.metrics["R@1,IoU=0.5"] >= 60, "the other scene shares words with the sentence"
    ran = mttsg("ground", "3", SENTENCES[3], "--features", data / "features", "--zero-shot", "--text-encoder", encoder)
    assert (ran.code, ran.errors) == (0, [])
    row = json.loads((data / "train.jsonl").read_text().splitlines()[3])
    start, end = map(float, ran.out.splitlines()[1].split("\t")[3:5])
    assert (start, end) == pytest.approx((row["start"], row["end"]), abs=1)


def test_without_training_a_text_encoder_is_needed_and_no_model(data: Path, encoder: Path, mttsg: Mttsg) -> None:
    with pytest.raises(ConfigError, match="give it with --text-encoder"):
        evaluate(data, split="val", options=CPU)
    for command in (
        ("evaluate", data, "--split", "val"),
        ("ground", "3", "a red circle", "--features", data / "features"),
    ):
        ran = mttsg(*command, "--zero-shot", "--model", "last", "--text-encoder", encoder)
        assert (ran.code, ran.out) == (2, "")
        assert ran.errors == ["error: --model last and --zero-shot: give one of them"]
