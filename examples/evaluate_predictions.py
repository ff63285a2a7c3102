"""Score the predictions of any program, and show where they are weak.

python examples/evaluate_predictions.py data/ theirs.jsonl --split test

A row of the file: {"video": "a", "query": "person opens door", "moments": [[3.1, 8.7, 0.92]]}
"""

from __future__ import annotations

import argparse

from mttsg_core import EvaluateOptions, evaluate


def main() -> None:
    """Print the figures beside those of blind baselines, and the figures of each group of queries."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="data folder")
    parser.add_argument("predictions", help="jsonl file")
    parser.add_argument("--split", default="test")
    arguments = parser.parse_args()
    report = evaluate(
        arguments.data,
        predictions=arguments.predictions,
        split=arguments.split,
        options=EvaluateOptions(baselines=True),
    )
    for evaluation in report.evaluations:
        low, high = evaluation.intervals["mIoU"]
        print(f"{evaluation.name:24} mIoU {evaluation.metrics['mIoU']:5.1f}  ({low:.1f} to {high:.1f})")
    for group in report.breakdown:
        print(f"{group.kind + ': ' + group.name:48} {group.queries:5} queries  mIoU {group.metrics['mIoU']:5.1f}")


if __name__ == "__main__":
    main()
