"""Objects of videos with lists of sentences: UniTime, CASTELLA, TimeLens-100K."""

from __future__ import annotations

import json
from pathlib import Path

from tests.data.reading import content_of, read_text, reasons


def test_unitime(tmp_path: Path) -> None:
    records = [
        {"qid": "a_0", "id": "a", "annos": [{"query": "lights on", "window": [[1, 2], [4, 5]]}], "duration": 9,
         "video_path": "/their/disk/a.mp4", "mode": "mr"},
        {"qid": 7, "id": "b", "annos": [{"query": "x", "window": [[1, 2]]}, {"query": "y", "window": [3, 4]}],
         "duration": 9},
        {"qid": 8, "id": "c", "annos": [{"query": "z", "window": [[1, 2]]}], "duration": 9, "video_start": 30},
    ]  # fmt: skip
    split = read_text(tmp_path, "test.json", json.dumps(records))
    assert [(pair.id, *content_of(pair)) for pair in split.pairs] == [
        ("a_0", "a", "lights on", ((1.0, 2.0), (4.0, 5.0)), 9.0),
        ("test-2", "b", "x", ((1.0, 2.0),), 9.0),
        ("test-3", "b", "y", ((3.0, 4.0),), 9.0),
    ]
    assert reasons(split) == [
        (4, "video 'c', sentence 1: a part of a video (video_start): it is not certain where its times begin")
    ]


def test_castella(tmp_path: Path) -> None:
    records = [
        {"yid": "-0awng26xQ8", "global_caption": "A man drives", "duration": 299, "num_moments": 2, "moments": [
            {"local_caption": "An engine starts", "timestamps": [[70, 76], [90, 300]]},
            {"local_caption": "A door shuts", "timestamps": [[82, 82]]}]},
        {"yid": "sCeWURVHfOM", "global_caption": "A clock chimes", "duration": 94, "num_moments": 0, "moments": []},
    ]  # fmt: skip
    split = read_text(tmp_path, "train.json", json.dumps(records, indent=2))
    assert [content_of(pair) for pair in split.pairs] == [
        ("-0awng26xQ8", "An engine starts", ((70.0, 76.0), (90.0, 300.0)), 299.0)
    ]
    assert reasons(split) == [(2, "video '-0awng26xQ8', sentence 2: moment 1: start 82 is not before end 82")]


def test_timelens_100k(tmp_path: Path) -> None:
    event = {"query": "The host is introduced", "span": [[0.0, 4.5]]}
    record = {"source": "cosmo_cap", "video_path": "cosmo_cap/BVP89.mp4", "duration": 56.3, "events": [event, event]}
    lines = [json.dumps(record), "{broken", json.dumps(record | {"events": ["x"]})]
    split = read_text(tmp_path, "timelens-100k.jsonl", "\n".join(lines))
    assert [content_of(pair) for pair in split.pairs] == [
        ("cosmo_cap/BVP89.mp4", "The host is introduced", ((0.0, 4.5),), 56.3)
    ] * 2
    assert [pair.line for pair in split.pairs] == [1, 2]
    assert [line for line, _ in reasons(split)] == [3, 4]
    assert reasons(split)[0][1].startswith("line 2: invalid JSON")
    assert reasons(split)[1][1].endswith("sentence 1: not a JSON object with a sentence")
