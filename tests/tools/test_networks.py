"""The table of what the co-training brings to each network."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path

import ablation
import networks
import pytest

from mttsg_core.config import NetworkConfig


class Commands:
    """Takes the place of the command: answers are off by a second and a half, co-trained ones by half a second less."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.stop_at: int | None = None

    def __call__(self, *words: str, threads: int | None) -> str:
        if len(self.calls) == self.stop_at:
            raise KeyboardInterrupt
        self.calls.append(words)
        values = dict(pairwise(words))
        assert threads == 1
        if words[0] == "train":
            folder = Path(values["--out"])
            folder.mkdir(parents=True)
            (folder / "report.json").write_text("{}")
        else:
            shift = 1.5 if "plain" in values["--model"] else 1.0
            lines = (Path(words[1]) / f"{values['--split']}.jsonl").read_text().splitlines()
            rows = [json.loads(line) for line in lines]
            answers = [
                {"video": row["video"], "query": row["query"], "moments": [[row["start"] + shift, row["end"], 0.5]]}
                for row in rows
            ]
            Path(values["--out"]).write_text("".join(json.dumps(row) + "\n" for row in answers))
        return ""


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    fake = Commands()
    monkeypatch.setattr(ablation, "mttsg", fake)
    return fake


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for split, videos in (("train", range(8)), ("val", range(8, 10))):
        rows = [{"video": str(v), "query": f"q{i}", "start": i, "end": 4.0 + i} for v in videos for i in range(3)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["networks.py", *map(str, words)])
    return networks.main()


def test_the_table_has_both_kinds_of_every_network_and_their_difference(
    data: Path, tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--networks", "span", "proposal-map", "--seeds", 2, "--share", 0.25, "--out", tmp_path / "n"]
    assert run(monkeypatch, data, *options, "--", "--epochs", "3") == 0
    trained = [words for words in commands.calls if words[0] == "train"]
    assert len(commands.calls) == 2 * len(trained) == 16
    for words in trained:
        left_out = {words[i + 1] for i, word in enumerate(words) if word == "--without"}
        plain = "plain" in words[words.index("--out") + 1]
        assert left_out == (set(NetworkConfig.SWITCHES) - {"offsets"} if plain else set())
        assert words[-2:] == ("--epochs", "3")
    lines = (tmp_path / "n" / "table.md").read_text().splitlines()
    assert lines[0] == "| network (rest) | seeds | R@1,IoU=0.3 | R@1,IoU=0.5 | R@1,IoU=0.7 | mIoU |"
    assert lines[2] == "| span, plain | 2 | 100.0 ± 0.0 | 100.0 ± 0.0 | 0.0 ± 0.0 | 62.5 ± 0.0 |"
    assert lines[3] == "| span, co-trained | 2 | 100.0 ± 0.0 | 100.0 ± 0.0 | 100.0 ± 0.0 | 75.0 ± 0.0 |"
    assert lines[4].startswith("| difference | 2 | +0.0 [+0.0, +0.0] | +0.0 [+0.0, +0.0] | +100.0 [+100.0, +100.0] |")
    assert lines[4].endswith("| +12.5 [+12.5, +12.5] |")
    assert lines[5].startswith("| proposal-map, plain | 2 |")
    assert capsys.readouterr().out.splitlines()[:8] == lines


def test_a_stopped_series_goes_on_with_what_is_left(
    data: Path, tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--networks", "span", "--seeds", 2, "--out", tmp_path / "n"]
    commands.stop_at = 5
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, data, *options)
    before = list(commands.calls)
    commands.stop_at = None
    assert run(monkeypatch, data, *options, "--table") == 0
    assert commands.calls == before
    assert "| span, plain | 1 |" in (tmp_path / "n" / "table.md").read_text()
    assert run(monkeypatch, data, *options) == 0
    assert len(commands.calls) == 8, "nothing was done twice"
    assert "| span, plain | 2 |" in (tmp_path / "n" / "table.md").read_text()


def test_a_stopped_training_is_resumed(
    data: Path, tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "has_state", lambda folder: True)
    assert run(monkeypatch, data, "--networks", "span", "--seeds", 1, "--out", tmp_path / "n") == 0
    assert "--resume" in commands.calls[0]


@pytest.mark.parametrize(
    ("words", "reason"),
    [(["--networks", "spam"], "did you mean 'span'"), (["--table"], "no seed is done both plain and co-trained yet")],
)
def test_what_cannot_be_done_is_one_line(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    reason: str,
) -> None:
    with pytest.raises(SystemExit) as caught:
        run(monkeypatch, data, "--out", tmp_path / "n", *words)
    assert caught.value.code == 2
    assert reason in capsys.readouterr().err
