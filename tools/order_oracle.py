"""Predict every moment from the order of the queries alone, without opening a video or reading a sentence.

    python tools/order_oracle.py DATA --out oracle.jsonl
    mttsg evaluate DATA --split test --predictions oracle.jsonl

Where the sentences of a video tell its story in order, the rank of a sentence nearly says when its moment is. A model
that is given all queries of a video together, in the order of the annotation file, can learn this and seem to
understand the video. This oracle sees only the rank of a query among those of its video, by true start, and their
number. It predicts the median start and end, relative to the duration, of the training moments of the same rank and
number. On ActivityNet Captions val_2 its R@1 is 75.7 / 56.1 / 33.3 at IoU 0.3 / 0.5 / 0.7, and its mIoU 52.6. Results
of queries that are grounded jointly therefore mean little unless their order is hidden from the model.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from mttsg_core.data.folder import DataFolder
from mttsg_core.data.pairs import Pair
from mttsg_core.data.prediction_writers import write_predictions
from mttsg_core.errors import MttsgError
from mttsg_core.moments import Moment

Rank = tuple[int, int]  # rank of a query, from 0, and number of queries of its video


def ranked(pairs: Sequence[Pair]) -> Iterator[tuple[Pair, Rank]]:
    """Yield each pair with its rank among the queries of its video, by true start, then end."""
    by_video: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_video[pair.video].append(pair)
    for queries in by_video.values():
        for position, pair in enumerate(sorted(queries, key=lambda pair: pair.moments[0])):
            yield pair, (position, len(queries))


def median_spans(pairs: Sequence[Pair]) -> dict[Rank, tuple[float, float]]:
    """Return the median start and end of each rank, relative to the duration; pairs without a duration are left out."""
    spans: dict[Rank, list[tuple[float, float]]] = defaultdict(list)
    for pair, rank in ranked(pairs):
        if pair.duration is not None:
            start, end = pair.moments[0]
            spans[rank].append((start / pair.duration, end / pair.duration))
    columns = ((rank, zip(*of_rank, strict=True)) for rank, of_rank in spans.items())
    return {rank: (float(np.median(starts)), float(np.median(ends))) for rank, (starts, ends) in columns}


def predict(rank: Rank, medians: dict[Rank, tuple[float, float]]) -> tuple[float, float]:
    """Return the median span of a rank, or of the most similar one in training: by relative position, then number."""
    if rank not in medians:
        position, count = rank

        def distance(other: Rank) -> tuple[float, int]:
            return abs((other[0] + 0.5) / other[1] - (position + 0.5) / count), abs(other[1] - count)

        rank = min(medians, key=distance)
    return medians[rank]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the oracle's predictions for one split, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DATA", help="a data folder with a train split; durations must be known")
    parser.add_argument("--split", default="test", help="split to predict (default: test)")
    parser.add_argument("--out", default="order_oracle.jsonl", help="predictions file (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        folder = DataFolder.open(options.data)
        training = folder.split("train", require_moment=True, check_videos=False)
        queries = folder.split(options.split, require_moment=True, check_videos=False)
        medians = median_spans(training.pairs)
        if not medians:
            raise MttsgError(f"{training.file}: no row has both a moment and a duration")
        predictions: dict[str, list[Moment]] = {}
        for pair, rank in ranked(queries.pairs):
            start, end = predict(rank, medians)
            predictions[pair.id] = [] if pair.duration is None else [Moment(start * pair.duration, end * pair.duration)]
        write_predictions(options.out, queries.pairs, [predictions[pair.id] for pair in queries.pairs])
    except MttsgError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {options.out}: {len(queries.pairs)} queries", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
