"""Downloads from the Hugging Face Hub: what stops them, how long they wait, and how their progress is watched."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants, snapshot_download

from mttsg_core.errors import ModelError
from mttsg_core.utils import hf_hub
from mttsg_core.utils.downloads import DownloadMeter, DownloadProgress, watch_downloads
from mttsg_core.utils.hf_hub import HubLimits

SHORT = HubLimits(connect=0.2, read=0.2)


class SilentServer:
    """Accepts connections and never answers, as a captive portal may."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    @property
    def requests(self) -> int:
        return len(self._connections)

    def _accept(self) -> None:
        while True:
            try:
                self._connections.append(self._socket.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        for connection in [self._socket, *self._connections]:
            connection.close()


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SilentServer]:
    """Have the hub's library ask a server that never answers, and nothing else."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    server = SilentServer()
    ask = partial(snapshot_download, endpoint=server.address, cache_dir=tmp_path)
    monkeypatch.setattr(hf_hub, "snapshot_download", ask)
    yield server
    server.close()
    hf_hub.hub_offers.cache_clear()


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


def test_a_hub_that_never_answers_is_given_up_after_one_retry(silent: SilentServer) -> None:
    with (
        pytest.raises(ModelError, match=r"^user/name: .*never downloaded.* cannot be reached: run once with the net"),
        hf_hub.hub_errors("user/name", "user/name", ModelError),
    ):
        hf_hub.download("user/name", None, ["*"], offline=False, limits=SHORT)
    assert silent.requests == 2


def test_a_hub_that_refuses_connections_is_not_asked_again(
    silent: SilentServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[bool] = []

    def ask(*arguments: Any, **options: Any) -> str:
        calls.append(True)
        return snapshot_download(*arguments, endpoint="http://127.0.0.1:9", **options)

    monkeypatch.setattr(hf_hub, "snapshot_download", ask)
    with pytest.raises(ModelError, match="cannot be reached"), hf_hub.hub_errors("user/name", "user/name", ModelError):
        hf_hub.download("user/name", None, ["*"], offline=False, limits=SHORT)
    assert len(calls) == 1


def test_limits_come_from_the_variables_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    assert HubLimits.from_environment() == HubLimits(10, 30)
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "4")
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 4)
    assert HubLimits.from_environment() == HubLimits(10, 4)


def test_whether_the_hub_answers_is_found_out_once(silent: SilentServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", silent.address)
    monkeypatch.setattr(huggingface_hub, "HfApi", partial(huggingface_hub.HfApi, endpoint=silent.address))
    hf_hub.hub_offers.cache_clear()
    assert not hf_hub.hub_offers("user/name", 0.2)
    assert silent.requests == 1
    assert not hf_hub.hub_offers("user/name", 0.2)
    assert silent.requests == 1


def test_offline_nobody_is_asked(silent: SilentServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(threading.Thread, "start", pytest.fail)
    hf_hub.hub_offers.cache_clear()
    assert not hf_hub.hub_offers("user/name")


class TestProgress:
    """What is told of a download."""

    def test_a_meter_reports_to_the_watcher_of_its_thread(self) -> None:
        seen: list[DownloadProgress] = []
        with watch_downloads(seen.append):
            meter = DownloadMeter("user/name", Path("cache"), first_seconds=0)
        threads = [threading.Thread(target=meter.update, args=(done, 100)) for done in (20,)]
        for thread in threads:
            thread.start()
            thread.join()
        meter.finish(100, 100)
        assert seen == [
            DownloadProgress("user/name", Path("cache"), 20, 100),
            DownloadProgress("user/name", Path("cache"), 100, 100, finished=True),
        ]

    def test_nothing_is_reported_of_a_short_download_or_to_nobody(self) -> None:
        seen: list[DownloadProgress] = []
        DownloadMeter("user/name", Path("cache"), first_seconds=0).update(1, 2)
        with watch_downloads(seen.append):
            meter = DownloadMeter("user/name", Path("cache"), first_seconds=60)
        meter.update(1, 2)
        meter.finish(2, 2)
        assert seen == []

    def test_the_bars_of_the_hub_are_counted(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        seen: list[DownloadProgress] = []

        def fake(*_: object, tqdm_class: Any, **__: object) -> str:
            transfer = tqdm_class(total=0, initial=0, unit="B", unit_scale=True, name="snapshot.transfer")
            bar = tqdm_class(total=0, initial=0, unit="B", unit_scale=True, name="snapshot", desc="bytes")
            with tqdm_class(total=2, desc="Fetching 2 files") as files:
                bar.total += 1000
                bar.refresh()
                transfer.update(900)
                bar.update(400)
                time.sleep(0.15)
                bar.update(200)
                files.update(1)
            transfer.set_description_str("complete")
            bar.set_description("complete")
            return str(tmp_path)

        monkeypatch.setattr(hf_hub, "snapshot_download", fake)
        monkeypatch.setattr(hf_hub, "DownloadMeter", partial(DownloadMeter, first_seconds=0))
        with watch_downloads(seen.append):
            assert hf_hub.download("user/name", None, ["*"], offline=True) == tmp_path
        assert [(event.done, event.total, event.finished) for event in seen] == [
            (0, 1000, False),
            (600, 1000, False),
            (600, 1000, True),
        ]
