"""Which video of a folder does a sentence belong to? On the example corpus, whose sentences can be told apart exactly.

    PYTHONPATH=tools python benchmarks/folder_ranking.py easy/ model/ --videos 60

Of sentences that are true in one of the videos only, however they are worded: how often `mttsg ground FOLDER --top 1`
names that video, and how often its moment too. And the area under the curve of the scores of sentences asked of their
video against the same sentences asked of the others.
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
    """Ask, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of tools/make_corpus.py")
    parser.add_argument("model", type=Path, help="model trained on it")
    parser.add_argument("--videos", type=int, default=60, help="how many, of the splits val, test and unseen")
    parser.add_argument("--cache", type=Path, help="folder of cached features")
    arguments = parser.parse_args()
    rows = [
        json.loads(line)
        for split in ("test", "unseen", "val")
        for line in (arguments.data / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    videos = list(dict.fromkeys(row["video"] for row in rows))[: arguments.videos]
    where: dict[Meaning, set[str]] = defaultdict(set)
    for row in rows:
        if row["video"] in videos:
            where[meaning(row["query"])].add(row["video"])
    asked = {row["query"]: row for row in rows if row["video"] in videos and len(where[meaning(row["query"])]) == 1}
    found = ground(arguments.data, videos, list(asked), arguments.model, arguments.cache)
    first = right = 0
    own: list[float] = []
    others: list[float] = []
    for query, row in asked.items():
        answers = [answer for answer in found if answer["query"] == query]
        best = max(answers, key=lambda answer: answer["score"])
        here = Path(best["video"]).name == Path(row["video"]).name
        first += here
        right += here and float(span_iou((best["start"], best["end"]), (row["start"], row["end"]))) >= 0.5
        for answer in answers:
            (own if Path(answer["video"]).name == Path(row["video"]).name else others).append(answer["score"])
    print(f"{len(videos)} videos, {len(asked)} sentences that are true in one of them")
    share = 100 / len(asked)
    print(f"right video first {first * share:.1f} %, and its moment at IoU 0.5 {right * share:.1f} %")
    print(f"AUC of in-video against not-in-video {100 * roc_auc(np.array(own), np.array(others)):.2f} %")
    return 0


def ground(data: Path, videos: list[str], queries: list[str], model: Path, cache: Path | None) -> list[dict[str, Any]]:
    """The best moment of every video for every sentence, by the command."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, sentences = Path(temporary) / "videos", Path(temporary) / "sentences.txt"
        folder.mkdir()
        for video in videos:
            (folder / Path(video).name).symlink_to((data / video).resolve())
        sentences.write_text("\n".join(queries), encoding="utf-8")
        command = [sys.executable, "-m", "mttsg_cli", "ground", folder, "--queries", sentences, "--model", model]
        command += ["--format", "jsonl", *(["--cache", cache] if cache else [])]
        done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def meaning(query: str) -> Meaning:
    """Colour, shape and activity of a sentence, however it is worded."""
    [colour] = [colour for colour in COLOURS if colour in query.split()]
    [shape] = [shape for shape in SHAPES if shape in query.split()]
    [activity] = [name for name, phrases in PHRASES.items() if any(query.endswith(phrase) for phrase in phrases)]
    return colour, shape, activity


if __name__ == "__main__":
    sys.exit(main())
