"""Clip frames read in this process, or by worker processes that decode for an encoder in this one."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mttsg_core.errors import ConfigError, CorruptVideoError
from mttsg_core.features import frame_stream
from mttsg_core.features.frame_stream import (
    ClipFrames,
    EndOfVideo,
    FrameReaders,
    FrameSpec,
    StreamItem,
    complete_clips,
    prefetch,
    read_clips,
    read_many,
)
from mttsg_core.features.identity import file_identity
from mttsg_core.features.jobs import Failure
from mttsg_core.moments import Timeline
from mttsg_core.video.resize import FrameTransform
from mttsg_core.video.sampling import FrameChunk
from tests.helpers.video_files import write_video

SPEC = FrameSpec(
    fps=5.0,
    frames_per_clip=2,
    frame_transform=FrameTransform((16, 12)),
    reader="auto",
    clip_batch_size=7,
    threads=1,
)
NO_LIMIT = 600.0  # seconds; far more than any of these videos takes


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four videos of different lengths, and a text file."""
    folder = tmp_path_factory.mktemp("videos")
    paths = [write_video(folder / f"{count}.mp4", range(count)) for count in (50, 100, 25, 75)]
    (folder / "text.mp4").write_text("not a video")
    return [*paths, folder / "text.mp4"]


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> list[frame_stream._Worker]:
    """The workers that a test starts."""
    started: list[frame_stream._Worker] = []

    class RecordedWorker(frame_stream._Worker):
        def __init__(self, spec: FrameSpec) -> None:
            super().__init__(spec)
            started.append(self)

    monkeypatch.setattr(frame_stream, "_Worker", RecordedWorker)
    return started


def by_video(stream: Iterator[tuple[int, StreamItem]]) -> dict[int, list[StreamItem]]:
    items: dict[int, list[StreamItem]] = {}
    for index, item in stream:
        items.setdefault(index, []).append(item)
    return items


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("lost", [set(), {0}, {3}, {2, 3}, {9}, set(range(10)), {0, 9}, {5, 6, 7}])
def test_only_complete_clips_are_grouped(chunk_size: int, lost: set[int]) -> None:
    """Ten frames, two per clip, some of them lost, in chunks of any size."""
    decoded = [index for index in range(10) if index not in lost]
    chunks = [
        FrameChunk(np.array(part), np.array(part) / 2.0, np.array(part, dtype=np.uint8).reshape(-1, 1, 1, 1))
        for part in (decoded[first : first + chunk_size] for first in range(0, len(decoded), chunk_size))
    ]
    clips = [
        (clip, frames[:, 0, 0, 0].tolist())
        for piece in complete_clips(chunks, 2)
        for clip, frames in zip(piece.clips, piece.frames, strict=True)
    ]
    expected = [clip for clip in range(5) if not {2 * clip, 2 * clip + 1} & lost]
    assert clips == [(clip, [2 * clip, 2 * clip + 1]) for clip in expected]


@pytest.mark.subprocess
class TestReadMany:
    """Videos read by worker processes."""

    @pytest.mark.parametrize("max_workers", [1, 3])
    def test_workers_send_what_this_process_would_read(self, videos: list[Path], max_workers: int) -> None:
        items = by_video(read_many(videos, [NO_LIMIT] * 5, SPEC, max_workers))
        assert items.keys() == set(range(5))
        [failure] = items.pop(4)
        assert isinstance(failure, EndOfVideo)
        assert failure.failure is not None
        assert failure.failure.reason
        for index, video_items in items.items():
            timeline, expected_pieces = read_clips(videos[index], SPEC)
            assert video_items[0] == timeline
            assert video_items[-1] == EndOfVideo(identity=file_identity(videos[index]))
            for piece, expected in zip(video_items[1:-1], expected_pieces, strict=True):
                assert isinstance(piece, ClipFrames)
                assert len(piece.clips) <= SPEC.clip_batch_size
                assert piece.clips == expected.clips
                assert np.array_equal(piece.frames, expected.frames)

    def test_an_error_that_concerns_all_videos_is_raised(self, videos: list[Path]) -> None:
        with pytest.raises(ConfigError, match="unknown reader 'vlc'"):
            list(read_many(videos, [NO_LIMIT] * 5, replace(SPEC, reader="vlc"), 2))

    def test_no_videos(self) -> None:
        assert list(read_many([], [], SPEC, 2)) == []

    @pytest.mark.parametrize("max_workers", [1, 2])
    def test_a_crash_and_a_hang_cost_one_video_each(
        self, videos: list[Path], max_workers: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(frame_stream, "_serve", crash_or_hang)
        limits = [NO_LIMIT, 3.0, NO_LIMIT, NO_LIMIT]  # the second video hangs
        items = by_video(read_many(videos[:4], limits, SPEC, max_workers))
        ends = [video_items[-1] for _, video_items in sorted(items.items())]
        assert ends[:2] == [
            EndOfVideo(Failure("the decoder crashed")),
            EndOfVideo(Failure("not done after 3 s, given up")),
        ]
        assert ends[2:] == [EndOfVideo(), EndOfVideo()]

    def test_the_time_of_a_slow_consumer_does_not_count(
        self, videos: list[Path], workers: list[frame_stream._Worker], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = SimpleNamespace(now=0.0)
        monkeypatch.setattr(frame_stream, "time", SimpleNamespace(monotonic=lambda: clock.now))
        items = []
        for _, item in read_many(videos[:1], [NO_LIMIT], replace(SPEC, clip_batch_size=1), 1):
            items.append(item)
            if not isinstance(item, EndOfVideo):
                assert workers[0].connection.poll(60), "the worker does not read ahead"
                clock.now += 2 * NO_LIMIT
        assert items[-1] == EndOfVideo(identity=file_identity(videos[0]))
        assert len(items) == 12  # the timeline, ten clips and the end

    def test_closing_the_stream_leaves_no_process(
        self, videos: list[Path], workers: list[frame_stream._Worker]
    ) -> None:
        stream = read_many(videos, [NO_LIMIT] * 5, SPEC, 2)
        next(stream)
        assert any(worker._process.is_alive() for worker in workers)
        stream.close()
        assert not any(worker._process.is_alive() for worker in workers)

    def test_workers_are_added_while_pieces_arrive_too_slowly(
        self, videos: list[Path], workers: list[frame_stream._Worker]
    ) -> None:
        stream = read_many(videos[:4] * 3, [NO_LIMIT] * 12, replace(SPEC, clip_batch_size=1), 3)
        counts = [len(workers) for _ in stream]
        assert counts[0] == 1
        assert 1 < counts[-1] <= 3

    def test_readers_stay_from_one_call_to_the_next(
        self, videos: list[Path], workers: list[frame_stream._Worker]
    ) -> None:
        readers = FrameReaders(SPEC, 1)
        try:
            for video in (videos[0], videos[4], videos[2]):
                *_, (_, end) = readers.read([video], [NO_LIMIT], lambda index: 0)
                assert isinstance(end, EndOfVideo)
                assert (end.failure is None) == (video != videos[4])
            assert len(workers) == 1
            unfinished = readers.read(videos[:1], [NO_LIMIT], lambda index: 0)
            next(unfinished)
            unfinished.close()
            assert not workers[0]._process.is_alive(), "what it would send belongs to no other call"
            *_, (_, end) = readers.read(videos[:1], [NO_LIMIT], lambda index: 0)
            assert end == EndOfVideo(identity=file_identity(videos[0]))
        finally:
            readers.stop()
        assert len(workers) == 2
        assert not workers[1]._process.is_alive()


def crash_or_hang(connection: Connection, spec: FrameSpec) -> None:
    """Replace a worker's main function: crash during the first video, never return from the second."""
    while True:
        video, _ = connection.recv()
        connection.send(Timeline(2.0, 10))
        if video.stem == "50":
            os._exit(139)
        if video.stem == "100":
            time.sleep(600)
        connection.send(EndOfVideo())


class TestPrefetch:
    """Reading ahead in a thread."""

    @staticmethod
    def piece(clip: int) -> ClipFrames:
        return ClipFrames([clip], np.zeros((1, 2, 12, 16, 3), dtype=np.uint8))

    def test_the_pieces_are_the_same(self, videos: list[Path]) -> None:
        _, expected = read_clips(videos[1], SPEC)
        _, pieces = read_clips(videos[1], SPEC)
        for piece, expected_piece in zip(prefetch(pieces), expected, strict=True):
            assert piece.clips == expected_piece.clips
            assert np.array_equal(piece.frames, expected_piece.frames)

    def test_one_piece_is_read_while_another_is_used(self) -> None:
        begun = [threading.Event() for _ in range(3)]

        def pieces() -> Iterator[ClipFrames]:
            for clip, event in enumerate(begun):
                event.set()
                yield self.piece(clip)

        for used, _ in enumerate(prefetch(pieces())):
            assert all(event.wait(60) for event in begun[used : used + 2])
            assert not any(event.is_set() for event in begun[used + 2 :])  # memory stays bounded

    def test_an_error_while_reading_ahead_is_raised_in_its_place(self) -> None:
        def pieces() -> Iterator[ClipFrames]:
            yield self.piece(0)
            raise CorruptVideoError(Path("a.mp4"), "damaged")

        prefetched = prefetch(pieces())
        assert next(prefetched).clips == [0]
        with pytest.raises(CorruptVideoError, match="damaged"):
            next(prefetched)

    def test_closing_leaves_no_thread(self, videos: list[Path]) -> None:
        before = threading.active_count()
        prefetched = prefetch(read_clips(videos[1], replace(SPEC, clip_batch_size=1))[1])
        next(prefetched)
        assert threading.active_count() > before
        prefetched.close()
        assert threading.active_count() == before
