"""Word vectors: hashed ones, which never change, and vectors from files in GloVe's and word2vec's format."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mttsg_core.encoders import build_text_encoder, word_vectors
from mttsg_core.encoders.word_vectors import HashedWords, WordVectors, split_words
from mttsg_core.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("Person opens the door.", ["person", "opens", "the", "door"]),
        ("the man's T-shirt", ["the", "man's", "t", "shirt"]),
        ("  ÖFFNET die Tür ", ["öffnet", "die", "tür"]),
        ("开门", ["开门"]),
        ("वह पानी पीता है।", ["वह", "पानी", "पीता", "है"]),
        ("เขาเปิดประตู ที่รัก", ["เขาเปิดประตู", "ที่รัก"]),
        ("مُدَرِّسٌ می\u200cخواهد", ["مُدَرِّسٌ", "می\u200cخواهد"]),
        ("Tu\u0308r \u0130stanbul", ["t\u00fcr", "i\u0307stanbul"]),
        ("❤\ufe0f heart 1\ufe0f\u20e3", ["heart", "1"]),
        ("?!", ["?!"]),
    ],
)
def test_a_sentence_is_split_into_words(sentence: str, expected: list[str]) -> None:
    assert split_words(sentence) == expected


@given(st.text(min_size=1).filter(str.strip))
def test_every_sentence_has_unit_vectors(sentence: str) -> None:
    [vectors] = HashedWords().encode([sentence])
    assert len(vectors) == len(split_words(sentence)) >= 1
    assert vectors.shape[1] == HashedWords.dim
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_hashed_words_never_change() -> None:
    """Trained models depend on these numbers."""
    [[person]] = HashedWords().encode(["Person"])
    np.testing.assert_allclose(person[:6], [0.05368, 0.13421, 0.08052, -0.10737, 0.08052, 0.08052], atol=1e-5)
    [[opens]] = HashedWords().encode(["öffnet"])
    np.testing.assert_allclose(opens[:6], [0.08337, 0.11115, 0.05558, -0.11115, 0.08337, -0.11115], atol=1e-5)


def test_hashed_words_are_the_same_in_every_process() -> None:
    program = (
        "from mttsg_core.encoders.word_vectors import HashedWords; import hashlib; "
        "print(hashlib.sha256(HashedWords().encode(['the red circle moves left'])[0].tobytes()).hexdigest())"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1


def test_a_sentence_does_not_depend_on_other_sentences() -> None:
    encoder = HashedWords()
    sentences = ["a b c", "person opens door", "c b a"]
    together = encoder.encode(sentences)
    for sentence, vectors in zip(sentences, together, strict=True):
        assert np.array_equal(HashedWords().encode([sentence])[0], vectors)


def test_related_forms_are_nearer_than_unrelated_words() -> None:
    [[opens, opening, circle]] = HashedWords().encode(["opens opening circle"])
    assert opens @ opening > opens @ circle + 0.05


def write_vectors(folder: Path, text: str | bytes) -> Path:
    path = folder / "vectors.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_glove_vectors_are_read(tmp_path: Path) -> None:
    path = write_vectors(tmp_path, "door 1 2\nperson 3 -4\nopens 0.5 0\n")
    encoder = build_text_encoder(f"glove:{path}")
    assert encoder.dim == 2
    assert encoder.id == "glove:vectors.txt"
    [vectors] = encoder.encode(["Person opens elephant"])
    np.testing.assert_allclose(vectors, np.array([[3, -4], [0.5, 0], [1.5, -2 / 3]]), atol=1e-3)  # unknown: the mean


def test_the_header_of_word2vec_is_skipped(tmp_path: Path) -> None:
    with_header = WordVectors.read(write_vectors(tmp_path, "2 3\ndoor 1 2 3\nperson 4 5 6 \n"))
    assert with_header.dim == 3
    np.testing.assert_allclose(with_header.encode(["person"])[0], [[4, 5, 6]])
    assert with_header.encode(["2"])[0].tolist() == [[2.5, 3.5, 4.5]]  # the count in the header is not a word


def test_words_of_a_file_may_be_in_another_unicode_form(tmp_path: Path) -> None:
    encoder = WordVectors.read(write_vectors(tmp_path, "cafe\u0301 1 2\nपीता 3 4\nपीती 5 6\n"))
    assert encoder.encode(["caf\u00e9 पीता पीती"])[0].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert WordVectors.from_tensors(encoder.tensors(), "x").encode(["cafe\u0301"])[0].tolist() == [[1, 2]]


def test_the_first_of_repeated_words_counts(tmp_path: Path) -> None:
    encoder = WordVectors.read(write_vectors(tmp_path, "door 1 2\ndoor 3 4\n"))
    assert encoder.encode(["door"])[0].tolist() == [[1, 2]]


def test_words_may_contain_spaces(tmp_path: Path) -> None:
    """As in glove.840B.300d.txt: `. . . 0.1 0.2 ...`."""
    encoder = WordVectors.read(write_vectors(tmp_path, "door 1 2\n. . . 3 4\nat name@domain.com 5 6\nopens 7 8\n"))
    assert encoder.encode(["opens"])[0].tolist() == [[7, 8]]
    assert encoder.dim == 2


def test_bytes_that_are_not_utf8_are_not_an_error(tmp_path: Path) -> None:
    encoder = WordVectors.read(write_vectors(tmp_path, b"door 1 2\n\xff\xfe 3 4\nopens 5 6\n"))
    assert encoder.encode(["opens"])[0].tolist() == [[5, 6]]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("door 1 2\nperson 3\n", 2),
        ("door 1 2\nperson 3 4 5\n", 2),
        ("door 1 2\nperson 3 x\n", 2),
        ("door 1 2\nperson 3 nan\n", 2),
        ("door 1 2\n\nperson 3 4\n", 2),
        ("door\nperson 1 2\n", 1),
    ],
)
def test_an_error_names_the_bad_line(tmp_path: Path, text: str, line: int) -> None:
    path = write_vectors(tmp_path, text)
    with pytest.raises(DataError, match=rf"vectors\.txt:{line}: ") as caught:
        WordVectors.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "400000 300\n"])
def test_a_file_without_vectors_is_rejected(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="no word vectors"):
        WordVectors.read(write_vectors(tmp_path, text))


def test_a_missing_file_and_a_folder_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.txt: No such file"):
        build_text_encoder(f"glove:{tmp_path / 'absent.txt'}")
    with pytest.raises(DataError, match="directory"):
        build_text_encoder(f"glove:{tmp_path}")


def test_vectors_are_the_same_after_storing_them(tmp_path: Path) -> None:
    encoder = WordVectors.read(write_vectors(tmp_path, "door 1.2345678 2\nтүр 3 -4.0011\n"))
    restored = WordVectors.from_tensors(encoder.tensors(), "vectors.txt")
    assert restored.id == encoder.id
    sentence = ["door түр unknown"]
    np.testing.assert_array_equal(restored.encode(sentence)[0], encoder.encode(sentence)[0])


@pytest.mark.parametrize("text_id", ["bert", "glove", "glove:", "hashed:x", ""])
def test_an_unknown_text_encoder_is_rejected(text_id: str) -> None:
    with pytest.raises(ConfigError, match="text encoder"):
        build_text_encoder(text_id)


def test_the_real_glove_file(charades_clip: Path) -> None:
    encoder = build_text_encoder(f"glove:{charades_clip / 'glove.charades.300d.txt'}")
    assert encoder.dim == 300
    [[opens, closes, door]] = encoder.encode(["opens closes door"])
    assert opens @ closes > opens @ door


def test_vectors_of_few_words_stay_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_vectors, "_MAX_CACHED_WORDS", 3)
    text = HashedWords()
    queries = [f"opens door {number % 4}" for number in range(9)]
    for query, expected in zip(queries, HashedWords().encode(queries), strict=True):
        assert np.array_equal(text.encode([query])[0], expected)
        assert len(text._cache) <= 3
