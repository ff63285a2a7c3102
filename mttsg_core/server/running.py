"""The server itself: its address, and its life until it is stopped."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI

from mttsg_core.errors import ConfigError
from mttsg_core.utils.text import os_reason

DEFAULT_PORT = 8000
_TRIES = 20  # ports after the default one
_GOODBYE = 1  # seconds for answers that are on their way, such as a video that plays


def open_socket(host: str, port: int | None) -> socket.socket:
    """Return a socket that listens on an address.

    Args:
        host: a name or an address of this computer.
        port: 0 takes any free port; None the usual one, or else the next free one.

    Raises:
        ConfigError: if the address cannot be used, or the port is taken.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"--host {host}: no such address") from error
    ports = range(DEFAULT_PORT, DEFAULT_PORT + _TRIES) if port is None else (port,)
    for number in ports:
        listener = socket.socket(family, socket.SOCK_STREAM)
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # of a server that has just ended
        try:
            listener.bind((address[0], number))
            listener.listen()
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE:
                raise ConfigError(f"--host {host} --port {number}: {os_reason(error)}") from error
        else:
            return listener
    taken = f"port {port} is" if port is not None else f"ports {ports[0]} to {ports[-1]} are"
    raise ConfigError(f"{taken} taken; --port 0 takes any free one")


def address_of(listener: socket.socket, host: str, token: str | None = None) -> str:
    """Return the address to open in a browser."""
    port = listener.getsockname()[1]
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/" + (f"?token={token}" if token else "")


def run(app: FastAPI, listener: socket.socket) -> None:
    """Serve until a signal ends the program; the signal is raised again when all has been put away."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GOODBYE,
        ws="none",
        lifespan="on",
    )
    server = uvicorn.Server(config)
    with _ended_by_hanging_up(server):
        server.run(sockets=[listener])


@contextmanager
def _ended_by_hanging_up(server: uvicorn.Server) -> Iterator[None]:
    """Let the end of the terminal end the server, as Ctrl-C and SIGTERM do by themselves."""
    number = getattr(signal, "SIGHUP", None)
    if number is None or signal.getsignal(number) == signal.SIG_IGN:
        yield
        return
    came = []

    def end(number: int, frame: FrameType | None) -> None:
        came.append(number)
        server.should_exit = True

    before = signal.signal(number, end)
    try:
        yield
    finally:
        signal.signal(number, before)
    if came:
        signal.raise_signal(number)
