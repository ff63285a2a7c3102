"""The digest of features: the same wherever they are, another when a value changes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mttsg_core.features.digest import ENDS, WHOLE, digest_features
from mttsg_core.features.store import write_features
from tests.helpers.tiny import features


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Features of two videos, as this program and as others write them."""
    folder = tmp_path / "features"
    folder.mkdir()
    write_features(folder / "a.safetensors", features(400), "a.mp4", Path("/here/a.mp4"))
    np.save(folder / "b.npy", features(4000).clips)
    return {"a": folder / "a.safetensors", "b": folder / "b.npy"}


@pytest.mark.parametrize("whole_bytes", [1 << 30, 0])
def test_it_is_that_of_the_values_wherever_the_files_are(files: dict[str, Path], whole_bytes: int) -> None:
    first = digest_features(files, whole_bytes)
    assert first.digest.startswith("sha256:")
    assert (first.of, first.videos) == (WHOLE if whole_bytes else ENDS, 2)
    elsewhere = {video: path.parent / f"moved-{path.name}" for video, path in files.items()}
    write_features(elsewhere["a"], features(400), "other.mp4", Path("/there/other.mp4"))
    shutil.copy(files["b"], elsewhere["b"])
    assert digest_features(elsewhere, whole_bytes).digest == first.digest
    assert digest_features({"a": files["b"], "b": files["a"]}, whole_bytes).digest != first.digest
    assert digest_features({"a": files["a"]}, whole_bytes).digest != first.digest


def test_another_value_is_another_digest(files: dict[str, Path]) -> None:
    whole, ends = (digest_features(files, size).digest for size in (1 << 30, 0))
    made = features(400)
    clips = made.clips.copy()
    clips[200, 3] += 1  # in the middle of the file, which only the digest of the content reads
    write_features(files["a"], replace(made, clips=clips))
    assert digest_features(files).digest != whole
    write_features(files["a"], features(401))
    assert digest_features(files, 0).digest != ends


def test_a_damaged_file_has_a_digest_too(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"\xff" * 100)
    assert digest_features({"a": path}).digest != digest_features({}).digest
