"""Which finished run is the default for which videos, and how models are named."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from mttsg_core.checkpoints.registry import FinishedRun, find_model, finished_runs, fitting_run, remember_run
from mttsg_core.checkpoints.runs import new_run, runs_folder
from mttsg_core.errors import ModelError


@pytest.fixture(autouse=True)
def _own_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))


def finish(folder: Path, *roots: Path, at: int = 0) -> Path:
    """Make a finished run of a folder, which ended `at` seconds after the others."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "report.json").write_text("{}")
    (folder / "run.json").write_text(json.dumps({"started": f"2026-11-30T10:00:{at:02d}+00:00"}))
    os.utime(folder / "report.json", (1e9 + at, 1e9 + at))
    if roots:
        assert remember_run(folder, roots)
    return folder


@pytest.fixture
def cooking(tmp_path: Path) -> Path:
    """A data folder with a video below it."""
    folder = tmp_path / "cooking"
    (folder / "videos" / "deep").mkdir(parents=True)
    (folder / "videos" / "deep" / "a.mp4").touch()
    return folder


def test_a_run_fits_videos_below_its_own_folder_only(tmp_path: Path, cooking: Path) -> None:
    run = finish(tmp_path / "model", cooking)
    for asked in (cooking, cooking / "videos", cooking / "videos" / "deep" / "a.mp4", cooking / "new.mp4"):
        found = fitting_run([asked])
        assert found is not None and found.folder == run, asked
    for other in (tmp_path, tmp_path / "cooking2", tmp_path / "holiday.mp4"):
        assert fitting_run([other]) is None, other
    assert fitting_run([cooking / "new.mp4", tmp_path / "holiday.mp4"]) is None  # of several videos, all must fit
    assert fitting_run([tmp_path], [cooking]) is not None  # of the alternatives, one
    assert fitting_run([]) is None


def test_links_and_paths_through_other_folders_lead_to_the_same_place(
    tmp_path: Path, cooking: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(tmp_path / "model", cooking)
    (tmp_path / "link").symlink_to(cooking / "videos")
    assert fitting_run([tmp_path / "link" / "deep" / "a.mp4"]) is not None
    assert fitting_run([cooking / ".." / "holiday.mp4"]) is None
    monkeypatch.chdir(cooking)
    assert fitting_run([Path("videos")]) is not None


def test_the_newest_comes_first_wherever_it_is(tmp_path: Path, cooking: Path) -> None:
    numbered, named, unknown = new_run(), tmp_path / "named", new_run()
    finish(numbered, cooking, at=1)
    finish(named, cooking, at=2)
    finish(unknown, at=3)  # of an earlier version, which did not record its folder
    assert [run.folder for run in finished_runs()] == [unknown, named, numbered]
    assert [run.number for run in finished_runs()] == [2, None, 1]
    found = fitting_run([cooking])
    assert found is not None and found.folder == named
    finish(numbered, cooking, at=9)
    found = fitting_run([cooking])
    assert found is not None and found.folder == numbered
    assert find_model("last") == numbered


def test_a_run_that_is_gone_moved_or_replaced_does_not_count(tmp_path: Path, cooking: Path) -> None:
    gone, moved, replaced, unfinished = (finish(tmp_path / name, cooking) for name in ("g", "m", "r", "u"))
    shutil.rmtree(gone)
    moved.rename(tmp_path / "elsewhere")
    (replaced / "run.json").write_text(json.dumps({"started": "2027-01-01T00:00:00+00:00"}))
    (unfinished / "report.json").unlink()
    assert finished_runs() == []
    assert fitting_run([cooking]) is None
    assert remember_run(tmp_path / "elsewhere", [cooking])
    assert fitting_run([cooking]) == FinishedRun(tmp_path / "elsewhere", (cooking.resolve(),))


@pytest.mark.parametrize("content", ["", "[]", "{", '{"folder": 3}', '{"folder": "a", "roots": [1, null]}', "\x00"])
def test_damaged_records_are_passed_over(tmp_path: Path, cooking: Path, content: str) -> None:
    run = finish(tmp_path / "model", cooking)
    (runs_folder().parent / "models" / "0.json").write_text(content)
    assert [found.folder for found in finished_runs()] == [run]


def test_where_nothing_can_be_recorded(tmp_path: Path, cooking: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    assert not remember_run(finish(tmp_path / "model"), [cooking])
    assert finished_runs() == []


def test_a_number_names_a_run_and_an_existing_folder_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finish(new_run())
    monkeypatch.chdir(tmp_path)
    for name in ("1", "0001", "last", run, str(run)):
        assert find_model(name) == run
    for name in ("2", "123456789"):
        with pytest.raises(ModelError, match=f"^no run {name}, and no folder of that name; 'mttsg models' lists"):
            find_model(name)
    assert find_model("1" * 50) == Path("1" * 50)
    for name in ("1", "last"):
        (tmp_path / name).mkdir()
        assert find_model(name) == Path(name)
