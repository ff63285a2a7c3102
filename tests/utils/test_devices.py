"""The choice of a device, and the number of CPU threads."""

from __future__ import annotations

import pytest
import torch

from mttsg_core.errors import ConfigError
from mttsg_core.utils import devices


def test_unknown_and_unavailable_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="device 'cuda' is not available"):
        devices.choose_device("cuda")
    with pytest.raises(ConfigError, match="device 'meta' is not available"):
        devices.choose_device("meta")
    with pytest.raises(ConfigError, match="unknown device 'gpu'"):
        devices.choose_device("gpu")


def test_auto_prefers_cuda_then_mps_then_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert devices.choose_device("auto").type == "cuda"
    assert devices.choose_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ConfigError, match="device 'cuda:2' is not available"):
        devices.choose_device("cuda:2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.choose_device("auto").type == "mps"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert devices.choose_device("auto").type == "cpu"


def test_threads_are_limited_on_the_cpu_only_and_the_user_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", limits.append)
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    devices.limit_threads(torch.device("cpu"))
    monkeypatch.delenv("OMP_NUM_THREADS")
    devices.limit_threads(torch.device("cuda"))
    assert limits == []
    devices.limit_threads(torch.device("cpu"))
    assert limits == [2]
    monkeypatch.setattr(devices, "_ALL_THREADS", 16)
    with pytest.raises(ValueError, match="x"), devices.all_threads():
        raise ValueError("x")
    assert limits == [2, 16, 8]
