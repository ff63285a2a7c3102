"""Worker processes that decode for an encoder in this one."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from video_files import write_video

from mttsg_core import decoding
from mttsg_core.decoding import ClipFrames, Ended, Piece, Reading, read_clips, read_many
from mttsg_core.errors import ConfigError
from mttsg_core.moments import Timeline
from mttsg_core.video import Framing

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
    found = by_video(list(read_many(videos[:4], [1.0] * 4, READING, workers)))
    ends = [pieces[-1] for _, pieces in sorted(found.items())]
    assert ends[:2] == [Ended("the decoder crashed on it"), Ended("not done after 1 s, given up")]
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
