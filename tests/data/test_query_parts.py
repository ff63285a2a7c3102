"""Queries in parts: each video is asked each sentence once, and the parts together are the whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mttsg_core.data.queries import Query
from mttsg_core.data.query_parts import QueryAssigner, assign_queries, query_parts
from mttsg_core.video.discovery import VideoFile

VIDEOS = [VideoFile(Path(f"/v/{name}.mp4"), Path(f"{name}.mp4")) for name in "abc"]


@given(
    st.lists(st.tuples(st.sampled_from("stuvw"), st.sampled_from([None, "a", "b", "absent", "mp4"]))),
    st.integers(1, 5),
)
def test_parts_are_the_whole_in_the_same_order(rows: list[tuple[str, str | None]], size: int) -> None:
    queries = [Query(text, video) for text, video in rows]
    whole, unmatched = assign_queries(queries, VIDEOS)
    assigner = QueryAssigner(VIDEOS)
    parts = list(query_parts(iter(queries), assigner, size))
    for video in VIDEOS:
        assert [text for part in parts for text in part.queries.get(video, [])] == list(whole.get(video, []))
    assert assigner.unmatched == unmatched
    assert assigner.asked.keys() == whole.keys()
    assert assigner.sentences == len({text for sentences in whole.values() for text in sentences})
    assert all(part.queries for part in parts)
    assert not any(part.is_last for part in parts[:-1])


def test_queries_are_read_as_they_are_needed() -> None:
    read: list[int] = []

    def queries() -> Iterator[Query]:
        for number in range(100):
            read.append(number)
            yield Query(str(number))

    parts = query_parts(queries(), QueryAssigner(VIDEOS), 10)
    assert [len(next(parts).queries[VIDEOS[0]]) for _ in range(2)] == [10, 10]
    assert len(read) == 21


def test_videos_without_sentences_of_their_own_share_one_list() -> None:
    assigned, _ = assign_queries([Query("s"), Query("t", "b")], VIDEOS)
    assert assigned == {VIDEOS[0]: ["s"], VIDEOS[1]: ["s", "t"], VIDEOS[2]: ["s"]}
    assert assigned[VIDEOS[0]] is assigned[VIDEOS[2]]
