"""The model folder: written, read again, converted from format 5, and refused in one line where it is not whole."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mttsg_core.checkpoints.checkpoint import CONFIG, WEIGHTS, WORDS, load_model, save_description, save_weights
from mttsg_core.checkpoints.migration import FORMAT, OLD_FORMAT, present_weight_names, upgrade_description, upgrade_name
from mttsg_core.checkpoints.summary import summarise
from mttsg_core.config import LossConfig, NetworkConfig, TrainingConfig, to_mapping
from mttsg_core.encoders.word_vectors import WordVectors
from mttsg_core.errors import ModelError
from mttsg_core.features.store import EXTERNAL
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor
from tests.helpers.tiny import FINGERPRINT, features, format_5_name, model, model_folder

# Present name of a setting -> its name in format 5, by table.
FORMAT_5_SETTINGS = {
    "network": {"proposal_width": "span_width"},
    "training": {"temporal_crop": "cut", "temporal_concat": "join", "remove_moment": "erase"},
    "loss": {"proposal": "span", "foreground": "inside"},
}
# What config.json of format 5 held of the network and the losses; all other settings are newer.
FORMAT_5_NETWORK = {
    *("clip_dim", "word_dim", "region_dim", "regions", "width", "region_width", "region_heads", "local_layers"),
    *("kernel", "max_clips", "head_width", "proposal_width", "dropout", "input_dropout", "word_input_dropout"),
    *("word_dropout", "contrast_width", "memory_queue", "memory_top", "co_query_dropout", "prototype_width"),
    *("object_prototypes", "phrase_prototypes", "activity_prototypes", "pseudo_regions", *NetworkConfig.SWITCHES),
}
QUERIES = ["person opens door", "the red circle moves left", "?!"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return model_folder(tmp_path / "model")


def change_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, **changes}))


def test_a_model_is_the_same_after_writing_and_reading(folder: Path) -> None:
    written, read = model(), load_model(folder)
    assert read.network.config == written.network.config
    assert read.fingerprint == FINGERPRINT
    assert read.text_encoder.id == "hashed"
    assert not read.network.training
    expected = written.network.state_dict()
    assert read.network.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in read.network.state_dict().items())


def test_config_json_holds_every_choice(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text())
    assert config["format"] == FORMAT == 6
    assert config["features"] == FINGERPRINT
    assert config["text_encoder"] == "hashed"
    assert config["network"] == to_mapping(model().network.config)


def test_weights_are_plain_safetensors(folder: Path) -> None:
    assert load_file(folder / WEIGHTS).keys() == model().network.state_dict().keys()


def test_word_vectors_are_in_the_folder_and_their_file_is_not_needed(tmp_path: Path) -> None:
    vectors = tmp_path / "v.txt"
    vectors.write_text("door 1 2 3 4 5\nopens 6 7 8 9 1\n")
    written = model(text=f"glove:{vectors}")
    save_description(tmp_path / "m", written, {})
    save_weights(tmp_path / "m", written.network)
    vectors.unlink()
    read = load_model(tmp_path / "m")
    assert isinstance(read.text_encoder, WordVectors)
    np.testing.assert_allclose(read.text_encoder.encode(["opens x"])[0], written.text_encoder.encode(["opens x"])[0])


def test_folders_that_are_not_models_are_refused(tmp_path: Path, folder: Path) -> None:
    for missing in (tmp_path / "absent", tmp_path):
        with pytest.raises(ModelError, match=f"{missing}: not a model folder"):
            load_model(missing)
    (folder / WEIGHTS).unlink()
    with pytest.raises(ModelError, match="no weights"):
        load_model(folder)


@pytest.mark.parametrize("version", [4, FORMAT + 1, None, "6", [6]])
def test_other_formats_are_refused_in_one_line_that_names_those_that_are_read(folder: Path, version: object) -> None:
    change_config(folder, format=version)
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    expected = f"{folder}: format {version!r}, but this version reads formats {OLD_FORMAT} and {FORMAT}"
    assert str(caught.value) == expected


@pytest.mark.parametrize("version", [OLD_FORMAT, FORMAT])
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
        {"training": None},
        {"training": []},
    ],
)
def test_an_invalid_description_is_refused_in_one_line(folder: Path, changes: dict[str, object], version: int) -> None:
    change_config(folder, format=version, **changes)
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    assert str(caught.value).startswith(f"{folder}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '"x"', "\x00"])
def test_a_description_that_is_not_an_object_is_refused_in_one_line(folder: Path, content: str) -> None:
    (folder / CONFIG).write_text(content)
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


def test_damaged_files_are_refused_as_damaged(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "words")
    (tmp_path / "words" / WORDS).write_bytes(b"damaged")
    change_config(tmp_path / "words", text_encoder="glove:damaged.txt")
    data = (folder / WEIGHTS).read_bytes()
    for content in (b"", data[:100], data[:-4], b"\xff" * 50):
        (folder / WEIGHTS).write_bytes(content)
        with pytest.raises(ModelError, match="damaged") as caught:
            load_model(folder)
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="damaged"):
        load_model(tmp_path / "words")
    change_config(tmp_path / "words", text_encoder="hashed")  # needs no vectors
    load_model(tmp_path / "words")


def rename(settings: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in settings.items()}


def downgrade(folder: Path, training: dict[str, Any] | None = None) -> None:
    """Turn a model folder of the present format into one of format 5, by renaming."""
    config = json.loads((folder / CONFIG).read_text())
    network = {name: value for name, value in config["network"].items() if name in FORMAT_5_NETWORK}
    config["format"] = OLD_FORMAT
    config["network"] = rename(network, FORMAT_5_SETTINGS["network"])
    config["longest"] = config.pop("max_window_seconds")
    if training is not None:
        loss = rename(training["loss"], FORMAT_5_SETTINGS["loss"])
        config["training"] = {**rename(training, FORMAT_5_SETTINGS["training"]), "loss": loss}
    (folder / CONFIG).write_text(json.dumps(config))
    weights = {format_5_name(name): value for name, value in load_file(folder / WEIGHTS).items()}
    weights |= {f"negatives.threshold.{name}": torch.zeros(()) for name in ("phi", "moments", "seen")}
    save_file(weights, folder / WEIGHTS)


@pytest.mark.parametrize("settings", [{}, {"regions": False}, {"contrast": False, "mining": False}, {"offsets": False}])
def test_a_folder_of_format_5_gives_the_same_predictions(tmp_path: Path, settings: dict[str, Any]) -> None:
    folder = model_folder(tmp_path / "model", **settings)
    change_config(folder, max_window_seconds=12.5)
    video = features(60, regions=settings.get("regions", True))
    expected_model = load_model(folder)
    expected = Grounder(MKTNPredictor(expected_model)).ground_features(video, QUERIES)
    downgrade(folder)
    config = json.loads((folder / CONFIG).read_text())
    assert "span_width" in config["network"] and "proposal_width" not in config["network"]
    assert not load_file(folder / WEIGHTS).keys() & {"head.proposal_score.weight"}
    read = load_model(folder)
    assert read.network.config == replace(expected_model.network.config, curve_width=0)  # which it did not have
    assert read.max_window_seconds == 12.5
    assert Grounder(MKTNPredictor(read)).ground_features(video, QUERIES) == expected
    state = expected_model.network.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in read.network.state_dict().items())


def test_a_folder_of_format_5_keeps_its_memory(tmp_path: Path) -> None:
    written = model()
    assert written.network.memory is not None
    written.network.memory.enqueue(torch.randn(3, 16), torch.tensor([4, 5, 6]))
    save_description(tmp_path, written, {})
    save_weights(tmp_path, written.network)
    downgrade(tmp_path)
    memory = load_model(tmp_path).network.memory
    assert memory is not None
    for name, value in written.network.memory.state_dict().items():
        assert torch.equal(memory.state_dict()[name], value), name
    assert int(memory.position) == 3


def test_every_weight_has_one_name_in_format_5() -> None:
    for regions in (True, False):
        names = list(model(regions=regions).network.state_dict())
        old = [format_5_name(name) for name in names]
        assert len(set(old)) == len(old)
        assert [upgrade_name(name) for name in old] == names
    old_words = ("look.", "mining.", "span", "negatives.", "place", "origins", "seen", "strength", "deviates", "rest.")
    assert not [name for name in model().network.state_dict() if any(word in name for word in old_words)]


def test_the_threshold_of_format_5_is_dropped_with_the_weights() -> None:
    names = present_weight_names(["negatives.threshold.phi", "objects.objects.value.bias"])
    assert names == {"object_phrase.objects.value.bias": "objects.objects.value.bias"}


def test_the_settings_of_a_training_of_format_5_are_renamed(tmp_path: Path) -> None:
    training = {**to_mapping(TrainingConfig(temporal_crop=0.2)), "loss": to_mapping(LossConfig(proposal=3.0))}
    folder = model_folder(tmp_path / "model")
    downgrade(folder, training)
    old = json.loads((folder / CONFIG).read_text())
    assert old["training"]["cut"] == 0.2 and old["training"]["loss"]["span"] == 3.0
    upgraded = upgrade_description(old)
    assert upgraded["training"] == training
    assert upgraded["format"] == FORMAT
    assert "longest" not in upgraded


def test_features_made_outside_have_their_present_name(folder: Path) -> None:
    downgrade(folder)
    change_config(folder, features={"encoder": "elsewhere", "clip_dim": 6})
    assert load_model(folder).fingerprint == {"encoder": EXTERNAL, "clip_dim": 6}


def test_a_folder_of_format_5_may_lack_the_longest_video(folder: Path) -> None:
    downgrade(folder)
    config = json.loads((folder / CONFIG).read_text())
    del config["longest"]
    (folder / CONFIG).write_text(json.dumps(config))
    assert load_model(folder).max_window_seconds is None


def test_a_model_of_a_version_without_other_networks_is_the_papers(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text())
    for name in ("network", "map_bins", "map_width", "moment_slots"):
        del config["network"][name]
    (folder / CONFIG).write_text(json.dumps(config))
    assert load_model(folder).network.config.network == "mktn"
    assert summarise(folder).network == "mktn"
    assert "network" not in summarise(folder).details
    assert "network span" in summarise(model_folder(folder.parent / "other", network="span")).details
