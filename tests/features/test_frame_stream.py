"""Worker processes that decode for an encoder in this one."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from mttsg_core.errors import ConfigError, CorruptVideoError
from mttsg_core.features import frame_stream as decoding
from mttsg_core.features.frame_stream import ClipFrames, Ended, Piece, Reading, read_ahead, read_clips, read_many
from mttsg_core.moments import Timeline
from mttsg_core.video import Framing
from tests.helpers.video_files import write_video

READING = Reading(fps=5.0, frames_per_clip=2, framing=Framing((16, 12)), reader="auto", clips_at_once=7, threads=1)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four videos of different lengths, and a text."""
    folder = tmp_path_factory.mktemp("videos")
    made = [write_video(folder / f"{count}.mp4", range(count)) for count in (50, 100, 25, 75)]
    (folder / "text.mp4").write_text("no video")
    return [*made, folder / "text.mp4"]


def by_video(pieces: list[tuple[int, Piece]]) -> dict[int, list[Piece]]:
    found: dict[int, list[Piece]] = {}
    for place, piece in pieces:
        found.setdefault(place, []).append(piece)
    return found


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_send_what_is_read_here(videos: list[Path], workers: int) -> None:
    found = by_video(list(read_many(videos, [60.0] * 5, READING, workers)))
    assert found.keys() == set(range(5))
    [failed] = found.pop(4)
    assert isinstance(failed, Ended)
    assert failed.reason
    for place, pieces in found.items():
        timeline, expected = read_clips(videos[place], READING)
        assert pieces[0] == timeline
        assert pieces[-1] == Ended()
        for piece, wanted in zip(pieces[1:-1], expected, strict=True):
            assert isinstance(piece, ClipFrames)
            assert len(piece.clips) <= READING.clips_at_once
            assert piece.clips == wanted.clips
            assert np.array_equal(piece.frames, wanted.frames)


def test_what_is_wrong_with_all_videos_is_raised(videos: list[Path]) -> None:
    with pytest.raises(ConfigError, match="unknown reader 'vlc'"):
        list(read_many(videos, [60.0] * 5, replace(READING, reader="vlc"), 2))


def test_no_videos() -> None:
    assert list(read_many([], [], READING, 2)) == []


def crash_or_hang(connection: Connection, reading: Reading) -> None:
    """Stands in for a decoder that crashes in the midst of the first video and never returns from the second."""
    while True:
        video = connection.recv()
        connection.send(Timeline(2.0, 10))
        if video.stem == "50":
            os._exit(139)
        if video.stem == "100":
            time.sleep(600)
        connection.send(Ended())


@pytest.mark.parametrize("workers", [1, 2])
def test_a_crash_and_a_hang_cost_one_video_each(
    videos: list[Path], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_serve", crash_or_hang)
    found = by_video(list(read_many(videos[:4], [3.0] * 4, READING, workers)))
    ends = [pieces[-1] for _, pieces in sorted(found.items())]
    assert ends[:2] == [Ended("the decoder crashed on it"), Ended("not done after 3 s, given up")]
    assert ends[2:] == [Ended(), Ended()]


def test_a_slow_listener_is_no_hang(videos: list[Path]) -> None:
    """The time that this process takes for a piece is not the decoder's."""
    reading = replace(READING, clips_at_once=1)
    pieces = []
    for piece in read_many(videos[:1], [0.3], reading, 1):
        pieces.append(piece)
        time.sleep(0.5 if len(pieces) == 2 else 0)
    assert pieces[-1] == (0, Ended())


def test_whoever_stops_listening_leaves_no_process(videos: list[Path]) -> None:
    pieces = read_many(videos, [60.0] * 5, READING, 2)
    next(pieces)
    workers = list(pieces.gi_frame.f_locals["started"])
    pieces.close()
    assert workers
    assert not any(worker._process.is_alive() for worker in workers)


def test_workers_join_in_while_pieces_come_too_slowly(videos: list[Path]) -> None:
    pieces = read_many(videos[:4] * 3, [60.0] * 12, replace(READING, clips_at_once=1), 3)
    workers = [len(pieces.gi_frame.f_locals["started"]) for _ in pieces]
    assert workers[0] == 1
    assert 1 < workers[-1] <= 3


def piece(clip: int) -> ClipFrames:
    return ClipFrames([clip], np.zeros((1, 2, 12, 16, 3), dtype=np.uint8))


def test_reading_ahead_changes_nothing(videos: list[Path]) -> None:
    _, expected = read_clips(videos[1], READING)
    _, found = read_clips(videos[1], READING)
    for one, other in zip(read_ahead(found), expected, strict=True):
        assert one.clips == other.clips
        assert np.array_equal(one.frames, other.frames)


def test_the_next_piece_is_read_while_one_is_used() -> None:
    begun = [threading.Event() for _ in range(3)]

    def pieces() -> Iterator[ClipFrames]:
        for clip, event in enumerate(begun):
            event.set()
            yield piece(clip)

    for used, _ in enumerate(read_ahead(pieces())):
        assert all(event.wait(10) for event in begun[used : used + 2])
        assert not any(event.is_set() for event in begun[used + 2 :])  # memory stays flat


def test_what_fails_while_reading_ahead_is_raised_in_its_place() -> None:
    def pieces() -> Iterator[ClipFrames]:
        yield piece(0)
        raise CorruptVideoError(Path("a.mp4"), "damaged")

    ahead = read_ahead(pieces())
    assert next(ahead).clips == [0]
    with pytest.raises(CorruptVideoError, match="damaged"):
        next(ahead)


def test_whoever_stops_listening_leaves_no_thread(videos: list[Path]) -> None:
    before = threading.active_count()
    ahead = read_ahead(read_clips(videos[1], replace(READING, clips_at_once=1))[1])
    next(ahead)
    assert threading.active_count() > before
    ahead.close()
    assert threading.active_count() == before
