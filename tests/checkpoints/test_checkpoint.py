"""The model folder: written, read again, and refused in one line where it is not whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mttsg_core.checkpoints.checkpoint import CONFIG, FORMAT, WEIGHTS, WORDS, load_model, save_description, save_weights
from mttsg_core.encoders.word_vectors import WordVectors
from mttsg_core.errors import ModelError
from tests.helpers.tiny import MADE, model, model_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return model_folder(tmp_path / "model")


def test_a_model_survives_its_folder(folder: Path) -> None:
    made, read = model(), load_model(folder)
    assert read.network.config == made.network.config
    assert read.fingerprint == MADE
    assert read.text_encoder.id == "hashed"
    assert not read.network.training
    expected = made.network.state_dict()
    assert read.network.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in read.network.state_dict().items())


def test_config_json_says_every_choice(folder: Path) -> None:
    described = json.loads((folder / CONFIG).read_text())
    assert described["format"] == FORMAT
    assert described["features"] == MADE
    assert described["text_encoder"] == "hashed"
    assert {"width", "max_clips", "offsets", "clip_dim"} <= described["network"].keys()


def test_weights_are_plain_safetensors(folder: Path) -> None:
    assert load_file(folder / WEIGHTS).keys() == model().network.state_dict().keys()


def test_word_vectors_lie_in_the_folder_and_their_file_may_go(tmp_path: Path) -> None:
    vectors = tmp_path / "v.txt"
    vectors.write_text("door 1 2 3 4 5\nopens 6 7 8 9 1\n")
    made = model(text=f"glove:{vectors}")
    save_description(tmp_path / "m", made, {})
    save_weights(tmp_path / "m", made.network)
    vectors.unlink()
    read = load_model(tmp_path / "m")
    assert isinstance(read.text_encoder, WordVectors)
    np.testing.assert_allclose(read.text_encoder.encode(["opens x"])[0], made.text_encoder.encode(["opens x"])[0])


def test_folders_that_are_no_models(tmp_path: Path, folder: Path) -> None:
    for missing in (tmp_path / "absent", tmp_path):
        with pytest.raises(ModelError, match=f"{missing}: not a model folder"):
            load_model(missing)
    (folder / WEIGHTS).unlink()
    with pytest.raises(ModelError, match="no weights"):
        load_model(folder)


def _change(folder: Path, **changes: object) -> None:
    described = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**described, **changes}))


def test_a_later_format_is_refused(folder: Path) -> None:
    _change(folder, format=FORMAT + 1)
    with pytest.raises(ModelError, match=f"format {FORMAT + 1}"):
        load_model(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"network": {}},
        {"network": []},
        {"network": None},
        {"network": {"clip_dim": "x", "word_dim": 1}},
        {"network": {"clip_dim": 6, "word_dim": 128, "unheard_of": 1}},
        {"network": {"clip_dim": 6, "word_dim": 128}},
        {"text_encoder": "bert"},
        {"text_encoder": 3},
        {"features": None},
        {"features": []},
    ],
)
def test_a_description_that_does_not_fit_is_one_line(folder: Path, changes: dict[str, object]) -> None:
    _change(folder, **changes)
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    assert str(caught.value).startswith(f"{folder}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '"x"', "\x00"])
def test_a_description_that_is_no_object(folder: Path, content: str) -> None:
    (folder / CONFIG).write_text(content)
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


def test_damaged_files_are_one_line(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "words")
    (tmp_path / "words" / WORDS).write_bytes(b"damaged")
    _change(tmp_path / "words", text_encoder="glove:damaged.txt")
    data = (folder / WEIGHTS).read_bytes()
    for content in (b"", data[:100], data[:-4], b"\xff" * 50):
        (folder / WEIGHTS).write_bytes(content)
        with pytest.raises(ModelError, match="damaged"):
            load_model(folder)
    with pytest.raises(ModelError, match="damaged"):
        load_model(tmp_path / "words")
    _change(tmp_path / "words", text_encoder="hashed")  # needs no vectors, whatever lies there
    load_model(tmp_path / "words")
