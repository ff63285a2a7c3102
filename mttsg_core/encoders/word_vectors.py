"""Word vectors: `hashed`, which needs no file, and vectors read from a file in GloVe's or word2vec's text format."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from mttsg_core.encoders.base import Array
from mttsg_core.errors import DataError

_WORD = re.compile(r"\w+(?:'\w+)?")
_WORDS_KEPT = 100_000  # of a larger file, the first: such files list words by frequency


def split_words(query: str) -> list[str]:
    """Lower-case words of a sentence; a sentence without any (such as "?!") is one word of its own."""
    return _WORD.findall(query.lower()) or [query]


class HashedWords:
    """Vectors drawn from a hash of the word and of its character trigrams, so that related forms are near each other.

    The same word has the same vector on every machine and in every release (Weinberger et al., ICML 2009; subwords
    as in Bojanowski et al., TACL 2017).
    """

    id: ClassVar[str] = "hashed"
    dim: ClassVar[int] = 128

    def __init__(self) -> None:
        self._known: dict[str, Array] = {}

    def encode(self, queries: Sequence[str]) -> list[Array]:
        """See `TextEncoder.encode`."""
        return [np.stack([self._word(word) for word in split_words(query)]) for query in queries]

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        """Nothing to keep."""
        return {}

    def _word(self, word: str) -> Array:
        if word not in self._known:
            padded = f"<{word}>"
            parts = [padded[i : i + 3] for i in range(len(padded) - 2)]
            subwords = np.mean([_draw(part, self.dim) for part in parts], axis=0)
            vector = _draw(padded, self.dim) + subwords
            self._known[word] = (vector / np.linalg.norm(vector)).astype(np.float32)
        return self._known[word]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _draw(text: str, dim: int) -> npt.NDArray[np.float64]:
    """A unit vector of random signs that depends on nothing but the text."""
    digest = hashlib.shake_128(text.encode("utf-8", "surrogatepass")).digest(dim // 8)
    signs = np.unpackbits(np.frombuffer(digest, dtype=np.uint8)).astype(np.float64) * 2 - 1
    return signs / np.sqrt(dim)


class WordVectors:
    """Vectors of known words; an unknown word has the mean vector, as is usual for GloVe."""

    kind: ClassVar[str] = "glove"

    def __init__(self, words: Sequence[str], vectors: npt.NDArray[np.floating], name: str) -> None:
        self.name = name
        self._row = {word: row for row, word in reversed(list(enumerate(words)))}  # of repeats the first counts
        self._words = list(words)
        self._vectors = vectors.astype(np.float16)
        self._unknown = self._vectors.mean(axis=0, dtype=np.float32)  # of what a model folder keeps

    @classmethod
    def read(cls, path: str | Path) -> WordVectors:
        """Read a text file: a word and its numbers a line; word2vec's first line of two counts may be there.

        Raises:
            DataError: if the file is missing or a line is not a word and as many numbers as the others have.
        """
        path = Path(path).expanduser()
        words: list[str] = []
        rows: list[Array] = []
        try:
            with path.open(encoding="utf-8", errors="replace") as lines:
                for number, line in enumerate(lines, start=1):
                    parts = line.rstrip().split(" ")
                    if number == 1 and len(parts) == 2:
                        continue
                    size = rows[0].size if rows else len(parts) - 1
                    word, values = parts[:-size], parts[-size:]  # a few words of GloVe's have spaces in them
                    if not size or not word or any(map(_is_number, word[1:])):
                        raise DataError(f"{path}:{number}: not a word and {size} numbers")
                    rows.append(np.array(values, dtype=np.float32))
                    if not np.isfinite(rows[-1]).all():
                        raise DataError(f"{path}:{number}: numbers that are not finite")
                    words.append(" ".join(word))
                    if len(words) == _WORDS_KEPT:
                        break
        except ValueError as error:
            raise DataError(f"{path}:{number}: not a word and its numbers") from error
        except OSError as error:
            raise DataError(f"{path}: {error.strerror or error}") from error
        if not words:
            raise DataError(f"{path}: no word vectors in it")
        return cls(words, np.stack(rows), path.name)

    @classmethod
    def from_tensors(cls, tensors: dict[str, npt.NDArray[np.generic]], name: str) -> WordVectors:
        """The inverse of `tensors`."""
        words = tensors["words"].tobytes().decode("utf-8").split("\n")
        return cls(words, tensors["vectors"].astype(np.float32), name)

    @property
    def id(self) -> str:
        """`glove:` and the file's name."""
        return f"{self.kind}:{self.name}"

    @property
    def dim(self) -> int:
        """Length of a word vector."""
        return int(self._vectors.shape[1])

    def encode(self, queries: Sequence[str]) -> list[Array]:
        """See `TextEncoder.encode`."""
        return [np.stack([self._word(word) for word in split_words(query)]) for query in queries]

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        """The words, as UTF-8 bytes with a newline between two, and their vectors in half precision."""
        text = "\n".join(self._words).encode("utf-8")
        return {"words": np.frombuffer(text, dtype=np.uint8), "vectors": self._vectors}

    def _word(self, word: str) -> Array:
        row = self._row.get(word)
        return self._unknown if row is None else self._vectors[row].astype(np.float32)
