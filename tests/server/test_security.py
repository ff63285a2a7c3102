"""Who may ask: requests on behalf of other pages are refused, and nothing but the page and its videos is served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from mttsg_core.server.app import Workplace, create_app
from mttsg_core.server.searching import Searcher
from mttsg_core.server.security import Access, is_loopback
from tests.server.conftest import HERE, make_work

ASK = {"query": "a person", "top": 3}


@pytest.fixture(scope="module")
def work(searcher: Searcher, page_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return make_work(searcher, tmp_path_factory.mktemp("security"), page_cache)


@pytest.fixture(scope="module")
def client(work: Workplace) -> Iterator[TestClient]:
    with TestClient(create_app(work, Access()), base_url=HERE) as opened:
        yield opened


@pytest.mark.parametrize("path", ["/", "/assets/app.js", "/assets/page.css", "/api/state", "/media/none", "/nothing"])
def test_every_answer_forbids_what_the_page_does_not_need(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "server" not in headers


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "169.254.169.254", "x@127.0.0.1", "", "[::"]
)
def test_another_name_is_refused(client: TestClient, host: str) -> None:
    for answer in (
        client.get("/", headers={"host": host}),
        client.get("/api/state", headers={"host": host}),
        client.post("/api/ask", json=ASK, headers={"host": host}),
    ):
        assert answer.status_code == 421
        assert "mttsg" not in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:9", "LOCALHOST", "[::1]:8000"])
def test_its_own_names_are_taken_on_any_port(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 200
    origin = {"host": host, "origin": f"http://{host}"}
    assert client.post("/api/ask", json=ASK, headers=origin).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:3000"},
        {"origin": "http://localhost:8000"},
        {"origin": "file://"},
        {"origin": ""},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_requests_of_other_pages_are_refused(client: TestClient, ids: list[str], headers: dict[str, str]) -> None:
    for method, path in (
        ("GET", "/api/state"),
        ("GET", f"/media/{ids[0]}"),
        ("POST", "/api/ask"),
        ("POST", "/api/rows"),
        ("POST", "/api/training"),
        ("DELETE", "/api/rows/right-1"),
    ):
        assert client.request(method, path, json=ASK, headers=headers).status_code == 403


def test_a_link_on_another_page_opens_the_page_and_nothing_else(client: TestClient, ids: list[str]) -> None:
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert client.get("/", headers=followed).status_code == 200
    assert client.get(f"/media/{ids[0]}", headers=followed).status_code == 403
    assert client.post("/api/training", headers=followed).status_code == 403


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "POST", "INVENTED"])
def test_other_methods_are_refused(client: TestClient, ids: list[str], method: str) -> None:
    for path in ("/", "/assets/app.js", "/api/state", f"/media/{ids[0]}", f"/media/{ids[0]}/still"):
        assert client.request(method, path).status_code == 405
    if method not in ("POST", "DELETE"):
        assert client.request(method, "/api/training").status_code == 405


@pytest.mark.parametrize(
    "path",
    [
        "/media/../../etc/passwd",
        "/media/..%2f..%2f..%2fetc%2fpasswd",
        "/media/%2e%2e/%2e%2e/etc/passwd",
        "/media//etc/passwd",
        "/media/%2fetc%2fpasswd",
        "/media/a.mp4",
        "/media/videos%2fa.mp4",
        "/media/..%5c..%5ca.mp4/still",
        "/media/%00",
        "/assets/../app.py",
        "/assets/..%2fapp.py",
        "/assets/page.html%00",
        "/assets/",
        "/etc/passwd",
        "/openapi.json",
        "/docs",
    ],
)
def test_files_have_no_paths(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert "root:" not in answer.text


@pytest.mark.parametrize("field", ["../a.mp4", "/etc/passwd", "a.mp4", ""])
def test_rows_and_clips_name_videos_by_id_only(client: TestClient, field: str) -> None:
    span = {"video": field, "query": "q", "start": 0, "end": 1}
    assert client.post("/api/clips", json=span).status_code == 404
    assert client.post("/api/rows", json={**span, "kind": "right"}).status_code == 404


def test_requests_that_the_page_never_sends(client: TestClient, ids: list[str]) -> None:
    json = {"content-type": "application/json"}
    span = f'{{"video": "{ids[0]}", "query": "q", "kind": "right", "start": %s, "end": %s}}'
    for content in ("{", "[]", "null", '{"query": 3}', '{"query": "q", "top": 1e9}', '{"query": "q", "more": 1}'):
        assert client.post("/api/ask", content=content, headers=json).status_code == 422
    for start, end in (("NaN", "1"), ("0", "Infinity"), ("-1", "1"), ("true", "2"), ('"0"', "1")):
        assert client.post("/api/rows", content=span % (start, end), headers=json).status_code == 422
    for start, end in (("2", "1"), ("100", "101")):
        assert client.post("/api/rows", content=span % (start, end), headers=json).status_code == 400
    assert client.post("/api/ask", content='{"query": "a"}', headers={"content-type": "text/plain"}).status_code == 422
    assert client.post("/api/ask", content='{"query": "\\ud800"}', headers=json).status_code in (400, 422)
    assert client.post("/api/ask", json={"query": "  "}).json()["error"] == "a sentence must have at least one word"
    assert client.post("/api/ask", content=b"x" * 100_000, headers=json).status_code == 413
    assert client.post("/api/ask", content=iter([b"{}"]), headers=json).status_code == 411
    assert client.post("/api/ask", json={"query": "word " * 1500}).status_code == 400


class TestToken:
    """Where others can reach the page, a browser shows the token once, and then its cookie."""

    @pytest.fixture
    def access(self) -> Access:
        return Access.for_address("0.0.0.0", 8000)

    @pytest.fixture
    def stranger(self, work: Workplace, access: Access) -> TestClient:
        return TestClient(create_app(work, access), base_url="http://192.0.2.7:8000")

    def test_without_it_everything_is_refused(self, stranger: TestClient) -> None:
        for path in ("/", "/?token=", "/?token=wrong", "/assets/app.js", "/api/state", "/media/x"):
            answer = stranger.get(path)
            assert answer.status_code == 401
            assert "set-cookie" not in answer.headers
        assert stranger.post("/api/ask", json=ASK).status_code == 401

    def test_it_is_kept_in_a_cookie_that_no_script_and_no_other_page_gets(
        self, stranger: TestClient, access: Access
    ) -> None:
        assert access.token is not None and len(access.token) >= 32
        answer = stranger.get(f"/?token={access.token}")
        assert answer.status_code == 200
        attributes = {part.strip() for part in answer.headers["set-cookie"].split(";")}
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= attributes
        assert stranger.get("/api/state").status_code == 200
        assert "set-cookie" not in stranger.get("/").headers

    def test_it_counts_for_the_page_only(self, stranger: TestClient, access: Access) -> None:
        assert stranger.get(f"/api/state?token={access.token}").status_code == 401
        assert stranger.post(f"/api/training?token={access.token}").status_code == 401

    def test_other_names_are_refused_all_the_same(self, stranger: TestClient, access: Access) -> None:
        address = f"/?token={access.token}"
        assert stranger.get(address, headers={"host": "evil.example:8000"}).status_code == 421
        assert stranger.get(address, headers={"host": "localhost:8000"}).status_code == 200

    def test_loopback_needs_none_unless_it_is_asked_for(self) -> None:
        assert Access.for_address("127.0.0.1", 1).token is None
        assert Access.for_address("localhost", 1, need_token=True).token is not None
        assert Access.for_address("192.0.2.7", 1).token is not None
        assert not Access.for_address("192.0.2.7", 1).takes_host("192.0.2.8")
        assert is_loopback("::1") and is_loopback("127.1.2.3")
        assert not any(map(is_loopback, ("::", "10.0.0.1", "example")))
        assert Access.for_address("127.0.0.1", 1).cookie != Access.for_address("127.0.0.1", 2).cookie


def test_the_page_is_whole_and_loads_from_nowhere_else(client: TestClient) -> None:
    page = client.get("/").text
    assert HERE not in page
    assert "://" not in page
    for part in ("style=", "onclick", "<script>", "<style>"):
        assert part not in page
    for name in ("colours.css", "page.css", "app.js", "icon.svg"):
        assert f"/assets/{name}" in page
        answer = client.get(f"/assets/{name}")
        assert answer.status_code == 200
        kinds = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
        assert answer.headers["content-type"].partition(";")[0] == kinds[name.partition(".")[2]]
