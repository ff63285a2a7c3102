"""Where no encoder is named: a pretrained one that is on this computer or can be had, else the built-in one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants, snapshot_download

from mttsg_core.encoders import build_encoder, build_text_encoder
from mttsg_core.encoders.defaults import default_sentence_encoder, default_video_encoder
from mttsg_core.encoders.hf_files import find_files, is_pinned
from mttsg_core.encoders.known import KNOWN, full_name
from mttsg_core.errors import ConfigError
from mttsg_core.utils import hf_hub
from tests.helpers.tiny_encoders import save_bert, save_clip


@pytest.fixture(autouse=True)
def _hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test has an empty cache of the hub, and looks for files as a new process does."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    find_files.cache_clear()
    yield
    find_files.cache_clear()


def downloaded(name: str, tmp_path: Path) -> Path:
    """Put a small model where the model with a short name would be after its download."""
    known = KNOWN[name]
    folder = tmp_path / "hub" / f"models--{known.repo.replace('/', '--')}" / "snapshots" / known.commit
    folder.mkdir(parents=True)
    return save_bert(folder) if known.kind == "text" else save_clip(folder)


def test_names_stand_for_commits() -> None:
    assert all(is_pinned(known.id) for known in KNOWN.values())
    assert {"clip", "siglip2", "dinov2", "minilm"} <= KNOWN.keys()
    assert full_name("hashed") == "hashed"


def test_short_names_are_found_where_their_commits_are(tmp_path: Path) -> None:
    folder = downloaded("clip", tmp_path)
    assert find_files("clip").folder == folder
    assert build_encoder("clip").settings["encoder"] == KNOWN["clip"].id
    downloaded("minilm", tmp_path)
    assert build_text_encoder("minilm").id == KNOWN["minilm"].id


def test_a_text_encoder_clip_is_still_the_text_tower_of_the_encoder(tmp_path: Path) -> None:
    downloaded("clip", tmp_path)
    assert build_text_encoder("clip", encoder_id="clip").id == KNOWN["clip"].id
    with pytest.raises(ConfigError, match="'classic' has none"):
        build_text_encoder("clip", encoder_id="classic")


def test_a_name_that_cannot_be_used_says_why() -> None:
    with pytest.raises(ConfigError, match=r"encoder 'mobileclip': .*pickled.*--encoder clip"):
        build_encoder("mobileclip")
    with pytest.raises(ConfigError, match=r"encoder 'siglip2' \(google/siglip2-base-patch16-224\): .*never downloaded"):
        build_encoder("siglip2", offline=True)


def test_what_is_on_this_computer_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf_hub, "hub_offers", pytest.fail)
    downloaded("clip", tmp_path)
    downloaded("minilm", tmp_path)
    assert (default_video_encoder(), default_sentence_encoder(offline=True)) == ("clip", "minilm")


@pytest.mark.parametrize("offline", [True, False])
def test_without_a_network_it_is_the_built_in_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, offline: bool
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    asked: list[str] = []

    def unreachable(repo: str) -> bool:
        asked.append(repo)
        return False

    monkeypatch.setattr(hf_hub, "hub_offers", unreachable)
    with caplog.at_level(logging.WARNING, "mttsg"):
        assert default_video_encoder(offline=offline) == "classic"
        assert default_sentence_encoder(offline=offline) == "hashed"
    assert len(asked) == (0 if offline else 2)
    reason = "the network is not used" if offline else "cannot be reached"
    assert [record.getMessage().partition(" (")[0] for record in caplog.records] == [
        "encoder classic",
        "text encoder hashed",
    ]
    assert all(record.getMessage().endswith(reason) for record in caplog.records)


def test_what_can_be_had_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hf_hub, "hub_offers", lambda repo: True)

    def download(repo: str, **options: Any) -> str:
        if options["local_files_only"]:
            return str(snapshot_download(repo, **options))
        return str(downloaded("clip", tmp_path))

    monkeypatch.setattr(hf_hub, "snapshot_download", download)
    assert default_video_encoder() == "clip"


def test_a_download_that_fails_leaves_the_built_in_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hf_hub, "hub_offers", lambda repo: True)

    def fail(*_: object, **__: object) -> str:
        raise ConnectionError("cut off")

    monkeypatch.setattr(hf_hub, "snapshot_download", fail)
    with caplog.at_level(logging.WARNING, "mttsg"):
        assert default_video_encoder() == "classic"
    assert "cut off" in caplog.text
