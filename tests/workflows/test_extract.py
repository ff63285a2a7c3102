"""`extract` and `iter_extract`, from Python."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mttsg_core import ExtractOptions, ExtractReport, FeatureOptions, events, extract
from mttsg_core.errors import ConfigError, DataError
from mttsg_core.features.store import read_features
from mttsg_core.workflows.extract import iter_extract
from tests.helpers.video_files import write_video


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two videos, one of them broken."""
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "a.mp4", range(50))
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


def options(tmp_path: Path) -> ExtractOptions:
    return ExtractOptions(device="cpu", cache=str(tmp_path / "cache"), workers=1)


def test_a_single_path_into_the_cache(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = extract(str(videos / "a.mp4"), options=options(tmp_path))
    assert report == ExtractReport(1, tmp_path / "cache")
    assert report.as_dict() == {"videos": 1, "done": 1, "failed": 0, "folder": str(tmp_path / "cache")}
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 1
    assert capsys.readouterr() == ("", "")


def test_failures_are_events_log_lines_and_in_the_report(
    videos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    absent = tmp_path / "absent.mp4"
    with caplog.at_level(logging.WARNING, "mttsg"):
        *passed, report = iter_extract(
            [videos, absent], features=FeatureOptions(encoder="classic"), options=options(tmp_path)
        )
    assert isinstance(report, ExtractReport)
    assert (report.videos, report.done, len(report.failures)) == (3, 1, 2)
    assert [type(event) for event in passed[:2]] == [events.InputFailed, events.ProgressStarted]
    assert {type(event) for event in passed[2:]} == {events.Extracted, events.ExtractionFailed}
    assert sorted(record.getMessage() for record in caplog.records) == sorted(report.failures)


def test_features_of_chosen_rate_into_a_folder(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    extract([videos / "a.mp4"], out, features=FeatureOptions(fps=1), options=options(tmp_path))
    slow = read_features(out / "a.safetensors")
    overwrite = ExtractOptions(device="cpu", workers=1, overwrite=True)
    extract([videos / "a.mp4"], out, features=FeatureOptions(fps=4), options=overwrite)
    assert len(read_features(out / "a.safetensors").clips) == 4 * len(slow.clips)


def test_what_cannot_be_used(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no video files"):
        extract(tmp_path / "empty")
    with pytest.raises(ConfigError, match="neither external features nor a text encoder"):
        extract(videos, features=FeatureOptions(text_encoder="hashed"))
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file"):
        extract(videos, tmp_path / "file")
