"""The oracle that sees only the order of the queries."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mttsg_core.data.folder import DataFolder
from mttsg_core.data.predictions import read_predictions
from mttsg_core.evaluation.metrics import MetricConfig, compute_metrics

ROOT = Path(__file__).parents[2]
CAPTIONS = ROOT.parent / "shared" / "annotations" / "activitynet_captions"


def run_oracle(data: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.order_oracle", str(data), "--out", str(out)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def scores(data: Path, out: Path) -> dict[str, float]:
    done = run_oracle(data, out)
    assert done.returncode == 0, done.stderr
    pairs = DataFolder.open(data).split("test", require_moment=True).pairs
    matched = read_predictions(out).match(pairs)
    assert (matched.missing, matched.unknown) == (0, 0)
    return compute_metrics([pair.moments for pair in pairs], matched.moments, MetricConfig(ns=(1,)))


def test_order_alone_can_be_enough(tmp_path: Path) -> None:
    for split, length in (("train", 10.0), ("test", 40.0)):
        rows = [
            {"video": f"{split}{video}", "query": "x", "start": start * length, "end": end * length, "duration": length}
            for video in range(3)
            for start, end in ((0.5, 0.9), (0.1, 0.3))
        ]
        rows.append(
            {"video": f"{split}9", "query": "x", "start": length * 0.5, "end": length * 0.9, "duration": length}
        )
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert scores(tmp_path, tmp_path / "oracle.out")["mIoU"] == pytest.approx(100)


def test_errors_are_one_line(tmp_path: Path) -> None:
    done = run_oracle(tmp_path / "none", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not CAPTIONS.is_dir(), reason="../shared/annotations is not available")
def test_figures_on_activitynet_captions(tmp_path: Path) -> None:
    figures = scores(CAPTIONS, tmp_path / "oracle.jsonl")
    expected = {"R@1,IoU=0.3": 75.7, "R@1,IoU=0.5": 56.1, "R@1,IoU=0.7": 33.3, "mIoU": 52.6}
    assert {name: round(value, 1) for name, value in figures.items()} == expected
