"""Who may ask the server, and the headers of every answer.

The page is for whoever started the server. What a browser sends on behalf of other pages is refused: by the name under
which the server was addressed (so that a foreign name cannot be pointed at this computer), by the origin of a request,
and, where others can reach the address, by a token.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
TOKEN = "token"  # of the address
_MAX_BODY = 64 << 10  # bytes; no question or correction is longer
_COOKIE_SECONDS = 30 * 24 * 3600
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        hosts: names, in lower case, under which the server may be addressed.
        any_address: whether it may be addressed under every IP address as well, as it listens on all of them.
        token: what a browser must show; None where only this computer reaches the server.
        cookie: name of the cookie that keeps the token; another one for each server of this computer.
    """

    hosts: frozenset[str] = LOOPBACK
    any_address: bool = False
    token: str | None = field(default=None, repr=False)
    cookie: str = "mttsg"

    @classmethod
    def for_address(cls, host: str, port: int, *, need_token: bool = False) -> Access:
        """Return who may ask a server that listens on an address: beyond this computer, whoever has a new token.

        Args:
            host: a name or an address.
            port: of the server.
            need_token: ask for a token on this computer as well, because others work on it too.
        """
        cookie = f"mttsg-{port}"
        if is_loopback(host):
            hosts = LOOPBACK | {host.lower()}
            return cls(hosts, token=secrets.token_urlsafe(24) if need_token else None, cookie=cookie)
        names = {host, socket.gethostname(), socket.getfqdn()}
        hosts = LOOPBACK | {name.lower() for name in names}
        return cls(hosts, _is_any(host), secrets.token_urlsafe(24), cookie)

    def takes_host(self, header: str) -> bool:
        """Return whether a `Host` header is a name of this server, whatever the port, which a tunnel may change."""
        try:
            name = urlsplit(f"//{header}").hostname
        except ValueError:
            return False
        if name is None or "@" in header or "/" in header:
            return False
        return name in self.hosts or (self.any_address and _is_address(name))

    def takes_token(self, shown: str | None) -> bool:
        """Return whether what a browser shows is the token."""
        if self.token is None:
            return True
        return shown is not None and secrets.compare_digest(shown.encode("utf-8", "replace"), self.token.encode())


class Guard:
    """ASGI middleware: refuses requests that `access` does not allow, and sets the headers of every answer."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        request = Request(scope)
        is_first = self._is_first_visit(request)
        refusal = self._refusal(request, is_first=is_first)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
                if is_first and refusal is None:
                    headers.append("Set-Cookie", self._cookie())
            await send(message)

        answer = self._app if refusal is None else refusal
        await answer(scope, receive, send_guarded)

    def _refusal(self, request: Request, *, is_first: bool) -> PlainTextResponse | None:
        """Return the answer to a request that is refused, or None."""
        host = request.headers.get("host", "")
        if not self._access.takes_host(host):
            return PlainTextResponse("This server has another name.", 421)
        if _is_foreign(request, host):
            return PlainTextResponse("Requests of other pages are refused.", 403)
        if not (is_first or self._access.takes_token(request.cookies.get(self._access.cookie))):
            return PlainTextResponse("Open the address that 'mttsg serve' printed, with its token.", 401)
        if request.method in ("GET", "HEAD"):
            return None
        length = request.headers.get("content-length", "")
        if "transfer-encoding" in request.headers or (length and not length.isdecimal()):
            return PlainTextResponse("The length of the request is missing.", 411)
        return PlainTextResponse("The request is too long.", 413) if int(length or 0) > _MAX_BODY else None

    def _is_first_visit(self, request: Request) -> bool:
        """Return whether a request for the page shows the token in its address."""
        if self._access.token is None or request.url.path != "/" or request.method != "GET":
            return False
        return self._access.takes_token(request.query_params.get(TOKEN))

    def _cookie(self) -> str:
        value = f"{self._access.cookie}={self._access.token}"
        return f"{value}; Path=/; Max-Age={_COOKIE_SECONDS}; HttpOnly; SameSite=Strict"


def is_loopback(host: str) -> bool:
    """Return whether only this computer can reach an address.

    >>> is_loopback("localhost"), is_loopback("127.0.0.2"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _is_any(host: str) -> bool:
    """Return whether an address stands for all addresses of this computer."""
    return _is_address(host) and ipaddress.ip_address(host).is_unspecified


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_foreign(request: Request, host: str) -> bool:
    """Return whether a browser sends a request on behalf of another page. Links to the page itself are allowed."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        return True
    site = request.headers.get("sec-fetch-site", "none")
    is_visit = request.url.path == "/" and request.headers.get("sec-fetch-mode") == "navigate"
    return site not in ("none", "same-origin") and not (is_visit and request.method == "GET")
