"""Measure how often a sentence finds its video in a folder, on the example corpus, where that is known exactly.

    PYTHONPATH=tools python benchmarks/folder_ranking.py easy/ model/ --videos 60

For sentences that are true of a single video, however they are worded: how often `mttsg ground FOLDER --top 1` finds
that video, and how often its moment too. And the area under the ROC curve that separates the scores of sentences in
their own video from those of the same sentences in the other videos.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from corpus_plan import COLOURS, PHRASES, SHAPES
from mttsg_core.modeling.calibration import roc_auc
from mttsg_core.moments import span_iou

Meaning = tuple[str, str, str]


def main() -> int:
    """Ground the sentences, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of tools/make_corpus.py")
    parser.add_argument("model", type=Path, help="model trained on it")
    parser.add_argument("--videos", type=int, default=60, help="number of videos, of the splits test, unseen and val")
    parser.add_argument("--cache", type=Path, help="folder of cached features")
    arguments = parser.parse_args()
    rows = [
        json.loads(line)
        for split in ("test", "unseen", "val")
        for line in (arguments.data / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    videos = list(dict.fromkeys(row["video"] for row in rows))[: arguments.videos]
    videos_of: dict[Meaning, set[str]] = defaultdict(set)
    for row in rows:
        if row["video"] in videos:
            videos_of[meaning(row["query"])].add(row["video"])
    unique = {
        row["query"]: row for row in rows if row["video"] in videos and len(videos_of[meaning(row["query"])]) == 1
    }
    moments = ground(arguments.data, videos, list(unique), arguments.model, arguments.cache)
    video_hits = moment_hits = 0
    own: list[float] = []
    others: list[float] = []
    for query, row in unique.items():
        answers = [answer for answer in moments if answer["query"] == query]
        best = max(answers, key=lambda answer: answer["score"])
        is_own = Path(best["video"]).name == Path(row["video"]).name
        video_hits += is_own
        moment_hits += is_own and float(span_iou((best["start"], best["end"]), (row["start"], row["end"]))) >= 0.5
        for answer in answers:
            (own if Path(answer["video"]).name == Path(row["video"]).name else others).append(answer["score"])
    print(f"{len(videos)} videos, {len(unique)} sentences that are true of one of them")
    share = 100 / len(unique)
    print(f"right video first {video_hits * share:.1f} %, and its moment at IoU 0.5 {moment_hits * share:.1f} %")
    print(f"AUC of own against other videos {100 * roc_auc(np.array(own), np.array(others)):.2f} %")
    return 0


def ground(data: Path, videos: list[str], queries: list[str], model: Path, cache: Path | None) -> list[dict[str, Any]]:
    """Return the best moment of every video for every sentence, as the command prints it."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, sentences = Path(temporary) / "videos", Path(temporary) / "sentences.txt"
        folder.mkdir()
        for video in videos:
            (folder / Path(video).name).symlink_to((data / video).resolve())
        sentences.write_text("\n".join(queries), encoding="utf-8")
        command = [sys.executable, "-m", "mttsg_cli", "ground", folder, "--queries", sentences, "--model", model]
        command += ["--all", "--format", "jsonl", *(["--cache", cache] if cache else [])]
        done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def meaning(query: str) -> Meaning:
    """Return colour, shape and activity of a sentence, however it is worded."""
    [colour] = [colour for colour in COLOURS if colour in query.split()]
    [shape] = [shape for shape in SHAPES if shape in query.split()]
    [activity] = [name for name, phrases in PHRASES.items() if any(query.endswith(phrase) for phrase in phrases)]
    return colour, shape, activity


if __name__ == "__main__":
    sys.exit(main())
