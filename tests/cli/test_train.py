"""`mttsg train`."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from make_corpus import TINY_NETWORK
from mttsg_core.config import NetworkConfig
from mttsg_core.data.splits import write_pairs
from mttsg_core.features.store import read_features, write_features
from tests.conftest import Mttsg, start_mttsg
from tests.helpers.tiny import dataset, write_rows


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder of features only."""
    folder = tmp_path / "data"
    for name, videos in (("train", 6), ("val", 2)):
        made = dataset(folder / "features", videos, name=name)
        write_pairs(made.pairs, folder / f"{name}.jsonl")
    return folder


def open_rows(folder: Path, split: str) -> list[str]:
    """The lines of a split."""
    return (folder / f"{split}.jsonl").read_text().splitlines()


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    """Settings of a network that trains at once."""
    path = tmp_path / "quick.toml"
    path.write_text("epochs = 2\nbatch_videos = 3\n" + TINY_NETWORK)
    return path


@pytest.fixture(autouse=True)
def _own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))


def test_a_model_folder(mttsg: Mttsg, data: Path, quick: Path, tmp_path: Path) -> None:
    ran = mttsg("train", data, "--out", tmp_path / "m", "--config", quick, "--json")
    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    assert report["model"] == str(tmp_path / "m")
    assert "R@1,IoU=0.5" in report
    names = {path.relative_to(tmp_path / "m").as_posix() for path in (tmp_path / "m").rglob("*") if path.is_file()}
    written = {"config.json", "model.safetensors", "report.json", "log.jsonl", "state/training.safetensors"}
    assert names == {*written, "state/previous.safetensors", "README.md", "report.html", "run.json", "familiarity.json"}
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert config["network"]["width"] == 16
    assert config["training"]["epochs"] == 2
    assert "epoch 1: loss " in ran.err


def test_without_json_standard_output_stays_empty(mttsg: Mttsg, data: Path, quick: Path, tmp_path: Path) -> None:
    assert mttsg("train", data, "--out", tmp_path / "m", "--config", quick).out == ""
    ran = mttsg("train", data, "--out", tmp_path / "m2", "--config", quick, "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_sentences_without_features_are_counted(mttsg: Mttsg, data: Path, quick: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (data / "train.jsonl").read_text().splitlines()]
    lost = sum(row["video"] == rows[0]["video"] for row in rows)
    for path in (data / "features").iterdir():  # made elsewhere, but for one video: there is its file alone
        np.save(path.with_suffix(".npy"), read_features(path).clips)
        path.unlink()
    (data / "features" / f"{rows[0]['video']}.npy").unlink()
    (data / "videos").mkdir()
    (data / "videos" / f"{rows[0]['video']}.mp4").touch()
    ran = mttsg("train", data, "--out", tmp_path / "m", "--config", quick)
    assert ran.code == 0, ran.err
    assert f"train: {lost} of {len(rows)} sentences without features, left out" in ran.err


def test_options_reach_the_training(mttsg: Mttsg, data: Path, quick: Path, tmp_path: Path) -> None:
    options = ["--epochs", "1", "--batch-videos", "2", "--queries-per-video", "1", "--lr", "0.002", "--seed", "9"]
    options += ["--without", "offsets,objects", "--without", "activities"]
    assert mttsg("train", data, "--out", tmp_path / "m", "--config", quick, *options).code == 0
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    wanted = {"epochs": 1, "batch_videos": 2, "queries_per_video": 1, "lr": 0.002, "seed": 9}
    assert {name: config["training"][name] for name in wanted} == wanted
    assert [name for name in NetworkConfig.SWITCHES if not config["network"][name]] == [
        "objects",
        "activities",
        "offsets",
    ]


def test_without_an_unknown_part(mttsg: Mttsg, data: Path, tmp_path: Path) -> None:
    ran = mttsg("train", data, "--out", tmp_path / "m", "--without", "offset")
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
    assert "did you mean 'offsets'" in ran.err
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("in_file", [False, True])
def test_another_network_works_from_training_to_answers(
    mttsg: Mttsg, data: Path, quick: Path, tmp_path: Path, *, in_file: bool
) -> None:
    if in_file:
        quick.write_text(quick.read_text().replace("[network]", '[network]\nnetwork = "span"'))
    option = [] if in_file else ["--network", "span"]
    ran = mttsg("train", data, "--out", tmp_path / "m", "--config", quick, *option)
    assert ran.code == 0, ran.err
    assert "| network | span |" in (tmp_path / "m" / "README.md").read_text()
    shown = mttsg("models", "--show", tmp_path / "m").out
    assert "  network: span\n" in shown and "network.network: span\n" in shown
    ran = mttsg("evaluate", data, "--split", "val", "--model", tmp_path / "m", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["queries"] == 4


def test_an_unknown_network(mttsg: Mttsg, data: Path, tmp_path: Path) -> None:
    ran = mttsg("train", data, "--out", tmp_path / "m", "--network", "vslnet")
    assert (ran.code, ran.out, ran.errors) == (2, "", ["error: unknown network: 'vslnet'; did you mean 'span'?"])
    assert not (tmp_path / "m").exists()


def test_nothing_is_overwritten_unless_asked(mttsg: Mttsg, data: Path, quick: Path, tmp_path: Path) -> None:
    def model() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (tmp_path / "m").rglob("*") if path.is_file()}

    arguments = ["train", data, "--out", tmp_path / "m", "--config", quick]
    assert mttsg(*arguments).code == 0
    before = model()
    ran = mttsg(*arguments, "--seed", "5")
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
    assert "--overwrite" in ran.errors[0]
    assert model() == before
    assert mttsg(*arguments, "--seed", "5", "--overwrite").code == 0
    assert model()["model.safetensors"] != before["model.safetensors"]


def test_no_file_of_a_folder_without_a_model_is_replaced(mttsg: Mttsg, data: Path, quick: Path, tmp_path: Path) -> None:
    page = tmp_path / "mine" / "report.html"
    page.parent.mkdir()
    page.write_text("mine")
    arguments = ["train", data, "--out", page.parent, "--config", quick]
    ran = mttsg(*arguments)
    assert (ran.code, len(ran.errors)) == (2, 1)
    assert "report.html" in ran.errors[0]
    assert page.read_text() == "mine"
    assert mttsg(*arguments, "--overwrite").code == 0


def test_resume(mttsg: Mttsg, data: Path, quick: Path, tmp_path: Path) -> None:
    arguments = ["train", data, "--out", tmp_path / "m", "--config", quick]
    ran = mttsg(*arguments, "--resume")
    assert (ran.code, len(ran.errors)) == (2, 1)
    assert "nothing to resume" in ran.err
    assert mttsg(*arguments).code == 0
    before = load_file(tmp_path / "m" / "model.safetensors")
    ran = mttsg(*arguments, "--resume", "--lr", "0.5")
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
    assert "lr" in ran.errors[0]
    for option, message in (
        (["--without", "offsets"], "offsets"),
        (["--joint"], "--joint: the run was started without"),
    ):
        ran = mttsg(*arguments, "--resume", *option)
        assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
        assert message in ran.err
    assert mttsg(*arguments, "--resume").code == 0
    alone = mttsg("train", data, "--out", tmp_path / "m", "--resume")  # its own settings need not be said again
    assert alone.code == 0, alone.err
    after = load_file(tmp_path / "m" / "model.safetensors")
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_resume_takes_up_the_encoders_that_the_run_began_with(
    mttsg: Mttsg, corpus: Path, cache: Path, quick: Path, tmp_path: Path
) -> None:
    words = tmp_path / "glove.2d.txt"
    words.write_text("circle 0.5 1\nsquare -0.5 1\nmoves 0 2\n")
    arguments = ["train", corpus, "--out", tmp_path / "m", "--cache", cache, "--workers", "1"]
    assert mttsg(*arguments, "--config", quick, "--fps", "2", "--text-encoder", f"glove:{words}").code == 0
    before = load_file(tmp_path / "m" / "model.safetensors")
    words.unlink()
    ran = mttsg(*arguments, "--resume")
    assert ran.code == 0, ran.err
    after = load_file(tmp_path / "m" / "model.safetensors")
    assert all(torch.equal(after[name], before[name]) for name in before)
    ran = mttsg(*arguments, "--resume", "--fps", "3")
    assert (ran.code, len(ran.errors)) == (2, 1)
    assert "fps" in ran.errors[0]


def test_numbered_runs_are_the_default(mttsg: Mttsg, data: Path, quick: Path, tmp_path: Path) -> None:
    assert mttsg("train", data, "--resume").code == 2
    for number in (1, 2):
        ran = mttsg("train", data, "--config", quick, "--json")
        assert json.loads(ran.out)["model"] == str(tmp_path / "home" / "mttsg" / "runs" / f"{number:04d}")
    (tmp_path / "home" / "mttsg" / "runs" / "0002" / "report.json").unlink()  # as if it had been stopped
    ran = mttsg("train", data, "--config", quick, "--json", "--resume")
    assert json.loads(ran.out)["model"].endswith("0002")


def test_ends_past_the_video_are_clipped_and_counted(mttsg: Mttsg, data: Path, quick: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (data / "train.jsonl").read_text().splitlines()]
    rows[0]["end"] = rows[0]["duration"] + 0.5
    rows[3]["end"] = 9999.0
    write_rows(data / "train.jsonl", rows)
    ran = mttsg("train", data, "--out", tmp_path / "m", "--config", quick)
    assert ran.code == 0
    assert "2 moments clipped to the end of the video" in ran.err


def test_moments_outside_the_video_are_named(mttsg: Mttsg, data: Path, quick: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (data / "train.jsonl").read_text().splitlines()]
    length = rows[0].pop("duration")
    rows[0] |= {"start": length + 1, "end": length + 2}
    write_rows(data / "train.jsonl", rows)
    ran = mttsg("train", data, "--out", tmp_path / "m", "--config", quick)
    assert ran.code == 0
    assert "1 moment outside the video, left out" in ran.err
    checked = mttsg("check", data)
    assert checked.code == 1
    assert f"train.jsonl:1: start {length + 1} is past the end of the video at " in checked.err


BAD_ROWS = {
    "start after end": '{"video": "train0", "query": "q", "start": 3, "end": 2}',
    "negative": '{"video": "train0", "query": "q", "start": -1, "end": 2}',
    "no number": '{"video": "train0", "query": "q", "start": "x", "end": 2}',
    "not a number": '{"video": "train0", "query": "q", "start": NaN, "end": 2}',
    "no sentence": '{"video": "train0", "query": " ", "start": 1, "end": 2}',
    "unknown video": '{"video": "absent", "query": "q", "start": 1, "end": 2}',
    "no moment": '{"video": "train0", "query": "q"}',
    "invalid JSON": '{"video": "train0", ',
    "outside": '{"video": "../train0", "query": "q", "start": 1, "end": 2}',
}


@pytest.mark.parametrize("kind", list(BAD_ROWS))
def test_bad_rows_are_skipped_and_counted_or_fatal(
    mttsg: Mttsg, data: Path, quick: Path, tmp_path: Path, kind: str
) -> None:
    good = (data / "train.jsonl").read_text()
    (data / "train.jsonl").write_text(good + BAD_ROWS[kind] + "\n")
    line = good.count("\n") + 1
    ran = mttsg("train", data, "--out", tmp_path / "m", "--config", quick, "--epochs", "1")
    assert ran.code == 0, ran.err
    assert f"{data / 'train.jsonl'}:{line}: " in ran.err
    assert "1 bad row skipped" in ran.err
    ran = mttsg("train", data, "--out", tmp_path / "strict", "--config", quick, "--strict")
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
    assert ran.errors[0].startswith(f"error: {data / 'train.jsonl'}:{line}: ")
    assert not (tmp_path / "strict").exists()


def test_data_that_cannot_be_used(mttsg: Mttsg, data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    only_val = tmp_path / "val"
    shutil.copytree(data, only_val)
    (only_val / "train.jsonl").unlink()
    without_videos = tmp_path / "bare"
    write_rows(without_videos / "train.jsonl", [{"video": "a", "query": "q", "start": 0, "end": 1}])
    for folder, reason in (
        (tmp_path / "absent", "no such folder"),
        (tmp_path / "empty", "no annotation file"),
        (tmp_path / "file", "not a folder"),
        (only_val, "no train split"),
        (without_videos, "features"),
    ):
        ran = mttsg("train", folder, "--out", tmp_path / "m")
        assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1), folder
        assert reason in ran.errors[0]
        assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("out", ["file", "file/deep"])
def test_a_model_folder_that_cannot_be_made(mttsg: Mttsg, data: Path, quick: Path, tmp_path: Path, out: str) -> None:
    (tmp_path / "file").write_text("in the way")
    ran = mttsg("train", data, "--out", tmp_path / out, "--config", quick)
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize(
    ("option", "value"), [("--device", "cuda:99"), ("--device", "tpu"), ("--text-encoder", "bert"), ("--lr", "-1")]
)
def test_options_that_cannot_be_used(
    mttsg: Mttsg, data: Path, quick: Path, tmp_path: Path, option: str, value: str
) -> None:
    ran = mttsg("train", data, "--out", tmp_path / "m", "--config", quick, option, value)
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
    assert not (tmp_path / "m").exists()


def test_glove_vectors_beside_the_data_are_used(mttsg: Mttsg, data: Path, quick: Path, tmp_path: Path) -> None:
    words = ["red", "blue", "green", "thing", "moves", "grows", "the"]
    (data / "glove.txt").write_text("".join(f"{word} {number} 1 0\n" for number, word in enumerate(words)))
    assert mttsg("train", data, "--out", tmp_path / "m", "--config", quick, "--epochs", "1").code == 0
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert (config["text_encoder"], config["network"]["word_dim"]) == ("glove:glove.txt", 3)
    assert (tmp_path / "m" / "words.safetensors").is_file()
    assert mttsg("train", data, "--out", tmp_path / "h", "--config", quick, "--text-encoder", "hashed").code == 0
    assert json.loads((tmp_path / "h" / "config.json").read_text())["text_encoder"] == "hashed"
    again = mttsg(
        *("train", data, "--out", tmp_path / "m", "--config", quick, "--text-encoder", "hashed", "--overwrite")
    )
    assert again.code == 0
    assert not (tmp_path / "m" / "words.safetensors").exists()  # of the run before


def test_features_of_another_encoder_are_refused_and_both_named(
    mttsg: Mttsg, data: Path, quick: Path, tmp_path: Path
) -> None:
    other = dataset(data / "features", 1)
    made = other.store.load("train0")
    write_features(
        data / "features" / "train3.safetensors", type(made)(made.clips, None, made.duration, {"encoder": "x"})
    )
    ran = mttsg("train", data, "--out", tmp_path / "m", "--config", quick)
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
    assert "train3" in ran.errors[0]
    assert "'x'" in ran.errors[0]
    assert "'tiny'" in ran.errors[0]


def test_a_broken_video_does_not_stop_the_training(
    mttsg: Mttsg, corpus: Path, cache: Path, settings: Path, trained: Path, tmp_path: Path
) -> None:
    data = tmp_path / "copy"
    shutil.copytree(corpus, data)
    rows = [json.loads(line) for line in (data / "train.jsonl").read_text().splitlines()]
    broken = data / rows[0]["video"]
    broken.write_bytes(b"broken")
    used = tmp_path / "cache"
    shutil.copytree(cache, used)
    ran = mttsg("train", data, "--out", tmp_path / "m", "--cache", used, "--config", settings, "--epochs", "1")
    assert ran.code == 1, ran.err
    assert len(ran.errors) == 1
    assert ran.errors[0].startswith(f"error: {broken}: ")
    assert (tmp_path / "m" / "report.json").is_file()


def test_damaged_features_cost_only_their_video(mttsg: Mttsg, data: Path, quick: Path, tmp_path: Path) -> None:
    damaged = sorted((data / "features").iterdir())[0]
    damaged.write_bytes(damaged.read_bytes()[:100])
    ran = mttsg("train", data, "--out", tmp_path / "m", "--config", quick)
    assert (ran.code, len(ran.errors)) == (1, 1)
    assert str(damaged) in ran.errors[0]
    assert (tmp_path / "m" / "report.json").is_file()
    for split in ("train", "val"):
        ran = mttsg("evaluate", data, "--model", tmp_path / "m", "--split", split, "--json")
        assert (ran.code, len(ran.errors)) in {(1, 1), (0, 0)}, ran.err
        assert json.loads(ran.out)["missed"] == sum(damaged.stem in row for row in open_rows(data, split)) * ran.code


def test_killed_and_resumed_gives_the_very_weights_of_an_unbroken_run(
    mttsg: Mttsg, data: Path, quick: Path, tmp_path: Path
) -> None:
    """SIGKILL at any moment, twice; then to the end."""
    (data / "val.jsonl").unlink()  # or it would stop early
    arguments: list[str | Path] = ["train", data, "--config", quick, "--epochs", "14", "--device", "cpu"]
    assert mttsg(*arguments, "--out", tmp_path / "whole").code == 0
    log, state = tmp_path / "m" / "log.jsonl", tmp_path / "m" / "state" / "training.safetensors"
    for resume, epochs in (([], 2), (["--resume"], 6)):
        process = start_mttsg(*arguments, "--out", tmp_path / "m", *resume)
        while process.poll() is None and not (state.exists() and log.read_text().count("\n") >= epochs):
            time.sleep(0.003)
        process.kill()
        process.communicate()
        assert not (tmp_path / "m" / "report.json").exists(), "it was not killed in time"
    assert mttsg(*arguments, "--out", tmp_path / "m", "--resume").code == 0
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "m"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    losses = [
        [json.loads(line)["losses"] for line in (tmp_path / name / "log.jsonl").open()] for name in ("whole", "m")
    ]
    assert losses[0] == losses[1]


class FakeHub:
    """Stands in for `huggingface_hub.HfApi`: it knows who asks, and keeps or refuses what is pushed."""

    def __init__(self, user: str = "ada", *, refuses: bool = False) -> None:
        self.user = user
        self.refuses = refuses
        self.pushed: dict[str, set[str]] = {}

    def whoami(self) -> dict[str, object]:
        return {"name": self.user, "orgs": []}

    def create_repo(self, repo: str, *, exist_ok: bool) -> str:
        assert exist_ok
        return f"https://hub.example/{repo}"

    def upload_folder(self, *, repo_id: str, folder_path: Path, allow_patterns: list[str], commit_message: str) -> None:
        if self.refuses:
            raise ConnectionError("the line is cut")
        assert commit_message
        self.pushed[repo_id] = {path.name for path in folder_path.iterdir() if path.name in allow_patterns}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    fake = FakeHub()
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: fake)
    return fake


def test_push(mttsg: Mttsg, data: Path, quick: Path, tmp_path: Path, hub: FakeHub) -> None:
    arguments = ["train", data, "--out", tmp_path / "m", "--config", quick, "--push", "ada/moments"]
    ran = mttsg(*arguments)
    assert ran.code == 0, ran.err
    assert hub.pushed == {
        "ada/moments": {"config.json", "model.safetensors", "report.json", "run.json", "familiarity.json", "README.md"}
    }
    assert "pushed: https://hub.example/ada/moments" in ran.err
    card = (tmp_path / "m" / "README.md").read_text()
    assert "--model ada/moments" in card
    (tmp_path / "m" / "README.md").write_text("my own words")
    assert mttsg(*arguments, "--resume").code == 0  # nothing is left to train: it is pushed again
    assert (tmp_path / "m" / "README.md").read_text() == "my own words"


def test_a_push_that_fails_keeps_the_model_and_says_how_to_push_later(
    mttsg: Mttsg, data: Path, quick: Path, tmp_path: Path, hub: FakeHub
) -> None:
    hub.refuses = True
    folder = tmp_path / "my model"
    ran = mttsg("train", data, "--out", folder, "--config", quick, "--push", "ada/moments", "--json")
    assert (ran.code, len(ran.errors)) == (1, 1)
    assert "the line is cut" in ran.errors[0]
    assert f"hf upload ada/moments '{folder}' . --exclude 'state/*'" in ran.errors[0]
    assert json.loads(ran.out)["model"] == str(folder)
    assert (folder / "report.json").is_file()


@pytest.mark.parametrize(
    ("repo", "reason", "more"),
    [
        ("moments", "user/name", []),
        ("bob/moments", "may not push there", []),
        ("ada/moments", "--offline", ["--offline"]),
    ],
)
def test_who_may_not_push_is_told_before_the_training(
    mttsg: Mttsg, data: Path, quick: Path, tmp_path: Path, hub: FakeHub, repo: str, reason: str, more: list[str]
) -> None:
    ran = mttsg("train", data, "--out", tmp_path / "m", "--config", quick, "--push", repo, *more)
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
    assert reason in ran.errors[0]
    assert not (tmp_path / "m").exists()


def test_the_card_has_the_figures_of_the_kept_epoch(mttsg: Mttsg, data: Path, quick: Path, tmp_path: Path) -> None:
    assert mttsg("train", data, "--out", tmp_path / "m", "--config", quick).code == 0
    report = json.loads((tmp_path / "m" / "report.json").read_text())
    card = (tmp_path / "m" / "README.md").read_text()
    low, high = report["intervals"]["mIoU"]
    assert low <= report["validation"]["mIoU"] <= high
    assert f"| mIoU | {report['validation']['mIoU']:.1f} | {low:.1f}–{high:.1f} |" in card
    assert f"| sentences for validation | {report['validation_pairs']} |" in card


def test_tensorboard_events_of_every_epoch(mttsg: Mttsg, data: Path, quick: Path, tmp_path: Path) -> None:
    ran = mttsg("train", data, "--out", tmp_path / "m", "--config", quick, "--tensorboard")
    assert ran.code == 0, ran.err
    events = EventAccumulator(str(tmp_path / "m" / "tensorboard")).Reload()
    assert [point.step for point in events.Scalars("training/presence")] == [1, 2]


def test_a_missing_tensorboard_is_said_before_anything_is_done(
    mttsg: Mttsg, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    ran = mttsg("train", data, "--out", tmp_path / "m", "--tensorboard")
    assert ran.code == 2
    assert "mttsg[tensorboard]" in ran.err
    assert not (tmp_path / "m").exists()
