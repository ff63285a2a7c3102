"""Videos in ranges, stills and pieces."""

from __future__ import annotations

import os
import shutil
import tracemalloc
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from mttsg_core.server.app import create_app
from mttsg_core.server.media import PIECE_SECONDS, Pieces, media_type
from mttsg_core.server.security import Access
from mttsg_core.video.probe import probe
from mttsg_core.video.seek import read_still
from tests.helpers.video_files import read_number
from tests.server.conftest import FPS, HERE, NAMES, make_searcher, make_work


def test_a_video_is_served_whole_and_in_ranges(client: TestClient, ids: list[str], videos: Path) -> None:
    content = (videos / NAMES[0]).read_bytes()
    address = f"/media/{ids[0]}"
    whole = client.get(address)
    assert (whole.status_code, whole.content) == (200, content)
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["content-type"] == "video/mp4"
    for wanted, (first, last) in {
        "bytes=0-0": (0, 1), "bytes=10-99": (10, 100), "bytes=100-": (100, None), "bytes=-7": (-7, None),
        f"bytes=5-{len(content) + 99}": (5, None),
    }.items():  # fmt: skip
        part = client.get(address, headers={"range": wanted})
        assert (part.status_code, part.content) == (206, content[first:last])
        assert part.headers["content-range"].endswith(f"/{len(content)}")
    assert client.get(address, headers={"range": f"bytes={len(content)}-"}).status_code == 416
    head = client.head(address)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(content)))


def test_ranges_do_not_read_the_rest(trained: Path, page_cache: Path, videos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    shutil.copy(videos / NAMES[0], folder)
    searcher = make_searcher(folder, trained, page_cache)
    os.truncate(folder / NAMES[0], 8 << 30)
    [video] = searcher.library.videos
    client = TestClient(create_app(make_work(searcher, tmp_path / "data", page_cache), Access()), base_url=HERE)
    tracemalloc.start()
    part = client.get(f"/media/{video.id}", headers={"range": "bytes=5000000000-5000000009"})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (part.status_code, part.content) == (206, bytes(10))
    assert peak < 8 << 20


def test_no_file_is_served_as_something_to_run() -> None:
    assert media_type(Path("a.MP4")) == "video/mp4"
    for name in ("a.html", "a.svg", "a.js", "a", "a.mp4.html"):
        assert media_type(Path(name)) == "application/octet-stream"


def shown(content: bytes) -> int:
    return read_number(np.asarray(Image.open(BytesIO(content)).convert("RGB")))


@pytest.mark.parametrize("video", [0, 2])
def test_a_still_is_the_picture_at_its_time(client: TestClient, ids: list[str], video: int) -> None:
    for time in (0.0, 3.02, 5.9, 99.0):
        answer = client.get(f"/media/{ids[video]}/still", params={"at": time})
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "image/jpeg"
        assert shown(answer.content) == video * 1000 + min(int(time * FPS + 1e-6), 149)
    large = client.get(f"/media/{ids[video]}/still", params={"at": 1, "large": True})
    assert Image.open(BytesIO(large.content)).height == 480
    assert client.get(f"/media/{ids[video]}/still", params={"at": "nan"}).status_code == 400


def test_a_piece_plays_what_the_browser_cannot(client: TestClient, ids: list[str], tmp_path: Path) -> None:
    answer = client.get(f"/media/{ids[2]}/piece", params={"start": 1, "end": 3})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "video/mp4"
    (tmp_path / "piece.mp4").write_bytes(answer.content)
    info = probe(tmp_path / "piece.mp4")
    assert (info.codec, info.duration) == ("h264", pytest.approx(2.0, abs=0.05))
    assert read_number(read_still(tmp_path / "piece.mp4", 1.0, 48)) == 2000 + 2 * FPS
    part = client.get(f"/media/{ids[2]}/piece", params={"start": 1, "end": 3}, headers={"range": "bytes=0-9"})
    assert (part.status_code, part.content) == (206, answer.content[:10])
    assert client.get(f"/media/{ids[2]}/piece", params={"start": 3, "end": 3}).status_code == 400


def test_pieces_are_short_and_few(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuts = []

    def note(excerpt: object) -> None:
        cuts.append(excerpt)
        excerpt.target.touch()  # type: ignore[attr-defined]

    monkeypatch.setattr("mttsg_core.server.media.cut", note)
    with Pieces.open() as pieces:
        first = pieces.get(videos / NAMES[0], 0, 9999)
        assert pieces.get(videos / NAMES[0], 0, PIECE_SECONDS) == first
        assert len(cuts) == 1
        for start in range(1, 20):
            pieces.get(videos / NAMES[0], start, start + 1)
        assert not first.exists()
        assert len(list(first.parent.iterdir())) <= 16
    assert not first.parent.exists()


def test_a_video_that_has_gone(trained: Path, page_cache: Path, videos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    shutil.copy(videos / NAMES[0], folder)
    searcher = make_searcher(folder, trained, page_cache)
    [video] = searcher.library.videos
    with TestClient(create_app(make_work(searcher, tmp_path / "data", page_cache), Access()), base_url=HERE) as client:
        (folder / NAMES[0]).unlink()
        assert client.get(f"/media/{video.id}").status_code == 404
        still = client.get(f"/media/{video.id}/still")
        assert (still.status_code, "gone" in still.json()["error"]) == (400, True)
