"""Model folders of strangers: what is damaged or dangerous in them is refused in one line when they are loaded."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from torch import Tensor

from mttsg_core.checkpoints import trial_run
from mttsg_core.checkpoints.checkpoint import CONFIG, WEIGHTS, WORDS, load_model, read_description
from mttsg_core.checkpoints.trial_run import useless_reason
from mttsg_core.config import NETWORKS, NetworkConfig, from_mapping
from mttsg_core.encoders import hf_files
from mttsg_core.errors import ConfigError, ModelError
from mttsg_core.modeling.mktn import build_network, build_network_shape
from tests.helpers.tiny import FINGERPRINT, SIZES, model, model_folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"
EXTRACTED = {"version": 2, "fps": 2.0, "reader": "auto"}
SCORE = "head.proposal_score.weight"
PARTS = tuple(name for name in NetworkConfig.SWITCHES if name != "offsets")
# Networks by name, and the parts that they are built without.
BUILT = pytest.mark.parametrize(
    ("name", "off"),
    [
        *(("mktn", off) for off in ((), *((part,) for part in NetworkConfig.SWITCHES), NetworkConfig.SWITCHES)),
        *((name, off) for name in NETWORKS if name != "mktn" for off in ((), PARTS)),
    ],
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return model_folder(tmp_path / "model")


@pytest.fixture
def limited_memory() -> Iterator[None]:
    """A config that asks for more than a gibibyte fails, and does not fill the memory of the computer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def change_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, **changes}))


def change_network(folder: Path, **changes: object) -> None:
    change_config(folder, network={**json.loads((folder / CONFIG).read_text())["network"], **changes})


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS)


def refusal(folder: Path) -> str:
    """The message with which a folder is refused: one line of usual length, which begins with the folder."""
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    message = str(caught.value)
    assert message.startswith(str(folder))
    assert "\n" not in message
    assert len(message) < len(str(folder)) + 300
    return message.removeprefix(f"{folder}: ")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", [SCORE, "video_encoder.standardise.scale", "memory.queue"])
def test_weights_that_are_not_finite(folder: Path, name: str, value: float) -> None:
    change_weights(folder, lambda weights: weights[name].view(-1)[-1].fill_(value))
    assert refusal(folder) == f"damaged model folder (the weights {name} are not finite)"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda w: w.update({SCORE: w[SCORE].int()}), f"the weights {SCORE} are I32 instead of floating-point numbers"),
        (
            lambda w: w.update({"memory.position": torch.zeros(())}),
            "the weights memory.position are F32 instead of whole numbers",
        ),
        (
            lambda w: w.update({SCORE: w[SCORE].T.contiguous()}),
            f"the weights {SCORE} have shape (8, 1) instead of (1, 8)",
        ),
        (lambda w: w.pop(SCORE), f"the weights {SCORE} are missing"),
        (lambda w: w.update(more=torch.zeros(2)), "the network has no weights 'more'"),
        (lambda w: w.update({"x\n" * 1000: torch.zeros(2)}), "the network has no weights 'x"),
        (lambda w: w.clear(), "are missing"),
    ],
)
def test_weights_of_another_network(folder: Path, change: Callable[[dict[str, Tensor]], object], reason: str) -> None:
    change_weights(folder, change)
    assert reason in refusal(folder)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_weights_of_other_precision_are_read_in_single_precision(folder: Path, dtype: torch.dtype) -> None:
    change_weights(folder, lambda weights: weights.update({SCORE: weights[SCORE].to(dtype)}))
    read = load_model(folder).network.state_dict()[SCORE]
    torch.testing.assert_close(read, model().network.state_dict()[SCORE], rtol=1e-2, atol=0)


def test_weights_that_single_precision_cannot_hold_are_not_finite(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.update({SCORE: weights[SCORE].double() * 1e300}))
    assert "not finite" in refusal(folder)


def test_a_loaded_network_does_not_depend_on_its_file(folder: Path) -> None:
    network = load_model(folder).network
    expected = {name: value.clone() for name, value in network.state_dict().items()}
    with (folder / WEIGHTS).open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(size // 2)
        file.write(b"\0" * (size - size // 2))
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())


def test_a_loaded_network_can_be_trained(folder: Path) -> None:
    network = load_model(folder).network
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in network.parameters())
    assert {tensor.device.type for tensor in network.state_dict().values()} == {"cpu"}


@pytest.mark.parametrize("regions", [0, 4])
@BUILT
def test_the_shape_of_a_network_is_that_of_the_network(name: str, off: tuple[str, ...], regions: int) -> None:
    inputs = {"clip_dim": 6, "word_dim": 5, "regions": regions, "region_dim": 3 if regions else 0}
    config = NetworkConfig(**{**SIZES, **inputs, **NetworkConfig.switched_off(off), "network": name})
    shape, network = build_network_shape(config).state_dict(), build_network(config).state_dict()
    assert list(shape) == list(network)
    for name, tensor in shape.items():
        assert tensor.is_meta, name
        assert (tensor.shape, tensor.dtype) == (network[name].shape, network[name].dtype), name


@pytest.mark.usefixtures("limited_memory")
@pytest.mark.parametrize(
    "changes",
    [
        {"clip_dim": 10**9},
        {"word_dim": 10**9},
        {"clip_dim": 2**62},
        {"width": 10**9},
        {"width": 10**18, "head_width": 10**18},
        {"head_width": 10**8},
        {"local_layers": 20_000},
        {"local_layers": 10**9},
        {"phrase_words": 10**9},
        {"activity_prototypes": 10**10},
        {"memory_queue": 10**10},
        {"regions": 10**9},
        {"region_dim": 10**9},
        {"kernel": 10**9 + 1},
        {"considered_proposals": 10**9},
        {"network": "proposal-map", "map_bins": 10**9},
        {"network": "proposal-map", "map_width": 10**9},
        {"network": "proposal-map", "map_layers": 10**9},
        {"network": "query-decoder", "moment_slots": 10**9},
        {"network": "query-decoder", "decoder_layers": 10**9},
        {"network": "no such network"},
        {"max_clips": 10**9},
        {"width": 10**400},
        {"nms_iou": 10**400},
    ],
)
def test_a_config_that_asks_for_a_gigantic_network_takes_no_memory(folder: Path, changes: dict[str, Any]) -> None:
    change_network(folder, **changes)
    assert refusal(folder).startswith("damaged model folder (")


@pytest.mark.parametrize(
    "content",
    [
        "",
        " \n",
        "[" * 200_000,
        '{"a":' * 200_000,
        "9" * 5000,
        '{"format": ' + "9" * 5000 + "}",
        "\ud800",
        " " * (5 << 20),
    ],
)
def test_a_config_that_is_not_an_object_of_usual_size(folder: Path, content: str) -> None:
    (folder / CONFIG).write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    assert str(caught.value).startswith(f"{folder / CONFIG}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(folder)) + 300


def test_an_empty_config_is_called_empty(folder: Path) -> None:
    (folder / CONFIG).write_text("")
    with pytest.raises(ModelError, match=r"config\.json: empty$"):
        load_model(folder)


NAN, INF = float("nan"), float("inf")
VALUES: list[Any] = [None, True, 0, -1, 10**400, 1e308, NAN, INF, "", "abc", "x" * 10_000, [], [1], {}]
ENTRIES = ("format", "features", "calibration", "text_encoder", "network", "training", "max_window_seconds")


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_of_the_wrong_type_is_refused_or_harmless(folder: Path, entry: str, value: object) -> None:
    change_config(folder, **{entry: value})
    if (entry, value) in [("calibration", {}), ("training", {}), ("max_window_seconds", None)]:
        load_model(folder)
    else:
        refusal(folder)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_no_setting_of_the_network_is_followed_into_a_traceback(folder: Path, value: object) -> None:
    network = json.loads((folder / CONFIG).read_text())["network"]
    for name in network:
        try:
            from_mapping(NetworkConfig, {**network, name: value})
        except ConfigError as error:
            messages = [str(error)]
        else:  # an allowed value, such as a switch that is on: the weights decide
            change_network(folder, **{**network, name: value})
            messages = _refusals(folder)
        assert all("\n" not in message and len(message) < 300 for message in messages), name


def _refusals(folder: Path) -> list[str]:
    try:
        load_model(folder)
    except ModelError as error:
        return [str(error).removeprefix(str(folder))]
    return []


@pytest.mark.parametrize(
    "calibration",
    [
        {"slope": 1e308},
        {"slope": float("nan")},
        {"slope": -1},
        {"shift": float("inf")},
        {"shift": 10**400},
        {"x": 1},
        [1],
        3,
    ],
)
def test_a_calibration_out_of_range(folder: Path, calibration: object) -> None:
    change_config(folder, calibration=calibration)
    assert refusal(folder).startswith("damaged model folder (")


@pytest.mark.parametrize("fps", [0, -2, NAN, INF, 1e9, 10**400, "abc", None, True, [2]])
def test_a_frame_rate_that_is_not_one(folder: Path, fps: object) -> None:
    change_config(folder, features={**FINGERPRINT, "fps": fps, "reader": "auto"})
    assert refusal(folder).startswith("damaged model folder ('features' in config.json: fps = ")


@pytest.mark.parametrize("features", [{}, {"encoder": 3}, {"encoder": ""}, {"encoder": "classic", "reader": 3}])
def test_features_that_do_not_say_how_they_are_made(folder: Path, features: object) -> None:
    change_config(folder, features=features)
    assert refusal(folder).startswith("damaged model folder ('features' in config.json: ")


@pytest.mark.parametrize(
    "name",
    [
        "evilorg/evilmodel",
        "evilorg/evilmodel@main",
        "evilorg/evilmodel@0123",
        "/any/folder",
        "../x",
        "nul\0",
        "x" * 10_000,
    ],
)
def test_a_model_cannot_name_an_encoder_whose_content_may_change(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_files(*arguments: object, **options: object) -> None:
        raise AssertionError("an encoder was looked for")

    monkeypatch.setattr(hf_files, "find_files", find_files)
    change_config(folder, text_encoder=name)
    assert "whose content is not fixed: a model's encoders are built in, NAME@COMMIT or KIND#HASH" in refusal(folder)
    change_config(folder, text_encoder="hashed", features={**EXTRACTED, "encoder": name})
    assert refusal(folder).startswith("names the encoder ")
    change_config(folder, text_encoder="clip", features={"encoder": name})
    assert refusal(folder).startswith("names the encoder ")
    change_config(folder, text_encoder="hashed", features={"encoder": name})  # of another program: it is never loaded
    assert load_model(folder).fingerprint == {"encoder": name}


@pytest.mark.parametrize("name", [f"someone/clip@{COMMIT}", f"clip@{COMMIT}", "clip#0123456789abcdef", "classic"])
def test_a_model_names_its_encoders_by_their_content(folder: Path, name: str) -> None:
    change_config(folder, features={**EXTRACTED, "encoder": name})
    assert read_description(folder)["features"]["encoder"] == name
    assert load_model(folder).fingerprint["encoder"] == name


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"words": np.frombuffer(b"a\nb", dtype=np.uint8)},
        {"words": np.frombuffer(b"a\nb", dtype=np.uint8), "vectors": np.zeros((1, 128), np.float16)},
        {"words": np.frombuffer(b"a", dtype=np.uint8), "vectors": np.zeros((1, 128), np.int64)},
        {"words": np.frombuffer(b"a", dtype=np.uint8), "vectors": np.zeros(128, np.float32)},
        {"words": np.frombuffer(b"a", dtype=np.uint8), "vectors": np.full((1, 128), np.nan, np.float32)},
        {"words": np.frombuffer(b"\xff", dtype=np.uint8), "vectors": np.ones((1, 128), np.float32)},
        {"words": np.frombuffer(b"a", dtype=np.uint8), "vectors": np.ones((1, 64), np.float32)},
        {"words": np.frombuffer(b"", dtype=np.uint8), "vectors": np.ones((1, 0), np.float32)},
    ],
)
def test_word_vectors_that_do_not_fit(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    save_arrays(arrays, folder / WORDS)
    change_config(folder, text_encoder="glove:words.txt")
    assert refusal(folder).startswith("damaged model folder (")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tensor: torch.full_like(tensor, 1e30), "the numbers in the network overflow"),
        (lambda tensor: tensor * 1e30, "the numbers in the network overflow"),
        (torch.zeros_like, "the answers of the network do not depend on the video"),
        (torch.ones_like, "the answers of the network do not depend on the video"),
        (lambda tensor: tensor * 1e-30, "the answers of the network do not depend on the video"),
    ],
)
@pytest.mark.parametrize("regions", [True, False])
def test_finite_weights_that_cannot_answer(
    tmp_path: Path, change: Callable[[Tensor], Tensor], reason: str, *, regions: bool
) -> None:
    folder = model_folder(tmp_path / "model", regions=regions)
    change_weights(folder, lambda w: w.update({name: change(t) for name, t in w.items() if t.is_floating_point()}))
    assert refusal(folder) == f"damaged model folder ({WEIGHTS}: {reason})"


def test_weights_that_ignore_one_of_the_inputs(folder: Path) -> None:
    change_weights(folder, lambda w: w["query_encoder.project.weight"].zero_())
    assert (
        refusal(folder) == f"damaged model folder ({WEIGHTS}: the answers of the network do not depend on the sentence)"
    )


@BUILT
def test_no_fresh_network_is_taken_for_a_useless_one(name: str, off: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    inputs = {"clip_dim": 6, "word_dim": 5, "regions": 4, "region_dim": 3}
    settings = {**SIZES, **inputs, **NetworkConfig.switched_off(off), "network": name}
    network = build_network(NetworkConfig(**settings)).eval()
    assert useless_reason(network) is None
    before = torch.get_rng_state()
    useless_reason(network)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_of_mad_sizes_is_given_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_run, "_MAX_REGION_NUMBERS", 11)
    monkeypatch.setattr(trial_run, "_noise", None)
    network = build_network(NetworkConfig(**{**SIZES, "clip_dim": 6, "word_dim": 5, "regions": 4, "region_dim": 3}))
    assert useless_reason(network.eval()) is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"stems": [], "center": [1], "spread": [1], "reach": 1}', "\x00"])
def test_a_damaged_record_of_the_training(folder: Path, content: str) -> None:
    (folder / "familiarity.json").write_text(content)
    with pytest.raises(ModelError, match=r"familiarity\.json|damaged"):
        load_model(folder)


def test_a_record_of_other_features(folder: Path) -> None:
    record = {"stems": [], "center": [1.0, 2.0], "spread": [1.0, 1.0], "reach": 1.0, "knows_words": False}
    (folder / "familiarity.json").write_text(json.dumps(record))
    with pytest.raises(ModelError, match=r"familiarity\.json has 2 numbers a clip, the network 6"):
        load_model(folder)
