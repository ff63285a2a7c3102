"""Downloads from the Hugging Face Hub where something is missing on this computer."""

from __future__ import annotations

import pytest

from mttsg_core.errors import ModelError
from mttsg_core.utils import hf_hub


def test_without_a_home_folder_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> str:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(hf_hub, "snapshot_download", unknown)
    with (
        pytest.raises(ModelError, match=r"^user/name: the home folder is unknown: set HF_HOME"),
        hf_hub.hub_errors("user/name", "user/name", ModelError),
    ):
        hf_hub.download("user/name", None, ["*"], offline=True)


def test_other_errors_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        raise RuntimeError("a bug")

    monkeypatch.setattr(hf_hub, "snapshot_download", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        hf_hub.download("user/name", None, ["*"], offline=True)
