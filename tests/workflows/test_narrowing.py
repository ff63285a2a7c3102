"""Sentences that are asked of many videos are left with those that are worth an answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mttsg_core.features.store import VideoFeatures, write_features
from mttsg_core.inference.encoded_videos import asker
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.search.memory_index import MemoryIndex
from mttsg_core.search.shortlist import Stages
from mttsg_core.search.spaces import clip_space
from mttsg_core.video.discovery import VideoFile
from mttsg_core.workflows.events import InputFailed, Noted
from mttsg_core.workflows.ground import GroundRun, VideoGrounded
from mttsg_core.workflows.narrowing import FolderNarrowing, Queries
from tests.helpers.tiny import features, model

SENTENCES = [f"person opens door {number}" for number in range(9)]
VIDEOS = [VideoFile(Path(f"/videos/{number}.mp4"), Path(f"{number}.mp4")) for number in range(12)]
FEATURES = {video: features(8 + number, seed=number) for number, video in enumerate(VIDEOS)}
Events = list[InputFailed | Noted | str]


class Reader:
    """Reads the features of videos, four at a time, and counts them; with an event of its own before each batch."""

    def __init__(self) -> None:
        self.read: list[VideoFile] = []

    def __call__(self, queries: Queries) -> Iterator[str | list[tuple[VideoFile, VideoFeatures]]]:
        videos = list(queries)
        for first in range(0, len(videos), 4):
            yield "reading"
            some = videos[first : first + 4]
            self.read += some
            yield [(video, FEATURES[video]) for video in some]


@pytest.fixture(autouse=True)
def small_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "mttsg_core.workflows.narrowing.stage_sizes",
        lambda videos, top, sentences: Stages(min(videos, 6), min(videos, 2)),
    )


def narrow(narrowing: FolderNarrowing, queries: Queries, read: Reader) -> tuple[Queries, Events]:
    events: Events = []
    steps = narrowing.narrow(queries, read)
    while True:
        try:
            events.append(next(steps))
        except StopIteration as end:
            return end.value, events


def grounder(**settings: Any) -> Grounder:
    return Grounder(MKTNPredictor(model(**settings)))


def of_all(sentences: Sequence[str], videos: Sequence[VideoFile] = VIDEOS) -> Queries:
    return dict.fromkeys(videos, sentences)


@pytest.mark.parametrize("held", [1 << 30, 0])
def test_a_sentence_stays_with_the_likeliest_of_those_that_the_vectors_rank_first(
    held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mttsg_core.workflows.narrowing._HELD_BYTES", held)
    read, of_model = Reader(), grounder()
    narrowing = FolderNarrowing(of_model, 1)
    left, events = narrow(narrowing, of_all(SENTENCES), read)
    assert read.read[: len(VIDEOS)] == VIDEOS
    assert (len(read.read) > len(VIDEOS)) == (not held)  # again for the glance
    assert [narrowing.encoded(video) is not None for video in VIDEOS] == [bool(held)] * len(VIDEOS)
    assert events[-1] == Noted("each sentence is asked of the 2 most likely of 12 videos; --exhaustive asks all")
    asks, space = asker(of_model), clip_space(of_model)
    assert space is not None
    encoded = asks.encode([*FEATURES.values()])
    everything = [(video, range(len(SENTENCES))) for video in encoded]
    seen = np.stack(asks.glance(everything, asks.question(SENTENCES)), axis=1)  # (N, V)
    index = MemoryIndex(space.widths)
    index.add({str(number): space.clips(video) for number, video in enumerate(encoded)})
    for sentence, values, first in zip(SENTENCES, seen, index.rank(space.sentences(SENTENCES), 6), strict=True):
        best = sorted(map(int, first), key=lambda number: -values[number])[:2]
        assert {video for video, sentences in left.items() if sentence in sentences} == {VIDEOS[n] for n in best}


def test_sentences_of_few_videos_and_few_sentences_stay() -> None:
    read = Reader()
    few = of_all(SENTENCES[:7])
    assert narrow(FolderNarrowing(grounder(), 1), few, read) == (few, [])
    without = of_all(SENTENCES)
    assert narrow(FolderNarrowing(grounder(contrast=False), 1), without, read) == (without, [])
    assert read.read == []
    own = {**of_all(SENTENCES), VIDEOS[3]: [*SENTENCES, "its own"]}
    left, _ = narrow(FolderNarrowing(grounder(), 1), own, read)
    assert "its own" in left[VIDEOS[3]]


def test_a_model_that_cannot_glance_is_asked_about_the_first_by_the_vectors() -> None:
    left, events = narrow(FolderNarrowing(grounder(presence=False), 1), of_all(SENTENCES), Reader())
    assert all(sum(sentence in sentences for sentences in left.values()) == 6 for sentence in SENTENCES)
    assert events[-1] == Noted("each sentence is asked of the 6 most likely of 12 videos; --exhaustive asks all")


def test_a_video_that_cannot_be_encoded_is_an_event_and_further_parts_read_no_video_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(FEATURES, VIDEOS[1], replace(FEATURES[VIDEOS[1]], regions=None))
    read, narrowing = Reader(), FolderNarrowing(grounder(), 1)
    left, events = narrow(narrowing, of_all(SENTENCES), read)
    [failed] = [event for event in events if isinstance(event, InputFailed)]
    assert failed.reason.startswith(f"{VIDEOS[1].path}: ") and VIDEOS[1] not in left
    rest = [video for video in VIDEOS if video != VIDEOS[1]]
    again, events = narrow(narrowing, of_all([f"{each} again" for each in SENTENCES], rest), read)
    assert again and len(events) == 1 and read.read == VIDEOS


@pytest.mark.parametrize("held", [1 << 30, 0])
def test_videos_that_are_encoded_already_answer_as_the_others(
    held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mttsg_core.workflows.narrowing._HELD_BYTES", held)
    for video, of_video in FEATURES.items():
        write_features(tmp_path / f"{video.name.stem}.safetensors", of_video)
    of_model = grounder()
    run = GroundRun(of_model, 2, features=tmp_path, narrowing=FolderNarrowing(of_model, 2))
    grounded = [event for event in run.iter_part(of_all(SENTENCES)) if isinstance(event, VideoGrounded)]
    assert sum(len(event.queries) for event in grounded) == 2 * len(SENTENCES)
    for event in grounded:
        expected = of_model.ground_features(FEATURES[event.video], event.queries, 2)
        for found, alone in zip(event.moments, expected, strict=True):
            np.testing.assert_allclose(np.array(found), np.array(alone), rtol=1e-4, atol=1e-4)
