"""The `Grounder`: moments in seconds, inside the video, that do not depend on the other videos and queries."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mttsg_core import Grounder
from mttsg_core.checkpoints.registry import find_model
from mttsg_core.checkpoints.runs import new_run, numbered_runs
from mttsg_core.encoders.base import Settings
from mttsg_core.errors import ConfigError, DataError, FeatureError, ModelError, VideoError
from mttsg_core.features.store import EXTERNAL, FeatureCache
from mttsg_core.inference import predictor
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.moments import Moment
from mttsg_core.utils.devices import choose_device
from tests.helpers.tiny import FINGERPRINT, features, model, model_folder
from tests.helpers.video_files import write_video

QUERIES = ["person opens door", "the red circle moves left", "?!", "a", "ein Mann öffnet die Tür " * 10]


@pytest.fixture(scope="module")
def grounder() -> Grounder:
    return Grounder(MKTNPredictor(model()))


def assert_same(actual: list[list[Moment]], expected: list[list[Moment]]) -> None:
    assert [len(moments) for moments in actual] == [len(moments) for moments in expected]
    for moment, other in zip(chain(*actual), chain(*expected), strict=True):
        assert moment == pytest.approx(other, abs=1e-4)


def test_moments_do_not_depend_on_the_other_queries(grounder: Grounder) -> None:
    video = features(30)
    together = grounder.ground_features(video, QUERIES)
    assert len({tuple(moments) for moments in together}) > 1
    for query, moments in zip(QUERIES, together, strict=True):
        assert_same(grounder.ground_features(video, [query]), [moments])
    assert_same(grounder.ground_features(video, QUERIES[::-1]), together[::-1])
    assert_same(grounder.ground_features(video, [QUERIES[0]] * 3), [together[0]] * 3)


def test_moments_do_not_depend_on_the_other_videos_or_the_batch_size(
    grounder: Grounder, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = [(features(clips, seed=clips), QUERIES[:count]) for clips, count in ((9, 2), (1, 5), (40, 0), (300, 3))]
    expected = [grounder.ground_features(*video) for video in videos]
    assert [len(moments) for moments in expected] == [2, 5, 0, 3]
    for batch_size in (1, 2, 3, 16):
        for moments, alone in zip(grounder.ground_many(videos, batch_size=batch_size), expected, strict=True):
            assert_same(moments, alone)
    for max_clips in (1, 80, 700):
        monkeypatch.setattr(predictor, "_MAX_CLIPS", max_clips)
        for moments, alone in zip(grounder.ground_many(videos), expected, strict=True):
            assert_same(moments, alone)


@settings(max_examples=25)
@given(clips=st.integers(1, 400), start=st.floats(-3, 3), duration=st.floats(0.04, 4000), top=st.integers(1, 8))
def test_moments_are_ranked_spans_inside_the_video(clips: int, start: float, duration: float, top: int) -> None:
    video = features(clips, duration=duration, start=start, seed=clips)
    moments = Grounder(MKTNPredictor(model())).ground_features(video, QUERIES[0], top)
    assert 1 <= len(moments) <= top
    scores = [moment.score for moment in moments]
    assert scores == sorted(scores, reverse=True)
    for moment in moments:
        assert np.isfinite(moment).all()
        assert start <= moment.start < moment.end <= start + duration
        assert 0 < moment.score <= 1


def test_features_of_another_encoder_are_refused_naming_both(grounder: Grounder) -> None:
    other = replace(features(), fingerprint={"encoder": "clip-vit", "fps": 1.0})
    with pytest.raises(FeatureError, match=r"'clip-vit'.*'tiny'"):
        grounder.ground_features(other, QUERIES)
    with pytest.raises(FeatureError, match="version 2"):
        grounder.ground_features(replace(features(), fingerprint={**FINGERPRINT, "version": 2}), QUERIES)


@pytest.mark.parametrize("query", ["", "   ", "\n"])
def test_an_empty_sentence_is_refused(grounder: Grounder, query: str) -> None:
    with pytest.raises(DataError, match="at least one word"):
        grounder.ground_features(features(), ["fine", query])


@pytest.mark.parametrize("query", ["", "   ", "\n"])
def test_a_single_empty_sentence_is_refused(grounder: Grounder, query: str) -> None:
    with pytest.raises(DataError, match="at least one word"):
        grounder.ground_features(features(), query)
    with pytest.raises(DataError, match="at least one word"):
        grounder.saliency(features(), query)


def test_a_single_sentence_gives_its_own_moments_and_saliency(grounder: Grounder) -> None:
    video = features(30)
    for query in QUERIES:
        assert [grounder.ground_features(video, query, 3)] == grounder.ground_features(video, [query], 3)
        assert grounder.saliency(video, query).tolist() == grounder.saliency(video, [query])[0].tolist()
    assert grounder.ground_features(video, "star", mode="joint") == grounder.ground_features(video, "star")


def test_a_video_among_many_has_a_list_of_sentences(grounder: Grounder) -> None:
    with pytest.raises(DataError, match="not the single string 'star'"):
        next(grounder.ground_many([(features(), "star")]))


def test_at_least_one_moment_must_be_wanted(grounder: Grounder) -> None:
    with pytest.raises(DataError, match="top must be at least 1, not 0"):
        grounder.ground_features(features(), QUERIES, 0)


def test_a_duration_is_needed(grounder: Grounder) -> None:
    with pytest.raises(FeatureError, match="duration"):
        grounder.ground_features(replace(features(), duration=None), QUERIES)


def test_a_model_of_external_features_cannot_read_videos(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", range(20))
    with pytest.raises(FeatureError, match="--features"):
        Grounder(MKTNPredictor(model(fingerprint={"encoder": EXTERNAL})), cache=FeatureCache(tmp_path)).ground(
            video, QUERIES
        )


def test_a_model_of_another_version_of_the_encoder_cannot_read_videos(tmp_path: Path) -> None:
    fingerprint: Settings = {"encoder": "classic", "version": 999, "fps": 2.0, "reader": "auto"}
    with pytest.raises(FeatureError, match="version 999"):
        Grounder(MKTNPredictor(model(fingerprint=fingerprint)), cache=FeatureCache(tmp_path)).ground(
            tmp_path / "a.mp4", QUERIES
        )


def test_load_reads_a_folder(tmp_path: Path, grounder: Grounder) -> None:
    folder = model_folder(tmp_path / "m")
    loaded = Grounder.load(folder, device="cpu", cache=tmp_path)
    assert_same(
        loaded.ground_features(features(), QUERIES),
        Grounder(MKTNPredictor(model())).ground_features(features(), QUERIES),
    )
    with pytest.raises(ModelError, match="not a model folder"):
        Grounder.load(tmp_path / "absent", device="cpu")


def test_a_missing_video_is_named(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"absent\.mp4"):
        Grounder.load(trained, device="cpu", cache=tmp_path).ground(tmp_path / "absent.mp4", QUERIES)


def test_a_cached_video_gives_the_same_moments(trained: Path, clip: Path, tmp_path: Path) -> None:
    loaded = Grounder.load(trained, device="cpu", cache=tmp_path / "cache")
    first = loaded.ground(str(clip), QUERIES, top=2)
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 1
    assert loaded.ground(clip, QUERIES, top=2) == first
    assert all(1 <= len(moments) <= 2 for moments in first)
    assert_same([loaded.ground(clip, query, top=2) for query in QUERIES], first)


def test_devices() -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    for name in ("tpu", "", "cuda:x", "meta", "cuda:99"):
        with pytest.raises(ConfigError, match="device"):
            choose_device(name)


class TestNumberedRuns:
    """Runs are numbered, and the newest finished one is the last."""

    @pytest.fixture(autouse=True)
    def _own_data_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))

    def test_without_any_run(self) -> None:
        assert numbered_runs() == []
        with pytest.raises(ModelError, match="no model yet"):
            find_model("last")

    def test_last_is_the_newest_finished_run(self, tmp_path: Path) -> None:
        first, second, third = new_run(), new_run(), new_run()
        assert [run.name for run in numbered_runs()] == ["0001", "0002", "0003"]
        for run in (first, second, third):
            (run / "config.json").write_text("{}")
        for run in (first, second):
            (run / "report.json").write_text("{}")
        assert find_model("last") == second
        new_run()  # never trained
        (third / "report.json").write_text("{}")
        assert find_model("last") == third
        assert find_model(tmp_path / "named") == tmp_path / "named"

    def test_other_folders_are_ignored_and_numbers_grow_past_9999(self) -> None:
        (new_run().parent / "0007 (copy)").mkdir()
        (new_run().parent / "9999").mkdir()
        assert new_run().name == "10000"
        assert new_run().name == "10001"
        assert [run.name for run in numbered_runs()][-2:] == ["10000", "10001"]
