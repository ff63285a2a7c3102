"""What answers: the library, with one of several models, while new videos are read."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from mttsg_core.inference.grounder import Grounder
from mttsg_core.server.app import create_app
from mttsg_core.server.searching import LoadedModel, Searcher
from mttsg_core.server.security import Access
from mttsg_core.workflows.library import VideoLibrary
from mttsg_core.workflows.options import RuntimeOptions
from tests.server.conftest import HERE, NAMES, make_searcher, make_work

QUERY = "the red circle moves left"


def test_answers_are_the_best_of_the_library_each_place_once(client: TestClient, searcher: Searcher) -> None:
    answer = client.post("/api/ask", json={"query": f"  {QUERY} ", "top": 4}).json()
    found = [(hit.video.name, round(hit.moment.start, 2)) for hit in searcher.library.ask(QUERY, 40)]
    shown = [(hit["video"]["name"], hit["start"]) for hit in answer["hits"]]
    places = [found.index(hit) for hit in shown]
    assert (places[0], places) == (0, sorted(places))
    assert {name for name, _ in shown} == set(NAMES)
    for number, hit in enumerate(answer["hits"]):
        for other in answer["hits"][:number]:
            shared = min(hit["end"], other["end"]) - max(hit["start"], other["start"])
            shorter = min(hit["end"] - hit["start"], other["end"] - other["start"])
            assert hit["video"] != other["video"] or shared <= 0.5 * shorter
    assert (answer["model"], answer["weak_below"]) == ("the first model", 0.3)
    assert client.post("/api/ask", json={"query": "zebras juggle"}).json()["warnings"]


def test_the_curve_is_that_of_the_video(client: TestClient, ids: list[str]) -> None:
    curve = client.get(f"/api/videos/{ids[0]}/curve", params={"query": QUERY}).json()
    assert (curve["start"], curve["duration"], len(curve["values"])) == (0, 6, 6)
    assert all(0 <= value <= 1 for value in curve["values"])


def test_videos_are_listed_by_part_of_a_name(client: TestClient) -> None:
    assert [video["name"] for video in client.get("/api/videos", params={"name": "ÜNÏ"}).json()["videos"]] == [NAMES[1]]
    assert client.get("/api/videos", params={"name": "nothing"}).json() == {"videos": [], "found": 0}
    state = client.get("/api/state").json()
    assert (state["videos"], state["seconds"], state["reading"], state["title"]) == (3, 18, None, "videos")


def test_new_videos_are_read_and_bad_ones_named(trained: Path, page_cache: Path, videos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    shutil.copy(videos / NAMES[0], folder)
    searcher = make_searcher(folder, trained, page_cache)
    with TestClient(create_app(make_work(searcher, tmp_path / "data", page_cache), Access()), base_url=HERE) as client:
        shutil.copy(videos / NAMES[1], folder)
        (folder / "bad.mp4").write_bytes(b"no video")
        assert client.post("/api/reading").status_code == 202
        searcher.wait()
        state = client.get("/api/state").json()
        assert (state["videos"], len(state["problems"])) == (2, 1)
        assert "bad.mp4" in state["problems"][0]


def test_another_model_of_the_session(trained: Path, page_cache: Path, videos: Path) -> None:
    searcher = make_searcher(videos, trained, page_cache)
    searcher.load_model(trained)
    searcher.wait()
    assert searcher.model.about.startswith("model (data, ")
    searcher.use(0)
    searcher.wait()
    assert searcher.ask(QUERY, 1).about == "the first model"


def test_an_index_answers_before_anything_is_read(
    trained: Path, page_cache: Path, videos: Path, tmp_path: Path
) -> None:
    pytest.importorskip("lancedb", reason="lancedb is not installed")
    grounder = Grounder.load(trained, cache=page_cache)
    for _ in VideoLibrary([videos], grounder, index=tmp_path / "index").iter_refresh():
        pass
    library = VideoLibrary([tmp_path / "index"], grounder)
    searcher = Searcher(library, LoadedModel(grounder, "a model"), RuntimeOptions(cache=page_cache))
    with TestClient(create_app(make_work(searcher, tmp_path / "data", page_cache), Access()), base_url=HERE) as client:
        answer = client.post("/api/ask", json={"query": QUERY}).json()
        video = next(hit["video"]["id"] for hit in answer["hits"] if hit["video"]["name"] == NAMES[0])
        assert client.get(f"/media/{video}").status_code == 200
        row = {"video": video, "query": QUERY, "kind": "right", "start": 1, "end": 2}
        assert client.post("/api/rows", json=row).status_code == 201
        assert (tmp_path / "data" / "videos").resolve() == videos.resolve()


def test_only_some_folders_and_dates_are_asked(client: TestClient, searcher: Searcher) -> None:
    assert client.get("/api/folders").json() == {"folders": ["inner"], "found": 1}
    inner = client.post("/api/ask", json={"query": QUERY, "folder": "inner/"}).json()
    assert {hit["video"]["name"] for hit in inner["hits"]} == {NAMES[2]}
    newest = max(video.modified for video in searcher.library.videos)
    day = datetime.fromtimestamp(newest - 86_400).strftime("%Y-%m-%d")
    assert len(client.post("/api/ask", json={"query": QUERY, "since": day, "top": 100}).json()["hits"]) >= 3
    for wrong in ({"folder": "inne"}, {"since": "2199-01-01"}, {"since": "tomorrow"}, {"folder": "/etc"}):
        answer = client.post("/api/ask", json={"query": QUERY, **wrong})
        assert (answer.status_code, list(answer.json())) == (400, ["error"]), wrong


def test_while_videos_are_read_answers_say_of_how_many_they_are(
    trained: Path, page_cache: Path, videos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    searcher = make_searcher(videos, trained, page_cache)
    assert searcher.ask(QUERY, 1).reading is None
    monkeypatch.setattr(VideoLibrary, "reading", property(lambda self: (3, 8)))
    with TestClient(create_app(make_work(searcher, tmp_path / "data", page_cache), Access()), base_url=HERE) as client:
        assert client.post("/api/ask", json={"query": QUERY}).json()["reading"] == [3, 8]
        state = client.get("/api/state").json()
        assert (state["videos"], state["found"]) == (3, 8)


def test_videos_are_encoded_once_they_are_read(searcher: Searcher) -> None:
    searcher.start_reading()
    searcher.wait()
    contents = searcher.library._contents
    assert len(contents.memory) == 3
