"""`setup`, `doctor` and `cache`: what is on this computer, and whether it works."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from huggingface_hub import constants

from mttsg_core.encoders.hf_files import find_files
from mttsg_core.encoders.known import KNOWN
from mttsg_core.workflows import doctor
from tests.conftest import Mttsg, start_mttsg
from tests.helpers.tiny_encoders import save_bert, save_clip
from tests.helpers.video_files import write_video


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    find_files.cache_clear()
    return tmp_path / "hub"


def download_defaults(hub: Path) -> None:
    """Put small models where the default encoders would be."""
    for name, save in (("clip", save_clip), ("minilm", save_bert)):
        folder = hub / f"models--{KNOWN[name].repo.replace('/', '--')}" / "snapshots" / KNOWN[name].commit
        folder.mkdir(parents=True)
        save(folder)
    find_files.cache_clear()


class TestSetup:
    """Encoders ahead of time."""

    def test_what_is_there_is_named_with_size_and_place(self, mttsg: Mttsg, hub: Path) -> None:
        download_defaults(hub)
        ran = mttsg("setup")
        assert (ran.code, ran.out) == (0, "")
        lines = ran.err.splitlines()
        assert [line.split(": ")[0] for line in lines] == ["encoder clip", "text encoder minilm"]
        assert all("kB in " in line and "snapshots" in line for line in lines)

    def test_without_a_network_each_model_is_an_error(self, mttsg: Mttsg, hub: Path) -> None:
        ran = mttsg("setup")
        assert (ran.code, len(ran.errors)) == (2, 2)
        assert "encoder 'clip' (laion/CLIP-ViT-B-32-laion2B-s34B-b79K): " in ran.errors[0]
        assert "getting it, about 604 MB" in ran.err

    def test_named_encoders_only(self, mttsg: Mttsg, hub: Path, tmp_path: Path) -> None:
        folder = save_clip(tmp_path / "mine")
        ran = mttsg("setup", "--encoder", folder, "--json")
        [model] = json.loads(ran.out)["models"]
        assert (ran.code, model["folder"], model["failure"]) == (0, str(folder), None)
        ran = mttsg("setup", "--encoder", folder, "--text-encoder", "nowhere/at-all")
        assert (ran.code, len(ran.errors)) == (1, 1)
        assert mttsg("setup", "--encoder", "classic", "--quiet").err == ""


class TestDoctor:
    """One line for each check."""

    def test_each_check_is_a_line(self, mttsg: Mttsg, hub: Path, tmp_path: Path) -> None:
        ran = mttsg("doctor", "--cache", tmp_path / "cache", "--device", "cpu")
        assert ran.code == 0, ran.out
        lines = {line.split()[0]: line.split(None, 2)[1:] for line in ran.out.splitlines()}
        assert list(lines) == ["python", "torch", "device", "ffmpeg", "cache", "models", "hub", "self-test"]
        assert lines["models"] == ["note", "on this computer: none; missing: clip, minilm: run 'mttsg setup'"]
        assert lines["hub"][0] == "note"
        assert lines["self-test"][0] == "ok" and "4 clips of a 2-second video" in lines["self-test"][1]
        assert "h264" in lines["ffmpeg"][1]

    def test_models_on_this_computer(self, mttsg: Mttsg, hub: Path) -> None:
        download_defaults(hub)
        checks = {check["name"]: check for check in json.loads(mttsg("doctor", "--json").out)["checks"]}
        assert checks["models"]["status"] == "ok"
        assert "clip" in checks["models"]["text"] and "minilm" in checks["models"]["text"]

    def test_a_check_that_fails_is_1_and_stops_no_other(
        self, mttsg: Mttsg, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("in the way")
        monkeypatch.setattr(doctor, "_write_video", lambda path: path.write_text("no video"))
        ran = mttsg("doctor", "--cache", tmp_path / "file", "--device", "cuda:99", "--json")
        report = json.loads(ran.out)
        assert (ran.code, report["ok"], len(report["checks"])) == (1, False, 8)
        failed = {check["name"] for check in report["checks"] if check["status"] == "failed"}
        assert failed == {"device", "cache", "self-test"}


class TestCache:
    """What the cache holds."""

    def test_it_is_listed_and_pruned(self, mttsg: Mttsg, tmp_path: Path) -> None:
        videos = tmp_path / "videos"
        videos.mkdir()
        for number, name in enumerate("ab"):
            write_video(videos / f"{name}.mp4", range(25 + number))
        folder = ("--cache", tmp_path / "cache")
        assert mttsg("extract", videos, "--encoder", "classic", "--workers", "1", *folder).code == 0
        (videos / "a.mp4").unlink()
        report = json.loads(mttsg("cache", *folder, "--json").out)
        [group] = report["groups"]
        assert (group["encoder"], group["videos"], group["stale"]) == ("classic", 2, 1)
        ran = mttsg("cache", *folder)
        assert ran.code == 0
        [row] = [line.split() for line in ran.out.splitlines() if "classic" in line]
        assert (row[2], row[3], row[-1]) == ("2", "2", "1")
        ran = mttsg("cache", "--prune", *folder)
        assert (ran.code, ran.out) == (0, "")
        assert "deleted: 1 video, " in ran.err
        assert json.loads(mttsg("cache", "--prune", *folder, "--json").out)["deleted"] == 0

    def test_an_empty_cache_and_an_age_without_pruning(self, mttsg: Mttsg, tmp_path: Path) -> None:
        ran = mttsg("cache", "--cache", tmp_path / "none")
        assert (ran.code, ran.err) == (0, "")
        ran = mttsg("cache", "--older-than", "3")
        assert (ran.code, ran.errors) == (2, ["error: --older-than needs --prune"])


@pytest.mark.subprocess
def test_a_hub_that_never_answers_ends_in_one_line(tmp_path: Path) -> None:
    """As a captive portal or a proxy does: it accepts the connection and stays silent."""
    video = write_video(tmp_path / "a.mp4", range(25))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
        environment |= {
            "HF_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "HF_HOME": str(tmp_path / "hub"),
            "HF_HUB_DOWNLOAD_TIMEOUT": "1",
            "XDG_DATA_HOME": str(tmp_path / "data"),
        }
        command = ("ground", video, "a dog walks", "--encoder", "someone/clip", "--cache", tmp_path / "cache")
        _, err = start_mttsg(*command, env=environment).communicate(timeout=120)
    [line] = [line for line in err.decode().splitlines() if line.startswith("error: ")]
    assert (
        "encoder 'someone/clip': no such folder, never downloaded, and the Hugging Face Hub cannot be reached" in line
    )
