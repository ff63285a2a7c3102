"""What shapes the inputs of a model is its own: `--fps`, `--encoder` and `--text-encoder` of another are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mttsg_core.checkpoints.registry import remember_run
from mttsg_core.features.store import EXTERNAL, read_features
from tests.cli.test_ground import QUERY
from tests.conftest import Mttsg
from tests.helpers.tiny import CLIP_DIM, model_folder
from tests.helpers.tiny_encoders import save_bert, save_clip

OWN = {"--fps": "1", "--encoder": "classic", "--text-encoder": "hashed"}  # of the model of the tests


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretrained model with an image and a text tower, of random weights."""
    return save_clip(tmp_path_factory.mktemp("encoder"))


@pytest.mark.parametrize("option", list(OWN))
def test_the_models_own_value_changes_nothing(ground: Mttsg, clip: Path, option: str) -> None:
    ran = ground(clip, QUERY, option, OWN[option])
    assert ran.code == 0, ran.err
    assert ran.out == ground(clip, QUERY).out


@pytest.mark.parametrize(
    ("option", "value", "own"),
    [
        ("--fps", "2", "1.0 features per second"),
        ("--text-encoder", "clip", "'hashed'"),
        ("--text-encoder", "glove:absent.txt", "'hashed'"),
        ("--text-encoder", "somebody/some-text-model", "'hashed'"),
    ],
)
def test_another_value_is_refused_and_both_are_named(
    ground: Mttsg, mttsg: Mttsg, clip: Path, corpus: Path, trained: Path, option: str, value: str, own: str
) -> None:
    for ran in (
        ground(clip, QUERY, option, value),
        mttsg("evaluate", corpus, "--model", trained, option, value),
    ):
        assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
        assert f"{option} {value}: " in ran.errors[0]
        assert str(trained) in ran.errors[0]
        assert own in ran.errors[0]


def test_a_config_file_gives_them_too(ground: Mttsg, clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('fps = 1.0\ntext-encoder = "hashed"\nseed = 3\njson = true\n')
    ran = ground(clip, QUERY, "--config", path)
    assert ran.code == 0, ran.err
    assert len(json.loads(ran.out)) == 1
    path.write_text("fps = 4.0\n")
    assert ground(clip, QUERY, "--config", path).code == 2


def test_evaluate_takes_the_models_own_values(
    mttsg: Mttsg, corpus: Path, trained: Path, cache: Path, tmp_path: Path
) -> None:
    own = [word for option in OWN.items() for word in option]
    ran = mttsg("evaluate", corpus, "--model", trained, "--cache", cache, "--workers", "1", *own, "--json")
    assert ran.code == 0, ran.err


def test_word_vectors_are_known_by_the_name_of_their_file(mttsg: Mttsg, clip: Path, tmp_path: Path) -> None:
    words = tmp_path / "glove.txt"
    words.write_text("red 1 0 0 0\ncircle 0 1 0 0\n")
    model = model_folder(tmp_path / "m", text=f"glove:{words}")
    words.unlink()  # the model has them
    for given, said in ((f"glove:{words}", "features"), ("glove:other.txt", "'glove:glove.txt'"), ("hashed", "glove")):
        ran = mttsg("ground", clip, QUERY, "--model", model, "--text-encoder", given)
        assert (ran.code, len(ran.errors)) == (2, 1)
        assert said in ran.errors[0]  # of the first: that the encoder of the tests makes no features
    assert "--text-encoder" in ran.errors[0]


def test_features_made_elsewhere_have_no_rate(mttsg: Mttsg, clip: Path, tmp_path: Path) -> None:
    made = {"encoder": EXTERNAL, "clip_dim": CLIP_DIM, "regions": 0, "region_dim": 0}
    model = model_folder(tmp_path / "m", regions=False, fingerprint=made)
    for option, value in (("--fps", "2"), ("--encoder", "classic")):
        ran = mttsg("ground", clip, QUERY, "--model", model, "--features", tmp_path, option, value)
        assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
        assert f"{option} {value}: " in ran.errors[0]
        assert "external" in ran.errors[0]


def test_the_built_in_encoder_means_a_trained_model(
    mttsg: Mttsg, clip: Path, trained: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    shutil.copytree(trained, tmp_path / "mttsg" / "runs" / "0001")
    remember_run(tmp_path / "mttsg" / "runs" / "0001", [clip.parent])
    ran = mttsg("ground", clip, QUERY, "--encoder", "classic", "--cache", cache)
    assert ran.code == 0, ran.err
    assert ran.err.startswith("model: run 1 (data, 19 videos, ")


class TestJson:
    """`ground --json`."""

    def test_it_is_short_for_the_format(self, ground: Mttsg, clip: Path) -> None:
        ran = ground(clip, QUERY, "--json")
        assert (ran.code, ran.out) == (0, ground(clip, QUERY, "--format", "json").out)
        assert ground(clip, QUERY, "--json", "--format", "json").out == ran.out

    def test_it_counts_more_than_the_name_of_the_file(self, ground: Mttsg, clip: Path, tmp_path: Path) -> None:
        assert ground(clip, QUERY, "--json", "--out", tmp_path / "m.csv").code == 0
        assert len(json.loads((tmp_path / "m.csv").read_text())) == 1

    def test_another_format_beside_it_is_refused(self, ground: Mttsg, clip: Path) -> None:
        ran = ground(clip, QUERY, "--json", "--format", "csv")
        assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)


def test_a_seed_changes_nothing(ground: Mttsg, clip: Path) -> None:
    assert ground(clip, QUERY, "--seed", "7").out == ground(clip, QUERY).out


def test_a_pretrained_text_encoder_is_known_by_its_folder(mttsg: Mttsg, clip: Path, tmp_path: Path) -> None:
    own, other = save_bert(tmp_path / "bert"), save_clip(tmp_path / "clip")
    model = model_folder(tmp_path / "m", text=str(own))
    for given, said in ((own, "features"), (other, f"--text-encoder {other}: {model} has 'bert#")):
        ran = mttsg("ground", clip, QUERY, "--model", model, "--text-encoder", given)
        assert (ran.code, len(ran.errors)) == (2, 1)
        assert said in ran.errors[0]


class TestWithoutTraining:
    """An encoder answers: the rate is free, the text encoder is the encoder's own."""

    def test_the_rate_is_that_of_the_clips(self, mttsg: Mttsg, clip: Path, encoder: Path, tmp_path: Path) -> None:
        command = ("ground", clip, "the red circle", "--encoder", encoder, "--workers", "1")
        for rate in (1, 4):
            assert mttsg(*command, "--fps", rate, "--cache", tmp_path / str(rate)).code == 0
        counts = [len(read_features(next((tmp_path / str(rate)).rglob("*.safetensors"))).clips) for rate in (1, 4)]
        assert counts[1] == pytest.approx(4 * counts[0], abs=2)

    def test_the_text_encoder_is_its_own(self, mttsg: Mttsg, clip: Path, encoder: Path, tmp_path: Path) -> None:
        command = ("ground", clip, "the red circle", "--encoder", encoder, "--cache", tmp_path, "--workers", "1")
        assert mttsg(*command, "--text-encoder", "clip").code == 0
        ran = mttsg(*command, "--text-encoder", "hashed")
        assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
        assert "--text-encoder hashed: an answer without training has 'clip'" in ran.errors[0]
