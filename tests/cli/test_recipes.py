"""The recipes for published data sets, on small files of the same form."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mttsg_cli.config_files import read_settings, recipe_names
from tests.conftest import Mttsg
from tests.helpers.tiny import SIZES, write_rows

VIDEOS = 4
QUICK = ["--epochs", "1", "--text-encoder", "hashed", "--device", "cpu", "--offline"]
TINY = [word for name, value in SIZES.items() for word in ("--set", f"network.{name}={value}")]
RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))


def clips(number: int, width: int) -> np.ndarray:
    return RANDOM.normal(size=(number, width)).astype(np.float32)


def slowfast_and_clip(folder: Path, videos: list[str], number: int) -> None:
    """Write features as Moment-DETR does: one kind has a clip more than the other."""
    for kind, width, more in (("slowfast", 2304, 0), ("clip", 512, 1)):
        (folder / "features" / f"{kind}_features").mkdir(parents=True)
        for video in videos:
            path = folder / "features" / f"{kind}_features" / f"{video}.npz"
            np.savez_compressed(path, features=clips(number + more, width))


def qvhighlights(folder: Path) -> None:
    videos = [f"NUsG9BgSes0_{60 * number}.0_{60 * number + 150}.0" for number in range(VIDEOS)]
    for split in ("train", "val"):
        rows: list[dict[str, Any]] = [
            {"qid": number, "query": "A girl and her mother cooked", "duration": 150, "vid": video}
            | {
                "relevant_clip_ids": [0, 1, 9],
                "saliency_scores": [[1, 1, 2]] * 3,
                "relevant_windows": [[0, 4], [18, 20]],
            }
            for number, video in enumerate(videos)
        ]
        write_rows(folder / f"highlight_{split}_release.jsonl", rows)
    slowfast_and_clip(folder, videos, 75)


def charades(folder: Path) -> None:
    videos = [f"AO8R{number}" for number in range(VIDEOS)]
    for split in ("train", "test"):
        rows = [f"{video} 0.0 6.9##a person is putting a book on a shelf." for video in videos]
        (folder / f"charades_sta_{split}.txt").write_text("\n".join(rows) + "\n")
        lengths = "".join(f"{video},30.5\n" for video in videos)
        (folder / f"Charades_v1_{split}.csv").write_text(f"id,length\n{lengths}")
    slowfast_and_clip(folder, videos, 30)


def activitynet(folder: Path) -> None:
    videos = [f"v_QOlSCBRmfW{number}" for number in range(VIDEOS)]
    times = {
        "duration": 82.73,
        "timestamps": [[0.83, 19.86], [17.37, 60.81]],
        "sentences": ["She dances.", " She ends."],
    }
    for name in ("train", "val_1", "val_2"):
        (folder / f"{name}.json").write_text(json.dumps(dict.fromkeys(videos, times)))
    (folder / "features").mkdir()
    with h5py.File(folder / "features" / "sub_activitynet_v1-3.c3d.hdf5", "w") as file:
        for video in videos:
            file.create_group(video).create_dataset("c3d_features", data=clips(40, 500))


def tacos(folder: Path) -> None:
    videos = [f"s17-d{number}.avi" for number in range(VIDEOS)]
    times = {
        "timestamps": [[224, 358], [418, 732]],
        "fps": 29.4,
        "num_frames": 8000,
        "sentences": ["He cuts.", "He peels."],
    }
    for name in ("train", "val", "test"):
        (folder / f"{name}.json").write_text(json.dumps(dict.fromkeys(videos, times)))
    (folder / "features").mkdir()
    with h5py.File(folder / "features" / "tall_c3d_features.hdf5", "w") as file:
        for video in videos:
            file.create_dataset(video, data=clips(30, 4096))


def timelens(folder: Path) -> None:
    content = {"AO8RW": {"duration": 30.5, "spans": [[2.0, 9.0]], "queries": ["a person opens a door."]}}
    for name in ("charades", "activitynet", "qvhighlights"):
        (folder / f"{name}-timelens.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("name", "make", "figures", "widths"),
    [
        ("qvhighlights", qvhighlights, ["R@1,IoU=0.5", "R@1,IoU=0.7"], "2304+512"),
        ("charades-sta", charades, ["R@1,IoU=0.3", "R@5,IoU=0.7"], "2304+512"),
        ("activitynet-captions", activitynet, ["R@1,IoU=0.3", "R@5,IoU=0.7"], ""),
        ("tacos", tacos, ["R@1,IoU=0.1", "R@5,IoU=0.5"], ""),
    ],
)
def test_a_recipe_on_small_files_of_the_published_form(
    name: str, make: Callable[[Path], None], figures: list[str], widths: str, mttsg: Mttsg, tmp_path: Path
) -> None:
    data, recipe = tmp_path / "data", f"recipe:{name}"
    data.mkdir()
    make(data)
    checked = mttsg("check", data, "--config", recipe)
    assert checked.code == 0, checked.err
    trained = mttsg("train", data, "--config", recipe, "--out", tmp_path / "m", *QUICK, *TINY)
    assert trained.code == 0, trained.err
    network = json.loads((tmp_path / "m" / "config.json").read_text())["network"]
    assert network["streams"] == widths
    scored = mttsg("evaluate", data, "--config", recipe, "--model", tmp_path / "m", "--json", "--device", "cpu")
    assert scored.code == 0, scored.err
    report = json.loads(scored.out)
    assert set(figures) <= report.keys()
    assert (report["missed"], report["split"]) == (0, "val" if name == "qvhighlights" else "test")
    assert read_settings(Path(recipe))["recipe"]["name"] in scored.err
    assert "IoU >= m" in scored.err
    assert report["convention"]["data"] in " ".join(scored.err.split())


def test_timelens_bench_scores_predictions_without_features(mttsg: Mttsg, tmp_path: Path) -> None:
    timelens(tmp_path)
    assert mttsg("check", tmp_path, "--config", "recipe:timelens-bench").code == 0
    answers = write_rows(
        tmp_path / "out" / "answers.jsonl",
        [{"video": "AO8RW", "query": "a person opens a door.", "moments": [[2, 9, 0.5]]}],
    )
    for part in ("charades", "activitynet", "qvhighlights"):
        words = ("--split", f"{part}-timelens", "--predictions", answers, "--json")
        ran = mttsg("evaluate", tmp_path, "--config", "recipe:timelens-bench", *words)
        assert json.loads(ran.out)["R@1,IoU=0.7"] == 100.0, ran.err


def test_predictions_need_none_of_the_features_that_a_recipe_names(mttsg: Mttsg, tmp_path: Path) -> None:
    write_rows(
        tmp_path / "highlight_val_release.jsonl",
        [{"qid": 3, "query": "A dog", "duration": 150, "vid": "x_0.0_150.0", "relevant_windows": [[0, 4]]}],
    )
    answers = write_rows(tmp_path / "out" / "a.jsonl", [{"qid": 3, "pred_relevant_windows": [[0, 4, 0.5]]}])
    ran = mttsg("evaluate", tmp_path, "--config", "recipe:qvhighlights", "--predictions", answers, "--json")
    assert json.loads(ran.out)["R@1,IoU=0.7"] == 100.0, ran.err
    ran = mttsg("check", tmp_path, "--config", "recipe:qvhighlights")
    assert (ran.code, "slowfast_features" in ran.err) == (2, True)


def test_recipes_that_do_not_exist_and_names_that_no_command_has(mttsg: Mttsg, tmp_path: Path) -> None:
    ran = mttsg("train", tmp_path, "--config", "recipe:qvhighlight")
    assert (ran.code, "did you mean 'qvhighlights'" in ran.err) == (2, True)
    mine = tmp_path / "mine.toml"
    mine.write_text("iou = '0.5'\nepoch = 3\n[evaluate]\nsplit = 'val'\n")
    ran = mttsg("train", tmp_path, "--config", mine)
    assert ran.code == 2
    assert "epoch" in ran.err and "epochs" in ran.err


def test_every_recipe_names_its_features_and_its_conventions() -> None:
    assert recipe_names() == ["activitynet-captions", "charades-sta", "qvhighlights", "tacos", "timelens-bench"]
    for name in recipe_names():
        settings = read_settings(Path(f"recipe:{name}"))
        assert settings["recipe"].keys() == {"name", "note"}
        assert {"at", "iou"} <= settings.keys()
