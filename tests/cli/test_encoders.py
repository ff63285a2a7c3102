"""Pretrained encoders through the commands: extract, train, evaluate and ground, offline."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mttsg_core.encoders import build_encoder
from mttsg_core.encoders.hf_files import find_files
from mttsg_core.features.extraction import (
    Extracted,
    ExtractionFailed,
    ExtractionJob,
    ExtractionSettings,
    encode_video,
    extract,
)
from mttsg_core.features.frame_stream import read_clips
from mttsg_core.features.store import read_features
from mttsg_core.inference.grounder import Grounder
from tests.conftest import Mttsg
from tests.helpers.tiny_encoders import save_bert, save_clip, save_siglip, save_vit, save_xclip
from tests.helpers.video_files import write_video

SAVERS = {"clip": save_clip, "siglip": save_siglip, "xclip": save_xclip, "bert": save_bert, "vit": save_vit}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {name: save(folder / name) for name, save in SAVERS.items()}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short videos, and a text that is none."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "videos").mkdir()
    rows = []
    for name, count in (("a", 60), ("b", 90), ("c", 75)):
        write_video(folder / "videos" / f"{name}.mp4", range(count))
        rows += [
            {"video": name, "query": "the red circle moves left", "start": 0.2, "end": 1.1},
            {"video": name, "query": "a person opens", "start": 1.0, "end": 2.2},
        ]
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def videos(data: Path) -> list[Path]:
    return sorted((data / "videos").glob("*.mp4"))


@pytest.mark.parametrize("name", ["clip", "siglip", "xclip"])
def test_extract_train_evaluate_ground(
    mttsg: Mttsg, models: dict[str, Path], data: Path, settings: Path, tmp_path: Path, name: str
) -> None:
    cache = ("--cache", tmp_path / "cache", "--workers", "1")
    ran = mttsg("extract", data / "videos", "--encoder", models[name], "--fps", "1", *cache, "--json")
    assert (ran.code, json.loads(ran.out)["done"]) == (0, 3), ran.err
    ran = mttsg(
        *("train", data, "--out", tmp_path / "model", "--encoder", models[name], "--config", settings, *cache),
        *("--epochs", "1", "--offline", "--verbose"),
    )
    assert ran.code == 0, ran.err
    assert " clips of " not in ran.err  # extracted already
    about = json.loads((tmp_path / "model" / "config.json").read_text())
    assert about["features"]["encoder"] == find_files(str(models[name])).id
    assert about["text_encoder"] == "clip"
    ran = mttsg("evaluate", data, "--model", tmp_path / "model", *cache, "--json")
    assert (ran.code, json.loads(ran.out)["queries"]) == (0, 6), ran.err
    ran = mttsg("ground", data / "videos" / "a.mp4", "a person opens", "-m", tmp_path / "model", *cache)
    assert ran.code == 0, ran.err
    assert ran.out.count("\n") == 2
    again = Grounder.load(tmp_path / "model", device="cpu", cache=tmp_path / "cache")
    [[moment]] = again.ground(data / "videos" / "a.mp4", ["a person opens"], top=1)
    assert f"{moment.start:.3f}\t{moment.end:.3f}" in ran.out


def test_another_text_encoder(
    mttsg: Mttsg, models: dict[str, Path], data: Path, settings: Path, tmp_path: Path
) -> None:
    """Kept as an id that stands for its content."""
    ran = mttsg(
        *("train", data, "--out", tmp_path / "model", "--text-encoder", models["bert"], "--config", settings),
        *("--cache", tmp_path / "cache", "--workers", "1", "--epochs", "1"),
    )
    assert ran.code == 0, ran.err
    about = json.loads((tmp_path / "model" / "config.json").read_text())
    assert about["text_encoder"] == find_files(str(models["bert"])).id
    assert Grounder.load(tmp_path / "model", device="cpu").predictor.encode(["a person"])[0].shape == (4, 32)


def test_features_go_to_another_computer(
    mttsg: Mttsg,
    models: dict[str, Path],
    data: Path,
    settings: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There the encoder lies elsewhere, and must be named once; another one is refused."""
    features, model = tmp_path / "features", tmp_path / "model"
    encoder = save_clip(tmp_path / "here", seed=5)
    ran = mttsg("extract", data / "videos", "--encoder", encoder, "--fps", "1", "--out", features, "--workers", "1")
    assert ran.code == 0, ran.err
    for name in ("train.jsonl", "test.jsonl"):
        (tmp_path / "there").mkdir(exist_ok=True)
        shutil.copy(data / name, tmp_path / "there" / name)
    trained = ("train", tmp_path / "there", "--features", features, "--out", model, "--config", settings)
    ran = mttsg(*trained)
    assert ran.code == 0, ran.err
    elsewhere = shutil.move(encoder, tmp_path / "elsewhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other_home"))
    find_files.cache_clear()
    build_encoder.__globals__["_build_pretrained"].cache_clear()
    asked = ("ground", data / "videos" / "a.mp4", "a person opens", "-m", model, "--cache", tmp_path / "cache")
    ran = mttsg(*asked)
    assert (ran.code, len(ran.errors)) == (2, 1)
    assert "--encoder" in ran.errors[0]
    ran = mttsg(*asked, "--encoder", elsewhere, "--workers", "1")
    assert ran.code == 0, ran.err
    ran = mttsg(*asked, "--encoder", models["siglip"])
    assert (ran.code, len(ran.errors)) == (2, 1)
    for folder in (elsewhere, models["siglip"]):
        assert find_files(str(folder)).id in ran.errors[0]
    others = tmp_path / "others"
    assert mttsg("extract", data / "videos", "--encoder", models["clip"], "--out", others, "--fps", "1").code == 0
    for place in (tmp_path / "there", data):  # without and with videos
        ran = mttsg("evaluate", place, "--features", others, "-m", model, "--json")
        assert (ran.code, len(ran.errors)) == (2, 1)
        for folder in (elsewhere, models["clip"]):
            assert find_files(str(folder)).id in ran.errors[0]
    ran = mttsg(*trained, "--overwrite", "--encoder", models["siglip"])
    assert (ran.code, len(ran.errors)) == (2, 1)
    for folder in (elsewhere, models["siglip"]):
        assert find_files(str(folder)).id in ran.errors[0]


def test_a_vision_only_model_is_trained_with_but_answers_nothing_by_itself(
    mttsg: Mttsg, models: dict[str, Path], data: Path, settings: Path, tmp_path: Path
) -> None:
    cache = ("--cache", tmp_path / "cache", "--workers", "1")
    ran = mttsg(
        *("train", data, "--out", tmp_path / "model", "--encoder", models["vit"], "--config", settings, *cache),
        *("--epochs", "1"),
    )
    assert ran.code == 0, ran.err
    about = json.loads((tmp_path / "model" / "config.json").read_text())
    assert about["features"]["encoder"] == find_files(str(models["vit"])).id
    assert about["text_encoder"] == "hashed"  # for want of a sentence encoder, and it is said
    assert "warning: text encoder hashed" in ran.err
    video = data / "videos" / "a.mp4"
    assert mttsg("ground", video, "a person opens", "-m", tmp_path / "model", *cache).code == 0
    ran = mttsg("ground", video, "a person opens", "--encoder", models["vit"], *cache)
    assert (ran.code, len(ran.errors)) == (2, 1)
    assert "has no text tower: it answers only after mttsg train DATA --encoder" in ran.errors[0]
    ran = mttsg("train", data, "--out", tmp_path / "m", "--encoder", models["vit"], "--text-encoder", "clip", *cache)
    assert (ran.code, len(ran.errors)) == (2, 1)


def spoil_nothing(folder: Path) -> None:
    """It lacks a tower as it is."""


def pickle_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def truncate(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-100])


@pytest.mark.parametrize(("name", "spoil"), [("bert", spoil_nothing), ("clip", pickle_weights), ("clip", truncate)])
def test_a_bad_encoder_is_one_line_and_2(
    mttsg: Mttsg, models: dict[str, Path], data: Path, tmp_path: Path, name: str, spoil: object
) -> None:
    folder = shutil.copytree(models[name], tmp_path / "bad")
    assert callable(spoil)
    spoil(folder)
    for command in (("extract", data / "videos"), ("train", data, "--out", tmp_path / "model")):
        ran = mttsg(*command, "--encoder", folder, "--cache", tmp_path / "cache", "--workers", "1")
        assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
        assert str(folder) in ran.errors[0]
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("encoder", ["openai/no-such-model", "nowhere/at/all", "classic2"])
def test_an_unknown_encoder_offline(mttsg: Mttsg, data: Path, tmp_path: Path, encoder: str) -> None:
    ran = mttsg("extract", data / "videos", "--encoder", encoder, "--offline", "--out", tmp_path)
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
    assert repr(encoder) in ran.errors[0]


def test_features_made_elsewhere_have_no_text_tower(mttsg: Mttsg, data: Path, tmp_path: Path) -> None:
    for name in "abc":
        np.save(tmp_path / f"{name}.npy", np.ones((4, 8), dtype=np.float32))
    ran = mttsg("train", data, "--features", tmp_path, "--text-encoder", "clip", "--out", tmp_path / "model")
    assert (ran.code, len(ran.errors)) == (2, 1)
    assert "whose text tower" in ran.errors[0]


class TestExtract:
    """The library's `extract` with one encoder for all workers."""

    def test_it_writes_what_the_encoder_gives(
        self, models: dict[str, Path], videos: list[Path], tmp_path: Path
    ) -> None:
        settings = ExtractionSettings(str(models["xclip"]), fps=3.0)
        encoder = settings.build_encoder()
        jobs = [ExtractionJob(video, tmp_path / f"{video.stem}.safetensors") for video in videos]
        events = list(extract(jobs, settings, workers=2))
        assert {event.job for event in events if isinstance(event, Extracted)} == set(jobs)
        for job in jobs:
            read = read_features(job.target)
            frames = np.concatenate([piece.frames for piece in read_clips(job.video, settings.frame_spec(encoder))[1]])
            np.testing.assert_allclose(read.clips, encoder.encode(frames).clips, atol=1e-4)
            here = encode_video(job.video, encoder, settings)
            assert np.abs(here.clips - read.clips).max() < 1e-4
            assert (here.fingerprint, here.duration) == (read.fingerprint, read.duration)
            assert here.regions is not None and read.regions is not None
            np.testing.assert_allclose(here.regions, read.regions, atol=1e-2)

    @pytest.mark.parametrize("workers", [1, 3])
    def test_failures_cost_only_their_file(
        self, models: dict[str, Path], videos: list[Path], tmp_path: Path, workers: int
    ) -> None:
        (tmp_path / "text.mp4").write_text("no video")
        (tmp_path / "file").write_text("in the way")
        targets = [tmp_path / "a.safetensors", tmp_path / "file" / "b.safetensors", tmp_path / "c.safetensors"]
        jobs = [ExtractionJob(video, target) for video, target in zip(videos, targets, strict=True)]
        jobs += [
            ExtractionJob(tmp_path / name, tmp_path / f"{name}.safetensors") for name in ("text.mp4", "absent.mp4")
        ]
        events = list(extract(jobs, ExtractionSettings(str(models["clip"])), workers=workers))
        failed = {event.job.video.name for event in events if isinstance(event, ExtractionFailed)}
        assert failed == {"b.mp4", "text.mp4", "absent.mp4"}
        assert all("\n" not in event.reason for event in events if isinstance(event, ExtractionFailed))
        assert len(events) == 5

    def test_an_interrupted_extraction_goes_on(
        self, models: dict[str, Path], videos: list[Path], tmp_path: Path
    ) -> None:
        settings = ExtractionSettings(str(models["clip"]))
        jobs = [ExtractionJob(video, tmp_path / f"{video.stem}.safetensors") for video in videos]
        events = extract(jobs, settings, workers=1)
        first = next(events)
        events.close()  # type: ignore[attr-defined]
        rest = {event.job: event for event in extract(jobs, settings, workers=1)}
        assert len(rest) == 3
        assert [job for job, event in rest.items() if isinstance(event, Extracted) and event.cached] == [first.job]

    def test_not_enough_memory_costs_a_file(
        self, models: dict[str, Path], videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = ExtractionSettings(str(models["clip"]))
        encoder = settings.build_encoder()
        encode = encoder.encode
        calls: list[int] = []

        def run_out_once(frames: np.ndarray) -> object:
            calls.append(len(frames))
            if len(calls) == 1:
                raise MemoryError
            return encode(frames)

        monkeypatch.setattr(encoder, "encode", run_out_once)
        jobs = [ExtractionJob(video, tmp_path / f"{video.stem}.safetensors") for video in videos]
        events = list(extract(jobs, settings, workers=1))
        [failed] = [event for event in events if isinstance(event, ExtractionFailed)]
        assert failed.reason == "not enough memory"
        assert len(events) == 3
