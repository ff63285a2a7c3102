"""Small data sets for the tests of training."""

from __future__ import annotations

from pathlib import Path

import pytest

from mttsg_core.data.dataset import Dataset
from tests.helpers.tiny import dataset


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return dataset(tmp_path / "features")


@pytest.fixture
def validation(tmp_path: Path) -> Dataset:
    return dataset(tmp_path / "features", 3, seed=1, name="val")
