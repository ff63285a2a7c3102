"""The `Grounder`: the same answers whatever the company, in seconds, inside the video."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mttsg_core import Grounder
from mttsg_core.checkpoints.runs import find_model, new_run, numbered_runs, unfinished_run
from mttsg_core.errors import ConfigError, DataError, FeatureError, ModelError, VideoError
from mttsg_core.features.store import EXTERNAL, FeatureCache
from mttsg_core.inference import predictor as predictor
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.moments import Moment
from mttsg_core.utils.devices import choose_device
from tests.helpers.tiny import MADE, features, model, model_folder
from tests.helpers.video_files import write_video

QUERIES = ["person opens door", "the red circle moves left", "?!", "a", "ein Mann öffnet die Tür " * 10]


@pytest.fixture(scope="module")
def grounder() -> Grounder:
    return Grounder(MKTNPredictor(model()))


def same(found: list[list[Moment]], expected: list[list[Moment]]) -> None:
    assert [len(moments) for moments in found] == [len(moments) for moments in expected]
    for one, other in zip(chain(*found), chain(*expected), strict=True):
        assert one == pytest.approx(other, abs=1e-4)


def test_an_answer_does_not_depend_on_the_other_questions(grounder: Grounder) -> None:
    video = features(30)
    together = grounder.ground_features(video, QUERIES)
    assert len({tuple(moments) for moments in together}) > 1
    for query, moments in zip(QUERIES, together, strict=True):
        same(grounder.ground_features(video, [query]), [moments])
    same(grounder.ground_features(video, QUERIES[::-1]), together[::-1])
    same(grounder.ground_features(video, [QUERIES[0]] * 3), [together[0]] * 3)


def test_nor_on_theother_videos_nor_on_how_many_are_taken_at_once(
    grounder: Grounder, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = [(features(clips, seed=clips), QUERIES[:count]) for clips, count in ((9, 2), (1, 5), (40, 0), (300, 3))]
    expected = [grounder.ground_features(*video) for video in videos]
    assert [len(answers) for answers in expected] == [2, 5, 0, 3]
    for at_once in (1, 2, 3, 16):
        for found, alone in zip(grounder.ground_many(videos, at_once=at_once), expected, strict=True):
            same(found, alone)
    for clips_at_once in (1, 80, 700):
        monkeypatch.setattr(predictor, "_CLIPS_AT_ONCE", clips_at_once)
        for found, alone in zip(grounder.ground_many(videos), expected, strict=True):
            same(found, alone)


@settings(max_examples=25, deadline=None)
@given(clips=st.integers(1, 400), start=st.floats(-3, 3), duration=st.floats(0.04, 4000), top=st.integers(1, 8))
def test_answers_are_ordered_inside_the_video_and_ranked(clips: int, start: float, duration: float, top: int) -> None:
    video = features(clips, duration=duration, start=start, seed=clips)
    [answers] = Grounder(MKTNPredictor(model())).ground_features(video, QUERIES[:1], top)
    assert 1 <= len(answers) <= top
    scores = [moment.score for moment in answers]
    assert scores == sorted(scores, reverse=True)
    for moment in answers:
        assert np.isfinite(moment).all()
        assert start <= moment.start < moment.end <= start + duration
        assert 0 < moment.score <= 1


def test_features_of_another_encoder_are_refused_and_both_named(grounder: Grounder) -> None:
    other = replace(features(), fingerprint={"encoder": "clip-vit", "fps": 1.0})
    with pytest.raises(FeatureError, match=r"'clip-vit'.*'tiny'"):
        grounder.ground_features(other, QUERIES)
    with pytest.raises(FeatureError, match="version 2"):
        grounder.ground_features(replace(features(), fingerprint={**MADE, "version": 2}), QUERIES)


@pytest.mark.parametrize("query", ["", "   ", "\n"])
def test_an_empty_sentence_is_refused(grounder: Grounder, query: str) -> None:
    with pytest.raises(DataError, match="at least one word"):
        grounder.ground_features(features(), ["fine", query])


def test_a_sentence_alone_and_no_answer_are_refused(grounder: Grounder) -> None:
    with pytest.raises(DataError, match="list of sentences"):
        grounder.ground_features(features(), "star")
    with pytest.raises(DataError, match="at least 1 answer"):
        grounder.ground_features(features(), QUERIES, 0)


def test_a_duration_is_needed(grounder: Grounder) -> None:
    with pytest.raises(FeatureError, match="duration"):
        grounder.ground_features(replace(features(), duration=None), QUERIES)


def test_a_model_of_features_made_elsewhere_cannot_read_videos(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", range(20))
    with pytest.raises(FeatureError, match="--features"):
        Grounder(MKTNPredictor(model(fingerprint={"encoder": EXTERNAL})), cache=FeatureCache(tmp_path)).ground(
            video, QUERIES
        )


def test_a_model_of_another_version_of_the_encoder_cannot_read_videos(tmp_path: Path) -> None:
    fingerprint = {"encoder": "classic", "version": 999, "fps": 2.0, "reader": "auto"}
    with pytest.raises(FeatureError, match="version 999"):
        Grounder(MKTNPredictor(model(fingerprint=fingerprint)), cache=FeatureCache(tmp_path)).ground(
            tmp_path / "a.mp4", QUERIES
        )


def test_load_reads_a_folder(tmp_path: Path, grounder: Grounder) -> None:
    folder = model_folder(tmp_path / "m")
    loaded = Grounder.load(folder, device="cpu", cache=tmp_path)
    same(
        loaded.ground_features(features(), QUERIES),
        Grounder(MKTNPredictor(model())).ground_features(features(), QUERIES),
    )
    with pytest.raises(ModelError, match="not a model folder"):
        Grounder.load(tmp_path / "absent", device="cpu")


def test_a_video_that_is_not_there(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"absent\.mp4"):
        Grounder.load(trained, device="cpu", cache=tmp_path).ground(tmp_path / "absent.mp4", QUERIES)


def test_a_video_gives_the_same_answers_the_second_time(trained: Path, clip: Path, tmp_path: Path) -> None:
    loaded = Grounder.load(trained, device="cpu", cache=tmp_path / "cache")
    first = loaded.ground(str(clip), QUERIES, top=2)
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 1
    assert loaded.ground(clip, QUERIES, top=2) == first
    assert all(1 <= len(moments) <= 2 for moments in first)


def test_devices() -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    for name in ("tpu", "", "cuda:x", "meta", "cuda:99"):
        with pytest.raises(ConfigError, match="device"):
            choose_device(name)


class TestNumberedRuns:
    """The default model is the newest finished run."""

    @pytest.fixture(autouse=True)
    def _own_data_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))

    def test_no_run_yet(self) -> None:
        assert numbered_runs() == []
        with pytest.raises(ModelError, match="no model yet"):
            find_model(None)
        with pytest.raises(ModelError, match="no stopped run"):
            unfinished_run()

    def test_the_newest_finished_one_counts(self, tmp_path: Path) -> None:
        first, second, third = new_run(), new_run(), new_run()
        assert [run.name for run in numbered_runs()] == ["0001", "0002", "0003"]
        for run in (first, second, third):
            (run / "config.json").write_text("{}")
        for run in (first, second):
            (run / "report.json").write_text("{}")
        assert find_model(None) == second
        new_run()  # of which nothing came
        assert unfinished_run() == third
        (third / "report.json").write_text("{}")
        assert find_model(None) == third
        with pytest.raises(ModelError, match="no stopped run"):
            unfinished_run()
        assert find_model(tmp_path / "named") == tmp_path / "named"

    def test_other_folders_are_no_runs_and_numbers_grow_past_9999(self) -> None:
        (new_run().parent / "0007 (copy)").mkdir()
        (new_run().parent / "9999").mkdir()
        assert new_run().name == "10000"
        assert new_run().name == "10001"
        assert [run.name for run in numbered_runs()][-2:] == ["10000", "10001"]
