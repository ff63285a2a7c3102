"""The address of the server."""

from __future__ import annotations

import socket

import pytest

from mttsg_core.errors import ConfigError
from mttsg_core.server import running
from mttsg_core.server.running import address_of, open_socket


def test_the_usual_port_or_the_next_free_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_socket("127.0.0.1", 0) as taken:
        number = taken.getsockname()[1]
        monkeypatch.setattr(running, "DEFAULT_PORT", number)
        with open_socket("127.0.0.1", None) as next_one:
            assert number < next_one.getsockname()[1] < number + 20
        with pytest.raises(ConfigError, match=f"port {number} is taken; --port 0"):
            open_socket("127.0.0.1", number)


def test_addresses_that_cannot_be_used() -> None:
    for host in ("192.0.2.7", "no such host"):
        with pytest.raises(ConfigError, match="--host"):
            open_socket(host, 0)


def test_what_is_printed_can_be_opened() -> None:
    with open_socket("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert address_of(listener, "127.0.0.1") == f"http://127.0.0.1:{port}/"
        assert address_of(listener, "0.0.0.0", "secret") == f"http://127.0.0.1:{port}/?token=secret"
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass  # it listens before it answers
