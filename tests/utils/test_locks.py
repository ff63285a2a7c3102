"""Locks on folders: held by one at a time, free when their process dies, and without a trace when they are free."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mttsg_core.errors import BusyError
from mttsg_core.utils.locks import hold_lock

HOLD = (
    "import sys, time; from pathlib import Path; from mttsg_core.utils.locks import hold_lock\n"
    "with hold_lock(Path(sys.argv[1]), 'x'): print('held', flush=True); time.sleep(600)"
)


@pytest.mark.subprocess
def test_a_second_process_is_told_who_is_at_work_until_that_one_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "m" / "state" / "lock"
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    who = f" (pid {process.pid})" if os.name == "posix" else ""
    with pytest.raises(BusyError) as caught, hold_lock(path, "m: another training"):
        pass
    assert str(caught.value) == f"m: another training is at work{who}"
    process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
    process.wait()
    process.stdout.close()
    assert path.exists()  # what it left holds nothing
    with hold_lock(path, "m"):
        pass
    assert not path.exists()


def test_this_process_is_not_let_in_twice(tmp_path: Path) -> None:
    with hold_lock(tmp_path / "lock", "m"), pytest.raises(BusyError), hold_lock(tmp_path / "lock", "m"):
        pass


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, ValueError])
def test_folders_that_were_made_for_the_lock_alone_are_removed(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "old").mkdir()
    try:
        with hold_lock(tmp_path / "old" / "m" / "state" / "lock", "m"):
            assert (tmp_path / "old" / "m" / "state").is_dir()
            if error is not None:
                raise error
    except (KeyboardInterrupt, ValueError):
        pass
    assert list((tmp_path / "old").iterdir()) == []
    with hold_lock(tmp_path / "old" / "m" / "state" / "lock", "m"):
        (tmp_path / "old" / "m" / "config.json").touch()
    assert [path.name for path in (tmp_path / "old" / "m").iterdir()] == ["config.json"]
