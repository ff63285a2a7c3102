"""Random, broken and hostile files: every row becomes a pair or a problem, and only DataError is ever raised."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from mttsg_core.data.folder import DataFolder
from mttsg_core.data.predictions import read_predictions
from mttsg_core.data.splits import read_pairs, write_pairs
from mttsg_core.data.statistics import compute_statistics
from mttsg_core.errors import DataError

NUMBERS = st.one_of(st.floats(), st.integers(), st.floats(0, 100), st.just(10**400))
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=8))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)
NAMES = st.sampled_from(["a", "a.mp4", "videos/a.mp4", "../a", "/a", "\0", "\ud800", "", "b", "x" * 300, "a\nb"])
KEYS = ["video", "query", "start", "end", "moments", "id", "duration", "vid", "qid", "relevant_windows",
        "pred_relevant_windows"]  # fmt: skip
ROWS = st.builds(
    lambda base, extra: base | extra,
    st.fixed_dictionaries(
        {}, optional={"video": NAMES, "query": st.text(max_size=9), "start": NUMBERS, "end": NUMBERS}
    ),
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3),
)
LINES = st.one_of(
    ROWS.map(lambda row: json.dumps(row).encode()),
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=40),
    st.sampled_from(
        [b"", b"  ", b'"', b"{", b"\xef\xbb\xbf", b"a 1 2##b", b"video,query", b"a,b", b'a,"b', b"[" * 5000]
    ),
)
CONTENTS = st.builds(
    lambda head, lines, end: head + end.join(lines),
    st.sampled_from(
        [
            b"",
            b"\xef\xbb\xbf",
            b"video,query,start,end\n",
            b"video\tquery\n",
            b"a 1 2##b\n",
            b'{"video":"a","query":"b"}\n',
        ]
    ),
    st.lists(LINES, max_size=8),
    st.sampled_from([b"\n", b"\r\n"]),
)
DOCUMENTS = st.builds(
    lambda videos, cut: json.dumps(videos)[: cut or None].encode(),
    st.dictionaries(
        st.sampled_from(["v_1", "v_2", "../v"]),
        st.one_of(
            VALUES,
            st.fixed_dictionaries(
                {
                    "timestamps": st.lists(st.lists(NUMBERS, min_size=2, max_size=2), max_size=3),
                    "sentences": st.lists(SCALARS, max_size=3),
                },
                optional={"duration": SCALARS, "fps": SCALARS, "num_frames": SCALARS},
            ),
        ),
        max_size=3,
    ),
    st.integers(-3, 0),
)


def lines_with_content(content: bytes) -> int:
    return sum(bool(line.strip()) for line in content.removeprefix(b"\xef\xbb\xbf").splitlines())


@settings(max_examples=300)
@given(CONTENTS, st.sampled_from([".jsonl", ".csv", ".txt", ".json"]))
@example(b'video,query\na,"' + b"b\n" * 100, ".csv")
def test_no_row_is_lost(content: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"train{suffix}")
        path.write_bytes(content)
        with contextlib.suppress(DataError):
            split = read_pairs(path)
            lines = [pair.line for pair in split.pairs] + [problem.line for problem in split.problems]
            assert len(set(lines)) == split.rows
            if (
                suffix == ".jsonl"
                and b"video,query" not in content
                and b"video\tquery" not in content
                and b"##" not in content
            ):
                assert split.rows == lines_with_content(content)
            assert all("\n" not in problem.reason and len(problem.reason) < 300 for problem in split.problems)
            write_pairs(split.pairs, path.with_name("own.jsonl"))
            assert not read_pairs(path.with_name("own.jsonl")).problems
        with contextlib.suppress(DataError):
            read_predictions(path)


@settings(max_examples=200)
@given(DOCUMENTS)
def test_no_row_of_a_document_is_lost(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "train.json")
        path.write_bytes(content)
        with contextlib.suppress(DataError):
            split = read_pairs(path)
            rows = 0
            for video in json.loads(content).values():
                if not isinstance(video, dict) or not isinstance(video.get("sentences"), list):
                    rows += 1
                elif isinstance(video.get("timestamps"), list):
                    rows += max(len(video["sentences"]), len(video["timestamps"]))
            assert split.rows >= rows


@settings(max_examples=100)
@given(CONTENTS)
def test_a_folder_with_any_content(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as parent:
        Path(parent, "data", "videos").mkdir(parents=True)
        Path(parent, "data", "videos", "a.mp4").write_bytes(b"")
        Path(parent, "data", "train.jsonl").write_bytes(content)
        with contextlib.suppress(DataError):
            folder = DataFolder.open(Path(parent, "data"))
            splits = [folder.split(name) for name in folder.splits]
            statistics = compute_statistics(folder.path, splits, folder.video_key)
            json.dumps(statistics.as_dict(), allow_nan=False)
            for pair in folder.split("train").pairs:
                video = folder.find_video(pair.video)
                assert video is not None
                assert Path(parent, "data").resolve() in video.resolve().parents
