"""The programs of examples/ run, each as its first lines say."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Mttsg

EXAMPLES = Path(__file__).parents[2] / "examples"

Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run(NAME, ARGUMENT, ...)` runs a program and returns what it prints."""

    def run_program(name: str, *arguments: str | Path) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run_program


def test_every_program_is_tested_and_listed() -> None:
    names = {path.name for path in EXAMPLES.glob("*.py")}
    own_text = Path(__file__).read_text(encoding="utf-8")
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert all(f'run("{name}"' in own_text and f"({name})" in listed for name in names)


def test_ground_video(run: Run, clip: Path, trained: Path) -> None:
    printed = run("ground_video.py", clip, "the red circle grows", "the star moves", "--model", trained)
    lines = printed.splitlines()
    assert lines[0] == "the red circle grows" and "the star moves" in lines
    assert lines[1].split()[1:3] == ["s", "to"]


def test_saliency_curve(run: Run, clip: Path, trained: Path) -> None:
    times = [float(line.split()[0]) for line in run("saliency_curve.py", clip, "x", "--model", trained).splitlines()]
    assert times[0] == 0 and times == sorted(times) and len(times) >= 20


def test_search_folder(run: Run, clip: Path, trained: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "a.mp4").write_bytes(clip.read_bytes())
    (videos / "broken.mp4").write_bytes(b"not a video")
    printed = run("search_folder.py", videos, "the star moves", "--model", trained, "--out", tmp_path / "best.mp4")
    assert "skipped: " in printed and str(videos / "a.mp4") in printed
    assert (tmp_path / "best.mp4").stat().st_size > 0


def test_train_on_your_data(run: Run, corpus: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "videos").mkdir(parents=True)
    for split in ("train", "val"):
        first = (corpus / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()[:2]
        (data / f"{split}.jsonl").write_text("\n".join(first), encoding="utf-8")
        for video in {json.loads(row)["video"] for row in first}:
            (data / video).write_bytes((corpus / video).read_bytes())
    printed = run("train_on_your_data.py", data, tmp_path / "model", "--epochs", "1")
    assert "train: 2 sentences about 1 videos, 0 bad rows" in printed
    assert "epoch 1: loss" in printed and "R@1,IoU=0.5" in printed
    assert (tmp_path / "model" / "model.safetensors").is_file()


def test_evaluate_predictions(run: Run, corpus: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (corpus / "test.jsonl").read_text(encoding="utf-8").splitlines()]
    answers = [{"id": row["id"], "moments": [[row["start"], row["end"], 1.0]]} for row in rows]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(answer) + "\n" for answer in answers), encoding="utf-8")
    printed = run("evaluate_predictions.py", corpus, tmp_path / "p.jsonl")
    assert "mIoU 100.0" in printed.splitlines()[0]
    assert "constant span" in printed and "moment length" in printed


def test_own_features(run: Run, mttsg: Mttsg, settings: Path, tmp_path: Path) -> None:
    features = tmp_path / "data" / "features"
    features.mkdir(parents=True)
    random = np.random.default_rng(0)
    rows = []
    for video in ("a", "b", "c"):
        np.save(features / f"{video}.npy", random.normal(size=(12, 6)).astype(np.float32))
        rows.append({"video": video, "query": "a dog runs", "start": 2.0, "end": 5.0, "duration": 12.0})
    (tmp_path / "data" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    options = ("--out", tmp_path / "model", "--config", settings, "--features", features)
    ran = mttsg("train", tmp_path / "data", *options)
    assert ran.code == 0, ran.err
    printed = run("own_features.py", features / "a.npy", "12.0", "a dog runs", "--model", tmp_path / "model")
    start, end = (float(printed.split()[index]) for index in (0, 3))
    assert 0 <= start < end <= 12
