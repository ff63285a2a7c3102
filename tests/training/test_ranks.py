"""Several ranks take the steps that one process takes, whatever their number; a lost one ends the others."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file as load_numpy
from safetensors.torch import load_file

from mttsg_core.utils.distributed import ALONE
from tests.helpers.ranks import on_ranks, results
from tests.training.rank_programs import (
    Step,
    freeze_before_meeting,
    messages_of_a_step,
    steps_of,
    stop_in_training,
    tell,
    train_until,
)

pytestmark = pytest.mark.subprocess


def assert_same_weights(of_ranks: Mapping[str, Any], of_one: Mapping[str, Any]) -> None:
    """Compare weights. Where a gradient is nothing but rounding, Adam still takes whole steps along its sign."""
    differences = np.concatenate([np.abs(of_ranks[name] - of_one[name]).ravel() for name in of_one])
    assert (differences > 1e-4).mean() < 1e-3
    assert differences.max() < 5e-3


def assert_same_steps(of_ranks: list[Step], of_one: list[Step]) -> None:
    """Compare the losses of all steps, and the gradients of the first: later ones jump where a maximum changes."""
    for (losses, _), (expected, _) in zip(of_ranks, of_one, strict=True):
        assert losses == pytest.approx(expected, rel=1e-5, abs=1e-4)
    atol = 1e-5 * max(1, *(np.abs(gradient).max() for gradient in of_one[0][1].values()))
    for name, gradient in of_one[0][1].items():
        np.testing.assert_allclose(of_ranks[0][1][name], gradient, atol=atol, rtol=1e-3, err_msg=name)


@pytest.mark.parametrize(("world", "steps"), [(2, 20), (3, 6)])
def test_steps_of_several_ranks_are_those_of_one_process(tmp_path: Path, world: int, steps: int) -> None:
    """Of every third batch, of two videos, one of three ranks has none."""
    [(of_one, expected)] = steps_of(ALONE, tmp_path, steps, [{}])
    of_each = [of_rank[0] for of_rank in results(on_ranks(steps_of, world, tmp_path, steps, [{}]))]
    for of_rank, weights in of_each:
        assert_same_steps(of_rank, of_one)
        assert_same_weights(weights, expected)
        assert all(np.array_equal(weights[name], of_each[0][1][name]) for name in weights), "ranks drift apart"


def test_other_networks_take_the_same_steps_too(tmp_path: Path) -> None:
    networks: list[dict[str, Any]] = [
        {"regions": False},
        {"network": "query-decoder"},
        {"network": "proposal-map", "contrast": False, "negatives": False},
        {"network": "span", "mining": False, "objects": False, "presence": False},
    ]
    of_one = steps_of(ALONE, tmp_path, 2, networks)
    for of_rank in results(on_ranks(steps_of, 2, tmp_path, 2, networks)):
        for (steps, _), (expected, _) in zip(of_rank, of_one, strict=True):
            assert_same_steps(steps, expected)


def test_ranks_wait_for_each_other_seven_times_a_step(tmp_path: Path) -> None:
    """Three times forward, as often backward, and for the gradients; and for the number of pairs in the memory."""
    for counts in results(on_ranks(messages_of_a_step, 2, tmp_path)):
        assert counts == {"gather": 3, "add_up_own": 3, "add_up": 2, "meet": 0}


def test_a_run_goes_on_with_another_number_of_ranks(tmp_path: Path) -> None:
    """Stopped within an epoch by two ranks, then by one; the last epochs are trained by three."""
    unbroken = train_until(ALONE, tmp_path, "unbroken")
    stopped = on_ranks(train_until, 2, tmp_path, "m", 4, saves=True)
    assert sorted(one.error.partition(":")[0] for one in stopped) == ["ToldError", "TrainingError"]
    with pytest.raises(Exception, match="stopped by the test"):
        train_until(ALONE, tmp_path, "m", 4, resume=True, saves=True)
    of_ranks = results(on_ranks(train_until, 3, tmp_path, "m", resume=True))
    assert of_ranks[0] == of_ranks[1] == of_ranks[2]
    for epoch, expected in zip(of_ranks[0], unbroken[-len(of_ranks[0]) :], strict=True):
        assert epoch == pytest.approx(expected, abs=2e-3)
    weights, expected_weights = (load_numpy(tmp_path / name / "model.safetensors") for name in ("m", "unbroken"))
    assert_same_weights(weights, expected_weights)


def test_ranks_resume_to_the_very_weights_of_their_unbroken_run(tmp_path: Path) -> None:
    results(on_ranks(train_until, 2, tmp_path, "unbroken", dropout=True))
    on_ranks(train_until, 2, tmp_path, "m", 5, dropout=True, saves=True)
    results(on_ranks(train_until, 2, tmp_path, "m", dropout=True, resume=True))
    weights, expected = (load_file(tmp_path / name / "model.safetensors") for name in ("m", "unbroken"))
    assert all(torch.equal(value, expected[name]) for name, value in weights.items())
    logs = [(tmp_path / name / "log.jsonl").read_text().count("\n") for name in ("m", "unbroken")]
    assert logs[0] == logs[1] == 3


@pytest.mark.parametrize("how", ["killed", "frozen", "error"])
def test_a_lost_rank_ends_the_others(tmp_path: Path, how: str) -> None:
    start = time.monotonic()
    first, second = on_ranks(stop_in_training, 2, tmp_path, how, lost_after=8.0, patience=1 if how == "frozen" else 60)
    assert time.monotonic() - start < 60
    if how == "error":
        assert second.error == "TrainingError: stopped by the test"
        assert first.error.startswith("ToldError")
    else:
        assert second.exit_code
        assert first.error.startswith("LostRankError: another process of this training has ended")


def test_a_rank_that_does_not_come_to_a_meeting_is_lost() -> None:
    first, _ = on_ranks(freeze_before_meeting, 2, lost_after=4.0, patience=1)
    assert first.error.startswith("LostRankError: process 1 of 2")


def test_ranks_tell_each_other(tmp_path: Path) -> None:
    told = results(on_ranks(tell, 3, tmp_path))
    assert [one[:3] for one in told] == [("rank 0 é", True, False)] * 3
    assert told[0][3][0] == 0
    assert sorted(told[2][3]) == [0, 1, 2]
