"""Find the moments of a video that sentences describe.

python examples/ground_video.py video.mp4 "person opens door" "person sits down" --model model
"""

from __future__ import annotations

import argparse

from mttsg_core import Grounder


def main() -> None:
    """Print the three best moments for each sentence."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("sentences", nargs="+")
    parser.add_argument(
        "--model", help="model; default: the newest run trained on these videos, else CLIP without training"
    )
    arguments = parser.parse_args()
    grounder = Grounder.load(arguments.model, videos=arguments.video)
    for sentence, moments in zip(
        arguments.sentences, grounder.ground(arguments.video, arguments.sentences, top=3), strict=True
    ):
        print(sentence)
        for moment in moments:
            print(f"  {moment.start:8.2f} s to {moment.end:8.2f} s   score {moment.score:.2f}")


if __name__ == "__main__":
    main()
