"""Ground sentences in features that another program made, without any video file.

python examples/own_features.py a.npy 30.4 "person opens door" --model model

The model must have been trained on features of the same kind (mttsg train DATA --features DIR).
"""

from __future__ import annotations

import argparse

import numpy as np

from mttsg_core import Grounder, VideoFeatures


def main() -> None:
    """Print the best moments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", help=".npy file of (T, D): T equal parts of the video")
    parser.add_argument("duration", type=float, help="seconds of the video")
    parser.add_argument("sentence")
    parser.add_argument("--model", required=True)
    arguments = parser.parse_args()
    grounder = Grounder.load(arguments.model)
    clips = np.load(arguments.features, allow_pickle=False)
    features = VideoFeatures(clips, None, arguments.duration, grounder.fingerprint)
    for moment in grounder.ground_features(features, arguments.sentence, top=3):
        print(f"{moment.start:8.2f} s to {moment.end:8.2f} s   score {moment.score:.2f}")


if __name__ == "__main__":
    main()
