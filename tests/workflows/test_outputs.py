"""Output files: through links, told beforehand whether they can be written, and written again if they are damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from mttsg_core.errors import ConfigError
from mttsg_core.workflows.outputs import OutputState, output_state, save

ROW = '"a.mp4", "query": "x", "rank": 1, "start": 0.0, "end": 1.0, "score": 0.5}'
WHOLE = {
    "csv": "video,query,rank,start,end,score\na.mp4,x,1,0.000,1.000,0.500\n",
    "tsv": "video\tquery\trank\tstart\tend\tscore\na.mp4\tx\t1\t0.000\t1.000\t0.500\n",
    "jsonl": f'{{"video": {ROW}\n',
    "json": '[\n  {\n    "video": "a.mp4"\n  }\n]\n',
    "html": "<!doctype html>\n<html></html>\n",
    "vtt": "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nx\n\n",
}


@pytest.mark.parametrize("form", WHOLE)
def test_a_file_that_is_cut_off_is_not_finished(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"o.{form}"
    path.write_text(WHOLE[form])
    assert output_state(path) is OutputState.FINISHED
    path.write_text(WHOLE[form][:-4])
    assert output_state(path) is OutputState.DAMAGED
    path.write_bytes(WHOLE[form].encode() + bytes(100))
    assert output_state(path) is OutputState.DAMAGED
    path.write_bytes(b"")
    assert output_state(path) is OutputState.DAMAGED
    path.write_text("mine")  # not written by this program
    assert output_state(path) is OutputState.FINISHED


def write_text(path: Path, text: str, *, complete: bool = True) -> None:
    save(path, lambda part: part.write_text(text), is_complete=lambda: complete)


@pytest.mark.parametrize("dangling", [True, False])
def test_links_are_written_through(tmp_path: Path, dangling: bool) -> None:
    target = tmp_path / "real" / "o.csv"
    target.parent.mkdir()
    link = tmp_path / "link.csv"
    link.symlink_to(target)
    if not dangling:
        target.write_text("old")
    assert output_state(link) is (OutputState.MISSING if dangling else OutputState.FINISHED)
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    write_text(link, "newer", complete=False)
    assert output_state(link) is output_state(target) is OutputState.INCOMPLETE
    assert [path.name for path in tmp_path.iterdir() if path != target.parent] == ["link.csv"]


def test_a_link_to_itself_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(ConfigError, match="a"):
        output_state(tmp_path / "a")


def test_a_mark_of_another_run_is_kept(tmp_path: Path) -> None:
    """Two runs write one file: the mark belongs to the content that is there in the end."""
    path = tmp_path / "o.csv"

    def other_run_in_between() -> bool:
        write_text(path, "incomplete", complete=False)
        return True

    write_text(path, "old", complete=False)
    calls = iter([lambda: True, other_run_in_between])
    save(path, lambda part: part.write_text("complete"), is_complete=lambda: next(calls)())
    assert path.read_text() == "incomplete"
    assert output_state(path) is OutputState.INCOMPLETE
