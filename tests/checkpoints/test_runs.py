"""Which stopped run is resumed, and that no two trainings work in one folder."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from mttsg_core.checkpoints.runs import PREVIOUS, STATE, lock_run, lock_unfinished_run, new_run
from mttsg_core.errors import BusyError, ModelError


@pytest.fixture(autouse=True)
def _own_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))


def started_run(*, state: Path | None = STATE, finished: bool = False) -> Path:
    run = new_run()
    (run / "config.json").write_text("{}")
    if state is not None:
        (run / state).parent.mkdir()
        (run / state).touch()
    if finished:
        (run / "report.json").write_text("{}")
    return run


def unfinished_run() -> Path:
    with ExitStack() as stack:
        return lock_unfinished_run(stack)


def test_without_any_run() -> None:
    with pytest.raises(ModelError, match="no stopped run"):
        unfinished_run()


@pytest.mark.parametrize("state", [STATE, PREVIOUS])
def test_the_newest_run_with_a_state_is_resumed(state: Path) -> None:
    started_run(finished=True)
    stopped = started_run(state=state)
    started_run(state=None)  # stopped before it saved anything
    new_run()
    assert unfinished_run() == stopped


def test_a_finished_run_is_not_resumed() -> None:
    started_run()
    started_run(finished=True)
    with pytest.raises(ModelError, match="no stopped run"):
        unfinished_run()


def test_runs_at_work_are_skipped() -> None:
    stopped, at_work = started_run(), started_run()
    with lock_run(at_work), ExitStack() as stack:
        assert lock_unfinished_run(stack) == stopped
        with pytest.raises(BusyError, match=f"{at_work}: another training is at work"):
            unfinished_run()
    assert unfinished_run() == at_work
