"""What is said about answers becomes rows that can be trained on, and taken back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from mttsg_core.data.folder import DataFolder
from mttsg_core.errors import ConfigError, DataError
from mttsg_core.moments import Moment
from mttsg_core.server.corrections import Correction, Corrections, Kind
from tests.conftest import Mttsg
from tests.server.conftest import NAMES

SENTENCE = "a person opens the door"


def correction(video: Path, query: str = SENTENCE, kind: Kind = "right", start: float = 1.0) -> Correction:
    return Correction(kind, video, 6.0, query, Moment(start, start + 2.0, 0.4), rank=2)


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class TestOnThePage:
    """The requests that the page sends."""

    def send(self, client: TestClient, video: str, **values: object) -> str:
        body = {"video": video, "query": SENTENCE, "kind": "right", "start": 1.0, "end": 3.5, **values}
        answer = client.post("/api/rows", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def test_a_row_has_what_a_training_needs(self, client: TestClient, ids: list[str], tmp_path: Path) -> None:
        self.send(client, ids[1], query="  Tu\u0308r  </script> ", start=0.1234567, end=99.0)
        [row] = rows(tmp_path / "data" / "train.jsonl")
        identity = row.pop("id")
        assert str(identity).startswith("right-")
        assert row == {"video": NAMES[1], "query": "Tür  </script>", "start": 0.123, "end": 6.0, "duration": 6.0}
        assert DataFolder.open(tmp_path / "data").split("train", require_moment=True).problems == []

    def test_the_kinds(self, client: TestClient, ids: list[str], tmp_path: Path) -> None:
        for kind in ("right", "moved", "marked", "wrong"):
            self.send(client, ids[0], kind=kind, query=f"{kind} thing", score=0.25, rank=3)
        assert [row["query"] for row in rows(tmp_path / "data" / "train.jsonl")] == [
            "right thing", "moved thing", "marked thing",
        ]  # fmt: skip
        [wrong] = rows(tmp_path / "data" / "wrong.jsonl")
        assert (wrong["rank"], wrong["score"], wrong["start"]) == (3, 0.25, 1.0)
        assert client.get("/api/state").json()["rows"] == 3
        listed = client.get("/api/rows").json()
        assert (listed["all"], listed["rows"][0]["kind"]) == (4, "wrong")
        assert client.post(
            "/api/rows", json={"video": ids[0], "query": "q", "kind": "x", "start": 0, "end": 1}
        ).is_error

    def test_undo_removes_exactly_that_row(self, client: TestClient, ids: list[str], tmp_path: Path) -> None:
        file = tmp_path / "data" / "train.jsonl"
        first = self.send(client, ids[0], query="first")
        own = '{"video":"x.mp4",  "query": "written by hand", "moments": [[1, 2]]}'
        with file.open("a", encoding="utf-8") as opened:
            opened.write(own)  # without a line end
        second = self.send(client, ids[0], query="second")
        assert client.delete(f"/api/rows/{first}").json() == {"removed": True}
        lines = file.read_text(encoding="utf-8").splitlines()
        assert (lines[0], json.loads(lines[1])["id"], len(lines)) == (own, second, 2)
        assert client.delete(f"/api/rows/{first}").json() == {"removed": False}
        for other in ("", "x", "train-1", "../train.jsonl", "right-", "wrong-1"):
            client.delete(f"/api/rows/{other}")
        assert file.read_text(encoding="utf-8").splitlines() == lines

    def test_the_same_said_twice_is_one_row(self, client: TestClient, ids: list[str], tmp_path: Path) -> None:
        assert self.send(client, ids[0]) == self.send(client, ids[0])
        assert len(rows(tmp_path / "data" / "train.jsonl")) == 1
        assert self.send(client, ids[0], end=3.6) != self.send(client, ids[0])
        assert len(rows(tmp_path / "data" / "train.jsonl")) == 2


WRITER = """
import sys
from pathlib import Path
from mttsg_core.moments import Moment
from mttsg_core.server.corrections import Correction, Corrections
data, video, name = sys.argv[1:]
corrections = Corrections.for_videos([Path(video).parent], Path(data))
for number in range(12):
    corrections.add(Correction("marked", Path(video), 6.0, f"{name} {number}", Moment(1.0, 2.0)))
"""


def test_two_processes_lose_no_row(videos: Path, tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", WRITER, str(tmp_path / "data"), str(videos / NAMES[0])]
    writers = [subprocess.Popen([*arguments, name]) for name in ("one", "other")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert len({row["query"] for row in rows(tmp_path / "data" / "train.jsonl")}) == 24


def test_two_tabs_lose_no_row(client: TestClient, ids: list[str], tmp_path: Path) -> None:
    def send(number: int) -> int:
        body = {"video": ids[0], "query": f"sentence {number}", "kind": "marked", "start": 1.0, "end": 2.0}
        return client.post("/api/rows", json=body).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(send, range(40))) == {201}
    assert len({row["query"] for row in rows(tmp_path / "data" / "train.jsonl")}) == 40


def test_train_takes_the_folder(videos: Path, tmp_path: Path, page_cache: Path, settings: Path, mttsg: Mttsg) -> None:
    corrections = Corrections.for_videos([videos], tmp_path / "data")
    for number, name in enumerate(NAMES):
        corrections.add(correction(videos / name, f"thing {number}", "moved"))
    corrections.add(correction(videos / NAMES[0], "not in there", "wrong"))
    assert DataFolder.open(tmp_path / "data").splits.keys() == {"train"}
    out = tmp_path / "model"
    ran = mttsg("train", tmp_path / "data", "--out", out, "--config", settings, "--cache", page_cache, "--workers", "1")
    assert ran.code == 0, ran.err
    assert json.loads((out / "report.json").read_text())["pairs"] == 3
    assert mttsg("check", tmp_path / "data").code == 0


class TestFolders:
    """Where rows are kept, and how their videos are found."""

    def test_by_default_one_for_each_place(self, videos: Path) -> None:
        first, again = (Corrections.for_videos([videos]) for _ in range(2))
        assert first.folder == again.folder != Corrections.for_videos([videos / "inner"]).folder
        assert not first.folder.exists()  # until something is said
        first.add(correction(videos / NAMES[2]))
        assert (first.folder / "videos").resolve() == videos.resolve()
        assert rows(first.folder / "train.jsonl")[0]["video"] == NAMES[2]

    def test_single_files_and_several_folders_have_one_around_them(self, videos: Path, tmp_path: Path) -> None:
        corrections = Corrections.for_videos([videos / NAMES[0], videos / "inner"], tmp_path / "data")
        corrections.add(correction(videos / NAMES[2]))
        folder = DataFolder.open(tmp_path / "data")
        assert folder.find_video(str(rows(folder.path / "train.jsonl")[0]["video"])) is not None

    def test_the_videos_of_a_data_folder_stay_where_they_are(self, videos: Path, tmp_path: Path) -> None:
        data = tmp_path / "own"
        (data / "videos").mkdir(parents=True)
        os.link(videos / NAMES[0], data / "videos" / "a.mp4")
        os.link(videos / NAMES[0], data / "beside.mp4")
        for searched, name in ((data / "videos", "a.mp4"), (data, "beside.mp4")):
            corrections = Corrections.for_videos([searched], data)
            corrections.add(correction(searched / name))
            assert rows(data / "train.jsonl")[-1]["video"] == name
        assert not (data / "videos").is_symlink()
        assert DataFolder.open(data).split("train").problems == []

    def test_other_videos_and_other_files_of_rows_are_not_mixed(self, videos: Path, tmp_path: Path) -> None:
        (tmp_path / "other" / "videos").mkdir(parents=True)
        with pytest.raises(ConfigError, match="not in there"):
            Corrections.for_videos([videos], tmp_path / "other")
        (tmp_path / "table").mkdir()
        (tmp_path / "table" / "sta_train.csv").write_text("video,query,start,end\na,b,1,2\n")
        with pytest.raises(ConfigError, match=r"sta_train\.csv"):
            Corrections.for_videos([videos], tmp_path / "table")

    def test_what_a_data_folder_would_refuse_is_refused(self, videos: Path, tmp_path: Path) -> None:
        folder = tmp_path / "videos"
        folder.mkdir()
        (folder / "link.mp4").symlink_to(videos / NAMES[0])
        (folder / " spaced.mp4 ").touch()
        corrections = Corrections.for_videos([folder], tmp_path / "data")
        for name, reason in (("link.mp4", "leaves the folder"), (" spaced.mp4 ", "rename"), ("\udcff.mp4", "rename")):
            with pytest.raises(DataError, match=reason):
                corrections.add(correction(folder / name))
        assert not (tmp_path / "data" / "train.jsonl").exists()

    def test_a_file_of_rows_that_is_a_link_stays_one(self, videos: Path, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "elsewhere.jsonl").touch()
        (tmp_path / "data" / "train.jsonl").symlink_to(tmp_path / "elsewhere.jsonl")
        Corrections.for_videos([videos], tmp_path / "data").add(correction(videos / NAMES[0]))
        assert len(rows(tmp_path / "elsewhere.jsonl")) == 1

    def test_places_without_a_folder_in_common_can_be_searched_only(self, tmp_path: Path) -> None:
        corrections = Corrections.for_videos([tmp_path, Path("/usr")], tmp_path / "data")
        with pytest.raises(DataError, match="no folder in common"):
            corrections.add(correction(tmp_path / "a.mp4"))
