"""Word vectors: `hashed`, which needs no file, and vectors from a file in GloVe's or word2vec's text format."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from mttsg_core.encoders.base import Array
from mttsg_core.errors import DataError
from mttsg_core.utils.text import find_words, normalise, os_reason

_MAX_CACHED_WORDS = 1 << 16  # whose vectors stay in memory: more than most texts have, numbers aside
_MAX_WORDS = 100_000  # of a larger file the first ones are read: such files list words by frequency


def split_words(query: str) -> list[str]:
    """Split a sentence into lower-case words; a sentence without any (such as "?!") is a single word.

    >>> split_words("The man's dog barks.")
    ['the', "man's", 'dog', 'barks']
    >>> split_words("?!")
    ['?!']
    """
    return find_words(normalise(query.lower())) or [query]


class HashedWords:
    """A text encoder that derives a vector from a hash of the word and of its character trigrams.

    Shared trigrams bring related forms of a word near each other. A word has the same vector on every machine and in
    every release (feature hashing: Weinberger et al., ICML 2009; subwords: Bojanowski et al., TACL 2017).

    >>> [[opens, opening, circle]] = HashedWords().encode(["opens opening circle"])
    >>> bool(opens @ opening > opens @ circle)
    True
    """

    id: ClassVar[str] = "hashed"
    dim: ClassVar[int] = 128

    def __init__(self) -> None:
        self._cache: dict[str, Array] = {}

    def encode(self, queries: Sequence[str]) -> list[Array]:
        """Encode each sentence as (L, 128), one unit vector per word. See `TextEncoder.encode`."""
        return [np.stack([self._vector(word) for word in split_words(query)]) for query in queries]

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return an empty mapping: there is nothing to store."""
        return {}

    def _vector(self, word: str) -> Array:
        if word not in self._cache:
            if len(self._cache) == _MAX_CACHED_WORDS:
                self._cache.clear()
            padded = f"<{word}>"
            trigrams = [padded[start : start + 3] for start in range(len(padded) - 2)]
            subwords = np.mean([_random_signs(trigram, self.dim) for trigram in trigrams], axis=0)
            vector = _random_signs(padded, self.dim) + subwords
            self._cache[word] = (vector / np.linalg.norm(vector)).astype(np.float32)
        return self._cache[word]


def _random_signs(text: str, dim: int) -> npt.NDArray[np.float64]:
    """Return a unit vector of pseudo-random signs that depends on nothing but the text."""
    digest = hashlib.shake_128(text.encode("utf-8", "surrogatepass")).digest(dim // 8)
    signs = np.unpackbits(np.frombuffer(digest, dtype=np.uint8)).astype(np.float64) * 2 - 1
    return signs / np.sqrt(dim)


class WordVectors:
    """A text encoder with given vectors; a word without one gets the mean vector, as is usual for GloVe.

    Args:
        words: the vocabulary; of repeated words the first counts.
        vectors: (W, D) one row per word.
        name: of the file they come from.
    """

    kind: ClassVar[str] = "glove"

    def __init__(self, words: Sequence[str], vectors: npt.NDArray[np.floating], name: str) -> None:
        self.name = name
        self._rows = {normalise(word): row for row, word in reversed(list(enumerate(words)))}
        self._words = list(words)
        self._vectors = vectors.astype(np.float16)
        self._unknown = self._vectors.mean(axis=0, dtype=np.float32)  # of the half-precision values a model stores

    @classmethod
    def read(cls, path: str | Path) -> WordVectors:
        """Read a text file with a word and its numbers per line, with or without word2vec's header of two counts.

        Raises:
            DataError: if the file is missing, or a line is not a word followed by as many numbers as on the others.
        """
        path = Path(path).expanduser()
        words: list[str] = []
        rows: list[Array] = []
        try:
            with path.open(encoding="utf-8", errors="replace") as lines:
                for number, line in enumerate(lines, start=1):
                    fields = line.rstrip().split(" ")
                    if number == 1 and len(fields) == 2:
                        continue
                    size = rows[0].size if rows else len(fields) - 1
                    word, values = fields[:-size], fields[-size:]  # a few of GloVe's words contain spaces
                    if not size or not word or any(map(_is_number, word[1:])):
                        raise DataError(f"{path}:{number}: expected a word and {size} numbers")
                    rows.append(np.array(values, dtype=np.float32))
                    if not np.isfinite(rows[-1]).all():
                        raise DataError(f"{path}:{number}: contains NaN or infinite numbers")
                    words.append(" ".join(word))
                    if len(words) == _MAX_WORDS:
                        break
        except ValueError as error:
            raise DataError(f"{path}:{number}: expected a word and numbers") from error
        except OSError as error:
            raise DataError(f"{path}: {os_reason(error)}") from error
        if not words:
            raise DataError(f"{path}: contains no word vectors")
        return cls(words, np.stack(rows), path.name)

    @classmethod
    def from_tensors(cls, tensors: dict[str, npt.NDArray[np.generic]], name: str) -> WordVectors:
        """Rebuild an encoder from the result of `tensors`.

        Raises:
            KeyError, ValueError: if it is not such a result.
        """
        words = tensors["words"].tobytes().decode("utf-8").split("\n")
        vectors = tensors["vectors"]
        if not np.issubdtype(vectors.dtype, np.floating) or vectors.ndim != 2 or vectors.shape[0] != len(words):
            raise ValueError(f"{len(words)} words, but vectors that are {vectors.dtype} of shape {vectors.shape}")
        if not vectors.size or not np.isfinite(vectors).all():
            raise ValueError("the word vectors are empty or not finite")
        return cls(words, vectors.astype(np.float32), name)

    @property
    def id(self) -> str:
        """`glove:` and the name of the file."""
        return f"{self.kind}:{self.name}"

    @property
    def dim(self) -> int:
        """Length of a word vector."""
        return int(self._vectors.shape[1])

    def encode(self, queries: Sequence[str]) -> list[Array]:
        """Encode each sentence as (L, dim), one vector per word. See `TextEncoder.encode`."""
        return [np.stack([self._vector(word) for word in split_words(query)]) for query in queries]

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return the words as UTF-8 bytes, separated by newlines, and their vectors in half precision."""
        text = "\n".join(self._words).encode("utf-8")
        return {"words": np.frombuffer(text, dtype=np.uint8), "vectors": self._vectors}

    def _vector(self, word: str) -> Array:
        row = self._rows.get(word)
        return self._unknown if row is None else self._vectors[row].astype(np.float32)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
