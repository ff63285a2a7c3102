"""The campaign of `benchmarks/`: trials in processes of their own, watched, counted, each done once with a journal."""

from __future__ import annotations

import argparse
import os
import signal
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
Work = Callable[[np.random.Generator, Path], None]


@pytest.fixture
def campaign(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return import_module("campaign")


def good(random: np.random.Generator, folder: Path) -> None:
    folder.mkdir()
    (folder / "err").write_text(f"{random.integers(1000)}\n")


def crash(random: np.random.Generator, folder: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang(random: np.random.Generator, folder: Path) -> None:
    time.sleep(60)


def run(campaign: Any, folder: Path, works: list[Work], **options: Any) -> tuple[Any, bool, list[str]]:
    """Run a campaign of these works, and return it, whether it is complete, and what the works wrote."""
    written: list[str] = []

    def judge(ended: Any, place: Path) -> tuple[set[str], int]:
        written.append(ended.err)
        return ({"hang"} if ended.hung else {"wrong"} if ended.code else set()), ended.peak

    given = {"seed": 0, "jobs": 2, "journal": folder / "journal", "minutes": 10.0, "keep": None, **options}
    made = campaign.Campaign(argparse.Namespace(**given), folder)
    trials: Iterator[Any] = (
        campaign.Trial(f"file {n}", work.__name__, work, judge, 1.0 if work is hang else 60.0)
        for n, work in enumerate(works)
    )
    return made, made.run(trials), written


def test_trials_are_watched_counted_and_done_once(campaign: Any, tmp_path: Path) -> None:
    done, complete, _ = run(campaign, tmp_path, [good, crash, hang, good])
    assert complete
    assert {title: (tally.tried, tally.faults) for title, tally in done.tallies.items()} == {
        "good": (2, {}),
        "crash": (1, {"wrong": 1}),
        "hang": (1, {"hang": 1}),
    }
    assert done.tallies["good"].peak > 1000
    again, complete, more = run(campaign, tmp_path, [good, crash, hang, good, good])
    assert (complete, len(more), again.tallies["good"].tried, again.tallies["hang"].tried) == (True, 1, 3, 1)
    _, _, other_seed = run(campaign, tmp_path, [good, good], seed=1)
    assert len(other_seed) == 2
    _, _, same = run(campaign, tmp_path, [good, good], seed=1, journal=None)
    assert sorted(same) == sorted(other_seed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["journal"]


def test_a_campaign_stops_in_time_and_goes_on(campaign: Any, tmp_path: Path) -> None:
    _, complete, written = run(campaign, tmp_path, [good] * 3, minutes=0.0)
    assert (complete, written) == (False, [])
    _, complete, written = run(campaign, tmp_path, [good] * 3)
    assert (complete, len(written)) == (True, 3)


def test_files_of_all_kinds(campaign: Any) -> None:
    files = import_module("campaign_files")
    assert {files.kind_of(number) for number in range(60)} == set(files.KINDS)
