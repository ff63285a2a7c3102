"""Guess every moment from the order of the queries alone: no video is opened and no sentence is read.

    python tools/order_oracle.py DATA --out oracle.jsonl
    mttsg evaluate DATA --split test --predictions oracle.jsonl

Why it matters: where a video's sentences tell its story one after the other, a sentence's place in that story nearly
says when it happens. A model that is given all queries of a video together, in the order of the annotation file, can
learn this and look as if it understood the video. The oracle below sees only the rank of a query among its video's
queries, in order of true start, and their number. It answers with the median start and end, relative to the duration,
of the training moments of that rank and number. On ActivityNet Captions val_2 it scores R@1 of about 75.7 / 56.1 /
33.3 at IoU 0.3 / 0.5 / 0.7 and an mIoU of 52.6. So results of queries that are grounded jointly mean little unless
their order is hidden from the model.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from mttsg_core.data.folder import DataFolder
from mttsg_core.data.pairs import Pair
from mttsg_core.data.predictions import write_predictions
from mttsg_core.errors import MttsgError
from mttsg_core.moments import Moment

Place = tuple[int, int]  # rank of a query, from 0, and number of queries of its video


def places(pairs: Sequence[Pair]) -> Iterator[tuple[Pair, Place]]:
    """Each pair with its place among the queries of its video, in order of true start, then end."""
    by_video: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_video[pair.video].append(pair)
    for queries in by_video.values():
        for rank, pair in enumerate(sorted(queries, key=lambda pair: pair.moments[0])):
            yield pair, (rank, len(queries))


def median_spans(pairs: Sequence[Pair]) -> dict[Place, tuple[float, float]]:
    """Median start and end of each place, relative to the duration; pairs without a duration are left out."""
    spans: dict[Place, list[tuple[float, float]]] = defaultdict(list)
    for pair, place in places(pairs):
        if pair.duration is not None:
            start, end = pair.moments[0]
            spans[place].append((start / pair.duration, end / pair.duration))
    columns = ((place, zip(*found, strict=True)) for place, found in spans.items())
    return {place: (float(np.median(starts)), float(np.median(ends))) for place, (starts, ends) in columns}


def guess(place: Place, medians: dict[Place, tuple[float, float]]) -> tuple[float, float]:
    """The median span of a place, or of the most alike place where training has none: by relative rank, then number."""
    if place not in medians:
        rank, count = place

        def distance(other: Place) -> tuple[float, int]:
            return abs((other[0] + 0.5) / other[1] - (rank + 0.5) / count), abs(other[1] - count)

        place = min(medians, key=distance)
    return medians[place]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the oracle's predictions for one split; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DATA", help="a data folder with a train split; durations must be known")
    parser.add_argument("--split", default="test", help="which queries to answer (default: test)")
    parser.add_argument("--out", default="order_oracle.jsonl", help="the predictions file (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        folder = DataFolder.open(options.data)
        training = folder.split("train", require_moment=True, check_videos=False)
        asked = folder.split(options.split, require_moment=True, check_videos=False)
        medians = median_spans(training.pairs)
        if not medians:
            raise MttsgError(f"{training.file}: no row has both a moment and a duration")
        answers: dict[str, list[Moment]] = {}
        for pair, place in places(asked.pairs):
            start, end = guess(place, medians)
            answers[pair.id] = [] if pair.duration is None else [Moment(start * pair.duration, end * pair.duration)]
        write_predictions(options.out, asked.pairs, [answers[pair.id] for pair in asked.pairs])
    except MttsgError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {options.out}: {len(asked.pairs)} queries", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
