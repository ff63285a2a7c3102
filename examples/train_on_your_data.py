"""Train on a data folder, watch the epochs, and see how good the model is on the validation split.

python examples/train_on_your_data.py data/ model/ --epochs 30
"""

from __future__ import annotations

import argparse

from mttsg_core import TrainingConfig, check, events, train


def show(event: object) -> None:
    """Print a line for each epoch, and everything that went wrong."""
    if isinstance(event, events.EpochDone):
        print(f"epoch {event.epoch}: loss {event.losses['total']:.2f}, mIoU {event.metrics.get('mIoU', 0.0):.1f}")
    elif isinstance(event, events.InputFailed):
        print(f"skipped: {event.reason}")


def main() -> None:
    """Check the data, train, and print the outcome."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder with train.jsonl, val.jsonl and videos/")
    parser.add_argument("model", help="folder to write the model to")
    parser.add_argument("--epochs", type=int, default=0, help="default: depends on the number of videos")
    arguments = parser.parse_args()
    for name, split in check(arguments.data).splits.items():
        print(f"{name}: {split.pairs} sentences about {split.videos} videos, {split.bad_rows} bad rows")
    report = train(arguments.data, out=arguments.model, config=TrainingConfig(epochs=arguments.epochs), on_event=show)
    print(f"epoch {report.best_epoch} is in {report.folder}")
    for name, value in report.metrics.items():
        print(f"  {name:12} {value:5.1f}")


if __name__ == "__main__":
    main()
