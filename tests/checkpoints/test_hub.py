"""Models of the Hub: names in place of folders, pushing, and the model card. The Hub is a small local server."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from huggingface_hub import HfApi, ModelCard, constants, snapshot_download

from mttsg_core import Grounder
from mttsg_core.checkpoints import hub
from mttsg_core.checkpoints.checkpoint import CONFIG, REPORT, WEIGHTS, load_model
from mttsg_core.checkpoints.model_card import CARD, model_card, write_card
from mttsg_core.errors import ConfigError, ModelError
from mttsg_core.features.store import EXTERNAL
from mttsg_core.utils import hf_hub
from tests.conftest import Mttsg
from tests.helpers.tiny import model_folder

REPO = "ada/moments"
TRAINING_REPORT = {
    "best_epoch": 3,
    "epochs": 5,
    "seconds": 150.0,
    "videos": 1200,
    "pairs": 5000,
    "parameters": 1_234_567,
    "validation": {"R@1,IoU=0.5": 61.24, "mIoU": 52.0, "mAP": 40.0},
    "intervals": {"R@1,IoU=0.5": [58.0, 64.4]},
}


class Hub(ThreadingHTTPServer):
    """The parts of the Hub's interface that are needed to push a model and to download it.

    Attributes:
        files: content of each repository, by path.
        user: account of the token; None for an invalid token.
        refuses_commits: whether every commit is answered with status 403.
        downloads: paths of the files that were sent.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, dict[str, bytes]] = {}
        self.user: dict[str, Any] | None = {"name": "ada", "orgs": [{"name": "lab"}]}
        self.refuses_commits = False
        self.downloads: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def api(self) -> HfApi:
        return HfApi(endpoint=self.address, token="hf_of_ada")

    def revision(self, repo: str) -> str:
        return hashlib.sha1(repr(sorted(self.files[repo].items())).encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = urlsplit(self.path).path.strip("/")
        if path == "api/whoami-v2":
            self._json(self.server.user or {"error": "Invalid user token."}, 200 if self.server.user else 401)
            return
        repo = "/".join(path.removeprefix("api/models/").split("/")[:2])
        files = self.server.files.get(repo)
        if files is None:
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        elif "/tree/" in path:
            self._json(
                [{"type": "file", "path": name, "size": len(data), "oid": _oid(data)} for name, data in files.items()]
            )
        elif "/resolve/" in path:
            name = path.split("/resolve/")[1].partition("/")[2]
            if self.command == "GET":
                self.server.downloads.append(name)
            headers = {"ETag": f'"{_oid(files[name])}"', "X-Repo-Commit": self.server.revision(repo)}
            self._send(files[name], 200, headers)
        elif path.endswith(("revision/main", repo)):
            self._json({"id": repo, "sha": self.server.revision(repo), "siblings": []})
        else:
            self._json({"error": "no such revision"}, 404, {"X-Error-Code": "RevisionNotFound"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        path = urlsplit(self.path).path.strip("/")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if path == "api/repos/create":
            request = json.loads(body)
            repo = f"{request.get('organization') or 'ada'}/{request['name']}"
            self.server.files.setdefault(repo, {})
            self._json({"url": f"{self.server.address}/{repo}", "id": repo})
        elif "/preupload/" in path:
            paths = [file["path"] for file in json.loads(body)["files"]]
            self._json({"files": [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in paths]})
        elif path == "api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif self.server.refuses_commits:
            self._json({"error": "you may not"}, 403)
        elif "/commit/" in path:
            repo = "/".join(path.removeprefix("api/models/").split("/")[:2])
            for line in body.decode().splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    self.server.files[repo][entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            oid = self.server.revision(repo)
            self._json({"commitUrl": f"{self.server.address}/{repo}/commit/{oid}", "commitOid": oid, "success": True})

    def _json(self, content: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(content).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, data: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _oid(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """Start a Hub with an empty download cache."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # requests go to this server only
    with Hub() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        download = partial(snapshot_download, endpoint=running.address, cache_dir=tmp_path / "downloads")
        monkeypatch.setattr(hf_hub, "snapshot_download", download)
        yield running
        running.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a finished model folder, with the state of its training."""
    written = model_folder(tmp_path / "model")
    (written / REPORT).write_text(json.dumps(TRAINING_REPORT))
    (written / "state").mkdir()
    (written / "state" / "training.safetensors").write_bytes(b"large")
    (written / "log.jsonl").write_text("{}\n")
    return written


def test_a_pushed_model_is_downloaded_by_its_name(server: Hub, folder: Path) -> None:
    page = hub.push_model(folder, REPO, server.api)
    assert page == f"{server.address}/{REPO}"
    assert set(server.files[REPO]) == {CONFIG, WEIGHTS, REPORT, CARD}
    downloaded = hub.find_model(REPO)
    assert (downloaded / WEIGHTS).read_bytes() == (folder / WEIGHTS).read_bytes()
    assert load_model(downloaded).fingerprint == load_model(folder).fingerprint
    assert CARD not in server.downloads
    assert hub.find_model(Path(REPO)) == downloaded  # as the command line gives it


def test_a_downloaded_model_needs_no_network(server: Hub, folder: Path) -> None:
    hub.push_model(folder, REPO, server.api)
    with pytest.raises(ModelError, match=r"ada/moments: .*never downloaded.* is not used"):
        hub.find_model(REPO, offline=True)
    downloaded = hub.find_model(REPO)
    server.downloads.clear()
    assert hub.find_model(REPO, offline=True) == downloaded
    server.shutdown()
    server.server_close()
    assert hub.find_model(REPO) == downloaded
    assert server.downloads == []
    with pytest.raises(ModelError, match=r"ada/other: .*cannot be reached"):
        hub.find_model("ada/other")


def test_a_download_shows_progress_bars_on_a_terminal_only(
    server: Hub, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hub.push_model(folder, REPO, server.api)
    capfd.readouterr()
    hub.find_model(REPO)
    assert capfd.readouterr() == ("", "")


def test_a_new_revision_is_downloaded_and_the_old_one_can_be_named(server: Hub, folder: Path) -> None:
    hub.push_model(folder, REPO, server.api)
    first = hub.find_model(REPO)
    (folder / REPORT).write_text(json.dumps({**TRAINING_REPORT, "epochs": 9}))
    hub.push_model(folder, REPO, server.api)
    second = hub.find_model(REPO)
    assert second != first
    assert json.loads((second / REPORT).read_text())["epochs"] == 9
    assert hub.find_model(f"{REPO}@{first.name}") == first


def test_names_that_are_not_models_are_refused_in_one_line(
    server: Hub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["ada/other"] = {CONFIG: b'{"model_type": "bert"}', WEIGHTS: b"never downloaded"}
    server.files["ada/empty"] = {"README.md": b"# soon"}
    server.files[REPO] = {}
    for name, reason in (
        ("ada/other", "not an mttsg model"),
        ("ada/empty", "not an mttsg model"),
        ("bob/none", "no such"),
    ):
        with pytest.raises(ModelError, match=f"^{name}: {reason}") as caught:
            hub.find_model(name)
        assert "\n" not in str(caught.value)
    assert WEIGHTS not in server.downloads
    with pytest.raises(ModelError, match=f"^{REPO}: no such revision"):
        hub.find_model(f"{REPO}@v9")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bob" / "none").mkdir(parents=True)
    assert hub.find_model("bob/none") == Path("bob/none")  # an existing folder comes first
    assert hub.find_model("a/b/c") == Path("a/b/c")
    assert hub.find_model(folder) == folder


def test_the_right_to_push_is_checked_before_training(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.check_push(REPO, server.api)
    hub.check_push("lab/moments", server.api)
    for name in ("moments", "a/b/c", "-a/b", "ada/mo ments", ""):
        with pytest.raises(ConfigError, match="user/name"):
            hub.check_push(name, server.api)
    with pytest.raises(ModelError, match="bob/moments: you may not push there: on the hub you are ada and lab"):
        hub.check_push("bob/moments", server.api)
    server.user = {"name": "ada", "orgs": [], "auth": {"accessToken": {"role": "read"}}}
    with pytest.raises(ModelError, match="can only read"):
        hub.check_push(REPO, server.api)
    server.user = None
    with pytest.raises(ModelError, match=r"status 401 \(your token is invalid"):
        hub.check_push(REPO, server.api)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(ModelError, match="not logged in"):
        hub.check_push(REPO, HfApi(endpoint=server.address))
    server.shutdown()
    server.server_close()
    with pytest.raises(ModelError, match="cannot be reached"):
        hub.check_push(REPO, server.api)


def test_a_refused_push_keeps_the_model(server: Hub, folder: Path) -> None:
    server.refuses_commits = True
    with pytest.raises(ModelError, match=r"^ada/moments: refused by the Hugging Face Hub with status 403"):
        hub.push_model(folder, REPO, server.api)
    assert load_model(folder)


def test_only_a_finished_model_is_pushed(server: Hub, folder: Path) -> None:
    (folder / REPORT).unlink()
    with pytest.raises(ModelError, match="no finished model"):
        hub.push_model(folder, REPO, server.api)
    assert server.files == {}


def test_an_edited_card_is_kept_unless_it_is_overwritten(server: Hub, folder: Path) -> None:
    assert write_card(folder) == folder / CARD
    (folder / CARD).write_text("edited")
    write_card(folder)
    hub.push_model(folder, REPO, server.api)
    assert server.files[REPO][CARD] == b"edited"
    write_card(folder, overwrite=True)
    assert (folder / CARD).read_text().startswith("---\n")


def test_the_card_describes_the_model(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text())
    config["network"]["mining"] = False
    text = model_card(config, TRAINING_REPORT, REPO)
    header = ModelCard(text).data.to_dict()  # type: ignore[no-untyped-call]
    assert (header["license"], header["library_name"]) == ("unknown", "mttsg")
    assert "base_model" not in header
    for line in (
        "# moments",
        "| videos | 1,200 |",
        "| R@1,IoU=0.5 | 61.2 | 58.0–64.4 |",
        "| mIoU | 52.0 |  |",
        "| parameters | 1,234,567 |",
        "| parts switched off | mining |",
        "| epochs | 5, epoch 3 kept |",
        f'mttsg ground video.mp4 "person opens door" --model {REPO}',
    ):
        assert line in text.splitlines(), line
    assert "mAP" not in text
    assert "--features" not in text


def test_the_card_names_the_pretrained_encoder(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text())
    config["features"]["encoder"] = "lab/image-and-text@0123abc"
    text = model_card(config, TRAINING_REPORT, "my model")
    header = ModelCard(text).data.to_dict()  # type: ignore[no-untyped-call]
    assert header["base_model"] == ["lab/image-and-text"]
    assert "--model 'my model'" in text


def test_a_damaged_report_is_refused(server: Hub, folder: Path) -> None:
    (folder / REPORT).write_text("{}")
    with pytest.raises(ModelError, match=f"{folder.name}: damaged model folder"):
        hub.push_model(folder, REPO, server.api)


def test_the_card_of_a_model_without_validation_or_for_external_features(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text())
    config["features"] = {"encoder": EXTERNAL, "clip_dim": 6}
    text = model_card(config, {**TRAINING_REPORT, "validation": {}, "intervals": {}}, "m")
    assert "no validation split" in text
    assert "--model m --features FEATURES" in text
    assert "Grounder" not in text


def test_the_command_line_accepts_a_name_in_place_of_a_folder(
    server: Hub, mttsg: Mttsg, trained: Path, corpus: Path, cache: Path, clip: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(trained, folder)
    hub.push_model(folder, REPO, server.api)
    ground = ["ground", clip, "the red circle moves left", "--cache", cache, "--workers", "1"]
    evaluate = ["evaluate", corpus, "--json", "--cache", cache, "--workers", "1"]
    for command in (ground, evaluate):
        result = mttsg(*command, "--model", REPO)
        assert (result.code, result.errors) == (0, [])
        assert f"model: {REPO} (data, 19 videos, " in result.err
        assert result.out == mttsg(*command, "--model", folder).out.replace('"copy (', f'"{REPO} (')
        assert mttsg(*command, "--model", REPO, "--offline").out == result.out
    for name, reason in (("bob/none", "no such folder, and no such model"), ("ada", "not a model folder")):
        result = mttsg(*ground, "--model", name)
        assert (result.code, result.out, len(result.errors)) == (2, "", 1)
        assert reason in result.errors[0]
    assert Grounder.load(REPO, device="cpu").fingerprint == Grounder.load(folder, device="cpu").fingerprint
