"""`mttsg ground` on videos whose features are in the cache: each is read once, and only the rest is extracted."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mttsg_core.features import extraction, identity
from mttsg_core.features import store as features
from tests.cli.test_ground import QUERY, tsv
from tests.conftest import Mttsg


@pytest.fixture
def folder(corpus: Path, tmp_path: Path) -> Path:
    """Three videos."""
    made = tmp_path / "videos"
    made.mkdir()
    for source in sorted((corpus / "videos").glob("*.mp4"))[:3]:
        shutil.copy2(source, made)
    return made


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The feature files that are read, in order."""
    paths: list[Path] = []
    read_features = features.read_features

    def note(path: Path, video: str | None = None) -> features.VideoFeatures:
        paths.append(path)
        return read_features(path, video)

    for module in (features, extraction):
        monkeypatch.setattr(module, "read_features", note)
    return paths


@pytest.fixture
def extracted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the videos that an extraction is asked for."""
    names: list[str] = []
    extract = extraction.extract

    def note(jobs: list[extraction.ExtractionJob], *arguments: object, **options: object) -> object:
        names.extend(job.video.name for job in jobs)
        return extract(jobs, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(extraction, "extract", note)
    return names


def test_each_file_is_read_once(
    ground: Mttsg, folder: Path, tmp_path: Path, read: list[Path], extracted: list[str]
) -> None:
    cached = ("--cache", tmp_path / "cache")
    first = ground(folder, QUERY, *cached)
    assert (first.code, len(extracted)) == (0, 3)
    read.clear()
    extracted.clear()
    again = ground(folder, QUERY, *cached)
    assert (again.code, again.out) == (0, first.out)
    assert len(read) == len(set(read)) == 3
    assert extracted == []


def test_only_what_is_missing_is_extracted(ground: Mttsg, folder: Path, tmp_path: Path, extracted: list[str]) -> None:
    cached = ("--cache", tmp_path / "cache")
    first, second, third = sorted(folder.iterdir())
    for video in (first, third):
        assert ground(video, QUERY, *cached).code == 0
    extracted.clear()
    ran = ground(folder, QUERY, "--all", *cached)
    assert sorted(row["video"] for row in tsv(ran.out)) == [str(first), str(second), str(third)]
    assert extracted == [second.name]


def test_damaged_features_are_made_anew(ground: Mttsg, folder: Path, tmp_path: Path) -> None:
    cached = ("--cache", tmp_path / "cache")
    whole = ground(folder, QUERY, *cached)
    files = sorted((tmp_path / "cache").rglob("*.safetensors"))
    files[0].write_bytes(files[0].read_bytes()[:100])
    files[1].write_bytes(b"")
    ran = ground(folder, QUERY, *cached)
    assert (ran.code, ran.out) == (0, whole.out)
    assert features.read_features(files[0]).duration


def test_a_video_that_was_damaged_like_its_features_costs_itself(
    ground: Mttsg, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, *others = sorted(folder.iterdir())
    broken.write_text("no video")
    for module in (features, identity):  # so that it is found in the cache still
        monkeypatch.setattr(module, "file_identity", lambda path: path.stem)
    assert ground(folder, QUERY, "--cache", tmp_path / "named").code == 1
    [made] = {path.parent for path in (tmp_path / "named").rglob("*.safetensors")}
    (made / f"{broken.stem}.safetensors").write_bytes(b"no features")
    ran = ground(folder, QUERY, "--all", "--cache", tmp_path / "named")
    assert (ran.code, len(ran.errors)) == (1, 1)
    assert ran.errors[0].startswith(f"error: {broken}: ")
    assert sorted(row["video"] for row in tsv(ran.out)) == list(map(str, others))


def test_features_that_do_not_fit_the_model_cost_their_own_video_only(
    ground: Mttsg, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = ("--cache", tmp_path / "cache")
    first = ground(folder, QUERY, "--all", *cached)
    read_features = features.read_features
    seen: list[Path] = []

    def read_other(path: Path, video: str | None = None) -> features.VideoFeatures:
        seen.append(path)
        found = read_features(path, video)
        return replace(found, fingerprint={"encoder": "another"}) if len(seen) == 2 else found

    monkeypatch.setattr(features, "read_features", read_other)
    again = ground(folder, QUERY, "--all", *cached)
    assert again.code == 1
    kept = [row for row in tsv(first.out) if row["video"] != str(sorted(folder.iterdir())[1])]
    assert tsv(again.out) == [{**row, "rank": str(rank)} for rank, row in enumerate(kept, start=1)]
    [line] = [line for line in again.err.splitlines() if line.startswith("error: ")]
    assert sorted(folder.iterdir())[1].name in line
