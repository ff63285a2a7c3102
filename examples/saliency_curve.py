"""Draw how sure a model is, over time, that a sentence describes what is seen.

python examples/saliency_curve.py video.mp4 "person opens door" --model model
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mttsg_core import Grounder


def main() -> None:
    """Print a bar for each clip of the video."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("sentence")
    parser.add_argument(
        "--model", help="model; default: the newest run trained on these videos, else CLIP without training"
    )
    arguments = parser.parse_args()
    grounder = Grounder.load(arguments.model, videos=arguments.video)
    features = grounder.features_of(arguments.video)
    curve = grounder.saliency(features, arguments.sentence)  # (T,) probabilities
    for clip, probability in enumerate(curve.tolist()):
        start = float(features.timeline.to_seconds(clip))
        print(f"{start:8.2f} s  {probability:.2f}  {'#' * round(40 * probability)}")


if __name__ == "__main__":
    main()
