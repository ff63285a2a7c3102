"""Encoded sentences that stay in memory for the next video."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mttsg_core.encoders.base import Array
from mttsg_core.errors import DataError
from mttsg_core.utils.text import sentence_fault

_MAX_QUERIES, _MAX_WORDS = 4096, 1 << 16  # that are kept


class QueryMemory:
    """Encodes each sentence once, as long as there are not too many of them.

    Args:
        encode: returns one array (L, D) per sentence.
    """

    def __init__(self, encode: Callable[[Sequence[str]], list[Array]]) -> None:
        self._encode = encode
        self._kept: dict[str, Array] = {}

    def __len__(self) -> int:
        """Return the number of word vectors in memory."""
        return sum(map(len, self._kept.values()))

    def encode(self, queries: Sequence[str]) -> list[Array]:
        """Return one array (L, D) per sentence.

        Raises:
            DataError: if a sentence is empty or has too many words, or a single string is given.
        """
        if isinstance(queries, str):
            raise DataError(f"the sentences of a video are a list, not the single string {queries!r}")
        if any(not query.strip() for query in queries):
            raise DataError("a query must have at least one word")
        fault = next(filter(None, map(sentence_fault, queries)), None)
        if fault is not None:
            raise DataError(fault)
        kept = self._kept
        new = list(dict.fromkeys(query for query in queries if query not in kept))
        if new and (len(kept) + len(new) > _MAX_QUERIES or len(self) > _MAX_WORDS):
            self._kept = kept = {}
            new = list(dict.fromkeys(queries))
        kept.update(zip(new, self._encode(new), strict=True))
        return [kept[query] for query in queries]
