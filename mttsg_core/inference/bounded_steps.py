"""Division of sentences and videos into steps that take bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from mttsg_core.data.batch import VideoItem

_MAX_QUERIES = 1024  # sentences of a video in one step, unless they inform each other: more only take more memory
_MAX_PADDED_WORDS = 1 << 15  # of different sentences in one step, each counted as long as the longest


def sentence_runs(queries: Sequence[str]) -> list[Sequence[str]]:
    """Divide sentences into runs that take bounded memory: no more than so many words in all, with their padding.

    >>> [len(run) for run in sentence_runs(["opens door"] * 1500)], sentence_runs([])
    ([1024, 476], [[]])
    """
    runs: list[list[str]] = [[]]
    longest = 0
    for query in queries:
        words = len(query.split())
        longest = max(longest, words)
        size = len(runs[-1]) + 1
        if runs[-1] and (size > _MAX_QUERIES or size * longest > _MAX_PADDED_WORDS):
            runs.append([])
            longest = words
        runs[-1].append(query)
    return [*runs]


def bounded_batches(items: Iterable[VideoItem], size: int) -> Iterator[list[VideoItem]]:
    """Yield up to `size` neighbours at a time, of which the different sentences take bounded memory; at least one."""
    batch: list[VideoItem] = []
    words: dict[int, int] = {}  # of each sentence, by the identity of its array
    for item in items:
        more = {id(array): len(array) for array in item.words}
        together = {**words, **more}
        if batch and len(together) * max(together.values(), default=0) > _MAX_PADDED_WORDS:
            yield batch
            batch, together = [], more
        batch.append(item)
        words = together
        if len(batch) == size:  # before the next video is read
            yield batch
            batch, words = [], {}
    if batch:
        yield batch
